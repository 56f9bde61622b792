"""The services that all tabs share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from frami import device, locks
from frami.checkpoints import Checkpoint
from frami.cluster import of_studio
from frami.data import store
from frami.errors import FramiError
from frami.hosting import limits
from frami.hosting.limits import Limits
from frami.hosting.presence import Presence
from frami.paths import ASSETS, home
from frami.runs.queue import Queue
from frami.studio.services.browser_students import BrowserStudents
from frami.studio.services.changes import Changes
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.galleries import Galleries
from frami.studio.services.housekeeping import Housekeeping
from frami.studio.services.listening import Listening
from frami.studio.services.preparations import Preparations
from frami.studio.services.recognition import Recognition
from frami.studio.services.recordings import Recordings
from frami.studio.services.syntheses import Syntheses
from frami.studio.services.teachers import Teachers
from frami.workers import pool, zerogpu
from frami.workers.zerogpu import ZeroGpu

#: What is told where another studio writes to the same folder.
NEIGHBOUR = (
    "another studio shares this one's folder (FRAMI_HOME): each run is made by one of them, and runs of both are "
    "listed here; to keep them apart, give each a FRAMI_HOME of its own"
)


@dataclass(frozen=True)
class Services:
    """``teachers`` : cards of the teachers that are there now, by name, in the order of the page; ``gpu`` : one that is
    lent to visitors, where this is such a Space; ``place`` : this studio's lock of its folder, None where another one
    has it."""

    device: torch.device
    gpu: ZeroGpu | None
    teachers: Teachers
    load_teacher: Callable[[str], Checkpoint]
    syntheses: Syntheses
    clips: ClipLookup
    galleries: Galleries
    recordings: Recordings
    maps: FeatureMaps
    distillations: Distillations
    recognition: Recognition
    listening: Listening
    browser_students: BrowserStudents
    changes: Changes
    preparations: Preparations
    limits: Limits
    presence: Presence
    housekeeping: Housekeeping
    place: locks.Held | None

    def workers(self) -> dict[str, bool]:
        """Whether each worker behind the page lives."""
        found = {
            "distillations": self.distillations.queue.alive,
            "syntheses": self.syntheses.alive,
            "maps": self.maps.alive,
            "processes": pool.shared().alive,
        }
        return found | ({"housekeeping": self.housekeeping.alive} if self.limits else {})

    def queues(self) -> dict[str, tuple[int, int]]:
        """Of each kind of work how many pieces wait, and how many are at work."""
        queue, jobs = self.distillations.queue, pool.shared().health()
        return {
            "distillations": (len(queue.waiting()), len(queue.busy)),
            "syntheses": self.syntheses.load(),
            "jobs": (jobs["waiting"], jobs["busy"]),
        }

    def jobs(self) -> dict[str, int]:
        """How many jobs of worker processes were ``done``, ``refused`` and ``lost`` since the start."""
        found = pool.shared().health()
        return {name: found[name] for name in ("done", "refused", "lost")}

    def warm(self) -> None:
        """Let a worker start, for a visitor who is there; it ends when nobody needs one."""
        pool.shared().warm()

    def close(self) -> None:
        """Stop what is computed; what was made is saved."""
        self.housekeeping.close()
        self.preparations.close()
        self.maps.close()
        self.syntheses.close()
        self.distillations.close()
        pool.close_shared()
        if self.place is not None:
            self.place.release()


def start() -> Services:
    """All services; queued distillations go on. FramiError where there is no teacher."""
    teachers = Teachers()
    if not teachers:
        raise FramiError("no teacher in checkpoints/; train one with: frami train-teacher")
    away = of_studio.asked()
    gpu = zerogpu.find()  # before anything asks for a device
    here = torch.device("cpu") if gpu else device.pick()
    load_teacher = teachers.loader(here)
    allowed, place = limits.current(), _place()
    presence = Presence(home() / "visitors", allowed.of("silence"), allowed.of("grace"))
    syntheses = Syntheses(limits=allowed)
    if place is not None:
        syntheses.tidy()
        store.tidy()
    recordings = Recordings(ASSETS / "explore", load_teacher, teachers)
    clips = ClipLookup(syntheses, ASSETS / "gallery", load_teacher, recordings.sound)
    preparations = Preparations(str(here), allowed).begin()

    def beside() -> bool:
        return bool(preparations.busy or syntheses.going() or syntheses.others())

    queue = Queue(away=away).begin(tidy=place is not None)
    distillations = Distillations(queue, load_teacher, teachers, allowed, beside)
    recognition = Recognition(distillations, clips, recordings)
    return Services(
        device=here,
        gpu=gpu,
        teachers=teachers,
        load_teacher=load_teacher,
        syntheses=syntheses,
        clips=clips,
        galleries=Galleries(clips, teachers),
        recordings=recordings,
        maps=FeatureMaps(ASSETS / "explore", syntheses, load_teacher, teachers, recordings),
        distillations=distillations,
        recognition=recognition,
        listening=Listening(recognition, allowed),
        browser_students=BrowserStudents(recognition),
        changes=Changes(syntheses),
        preparations=preparations,
        limits=allowed,
        presence=presence,
        housekeeping=Housekeeping(syntheses, distillations.owned, presence, allowed).begin(),
        place=place,
    )


def _place() -> locks.Held | None:
    """This studio's lock of the folder that it writes to; None where another studio has it."""
    try:
        return locks.checkpoint(home() / "studio")
    except locks.InUseError:
        return None
    except OSError:  # a full disk keeps no studio from starting
        return locks.Held(None)
