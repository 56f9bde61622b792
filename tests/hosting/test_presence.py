"""Who has the page open."""

import os
import time
from types import SimpleNamespace

import pytest

from frami.hosting import presence
from frami.hosting.presence import Presence

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def wait(monkeypatch):
    """``wait(seconds)`` passes at once."""
    now = [time.time()]
    monkeypatch.setattr(presence, "time", SimpleNamespace(time=lambda: now[0]))
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_who_is_heard_of_is_here_and_who_is_not_is_gone(tmp_path, wait):
    here = Presence(tmp_path / "visitors", silence=180, grace=75)
    assert here.gone(ONE) == 0, "a studio that has just begun could not have heard of anybody"
    wait(181)
    assert here.gone(ONE) > 0
    here.seen(ONE)
    assert here.gone(ONE) == 0 and here.gone(TWO) > 0
    wait(179)
    here.seen(ONE)
    wait(179)
    assert here.gone(ONE) == 0
    wait(10)
    assert here.gone(ONE) == pytest.approx(9, abs=0.1)


def test_a_page_that_is_closed_has_a_grace_and_a_reload_ends_it(tmp_path, wait):
    here = Presence(tmp_path / "visitors", silence=180, grace=75)
    wait(200)
    here.opened("page", ONE)
    here.closed("another")
    here.closed(None)
    here.closed("page")
    wait(2)
    here.seen(ONE)
    wait(40)
    here.seen(ONE, "page")
    wait(32)
    assert here.gone(ONE) == 0
    wait(2)
    assert here.gone(ONE) > 0, "what the closed page had still asked for does not count"
    here.opened("again", ONE)
    here.closed("again")
    wait(1)
    here.opened("reloaded", ONE)
    wait(100)
    assert here.gone(ONE) == 0
    here.closed("reloaded")
    wait(20)
    here.seen(ONE)
    wait(100)
    assert here.gone(ONE) == 0, "another page of the same visitor is open"


def test_another_process_knows_it_and_names_are_checked(tmp_path, wait):
    here, other = (Presence(tmp_path, silence=60, grace=60) for _ in range(2))
    wait(3600)
    for bad in ("../x", "", None, "A" * 32, "1" * 5000):
        here.seen(bad)
    assert not any(tmp_path.iterdir())
    here.seen(ONE)
    assert other.gone(ONE) == 0 and other.gone(TWO) > 0


def test_who_left_long_ago_costs_nothing(tmp_path, wait, monkeypatch):
    monkeypatch.setattr("frami.hosting.presence._PAGES", 50)
    here = Presence(tmp_path, silence=60, grace=60)
    for n in range(100):
        here.opened(f"page {n}", f"{n:032x}")
        here.opened(f"again {n}", f"{n:032x}")
        here.closed(f"again {n}")
    assert len(here._pages) <= 50 and 0 < len(list(tmp_path.iterdir())) <= 50
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    wait(61)
    here.forget()
    assert not here._written and not here._left and not any(tmp_path.iterdir())


def test_strangers_by_the_thousand_push_out_no_visitor_with_work(tmp_path, wait, monkeypatch):
    monkeypatch.setattr("frami.hosting.presence._PAGES", 20)
    here = Presence(tmp_path, silence=60, grace=60)
    wait(100)
    here.seen(ONE)
    here.need([ONE])
    for n in range(200):
        here.seen(f"{n:032x}")
        assert len(os.listdir(tmp_path)) <= 20 and len(here._written) <= 20
    assert here.gone(ONE) == 0 and here.gone(f"{199:032x}") == 0
    here.seen(TWO)
    assert here.gone(TWO) == 0
