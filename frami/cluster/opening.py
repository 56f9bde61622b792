"""Which engine a name stands for."""

import re

from frami.cluster.engine import Engine, Later, Local
from frami.errors import FramiError

LOCAL, RAY = "local", "ray"


def is_address(text: str) -> bool:
    """Whether it is of a cluster's Ray Client."""
    return bool(re.fullmatch(r"ray://[^\s/]+:\d{1,5}", text))


def check(on: str, workers: int | None = None, gpus: float | None = None) -> None:
    """FramiError for a name of no engine, and for what it cannot have."""
    if on not in (LOCAL, RAY) and not is_address(on):
        raise FramiError(
            f"--on {on}: choose local (in this process), ray (worker processes of this machine) or ray://HOST:PORT (a "
            "cluster, by the port of its Ray Client, usually 10001)"
        )
    if on == LOCAL and (workers or 1) > 1:
        raise FramiError("--on local works in this process alone; for several workers add --on ray")
    if on == LOCAL and gpus is not None:
        raise FramiError("--gpus divides the GPUs of --on ray or ray://HOST:PORT; here --device chooses one")
    if gpus is not None and gpus > 1 and gpus != int(gpus):
        raise FramiError(f"--gpus {gpus:g}: a task has a part of a GPU, or whole ones")


def opened(on: str = LOCAL, *, workers: int | None = None, gpus: float | None = None, device: str = "auto") -> Engine:
    """The engine of this name; a block that it leaves nothing running behind.

    on : ``local``, ``ray`` (worker processes of this machine) or ``ray://HOST:PORT``; workers : tasks at once, None for
    as many as there are processors or GPUs for; gpus : share of a GPU that a task has (None: 1 where there are GPUs and
    ``device`` may be one, else 0). FramiError where there is no such engine, Ray is not installed, or the cluster does
    not answer.
    """
    check(on, workers, gpus)
    if on == LOCAL:
        return Local()
    from frami.cluster.on_ray import OnRay

    return OnRay(None if on == RAY else on, workers, gpus, device)


def later(on: str = LOCAL, *, workers: int | None = None, gpus: float | None = None, device: str = "auto") -> Engine:
    """As ``opened``, with the first task: where there is none, no Ray is started or looked for. FramiError at once for
    what ``check`` refuses."""
    check(on, workers, gpus)
    if on == LOCAL:
        return Local()
    return Later(lambda: opened(on, workers=workers, gpus=gpus, device=device), here=on == RAY)
