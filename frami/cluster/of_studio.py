"""The cluster that a studio submits its distillations to, as environment variables name it."""

import math
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from frami import extras
from frami.cluster.opening import RAY, is_address
from frami.errors import FramiError
from frami.paths import child_environment

SETTING, SHARE = "FRAMI_RAY", "FRAMI_RAY_GPUS"
#: Runs at once at most: each has a process on the studio's machine that follows it, of some 330 MB of its own.
MOST = 8
#: Command of such a process; behind it the address (or a file that has it), the share of a GPU and the run's id.
COMMAND = (sys.executable, "-m", "frami.distill.relay")
#: Seconds that a Ray of this machine has to end.
_PATIENCE = 15


def asked() -> "Submission | None":
    """What ``FRAMI_RAY`` and ``FRAMI_RAY_GPUS`` ask for; None where they ask for nothing. FramiError where they cannot
    be understood, or Ray is not installed."""
    address, share = (os.environ.get(name, "").strip() for name in (SETTING, SHARE))
    if not address:
        if share:
            raise FramiError(f"{SHARE} divides the GPUs of a cluster; name that with {SETTING}, or leave {SHARE} out")
        return None
    if address != RAY and not is_address(address):
        raise FramiError(
            f"{SETTING}={address}: give ray (worker processes of this machine) or ray://HOST:PORT (a cluster, by the "
            f"port of its Ray Client, usually 10001), or leave {SETTING} out"
        )
    for module in ("ray",) if address == RAY else ("ray", "grpc"):
        if find_spec(module) is None:
            raise FramiError(f"{SETTING}={address}: {extras.lacking(module)}")
    return Submission(address, _share(share) if share else None)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 <= value <= 1 or (value > 1 and math.isfinite(value) and value == int(value))):
        raise FramiError(f"{SHARE}={text}: give the part of a GPU that a run has, as 0.25, or whole ones")
    return value


@dataclass
class Submission:
    """How the studio's queue (``runs.queue.Away``) hands runs to a cluster. ``gpus`` : of each run (None: 1 where the
    cluster has GPUs). A Ray of this machine is started with the first run, and ends with ``close``."""

    address: str
    gpus: float | None = None
    most: int = MOST
    _own: "tuple[subprocess.Popen, Path] | None" = None
    _lock: Lock = field(default_factory=Lock)

    def command(self) -> tuple[str, ...]:
        address = str(self._started()) if self.address == RAY else self.address
        return (*COMMAND, address, "" if self.gpus is None else str(self.gpus))

    def close(self) -> None:
        with self._lock:
            if self._own is None:
                return
            process, file = self._own
            self._own = None
            process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(OSError):
                file.unlink(missing_ok=True)
                file.parent.rmdir()

    def _started(self) -> Path:
        """The file that holds the address of this machine's Ray, once it has one."""
        with self._lock:
            if self._own is None or self._own[0].poll() is not None:
                file = self._own[1] if self._own else Path(tempfile.mkdtemp(prefix="ray-")) / "address"
                file.unlink(missing_ok=True)
                command = (sys.executable, "-m", "frami.cluster.local_ray", str(file))
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
                process = subprocess.Popen(command, env=child_environment(), start_new_session=True, **pipes)
                self._own = process, file
            return self._own[1]
