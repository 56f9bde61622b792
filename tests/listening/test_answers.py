"""From probabilities to answers and events."""

import numpy as np
import pytest

from frami.errors import FramiError
from frami.listening import Events, Settings, Smoothing, answers_of
from frami.listening.answers import Window

CLASSES = ("a", "b", "c")


def windows(*rows: list[float], hop: float = 1.0) -> list[Window]:
    """Windows of two seconds, a second apart, each of which stands for one."""
    return [
        Window(k * hop, k * hop + 2, ((k + 0.5) * hop * bool(k), (k + 1.5) * hop), np.array(row, np.float32))
        for k, row in enumerate(rows)
    ]


def events(rows, multilabel=False, seconds=None, **choices) -> list[tuple]:
    made = Events(CLASSES, Settings(events=True, **choices), multilabel)
    given = windows(*rows)
    found = [one for window in given for one in made.push(window)]
    found += made.end(given[-1].end if seconds is None else seconds)
    return [(one.name, one.start, one.end, one.windows) for one in found]


A, B, NONE = [0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3]


def test_an_answer_is_the_likeliest_class_above_the_threshold():
    (window,) = windows([0.3, 0.6, 0.1])
    (one,) = answers_of(window, CLASSES, 0.5, False)
    assert one.row() == {"start": 0.0, "end": 2.0, "class": "b", "confidence": 0.6}
    assert answers_of(window, CLASSES, 0.7, False) == []
    assert answers_of(windows([0, 0, 0])[0], CLASSES, 0.0, False) == [], "silence"


def test_a_multi_label_network_gives_all_above_it():
    (window,) = windows([0.7, 0.2, 0.9])
    assert [one.name for one in answers_of(window, CLASSES, 0.5, True)] == ["c", "a"]


def test_equal_answers_in_a_row_are_an_event():
    assert events([A, A, B, NONE, A]) == [("a", 0, 2.5, 2), ("b", 2.5, 3.5, 1), ("a", 4.5, 6, 1)]


def test_an_event_is_told_as_soon_as_it_is_over():
    made = Events(CLASSES, Settings(events=True), False)
    a, b = windows(A, NONE)
    assert list(made.push(a)) == [] and [one.name for one in made.push(b)] == ["a"]


def test_gaps_and_short_events():
    assert events([A, A, NONE, A, A], gap=1) == [("a", 0, 6, 4)]
    assert events([A, A, NONE, NONE, A, A], gap=1) == [("a", 0, 2.5, 2), ("a", 4.5, 7, 2)]
    assert events([A, B, A, A], shortest=1.6) == [("a", 2.5, 5, 2)]


def test_events_of_several_classes_at_once():
    both, one = [0.9, 0.9, 0], [0.9, 0.1, 0]
    assert events([one, both, both, one], True) == [("b", 1.5, 3.5, 2), ("a", 0, 5, 4)]


def test_the_confidence_of_an_event():
    made = Events(CLASSES, Settings(events=True, threshold=0.1), False)
    for window in windows([0.5, 0.3, 0.2], [0.9, 0.1, 0]):
        assert not list(made.push(window))
    (one,) = made.end(3)
    assert (one.confidence, one.peak) == (pytest.approx(0.7), pytest.approx(0.9))
    assert one.row() == {"start": 0.0, "end": 3.0, "class": "a", "confidence": 0.7, "peak": 0.9, "windows": 2}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_smoothing_is_the_mean_of_the_neighbours(count):
    rows = np.random.default_rng(0).dirichlet([1, 1, 1], 7).astype(np.float32)
    made, given = Smoothing(count), windows(*rows)
    found = [one for window in given for one in made.push(window)] + list(made.end())
    assert [one.start for one in found] == [one.start for one in given]
    for k, one in enumerate(found):
        near = rows[max(0, k - (count - 1) // 2) : k + count // 2 + 1]
        np.testing.assert_allclose(one.probabilities, near.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.5}, {"smooth": 0}, {"gap": -1.0, "events": True}, {"gap": 1.0}, {"shortest": 1.0}]
)
def test_settings_that_do_not_go(wrong):
    with pytest.raises(FramiError):
        Settings(**wrong)
