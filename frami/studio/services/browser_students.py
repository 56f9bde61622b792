"""Students for the visitor's own browser: their ONNX files, which take sound, each exported once."""

import base64
from dataclasses import dataclass
from functools import lru_cache

from frami import browser, checkpoints
from frami.hosting.owners import Visitor
from frami.studio.services import sent
from frami.studio.services.recognition import Recognition
from frami.workers.pool import asked_by, shared

#: Exported files that are kept.
_KEPT = 8


@dataclass
class BrowserStudents:
    """The students that ``recognition`` offers, as files for a page."""

    recognition: Recognition

    def __post_init__(self):
        self._exported = lru_cache(maxsize=_KEPT)(self._export)

    def offered(self, teacher: str, who: Visitor) -> list[list[str]]:
        """[title, key] of each student of a teacher that the visitor may run."""
        return [list(pair) for pair in self.recognition.students(teacher, who)]

    def model(self, request, who: Visitor) -> dict:
        """A student's file as base64, ``onnx``, with ``browser.facts`` of it: ``{"teacher", "student": its key}``.
        FramiError for anything else, and while too many others are exported."""
        request = sent.record(request)
        teacher = sent.chosen(request.get("teacher"), list(self.recognition.distillations.teachers), "Teacher")
        key = sent.chosen(request.get("student"), [key for _, key in self.offered(teacher, who)], "Students")
        path = self.recognition.path(key)
        card = checkpoints.read_card(path)
        with asked_by(who.owner, who.address):
            content = self._exported(str(path), card.sha256)
        return browser.facts(card) | {"onnx": base64.b64encode(content).decode()}

    @staticmethod
    def _export(source: str, sha256: str) -> bytes:
        return shared().run("export-onnx", {"source": source, "input": "waveform"})
