"""How much time and memory each kind of work may take in a worker, and how many jobs of it there may be."""

import math
from dataclasses import dataclass, replace

import psutil

from frami.hosting.limits import LIFTING, current
from frami.hosting.mode import hosted

#: Kinds of work that may take any time on one's own machine, and the part of its memory that each may take there.
OWN = ("clips", "map", "data", "train", "import", "gallery")
OWN_SHARE = 0.8


@dataclass(frozen=True)
class WorkLimits:
    """Of one kind of work: ``seconds`` and ``gigabytes`` (resident, beside those of the libraries) for a job, how many
    are done ``at_once`` and how many more may be ``waiting``, and of ``each`` visitor how many may be one or the other;
    ``lifting`` : how a visitor lifts that, where it is a row of ``frami.hosting.limits``;
    ``kept`` : whether the process does another job afterwards; ``long`` : whether another is made ready meanwhile, so
    that a click need not wait for its start; ``patience`` : seconds without a word after which a job that was told to
    stop is ended."""

    seconds: float
    gigabytes: float
    at_once: int = 1
    waiting: int = 8
    each: float = math.inf
    lifting: str = ""
    kept: bool = True
    long: bool = False
    patience: float = 20.0


#: The kinds of work, by the first part of a job's name, where strangers share the studio (else ``here``).
LIMITS = {
    "clips": WorkLimits(seconds=7200, gigabytes=6, waiting=64, long=True, patience=120),
    "map": WorkLimits(seconds=900, gigabytes=6, waiting=64, long=True),
    "sound": WorkLimits(seconds=60, gigabytes=3, waiting=24, each=6),
    # Recordings that are fetched or unpacked, trainings, imports and galleries: hosted only where a limit allows them.
    "data": WorkLimits(seconds=3600, gigabytes=3, waiting=4, kept=False, long=True, patience=60),
    "train": WorkLimits(seconds=3600, gigabytes=6, waiting=4, kept=False, long=True, patience=600),
    "import": WorkLimits(seconds=600, gigabytes=6, waiting=4, kept=False, long=True),
    "gallery": WorkLimits(seconds=3600, gigabytes=6, waiting=4, kept=False, long=True),
    # torch's exporter changes PyTorch for the whole process.
    "export": WorkLimits(seconds=300, gigabytes=6, waiting=2, kept=False, long=True),
}


def here() -> dict[str, WorkLimits]:
    """The kinds of work and the limits that hold here: on one's own machine those of ``OWN`` may take any time, and
    most of the memory. FramiError where ``FRAMI_LIMITS`` cannot be read."""
    if hosted():
        return LIMITS | {"export": replace(LIMITS["export"], each=current().of("exports"), lifting=LIFTING)}
    share = OWN_SHARE * psutil.virtual_memory().total / 1e9
    own = {kind: replace(LIMITS[kind], seconds=math.inf, gigabytes=share) for kind in OWN}
    return LIMITS | own
