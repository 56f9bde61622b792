"""Whose a run is, who may look at it, and what the disk knows of a visitor."""

import json

import pytest

from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.owners import EVERYONE, visitor

TOKENS = ("A" * 32, "B" * 32)


@pytest.fixture
def hosted(monkeypatch):
    monkeypatch.setenv("FRAMI_HOSTED", "1")


def test_a_run_is_its_visitors_and_the_disk_has_a_hash_only(hosted, tmp_path):
    one, two = map(visitor, TOKENS)
    owners.claim(tmp_path / "run", one.owner)
    assert owners.owns(one, tmp_path / "run") and not owners.owns(two, tmp_path / "run")
    assert TOKENS[0] not in (tmp_path / "run" / owners.FILE).read_text()
    for other in (visitor(None), visitor(""), visitor("short"), visitor("A" * 5000), visitor("\ud800" * 32), EVERYONE):
        assert not owners.owns(other, tmp_path / "run") and not owners.owns(other, tmp_path)


def test_a_run_of_the_machines_owner_is_no_visitors(hosted, tmp_path):
    for who in (visitor(TOKENS[0]), visitor(None), EVERYONE):
        assert not owners.owns(who, tmp_path) and not owners.sees(who, "run", tmp_path)


def test_on_ones_own_machine_all_is_everybodys(monkeypatch, tmp_path):
    monkeypatch.delenv("FRAMI_HOSTED", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert visitor(TOKENS[0]).owner is None
    owners.claim(tmp_path, None)
    assert not (tmp_path / owners.FILE).exists() and owners.owns(EVERYONE, tmp_path)
    (tmp_path / owners.FILE).write_text('{"owner": "of a hosted studio before", "share": ""}')
    assert owners.owns(EVERYONE, tmp_path)


def test_a_link_shows_one_run_until_it_is_taken_back(hosted, tmp_path):
    one = visitor(TOKENS[0])
    for name in ("mine", "other"):
        owners.claim(tmp_path / name, one.owner, keep=True)
    key = owners.share(tmp_path / "mine")
    assert len(key) >= 22 and owners.share(tmp_path / "mine") == key, "128 bits, and the same at the next click"
    friend = visitor(TOKENS[1], f"mine.{key}")
    assert owners.sees(friend, "mine", tmp_path / "mine") and not owners.owns(friend, tmp_path / "mine")
    assert not owners.sees(friend, "other", tmp_path / "other")
    for wrong in (f"mine.{key[:-1]}", "mine.", "mine", f"other.{key}", "mine.\u0663", key, "x" * 9999, 3, None):
        assert not owners.sees(visitor(TOKENS[1], wrong), "mine", tmp_path / "mine")
    owners.unshare(tmp_path / "mine")
    assert not owners.sees(friend, "mine", tmp_path / "mine")
    assert owners.share(tmp_path / "mine") != key and owners.entry(tmp_path / "mine").keep


@pytest.mark.parametrize("text", ["", "[]", "3", '{"owner": 3}', '{"owner": null, "share": 1}', "[" * 100_000])
def test_a_damaged_note_is_nobodys(hosted, tmp_path, text):
    (tmp_path / owners.FILE).write_text(text)
    assert owners.entry(tmp_path) == owners.Entry() and not owners.owns(visitor(TOKENS[0]), tmp_path)


@pytest.mark.parametrize("owner", ["\u0101", "\ud800", "A" * 32])
def test_a_forged_owner_is_another(hosted, tmp_path, owner):
    (tmp_path / owners.FILE).write_text(json.dumps({"owner": owner, "share": owner}))
    for who in (visitor(TOKENS[0]), visitor(TOKENS[0], "run.key")):
        assert not owners.sees(who, "run", tmp_path)


def test_who_begins_something_says_who_it_is(hosted, monkeypatch):
    owners.check(visitor(TOKENS[0]))
    for nobody in (visitor(None), visitor("short"), EVERYONE):
        with pytest.raises(FramiError, match="did not say which browser this is; reload it"):
            owners.check(nobody)
    monkeypatch.setenv("FRAMI_HOSTED", "0")
    owners.check(EVERYONE)
