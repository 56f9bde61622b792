"""A Ray of this machine that lasts as long as the process that started it.

``python -m frami.cluster.local_ray FILE`` starts worker processes and writes the address at which commands of this
machine find them (``HOST:PORT``), and the token that they need, to the file. It ends when its standard input is closed.
"""

import os
import secrets
import signal
import sys
import tempfile
import time

from frami import files
from frami.cluster.on_ray import imported
from frami.runs import child

#: Characters of a temporary folder's path below which Ray's sockets find room; a socket's path has 107 at most.
_LONG = 35


def allow(token: str) -> None:
    """Let this process, and those that it starts, into a Ray that asks for this token. Before Ray is imported."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


def main() -> None:
    """Start it, and wait for the end."""
    child.attend()
    if len(tempfile.gettempdir()) > _LONG:
        os.environ.setdefault("RAY_TMPDIR", "/tmp")
    token = secrets.token_hex(32)  # for processes that can read the file
    allow(token)
    ray = imported(client=False)
    ray.init("local", include_dashboard=False, num_cpus=os.cpu_count(), logging_level="ERROR", log_to_driver=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        files.write_json(sys.argv[1], {"address": ray.get_runtime_context().gcs_address, "token": token})
        while True:  # not signal.pause(), which a signal that comes just before it does not end
            time.sleep(1)
    except KeyboardInterrupt:
        pass
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
