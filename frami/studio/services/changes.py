"""Changes of visitors' sounds until a teacher hears another class: made in the queue of syntheses."""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from uuid import uuid4

import torch

from frami.checkpoints import Checkpoint
from frami.errors import FramiError, sentence
from frami.hosting.owners import Visitor
from frami.studio.services import clips, page_values, sent, troubles
from frami.studio.services.given import Given
from frami.studio.services.syntheses import Syntheses

#: Changes that are remembered.
_MOST = 60


@dataclass
class Changing:
    """One change and where it stands; written by the worker, read by the page. ``owner``, ``address`` : as of
    ``Visitor``; ``latest`` : a ``Change`` as values."""

    teacher: Checkpoint
    target: int
    owner: str | None
    address: str | None
    done: bool = False
    error: str | None = None
    latest: dict | None = None
    _turn: Future | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End after the present step; at once while it waits its turn."""
        self.stopped.set()
        if self._turn is not None and self._turn.cancel():
            self.done = True

    def value(self) -> dict:
        """The change as the page draws it."""
        state = "waiting" if self.latest is None else "running"
        if self.done:
            state = "error" if self.error else "stopped" if self.latest is None or self.stopped.is_set() else "done"
        target = page_values.name(self.teacher.classes[self.target])
        found = {"state": state, "message": self.error and sentence(self.error), "target": target}
        if self.latest is None:
            return found
        now, spec = self.latest, self.teacher.spec
        used = page_values.used_bands(torch.maximum(now["before"], now["after"]), spec)
        apart = (now["after"] - now["before"])[:used] / spec.unit
        return found | {
            "predicted": page_values.name(self.teacher.classes[now["predicted"]]),
            "axis": page_values.cropped(page_values.axis(spec), used),
            "frames": now["after"].shape[-1],
            "before": page_values.picture(now["before"][:used], spec),
            "after": page_values.picture(now["after"][:used], spec),
            "difference": page_values.bytes_of((apart * 8.686 / 40 + 0.5).clamp(0, 1)),
            "start": round(now["start"], 4),
            "confidence": round(now["confidence"], 4),
            "decibels": round(now["decibels"], 2),
            "share": round(now["share"], 3),
            "heard": now["heard"],
            "step": now["step"],
            "steps": now["steps"],
        }


class Changes:
    """Changes by id; each takes a visitor's place among the syntheses, with their limits and turns."""

    def __init__(self, syntheses: Syntheses):
        self._syntheses = syntheses
        self._known: dict[str, Changing] = {}

    def start(self, teacher: Checkpoint, given: Given, target, who: Visitor) -> str:
        """Begin a change of a sound; its id. The visitor's one before ends: a page shows one. FramiError where it would
        be more than the limits."""
        label = int(sent.number(target, "the class", 0, len(teacher.classes) - 1))
        one = Changing(teacher, label, who.owner, who.address)
        before = [other for other in list(self._known.values()) if other.owner == who.owner and not other.done]
        one._turn = self._syntheses.submit(one, lambda: self._work(one, given))
        for other in before:
            other.stop()
        id = uuid4().hex[:12]
        self._known[id] = one
        for other in [key for key, value in list(self._known.items()) if value.done][:-_MOST]:
            self._known.pop(other, None)
        return id

    def find(self, id, who: Visitor) -> Changing:
        """The visitor's change of this id. FramiError for any other."""
        one = self._known.get(sent.text(id, "the change"))
        if one is None or one.owner != who.owner:
            raise FramiError("this change is not there any more: start it again")
        return one

    def sound(self, id, which: str, who: Visitor) -> bytes:
        """The spectrogram ``before`` or ``after``, by the vocoder. FramiError where there is none."""
        one = self.find(id, who)
        if one.latest is None or which not in ("before", "after"):
            raise FramiError("there is nothing to hear yet")
        mel = one.latest[which]
        return clips.wav(mel[None, None], torch.tensor([mel.shape[-1]]), one.teacher.spec)

    def _work(self, one: Changing, given: Given) -> None:
        try:
            self._syntheses.change(one.teacher, given.path, one.target, one.__setattr__, one.stopped.is_set)
        except Exception as error:
            one.error = troubles.in_words(error)
        finally:
            one.done = True
