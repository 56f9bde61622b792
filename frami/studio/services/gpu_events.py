"""Runs that a visitor's own event makes on a lent GPU, slice after slice; what is not lent is made on the CPU."""

from collections.abc import Iterator
from contextlib import closing

from frami.errors import FramiError
from frami.runs import Run
from frami.runs.queue import Queue
from frami.studio.services import offers, troubles
from frami.studio.services.syntheses import Syntheses, Synthesis
from frami.workers.pool import on_file
from frami.workers.zerogpu import Loan, NotLentError, ZeroGpu

#: Seconds of budget up to which a distillation is short enough for slices.
SHORT = 120.0
#: What the visitor is told of a run that is over without a reason.
UNEXPECTED = "it ended unexpectedly; start it again"


def in_words(reason: Exception) -> str:
    """What the visitor is told when the GPU is not lent."""
    first = str(reason).strip().splitlines()[0][:200].rstrip(". ")
    return f"The GPU is not available now ({first}): the run goes on, on the CPU, which takes longer."


def synthesize(syntheses: Syntheses, run: Synthesis, gpu: ZeroGpu) -> Iterator[None]:
    """Make a run's clips; yields at each of its states. What the GPU does not make, a worker makes in its turn. Closed
    before the end, the run is stopped, and its clips are saved as they are."""
    job = on_file(run.teacher) | {
        "settings": run.settings.to_dict(),
        "folder": str(run.folder),
        "sounds": offers.vocoder(run.vocoder),
    }
    loan, needed, batch = Loan(), None, 0.0
    try:
        while not run.done:
            with closing(gpu.synthesize(job, loan, needed, batch)) as states:
                for told in states:
                    if "refused" in told:
                        run.error, run.done = troubles.in_words(FramiError(told["refused"])), True
                        break
                    run.take(told)
                    yield
                    if run.stopping:
                        break
            if run.done or run.latest is None:
                break
            whole = run.latest.finished and run.latest.batch == run.latest.batches
            run.stopped = run.stopping and not whole
            run.done = whole or run.stopped
            needed, batch = run.latest.left, run.latest.seconds * run.latest.steps / run.latest.done
    except NotLentError as reason:
        run.notes = (in_words(reason),)
        syntheses.enqueue(run)
    except GeneratorExit:
        run.stopped = run.done = True
        raise
    finally:
        if not run.done and run._turn is None:  # neither made here nor by a worker: it is going no longer
            run.error, run.done = run.error or UNEXPECTED, True
        if run.done and (bank := syntheses.bank(run.id)):
            run.finished, run.saved = bank.clips(), len(bank)


def distil(queue: Queue, run: Run, gpu: ZeroGpu) -> Iterator[str | None]:
    """Work on a run that was created and not queued; yields now and then, and in words why the rest is queued for the
    CPU, if it is. Closed before the end, the run is saved and stopped."""
    job, loan, finished = {"store": str(queue.runs.path), "run": run.id}, Loan(), False
    reason = None
    with queue.elsewhere(run) as stopped:
        try:
            while not finished and not stopped():
                with closing(gpu.distil(job, loan)) as signs:
                    for told in signs:
                        finished = finished or bool(told.get("finished")) or "refused" in told
                        yield None
                        if stopped():
                            break
        except NotLentError as error:
            reason = in_words(error)
        finally:
            if not finished:
                queue.runs.stop(run.id)
    if reason is not None:
        queue.resume(run.id)
        yield reason
