"""Work behind the page: each piece once, one of a visitor waits, and so many of all."""

import threading

import pytest

from frami.studio.services.background import Background
from frami.workers.pool import BusyError
from tests.helpers.queues import until


@pytest.fixture
def busy():
    """``make(**choices)``: a worker whose thread is at work on ``first`` until ``go`` is set, ``go``, and a function
    that gives work which notes its key in a list, the last."""
    go, made = threading.Event(), []

    def make(**choices):
        begun = threading.Event()
        made.append(Background("test", **choices))
        made[0].start("first", lambda progress: (progress(1, 2), begun.set(), go.wait(20)), "ada")
        assert begun.wait(20)
        done = []
        return made[0], go, lambda key: lambda _: done.append(key) or key, done

    yield make
    go.set()
    made[0].close()


def test_of_a_visitor_one_piece_waits_the_latest(busy):
    work, go, noting, done = busy()
    for number in range(1000):
        work.start(number, noting(number), "ada")
        work.start("shared", noting("shared"), f"visitor {number % 3}")
    assert work.pending() == 2
    work.start("shared", noting("shared"), "ada")
    work.start("cost", noting("cost"))
    work.start("last", noting("last"), "ada")
    assert work.start("first", noting("first"), "ben") == ", 1 of 2", "it is at work: not begun once more"
    go.set()
    until(lambda: work.ended("last"))
    assert done == ["shared", "cost", "last"], "what others want is done, what nobody wants any more is not"
    assert work.result("last") == "last" and work.start("last", noting("last"), "ada") == "" and work.pending() == 0


def test_half_of_what_waits_is_of_one_address(busy):
    work, _, noting, _ = busy(waiting=6)
    for number in range(3):
        work.start(number, noting(number), f"invented {number}", "here")
    with pytest.raises(BusyError):
        work.start(4, noting(4), "another", "here")
    work.start(4, noting(4), "ada", "there")
    work.start(5, noting(5), "ben")


def test_so_many_wait_and_none_of_them_is_forgotten(busy):
    work, go, noting, done = busy(most=2, waiting=5)
    for number in range(5):
        work.start(number, noting(number), f"visitor {number}")
    with pytest.raises(BusyError, match="try again in a minute"):
        work.start(5, noting(5), "ben")
    for number in range(5):
        work.start(number, noting(number), f"visitor {number}")  # a page asks again until it is there
    go.set()
    until(lambda: len(done) == 5 and work.ended(4))
    assert done == [0, 1, 2, 3, 4] and not work.ended("first") and work.result(3) == 3
    work.start(5, noting(5), "ben")
    until(lambda: work.ended(5))
    assert not work.ended(3)


def test_closed_it_begins_nothing_more(busy):
    work, go, noting, done = busy()
    work.start("a", noting("a"), "ben")
    work.close()
    assert work.start("b", noting("b"), "cleo") == "" and not work.alive
    go.set()
    until(lambda: work.ended("first"))
    assert done == [] and work.pending() == 0
