"""A short run of the load benchmark on a real studio, its page, and what its figures mean."""

import json
from types import SimpleNamespace

import pytest
import requests

from frami.bench import load, visitors
from frami.bench.load import Plan, slope
from frami.bench.visitors import Record, Refused
from frami.errors import FramiError
from frami.hosting.addresses import hashed
from frami.studio.visitors import TOKEN
from tests.helpers.cli import run


def test_the_slope_is_that_of_a_line():
    line = [(t, 600 + t / 36, 0.0) for t in range(100)]
    assert slope(line) == pytest.approx({"megabytes_an_hour": 100, "r2": 1})
    assert slope([(t, 600.0, 0.0) for t in range(9)]) == {"megabytes_an_hour": 0.0, "r2": 0.0} == slope(line[:1])


@pytest.mark.parametrize("wrong", [{"listening": 500}, {"seconds": 1}, {"seconds": 1e6}])
def test_it_is_bounded(wrong):
    with pytest.raises(FramiError, match=r"1 to 200 visitors|5 to 7200 seconds"):
        Plan(**wrong)


def test_refusals_are_told_from_errors():
    record = Record()
    with record.click("play"):
        raise Refused("full: two wait already")
    with record.click("play"):
        raise Refused("Something went wrong here (reference 01234567); try again")
    with record.click("play"):
        raise ValueError
    with record.click("play") as answered:
        answered()
    assert len(record.clicks["play"]) == 3 and list(record.refusals) == ["play: full: two wait already"]
    assert sum(record.errors.values()) == 2


def test_visitors_say_who_they_are_as_browsers_do():
    assert visitors.TOKEN == TOKEN


@pytest.mark.slow
def test_visitors_of_each_kind_are_answered(capsys, tmp_path):
    out = tmp_path / "load.md"
    counts = [word for what in ("listening", "synthesising", "distilling", "trying") for word in (f"--{what}", 1)]
    status, text, err = run(capsys, "bench", "load", *counts, "--time", "6s", "--pause", 0.3, "--out", out, "--json")
    assert status == 0, err
    value = json.loads(text)
    assert value["errors"] == value["refusals"] == {} and value["logged"] == 0 and value["health"] == "ok"
    assert {"open the page", "play", "synthesize", "distil", "try a sound"} <= set(value["clicks"])
    assert value["all"]["count"] > 10 and value["memory"]["last"] > 100
    assert value["left"]["temporary"]["files"] == 0, "what is temporary is gone with the studio"
    lines = out.read_text().splitlines()
    assert lines == load.page(value, lines[4].strip()) and "MB an hour" in out.read_text()


def test_visitors_come_from_addresses_of_their_own(monkeypatch):
    """As a proxy on this machine says them: else all were one, and had an address's share of a hosted studio."""
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    page = {"components": [], "dependencies": []}
    monkeypatch.setattr(requests.Session, "get", lambda *_, **__: SimpleNamespace(json=lambda: page))
    made = [visitors.Visitor("http://127.0.0.1:1/", Record(), seed, 0.0, 1.0) for seed in range(load.MOST_VISITORS)]
    known = {hashed(visitor._web.headers["X-Forwarded-For"]) for visitor in made}
    assert len(known) == load.MOST_VISITORS and None not in known
