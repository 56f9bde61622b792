"""A bank of a running inversion: its batches are added as they are finished."""

from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from frami.banks.saving import predictor
from frami.banks.writer import Writer, create
from frami.checkpoints import Checkpoint
from frami.inversion import InversionSettings, Progress, check
from frami.vocoder import Vocoder


def create_for(
    teacher: Checkpoint, settings: InversionSettings, folder: str | Path, vocoder: Vocoder | None = None, **choices
) -> Writer:
    """``create`` for an inversion of a teacher; ``choices`` : ``ending`` and ``overwrite``. Raises FramiError, and
    writes nothing, for settings that can teach nothing."""
    check(teacher, settings)
    values, predict = settings.to_dict(), predictor(teacher.model)
    more = {"predict": predict, "multilabel": teacher.multilabel} | choices
    return create(folder, values, teacher.classes, teacher.spec, vocoder, **more)


def fill(
    writer: Writer,
    states: Iterable[Progress],
    report: Callable[[Progress], bool | None] | None = None,
    *,
    resumable: bool = True,
) -> bool:
    """Add each finished batch of ``invert`` to a bank, and finish the bank with the run.

    ``report(state)`` is called at every state, before it is saved. Where it returns True, the run ends: the clips are
    saved as they are, and the bank stays unfinished. resumable : save with each batch what an interrupted run needs to
    go on. Returns whether the run came to its end. Raises BankError.
    """
    run, stop = filling(writer, states, resumable=resumable), None
    while True:
        try:
            state = run.send(stop)
        except StopIteration as end:
            return end.value
        stop = report is not None and report(state) is True


def filling(
    writer: Writer, states: Iterable[Progress], *, resumable: bool = True
) -> Generator[Progress, bool | None, bool]:
    """``fill`` for those who ask for one state after the other: yields each, before it is saved; ``send(True)`` in
    answer ends the run, there or at the next state whose clips are to keep."""
    stop = False
    for state in states:
        stop = (yield state) is True or stop
        if not state.to_keep:
            continue
        if state.finished or stop:
            memory = state.memory() if resumable and state.memory else None
            writer.append(state.clips, seconds=state.seconds, trajectory=state.trajectory, state=memory)
        if stop:
            return False
    writer.finish()
    return True
