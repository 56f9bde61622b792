"""One file of a bank: clips of a finished batch, stored without padding, that shows whether it is whole."""

import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from frami.audio import MelSpec
from frami.inversion import Clips, Trajectory

FORMAT = 3
#: Format 2 has the same content under other names.
_FORMER = {"target": "asked", "predicted": "heard"}
NAME = "shard-{:05d}.safetensors"
CLIPS = ("frames", "lengths", "target", "predicted", "confidence", "logits", "pooled")
_TRAJECTORY = ("trajectory", "trajectory_steps")
_LEVELS = 255
_SMALL = 2**20
_FIRST = 2**40  # number of a shard's first clip at most


class Damaged(Exception):
    """A shard that is not what was written; the message gives the reason."""


@dataclass
class Shard:
    """Clips as a shard holds them.

    first : number of its first clip in the bank; frames : Tensor[sum of lengths, F], float16 or float32, one clip
    behind the other; lengths, target, predicted, confidence, logits, pooled : as in ``Clips``.
    """

    first: int
    frames: Tensor
    lengths: Tensor
    target: Tensor
    predicted: Tensor
    confidence: Tensor
    logits: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        return len(self.target)

    @cached_property
    def offsets(self) -> Tensor:
        """Where each clip begins and the last ends, Tensor[N + 1]."""
        return offsets(self.lengths)


def offsets(lengths: Tensor) -> Tensor:
    """Where each clip begins and the last ends: Tensor[N] → Tensor[N + 1]."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def flat(clips: Clips) -> Tensor:
    """Frames of all clips, one clip behind the other: Tensor[sum of lengths, F]."""
    if not 1 <= int(clips.lengths.min()) <= int(clips.lengths.max()) <= clips.mels.shape[-1]:
        raise ValueError(f"lengths from 1 to {clips.mels.shape[-1]} frames are possible, not {clips.lengths.tolist()}")
    inside = torch.arange(clips.mels.shape[-1]) < clips.lengths[:, None]
    return clips.mels[:, 0].transpose(1, 2)[inside]


def padded(frames: Tensor, offsets: Tensor, indices: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Clips out of flat frames, in one gather.

    Returns log-Mels Tensor[B, 1, F, T] in float32, ``floor`` behind each end, and lengths Tensor[B].
    frames : Tensor[sum of lengths, F]; offsets : Tensor[N + 1]; indices : Tensor[B], at least one. IndexError for a
    clip that is not there.
    """
    starts, lengths = offsets[:-1][indices], offsets[1:][indices] - offsets[:-1][indices]
    steps = torch.arange(int(lengths.max()), device=offsets.device)
    inside = steps < lengths[:, None]
    rows = starts[:, None] + steps * inside
    mels = frames[rows].float().masked_fill_(~inside[..., None], floor)
    return mels.transpose(1, 2).contiguous()[:, None], lengths


def pack(clips: Clips, frames: Tensor, first: int, spec: MelSpec, trajectory: Trajectory | None = None) -> bytes:
    """Content of a shard.

    frames : ``flat(clips)`` in the precision to store; first : number of the first clip in the bank. A trajectory is
    stored in 256 even levels from the floor to the ceiling of ``spec``: half a level is 0.03 (0.25 dB).
    """
    tensors = {"frames": frames} | {name: getattr(clips, name).contiguous() for name in CLIPS if name != "frames"}
    metadata = {"format": str(FORMAT), "first": str(first), "crc32": _crc(tensors, first)}
    if trajectory is not None:
        scaled = (trajectory.mels.float() - spec.floor) / (spec.ceiling - spec.floor)
        levels = (scaled.clamp(0, 1) * _LEVELS).round().to(torch.uint8).transpose(0, 1).contiguous()
        shown = {"trajectory": levels, "trajectory_steps": torch.tensor(trajectory.steps)}
        metadata["trajectory_crc32"] = _crc(shown, first)
        tensors |= shown
    return save(tensors, metadata)


def read(path: Path) -> Shard:
    """A shard's clips, without its trajectory. Large ones stay memory-mapped. Raises Damaged."""
    # A process may hold some 65,000 maps: many small files must not hold one each.
    mapped = path.is_file() and path.stat().st_size > _SMALL
    first, tensors = _read(path, CLIPS, "crc32", mapped)
    _check(first, tensors)
    if not all(finite(tensors[name]) for name in ("frames", "confidence", "logits", "pooled")):
        raise Damaged("values that are not finite")
    return Shard(first, **tensors)


def read_trajectory(path: Path, row: int, spec: MelSpec) -> tuple[list[int], Tensor] | None:
    """Steps, and log-Mels Tensor[S, F, T] after each, of a shard's clip; None where none was stored. Raises Damaged."""
    try:
        with safe_open(path, "numpy") as file:
            if not set(_TRAJECTORY) <= set(file.keys()):
                return None
    except (OSError, SafetensorError) as error:
        raise Damaged(str(error)) from error
    _, tensors = _read(path, _TRAJECTORY, "trajectory_crc32", mapped=False)
    shown, steps = (tensors[name] for name in _TRAJECTORY)
    if (shown.dtype, shown.dim(), steps.shape) != (torch.uint8, 4, (shown.shape[1],)) or row >= len(shown):
        raise Damaged("its trajectory has other sizes than its clips")
    levels = tensors["trajectory"][row].float() / _LEVELS
    return tensors["trajectory_steps"].tolist(), spec.floor + levels * (spec.ceiling - spec.floor)


def _check(first: int, tensors: dict[str, Tensor]) -> None:
    """Raise Damaged where the tensors do not belong together: what is read of them is as large as they say."""
    frames, lengths, logits = (tensors[name] for name in ("frames", "lengths", "logits"))
    count = len(lengths) if lengths.dim() == 1 else 0
    whole = [tensors[name] for name in ("lengths", "target", "predicted")]
    wide = (frames, logits, tensors["pooled"])
    fits = (
        count > 0
        and all(one.dtype == torch.int64 and one.shape == (count,) for one in whole)
        and all(one.is_floating_point() and one.dim() == 2 and one.numel() for one in wide)
        and tensors["confidence"].is_floating_point()
        and tensors["confidence"].shape == (count,) == logits.shape[:1] == tensors["pooled"].shape[:1]
        and 1 <= int(lengths.min()) <= int(lengths.max()) <= len(frames)
        and int(lengths.sum()) == len(frames)
        and all(0 <= int(one.min()) <= int(one.max()) < logits.shape[1] for one in whole[1:])
    )
    if not fits or not 0 <= first <= _FIRST:
        raise Damaged("its tensors do not belong together")


def finite(tensor: Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinity (many times faster than a look at each value)."""
    least, most = tensor.aminmax()
    return math.isfinite(least) and math.isfinite(most)


def _read(path: Path, names: tuple[str, ...], checksum: str, mapped: bool) -> tuple[int, dict[str, Tensor]]:
    """Number of the first clip, and the tensors of these names, whose checksum has its own name. mapped : whether they
    stay in the file; each read of that kind leaves some bytes behind (safetensors 0.8), which a page that reads at each
    click must not."""
    try:
        with safe_open(path, "pt" if mapped else "numpy") as file:
            metadata = file.metadata() or {}
            first = int(metadata["first"])
            former = _FORMER if metadata.get("format") == "2" else {}
            stored = {former.get(name, name): name for name in names}
            tensors = {name: torch.as_tensor(file.get_tensor(name)) for name in stored}
    except KeyError as error:
        raise Damaged(f"its {error} is missing") from error
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise Damaged(str(error)) from error  # the last of types that NumPy does not have
    if metadata.get("format") not in ("2", str(FORMAT)) or metadata.get(checksum) != _crc(tensors, first):
        raise Damaged("its checksum is another one")
    return first, {stored[name]: tensor for name, tensor in tensors.items()}


def _crc(tensors: dict[str, Tensor], first: int) -> str:
    """Checksum of names, kinds, shapes and bytes."""
    crc = zlib.crc32(str(first).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"
