"""An ONNX file of a checkpoint in half precision or in eight bits, judged before it appears in its place."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from frami import export as exports
from frami import files
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.quantisation import lowering
from frami.quantisation.calibration import Judging, Material
from frami.quantisation.lowering import Network

PRECISIONS = ("float32", "fp16", "int8")
#: Share of unseen made clips of which a file has to predict what the float32 network predicts.
AGREEMENT = 0.95
#: Share of the recordings that a file may lose against the float32 network, and clips of them that chance explains.
LOSS, FEW = 0.02, 3


class PrecisionError(FramiError):
    """A file that answers too differently from the network in float32; ``why`` : how, without the path;
    ``advice`` : what to do."""

    def __init__(self, path: Path, why: str, advice: str):
        super().__init__(f"{path} was not written: {why}; {advice}")
        self.why, self.advice = why, advice


def export(
    network: Checkpoint, path: Path, input: str = "mel", precision: str = "int8", material: Material | None = None,
    method: str = lowering.METHOD, force: bool = False,
) -> dict:  # fmt: skip
    """Write a checkpoint as an ONNX file of smaller numbers; otherwise as ``frami.export.onnx`` does.

    precision : ``fp16`` (weights in half precision, arithmetic in float32) or ``int8`` (weights and activations in
    eight bits), which is calibrated on ``material.calibration``. The front-end of ``waveform`` stays exact. force :
    write the file though it answers otherwise than the float32 network does: of more than 1 - ``AGREEMENT`` of the
    unseen made clips, or wrongly of more than ``LOSS`` of the recordings.

    Returns ``path``, ``bytes``, ``float_bytes``, ``precision``, ``agreement`` and ``unseen`` (made clips), and
    ``recordings``: ``{"which", "clips", "accuracy", "float_accuracy", "agreement"}`` or None; of int8 also
    ``calibration``. Raises ExportError, PrecisionError.
    """
    if precision not in PRECISIONS[1:]:
        raise exports.ExportError(f"no precision '{precision}'; choose one of: {', '.join(PRECISIONS)}")
    if input not in exports.INPUTS:
        raise exports.ExportError(f"no input '{input}'; choose one of: {', '.join(exports.INPUTS)}")
    if precision == "int8" and (material is None or not material.calibration.clips):
        raise exports.ExportError("int8 needs clips to calibrate on")
    path = Path(path)
    exports.writable(path)
    with tempfile.TemporaryDirectory(prefix="frami-export-") as folder:
        plain, lowered, front, joined = (Path(folder) / f"{name}.onnx" for name in ("plain", "lowered", "front", "all"))
        exports.onnx(network, plain)
        about = {"precision": precision, "input": input}
        if precision == "int8":
            lowering.eight_bits(plain, lowered, material.calibration.clips, method)
        else:
            lowering.half_weights(plain, lowered)
        found = judge(plain, lowered, material, network.multilabel)
        if precision == "int8":
            found["calibration"] = material.calibration.facts() | {"method": method}
        if not force:
            refuse(found, path)
        about |= {"measured": json.dumps(found, ensure_ascii=False)}
        kept = _metadata(plain) | about
        if input == "waveform":
            exports.front_end(network.spec, front)
            lowering.behind(front, lowered, joined)
        result = joined if input == "waveform" else lowered
        lowering.describe(result, **kept)
        Network(result)  # loads
        files.write(path, result.read_bytes())
        sizes = {"bytes": path.stat().st_size, "float_bytes": _float_bytes(plain, front, input)}
    return {"path": str(path), **sizes, "precision": precision, **found}


def _metadata(path: Path) -> dict[str, str]:
    import onnx

    return {one.key: one.value for one in onnx.load(path).metadata_props}


def _float_bytes(plain: Path, front: Path, input: str) -> int:
    return plain.stat().st_size + (front.stat().st_size if input == "waveform" else 0)


def judge(plain: Path, lowered: Path, material: Material | None, multilabel: bool = False) -> dict:
    """How a file of ``mel`` answers beside the one in float32: plain numbers, 0 to 1."""
    if material is None:
        return {"agreement": None, "unseen": 0, "recordings": None}
    return judged(Network(plain), Network(lowered), material, multilabel)


def judged(plain, lowered, material: Material, multilabel: bool = False) -> dict:
    """The same of two networks that have ``logits(clips)``."""
    nets = plain, lowered
    wanted, found = (_answers(net, material.unseen, multilabel) for net in nets)
    agreement = float((wanted == found).all(1).mean()) if len(wanted) else None
    recordings = material.recordings and _on_recordings(*nets, material.recordings, multilabel)
    return {"agreement": agreement, "unseen": len(material.unseen), "recordings": recordings}


def _on_recordings(plain, lowered, given: Judging, multilabel: bool) -> dict:
    wanted, found = (np.stack(list(net.logits(given.clips))) for net in (plain, lowered))
    labels = np.array(given.labels)
    same = (_decided(wanted, multilabel) == _decided(found, multilabel)).all(1)
    return {
        "which": given.which, "clips": len(labels), "accuracy": float((found.argmax(1) == labels).mean()),
        "float_accuracy": float((wanted.argmax(1) == labels).mean()), "agreement": float(same.mean()),
    }  # fmt: skip


def _answers(net, clips: Sequence[Tensor], multilabel: bool) -> np.ndarray:
    return _decided(np.stack(list(net.logits(clips))), multilabel) if clips else np.zeros((0, 1))


def _decided(logits: np.ndarray, multilabel: bool) -> np.ndarray:
    """The answer to each clip, (N, 1) its class, or (N, K) which classes are more probable than not."""
    return logits > 0 if multilabel else logits.argmax(1)[:, None]


def refuse(found: dict, path: Path) -> None:
    """PrecisionError where a file answers too differently from the network in float32."""
    advice = (
        "calibrate on more clips (--calibration-clips), on others (--bank, --calibration recordings), export with "
        "--precision fp16, or write it nevertheless with --force"
    )
    if found["agreement"] is not None and found["agreement"] < AGREEMENT:
        raise PrecisionError(
            path,
            f"it agrees with the float32 network on {found['agreement']:.1%} of {found['unseen']} unseen made clips, "
            f"less than {AGREEMENT:.0%}",
            advice,
        )
    real = found["recordings"]
    if real is None:
        return
    lost = round((real["float_accuracy"] - real["accuracy"]) * real["clips"])
    if lost > max(FEW, LOSS * real["clips"]):
        raise PrecisionError(
            path,
            f"it recognises {real['accuracy']:.1%} of {real['which']}, the float32 network "
            f"{real['float_accuracy']:.1%}",
            advice,
        )
