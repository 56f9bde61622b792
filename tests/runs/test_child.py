"""A run's process does not outlive the one that started it, even where it hangs."""

import signal
import subprocess
import sys

from frami.paths import child_environment

HANGS = """
import signal, time
from frami.runs import child

def hang(*_, **__):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("hangs", flush=True)
    time.sleep(600)

child.runpy.run_module, child.PATIENCE = hang, 0.3
child.main()
"""


def test_one_that_hangs_is_killed_when_its_parent_has_gone():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", HANGS], env=child_environment(), **pipes)
    assert child.stdout.readline() == b"hangs\n" and child.poll() is None
    child.stdin.close()
    assert child.wait(20) == -signal.SIGKILL
    child.stdout.close()
