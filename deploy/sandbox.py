"""A studio started as a careful host would: another user without a home, no network, few cores, bounded memory."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import psutil

from frami.errors import FramiError


class NotStarted(FramiError):
    """A studio whose page does not come; the message has the last line that it wrote."""


#: The user as whom the studio runs, whom no list of users knows.
USER = 12345
CORES = 2
#: Bytes that the studio and its processes may take together.
MEMORY = 16 * 2**30
#: Seconds until the page is there.
PATIENCE = 180
_INSIDE = "FRAMI_REHEARSAL_INSIDE"


def enter() -> bool:
    """Go on with this program in a network of its own, which has no way out. False where the system does not let us:
    then the program goes on as it is. Linux only; needs no root."""
    if os.environ.get(_INSIDE):
        _loopback()
        return True
    way = ["unshare", "--user", "--map-root-user", "--net"]
    if _works([*way, *_other_user(), "true"]):
        module = sys.modules["__main__"].__spec__.name
        os.environ[_INSIDE] = "1"
        os.execvp(way[0], [*way, sys.executable, "-m", module, *sys.argv[1:]])
    return False


@dataclass
class Studio:
    """A studio at work.

    address : of its page, ending in a slash
    memory : bytes that it and its processes may take together
    peak : bytes of memory that they took at most, so far
    """

    process: subprocess.Popen
    address: str
    log: Path
    memory: int = MEMORY
    peak: int = 0
    ended: Event = field(default_factory=Event)

    def watch(self) -> None:
        """Measure memory until the studio ends; end it, as a host does, where all together take more than they may."""
        while not self.ended.wait(1):
            self.peak = max(self.peak, _memory(self.process.pid))
            if self.peak > self.memory:
                _end(self.process)
                return


@contextmanager
def running(python: Path, space: Path, folder: Path, apart: bool, as_there: bool) -> Iterator[Studio]:
    """The studio of a Space's files, started from another folder. NotStarted where its page does not come.

    space : read only from now on; folder : where it may write
    apart : as another user (``enter`` said that it works)
    as_there : Gradio is told that this is a Space, which needs the packages that a Space's builder adds
    """
    _make_read_only(space)
    elsewhere, temporary, uploads = (folder / name for name in ("elsewhere", "tmp", "uploads"))
    for one in (elsewhere, temporary, uploads):
        one.mkdir()
    port = _free_port()
    environment = {
        "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "SPACE_ID": "frami/rehearsal", "TMPDIR": str(temporary), "GRADIO_TEMP_DIR": str(uploads),
        "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port),
    }  # fmt: skip
    if as_there:
        environment["SYSTEM"] = "spaces"
    log, command = folder / "log", [*(_other_user() if apart else []), python.absolute(), space / "app.py"]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=elsewhere, env=environment, stdout=file, stderr=file, start_new_session=True, preexec_fn=_limit
        )
    studio = Studio(process, f"http://127.0.0.1:{port}/", log)
    watch = Thread(target=studio.watch, daemon=True)
    try:
        _wait(studio)
        watch.start()
        yield studio
    finally:
        studio.ended.set()
        _end(process)
        if watch.ident:
            watch.join()
        _make_writable(space)


def _wait(studio: Studio) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(studio.address, timeout=5).close()
            return
        except OSError:
            last = (studio.log.read_text(errors="replace").strip().splitlines() or ["it wrote nothing"])[-1]
            if studio.process.poll() is not None:
                raise NotStarted(f"the studio did not start: {last}") from None
            if time.monotonic() > deadline:
                raise NotStarted(f"no page after {PATIENCE} s; the last line of the log: {last}") from None
            time.sleep(0.2)


def _limit() -> None:
    """Cores and memory of the process that is about to start, and of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _memory(pid: int) -> int:
    """Bytes of a process and those below it; what they share is counted once."""
    total = 0
    try:
        above = psutil.Process(pid)
        for one in [above, *above.children(recursive=True)]:
            full = one.memory_full_info()
            total += getattr(full, "pss", full.uss)
    except psutil.Error:
        pass
    return total


def _end(process: subprocess.Popen) -> None:
    """End a process and all of its group."""
    for sign, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
        try:
            os.killpg(process.pid, sign)
            process.wait(seconds)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _make_read_only(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def _make_writable(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


def _other_user() -> list[str]:
    return ["unshare", "--user", f"--map-user={USER}", f"--map-group={USER}"]


def _works(command: Sequence[str]) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def _loopback() -> None:
    """Bring up the address of this machine in a new network, as ``ip link set lo up`` does."""
    import fcntl
    import struct

    up, set_flags = 0x1 | 0x40, 0x8914
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
