"""A checkpoint for use without frami: ONNX, from log-Mel-spectrograms or from sound itself, or a copy of its files.

An ONNX file is compared with PyTorch in onnxruntime, over several durations, before it appears in its place.
"""

import copy
import json
import logging
import math
import shutil
import tempfile
import threading
import warnings
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami import checkpoints, files
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint, public
from frami.errors import FramiError
from frami.weights import paths

INPUTS = ("mel", "waveform")
#: Largest difference of a logit from PyTorch's that is accepted.
TOLERANCE = 1e-4
#: The same of a front-end's log-Mel values, whose logarithm enlarges the rounding of quiet bands.
FRONT_TOLERANCE = 1e-3
#: Seconds of the clips that are compared; the first is shorter than a window.
DURATIONS = (0.02, 0.13, 0.5, 1.0, 2.7, 6.0)

#: torch's exporter changes PyTorch for the whole process, which can crash what other threads compute meanwhile.
_ONE = threading.Lock()


class ExportError(FramiError):
    """A checkpoint that cannot be exported."""


class LogMel(nn.Module):
    """Any ``MelSpec`` in operations that ONNX has: Tensor[B, N] → Tensor[B, n_mels, MelSpec.count(N)]."""

    def __init__(self, spec: MelSpec):
        super().__init__()
        self.spec = spec
        self.register_buffer("window", spec.window_values())
        self.register_buffer("bands", spec.filterbank().T.contiguous())
        # onnxruntime's own is accurate for powers of two only.
        self.dft = None if spec.n_fft & (spec.n_fft - 1) == 0 else Dft(spec.n_fft)

    def forward(self, x: Tensor) -> Tensor:
        spec = self.spec
        x = F.pad(x, (0, torch.sym_max(0, spec.shortest - x.shape[-1])))
        frames = F.pad(spec.windowed(spec.prepared(x), self.window), (0, spec.n_fft - spec.length))
        waves = torch.view_as_real(torch.fft.rfft(frames)) if self.dft is None else self.dft(frames)
        power = waves.square().sum(-1).transpose(1, 2)
        return spec.compressed(self.bands @ (power.sqrt() if spec.power == 1 else power))


class Dft(nn.Module):
    """Discrete Fourier transform of real frames by two products with small matrices (Cooley and Tukey 1965).

    A frame of ``size`` = rows × columns samples is a matrix; its columns are transformed, each value is turned by its
    own angle, and the rows are transformed. The more alike the factors, the less there is to compute and to store.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        self.rows = max(n for n in range(1, math.isqrt(size) + 1) if size % n == 0)
        self.columns = size // self.rows
        row, column = (torch.arange(n, dtype=torch.float64) for n in (self.rows, self.columns))
        for name, of, by, period in (
            ("first", row, row, self.rows), ("turn", row, column, size), ("second", column, column, self.columns)
        ):  # fmt: skip
            angle = -2 * math.pi * (of[:, None] * by % period) / period
            self.register_buffer(f"{name}_real", angle.cos().float())
            self.register_buffer(f"{name}_imag", angle.sin().float())

    def forward(self, x: Tensor) -> Tensor:
        """x : Tensor[..., size]. Returns Tensor[..., size // 2 + 1, 2], real and imaginary parts."""
        x = x.unflatten(-1, (self.rows, self.columns))
        real, imag = self.first_real @ x, self.first_imag @ x
        real, imag = (
            real * self.turn_real - imag * self.turn_imag,
            real * self.turn_imag + imag * self.turn_real,
        )
        real, imag = (
            real @ self.second_real - imag @ self.second_imag,
            real @ self.second_imag + imag @ self.second_real,
        )
        both = torch.stack([real, imag], -1).transpose(-2, -3)  # bin k1 + rows k2 at [k2, k1]
        return both.flatten(-3, -2)[..., : self.size // 2 + 1, :]


class _Exported(nn.Module):
    """From what the file takes to logits Tensor[B, K]: Tensor[B, 1, n_mels, T], or Tensor[B, N] through ``front``."""

    def __init__(self, teacher: Checkpoint, input: str):
        super().__init__()
        self.model = copy.deepcopy(teacher.model)
        self.front = LogMel(teacher.spec) if input == "waveform" else None
        self.cpu().float().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.front is not None:
            x = self.front(x)[:, None]
        return self.model(x).logits


class _Front(nn.Module):
    """The front-end alone: Tensor[B, N] → Tensor[B, 1, n_mels, T]."""

    def __init__(self, spec: MelSpec):
        super().__init__()
        self.front = LogMel(spec)

    def forward(self, x: Tensor) -> Tensor:
        return self.front(x)[:, None]


def onnx(teacher: Checkpoint, path: Path, input: str = "mel") -> dict:
    """Write a checkpoint as an ONNX file that takes clips of any duration, any number at once, and returns ``logits``.

    ``input`` : ``mel``, float32 (B, 1, n_mels, T) as ``MelSpec`` makes it, or ``waveform``, float32 (B, N) at its
    sample rate. The file's metadata hold ``classes``, ``mel_spec`` (both JSON), ``sample_rate``, ``name``, ``input``,
    ``licence``, ``precision`` (here ``float32``; others: ``frami.quantisation``), ``multilabel`` (``true``: sigmoids
    make probabilities of the logits, else a softmax) and the ``card`` (JSON, as of ``checkpoints.Card``, without paths
    of this machine). An existing file is replaced, once the new one has passed the comparison.

    Returns ``path``, ``bytes``, ``difference`` (largest of any logit from PyTorch's) and ``durations`` (seconds that
    were compared). One export at a time, and none where other threads compute with torch. Raises ``ExportError``.
    """
    if input not in INPUTS:
        raise ExportError(f"no input '{input}'; choose one of: {', '.join(INPUTS)}")
    path = Path(path)
    writable(path)
    with _ONE, files.replacing(path, long=True) as temporary:
        module = _Exported(teacher, input)
        _write(module, teacher, input, temporary)
        difference = _compare(module, teacher.spec, input, temporary)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{path} was not written: in onnxruntime its logits differ by {difference:.1e} from PyTorch's, more "
                f"than {TOLERANCE:.0e}; export with --format safetensors instead, and report this"
            )
    return {"path": str(path), "bytes": path.stat().st_size, "difference": difference, "durations": list(DURATIONS)}


def front_end(spec: MelSpec, path: Path) -> None:
    """Write a front-end alone as an ONNX file: ``waveform``, float32 (B, N), to ``mel``, float32 (B, 1, n_mels, T).

    Raises ExportError where its log-Mels in onnxruntime are not those of ``MelSpec``.
    """
    with _ONE:
        module = _Front(spec).eval().requires_grad_(False)
        _program(module, spec, "waveform", "mel", ["batch", 1, spec.n_mels, "frames"], "the front-end").save(
            path, external_data=False
        )
        session, largest = _session(path), 0.0
        for k, seconds in enumerate(DURATIONS):
            sounds = torch.stack([_sound(seconds, spec, seed) for seed in range(1 + k % 3)])
            (found,) = session.run(["mel"], {"waveform": sounds.numpy()})
            largest = float(np.maximum(largest, np.abs(found - spec(sounds)[:, None].numpy()).max()))
    if not largest <= FRONT_TOLERANCE:
        raise ExportError(
            f"the front-end's log-Mels in onnxruntime differ by {largest:.1e} from PyTorch's, more than "
            f"{FRONT_TOLERANCE:.0e}; export with --input mel instead, and report this"
        )


def safetensors(source: str | Path, path: str | Path) -> dict:
    """Copy a checkpoint's weights and card to ``path`` (with or without ending), as they are but for paths of folders
    on this machine, of which the last part stays.

    Returns ``path`` and ``bytes`` of the weights. Raises FramiError subclasses for a damaged checkpoint.
    """
    card = checkpoints.load(source).card  # whole and fitting its card
    weights, _ = copies = paths(path)
    writable(weights)
    origins = paths(checkpoints.resolve(source))
    with files.replacing(copies[1], long=True) as note, files.replacing(weights, long=True) as temporary:
        shutil.copyfile(origins[0], temporary)
        if (shown := public(card)) == card:
            shutil.copyfile(origins[1], note)
        else:
            note.write_text(files.as_json(asdict(shown), indent=2), encoding="utf-8")
    return {"path": str(weights), "bytes": weights.stat().st_size}


def writable(path: Path) -> None:
    """Refuse a folder, and a file in a place that cannot be written. Raises ExportError."""
    if path.is_dir():
        raise ExportError(f"{path} is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        files.raise_full(path, error)
        raise ExportError(f"{path.parent} cannot be written ({error.strerror}); choose another --out") from error


def _write(module: _Exported, teacher: Checkpoint, input: str, path: Path) -> None:
    card = teacher.card
    program = _program(module, teacher.spec, input, "logits", ["batch", len(teacher.classes)], f"'{card.name}'")
    program.model.metadata_props.update(
        name=card.name,
        classes=json.dumps(list(teacher.classes), ensure_ascii=False),
        mel_spec=json.dumps(teacher.spec.to_dict()),
        sample_rate=str(teacher.spec.sample_rate),
        multilabel=json.dumps(card.multilabel),
        input=input,
        licence=card.licence,
        precision="float32",
        card=json.dumps(asdict(public(card)), ensure_ascii=False),
    )
    program.save(path, external_data=False)


def _program(module: nn.Module, spec: MelSpec, input: str, output: str, returned: list, title: str):
    """A module as an ONNX program of free durations; ``returned`` : shape of its output. Raises ExportError."""
    from onnxscript import ir

    free = torch.export.Dim.DYNAMIC
    if input == "mel":
        clip, dims = torch.full((2, 1, spec.n_mels, 50), spec.floor), {0: free, 3: free}
        shape = ["batch", 1, spec.n_mels, "frames"]
    else:
        clip, dims, shape = torch.zeros(2, 4 * spec.n_fft + 1), {0: free, 1: free}, ["batch", "samples"]
    try:
        with _quietly():
            program = torch.onnx.export(
                module, (clip,), dynamo=True, input_names=[input], output_names=[output],
                dynamic_shapes=(dims,), verbose=False,
            )  # fmt: skip
    except Exception as error:  # of many kinds, from every layer of the exporter
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(
            f"{title} cannot be written as ONNX ({why[:200]}); export with --format safetensors"
        ) from error
    graph = program.model.graph
    for node in graph:
        node.metadata_props.clear()  # traces of this machine's source files
        for value in node.outputs:
            value.shape = None  # in the exporter's names of the free dimensions, which these two replace
    graph.inputs[0].shape = ir.Shape(shape)
    graph.outputs[0].shape = ir.Shape(returned)
    return program


@torch.inference_mode()
def _compare(module: _Exported, spec: MelSpec, input: str, path: Path) -> float:
    """Largest difference of the file's logits in onnxruntime from PyTorch's with ``MelSpec`` itself as front-end."""
    session, largest = _session(path), 0.0
    for k, seconds in enumerate(DURATIONS):
        sounds = torch.stack([_sound(seconds, spec, seed) for seed in range(1 + k % 3)])
        mels = spec(sounds)[:, None]
        given = mels if input == "mel" else sounds
        (found,) = session.run(["logits"], {input: given.numpy()})
        largest = float(np.maximum(largest, np.abs(found - module.model(mels).logits.numpy()).max()))  # NaN stays
    return largest


def _session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others have work for the processors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _sound(seconds: float, spec: MelSpec, seed: int) -> Tensor:
    """A gliding tone over fading noise, Tensor[N]; the same seed gives the same."""
    numbers = np.random.default_rng(seed)
    time = np.arange(max(1, round(seconds * spec.sample_rate))) / spec.sample_rate
    tone = np.sin(2 * np.pi * (300 + 200 * seed + 90 * time) * time)
    noise = numbers.standard_normal(len(time)) * np.exp(-4 * time / seconds)
    return torch.from_numpy((0.2 * tone + 0.1 * noise).astype(np.float32))


@contextmanager
def _quietly():
    """Without the exporter's log messages and warnings."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)
