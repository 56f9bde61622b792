"""Files in half precision and in eight bits: they answer as the network does, and say what they are."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from frami import checkpoints, export, quantisation
from frami.audio import MelSpec
from frami.cli import export as command_line
from frami.export import ExportError
from frami.quantisation import Calibration, Material, PrecisionError, calibration, exporting, litert, lowering
from frami.quantisation.calibration import Judging
from tests.helpers.cli import run


def logits(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    return session.run(["logits"], {session.get_inputs()[0].name: x})[0]


@pytest.fixture(scope="module")
def material(make_mels) -> Material:
    """Clips of easy classes: 8 of each to calibrate on, 12 unseen, and 12 that pass for recordings."""
    some = [make_mels(each=each, seed=seed) for each, seed in ((8, 2), (12, 3), (12, 4))]
    clips, unseen, judging = ([mels.clip(i) for i in range(len(mels))] for mels in some)
    recordings = Judging(judging, some[2].labels.tolist(), "48 recordings")
    return Material(Calibration("made", "clips of a test", 8, clips), unseen, recordings)


@pytest.fixture(scope="module")
def network(tiny_teacher):
    return checkpoints.load(tiny_teacher)


@pytest.fixture(scope="module")
def plain(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.onnx"
    export.onnx(network, path)
    return path


@pytest.fixture
def written(plain, monkeypatch):
    """The network in float32 is there already."""
    monkeypatch.setattr(exporting.exports, "onnx", lambda network, path: shutil.copy(plain, path))


@pytest.fixture(scope="module")
def lowered(network, material, plain, tmp_path_factory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("int8") / "new" / "student.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting.exports, "onnx", lambda network, path: shutil.copy(plain, path))
        return path, quantisation.export(network, path, "mel", "int8", material)


def test_eight_bits_answer_as_the_network_does(lowered, network, material, plain):
    path, value = lowered
    assert [file.name for file in path.parent.iterdir()] == ["student.onnx"]
    assert value["agreement"] >= 0.95 and value["unseen"] == 48 and value["recordings"]["clips"] == 48
    assert value["bytes"] == path.stat().st_size < value["float_bytes"] == pytest.approx(plain.stat().st_size, abs=2000)
    for clip in material.unseen[:4]:
        wanted = network.model(clip[None, None]).logits.numpy()
        found = logits(path, lowering.given(clip))
        assert np.abs(found - wanted).max() < 0.15 * np.abs(wanted).max()
    several = np.stack([lowering.given(clip[:, :24])[0] for clip in material.unseen[:3]])
    assert logits(path, several).shape == (3, 4)


def test_wide_layers_are_in_eight_bits_and_the_others_are_not(lowered):
    graph = onnx.load(lowered[0]).graph
    constants = {one.name: one for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    eight = []
    for node in (node for node in graph.node if node.op_type == "Conv"):
        if node.input[1] in constants:
            assert min(constants[node.input[1]].dims[:2]) < lowering.FEWEST
            continue
        assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        weight, scales = (constants[name] for name in makers[node.input[1]].input[:2])
        assert weight.data_type == onnx.TensorProto.INT8 and min(weight.dims[:2]) >= lowering.FEWEST
        assert list(scales.dims) == [weight.dims[0]]
        eight.append(onnx.numpy_helper.to_array(weight))
    assert len(eight) >= 3
    assert all(np.abs(values.astype(int)).max() <= 64 for values in eight)  # seven bits: no overflow without VNNI
    assert makers["logits"].op_type == "Gemm" and makers[makers["logits"].input[1]].op_type == "DequantizeLinear"


def test_what_the_file_says_of_itself(lowered, network):
    about = onnxruntime.InferenceSession(lowered[0]).get_modelmeta().custom_metadata_map
    measured = json.loads(about["measured"])
    assert (about["precision"], about["input"], about["sample_rate"]) == ("int8", "mel", "22050")
    assert tuple(json.loads(about["classes"])) == network.classes
    assert MelSpec.from_dict(json.loads(about["mel_spec"])) == network.spec
    assert measured["calibration"] == {
        "calibration": "made", "source": "clips of a test", "clips": 32, "per_class": 8, "method": lowering.METHOD
    }  # fmt: skip
    assert measured["agreement"] == lowered[1]["agreement"]


@pytest.mark.slow
def test_the_front_end_stays_exact(lowered, network, material, tmp_path, written, monkeypatch):
    monkeypatch.setattr(lowering, "eight_bits", lambda plain, path, clips, method: shutil.copy(lowered[0], path))
    value = quantisation.export(network, tmp_path / "it.onnx", "waveform", "int8", material)
    sounds = 0.1 * torch.randn(3, 9_000, generator=torch.Generator().manual_seed(0))
    mels = network.spec(sounds)[:, None]
    found = logits(tmp_path / "it.onnx", sounds.numpy())
    assert np.abs(found - logits(lowered[0], mels.numpy())).max() < 0.05 * np.abs(found).max()
    graph = onnx.load(tmp_path / "it.onnx").graph
    front = [node for node in graph.node if any(name.startswith("front/") for name in node.output)]
    assert len(front) > 10 and not [node for node in front if "Quantize" in node.op_type]
    about = onnxruntime.InferenceSession(tmp_path / "it.onnx").get_modelmeta().custom_metadata_map
    assert (about["input"], about["precision"]) == ("waveform", "int8")
    assert value["bytes"] < value["float_bytes"]


def test_half_the_file_and_the_same_arithmetic(network, material, plain, tmp_path, written):
    value = quantisation.export(network, tmp_path / "it.onnx", "mel", "fp16", material)
    assert value["agreement"] == 1.0 and "calibration" not in value
    assert value["bytes"] < 0.65 * value["float_bytes"]
    x = lowering.given(material.unseen[0])
    np.testing.assert_allclose(logits(tmp_path / "it.onnx", x), logits(plain, x), rtol=0, atol=0.02)


def test_weights_too_large_for_half_precision_stay(tmp_path):
    from onnx import TensorProto, helper, numpy_helper

    constants = [numpy_helper.from_array(np.full((1, 100), value, np.float32), f"w{value}") for value in (2, 1_000_000)]
    nodes = [helper.make_node("Mul", ["x", "w2"], ["y"]), helper.make_node("Mul", ["y", "w1000000"], ["logits"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 100]) for name in ("x", "logits")]
    graph = helper.make_graph(nodes, "it", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "plain.onnx")
    lowering.half_weights(tmp_path / "plain.onnx", tmp_path / "half.onnx")
    assert (logits(tmp_path / "half.onnx", np.ones((1, 100), np.float32)) == 2_000_000).all()


@pytest.mark.parametrize("on", ["made clips", "recordings"])
def test_a_file_that_answers_otherwise_is_not_written_unless_forced(
    on, network, material, tmp_path, monkeypatch, written
):
    bad = {"agreement": 1.0, "unseen": 100, "recordings": None}
    if on == "made clips":
        bad["agreement"] = 0.9
    else:
        bad["recordings"] = {"which": "100 recordings", "clips": 100, "accuracy": 0.8, "float_accuracy": 0.9}
    monkeypatch.setattr(exporting, "judge", lambda *a: dict(bad))
    out = tmp_path / "it.onnx"
    with pytest.raises(PrecisionError, match=f"{on}.*--force") as caught:
        quantisation.export(network, out, "mel", "fp16", material)
    assert len(str(caught.value).splitlines()) == 1 and not list(tmp_path.iterdir())
    assert quantisation.export(network, out, "mel", "fp16", material, force=True)["bytes"] == out.stat().st_size


def test_few_recordings_may_go_by_chance():
    real = {"which": "20 recordings", "clips": 20, "accuracy": 0.85, "float_accuracy": 1.0}
    exporting.refuse({"agreement": 1.0, "unseen": 9, "recordings": real}, Path("it.onnx"))
    with pytest.raises(PrecisionError):
        exporting.refuse({"agreement": 1.0, "unseen": 9, "recordings": real | {"accuracy": 0.8}}, Path("it.onnx"))


def test_the_judgement_sees_other_weights(network, plain, material, tmp_path):
    model = onnx.load(plain)
    bias = next(one for one in model.graph.initializer if one.name.endswith("classifier.bias"))
    values = onnx.numpy_helper.to_array(bias) + np.array([30, 0, 0, 0], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, tmp_path / "other.onnx")
    found = exporting.judge(plain, tmp_path / "other.onnx", material)
    assert found["agreement"] < 0.5 and found["recordings"]["accuracy"] < 0.5 < found["recordings"]["float_accuracy"]


def test_of_several_classes_at_once_all_answers_count():
    logits = np.array([[3.0, 2.0, -1.0]])
    assert exporting._decided(logits, True).tolist() == [[True, True, False]]
    assert exporting._decided(logits, False).tolist() == [[0]]


def test_bad_choices(network, material, tmp_path):
    for choices, word in (({"precision": "int4"}, "fp16, int8"), ({"input": "smell"}, "mel, waveform")):
        with pytest.raises(ExportError, match=word):
            quantisation.export(network, tmp_path / "it.onnx", **({"material": material} | choices))
    with pytest.raises(ExportError, match="calibrate"):
        quantisation.export(network, tmp_path / "it.onnx")
    assert not list(tmp_path.iterdir())


def test_litert_says_what_it_needs(network, material, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(ExportError, match=r"requirements-litert\.txt"):
        litert.export(network, tmp_path / "it.tflite", "int8", material, 0.5)
    with pytest.raises(ExportError, match="float32 or int8"):
        litert.export(network, tmp_path / "it.tflite", "fp16", material, 0.5)
    assert not list(tmp_path.iterdir())


def test_litert_takes_clips_of_its_duration():
    clip = torch.arange(6.0).reshape(2, 3)
    assert litert.fitted(clip, 5)[0, 0].tolist() == [[0, 1, 2, 0, 1], [3, 4, 5, 3, 4]]
    assert litert.fitted(clip, 2)[0, 0].tolist() == [[0, 1], [3, 4]]


def test_ranges_of_several_clips_are_joined():
    one, other = ({"min": np.float32(a), "max": np.float32(b)} for a, b in ((-1, 2), (-3, 1)))
    assert litert._widest([one, other]) == {"min": -3, "max": 2}


@pytest.mark.slow
def test_a_litert_file_answers_as_the_network_does(network, material, tmp_path):
    pytest.importorskip("litert_torch")
    value = litert.export(network, tmp_path / "it.tflite", "int8", material, 0.35)
    assert value["agreement"] >= 0.95 and value["bytes"] < 0.6 * value["float_bytes"] and value["difference"] < 1e-3
    assert json.loads((tmp_path / "it.json").read_text())["frames"] == value["frames"]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_student_in_eight_bits_without_data(capsys, tmp_path, monkeypatch):
    """From clips that ship, to a file of a quarter of the bytes."""
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    monkeypatch.setattr(calibration, "_RECIPES", ("frami", "dafl"))
    out = tmp_path / "it.onnx"
    status, text, err = run(capsys, "export", "fsdd-tiny", "--precision", "int8", "--out", out, "--json")
    assert status == 0, err
    value = json.loads(text)
    assert value["bytes"] < 130_000 and value["agreement"] >= 0.95 and value["recordings"]["clips"] >= 20
    assert value["calibration"]["calibration"] == "made" and value["calibration"]["clips"] == 100


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--precision", "int4"], "int4"),
        (["--calibration", "noise"], "--precision int8"),
        (["--calibration-clips", "4", "--precision", "fp16"], "--precision int8"),
        (["--precision", "int8", "--format", "safetensors"], "--precision is of an ONNX file"),
        (["--precision", "int8", "--calibration", "songs"], "songs"),
        (["--precision", "int8", "--calibration-clips", "0"], "below 1"),
        (["--precision", "int8", "--bank", "nowhere"], "no bank in nowhere"),
        (["--seconds", "1"], "--format litert"),
        (["--format", "litert", "--input", "waveform"], "log-Mels"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "export", "fsdd-tiny", "--out", "x.onnx", *arguments)
    assert status == 2 and out == "" and err.count("\n") == 1 and word in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("agreement", "unseen", "words"), [(0.975, 40, "97.5% of 40"), (None, 0, "no made clip was left")]
)
def test_what_is_printed_of_a_judgement(agreement, unseen, words):
    """Also where all clips of a small bank were calibrated on."""
    found = {"agreement": agreement, "unseen": unseen, "recordings": None}
    assert words in command_line._judgement(found)[0]
