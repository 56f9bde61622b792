"""What has been run, on disk; a queue of runs; the process that does the work of one."""

from frami.runs.store import Run, RunError, Runs, bundled

__all__ = ["Run", "RunError", "Runs", "bundled"]
