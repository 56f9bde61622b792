"""A studio in a home that a test has prepared, and that a test may kill."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def app(home: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A studio that can be killed: its process and address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "FRAMI_HOME": str(home), "FRAMI_DATA": ""}
    with (home / "log").open("a") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (home / "log").read_text()
                time.sleep(0.25)
        yield process, f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()
