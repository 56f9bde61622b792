"""The pool: results, errors and limits; a worker that dies, hangs or grows is replaced, and the others go on."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest
import torch

from frami import process
from frami.errors import FramiError
from frami.inversion import Clips
from frami.workers import messages
from frami.workers import pool as pools
from frami.workers.limits import WorkLimits
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


@pytest.mark.slow
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


def test_a_job_stops_when_it_is_told_to_and_one_that_does_not_is_ended(pool):
    begin, stop = [], threading.Event()
    thread, found = in_thread(lambda: pool.run("test-spend", {"seconds": 30}, begin.append, stop.is_set))
    while not begin:
        time.sleep(0.01)
    asked = time.monotonic()
    stop.set()
    thread.join()
    assert found == [True] and time.monotonic() - asked < 1
    assert pool.run("test-spend", {"seconds": 0.1}) is False, "that was another job's stop"
    with pytest.raises(WorkLostError, match="did not stop"):
        pool.run("brief-spend", {"seconds": 30, "deaf": True}, begin.append, lambda: True)


def test_a_job_that_is_told_to_stop_has_time_to_start_and_to_save():
    """The process loads its libraries first, which takes longer than the patience of this kind of work."""
    pool = workers.pool()
    try:
        job, told = {"seconds": 1, "deaf": True, "talks": True}, []
        assert pool.run("brief-spend", job, told.append, lambda: True) is True and told
    finally:
        pool.close()


def test_a_worker_whose_job_has_not_ended_does_no_other(pool):
    """Its answer would be taken for that of the next visitor's job."""

    error = OSError("no space left")

    def leaves(_):
        raise error

    with pytest.raises(OSError, match="no space left") as caught:
        pool.run("test-echo", {"value": "of another"}, leaves)
    assert caught.value is error, "not taken for a lost worker, and begun anew"
    assert pool.run("test-echo", {"value": "own"}) == "own"


def test_a_closed_pool_begins_nothing(pool):
    """Neither does it at once, nor for a job that waited or whose worker was being started."""
    closed, made = workers.pool(), []
    begin = []
    first, one = in_thread(lambda: closed.run("test-spend", {"seconds": 30}, begin.append))
    while not begin:
        time.sleep(0.01)
    second, two = in_thread(lambda: closed.run("test-echo", {"value": 2}, made.append))
    while not closed.health()["waiting"]:
        time.sleep(0.01)
    closed.close()
    first.join(5)
    second.join(5)
    with pytest.raises(WorkLostError, match="being closed"):
        closed.run("test-echo", {"value": 3}, made.append)
    assert isinstance(one[0], WorkLostError) and isinstance(two[0], WorkLostError) and not made
    assert closed.processes() == [] and gone(begin[0])


def test_a_worker_that_starts_while_the_pool_closes_is_ended(monkeypatch):
    pool, started = workers.pool(), []

    def start(command):
        pool.close()
        started.append(pools_start(command))
        return started[0]

    pools_start = pools._start
    monkeypatch.setattr(pools, "_start", start)
    with pytest.raises(WorkLostError, match="being closed"):
        pool.run("test-echo", {"value": 1})
    assert not started[0].alive and pool.processes() == []


def test_the_memory_of_the_libraries_is_not_the_jobs(pool, monkeypatch):
    """Nor that of a GPU's libraries, in a process that has used one."""
    assert pool.run("test-echo", {"value": 1}) == 1
    (worker,) = pool._idle
    assert worker.base > 0.1 and worker.taken() < worker.base
    before = worker.taken()
    worker.gpu = True
    assert worker.taken() == pytest.approx(before - pools.GPU, abs=0.2)
    worker.gpu = False
    monkeypatch.setattr(pools, "KEPT", 0.2)
    assert pool.run("test-echo", {"value": 1}) == 1 and pool._idle == [worker], "it is kept"


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="Linux groups processes so")
@pytest.mark.skipif(os.nice(0) != 0, reason="this process goes behind others already")
def test_short_jobs_come_before_long_ones():
    with closing(workers.pool()) as own:
        first, usual, group = own.run("test-niceness", {})
        assert usual == os.nice(0) and group == 0
        long, low, low_group = own.run("long-niceness", {})
        assert low == process.WATCHED and low_group in (0, process.WATCHED)
        short, *levels = own.run("test-niceness", {})
        assert long == first != short and levels == [usual, 0]
        assert own.run("long-niceness", {})[0] == long
        assert sorted(own.processes()) == sorted([long, short])


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


def test_addresses_and_visitors_take_turns(pool):
    """Many names at one address do not come before another's one."""
    begin, done = [], []

    def asks(owner, address, seconds=0.0, told=None):
        with pools.asked_by(owner, address):
            pool.run("long-spend", {"seconds": seconds}, told)
            done.append(owner)

    threads = [in_thread(lambda: asks("x0", "x", 1.5, begin.append))[0]]
    while not begin:
        time.sleep(0.01)
    for waiting, (owner, address) in enumerate([("x1", "x"), ("x2", "x"), ("x0", "x"), ("a", "y")], 1):
        threads.append(in_thread(lambda owner=owner, address=address: asks(owner, address))[0])
        while pool.health()["waiting"] < waiting:
            time.sleep(0.01)
    for thread in threads:
        thread.join(30)
    assert done == ["x0", "a", "x1", "x2", "x0"]


def test_a_visitor_has_so_many_places(pool):
    """Two of this kind; others and the machine's owner find theirs."""
    begin = []

    def asking(who):
        def work():
            with pools.asked_by(who):
                return pool.run("test-spend", {"seconds": 1}, begin.append, lambda: False)

        return work

    first, one = in_thread(asking("ada"))
    while not begin:
        time.sleep(0.01)
    second, two = in_thread(asking("ada"))
    while not pool.health()["waiting"]:
        time.sleep(0.01)
    with pytest.raises(BusyError, match="2 of these are being made for you"):
        asking("ada")()
    with pytest.raises(BusyError, match="too many of these are at work"):
        asking("ben")()
    first.join()
    assert asking(None)() is False
    second.join()
    assert asking("ada")() is False and one == two == [False] and not pool._asked


def test_an_address_has_half_of_the_places(pool):
    """However many names are invented there."""
    with ExitStack() as held:
        for name in ("one", "two"):
            held.enter_context(pools.asked_by(name, "here"))
            held.enter_context(pool._share("test", WorkLimits(1, 1, at_once=1, waiting=3)))
        held.enter_context(pools.asked_by("three", "here"))
        with pytest.raises(BusyError, match="2 of these are being made for your network address"), \
                pool._share("test", WorkLimits(1, 1, at_once=1, waiting=3)):  # fmt: skip
            pass
        with pools.asked_by("four", "there"), pool._share("test", WorkLimits(1, 1, at_once=1, waiting=3)):
            pass
    assert not pool._asked


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


def test_temporary_files_end_with_their_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(pools.tempfile, "tempdir", str(tmp_path))
    pool = workers.pool()
    pool.run("test-echo", {"value": 1})
    (folder,) = tmp_path.iterdir()
    (folder / "half.onnx").touch()
    os.kill(pool.processes()[0], signal.SIGKILL)
    pool.run("test-echo", {"value": 1})
    assert not folder.exists() and len(os.listdir(tmp_path)) == 1
    pool.close()
    assert os.listdir(tmp_path) == []


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
