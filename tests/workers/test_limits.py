"""Limits of the kinds of work: where strangers share the studio, and on one's own machine."""

import math

import psutil
import pytest

from frami.hosting.limits import BY_NAME
from frami.workers import limits


@pytest.fixture
def studio(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    return monkeypatch


def test_strangers_share_within_limits(studio):
    found = limits.here()
    assert found | {"export": None} == limits.LIMITS | {"export": None} and found["clips"].seconds == 7200


def test_exports_of_each_visitor_are_a_row_of_the_table(studio):
    assert (
        limits.here()["export"].each == BY_NAME["exports"].value and "FRAMI_LIMITS" in limits.here()["export"].lifting
    )
    studio.setenv("FRAMI_LIMITS", "exports=3")
    assert limits.here()["export"].each == 3


def test_on_ones_own_machine_what_the_sliders_allow_may_end(studio):
    """64 clips of 5 s in 1,000 steps take hours."""
    studio.setenv("FRAMI_HOSTED", "0")
    found, memory = limits.here(), psutil.virtual_memory().total / 1e9
    for kind in ("clips", "map"):
        assert math.isinf(found[kind].seconds) and 0.5 * memory < found[kind].gigabytes < memory
    assert found["sound"] == limits.LIMITS["sound"] and found["export"] == limits.LIMITS["export"]
