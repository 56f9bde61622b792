"""Classes of two data sets that mean the same."""

import pytest

from frami.data.catalogue import DATASETS
from frami.data.matching import matching, normalised, shortened

DIGITS = DATASETS["fsdd"].classes


def named(own, others):
    return {others[j]: own[i] for j, i in matching(own, others).items()}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Sea waves", "sea waves"), ("sea_waves", "sea waves"), ("SEA-WAVES ", "sea waves"), ("0", "zero"),
        ("07", "seven"), ("digit 3", "digit three"), ("m²", "m²"), ("²", "²"), ("٣", "٣"), ("Straße", "strasse"),
        ("cafe\u0301", "café"), ("犬", "犬"), ("🐕", "🐕"), ("10", "ten"), ("1234", "1234"), ("_", ""),
    ],
)  # fmt: skip
def test_spelling_is_left_aside(name, plain):
    assert normalised(name) == plain


def test_digits_match_in_figures_and_words():
    figures = [str(digit) for digit in range(9, -1, -1)]
    assert matching(DIGITS, figures) == {j: 9 - j for j in range(10)}
    assert matching(DIGITS, DATASETS["speechcommands"].classes).keys() == {
        j for j, name in enumerate(DATASETS["speechcommands"].classes) if name in DIGITS
    }


def test_esc10_is_a_part_of_esc50():
    found = named(DATASETS["esc10"].classes, DATASETS["esc50"].classes)
    assert set(found) == set(DATASETS["esc10"].classes) and all(a == b for a, b in found.items())


def test_sounds_of_a_city_in_esc50():
    """By name, and by the table of synonyms; no other pair is alike."""
    found = named(DATASETS["esc50"].classes, DATASETS["urbansound8k"].classes)
    assert found == {"car_horn": "car_horn", "siren": "siren", "dog_bark": "dog", "engine_idling": "engine"}


def test_a_name_that_fits_two_classes_matches_none():
    assert named(["a b", "A_B", "c"], ["a-b", "c"]) == {"c": "c"}
    assert named(["dog", "dog bark"], ["dog_bark", "dog"]) == {"dog": "dog", "dog_bark": "dog bark"}, "equal ones first"
    assert named(["dog"], ["dog", "dog_bark"]) == {"dog": "dog"}, "a class is given once"
    assert named(["dog"], ["dog_bark", "Dog-Bark"]) == {}


def test_strangers_have_nothing_in_common():
    assert matching(DIGITS, DATASETS["esc10"].classes) == {}


def test_long_lists_are_shortened():
    assert shortened(["a", "b"]) == "a, b"
    assert shortened([str(n) for n in range(11)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert shortened([str(n) for n in range(50)], 3) == "0, 1, 2 and 47 more"
