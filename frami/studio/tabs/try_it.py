"""The Try it tab: a sound of the visitor's own, what the teacher and its students predict for it, what decided that,
and what must change until another class is heard."""

from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from frami.errors import FramiError
from frami.studio import components, runtime
from frami.studio.services import sent
from frami.studio.tabs.base import EVENT, Page, Tab, refusal

_INTRO = """
**Say it, and see which network recognises it.** Record, choose a file, or click a sound: the teacher and its students
classify it side by side, show what decided, and what would have to change.
"""
#: Ticks that are still another teacher's are not sent: the students that they name are not offered any more.
_OWN_STUDENTS = """(teacher, students) =>
    [teacher, document.querySelector(".frami-samples")?.dataset.teacher === teacher ? students : []]"""
#: Limits that are named beside the sound box.
_LIMITS = ("upload", "uploads", "listening")
_IDLE = {"state": "idle"}


class TryIt(Tab):
    title, name, wide = "Try it", "try", True
    answered = "name => { frami.soundsCame(name); }"

    def build(self, teacher: str) -> None:
        recognition = self.services.recognition
        gr.Markdown(_INTRO, elem_id="try-intro")
        with gr.Row(elem_id="try-row"):
            with gr.Column(scale=2, min_width=300):
                components.limits_note(self.services.limits, _LIMITS, "try-limits")
                self.source = components.drawn(
                    "source", {"teacher": teacher}, "try-sound", [self._live()], stretch=self.services.listening.stretch
                )
                self.samples = components.drawn(
                    "samples",
                    {"teacher": teacher, "groups": recognition.samples(teacher)},
                    "try-samples",
                    [components.wav_function(lambda id: recognition.sound(id, self.who()))],
                )
                self.students = gr.CheckboxGroup(**self._students(teacher), label="Students", elem_id="try-students")
                self.browser = components.drawn(
                    "inbrowser",
                    self._in_browser(teacher),
                    "try-browser",
                    self._browser_functions(),
                    runtime=runtime.addresses(),
                )
            with gr.Column(scale=3, min_width=320):
                self.shown = components.drawn("try", _IDLE, "try", self._functions())
        #: Token of the sound that is shown (``services.given``).
        self.given = gr.State(None)
        #: The teacher of all these.
        self.of = gr.State(teacher)
        self.inputs = [self.of]
        self.outputs = [self.samples, self.students, self.source, self.shown, self.given, self.browser, self.of]

    def connect(self, page: Page, opened: gr.Tab) -> None:
        event = EVENT | {"concurrency_limit": None}
        latest = event | {"trigger_mode": "always_last", "js": _OWN_STUDENTS}
        chosen = [page.teacher, self.students]
        self.source.upload(self._own, chosen, [self.shown, self.given], **latest)
        ticked = latest | {"js": None}
        self.students.input(self._predict, [*chosen, self.given], self.shown, **ticked)
        self.samples.select(self._sample, chosen, [self.shown, self.given], **latest)
        renewed = lambda name, ticked: (gr.update(**self._students(name, ticked)), self._in_browser(name))  # noqa: E731
        opened.select(renewed, chosen, [self.students, self.browser], js=_OWN_STUDENTS, **event)

    def on_teacher(self, teacher: str, before: str) -> tuple | list:
        if teacher == before:  # another one was chosen and left: what was clicked meanwhile stays
            return [gr.skip() for _ in self.outputs]
        groups = self.services.recognition.samples(teacher)
        samples = {"teacher": teacher, "groups": groups}
        ticks, source = gr.update(**self._students(teacher)), {"teacher": teacher}
        return samples, ticks, source, _IDLE, None, self._in_browser(teacher), teacher

    def _students(self, teacher: str, ticked: list | None = None) -> dict:
        """What the choice of students offers."""
        who = self.who()
        choices = self.services.recognition.students(teacher, who)
        info = (
            "compared with the teacher" if choices else "none yet: distil one, and it is compared with the teacher here"
        )
        return {"choices": choices, "value": self.services.recognition.chosen(teacher, ticked, who), "info": info}

    def _in_browser(self, teacher: str) -> dict:
        """The students that may run in the visitor's browser."""
        return {"teacher": teacher, "students": self.services.browser_students.offered(teacher, self.who())}

    # ------------------------------------------------------------------------------------- events

    def _predict(self, teacher: str, keys: list, given: str | None) -> dict:
        if not given:
            return _IDLE
        keys = [key for key in keys or [] if isinstance(key, str)]
        return self.services.recognition.predictions(teacher, keys, given, self.who())

    def _own(self, teacher: str, keys: list, data: gr.EventData) -> tuple:
        path = uploaded(components.told(data).get("path"))
        given = self.services.recognition.given.add(path, "", "your sound", self.who())
        return self._predict(teacher, keys, given), given

    def _sample(self, teacher: str, keys: list, data: gr.EventData) -> tuple:
        try:
            found = self.services.recognition.sample(data.id)
        except (FramiError, AttributeError, TypeError) as error:
            raise refusal("this sound is not there") from error
        given = self.services.recognition.given.add(*found, self.who())
        return self._predict(teacher, keys, given), given

    # ------------------------------------------------------------------------------------- what the scripts call

    def _live(self):
        @components.reply
        def live(request) -> dict:
            return self.services.listening.piece(request, self.who())

        return live

    def _browser_functions(self) -> list:
        @components.reply
        def model(request) -> dict:
            return self.services.browser_students.model(request, self.who())

        return [model, components.wav_function(lambda id: self.services.recognition.sound(id, self.who()))]

    def _functions(self) -> list:
        recognition, changes = self.services.recognition, self.services.changes

        def sound(id) -> bytes:
            kind, _, rest = sent.text(id, "the sound").partition("/")
            if kind == "change":
                name, _, which = rest.partition("/")
                return changes.sound(name, which, self.who())
            return recognition.hear(rest, self.who())

        @components.reply
        def decided(request) -> dict:
            return recognition.decided(request, self.who())

        @components.reply
        def change(request) -> dict:
            request, who = sent.record(request), self.who()
            name = sent.chosen(request.get("teacher"), list(self.services.teachers), "Teacher")
            given = recognition.given.find(request.get("given"), who)
            return {"id": changes.start(self.services.load_teacher(name), given, request.get("label"), who)}

        @components.reply
        def changing(id) -> dict:
            return changes.find(id, self.who()).value()

        @components.reply
        def stop_change(id) -> dict:
            changes.find(id, self.who()).stop()
            return {}

        return [components.wav_function(sound), decided, change, changing, stop_change]


def uploaded(path) -> Path:
    """A file that was uploaded here. Raises a refusal for any other path."""
    try:
        found = Path(sent.text(path, "the sound", sent.MOST_SIGNS)).resolve()
        if found.is_file() and found.is_relative_to(Path(get_upload_folder()).resolve()):
            return found
    except (OSError, ValueError, RuntimeError):
        pass
    raise refusal("this sound is not there any more: give it again")
