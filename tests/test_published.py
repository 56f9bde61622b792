"""Published networks: names, shapes and answers are those of their authors' code."""

import json
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from frami import checkpoints
from frami.adapter import importing, published
from frami.adapter.networks import ecapa, panns
from frami.errors import FramiError
from frami.mel import MelSpec
from tests.helpers.cli import run
from tests.helpers.networks import CLASSES

STATISTICS = ("weight", "bias", "running_mean", "running_var")
#: Output channels of MobileNetV1's layers; of MobileNetV2's inverted residuals.
V1 = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
V2 = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
SMALL = {"channels": (16, 24, 24, 40), "kernels": (3, 5, 3, 1), "scale": 4, "squeeze": 6, "attention": 8, "neurons": 12}


def norm(name, width):
    return {f"{name}.{own}": (width,) for own in STATISTICS} | {f"{name}.num_batches_tracked": ()}


def linear(name, outputs, inputs, *size):
    return {f"{name}.weight": (outputs, inputs, *size), f"{name}.bias": (outputs,)}


def mobilenet_v1(classes, widths=V1):
    found = norm("bn0", 64) | {"features.0.0.weight": (widths[0], 1, 3, 3)} | norm("features.0.2", widths[0])
    for k, (inputs, outputs) in enumerate(pairwise(widths), 1):
        found |= {f"features.{k}.0.weight": (inputs, 1, 3, 3)} | norm(f"features.{k}.2", inputs)
        found |= {f"features.{k}.4.weight": (outputs, inputs, 1, 1)} | norm(f"features.{k}.5", outputs)
    return found | linear("fc1", widths[-1], widths[-1]) | linear("fc_audioset", classes, widths[-1])


def mobilenet_v2(classes, first=32, widths=V2, last=1280, hidden=1024, times=6):
    found = norm("bn0", 64) | {"features.0.0.weight": (first, 1, 3, 3)} | norm("features.0.2", first)
    inputs = first
    for k, outputs in enumerate(widths, 1):
        inner, name, at = inputs * (times if k > 1 else 1), f"features.{k}.conv", 0
        if k > 1:
            found |= {f"{name}.0.weight": (inner, inputs, 1, 1)} | norm(f"{name}.1", inner)
            at = 3
        found |= {f"{name}.{at}.weight": (inner, 1, 3, 3)} | norm(f"{name}.{at + 2}", inner)
        found |= {f"{name}.{at + 4}.weight": (outputs, inner, 1, 1)} | norm(f"{name}.{at + 5}", outputs)
        inputs = outputs
    found |= {"features.18.0.weight": (last, inputs, 1, 1)} | norm("features.18.1", last)
    return found | linear("fc1", hidden, last) | linear("fc_audioset", classes, hidden)


def speechbrain(
    classes, channels=(1024, 1024, 1024, 1024, 3072), kernels=(5, 3, 3, 3, 1), scale=8, squeeze=128, attention=128,
    neurons=192,
):  # fmt: skip
    """embedding_model.ckpt and classifier.ckpt; by default of speechbrain/urbansound8k_ecapa."""

    def tdnn(name, outputs, inputs, size):
        return linear(f"{name}.conv.conv", outputs, inputs, size) | norm(f"{name}.norm.norm", outputs)

    found = tdnn("blocks.0", channels[0], 80, kernels[0])
    for k in range(1, len(channels) - 1):
        inputs, width, name = channels[k - 1], channels[k], f"blocks.{k}"
        found |= tdnn(f"{name}.tdnn1", width, inputs, 1) | tdnn(f"{name}.tdnn2", width, width, 1)
        for part in range(scale - 1):
            found |= tdnn(f"{name}.res2net_block.blocks.{part}", width // scale, width // scale, kernels[k])
        found |= linear(f"{name}.se_block.conv1.conv", squeeze, width, 1)
        found |= linear(f"{name}.se_block.conv2.conv", width, squeeze, 1)
        found |= linear(f"{name}.shortcut.conv", width, inputs, 1) if inputs != width else {}
    last = channels[-1]
    found |= tdnn("mfa", last, sum(channels[1:-1]), kernels[-1]) | tdnn("asp.tdnn", attention, 3 * last, 1)
    found |= linear("asp.conv.conv", last, attention, 1) | norm("asp_bn.norm", 2 * last)
    return found | linear("fc.conv", neurons, 2 * last, 1), {"weight": (classes, neurons)}


def together(model, classifier):
    return {f"embedding_model.{k}": v for k, v in model.items()} | {f"classifier.{k}": v for k, v in classifier.items()}


def filled(shapes):
    """Weights that look trained, and are the same wherever they are made."""
    found = {}
    for name, size in sorted(shapes.items()):
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(9)
            continue
        numbers = torch.arange(torch.Size(size).numel(), dtype=torch.float64) + 1
        noise = 2 * (torch.sin(numbers * 12.9898 + len(found)) * 43758.5453).frac().abs() - 1
        if len(size) > 1:
            noise *= (6 / torch.Size(size[1:]).numel()) ** 0.5
        elif name.endswith(("bias", "running_mean")):
            noise *= 0.2
        else:
            noise = 1 + 0.3 * noise
        found[name] = noise.reshape(size).float()
    return found


def clip(bands, frames):
    wave = torch.sin(torch.arange(2 * bands * frames, dtype=torch.float64) ** 1.5 / 50).reshape(2, 1, bands, frames)
    return (wave * torch.tensor([2, 6])[:, None, None, None]).float()


PUBLISHED = [
    ("panns:MobileNetV1", panns.mobilenet_v1, mobilenet_v1(527), 527, 4_796_303),
    ("panns:MobileNetV2", panns.mobilenet_v2, mobilenet_v2(527), 527, 4_075_343),
    ("speechbrain:ecapa", ecapa.build, together(*speechbrain(10)), 10, 20_769_472),
]


@pytest.mark.parametrize(("name", "build", "shapes", "classes", "count"), PUBLISHED, ids=lambda value: str(value)[:20])
def test_names_and_shapes_are_the_published_ones(name, build, shapes, classes, count):
    with torch.device("meta"):
        network = build(classes, {key: torch.empty(size) for key, size in shapes.items()})
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    assert sum(p.numel() for p in network.parameters()) == count
    assert published.PUBLISHED[name].build is build


#: What the code of their authors gave for ``filled`` weights and ``clip``: logits of PANNs, cosines of SpeechBrain.
ANSWERS = {
    "panns:MobileNetV1": [
        [-0.72942, 0.68639, -1.08278, -0.64585, 0.46379, -0.30295],
        [-0.75432, 0.68976, -1.11692, -0.67781, 0.48082, -0.32105],
    ],
    "panns:MobileNetV2": [
        [-0.28299, 12.25542, -5.54162, 3.39007, -0.11725, 6.06619],
        [-0.44025, 9.67498, -6.82860, 3.10435, -2.15371, 6.34227],
    ],
    "speechbrain:ecapa": [
        [-0.07029, 0.23404, -0.20552, -0.62428, 0.36058, 0.24286],
        [-0.07135, 0.21451, -0.21354, -0.60229, 0.34585, 0.23557],
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_those_of_their_authors_code(tmp_path, name):
    if name == "speechbrain:ecapa":
        weights, bands, x, scale = folder(tmp_path, 6), 80, clip(80, 50), 30
    else:
        weights, bands, x, scale = tmp_path / "it.pth", 64, clip(64, 70).transpose(2, 3), 1
        torch.save({"model": filled((mobilenet_v1 if name.endswith("V1") else mobilenet_v2)(6))}, weights)
    loaded = published.load(name, weights, 6, bands)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(x), scale * torch.tensor(ANSWERS[name]), rtol=1e-3, atol=1e-3)
    assert not loaded.unused


def folder(path, classes=4):
    """A folder as SpeechBrain shares it, of a small network."""
    for name, shapes in zip(("embedding_model", "classifier"), speechbrain(classes, **SMALL), strict=True):
        torch.save(filled(shapes), path / f"{name}.ckpt")
    return path


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(CLASSES) + "\n")
    return path


@pytest.mark.parametrize("prefix", ["", "mods.", "module."])
def test_one_file_of_both_parts_is_the_same_network(tmp_path, prefix):
    parts = [torch.load(folder(tmp_path) / f"{name}.ckpt") for name in ("embedding_model", "classifier")]
    whole = together(*parts) | {"compute_features.compute_STFT.window": torch.ones(400)}
    torch.save({prefix + own: tensor for own, tensor in whole.items()}, tmp_path / "whole.ckpt")
    one, two = (published.load("speechbrain:ecapa", path, 4, 80) for path in (tmp_path / "whole.ckpt", tmp_path))
    assert torch.equal(one.network(clip(80, 50)), two.network(clip(80, 50))) and not one.unused


def test_places_of_ecapa_are_those_of_its_parts(tmp_path):
    """Frame-level features go into the attentive pooling; the embedding has unit length, as the cosines hear it."""
    spec = MelSpec.preset("speechbrain")
    teacher, found, unused = importing.from_published("speechbrain:ecapa", folder(tmp_path), spec, CLASSES)
    assert found.reusable and not found.centres and not found.multilabel and found.norms == 14 and not unused
    assert (found.shortest, found.longest) == (5, None), "four frames are reflected at each end"
    network, seen = published.load("speechbrain:ecapa", tmp_path, len(CLASSES), 80).network, []
    network.embedding_model.asp.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.embedding_model.register_forward_hook(lambda _, __, embedding: seen.append(embedding[..., 0]))
    with torch.no_grad():
        logits, own = network(clip(80, 50)), teacher.model(clip(80, 50))
    torch.testing.assert_close(own.logits, logits)
    torch.testing.assert_close(own.frames[:, :, 0], seen[0])
    torch.testing.assert_close(own.pooled, F.normalize(seen[1]))


@pytest.mark.slow
def test_ecapa_goes_all_the_way(capsys, fresh_home, tmp_path, classes):
    (tmp_path / "ours").mkdir()
    weights = folder(tmp_path / "ours")
    arguments = ["--architecture", "speechbrain:ecapa", "--weights", weights, "--classes", classes]
    status, out, err = run(capsys, "import", *arguments, "--json")
    assert status == 0, err
    value = json.loads(out)
    assert value["name"] == "ours" and value["reusable"]
    assert value["frontend"] == MelSpec.preset("speechbrain").to_dict()
    card, tensors = checkpoints.load("ours").card, together(*map(filled, speechbrain(4, **SMALL)))
    assert card.classes == CLASSES and card.parameters == value["parameters"]
    assert card.parameters == sum(t.numel() for own, t in tensors.items() if not own.endswith(("_mean", "_var", "d")))
    bank, student = tmp_path / "bank", tmp_path / "student"
    made = run(capsys, "synthesize", "--teacher", "ours", "--samples", 4, "--steps", 2, "--out", bank)
    assert made[0] == 0, made[2]
    quick = ["--rounds", 1, "--clips", 8, "--steps", 2, "--student", "nano", "--out", student]
    status, _, err = run(capsys, "distill", "--teacher", "ours", *quick)
    assert status == 0, err
    status, _, err = run(capsys, "export", student, "--out", tmp_path / "student.onnx")
    assert status == 0 and (tmp_path / "student.onnx").exists(), err


@pytest.mark.parametrize(
    ("name", "shapes"),
    [("MobileNetV1", mobilenet_v1(4, (4,) * 14)), ("MobileNetV2", mobilenet_v2(4, 4, (4,) * 17, 8, 8, 2))],
    ids=["V1", "V2"],
)
def test_mobilenets_become_teachers(capsys, fresh_home, tmp_path, classes, name, shapes):
    front = {"spectrogram_extractor.stft.conv_real.weight": torch.zeros(3)}
    torch.save({"iteration": 3, "model": filled(shapes) | front}, tmp_path / "it.pth")
    arguments = ["--architecture", f"panns:{name}", "--weights", tmp_path / "it.pth", "--classes", classes]
    status, out, err = run(capsys, "import", *arguments, "--json")
    assert status == 0, err
    value = json.loads(out)
    assert value["reusable"] and value["frontend"]["sample_rate"] == 32_000 and value["unused"] == []
    assert value["shortest"] == 32, "halved five times"


def without(key):
    return lambda parts: [part.pop(key, None) for part in parts]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("mfa.conv.conv.weight"), r"no '\w+.mfa.conv.conv.weight' \(expected \[outputs, inputs, size\]"),
        (without("blocks.1.tdnn1.conv.conv.weight"), "no 'embedding_model.blocks.1.tdnn1.conv.conv.weight'"),
        (without("blocks.2.res2net_block.blocks.1.conv.conv.bias"), "missing: embedding_model.blocks.2.res2net_block"),
        (without("weight"), "no weights"),
        (lambda parts: parts[0].update({"fc.conv.weight": torch.zeros(3, 80)}), r"fc.conv.weight' is \[3, 80\]"),
        (lambda parts: parts[1].update({"weight": torch.zeros(3, 12)}), r"weight \[3, 12\] \(expected \[4, 12\]\)"),
        (lambda parts: parts[1].update({"blocks.1.w.weight": torch.zeros(3, 3)}), "expected 'classifier.weight' alone"),
        (lambda parts: parts[0].update({"mfa.conv.conv.weight": torch.zeros(40, 47, 1)}), r"expected \[40, 48, 1\]"),
    ],
    ids=["missing", "no block", "bias", "empty", "axes", "classes", "deep", "other size"],
)  # fmt: skip
def test_what_of_ecapa_does_not_fit_is_named(tmp_path, change, said):
    files = [folder(tmp_path) / f"{name}.ckpt" for name in ("embedding_model", "classifier")]
    parts = [torch.load(file) for file in files]
    change(parts)
    for file, part in zip(files, parts, strict=True):
        torch.save(part, file)
    with pytest.raises(FramiError, match=said):
        published.load("speechbrain:ecapa", tmp_path, 4, 80)


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("speechbrain:ecapa", "embedding_model.ckpt", "no name begins with 'embedding_model.'.*classifier.ckpt"),
        ("speechbrain:ecapa", "classifier", "embedding_model.ckpt: no such file"),
        ("panns:MobileNetV1", "", "a folder"),
        ("panns:MobileNetV2", "embedding_model.ckpt", r"MobileNetV2: they have no 'features.0.0.weight' \(expected"),
    ],
)
def test_a_file_or_folder_of_another_kind_is_named(tmp_path, name, file, said):
    (folder(tmp_path) / "classifier").mkdir()
    with pytest.raises(FramiError, match=said):
        published.load(name, tmp_path / file, 4, 80)


def test_another_number_of_bands_is_named(tmp_path):
    with pytest.raises(FramiError, match=r"blocks.0.conv.conv.weight' is of 80 bands \(expected 128"):
        published.load("speechbrain:ecapa", folder(tmp_path), 4, 128)
