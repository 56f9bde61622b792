"""Runs that others do: several at once as there is room, and where each works."""

import json
import os
import sys
import time

import pytest

from frami.runs import Runs, where
from frami.runs import queue as module
from frami.runs.queue import Queue
from frami.schema import SchemaError
from frami.studio.services import places
from tests.helpers.queues import SETTINGS, queue_in, status, until

#: A process that has a place for its run once the file ``room`` is there, and ends it with ``end``.
PLACED = """
import sys, time
from pathlib import Path
from frami.runs import Runs
store = Runs()
run = store.get(sys.argv[2])
def wait_for(name):
    while not (Path(sys.argv[1]) / name).exists():
        time.sleep(0.02)
wait_for("room-" + run.name)
store.start(run.id)
wait_for("end")
store.finish(run.id, {})
"""


class Others:
    """``closed`` : whether it was told that nothing more will come."""

    most, closed = 2, False

    def __init__(self, folder):
        self.folder = folder
        (folder / "placed.py").write_text(PLACED)

    def command(self):
        return sys.executable, str(self.folder / "placed.py"), str(self.folder)

    def close(self):
        self.closed = True


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    for name in ("SPACE_ID", "FRAMI_HOSTED"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_next_run_begins_once_those_before_have_a_place(home, monkeypatch):
    monkeypatch.setattr(module, "_MORE", 0.0)
    others = Others(home)
    queue = Queue(Runs(), away=others)
    runs = [queue.add(name, SETTINGS | {"budget": 0.01}) for name in ("a", "b", "c")]
    where.note(runs[0].folder, "working", "of-an-earlier-time", 7)
    queue.begin()
    try:
        until(lambda: status(queue, runs[0]) == "starting")
        assert queue.busy == (runs[0].id,) and queue.waiting() == [runs[1].id, runs[2].id], "one waits for room"
        assert where.of(queue.get(runs[0].id)) is None
        (home / "room-a").touch()
        until(lambda: status(queue, runs[1]) == "starting")
        for name in "bc":
            (home / f"room-{name}").touch()
        until(lambda: status(queue, runs[1]) == "running")
        until(lambda: len(queue.busy) == 2)
        assert status(queue, runs[2]) == "waiting", "as many as the most"
        (home / "end").touch()
        until(lambda: status(queue, runs[2]) == "finished")
        assert {status(queue, run) for run in runs} == {"finished"}, "a budget is watched by who has the run"
    finally:
        queue.close()
    assert others.closed and queue.several and not queue_in(home).several


def test_the_time_without_its_cluster_is_not_a_runs(home, monkeypatch):
    """One that hangs is ended long behind its budget, but not while its cluster is waited for."""
    monkeypatch.setattr(module, "_MORE", 0.0)
    monkeypatch.setattr(module, "STUBBORN", 1.0)
    queue = Queue(Runs(), away=Others(home))
    run = queue.add("a", SETTINGS | {"budget": 0.01})
    queue.begin()
    try:
        until(lambda: status(queue, run) == "starting")
        where.note(run.folder, "unreachable")
        (home / "room-a").touch()
        until(lambda: status(queue, run) == "running")
        time.sleep(2.5)
        assert status(queue, run) == "running"
        where.note(run.folder, "working", "node", 1)
        until(lambda: status(queue, run) == "failed")
        assert queue.get(run.id).error == module.LATE
    finally:
        queue.close()


def test_one_that_no_worker_has_keeps_waiting_through_a_restart(home):
    queue = Queue(Runs(), away=Others(home))
    run = queue.add("a", SETTINGS)
    queue.begin()
    until(lambda: queue.busy == (run.id,) and queue.get(run.id).pid is None)
    queue.close()
    again = queue_in(home)
    assert again.waiting() == [run.id] and status(again, run) == "waiting"


def test_where_a_run_works_is_said_in_words(home, monkeypatch):
    run = Runs().create(module.KIND, "one", SETTINGS)
    assert places.words(run) is None, "one that no cluster has"
    where.note(run.folder, "working", "node-3", 3)
    assert places.words(run) == "on node-3"
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    assert places.words(run) == "on the cluster, worker 3", "no machine is named to strangers"
    where.note(run.folder, "waiting")
    assert places.words(run) == "waits for room on the cluster"
    where.note(run.folder, "unreachable")
    assert "does not answer" in places.words(run) and "tries again" in places.words(run)
    assert "the run begins as soon as it does" in places.words(run)
    Runs().start(run.id)
    assert "the run goes on as soon as it does" in places.words(Runs().get(run.id)), "one whose worker was lost"
    where.forget(run.folder)
    assert places.words(run) is None


@pytest.mark.parametrize(
    "change", [{"state": "resting"}, {"host": "x" * 300}, {"host": 3}, {"worker": -1}, {"pid": "1"}, {"more": 1}]
)
def test_a_forged_note_is_none(home, change):
    run = Runs().create(module.KIND, "one", SETTINGS)
    known = {"state": "working", "pid": os.getpid(), "host": "node", "worker": 1}
    (run.folder / where.FILE).write_text(json.dumps(known))
    assert where.of(run) == where.Where(**known)
    (run.folder / where.FILE).write_text(json.dumps(known | change))
    assert where.of(run) is None and places.words(run) is None
    if "pid" not in change and "more" not in change:
        with pytest.raises(SchemaError):
            where.note(run.folder, **{"state": "working"} | change)


def test_a_note_is_that_of_the_process_that_has_the_run(home):
    store = Runs()
    run = store.create(module.KIND, "one", SETTINGS)
    (run.folder / where.FILE).write_text(json.dumps({"state": "working", "pid": 1, "host": "node", "worker": 1}))
    store.start(run.id)
    assert where.of(store.get(run.id)) is None, "another one's, of an earlier time"
    where.note(run.folder, "working", "here")
    assert where.of(store.get(run.id)).host == "here"
