"""The pool: results, errors and limits; a worker that dies, hangs or grows is replaced, and the others go on."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from frami.errors import FramiError
from frami.inversion import Clips
from frami.workers import messages
from frami.workers import pool as pools
from frami.workers.pool import BusyError, WorkLostError
from tests.helpers import workers
from tests.helpers.workers import in_thread

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pool():
    with_tests = workers.pool()
    yield with_tests
    with_tests.close()


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process has ended within so many seconds."""
    until = time.monotonic() + seconds
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


def test_values_come_back_and_one_process_does_job_after_job(pool):
    one = Clips(*(torch.rand(2, 3) for _ in range(7)), multilabel=True)
    value = {"text": "ä", "numbers": [1, 2.5, None, True], "pair": (b"x", one)}
    told = []
    for _ in range(2):
        back = pool.run("test-echo", {"value": value}, told.append)
        assert back["numbers"] == value["numbers"] and torch.equal(back["pair"][1].mels, one.mels)
        assert back["pair"][1].multilabel
    assert told[0] == told[1] != os.getpid() and pool.processes() == told[:1]


def test_what_is_not_a_plain_value_is_not_read():
    with pytest.raises(Exception, match="Weights only"):
        messages.unpack(bytes(messages.pack(Path("x"))))


def test_errors_come_back_in_the_words_of_the_job(pool):
    with pytest.raises(FramiError, match=r"^choose another$"):
        pool.run("test-fail", {"known": True})
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by zero") as caught:
        pool.run("test-fail", {"known": False})
    assert "in fail" in caught.value.__notes__[0], "the log has where it was"
    assert pool.run("test-echo", {"value": 1}) == 1


def test_a_killed_worker_is_replaced_and_its_visitor_told(pool):
    def kill(pid):
        os.kill(pid, signal.SIGKILL)

    lost, killed = pool.health()["lost"], []
    with pytest.raises(WorkLostError, match=r"was ended.*try again"):
        pool.run("test-spend", {"seconds": 30}, kill, again=0)
    assert pool.health()["lost"] == lost + 1 and pool.health()["workers"] == 1, "the next one is there already"
    assert pool.run("test-spend", {"seconds": 1}, lambda pid: killed or (killed.append(pid), kill(pid))) is False, (
        "begun anew"
    )
    os.kill(pool.processes()[0], signal.SIGKILL)  # one that has no work
    assert gone(killed[0])
    assert pool.run("test-echo", {"value": 2}) == 2


def test_time_and_memory_have_limits(pool):
    seen = []
    with pytest.raises(WorkLostError, match=r"more than 0.3 s and was ended"):
        pool.run("quick-spend", {"seconds": 30}, seen.append)
    with pytest.raises(WorkLostError, match=r"more than 1.2 GB of memory"):
        pool.run("small-spend", {"seconds": 30, "gigabytes": 1.5}, seen.append)
    assert all(map(gone, seen)) and pool.run("test-echo", {"value": 3}) == 3


def test_a_job_stops_when_it_is_told_to_and_one_that_does_not_is_ended(pool, monkeypatch):
    begin, stop = [], threading.Event()
    thread, found = in_thread(lambda: pool.run("test-spend", {"seconds": 30}, begin.append, stop.is_set))
    while not begin:
        time.sleep(0.01)
    asked = time.monotonic()
    stop.set()
    thread.join()
    assert found == [True] and time.monotonic() - asked < 1
    assert pool.run("test-spend", {"seconds": 0.1}) is False, "that was another job's stop"
    monkeypatch.setattr(pools, "PATIENCE", 0.2)
    with pytest.raises(WorkLostError, match="did not stop"):
        pool.run("test-spend", {"seconds": 30, "deaf": True}, begin.append, lambda: True)


def test_only_so_many_wait(pool):
    begin = []
    first, one = in_thread(lambda: pool.run("test-spend", {"seconds": 1}, begin.append))
    while not begin:
        time.sleep(0.01)
    second, two = in_thread(lambda: pool.run("test-echo", {"value": 2}))
    while not pool.health()["waiting"]:
        time.sleep(0.01)
    with pytest.raises(BusyError, match="try again in a minute"):
        pool.run("test-echo", {"value": 3})
    first.join()
    second.join()
    assert (one, two) == ([False], [2]) and pool.health()["waiting"] == 0


def test_workers_without_work_end():
    pool = workers.pool(idle=0.3)
    assert pool.run("test-echo", {"value": 1}) == 1
    (pid,) = pool.processes()
    assert gone(pid) and pool.health()["workers"] == 0
    pool.warm()
    pool.warm()
    assert pool.health()["workers"] == 1 and gone(pool.processes()[0])
    pool.close()
    pool.warm()
    assert pool.health()["workers"] == 0, "closed"


def test_workers_do_not_outlive_the_page():
    """However it ends: here by kill -9, in the middle of a job."""
    code = (
        "from tests.helpers import workers\n"
        "workers.pool().run('test-spend', {'seconds': 60}, lambda pid: print(pid, flush=True))"
    )
    page = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(page.stdout.readline())
    page.kill()
    page.wait()
    page.stdout.close()
    assert gone(pid)
