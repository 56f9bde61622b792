"""What visitors are told, what the log says, and what neither repeats."""

import errno
import json
import logging

import pytest

from frami.errors import FramiError
from frami.files import FullError
from frami.runs import RunError
from frami.studio.services import log, sent, troubles
from frami.studio.services.background import Background
from frami.studio.services.sent import SentError


@pytest.fixture(params=["hosted", "own"])
def place(request, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("FRAMI_HOSTED", "1" if request.param == "hosted" else "")
    return request.param


def test_advice_is_told_as_it_is(place):
    assert troubles.in_words(FramiError("tick at least one student")) == "tick at least one student"
    assert troubles.in_words(FramiError("see https://huggingface.co/x/y/z")).endswith("x/y/z")


@pytest.mark.parametrize("path", ["/srv/app/runs/x", "~/x/y", "C:\\Users\\me"])
def test_folders_are_named_on_ones_own_machine_only(place, path):
    words = troubles.in_words(RunError(f"{path}: cannot be written; set FRAMI_HOME"))
    assert (path in words) is (place == "own") and ("reference" in words) is (place == "hosted")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"), MemoryError("Unable to allocate 1.87 TiB"), OSError(errno.EACCES, "Permission denied", "/srv/x"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] /srv/x"), RecursionError("maximum recursion depth exceeded"),
    ],
)  # fmt: skip
def test_what_is_not_expected_is_told_nowhere(place, error, caplog):
    words = troubles.in_words(error)
    assert words.startswith("Something went wrong here (reference ") and "/srv" not in words and "TiB" not in words
    (record,) = caplog.records
    assert record.reference in words and record.failure == type(error).__name__


def test_a_full_disk_is_said(place):
    assert troubles.in_words(FramiError(str(FullError("/srv/home/x")))) == troubles.FULL, "as a worker tells it"
    assert troubles.in_words(OSError(errno.ENOSPC, "No space left on device", "/srv/x")) == troubles.FULL


def test_how_a_run_ended(place):
    assert troubles.of_run(None) is None and troubles.of_run("no clip was recognised") == "no clip was recognised"
    for raw in (
        "KeyError: 'x'",
        "torch.OutOfMemoryError: CUDA",
        "safetensors_rust.SafetensorError: x",
        "Traceback (most",
    ):
        assert troubles.of_run(raw).startswith("it ended unexpectedly")
    path = "/home/u/x/state.pt: damaged; delete it"
    assert troubles.of_run(path) == (path if place == "own" else "it ended unexpectedly")


def test_the_log_is_for_people_or_for_machines(place, capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    log.begin()
    try:
        troubles.in_words(FramiError("no"))
        try:
            raise ValueError("of session 7vlx9q2h3k1, token hf_AbCdEfGhIjKlMnOp12")
        except ValueError as error:
            troubles.in_words(error)
        lines = capsys.readouterr().err.splitlines()
    finally:
        troubles.LOG.handlers.clear()
    assert not any("7vlx" in line or "hf_" in line for line in lines)
    if place == "own":
        assert lines[0].startswith("frami: unexpected ValueError, reference ") and "test_troubles.py" in lines[1]
    else:
        refused, unexpected = map(json.loads, lines)
        assert refused["refusal"] == "FramiError" and unexpected["failure"] == "ValueError"
        assert unexpected["reference"] in unexpected["message"] and "test_troubles.py" in unexpected["place"][0]


def test_work_behind_the_page_fails_in_words():
    def fails(progress):
        raise ValueError("/srv/x")

    work = Background("test")
    try:
        work.start("key", fails)
        while not work.ended("key"):
            pass
        assert "reference" in work.trouble("key") == work.trouble("key") and work.result("key") is None
    finally:
        work.close()
    assert not work.alive


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), 10**17, "\ud800", "\0", "x" * 5_000, [[[[[[[[[[[[[[0]]]]]]]]]]]]]], [0] * 6_000,
        {"x": "y" * 5_000}, {"\ud800": 1}, object(),
    ],
)  # fmt: skip
def test_what_no_page_sends(value):
    with pytest.raises(SentError):
        sent.plain(value)


def test_what_a_page_sends():
    value = {"id": "gallery/mine – ő/0", "keys": ["frami", None, True, 0.5, 2**53], "more": {"x": [[]]}}
    assert sent.plain(value) is value and sent.body(json.dumps(value).encode()) == value


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 90_000, b"[NaN]", b"9" * 5_000, b" " * 300_000])
def test_what_is_no_body(content):
    with pytest.raises(SentError):
        sent.body(content)
