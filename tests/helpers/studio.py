"""A studio started as a user starts it, and the browser that visits it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


def microphone_flags(said: Path) -> list[str]:
    """Of a browser whose microphone hears this WAV file, over and over."""
    return [
        *BROWSER_FLAGS,
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={said}",
    ]


def chromium() -> str:
    """Path of the browser. Without one a test is skipped, or fails where FRAMI_DATA says that all must run."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("FRAMI_DATA"):
            pytest.fail("no Chromium here, and FRAMI_DATA says that browser tests must run: apt-get install chromium")
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


@dataclass
class Studio:
    """A studio at work.

    home : folder of all that it writes (FRAMI_HOME)
    """

    process: subprocess.Popen
    address: str
    home: Path


@contextmanager
def running_studio(
    home: Path,
    data: str | Path | None = None,
    program: Path = ROOT / "app.py",
    without: Sequence[str] = (),
    **more: str,
) -> Iterator[Studio]:
    """A studio with recordings in ``data`` or none, which a test may kill. AssertionError if it logs what it did not
    expect. It runs as a host runs it: in another folder than its own, and with temporary folders elsewhere.

    program : to run instead; without, more : variables of its environment that are not there, and others
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log, address = home / "log", f"http://127.0.0.1:{port}/"
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "FRAMI_HOME": str(home), "FRAMI_DATA": str(data or "")}
    for name in ("TMPDIR", "GRADIO_TEMP_DIR", "elsewhere"):
        (home / name).mkdir(exist_ok=True)
    environment |= {name: str(home / name) for name in ("TMPDIR", "GRADIO_TEMP_DIR")}
    environment = {name: value for name, value in (environment | more).items() if name not in without}
    command, elsewhere = [sys.executable, str(program)], home / "elsewhere"
    with log.open("a") as file:
        process = subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 120
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < deadline, f"no studio: {log.read_text()}"
            time.sleep(0.1)
        yield Studio(process, address, home)
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
    assert not re.search("Traceback|unexpected", log.read_text()), log.read_text()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except OSError:
        return False
    return True


def compare_methods(page) -> None:
    """Unfold the comparison of the Distil tab, where it is folded."""
    page.wait_for_selector(".frami-taught .fold")
    if page.locator(".frami-taught .fold").get_attribute("aria-expanded") != "true":
        page.locator(".frami-taught .fold").click()
    page.wait_for_selector("#distil-start", state="visible")


def choose_teacher(page, name: str) -> None:
    """Choose this teacher on the page where it is not the one that the page opened with, and wait for its gallery."""
    radio = page.locator(f"#teacher input[value='{name}']")
    if not radio.is_checked():
        radio.check()
    page.wait_for_selector(f"#gallery .frami-wall[data-teacher='{name}']", state="attached", timeout=20_000)


def open_settings(page) -> None:
    """Show all settings of the Synthesize tab, also where a run has folded the form away."""
    if page.locator("#live .unfold").is_visible():
        page.locator("#live .unfold").click()
    if not page.locator("#steps input[type=number]").is_visible():
        page.locator("#advanced button").first.click()
        page.wait_for_selector("#steps input[type=number]")
