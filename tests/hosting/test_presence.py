"""Who has the page open."""

import os
import time

from frami.hosting.presence import Presence

ONE, TWO = "1" * 32, "2" * 32


def test_who_is_heard_of_is_here_and_who_closed_the_page_is_gone_after_a_grace(tmp_path):
    here = Presence(tmp_path / "visitors", silence=0.4, grace=0.15)
    assert here.gone(ONE) == 0, "a studio that has just begun could not have heard of anybody"
    time.sleep(0.45)
    assert here.gone(ONE) > 0
    here.seen(ONE)
    assert here.gone(ONE) == 0 and here.gone(TWO) > 0
    here.opened("page", ONE)
    here.closed("another")
    here.closed(None)
    here.closed("page")
    assert here.gone(ONE) == 0, "a reload is a leave and a return"
    time.sleep(0.2)
    assert here.gone(ONE) > 0
    here.seen(ONE)
    assert here.gone(ONE) == 0
    time.sleep(0.45)
    assert here.gone(ONE) > 0, "no sign of the page"


def test_another_process_knows_it_and_names_are_checked(tmp_path):
    here = Presence(tmp_path, silence=60, grace=60)
    here._began -= 3600
    for bad in ("../x", "", None, "A" * 32, "1" * 5000):
        here.seen(bad)
    assert not any(tmp_path.iterdir())
    here.seen(ONE)
    other = Presence(tmp_path, silence=60, grace=60)
    other._began -= 3600
    assert other.gone(ONE) == 0 and other.gone(TWO) > 0


def test_who_left_long_ago_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("frami.hosting.presence._PAGES", 50)
    here = Presence(tmp_path, silence=0.0, grace=0.0)
    for n in range(100):
        here.seen(f"{n:032x}")
        here.opened(f"page {n}", f"{n:032x}")
        here.opened(f"again {n}", f"{n:032x}")
    assert len(here._pages) <= 50
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    time.sleep(0.01)
    here.forget()
    assert not here._written and not any(tmp_path.iterdir())
