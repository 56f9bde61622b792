"""A queue of runs: one after the other, through stops, crashes and restarts."""

import math
import os
import signal

import pytest

from frami import locks
from frami.errors import FramiError
from frami.runs import Runs
from frami.runs import queue as module
from frami.runs.queue import Queue
from tests.helpers.queues import SETTINGS, queue_in, status, until


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    made = queue_in(tmp_path)
    yield made
    made.close()


def test_runs_go_one_after_the_other_and_wait_through_a_restart(queue):
    first, second, third = (queue.add(name, SETTINGS) for name in ("one", "two", "three"))
    assert queue.waiting() == [first.id, second.id, third.id]
    assert {status(queue, run) for run in (first, second, third)} == {"waiting"}
    queue.stop(second.id)
    assert status(queue, second) == "stopped"
    later = Queue(Runs(), queue._command)
    assert later.waiting() == [first.id, third.id], "another process finds what waits"
    queue.begin()
    until(lambda: status(queue, third) == "finished")
    assert status(queue, first) == "finished" and queue.get(first.id).updated < queue.get(third.id).updated
    assert status(queue, second) == "stopped", "what was taken out stays out"
    queue.resume(second.id)
    until(lambda: status(queue, second) == "finished")
    with pytest.raises(FramiError, match="can go on"):
        queue.resume(second.id)


def test_stop_saves_and_resume_goes_on(queue):
    run = queue.begin().add("long", SETTINGS | {"ticks": 300})
    until(lambda: status(queue, run) == "running")
    with pytest.raises(FramiError, match="stop"):
        queue.delete(run.id)
    queue.stop(run.id)
    until(lambda: status(queue, run) == "stopped")
    assert queue.get(run.id).error is None and queue.runs.metrics(run.id)["agreement"]
    queue.resume(run.id)
    until(lambda: status(queue, run) == "running")
    os.kill(queue.get(run.id).pid, signal.SIGKILL)
    until(lambda: status(queue, run) == "failed")
    assert "memory" in queue.get(run.id).error and "Resume" in queue.get(run.id).error
    queue.delete(run.id)
    assert queue.all() == [] and not run.folder.exists()


def test_a_run_that_cannot_begin_says_why_and_the_next_one_begins(queue):
    bad, good = queue.add("bad", SETTINGS | {"broken": True}), queue.add("good", SETTINGS)
    queue.begin()
    until(lambda: status(queue, good) == "finished")
    assert status(queue, bad) == "failed" and queue.get(bad.id).error == "it is broken"


def test_a_run_of_another_kind_is_none(queue):
    other = queue.runs.create("bench", "other", {})
    for call in (queue.get, queue.stop, queue.resume, queue.delete):
        with pytest.raises(FramiError, match="no such run"):
            call(other.id)


def test_owners_take_turns_through_a_restart(queue):
    """Who queues a dozen runs does not keep a second visitor waiting for all of them."""
    many = [queue.add(f"many {n}", SETTINGS, "a" * 32) for n in range(4)]
    few = queue.add("few", SETTINGS, "b" * 32)
    own = queue.add("own", SETTINGS)
    order = [many[0].id, few.id, own.id, *(run.id for run in many[1:])]
    assert queue.waiting() == order
    queue.begin()
    until(lambda: status(queue, many[0]) == "finished")
    queue.close()
    later = Queue(Runs(), queue._command)
    assert later.waiting()[-3:] == [run.id for run in many[1:]], "whose turn was when is on the disk"
    late = later.add("late", SETTINGS, "c" * 32)
    assert later.waiting().index(late.id) < later.waiting().index(many[1].id)
    assert set(later.waiting()) <= {late.id, few.id, own.id, *(run.id for run in many)}


def test_a_queue_of_an_earlier_version_goes_on(queue):
    run = queue.add("one", SETTINGS)
    (entry,) = queue._folder.iterdir()
    entry.rename(entry.with_name(f"{entry.name.split('-')[0]}-{run.id}"))
    assert queue.waiting() == [run.id]
    queue.begin()
    until(lambda: status(queue, run) == "finished")


def test_a_run_that_does_not_stop_is_killed(queue, monkeypatch):
    """And what waits behind it begins."""
    monkeypatch.setattr(module, "STUBBORN", 0.3)
    deaf, other = queue.add("deaf", SETTINGS | {"ticks": 900, "deaf": True}), queue.add("other", SETTINGS)
    queue.begin()
    until(lambda: queue.get(deaf.id).status == "running" and queue.runs.metrics(deaf.id))
    queue.stop(deaf.id)
    until(lambda: status(queue, other) == "finished")
    assert status(queue, deaf) == "stopped" and queue.get(deaf.id).error is None


def test_what_the_dead_left_is_cleared_before_runs_begin(queue):
    """A lock, half files and half a removal, of a run that nobody resumes; and of one whose process is killed now."""
    left, folders = queue.add("left", SETTINGS), queue.runs.path.parent
    queue.stop(left.id)
    for name in (locks.NAME, ".01234567.state.pt", ".01234567..owner"):
        (left.folder / name).touch()
    (folders / ".deleted-01234567-0" / "deep").mkdir(parents=True)
    queue.begin()
    assert os.listdir(left.folder) == [] and not list(folders.glob(".deleted-*"))
    run = queue.add("killed", SETTINGS | {"ticks": 900})
    until(lambda: queue.get(run.id).pid and queue.runs.metrics(run.id))
    (run.folder / "bank").mkdir()
    (run.folder / "bank" / locks.NAME).touch()
    os.kill(queue.get(run.id).pid, signal.SIGKILL)
    until(lambda: status(queue, run) == "failed")
    assert not list(run.folder.rglob(locks.NAME)) and "Resume continues it" in queue.get(run.id).error


def test_a_run_far_beyond_its_budget_is_ended_and_can_go_on(queue, monkeypatch):
    monkeypatch.setattr(module, "_MORE", 1.0)
    late, other = queue.add("late", SETTINGS | {"ticks": 900, "budget": 0.1}), queue.add("other", SETTINGS)
    queue.begin()
    until(lambda: status(queue, other) == "finished")
    assert status(queue, late) == "failed" and "longer than its budget" in queue.get(late.id).error
    queue.close()
    queue.resume(late.id)
    assert queue.waiting() == [late.id]
    assert module._longest(other) == math.inf


def test_a_run_that_is_made_elsewhere_and_then_queued_can_be_stopped(queue):
    run = queue.add("one", SETTINGS | {"ticks": 300}, queued=False)
    with queue.elsewhere(run):
        with queue.elsewhere(run):
            assert status(queue, run) == "starting"
        assert status(queue, run) == "stopped"
        queue.begin().resume(run.id)
        until(lambda: status(queue, run) == "running")
        queue._stopping.add(run.id)
    assert run.id in queue._stopping or status(queue, run) == "stopped"
    until(lambda: status(queue, run) == "stopped")
