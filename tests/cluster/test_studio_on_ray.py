"""The studio's queue on a real Ray of this machine: two runs, of which one loses its worker and is stopped; skipped
without Ray."""

import os
import signal
import time

import psutil
import pytest

from frami import banks, checkpoints
from frami.cluster import of_studio
from frami.distill import RunSettings, Settings
from frami.distill.run import begin, work
from frami.runs import Runs, where
from frami.runs.queue import Queue
from tests.helpers.distillation import QUICK
from tests.helpers.queues import status

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def processes(of: int, word: str) -> list[psutil.Process]:
    """Processes below one whose command has a word."""
    found = []
    for one in psutil.Process(of).children(recursive=True):
        try:
            found += [one] if word in " ".join(one.cmdline()) else []
        except psutil.Error:
            continue
    return found


def test_runs_of_the_queue_are_done_by_workers(tiny_teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    monkeypatch.setenv(of_studio.SETTING, "ray")
    away, quick = of_studio.asked(), Settings(**QUICK)
    queue = Queue(Runs(), away=away).begin()
    try:
        ended, long = (
            queue.add(one.name, one.to_dict())
            for one in (
                RunSettings(str(tiny_teacher), each) for each in (quick, Settings(student="nano", budget=900.0))
            )
        )
        until(lambda: (long.folder / "state.pt").exists())
        there = where.of(queue.get(long.id))
        assert (there.state, there.host, there.worker) == ("working", os.uname().nodename, 1)
        own = away._own[0].pid

        # A worker that is killed: the run goes on from its last checkpoint, its process does not outlive the worker.
        until(lambda: status(queue, ended) == "finished")
        until(lambda: len(processes(own, "ray::RunThere")) == 1)  # what is finished is noted before its worker ends
        (worker,) = processes(own, "ray::RunThere")
        started = worker.children()
        assert started and processes(own, "frami.runs.child")
        worker.send_signal(signal.SIGKILL)
        until(lambda: where.of(queue.get(long.id)).state != "working")
        before = queue.runs.metrics(long.id)["clips"][-1][-1]
        _, alive = psutil.wait_procs(started, timeout=60)
        assert not alive and status(queue, long) == "running"
        until(lambda: where.of(queue.get(long.id)).state == "working")
        until(lambda: queue.runs.metrics(long.id)["clips"][-1][-1] > before)
        queue.stop(long.id)
        until(lambda: status(queue, long) == "stopped")
        assert queue.get(long.id).error is None and checkpoints.load(long.folder / "student").card.kind == "student"
        assert (long.folder / "state.pt").exists() and len(banks.load(long.folder / "bank"))
        until(lambda: not processes(own, "frami.runs.child"))
    finally:
        queue.close()
    assert not psutil.pid_exists(own), "the machine's Ray ends with the queue"

    # The short one is what this process makes of it.
    store = Runs(tmp_path / "own.sqlite")
    id = begin(RunSettings(str(tiny_teacher), quick), store, tmp_path / "own")
    local, run = work(id, store), queue.get(ended.id)
    assert set(run.result) == set(local) and queue.runs.metrics(run.id).keys() == store.metrics(id).keys()
    for name in ("clips", "steps", "parameters", "macs", "agreement_clips"):
        assert run.result[name] == local[name], name
    cards = [checkpoints.read_card(folder / "student") for folder in (run.folder, tmp_path / "own")]
    assert cards[0].training.keys() == cards[1].training.keys() and cards[0].training["run"] == run.id
    assert cards[0].training["teacher"] == str(tiny_teacher) and cards[0].classes == cards[1].classes
    assert len(banks.load(run.folder / "bank")) == local["clips"]
    assert not (run.folder / "state.pt").exists() and (run.folder / "result.json").exists()
