"""Listening live: short pieces of a visitor's microphone, and what the networks hear in the last second or so."""

import base64
import binascii
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from frami import browser
from frami.errors import FramiError
from frami.hosting.limits import NONE, Limits
from frami.hosting.owners import Visitor
from frami.studio.services import page_values, sent
from frami.studio.services.recognition import Recognition
from frami.workers.pool import asked_by, on_file, shared

#: Sample rates in Hz that a page sends, seconds of a piece, and texts of base64 in it, at most.
RATES, PIECE, TEXTS = (8_000, 48_000), 2.0, 64
#: Seconds of listening at a stretch where no limit is set; that a page may be ahead of the clock; and of silence after
#: which a session is over.
STRETCH, AHEAD, GONE = 600.0, 4.0, 15.0
#: Students that listen, at most; seconds between two computations at least: a piece in between gets the last answer.
STUDENTS, PAUSE = 8, 0.2
#: Sessions that are remembered.
_MOST = 200


@dataclass
class _Session:
    """``name`` : the page's; ``began``, ``heard_at``, ``asked_at`` : times, the last of a computation; ``taken`` :
    seconds of sound; ``samples`` : the last; ``answer`` : what was last heard."""

    name: str
    rate: int
    began: float
    heard_at: float
    taken: float = 0.0
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    asked_at: float = -np.inf
    answer: dict = field(default_factory=lambda: {"state": "quiet"})


@dataclass
class Listening:
    """One session for each visitor: a later one ends it."""

    recognition: Recognition
    limits: Limits = NONE
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def stretch(self) -> float:
        """Seconds after which listening ends."""
        return self.limits.least("listening", STRETCH)

    def piece(self, request, who: Visitor) -> dict:
        """The next piece of a session as the page sends it (``session``, ``teacher``, ``students``, ``rate``, ``pcm``:
        16-bit samples as base64, ``begin``), and what is heard now: ``{"state": "heard" | "quiet" | "ended", …}``.
        FramiError for anything else."""
        request = sent.record(request)
        name = sent.text(request.get("session"), "the session")
        teacher = sent.chosen(request.get("teacher"), list(self.recognition.distillations.teachers), "Teacher")
        students = sent.texts(request.get("students"), "Students", STUDENTS)
        rate = int(sent.number(request.get("rate"), "the sample rate", *RATES))
        piece = _decoded(request.get("pcm"), rate)
        card = self.recognition.clips.load_teacher(teacher).card
        session = self._added(name, rate, piece, browser.window(card), who, bool(request.get("begin")))
        if session is None:
            return {"state": "ended", "message": "Listening has ended here: it goes on in another page of yours."}
        if isinstance(session, str):
            return {"state": "ended", "message": session}
        samples = session.samples
        if len(samples) < 0.3 * rate or float(np.abs(samples).max()) < 0.01:
            return {"state": "quiet"}
        with self._lock:
            now = time.monotonic()
            if now - session.asked_at < PAUSE:
                return session.answer
            session.asked_at = now
        session.answer = self._heard(teacher, students, samples, rate, who)
        return session.answer

    def _added(self, name: str, rate: int, piece: np.ndarray, window: float, who: Visitor, begin: bool):
        """The session, whose samples are the last ``window`` seconds with this piece; why it ended, or None where
        another took its place."""
        now, key = time.monotonic(), who.owner or who.address or ""
        with self._lock:
            known = self._sessions.get(key)
            if known is not None and known.name == name and known.rate != rate:
                raise sent.SentError("the sample rate has changed: start listening again")
            if known is None or known.name != name:
                if not begin and known is not None:
                    return None
                # What was sent too early before counts on: a new name every piece gives no more sound.
                early = 0.0 if known is None else max(0.0, known.taken - (now - known.began))
                known = self._sessions[key] = _Session(name, rate, now, now, early)
                while len(self._sessions) > _MOST:
                    del self._sessions[next(iter(self._sessions))]
            if now - known.heard_at > GONE:
                known.samples = known.samples[:0]
            if now - known.began > self.stretch:
                return f"Listening ends after {self.stretch:.0f} s. Start it again to go on."
            known.heard_at = now
            known.taken += len(piece) / rate
            if known.taken > now - known.began + AHEAD:
                raise FramiError("more sound was sent than time has passed; start listening again")
            known.samples = np.concatenate([known.samples, piece])[-int(window * rate) :]
            return known

    def _heard(self, teacher: str, students: list[str], samples: np.ndarray, rate: int, who: Visitor) -> dict:
        titles = {key: title for title, key in self.recognition.students(teacher, who)}
        there = {key: str(self.recognition.path(key)) for key in titles if {key, titles[key]} & set(students)}
        found = self.recognition.clips.load_teacher(teacher)
        arguments = on_file(found) | {
            "samples": torch.from_numpy(samples.copy()),
            "rate": rate,
            "students": list(there.values()),
        }
        with asked_by(who.owner, who.address):
            heard = shared().run("sound-live", arguments)
        if "refused" in heard:
            return {"state": "quiet"}
        rows = zip(["The teacher", *(titles[key] for key in there)], heard["found"], strict=True)
        networks = [
            {"title": title, "top": page_values.top(one[0], found.classes)[:3], "milliseconds": round(one[1], 1)}
            for title, one in rows
            if one is not None
        ]
        return {"state": "heard", "networks": networks}


def _decoded(texts, rate: int) -> np.ndarray:
    """Samples in float32 of texts of base64, each of whole 16-bit samples. Raises SentError."""
    if not isinstance(texts, list) or len(texts) > TEXTS:
        raise sent.SentError("the piece of sound is not what the page sends")
    try:
        content = b"".join(
            base64.b64decode(sent.text(one, "the sound", sent.MOST_SIGNS), validate=True) for one in texts
        )
    except (binascii.Error, ValueError) as error:
        raise sent.SentError("the piece of sound is not what the page sends") from error
    if not content:
        raise sent.SentError("the piece of sound is empty")
    if len(content) % 2 or len(content) > 2 * PIECE * rate:
        raise sent.SentError("the piece of sound is too long")
    return np.frombuffer(content, "<i2").astype(np.float32) / 32_768
