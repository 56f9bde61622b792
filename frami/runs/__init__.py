"""Runs: their store on disk, a queue of them, the process that executes one."""

from frami.runs.store import Run, RunError, Runs, bundled

__all__ = ["Run", "RunError", "Runs", "bundled"]
