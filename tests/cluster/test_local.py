"""Tasks in this process, how often they are tried, and what is said where there is no Ray."""

import sys
from contextlib import contextmanager

import pytest

from frami import checkpoints, cluster
from frami.cluster import Failures, Task
from frami.cluster.sent import SentTeacher
from frami.errors import FramiError
from frami.files import FullError
from tests.helpers import tasks


@contextmanager
def quiet(unit, label):
    yield lambda done, total: None


def run(*given):
    with cluster.opened() as engine:
        return {ended.task.name: ended for ended in engine.run(given, quiet)}


def test_results_come_one_after_another_and_a_task_is_asked_for_when_its_turn_comes():
    order = []

    def given():
        for number in (1, 2, 3):
            order.append(f"asked for {number}")
            yield Task(str(number), tasks.doubled, (number,))

    with cluster.opened() as engine:
        for ended in engine.run(given(), quiet):
            order.append(f"{ended.value}")
    assert order == ["asked for 1", "2", "asked for 2", "4", "asked for 3", "6"]
    assert not engine.remote and engine.workers == 1


def test_what_fails_is_tried_three_times_and_stops_no_other(tmp_path):
    (tmp_path / "twice").mkdir()
    (tmp_path / "thrice").mkdir()
    ended = run(
        Task("twice", tasks.failing, (str(tmp_path / "twice"), 2)),
        Task("thrice", tasks.failing, (str(tmp_path / "thrice"), 3)),
        Task("refused", tasks.refused),
        Task("fine", tasks.doubled, (2,)),
    )
    assert (ended["twice"].value, ended["twice"].error, ended["twice"].begins) == ("done", None, 3)
    assert (ended["thrice"].value, ended["thrice"].begins) == (None, 3)
    assert ended["thrice"].error.startswith("ValueError: try 3 (tasks.py:") and "Traceback" in ended["thrice"].trace
    assert (ended["refused"].error, ended["refused"].begins) == ("this cannot be had", 1), "it would be refused again"
    assert ended["fine"].value == 4
    failures = Failures("tasks")
    assert [name for name, one in ended.items() if failures.note(one)] == ["thrice", "refused"]
    told = r"^2 of the tasks could not be made \(thrice: ValueError: try 3 .*; refused: "
    with pytest.raises(FramiError, match=told):
        failures.tell()
    Failures("tasks").tell()


def test_a_full_disk_ends_all_at_once():
    ended = run(Task("full", tasks.full))["full"]
    assert ended.begins == 1 and ended.full == "/there"
    with pytest.raises(FullError, match=r"^/there: No space left on the disk; make room"):
        Failures("tasks").note(ended)


def test_a_stop_by_the_keyboard_is_no_failure():
    def stopped(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Task("stopped", stopped))


@pytest.mark.parametrize(
    ("on", "choices", "message"),
    [
        ("slurm", {}, "choose local .*, ray .* or ray://HOST:PORT"),
        ("ray://host", {}, "choose local"),
        ("local", {"workers": 2}, "add --on ray"),
        ("local", {"gpus": 0.5}, "--device chooses one"),
        ("ray", {"gpus": 1.5}, "a part of a GPU, or whole ones"),
    ],
)
def test_what_there_is_not_is_refused(on, choices, message):
    with pytest.raises(FramiError, match=message):
        cluster.opened(on, **choices)


@pytest.mark.parametrize("on", ["ray", "ray://127.0.0.1:1"])
def test_without_ray_it_says_what_to_install(monkeypatch, on):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FramiError, match=r"^this needs Ray: pip install 'frami\[ray\]'$"):
        cluster.opened(on)


def test_one_that_opens_later_opens_with_its_first_task():
    opened = []
    with cluster.Later(lambda: opened.append(cluster.opened()) or opened[-1], here=True) as engine:
        assert not list(engine.run([], quiet)) and engine.remote and not opened
        given = (Task(str(number), tasks.doubled, (number,)) for number in (1, 2))
        assert [ended.value for ended in engine.run(given, quiet)] == [2, 4]
        assert engine.share(7) == 7 and engine.workers == 1 and len(opened) == 1


def test_what_there_is_not_is_refused_before_that():
    with pytest.raises(FramiError, match="choose local"):
        cluster.later("slurm")
    assert isinstance(cluster.later(), cluster.Local)


def test_a_teacher_arrives_as_it_was_sent(tiny_teacher):
    sent, own = SentTeacher.of(tiny_teacher), checkpoints.load(tiny_teacher)
    there = sent.load("cpu")
    assert there.card == own.card and there is SentTeacher.of(tiny_teacher).load("cpu"), "a worker loads it once"
    assert SentTeacher.saved(own).load("cpu").card == own.card, "also one of which only the network is at hand"
    with pytest.raises(checkpoints.CheckpointError, match="no checkpoint 'nobody'"):
        SentTeacher.of("nobody")
