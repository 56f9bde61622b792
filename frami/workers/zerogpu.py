"""ZeroGPU: the GPU of a Hugging Face Space that is lent to a visitor for some seconds at a time.

``spaces`` (https://pypi.org/project/spaces) is used where such a Space has it, and needed nowhere else. Its decorator
runs a function in a forked process that has the GPU, pickles what goes in and comes out, and charges the time to the
visitor in whose event it is called, who has minutes a day (two of them without an account). The page's own process has
no GPU, and must not ask for one.
"""

import importlib
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from frami.workers import messages, slices

#: Seconds that a slice asks for at least, usually, and at most where a single batch takes longer.
LEAST, USUAL, MOST = 10, 20, 60
#: Seconds of the GPU that a run takes at most: what a visitor without an account has a day.
ALLOWANCE = 120
#: What a refusal says of a visitor's seconds. Where GPUs are of a faster kind, both are more than was asked for, by the
#: same factor.
_LEFT = re.compile(r"\((\d+)s requested vs\. (\d+)s left\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_log = logging.getLogger(__name__)


class NotLentError(Exception):
    """The GPU was not lent, or taken away; the message is its platform's."""


@dataclass
class Loan:
    """What a run may still take. left : seconds; before a slice ``ask`` says how many it asks for."""

    left: float = ALLOWANCE

    def ask(self, needed: float | None = None, batch: float = 0.0) -> int:
        """Seconds of the next slice. needed : by all that is left, where that is known; batch : by what cannot be
        divided. NotLentError where no slice is left."""
        most = min(max(USUAL, math.ceil(batch + slices.START)), MOST)
        wanted = most if needed is None else min(most, math.ceil(needed + slices.START))
        asked = int(min(max(wanted, LEAST), self.left))
        if asked < LEAST:
            raise NotLentError("this run has had its time on the GPU")
        return asked


class ZeroGpu:
    """The decorated slices. ``decorator`` : ``spaces.GPU``; ``device`` : where they compute.

    Each method is called within the visitor's own event and yields what the slice says; it may be closed at any time.
    Raises NotLentError.
    """

    def __init__(self, decorator: Callable, device: str = "cuda"):
        self.device = device
        self._synthesize = decorator(duration=slices.seconds)(slices.synthesize)
        self._distil = decorator(duration=slices.seconds)(slices.distil)

    def synthesize(self, job: dict, loan: Loan, needed: float | None = None, batch: float = 0.0) -> Iterator[dict]:
        """A slice of synthesis; job : as of ``slices.synthesize`` without ``seconds`` and ``device``."""
        yield from self._lent(self._synthesize, job, loan, needed, batch)

    def distil(self, job: dict, loan: Loan, needed: float | None = None) -> Iterator[dict]:
        """A slice of a distillation; job : as of ``slices.distil`` without ``seconds`` and ``device``."""
        yield from self._lent(self._distil, job, loan, needed)

    def _lent(self, work: Callable, job: dict, loan: Loan, needed: float | None, batch: float = 0.0) -> Iterator[dict]:
        """A slice; asked for once more where the visitor has less left than was asked for."""
        while True:
            asked, begun, begin = loan.ask(needed, batch), False, time.monotonic()
            try:
                for content in work(job | {"seconds": asked, "device": self.device}):
                    begun = True
                    yield messages.unpack(content)
                loan.left -= min(asked, math.ceil(time.monotonic() - begin))
                return
            except Exception as error:  # of the platform: those of the work come as values
                words = _words(error)
                said = _LEFT.search(words)
                there = asked * int(said[2]) // max(int(said[1]), 1) if said else 0
                if begun or not LEAST <= there < asked:
                    raise NotLentError(words) from error
                loan.left = there


def _words(error: Exception) -> str:
    """What the platform says: as text Gradio's errors have their message in quotes, and it may hold links."""
    return _LINK.sub(r"\1", str(getattr(error, "message", error))).strip() or type(error).__name__


def find() -> ZeroGpu | None:
    """ZeroGPU where this process runs on such a Space, else None; so, with a line in the log, where its package cannot
    be loaded, which asks for more than to be there: CUDA must not be in use yet, and the Space must name its host."""
    if os.environ.get("SPACES_ZERO_GPU", "").lower() not in ("1", "t", "true"):
        return None
    try:
        importlib.import_module("torch._dynamo")  # which optimisers load: here once, and not in each slice's process
        return ZeroGpu(importlib.import_module("spaces").GPU)
    except Exception as error:  # whatever it is, the page works without
        _log.warning("ZeroGPU is not used: the package spaces cannot be loaded (%s)", error or type(error).__name__)
        return None
