"""Networks that listen: an exported ``.onnx`` in onnxruntime, or a checkpoint in PyTorch. Both take sounds, array
(B, N) float32 at ``rate`` Hz, and give probabilities, array (B, K)."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frami.errors import FramiError
from frami.sound_files import RATES

#: Seconds of a window by default: those of the training clips within these bounds; ``USUAL`` where nobody says.
SHORTEST, LONGEST, USUAL = 0.1, 30.0, 1.0
#: Bytes of an ONNX file's text, and classes at most.
_TEXT, _CLASSES = 1 << 24, 100_000


class ListenError(FramiError):
    """A network that cannot listen; the message says what to do."""


@dataclass(frozen=True)
class Recogniser:
    """A network ready to listen. ``answer`` : sounds (B, N) to probabilities (B, K); ``seconds`` : usual duration of
    its training clips, None where it is not known; ``batched`` : whether it takes several at once; ``length`` : the
    only number of samples that it takes, None for any; ``about`` : what else its file says."""

    name: str
    classes: tuple[str, ...]
    rate: int
    multilabel: bool
    answer: Callable[[np.ndarray], np.ndarray]
    seconds: float | None = None
    batched: bool = True
    length: int | None = None
    about: Mapping | None = None

    @property
    def window(self) -> float:
        """Seconds of a window by default."""
        if self.length is not None:
            return self.length / self.rate
        return min(max(self.seconds or USUAL, SHORTEST), LONGEST)


def probabilities(logits: np.ndarray, multilabel: bool) -> np.ndarray:
    """Sigmoids or softmax of logits (B, K), in float64 on the way."""
    x = logits.astype(np.float64)
    if multilabel:
        return (0.5 * (1 + np.tanh(0.5 * x))).astype(np.float32)
    x = np.exp(x - x.max(1, keepdims=True))
    return (x / x.sum(1, keepdims=True)).astype(np.float32)


def onnx(path: str | Path, threads: int | None = None) -> Recogniser:
    """A file that ``frami export --input waveform`` wrote. threads : of the CPU (None: onnxruntime's choice).
    ListenError for another one."""
    path = Path(path)
    session = _session(path, threads)
    about = session.get_modelmeta().custom_metadata_map
    (given, *more), outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
    if about.get("input") == "mel":
        raise ListenError(f"{path} takes log-Mel-spectrograms; export it again with --input waveform")
    if more or about.get("input") != "waveform" or "logits" not in outputs or len(given.shape) != 2:
        raise ListenError(f"{path} is none that frami exported; make one with: frami export STUDENT --input waveform")
    classes, rate, multilabel = _facts(path, about)
    batch, length = (size if isinstance(size, int) and size > 0 else None for size in given.shape)

    def answer(sounds: np.ndarray) -> np.ndarray:
        try:
            (logits,) = session.run(["logits"], {given.name: np.ascontiguousarray(sounds, np.float32)})
        except Exception as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ListenError(
                f"{path} does not take {sounds.shape[1]} samples ({why}); try another --window"
            ) from error
        return probabilities(logits, multilabel)

    card = _card(about)
    return Recogniser(
        about.get("name") or path.stem, classes, rate, multilabel, answer,
        _seconds(card.get("seconds", about.get("seconds"))), batch is None, length, {**about, "card": card},
    )  # fmt: skip


def metadata(path: str | Path) -> dict[str, str]:
    """What an exported file says of itself. ListenError for another one."""
    about = _session(Path(path)).get_modelmeta().custom_metadata_map
    if "classes" not in about or "input" not in about:
        raise ListenError(f"{path} is none that frami exported; make one with: frami export STUDENT")
    return dict(about)


def _session(path: Path, threads: int | None = None):
    """A file in onnxruntime. ListenError where it is none."""
    if not os.path.isfile(path):
        raise ListenError(
            f"{path}: no such file; make it with: frami export STUDENT --input waveform --out {path.name}"
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between windows the CPU is idle
    if threads:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds, of onnxruntime's own
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ListenError(f"{path}: not readable as ONNX ({why}); export it again") from error


def _facts(path: Path, about: Mapping[str, str]) -> tuple[tuple[str, ...], int, bool]:
    """Classes, sample rate, and whether it is multi-label, of a file's metadata."""
    try:
        classes, rate, multilabel = (json.loads(about[name]) for name in ("classes", "sample_rate", "multilabel"))
    except (KeyError, ValueError, RecursionError) as error:
        raise ListenError(f"{path}: its metadata are not those of an export ({error}); export it again") from error
    named = isinstance(classes, list) and 2 <= len(classes) <= _CLASSES and all(isinstance(c, str) for c in classes)
    whole = isinstance(rate, int) and RATES[0] <= rate <= RATES[1]
    if not named or not whole or not isinstance(multilabel, bool):
        raise ListenError(f"{path}: its metadata are not those of an export; export it again")
    return tuple(classes), rate, multilabel


def _card(about: Mapping[str, str]) -> dict:
    """The card within a file's metadata; empty where there is none."""
    text = about.get("card", "")
    try:
        card = json.loads(text) if len(text) <= _TEXT else {}
    except (ValueError, RecursionError):
        card = {}
    return card if isinstance(card, dict) else {}


def _seconds(value: object) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds <= 3_600 else None


def checkpoint(name: str | Path, device: str = "cpu", threads: int | None = None) -> Recogniser:
    """A teacher or student of frami's own, by name or path. Needs PyTorch. FramiError says what is wrong with it."""
    import torch

    from frami import answers, checkpoints

    if threads:
        torch.set_num_threads(threads)
    network = checkpoints.load(name, device)

    @torch.inference_mode()
    def answer(sounds: np.ndarray) -> np.ndarray:
        mels = network.spec(torch.from_numpy(np.array(sounds, np.float32)))[:, None].to(network.device)
        return answers.probabilities(network.model(mels).logits, network.multilabel).cpu().numpy()

    card = network.card
    return Recogniser(card.name, network.classes, network.spec.sample_rate, network.multilabel, answer, card.seconds)
