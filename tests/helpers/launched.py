"""Commands in several processes, as torchrun starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def launched(folder: Path, *arguments, processes: int = 2) -> subprocess.Popen:
    """``frami`` in so many processes; in ``folder``, its home in it. One that ends well has left the others: it says so
    where threads that talk to them go on."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FRAMI_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    environment |= {"FRAMI_PRECISION": "float32"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder}
    command = [*torchrun, "-m", "tests.helpers.launched", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def ended(process: subprocess.Popen, seconds: float = 200) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command that comes to its end."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def ranks(process: subprocess.Popen) -> dict[str, psutil.Process]:
    """The processes that torchrun has started, by rank."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        if rank := child.environ().get("RANK"):
            found.setdefault(rank, child)
    return found


def wait_until(condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait for something that a running command does."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def _threads_of_gloo() -> int:
    names = (Path(f"/proc/self/task/{id}/comm").read_text() for id in os.listdir("/proc/self/task"))
    return sum(name.startswith("pt_gloo") for name in names)


if __name__ == "__main__":
    from frami.cli import main

    status = main()
    if status == 0 and (left := _threads_of_gloo()):
        sys.exit(f"{left} threads of Gloo are left")
    sys.exit(status)
