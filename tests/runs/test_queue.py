"""A queue of runs: one after the other, through stops, crashes and restarts."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest

from frami import locks
from frami.errors import FramiError
from frami.paths import child_environment
from frami.runs import Runs
from frami.runs import queue as module
from frami.runs.queue import Queue
from tests.helpers.queues import FAKE, SETTINGS, queue_in, status, until
from tests.test_locks import held_elsewhere


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
    until(lambda: status(queue, many[0]) == "running")
    late = queue.add("late", SETTINGS, "c" * 32)
    assert queue.waiting() == [few.id, own.id, late.id, *(run.id for run in many[1:])]
    until(lambda: status(queue, many[0]) == "finished")
    queue.close()
    later = Queue(Runs(), queue._command)
    assert later.waiting()[-4:] == [late.id, *(run.id for run in many[1:])], "whose turn was when is on the disk"
    last = later.add("last", SETTINGS, "d" * 32)
    assert later.waiting()[-4:] == [many[1].id, last.id, many[2].id, many[3].id]


def test_many_names_at_one_address_have_the_turns_of_one(queue):
    invented = [queue.add(f"invented {n}", SETTINGS, f"{n:032x}") for n in range(3)]
    other = [queue.add(f"other {n}", SETTINGS, "b" * 32) for n in range(2)]
    for run in invented:
        queue.origins.note(run.id, "x")
    order = [invented[0].id, other[0].id, invented[1].id, other[1].id, invented[2].id]
    assert queue.waiting() == order
    queue.begin()
    until(lambda: status(queue, invented[0]) == "finished")
    later = queue.waiting()
    assert later == [id for id in order[1:] if id in later], "the address has had its turn"
    assert "x" in queue._addresses and "x" not in str(os.listdir(queue._turns))


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
    assert module.longest(other) == math.inf


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


# ------------------------------------------------------------------------------------------- two studios, one folder

#: Another studio: it resumes whatever it may, as soon as the file ``go`` is there, until all have finished.
OTHER = """
import sys, time
from pathlib import Path
from frami.errors import FramiError
from frami.runs import Runs
from frami.runs.queue import Queue
queue = Queue(Runs(), (sys.executable, sys.argv[1])).begin()
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
until = time.monotonic() + 60
while time.monotonic() < until and any(run.status != "finished" for run in queue.all()):
    for run in queue.all():
        try:
            queue.resume(run.id)
        except FramiError:
            pass
queue.close()
"""


@pytest.mark.slow
def test_two_studios_never_make_a_run_twice(queue, tmp_path):
    """Both resume the same runs at the same time, again and again."""
    script = tmp_path / "counting.py"
    noted = 'open(run.folder / "starts", "a").write("x")\nstore.start(run.id)'
    script.write_text(FAKE.replace("store.start(run.id)", noted, 1))
    runs = [queue.add(str(n), SETTINGS) for n in range(4)]
    for run in runs:
        queue.stop(run.id)
    command = [sys.executable, "-c", OTHER, str(script), str(tmp_path / "go")]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment()) for _ in range(2)]
    for other in others:
        assert other.stdout.readline() == b"ready\n"
    (tmp_path / "go").touch()
    for other in others:
        assert other.wait(90) == 0
        other.stdout.close()
    assert [(run.folder / "starts").read_text() for run in runs] == ["x"] * 4
    assert {status(queue, run) for run in runs} == {"finished"} and not queue.waiting()


@pytest.mark.parametrize("lock", ["checkpoint", "folder"])
def test_a_run_that_another_studio_has_just_taken_is_not_stopped(queue, lock):
    """Before its process says so, it was shown as stopped, and Resume began it once more."""
    taken, next_one = queue.add("taken", SETTINGS), queue.add("next", SETTINGS)
    with held_elsewhere(lock, taken.folder / module.TURN if lock == "checkpoint" else taken.folder):
        queue.begin()
        until(lambda: status(queue, next_one) == "finished")
        assert status(queue, taken) == "waiting", "what another one is taking is left to it"
        assert queue._dequeue(taken.id)
        assert status(queue, taken) == "starting"
        with pytest.raises(FramiError, match="only a run that was stopped"):
            queue.resume(taken.id)
        for act in (queue.stop, queue.delete):
            with pytest.raises(FramiError, match="at work in another"):
                act(taken.id)
        if lock == "checkpoint":
            with pytest.raises(FramiError, match="at work in another studio"), queue.elsewhere(taken):
                pass
        else:
            queue._record_end(queue.get(taken.id), 2)
            assert queue.get(taken.id).status == "waiting", "the other one will say how it ended"
    assert status(queue, taken) == "stopped"
    queue.resume(taken.id)
    until(lambda: status(queue, taken) == "finished")


def test_a_clock_that_jumps_stops_nothing(queue, monkeypatch):
    """A run's process counts as alive as long as it has the run's folder, whenever it seems to have begun."""
    run = queue.add("long", SETTINGS, queued=False)
    with held_elsewhere("folder", run.folder) as other:
        with queue.runs._write() as base:  # written before the clock went on by an hour
            values = (other.pid, time.time() - 3600, run.id)
            base.execute("UPDATE runs SET status = 'running', pid = ?, updated = ? WHERE id = ?", values)
        assert (queue.get(run.id).status, queue.get(run.id).pid) == ("running", other.pid)
        assert status(queue, run) == "running"
        for act in (queue.resume, queue.delete, queue.runs.delete):
            with pytest.raises(FramiError, match=r"only a run that was stopped|stop it before"):
                act(run.id)
        with pytest.raises(FramiError, match=f"runs in process {other.pid}"):
            queue.runs.start(run.id)
    assert queue.get(run.id).status == "stopped" and queue.get(run.id).pid is None


def test_a_process_that_only_has_the_same_number_is_not_stopped(queue):
    """As in another container that shares the folder."""
    run = queue.add("long", SETTINGS, queued=False)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with held_elsewhere("folder", run.folder) as other:
        with queue.runs._write() as base:
            values = (bystander.pid, time.time(), run.id)
            base.execute("UPDATE runs SET status = 'running', pid = ?, updated = ? WHERE id = ?", values)
        (run.folder / locks.NAME).write_text(str(bystander.pid))
        with pytest.raises(FramiError, match="at work in another studio"):
            queue.stop(run.id)
        assert bystander.poll() is None
        with queue.runs._write() as base:
            base.execute("UPDATE runs SET pid = ? WHERE id = ?", (other.pid, run.id))
        (run.folder / locks.NAME).write_text(str(other.pid))
        queue.stop(run.id)
        assert other.wait(20) == -signal.SIGTERM
    bystander.kill()
    bystander.communicate()


def test_a_run_whose_folder_is_gone_can_be_deleted(queue, tmp_path):
    for place in (tmp_path / "gone" / "x", tmp_path / "a file" / "x"):
        (tmp_path / "a file").touch()
        run = queue.runs.create(module.KIND, "x", SETTINGS, folder=tmp_path / "there")
        with queue.runs._write() as base:
            base.execute("UPDATE runs SET folder = ? WHERE id = ?", (str(place), run.id))
        queue.delete(run.id)
        assert run.id not in [one.id for one in queue.all()] and not place.exists()


def test_who_only_looks_is_in_nobodys_way(tmp_path):
    assert locks.folder_in_use(tmp_path) is None and not locks.folder_elsewhere(tmp_path)
    with locks.folder(tmp_path):
        assert locks.folder_in_use(tmp_path) == os.getpid() and not locks.folder_elsewhere(tmp_path)
    (tmp_path / locks.NAME).write_text("1")  # left by a process that was killed
    assert locks.folder_in_use(tmp_path) is None
    look = f"while True: locks.folder_elsewhere(Path({str(tmp_path)!r}))"
    code = f"from pathlib import Path\nfrom frami import locks\n{look}"
    looking = subprocess.Popen([sys.executable, "-c", code], env=child_environment())
    try:
        time.sleep(1)
        for _ in range(200):
            locks.folder(tmp_path).release()
            (tmp_path / locks.NAME).write_text("1")
    finally:
        looking.kill()
        looking.wait()
