"""A network that tells tones apart, as an exported file, and sounds for it."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE = 8_000
TONES = {"low": 500.0, "high": 1_500.0}


def tones_onnx(path: Path, multilabel: bool = False, length: int | None = None, **metadata: str | None) -> Path:
    """Writes a file like those of ``frami export --input waveform``, of the classes low, high and neither. Metadata may
    be replaced, or left out (None)."""
    time = np.arange(64) / RATE
    waves = [wave(2 * np.pi * tone * time) for tone in TONES.values() for wave in (np.cos, np.sin)]
    filters = np.stack([*waves, 0 * time, 0 * time])[:, None].astype(np.float32) / 32  # (6, 1, 64)
    pairs = np.kron(np.eye(3), np.ones((2, 1))).astype(np.float32)  # (6, 3)
    constants = {
        "filters": filters, "pairs": pairs, "scale": np.float32(200), "axis": np.array([1]),
        "offset": np.array([-4, -4, 0], np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Unsqueeze", ["waveform", "axis"], ["x"]),
        helper.make_node("Conv", ["x", "filters"], ["filtered"], pads=[32, 32]),
        helper.make_node("Mul", ["filtered", "filtered"], ["power"]),
        helper.make_node("GlobalAveragePool", ["power"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "pairs"], ["energies"]),
        helper.make_node("Mul", ["energies", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "tones",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", length or "samples"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    about = {
        "name": "tones", "classes": json.dumps([*TONES, "neither"]), "sample_rate": str(RATE), "input": "waveform",
        "multilabel": json.dumps(multilabel), "card": json.dumps({"seconds": 0.4}),
    } | metadata  # fmt: skip
    helper.set_model_props(model, {name: text for name, text in about.items() if text is not None})
    onnx.save(model, path)
    return path


def sound(*parts: tuple[str | None, float], rate: int = RATE) -> np.ndarray:
    """Pieces of sound behind each other, (N,) in float32: a tone's name, both (``low+high``) or None for silence, and
    seconds."""
    pieces = []
    for name, seconds in parts:
        time = np.arange(round(seconds * rate)) / rate
        waves = [0.4 * np.sin(2 * np.pi * TONES[one] * time) for one in (name or "").split("+") if one]
        pieces.append(sum(waves, start=0 * time))
    return np.concatenate(pieces).astype(np.float32)
