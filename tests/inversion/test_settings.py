"""Settings of an inversion: checked once, stored and read back, also as earlier versions stored them."""

import json
import math
from dataclasses import replace

import pytest

from frami import files
from frami.errors import FramiError
from frami.inversion import RECIPES, InversionSettings, durations, invert, make_clips
from frami.inversion.recipes import fingerprint
from frami.inversion.settings import LONGEST, MOST_SEED, SHORTEST, recipe_of_earlier, upgraded
from frami.paths import ASSETS
from tests.helpers.kinds import FRAMI, same


def test_what_is_not_given_is_filled_in(teacher):
    settings = InversionSettings.of(teacher, seconds=None)
    assert settings.recipe == FRAMI and settings.classes == tuple(range(10)) and settings.samples == 16
    assert settings.seconds == durations(teacher, FRAMI, None)
    assert (settings.teacher, settings.teacher_sha256) == ("fsdd", teacher.card.sha256)
    own = InversionSettings.of(teacher, "cmi", steps=3, weights={"contrast": 0.0}, classes=[3, 3, 1])
    assert own.recipe.steps == 3 and own.classes == (3, 3, 1)
    assert own.recipe.weights == RECIPES["cmi"].weights | {"contrast": 0.0}


@pytest.mark.parametrize(
    ("choices", "stored"),
    [
        ({}, {"recipe": "frami-fine", "steps": 100, "seconds": 1.0, "classes": [*range(10)], "batch": 16, "seed": 0}),
        ({"recipe": "dafl", "seconds": (0.2, 0.4), "seed": MOST_SEED}, {"seconds": [0.2, 0.4], "seed": MOST_SEED}),
        ({"weights": {"class": 2.0}, "snapshots": 3}, {"weights": FRAMI.weights | {"class": 2.0}, "snapshots": 3}),
        ({"steps": 7, "classes": [4], "samples": 3, "batch": 2}, {"steps": 7, "classes": [4], "samples": 3}),
    ],
)
def test_settings_come_back_from_json(teacher, choices, stored):
    settings = InversionSettings.of(teacher, **choices)
    values = json.loads(json.dumps(settings.to_dict()))
    assert values | stored == values and values["teacher_sha256"] == teacher.card.sha256
    assert ("weights" in values) == ("weights" in stored) and ("snapshots" in values) == ("snapshots" in stored)
    assert InversionSettings.from_dict(values) == settings


BANKS = sorted(path for path in ASSETS.glob("*/**/manifest.json") if (path.parent / "shards").is_dir())


@pytest.mark.parametrize("path", BANKS, ids=lambda path: path.parent.name)
def test_settings_of_the_bundled_banks_are_read(path):
    """Those of the gallery do not know their teacher's weights; none lists all classes; early ones name their recipe
    as it was called then."""
    manifest = files.read_json(path)
    before = manifest["settings"]
    settings = InversionSettings.from_dict(upgraded(before, len(manifest["classes"])))
    assert settings.teacher_sha256 == before.get("teacher_sha256")
    stored = settings.to_dict()
    assert upgraded(stored, 10) == stored and stored["classes"] == [*range(len(manifest["classes"]))]
    assert all(stored[name] == before[name] for name in ("teacher", "samples", "steps", "batch", "seed"))
    now = before["recipe"] if "fingerprint" in before else recipe_of_earlier(before["recipe"])
    assert stored["recipe"] == now and stored["fingerprint"] == fingerprint(RECIPES[now])


def test_recipes_that_were_called_otherwise():
    names = ("frami", "frami-no-contrast", "frami-fast", "frami-flash", "cmi", "deepinversion-cifar", "mine")
    now = ("frami-fine", "frami-fine-no-contrast", "frami-fast", "frami-flash", "cmi", "deepinversion-cifar", "mine")
    assert tuple(map(recipe_of_earlier, names)) == now


def test_settings_of_an_earlier_run_of_the_studio_are_read():
    """Every weight and the vocoder were among them."""
    before = {
        "teacher": "fsdd", "recipe": "frami-fast", "samples": 4, "steps": 3, "seconds": [0.2, 0.2], "classes": [0, 1],
        "batch": 2, "seed": 2**31, "vocoder": "frami", "weights": {"class": 1.0, "batch_norm": 0.06, "balance": 0.0},
    }  # fmt: skip
    settings = InversionSettings.from_dict(upgraded(before, 10))
    assert settings.seconds == (0.2, 0.2) and settings.seed == 2**31 and settings.teacher_sha256 is None
    assert upgraded({"teacher": "fsdd", "run": "abc", "recipe": "frami"}, 10) == {
        "teacher": "fsdd", "run": "abc", "recipe": "frami",
    }, "settings of something else"  # fmt: skip
    for broken in ({}, before | {"recipe": "soup"}, before | {"steps": "many"}, before | {"classes": 3}):
        with pytest.raises(FramiError):
            InversionSettings.from_dict(broken)


def test_settings_belong_to_the_weights_that_they_name(teacher):
    settings = InversionSettings.of(teacher, samples=2, seconds=0.2, steps=1)
    other = replace(teacher, card=replace(teacher.card, sha256="0" * 64))
    with pytest.raises(FramiError, match="other weights"):
        invert(other, settings)
    unknown = replace(settings, teacher_sha256=None)
    assert same(make_clips(other, unknown), make_clips(teacher, samples=2, seconds=0.2, steps=1))
    with pytest.raises(TypeError, match="samples"):
        invert(teacher, settings, samples=3)


def test_durations(teacher):
    assert durations(teacher, FRAMI, 0.5) == (0.5, 0.5) and durations(teacher, FRAMI, (0.2, 3)) == (0.2, 3)
    assert durations(teacher, FRAMI, [SHORTEST, LONGEST]) == (SHORTEST, LONGEST)
    usual = teacher.seconds
    assert durations(teacher, FRAMI, None) == pytest.approx((0.6 * usual, 1.4 * usual))
    assert durations(teacher, RECIPES["frami-fine-fixed"], None) == (usual, usual)
    for shares in ((1e-3, 1e3), (1e-3, 1e-3), (1e3, 1e3)):
        low, high = durations(teacher, replace(FRAMI, durations=shares), None)
        assert SHORTEST <= low <= high <= LONGEST
    illegal = (0.01, 31.0, -1.0, math.nan, math.inf, (1.0, 0.5), (0.01, 1.0), (1.0, 31.0), (1.0,), (1.0, 2.0, 3.0))
    for seconds in illegal:
        with pytest.raises(FramiError):
            durations(teacher, FRAMI, seconds)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"seed": -1}, "from 0 to 281474976710655, not -1"),
        ({"seed": MOST_SEED + 1}, "from 0 to"),
        ({"samples": 0}, "samples is at least 1"),
        ({"steps": 0}, "steps is at least 1"),
        ({"batch": 0}, "batch is at least 1"),
        ({"every": 0}, "every is at least 1"),
        ({"snapshots": -1}, "snapshots is at least 0"),
        ({"first": -1}, "first is at least 0"),
        ({"seconds": 0.01}, "not 0.01"),
        ({"seconds": 100}, "not 100"),
        ({"seconds": (0.5, 0.2)}, "the shorter first"),
        ({"seconds": (0.5,)}, "the shortest and the longest"),
        ({"classes": [10]}, "from 0 to 9"),
        ({"classes": [-1]}, "from 0 to 9"),
        ({"classes": []}, "from 0 to 9"),
        ({"weights": {"class": -1}}, "not negative"),
        ({"weights": {"contrast": float("nan")}}, "finite"),
        ({"weights": {"loudness": 1.0}}, "loudness.*class, batch_norm, contrast"),
        ({"weights": {"class": 0, "batch_norm": 0, "contrast": 0}}, "nothing would be learnt"),
    ],
)
def test_impossible_settings_are_refused_at_the_call(teacher, choices, message):
    with pytest.raises(FramiError, match=message):
        invert(teacher, **choices)
