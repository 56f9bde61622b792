"""Where a visitor comes from, as far as it can be believed, and what of it is known."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from frami.errors import FramiError
from frami.hosting import addresses, owners
from frami.hosting.addresses import Origins, hashed
from frami.paths import child_environment
from frami.studio.theme import launch_options

PUBLIC, OTHER = "203.0.113.9", "198.51.100.7"


@pytest.fixture(autouse=True)
def hosted(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.delenv(addresses.SETTING, raising=False)
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    return monkeypatch


def arrives(connection: str | None, *forwarded: str) -> str | None:
    """What is known of the address of a request, as uvicorn and the page's own middleware leave it."""
    found = []

    async def app(scope, receive, send):
        found.append(scope["client"][0] if scope["client"] else None)

    ours = next(one for one in launch_options()["app_kwargs"]["middleware"] if one.cls is ProxyHeadersMiddleware)
    stack = ProxyHeadersMiddleware(ours.cls(app, **ours.kwargs), ["127.0.0.1", "::1"])  # what uvicorn does by itself
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "headers": headers, "client": connection and (connection, 1)}
    with ThreadPoolExecutor(1) as elsewhere:  # a browser of another test may have a loop in this thread
        elsewhere.submit(lambda: asyncio.run(stack(scope, None, None))).result()
    return hashed(found[0])


def test_one_line_is_one_address():
    assert hashed(PUBLIC) == hashed(f"::ffff:{PUBLIC}") != hashed(OTHER)
    assert hashed("2001:db8:1:200::5") == hashed("2001:db8:1:2ff:ffff::1%eth0") != hashed("2001:db8:1:300::5")
    assert hashed("2002:cb00:7109:1::1") == hashed("2002:cb00:7109:2::1") == hashed(PUBLIC), "a tunnel's end"
    assert hashed("what is this") == hashed("") is not None, "what is no address is one for all"
    assert hashed(None) is None is hashed("127.0.0.1") and hashed("::1") is None, "this machine is nobody"


def test_where_nothing_is_limited_nobody_is_known(hosted):
    hosted.setenv("FRAMI_LIMITS", "none")
    assert hashed(PUBLIC) is None


def test_a_proxy_that_is_not_trusted_is_warned_of_once(hosted, caplog):
    addresses._warn.cache_clear()
    said = {b"x-forwarded-for": PUBLIC.encode()}
    quiet = [("172.17.0.1", 9), {}], [(PUBLIC, 9), said], [("127.0.0.1", 9), said], [("192.168.1.5", 0), said]
    for request in (*quiet, [None, said], [("unix", 9), said]):
        addresses.look_for_proxy(*request)
    assert not caplog.records
    for _ in range(2):
        addresses.look_for_proxy(("172.17.0.1", 9), said)
    (record,) = caplog.records
    assert addresses.SETTING in record.getMessage() and "172" not in record.getMessage()


def test_the_address_is_not_told():
    """Nor can it be found by trying all: the key is another one in each process."""
    known = owners.visitor("A" * 32, host=PUBLIC)
    assert PUBLIC not in repr(known) and len(known.address) == 32
    code = f"from frami.hosting.addresses import hashed; print(hashed({PUBLIC!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=child_environment())
    assert len(done.stdout.strip()) == 32 and done.stdout.strip() != known.address


def test_what_an_untrusted_connection_says_changes_nothing(hosted):
    for said in ([OTHER], [f"{OTHER}, 127.0.0.1"], ["127.0.0.1"], [OTHER, "10.0.0.1"], ["x" * 9999]):
        assert arrives(PUBLIC, *said) == hashed(PUBLIC)
    hosted.setenv(addresses.SETTING, "192.0.2.0/24")
    assert arrives(PUBLIC, OTHER) == hashed(PUBLIC)


def test_of_a_trusted_proxy_the_last_untrusted_entry_counts(hosted):
    hosted.setenv(addresses.SETTING, "192.0.2.1, 2001:db8::/32")
    for proxy in ("192.0.2.1", "2001:db8::7", "127.0.0.1", "::1"):
        assert arrives(proxy, PUBLIC) == hashed(PUBLIC)
        assert arrives(proxy, f"{OTHER}, {PUBLIC}") == hashed(PUBLIC), "what stands before it may be invented"
        assert arrives(proxy, f"{OTHER}, {PUBLIC}, 192.0.2.1") == hashed(PUBLIC)
        assert arrives(proxy, OTHER, f"{PUBLIC}:4711") == hashed(PUBLIC), "several headers are one"
        assert arrives(proxy) is None, "it does not say who asks"
        assert arrives(proxy, f"{OTHER}, nonsense") == hashed("nonsense")


def test_in_a_space_its_proxy_is_trusted(hosted):
    hosted.setenv("SPACE_ID", "somebody/frami")
    assert (
        arrives("10.16.3.80", f"{OTHER}, {PUBLIC}") == arrives("10.16.3.80", f"{PUBLIC}, 10.16.9.9") == hashed(PUBLIC)
    )
    assert arrives("10.16.3.80") is None and arrives(OTHER, PUBLIC) == hashed(OTHER)
    hosted.setenv(addresses.SETTING, "172.16.0.0/12")
    assert arrives("10.16.3.80", PUBLIC) == hashed("10.16.3.80"), "the setting has the last word"


@pytest.mark.parametrize("wrong", ["proxy.example", "10.0.0.1/8", "*", "10.0.0.0/99"])
def test_a_setting_that_cannot_be_read_is_refused(hosted, wrong):
    hosted.setenv(addresses.SETTING, wrong)
    with pytest.raises(FramiError, match=r"FRAMI_TRUSTED_PROXIES: .*give addresses and networks of proxies"):
        addresses.proxies()


def test_origins_are_those_of_the_latest_runs(monkeypatch):
    monkeypatch.setattr(addresses, "_RUNS", 3)
    found = Origins()
    for run in ("a", "b", "a", "c", "d"):
        found.note(run, f"of {run}")
    assert [found.of(run) for run in "abcd"] == ["of a", None, "of c", "of d"]
    found.note("a", None)
    assert found.of("a") is None
