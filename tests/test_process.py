"""What a process of ours takes of the processor and of the memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from frami import process

ARENAS = """
import ctypes, os, sys, threading
from frami import process
if int(sys.argv[1]):
    process.share_memory_of_threads()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.fdopen.restype = ctypes.c_void_p, ctypes.c_void_p
meet = threading.Barrier(9)
def take():
    libc.malloc(ctypes.c_size_t(1000))
    meet.wait()
    meet.wait()
for _ in range(8):
    threading.Thread(target=take).start()
meet.wait()
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
meet.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has these pools")
def test_threads_share_memory():
    def arenas(shared: bool) -> int:
        env = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
        command = [sys.executable, "-c", ARENAS, str(int(shared))]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.count("<heap nr")

    assert arenas(True) == 2 < arenas(False)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="Linux groups processes so")
@pytest.mark.skipif(os.nice(0) != 0, reason="this process goes behind others already")
def test_a_process_goes_behind_others_of_its_session_and_of_other_sessions():
    """The group of a session of its own goes behind others too; a group that is others' as well stays as it was."""
    code = "from frami import process; process.lower(7); import os; print(os.nice(0)); "
    code += "print(open('/proc/self/autogroup').read())"
    command = [sys.executable, "-c", code]

    def lowered(own_session: bool) -> tuple[str, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=own_session)
        niceness, _, group = done.stdout.partition("\n")
        return niceness, group.strip()

    ours = Path("/proc/self/autogroup").read_text().strip()
    assert lowered(False) == ("7", ours)
    niceness, theirs = lowered(True)
    assert niceness == "7"
    assert theirs == ours or theirs.endswith(" nice 7"), "a new session is in its parent's group, or in one of its own"


def test_only_a_group_of_its_own_is_lowered(monkeypatch):
    """Where the system makes no new groups, to lower the parent's would put others' work behind; and a process may be
    in none: then the file is empty."""
    written = []
    monkeypatch.setattr(process.os, "nice", lambda _: 0)
    monkeypatch.setattr(process.os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(process.Path, "write_text", lambda path, text: written.append((str(path), text)))
    monkeypatch.setattr(process.Path, "read_text", lambda path: files[path.parent.name])
    files = {"self": "/autogroup-3 nice 0\n", str(os.getppid()): "/autogroup-3 nice 0\n"}
    process.lower(7)
    files["self"] = ""
    process.lower(7)
    assert written == []
    files["self"] = "/autogroup-4 nice 0\n"
    process.lower(7)
    files[str(os.getppid())] = ""
    process.lower(7)
    assert written == [("/proc/self/autogroup", "7")] * 2
