"""Uploads of a hosted studio are counted before they are stored."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from frami.hosting import limits
from frami.hosting.limits import LimitError
from frami.studio.uploads import UploadLimits
from tests.helpers.visitors import TOKENS


@pytest.fixture
def counter(monkeypatch):
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    monkeypatch.setenv("FRAMI_LIMITS", "upload=10,uploads=25,uploads_all=40")
    return UploadLimits(None, limits.current())


def test_a_visitor_and_all_upload_so_much_within_an_hour(counter, monkeypatch):
    ten = str(10_000_000)
    counter.count("ada", ten)
    counter.count("ada", ten)
    with pytest.raises(LimitError, match="your uploads within an hour: at most 25 MB"):
        counter.count("ada", ten)
    counter.count("ben", ten)
    with pytest.raises(LimitError, match="of all visitors within an hour: at most 40 MB"):
        counter.count("cleo", str(20_000_000))
    now = __import__("time").monotonic()
    monkeypatch.setattr("frami.studio.uploads.time.monotonic", lambda: now + 3601)
    counter.count("ada", ten)


def test_invented_visitors_of_one_address_leave_room_for_uploads_of_another(counter):
    for number in range(2):
        counter.count(f"invented {number}", str(10_000_000), "here")
    for number in range(50):
        with pytest.raises(LimitError, match=r"your uploads .* at your network address: at most 20 MB"):
            counter.count(f"another {number}", str(10_000_000), "here")
    counter.count("ada", str(10_000_000), "elsewhere")
    counter.count("ben", str(5_000_000))


@pytest.mark.parametrize("length", [None, "", "-5", "1e3", "٣", "9" * 5000, "x"])
def test_a_length_that_is_not_said_counts_as_the_longest(counter, length):
    counter.count("ada", length)
    counter.count("ada", length)
    with pytest.raises(LimitError):
        counter.count("ada", length)


def test_empty_files_count_too(counter):
    with pytest.raises(LimitError):
        for _ in range(10_000):
            counter.count("ada", "0")
    assert len(counter._stored) <= 250


def test_what_is_refused_is_read_to_its_end_and_answered(counter):
    passed, sent, bodies = [], [], []

    async def app(scope, receive, send):
        passed.append(scope["path"])

    async def send(message):
        sent.append(message)

    async def read():
        bodies.append(None)
        return {"type": "http.request", "body": bytes(1000), "more_body": len(bodies) % 5 > 0}

    counter.app = app

    def ask(path, length, method="POST"):
        headers = [(b"content-length", length), (b"x-frami-visitor", TOKENS["ada"].encode())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("127.0.0.1", 1)}
        with ThreadPoolExecutor(1) as elsewhere:  # a browser of another test may have a loop in this thread
            elsewhere.submit(lambda: asyncio.run(counter(scope, read, send))).result()

    ask("/gradio_api/upload", b"9000000")
    ask("/gradio_api/upload", b"99000000")
    assert passed == ["/gradio_api/upload"] and sent[0]["status"] == 413
    assert len(bodies) == 5, "else a browser shows a lost connection, and no reason"
    assert b"at most 25 MB" in sent[1]["body"] and b"FRAMI_LIMITS=none" in sent[1]["body"]
    ask("/gradio_api/queue/join", b"99000000")
    ask("/gradio_api/upload", b"99000000", "GET")
    assert len(passed) == 3


def test_a_length_beside_chunks_is_not_believed(monkeypatch):
    """The body is as long as the chunks are, whatever the other header says."""
    counted = []
    monkeypatch.setattr(UploadLimits, "count", lambda self, owner, length, address: counted.append(length))

    async def app(scope, receive, send):
        pass

    for headers in ([(b"content-length", b"10")], [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")]):
        scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": headers, "client": None}
        with ThreadPoolExecutor(1) as elsewhere:  # a browser of another test may have a loop in this thread
            elsewhere.submit(
                lambda scope=scope: asyncio.run(UploadLimits(app, limits.NONE)(scope, None, None))
            ).result()
    assert counted == ["10", None]
