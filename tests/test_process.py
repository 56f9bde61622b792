"""What a process of ours takes of the processor and of the memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    code = "from frami import process; process.lower(7); import os; print(os.nice(0)); "
    code += "print(open('/proc/self/autogroup').read())"
    command = [sys.executable, "-c", code]
    own = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True).stdout
    assert (own.split()[0], own.split()[-1]) == ("7", "7")
    shared = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (shared.split()[0], shared.split()[-1]) == ("7", "0")
