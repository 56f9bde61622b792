"""Work in slices: each is a call that ends in time, leaves all that it needs to go on in a run's folder, and may be
made by another process. Arguments and results are plain values, so that they can be sent there.

A slice runs in a forked process where ZeroGPU makes it: it uses one CPU thread (PyTorch's others were not forked), and
its CUDA graphs are recorded anew, since none outlives the process that recorded it.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from frami.distill import run as distillation
from frami.distill.loop import State
from frami.errors import FramiError
from frami.runs import Runs
from frami.workers import jobs, messages, synthesis

#: Seconds that a slice has before and after its work: a process, CUDA, a teacher; and to save.
START = 4.0
#: Seconds between two signs of life.
_TICK = 0.25


def seconds(job: dict) -> int:
    """Seconds that a slice asks for."""
    return job["seconds"]


def synthesize(job: dict) -> Iterator[bytes]:
    """A slice of a run of synthesis: states as of ``synthesis.states``, packed; ``{"refused": why}`` for an error.

    job : ``seconds`` of the slice, ``teacher`` and ``device``, and what ``synthesis.states`` takes.
    """
    torch.set_num_threads(1)
    plain = {name: job[name] for name in ("settings", "folder", "sounds")}
    try:
        teacher = jobs.network(job["teacher"], job["device"])
        work = max(job["seconds"] - START, 1.0)
        for state in synthesis.states(teacher, lambda: False, seconds=work, **plain):
            yield bytes(messages.pack(state))
    except FramiError as error:
        yield bytes(messages.pack({"refused": str(error)}))


def distil(job: dict) -> Iterator[bytes]:
    """A slice of a stored distillation, which is saved at its end: ``{}`` now and then, at last whether it is
    ``finished``; ``{"refused": why}`` for an error. Where no more is asked for, it is saved and ends.

    job : ``seconds`` of the slice, ``store`` the run store's file, ``run`` an id, ``device``.
    """
    torch.set_num_threads(1)
    over, begun = threading.Event(), threading.Event()
    until, last = time.monotonic() + max(job["seconds"] - START, 1.0), {}

    def report(state: State, accuracy: float | None) -> None:
        late = begun.is_set() and time.monotonic() > until  # however slow the start was: a slice comes further
        begun.set()
        if not state.finished and (over.is_set() or late):
            raise KeyboardInterrupt  # as by a key: the run is saved

    def work() -> None:
        try:
            distillation.work(job["run"], Runs(Path(job["store"])), job["device"], report=report)
            last["finished"] = True
        except KeyboardInterrupt:
            last["finished"] = False
        except Exception as error:  # which the store knows
            last["refused"] = str(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_TICK)
            yield bytes(messages.pack({}))
    finally:
        over.set()
        thread.join()
    yield bytes(messages.pack(last))
