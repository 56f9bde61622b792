"""Teachers that leave one speaker, or fold, out after the other."""

from contextlib import nullcontext
from dataclasses import fields, replace

import pytest
import torch

from frami import checkpoints, models, train
from frami.bench import fold_teachers, in_turn
from frami.bench.results import Context, silent
from frami.data.catalogue import DATASETS
from frami.errors import FramiError

SPEAKERS = ("george", "jackson", "theo")


@pytest.fixture
def here(make_tree, tmp_path, fresh_home):
    make_tree("fsdd", tmp_path, speakers=SPEAKERS)
    return Context(torch.device("cpu"), str(tmp_path), lambda unit, label: nullcontext(silent))


@pytest.fixture
def named(make_card, tmp_path):
    """Path of a small teacher of digits that never heard theo, trained without a validation part."""
    torch.manual_seed(0)
    model = models.build("nano", 10).eval()
    split = {"train": ["george", "jackson"], "test": ["theo"]}
    training = {"epochs": 2, "lr": 0.003, "crop": 1.2, "size": "nano", "clips": 20}
    card = make_card(model, "small", dataset="fsdd", classes=DATASETS["fsdd"].classes, split=split, training=training)
    checkpoints.save(tmp_path / "small", model, card)
    return tmp_path / "small"


def test_each_is_trained_once_as_the_named_one_was(here, named, monkeypatch):
    first, second = in_turn.teachers([named], ["theo", "george"], here)
    assert first.card.name == "small", "theo is held out from it"
    assert second.card.split == {"train": ["jackson", "theo"], "test": ["george"]}
    assert second.card.dataset == "fsdd" and second.card.training["size"] == "nano"
    settings = train.config_of(second.card.training)
    assert settings == replace(train.TrainConfig(), epochs=2, lr=0.003, crop=1.2, validation=0.0)
    monkeypatch.setattr(fold_teachers, "train_teacher", lambda *_, **__: pytest.fail("it is there"))
    (again,) = in_turn.teachers([named], ["george"], here)
    assert again.card.sha256 == second.card.sha256


def test_another_length_is_another_teacher(here, named):
    (one,) = in_turn.teachers([named], ["george"], here)
    (short,) = in_turn.teachers([named], ["george"], here, epochs=1)
    assert short.card.training["epochs"] == 1 and short.card.sha256 != one.card.sha256


@pytest.mark.slow
def test_a_fold_that_chose_epochs_chooses_them_still(here, named):
    card = checkpoints.read_card(named)
    split = {"train": ["george"], "validation": ["jackson"], "test": ["theo"]}
    checkpoints.save(
        named.with_name("chosen"), checkpoints.load(named).model, replace(card, name="chosen", split=split)
    )
    (found,) = in_turn.teachers([named.with_name("chosen")], ["george"], here)
    assert found.card.split == {"train": ["theo"], "validation": ["jackson"], "test": ["george"]}
    (found,) = in_turn.teachers([named.with_name("chosen")], ["jackson"], here)
    assert found.card.split == {"train": ["george", "theo"], "test": ["jackson"]}


def test_a_fold_that_it_does_not_know_is_named_first(here, named, make_card):
    with pytest.raises(FramiError, match=r"knows no speaker 'lucas'; choose out of: george, jackson, theo"):
        next(in_turn.teachers([named], ["theo", "lucas"], here))
    card = replace(checkpoints.read_card(named), name="own", dataset="my-sounds")
    checkpoints.save(named.with_name("own"), checkpoints.load(named).model, card)
    with pytest.raises(FramiError, match="'own' was trained on no data set of the catalogue"):
        next(in_turn.teachers([named, named.with_name("own")], ["theo"], here))


def test_settings_of_a_card_older_than_some_of_them():
    old = {"epochs": 40, "mixup": 0.25, "size": "base", "clips": 2000}
    found = train.config_of(old)
    assert (found.epochs, found.mixup, found.validation, found.versions, found.prior) == (40, 0.25, 0.0, 0, 0.0)
    now = train.TrainConfig(validation=0.2, versions=3)
    assert train.config_of({field.name: getattr(now, field.name) for field in fields(now)}) == now
