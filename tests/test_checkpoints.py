"""Weights and card come back as they were saved; whatever is wrong with them is said with the path."""

import json
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from frami import checkpoints, models
from frami.audio import MelSpec
from frami.checkpoints import Card, CheckpointError
from frami.errors import FramiError
from frami.models import MaskedBatchNorm2d
from frami.weights import FORMAT


def trained_like(
    classes: int = 3, size: str = "nano", n_mels: int = 80, architecture: str = "residual"
) -> models.Classifier:
    torch.manual_seed(7)
    model = models.build(size, classes, n_mels, architecture)
    for norm in (m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture
def saved(tmp_path, make_card) -> Path:
    """A saved checkpoint's path without ending."""
    model = trained_like()
    checkpoints.save(tmp_path / "some", model, make_card(model, "some"))
    return tmp_path / "some"


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def edit(path: Path, **values) -> None:
    card = beside(path, ".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | values))


def refused(path: Path | str, *, names: str = "") -> str:
    """Message of the one error that loading gives."""
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    assert names in message and len(message.splitlines()) == 1
    return message


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "architecture"), [("nano", "residual"), ("base", "residual"), ("nano", "tc-resnet")])
def test_round_trip(size, architecture, tmp_path, make_card):
    model = trained_like(4, size, architecture=architecture)
    card = make_card(model, "it", title="Größe", training={"epochs": 3, "lr": 0.004})
    weights = checkpoints.save(tmp_path / "new" / "it", model, card)
    assert weights == tmp_path / "new" / "it.safetensors"
    assert {path.name for path in weights.parent.iterdir()} == {"it.safetensors", "it.json"}
    teacher = checkpoints.load(weights)
    x, lengths = torch.randn(3, 1, 80, 50), torch.tensor([50, 20, 3])
    with torch.no_grad():
        ours, theirs = model(x, lengths), teacher.model(x, lengths)
    for name, value in vars(ours).items():
        torch.testing.assert_close(getattr(theirs, name), value, rtol=0, atol=0)
    assert teacher.spec == MelSpec.from_dict(card.mel_spec)
    assert teacher.classes == card.classes
    stored = asdict(teacher.card)
    assert len(stored.pop("sha256")) == 64
    assert stored == {k: v for k, v in asdict(card).items() if k != "sha256"}


def test_a_card_is_complete_and_plain(saved):
    values = json.loads(beside(saved, ".json").read_text(encoding="utf-8"))
    assert set(values) == set(Card.__dataclass_fields__)
    assert values["format"] == FORMAT == 1
    assert values["mel_spec"] == MelSpec().to_dict()
    assert values["model"] == {"classes": 3, "width": 4, "depth": 1, "n_mels": 80}


def test_a_teacher_is_frozen_and_evaluates(saved):
    teacher = checkpoints.load(saved)
    assert not any(module.training for module in teacher.model.modules())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_weights_in_another_memory_format(tmp_path, make_card):
    model = trained_like().to(memory_format=torch.channels_last)
    checkpoints.save(tmp_path / "it", model, make_card(model, "it"))
    for name, value in checkpoints.load(tmp_path / "it").model.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)


def test_another_spectrogram_comes_back(tmp_path, make_card):
    model, spec = trained_like(n_mels=40), MelSpec(8_000, 256, 64, 40, 50.0, 3_800.0)
    checkpoints.save(tmp_path / "it", model, make_card(model, "it", mel_spec=spec.to_dict()))
    assert checkpoints.load(tmp_path / "it").spec == spec


@pytest.mark.parametrize("name", ["v1.0", "fsdd.best.2", "with space", ".hidden", "größe"])
def test_names_with_dots_and_others(name, tmp_path, make_card):
    model = trained_like()
    checkpoints.save(tmp_path / name, model, make_card(model, name))
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.safetensors", f"{name}.json"}
    assert checkpoints.load(tmp_path / name).card.name == name
    assert checkpoints.load(str(tmp_path / f"{name}.safetensors")).card.name == name


# --- by name or by path ----------------------------------------------------------------------------------------------


def test_by_path_with_and_without_ending(saved, monkeypatch):
    for form in (saved, str(saved), f"{saved}.safetensors", Path(f"{saved}.json")):
        assert checkpoints.load(form).card.name == "some"
        assert checkpoints.read_card(form).name == "some"
    monkeypatch.chdir(saved.parent)
    assert checkpoints.load("some").card.name == "some"


def test_by_name(saved, tmp_path, monkeypatch):
    shipped, own = tmp_path / "shipped", tmp_path / "home"
    monkeypatch.setattr(checkpoints, "BUNDLED", shipped)
    monkeypatch.setenv("FRAMI_HOME", str(own))
    refused("ours", names="bundled: none")
    for folder, name in ((shipped, "ours"), (own / "checkpoints", "mine")):
        folder.mkdir(parents=True)
        for ending in (".safetensors", ".json"):
            shutil.copy(beside(saved, ending), folder / f"{name}{ending}")
    assert checkpoints.resolve("ours") == shipped / "ours"
    assert checkpoints.resolve("mine") == own / "checkpoints" / "mine"
    assert checkpoints.load("mine.safetensors").card.name == "some"
    assert "'theirs'" in refused("theirs", names="bundled: ours")
    edit(own / "checkpoints" / "mine", name="mine")
    assert [card.name for card in checkpoints.bundled()] == ["some", "mine"]
    assert checkpoints.bundled("vocoder") == []
    edit(shipped / "ours", kind="student")
    assert [card.name for card in checkpoints.bundled("student")] == ["some"]


@pytest.mark.parametrize("name", ["", ".", "/", "..", "no/such/place", "x" * 300])
def test_what_is_no_checkpoint(name):
    assert "no checkpoint" in refused(name)


# --- what can be wrong -----------------------------------------------------------------------------------------------


def test_missing_pieces(saved):
    beside(saved, ".json").unlink()
    refused(saved, names=f"{saved}.json")
    with pytest.raises(CheckpointError, match="no such card"):
        checkpoints.read_card(saved)
    beside(saved, ".safetensors").unlink()
    refused(saved, names=str(saved))


@pytest.mark.parametrize("damage", ["empty", "cut", "cut in the header", "noise", "folder"])
def test_damaged_weights(damage, saved):
    weights = beside(saved, ".safetensors")
    content = weights.read_bytes()
    if damage == "folder":
        weights.unlink()
        weights.mkdir()
    else:
        pieces = {"empty": b"", "cut": content[:-100], "cut in the header": content[:50], "noise": b"\xff\x00" * 999}
        weights.write_bytes(pieces[damage])
    refused(saved, names=str(saved))


def test_one_flipped_bit(saved):
    weights = beside(saved, ".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)
    refused(saved, names=str(weights))


def test_weights_of_another_checkpoint(saved, tmp_path, make_card):
    other = trained_like(size="tiny")
    checkpoints.save(tmp_path / "other", other, make_card(other, "other"))
    shutil.copy(tmp_path / "other.safetensors", beside(saved, ".safetensors"))
    refused(saved, names=f"{saved}.safetensors")
    edit(saved, sha256="")
    assert "do not fit" in refused(saved, names=f"{saved}.safetensors")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "null", '"text"', "{}", '{"name": "x"}', '{"classes": null}', '{"format": "new"}', "\x00\xff"],
)
def test_a_damaged_card(content, saved):
    beside(saved, ".json").write_bytes(content.encode("latin-1"))
    refused(saved, names=f"{saved}.json")


def test_a_card_with_a_field_too_much_or_too_few(saved):
    edit(saved, surprise=1)
    refused(saved, names=f"{saved}.json")
    values = json.loads(beside(saved, ".json").read_text())
    beside(saved, ".json").write_text(json.dumps({k: v for k, v in values.items() if k not in ("surprise", "licence")}))
    refused(saved, names=f"{saved}.json")


def test_a_newer_format(saved):
    edit(saved, format=FORMAT + 1, surprise=1)
    message = refused(saved, names=f"{saved}.json")
    assert "newer" in message and "update" in message


@pytest.mark.parametrize(
    "values",
    [
        {"model": {"classes": 4, "width": 4, "depth": 1, "n_mels": 80}},
        {"model": {"classes": 3, "width": 8, "depth": 1, "n_mels": 80}},
        {"model": {"classes": 3, "width": 4, "depth": 2, "n_mels": 80}},
        {"model": {"classes": 3, "width": 4, "depth": 1, "n_mels": 64}},
        {"model": {"classes": 3, "width": 4, "depth": 1, "n_mels": 80, "extra": 1}},
        {"model": {"classes": 3, "width": 4, "depth": 1, "block": "cubic"}},
        {"model": {"classes": 3, "width": 4, "depth": 1, "pooling": "quantum"}},
        {"model": {"architecture": "tc-resnet", "classes": 3, "width": 4, "depth": 1}},
        {"model": {"architecture": ["residual"], "classes": 3, "width": 4, "depth": 1}},
        {"model": {"classes": 3, "width": -4}},
        {"model": {"classes": 3, "width": 2.5}},
        {"model": {"classes": "three"}},
        {"model": {}},
        {"classes": ["one", "two"]},
        {"mel_spec": MelSpec(n_mels=64).to_dict()},
        {"mel_spec": {"n_mels": 80, "colour": "red"}},
        {"mel_spec": {"n_mels": 80, "f_min": -3.0}},
    ],
    ids=str,
)
def test_weights_that_do_not_fit_their_card(values, saved):
    edit(saved, **values)
    assert "do not fit their card" in refused(saved, names=f"{saved}.safetensors")


def test_an_architecture_of_a_later_version(saved):
    edit(saved, model={"architecture": "os.system", "classes": 3})
    message = refused(saved, names=f"{saved}.safetensors")
    assert "no architecture 'os.system'; choose one of: residual, tc-resnet" in message


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_loading_runs_no_code(write, saved, tmp_path):
    ran = tmp_path / "ran"
    with beside(saved, ".safetensors").open("wb") as file:
        write({"classifier.weight": Trap(ran)}, file)
    edit(saved, sha256="")
    assert "not readable" in refused(saved, names=f"{saved}.safetensors")
    assert not ran.exists()


@pytest.mark.parametrize("step", ["write_bytes", "write_text", "replace"])
def test_a_save_that_fails_leaves_the_old_one(step, saved, make_card, monkeypatch):
    before = {path: path.read_bytes() for path in saved.parent.iterdir()}

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, fail)
        with pytest.raises(OSError, match="no space"):
            checkpoints.save(saved, trained_like(5), make_card(trained_like(5), "some"))
    assert {path: path.read_bytes() for path in saved.parent.iterdir()} == before
    assert checkpoints.load(saved).card.name == "some"


def test_saving_again_replaces_both(saved, make_card):
    model = trained_like(5)
    checkpoints.save(f"{saved}.safetensors", model, make_card(model, "some", accuracy=0.9))
    teacher = checkpoints.load(saved)
    assert teacher.card.accuracy == 0.9 and len(teacher.classes) == 5
    assert {path.name for path in saved.parent.iterdir()} == {"some.safetensors", "some.json"}


def test_its_errors_are_for_users():
    assert issubclass(CheckpointError, FramiError)
