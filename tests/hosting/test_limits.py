"""The table of limits: when it holds, what changes it, what a refusal says."""

import math
from pathlib import Path

import pytest

from frami.errors import FramiError
from frami.hosting import limits
from frami.hosting.mode import hosted


@pytest.fixture(autouse=True)
def own_machine(monkeypatch):
    for name in ("SPACE_ID", "FRAMI_HOSTED", "FRAMI_LIMITS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_ones_own_machine_has_none():
    found = limits.current()
    assert not hosted() and not found and found.of("budget") == math.inf
    found.check("budget", 1e9)


@pytest.mark.parametrize("name, value", [("SPACE_ID", "somebody/frami"), ("FRAMI_HOSTED", "1")])
def test_a_space_has_all(own_machine, name, value):
    own_machine.setenv(name, value)
    found = limits.current()
    assert hosted() and {row.name: found.of(row.name) for row in limits.LIMITS} == found.values


def test_an_owner_lifts_them_or_changes_some(own_machine):
    own_machine.setenv("SPACE_ID", "somebody/frami")
    own_machine.setenv("FRAMI_LIMITS", "none")
    assert hosted() and not limits.current(), "visitors stay apart"
    own_machine.setenv("FRAMI_LIMITS", "budget=1800, clips = 64")
    found = limits.current()
    assert (found.of("budget"), found.of("clips"), found.of("steps")) == (1800, 64, 1000)
    for wrong in ("budgets=3", "budget", "budget=-1", "budget=nan", "budget=inf", "all"):
        own_machine.setenv("FRAMI_LIMITS", wrong)
        with pytest.raises(FramiError, match=r"FRAMI_LIMITS.*NAME=NUMBER"):
            limits.current()
    for no in ("0", "false", "No", " OFF "):
        own_machine.setenv("FRAMI_HOSTED", no)
        assert not hosted(), "FRAMI_HOSTED has the last word"


def test_a_refusal_says_which_how_much_and_how_to_lift_it(own_machine):
    own_machine.setenv("FRAMI_HOSTED", "1")
    found = limits.current()
    found.check("budget", 600)
    with pytest.raises(limits.LimitError, match=r"time for each distillation: at most 10 min .* 24 h\. .*duplicate"):
        found.check("budget", 86400)
    with pytest.raises(limits.LimitError, match="10,000 on this shared page, and this would be 64,000"):
        found.check("work", 64_000)
    with pytest.raises(limits.LimitError):
        found.check("work", math.nan)
    assert found.least("budget", 1800) == 600 and limits.Limits({}).least("budget", 1800) == 1800


def test_an_address_has_a_multiple_and_at_most_half():
    values = {row.name: row.value for row in limits.LIMITS}
    found = limits.Limits(values)
    expected = {"waiting_runs": 20, "waiting_syntheses": 8, "uploads": 240, "exports": 1, "disk": 800, "sessions": 250}
    assert {name: found.of_address(name) for name in expected} == expected
    assert limits.Limits(values | {"address": 1}).of_address("uploads") == 60
    assert limits.Limits(values | {"waiting_runs_all": 1}).of_address("waiting_runs") == 1
    assert limits.NONE.of_address("waiting_runs") == math.inf == limits.NONE.of_address("sessions")
    found.check_address("disk", 800)
    with pytest.raises(limits.LimitError, match=r"disk, with .* address: at most 800 MB .* 801 MB\. .*To lift"):
        found.check_address("disk", 801)


def test_the_table_of_the_documentation_is_this_one():
    page = (Path(__file__).parents[2] / "docs" / "hosting.md").read_text(encoding="utf-8")
    values = limits.Limits({row.name: row.value for row in limits.LIMITS})
    rows = [f"| `{row.name}` | {row.words} | {values.words(row.name)} |" for row in limits.LIMITS]
    assert "\n".join(rows) in page
