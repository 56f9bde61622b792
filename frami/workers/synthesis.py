"""A run of synthesis in a process that may end at any time: finished batches are in its folder, and so is what it needs
to go on there, in this process or another, on this device or another."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from frami import banks, vocoder
from frami.checkpoints import Checkpoint
from frami.inversion import InversionSettings, Progress, invert

#: Steps between two looks at the clips that form, and seconds between two that are told at least.
_EVERY, _APART = 2, 0.05
#: Part of a batch's time by which the next one may take longer.
_SPARE = 1.15


def states(
    teacher: Checkpoint,
    stopped: Callable[[], bool],
    *,
    settings: dict,
    folder: str,
    sounds: str | None = None,
    seconds: float | None = None,
) -> Iterator[dict]:
    """Make clips into the bank in ``folder``, going on behind those that are there; yields their states as plain
    values, with ``saved`` clips before this batch, and whether the run ``ends`` there.

    settings : of ``InversionSettings``; sounds : the vocoder's name, None for the usual one; seconds : after which no
    batch is begun that would not end in time (None: all are made). Where ``stopped()`` turns true, or no other state
    is asked for, the clips are saved as they are. Raises FramiError.
    """
    begin = ended = time.monotonic()
    wanted = InversionSettings.from_dict(settings)
    writer = banks.create_for(teacher, wanted, folder, vocoder.get(sounds, teacher.spec))
    if writer.complete:
        writer.close()
        return
    made = invert(teacher, wanted, every=_EVERY, first=writer.batches, memory=writer.state)
    run, told, longest, stop = banks.filling(writer, made), 0.0, 0.0, None
    try:
        while True:
            try:
                state = run.send(stop)
            except StopIteration:
                return
            now, last = time.monotonic(), state.batch == state.batches
            stop = state.to_keep and stopped() and not (last and state.step == state.steps)
            if state.finished:
                longest, ended = max(longest, now - ended), now
                stop = stop or (seconds is not None and not last and now - begin + _SPARE * longest > seconds)
            if state.finished or stop or now - told >= _APART:
                told = now
                try:
                    yield described(state) | {"saved": writer.made, "ends": stop}
                except GeneratorExit:
                    with suppress(StopIteration):
                        while True:  # up to the first state whose clips are to keep
                            run.send(True)
                    raise
    finally:
        made.close()
        writer.close()


def described(state: Progress) -> dict:
    """A state as plain values and tensors, without what only a bank or a later run wants."""
    return {name: value for name, value in vars(state).items() if name not in ("trajectory", "memory")}


def state(values: dict) -> Progress:
    """Inverse of ``described``; of other values it takes no notice."""
    return Progress(**{name: value for name, value in values.items() if name in Progress.__dataclass_fields__})
