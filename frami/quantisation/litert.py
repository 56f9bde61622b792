"""A checkpoint as a LiteRT file (TensorFlow Lite): float32, or convolutions in eight bits.

By ``litert-torch``, the converter from PyTorch, and ``ai-edge-quantizer``; both are optional
(``requirements-litert.txt``) and bring JAX along, so they belong into an environment of their own. Such a file takes
log-Mels of one duration, which is fixed in it.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from frami import export as exports
from frami import files
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.quantisation.calibration import Material
from frami.quantisation.exporting import judged, refuse

#: Largest difference of a logit of the float32 file from PyTorch's.
TOLERANCE = 1e-3
#: Operations that stay in float32: the file's ends, and the statistics of the pooling, whose squares do not fit into
#: eight bits.
_PLAIN = (
    "INPUT", "OUTPUT", "SUB", "MUL", "SUM", "SQRT", "DIV", "MEAN", "SQUARED_DIFFERENCE", "RSQRT", "CONCATENATION",
    "RESHAPE", "TRANSPOSE",
)  # fmt: skip


class _Logits(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits


class _File:
    """A LiteRT file on one thread."""

    def __init__(self, path: Path, frames: int):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter, self.frames = Interpreter(model_path=str(path), num_threads=1), frames
        ((self.signature, ends),) = self.interpreter.get_signature_list().items()
        self.input, self.output = ends["inputs"][0], ends["outputs"][0]
        self.runner = self.interpreter.get_signature_runner(self.signature)

    def logits(self, clips: Sequence[Tensor]) -> Iterator[np.ndarray]:
        """Logits (K,) of each log-Mel Tensor[F, T], brought to the file's duration."""
        for clip in clips:
            yield self.runner(**{self.input: fitted(clip, self.frames)})[self.output][0]


def fitted(clip: Tensor, frames: int) -> np.ndarray:
    """A log-Mel Tensor[F, T] of the file's duration, float32 (1, 1, F, frames): its beginning, or itself repeated."""
    repeated = clip.repeat(1, -(-frames // clip.shape[-1]))[:, :frames]
    return np.ascontiguousarray(repeated[None, None].float().numpy())


def export(
    network: Checkpoint, path: Path, precision: str, material: Material, seconds: float, force: bool = False
) -> dict:
    """Write a checkpoint as a LiteRT file of log-Mels (1, 1, n_mels, T) of ``seconds``; beside it, as ``.json``, its
    classes, front-end and what was measured.

    precision : ``float32`` or ``int8``. Judged and refused as by ``frami.quantisation.export``. Returns the same, with
    ``frames``. Raises ExportError, PrecisionError.
    """
    if precision not in ("float32", "int8"):
        raise exports.ExportError("a LiteRT file is of --precision float32 or int8")
    try:
        import litert_torch
    except ImportError as error:
        raise exports.ExportError(
            f"LiteRT needs packages that are not here ({error}); in an environment of its own: pip install -r "
            "requirements-litert.txt"
        ) from error
    path, frames = Path(path), network.spec.frames(seconds)
    exports.writable(path)
    model = _Logits(network.model).cpu().float().eval()
    clip = torch.from_numpy(fitted(material.calibration.clips[0], frames))
    with tempfile.TemporaryDirectory(prefix="frami-export-") as folder:
        plain, lowered = (Path(folder) / f"{name}.tflite" for name in ("plain", "lowered"))
        try:
            with warnings.catch_warnings(action="ignore"):
                litert_torch.convert(model, (clip,)).export(str(plain))
        except Exception as error:  # of many kinds, from every layer of the converter
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise exports.ExportError(f"'{network.card.name}' cannot be written as LiteRT: {why[:200]}") from error
        difference = _compare(model, plain, frames, material)
        result = plain
        if precision == "int8":
            _lower(plain, lowered, frames, material.calibration.clips)
            result = lowered
        found = judged(_File(plain, frames), _File(result, frames), material, network.multilabel)
        if precision == "int8":
            found["calibration"] = material.calibration.facts() | {"method": "minmax"}
        if not force:
            refuse(found, path)
        sizes = {"bytes": result.stat().st_size, "float_bytes": plain.stat().st_size}
        files.write(path, result.read_bytes())
    about = {
        "name": network.card.name, "classes": list(network.classes), "mel_spec": network.spec.to_dict(),
        "frames": frames, "licence": network.card.licence, "multilabel": network.multilabel, "precision": precision,
        "measured": found,
    }  # fmt: skip
    files.write(path.with_suffix(".json"), json.dumps(about, indent=2, ensure_ascii=False))
    return {"path": str(path), **sizes, "frames": frames, "precision": precision, "difference": difference, **found}


def _widest(ranges: Sequence[dict]) -> dict:
    """The range that has all of these."""
    if not {"min", "max"} <= set(ranges[0]):
        return ranges[0]
    ends = {name: function([one[name] for one in ranges], 0) for name, function in (("min", np.min), ("max", np.max))}
    return ranges[0] | ends


@torch.inference_mode()
def _compare(model: nn.Module, plain: Path, frames: int, material: Material) -> float:
    """Largest difference of the float32 file's logits from PyTorch's. Raises ExportError where it is too large."""
    clips = [*material.calibration.clips[:4], *material.unseen[:4]]
    wanted = [model(torch.from_numpy(fitted(clip, frames)))[0].numpy() for clip in clips]
    found = list(_File(plain, frames).logits(clips))
    difference = float(np.abs(np.stack(wanted) - np.stack(found)).max())
    if not difference <= TOLERANCE:
        raise exports.ExportError(f"in LiteRT the logits differ by {difference:.1e} from PyTorch's; report this")
    return difference


def _lower(plain: Path, lowered: Path, frames: int, clips: Sequence[Tensor]) -> None:
    """Write a LiteRT file with its convolutions, sums and classifier in eight bits, ranges measured on clips."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    level, log = logging.root.level, logging.root
    log.setLevel(logging.ERROR)
    try:
        work = quantizer.Quantizer(str(plain))
        work.load_quantization_recipe(recipe.static_wi8_ai8())
        for name in _PLAIN:
            work.update_quantization_recipe(
                regex=".*", operation_name=qtyping.TFLOperationName[name],
                algorithm_key=recipe.AlgorithmName.NO_QUANTIZE,
            )  # fmt: skip
        ends = _File(plain, frames)
        with warnings.catch_warnings(action="ignore"):
            # A clip at a time: over several the quantiser takes a moving average of ranges, which cuts peaks off.
            found = [work.calibrate({ends.signature: [{ends.input: fitted(clip, frames)}]}) for clip in clips]
        ranges = {name: _widest([one[name] for one in found]) for name in found[0]}
        work.quantize(ranges).export_model(str(lowered), overwrite=True)
    except (RuntimeError, ValueError) as error:
        raise FramiError(f"LiteRT's quantiser refuses this network: {str(error).splitlines()[0][:200]}") from error
    finally:
        log.setLevel(level)
