"""Runs: their store on disk, a queue of them, the process that executes one."""

from frami.runs.rows import Run, RunError
from frami.runs.store import Runs, bundled

__all__ = ["Run", "RunError", "Runs", "bundled"]
