"""``frami import``: what people bring becomes a teacher that every command takes; what does not fit is said."""

import json
import re

import pytest
import torch

from frami import checkpoints, models
from frami.adapter import importing, published
from frami.adapter.networks.panns import Cnn
from frami.errors import FramiError
from frami.mel import MelSpec
from frami.paths import home
from frami.studio.components import teacher_facts
from tests.helpers.cli import run
from tests.helpers.networks import CLASSES, clip, network


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(CLASSES) + "\n")
    return path


@pytest.fixture
def frontend(tmp_path):
    path = tmp_path / "frontend.json"
    path.write_text(json.dumps({"n_mels": 40}))
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """As the documentation says: three lines."""
    path = tmp_path_factory.mktemp("theirs") / "attentive.pt2"
    free = torch.export.Dim.AUTO
    made = torch.export.export(network("attentive"), (clip("attentive", 2),), dynamic_shapes=({0: free, 2: free},))
    torch.export.save(made, path)
    return path


def panns(width: int = 4) -> Cnn:
    torch.manual_seed(0)
    return Cnn(len(CLASSES), 4, False, 64, width)


@pytest.mark.slow
def test_a_program_becomes_a_teacher_that_distils(capsys, fresh_home, tmp_path, program, classes, frontend):
    status, out, err = run(
        capsys, "import", "--program", program, "--classes", classes, "--frontend", frontend, "--json"
    )
    assert status == 0, err
    value = json.loads(out)
    assert value["name"] == "attentive" and value["norms"] == 3 and value["reusable"] and value["classes"] == [*CLASSES]
    assert {"architecture", "parameters", "frames", "pooled", "shortest", "longest"} <= set(value)
    assert value["parameters"] == sum(p.numel() for p in network("attentive").parameters())
    assert value["path"] == str(home() / "teachers" / "attentive")
    assert "<dt>accuracy</dt><dd>not measured</dd>" in teacher_facts(checkpoints.load("attentive").card)
    assert any(
        line.startswith("attentive") and "not measured" in line for line in run(capsys, "teachers")[1].splitlines()
    )

    made = run(capsys, "synthesize", "--teacher", "attentive", "--samples", 4, "--steps", 2, "--out", tmp_path / "bank")
    assert made[0] == 0, made[2]
    student = tmp_path / "student"
    quick = ["--rounds", 1, "--clips", 8, "--steps", 2, "--student", "nano", "--out", student]
    status, _, err = run(capsys, "distill", "--teacher", "attentive", *quick)
    assert status == 0, err
    status, _, err = run(capsys, "export", student, "--out", tmp_path / "student.onnx")
    assert status == 0, err


@pytest.mark.parametrize("form", ["safetensors", "state dict", "wrapped, half, of several devices"])
def test_published_networks_take_weights_as_people_share_them(capsys, fresh_home, tmp_path, classes, form):
    module = panns()
    state = module.state_dict()
    if form == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "it.safetensors"
        save_file(state, path)
    else:
        path = tmp_path / "it.pth"
        if form != "state dict":
            halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
            extra = {"module.spectrogram_extractor.stft.conv_real.weight": torch.zeros(3)}
            state = {"epoch": 3, "model": {f"module.{k}": v for k, v in halves.items()} | extra}
        torch.save(state, path)
    status, out, err = run(
        capsys, "import", "--architecture", "panns:Cnn6", "--weights", path, "--classes", classes, "--json"
    )
    assert status == 0, err
    assert json.loads(out)["frontend"]["sample_rate"] == 32_000 and json.loads(out)["unused"] == []
    teacher = checkpoints.load("it")
    x = torch.randn(2, 1, 64, 48) * 10 - 50
    torch.testing.assert_close(teacher.model(x).logits, module.eval()(x.transpose(2, 3)), rtol=2e-2, atol=2e-2)


def test_our_own_architectures_are_taken_as_well(capsys, fresh_home, tmp_path, classes):
    model = models.build("nano", len(CLASSES))
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    arguments = ["--architecture", "residual:nano", "--weights", tmp_path / "ours.pth", "--classes", classes]
    status, _, err = run(capsys, "import", *arguments)
    assert status == 0, err
    assert checkpoints.load("ours").card.model == model.config.to_dict()
    status, _, err = run(capsys, "import", *arguments)
    assert status == 2 and "--overwrite" in err
    assert run(capsys, "import", *arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("fc1.weight"), "missing: fc1.weight"),
        (lambda state: state.update({"fc_audioset.weight": torch.zeros(3, 32)}), r"fc_audioset.weight \[3, 32\]"),
        (lambda state: state.pop("bn0.weight"), "no weights of PANNs"),
        (lambda state: state.clear(), "holds no weights"),
        (lambda state: state["bn0.running_var"].fill_(float("nan")), "NaN"),
    ],
    ids=["missing", "other shape", "another network", "empty", "NaN"],
)
def test_weights_that_do_not_fit_are_named(capsys, fresh_home, tmp_path, classes, change, said):
    state = panns().state_dict()
    change(state)
    torch.save(state, tmp_path / "it.pth")
    status, _, err = run(
        capsys, "import", "--architecture", "panns:Cnn6", "--weights", tmp_path / "it.pth", "--classes", classes
    )
    assert status == 2 and len(err.splitlines()) == 1
    assert re.search(said, err), err


class Trap:
    """Runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_weights_are_read_without_running_code(capsys, fresh_home, tmp_path, classes):
    torch.save({"bn0.weight": Trap(tmp_path / "trap")}, tmp_path / "it.pth")
    status, _, err = run(
        capsys, "import", "--architecture", "panns:Cnn6", "--weights", tmp_path / "it.pth", "--classes", classes
    )
    assert status == 2 and "state_dict" in err and not (tmp_path / "trap").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--program", "none.pt2"], "none.pt2"),
        (["--architecture", "panns:Cnn6"], "--weights"),
        (["--architecture", "panns:Cnn7", "--weights", "none.pth"], "panns:Cnn14"),
        (["--program", "PROGRAM", "--frontend", "none"], "panns"),
        (["--program", "PROGRAM"], "40 x any"),
        (["--program", "PROGRAM", "--classes", "TWICE"], "twice: a"),
        (["--program", "PROGRAM", "--classes", "ONE"], "at least two"),
        (["--program", "PROGRAM", "--frontend", "FRONTEND", "--classes", "THREE"], "classes"),
        (["--program", "PROGRAM", "--frontend", "FRONTEND", "--frames", "nothing"], "there are:"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(capsys, fresh_home, tmp_path, program, classes, frontend, arguments, said):
    texts = {"TWICE": "a\nb\na\n", "ONE": "a\n", "THREE": "a\nb\nc\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    places = {"PROGRAM": program, "FRONTEND": frontend} | {name: tmp_path / name for name in texts}
    given = [places.get(word, word) for word in arguments]
    given += [] if "--classes" in given else ["--classes", classes]
    status, out, err = run(capsys, "import", *given)
    assert (status, out) == (2, "") and said in err and len(err.splitlines()) == 1, err
    assert not list((home() / "teachers").glob("*")), "nothing is left"


def test_unknown_architectures_are_listed():
    with pytest.raises(FramiError, match=r"panns:Cnn14.*residual:SIZE.*--program"):
        published.known("resnet")


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:mobilenet_v2"])
def test_networks_of_torchvision(tmp_path, name):
    models_ = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    state = models_.get_model(name.partition(":")[2], num_classes=4).state_dict()
    first = next(iter(state))
    torch.save(state | {first: state[first].sum(1, keepdim=True)}, tmp_path / "it.pth")
    loaded = published.load(name, tmp_path / "it.pth", 4, 40)
    assert loaded.network(torch.zeros(2, 1, 40, 64)).shape == (2, 4)


def test_a_network_of_pieces_hears_shorter_clips_again(capsys, fresh_home, tmp_path, classes):
    """With ``--least``: a short clip alone is what it is in a piece of full length, where it begins again."""
    module, path = panns(), tmp_path / "pieces.pth"
    torch.save(module.state_dict(), path)
    arguments = ["import", "--architecture", "panns:Cnn6", "--weights", path, "--classes", classes, "--seconds", 0.4]
    status, out, err = run(capsys, *arguments, "--least", 0.64, "--json")
    assert status == 0 and json.loads(out)["shortest"] == 65 and json.loads(out)["reusable"], err
    teacher = checkpoints.load("pieces")
    x = torch.randn(2, 1, 64, 30) * 10 - 50
    whole = x.repeat(1, 1, 1, 3)[..., :65]
    with torch.no_grad():
        torch.testing.assert_close(teacher.model(x).logits, module.eval()(whole.transpose(2, 3)), rtol=1e-3, atol=1e-3)
    torch.save(models.build("nano", len(CLASSES)).state_dict(), tmp_path / "ours.pth")
    ours = ["--architecture", "residual:nano", "--weights", tmp_path / "ours.pth", "--classes", classes]
    status, _, err = run(capsys, "import", *ours, "--least", 1)
    assert status == 2 and "--least is for networks of other make" in err


class Gated(torch.nn.Module):
    """Turns its answer round for loud clips."""

    def __init__(self, loud=lambda z: -z):
        super().__init__()
        self.inner, self.loud = network("bands"), loud

    def forward(self, x):
        z = torch.logit(self.inner(x)["clipwise_output"].clamp(1e-6, 1 - 1e-6))
        return torch.where(x.mean((1, 2, 3))[:, None] > -1, self.loud(z), z)


def brought(module, **settings):
    return importing.from_module(module, MelSpec(n_mels=40), CLASSES, seconds=0.6, time_first=True, **settings)


def test_a_gate_behind_the_last_layer_is_not_lost():
    module = Gated().eval()
    teacher, _ = brought(module)
    for level in (-8.0, -5.0, 1.0):
        x = torch.full((2, 1, 40, 60), level) + 0.1 * torch.randn(2, 1, 40, 60)
        with torch.no_grad():
            torch.testing.assert_close(teacher.model(x).logits, module(x.transpose(2, 3)), rtol=1e-3, atol=1e-3)


def test_answers_at_all_levels_are_numbers():
    assert brought(Gated(lambda z: z).eval())[1].reusable
    with pytest.raises(FramiError, match="NaN or infinite"):
        brought(Gated(lambda z: z * torch.nan).eval())


class Constant(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network("bands")

    def forward(self, x):
        return self.inner(x)["clipwise_output"] * 0 + torch.tensor([5.0, 0, 0, 0])


def test_a_network_that_answers_the_same_to_everything_removes_no_mean():
    assert not brought(Constant().eval())[1].centres


def test_silence_behind_short_clips():
    module = network("bands")
    teacher, _ = brought(module, least=0.64, silent=True)
    floor = teacher.spec.floor
    x = torch.randn(2, 1, 40, 30) - 5
    whole = torch.nn.functional.pad(x, (0, teacher.spec.frames(0.64) - 30), value=floor)
    with torch.no_grad():
        expected = module(whole.transpose(2, 3))["clipwise_output"]
        torch.testing.assert_close(teacher.model(x).logits.sigmoid(), expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(FramiError, match="--silence needs --least"):
        brought(module, silent=True)


def test_networks_of_libraries_that_take_no_spectrograms_are_named():
    pytest.importorskip("torchvision")
    with pytest.raises(FramiError, match="no convolution over time and frequency"):
        published._of_library("torchvision", "r3d_18", 4, {})
    with pytest.raises(FramiError, match=r"'conv1.weight' has 1 axes"):
        published._of_library("torchvision", "resnet18", 4, {"conv1.weight": torch.zeros(3)})
