"""Pages that one network address opens, and that others are not forgotten for them."""

import pytest

from frami.hosting import limits
from frami.hosting.limits import LimitError
from frami.studio import pages
from frami.studio.pages import Pages


def test_an_address_opens_half_of_what_is_remembered(monkeypatch):
    known, now = Pages(limits.Limits({"sessions": 10, "address": 4})), [0.0]
    monkeypatch.setattr(pages.time, "monotonic", lambda: now[0])
    for number in range(5):
        known.check(f"page {number}", "here")
    with pytest.raises(LimitError, match="with those of all others at your network address: at most 5 pages"):
        known.check("page 5", "here")
    known.check("page 0", "here")
    known.check("page 0", "elsewhere")
    known.check("another", "elsewhere")
    for page, address in ((None, "here"), ("unknown", None)):
        known.check(page, address)
    now[0] = 601.0
    known.check("page 5", "here")


def test_on_ones_own_machine_all_are_opened():
    known = Pages(limits.NONE)
    for number in range(1000):
        known.check(f"page {number}", "here")


def test_an_event_without_a_page_counts_as_one(monkeypatch):
    """Gradio gives it a name, and remembers it as any other."""
    known = Pages(limits.Limits({"sessions": 10, "address": 4}))
    for _ in range(5):
        known.check(None, "here", event=True)
    for page in (None, "page"):
        with pytest.raises(LimitError, match="at most 5 pages"):
            known.check(page, "here", event=True)
    known.check(None, "elsewhere", event=True)
