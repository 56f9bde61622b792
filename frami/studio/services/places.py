"""Where a run works, as the page says it."""

from frami.hosting.mode import hosted
from frami.runs import Run, where

#: Of a run that no worker has.
_ELSE = {
    "waiting": "waits for room on the cluster",
    "sending": "its clips and its checkpoint go to the cluster",
    "lacking": "the cluster has too few GPUs now: the run begins as soon as there are enough",
    "other": "the cluster has another version of FRAMI: the run begins as soon as it has the studio's",
    "unreachable": "the cluster does not answer: the studio tries again, and the run begins as soon as it does",
}


def words(run: Run) -> str | None:
    """Where a run works that a cluster does, or what it waits for; None where there is nothing to say. Where strangers
    share the studio no machine is named."""
    found = where.of(run)
    if found is None or found.state != "working":
        said = _ELSE.get(found.state) if found else None
        return said.replace("run begins", "run goes on") if said and run.status == "running" else said
    worker = f", worker {found.worker}" if found.worker else ""
    return f"on the cluster{worker}" if hosted() or not found.host else f"on {found.host}"
