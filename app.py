"""FRAMI Studio: builds the interface and launches it (a hosted Space imports ``demo``)."""

import os
import signal
import sys

# Before torch and Gradio are loaded: idle threads spin only briefly on shared cores, and nobody is counted.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from frami import paths, process, temporary

process.share_memory_of_threads()
paths.settle()  # before libraries look for a folder for their caches
temporary.begin()  # and before Gradio looks for one for uploads

from frami.errors import FramiError  # noqa: E402
from frami.studio import build  # noqa: E402

try:
    demo = build()
except FramiError as error:  # a variable that cannot be understood, above all
    print(f"FRAMI Studio cannot start: {error}", file=sys.stderr)
    raise SystemExit(2) from None

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a container sends: end as by Ctrl-C
    try:
        demo.launch()
    finally:
        demo.end_runs()
