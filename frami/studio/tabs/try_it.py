"""The Try it tab: a sound of the visitor's own, and what the teacher and its students predict for it, side by side."""

import gradio as gr

from frami.errors import FramiError
from frami.studio import components
from frami.studio.tabs.base import EVENT, Page, Tab, refusal

_INTRO = """
**Say it, and see which network recognises it.** Record or upload a sound, or take one of those below: the teacher and
its students classify the same spectrogram, side by side.
"""
#: Ticks that are still another teacher's are not sent: the students that they name are not offered any more.
_OWN_STUDENTS = """(teacher, students) =>
    [teacher, document.querySelector(".frami-samples")?.dataset.teacher === teacher ? students : []]"""
#: Limits that are named beside the sound box.
_LIMITS = ("upload", "uploads")
_IDLE = {"state": "idle"}


class TryIt(Tab):
    title, name, wide = "Try it", "try", True

    def build(self, teacher: str) -> None:
        recognition = self.services.recognition
        gr.Markdown(_INTRO, elem_id="try-intro")
        with gr.Row(elem_id="try-row"):
            with gr.Column(scale=2, min_width=300):
                components.limits_note(self.services.limits, _LIMITS, "try-limits")
                self.sound = gr.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label="Your sound",
                    elem_id="try-sound",
                    buttons=[],
                )
                self.samples = components.drawn(
                    "samples",
                    {"teacher": teacher, "groups": recognition.samples(teacher)},
                    "try-samples",
                    [components.wav_function(lambda id: recognition.sound(id, self.who()))],
                )
                self.students = gr.CheckboxGroup(**self._students(teacher), label="Students", elem_id="try-students")
            with gr.Column(scale=3, min_width=320):
                self.shown = components.drawn("try", _IDLE, "try")
        #: The sound that is shown: its path, class, and what it is.
        self.given = gr.State(None)
        self.outputs = [self.samples, self.students, self.sound, self.shown, self.given]

    def connect(self, page: Page, opened: gr.Tab) -> None:
        event = EVENT | {"concurrency_limit": None}
        latest = event | {"trigger_mode": "always_last"}
        chosen = [page.teacher, self.students]
        going = [
            happened(self._own, [*chosen, self.sound], [self.shown, self.given], **latest)
            for happened in (self.sound.upload, self.sound.stop_recording)
        ]
        going.append(self.students.input(self._predict, [*chosen, self.given], self.shown, **latest))
        going.append(self.samples.select(self._sample, chosen, [self.shown, self.given, self.sound], **latest))
        # A prediction that is still on its way does not come to stand beside a sound box that was emptied.
        self.sound.clear(lambda: (_IDLE, None), None, [self.shown, self.given], cancels=going, **event)
        page.teacher.change(None, None, None, cancels=going, **event)
        renewed = lambda *ticks: gr.update(**self._students(*ticks))  # noqa: E731
        opened.select(renewed, chosen, self.students, js=_OWN_STUDENTS, **event)

    def on_teacher(self, teacher: str) -> tuple:
        groups = self.services.recognition.samples(teacher)
        return {"teacher": teacher, "groups": groups}, gr.update(**self._students(teacher)), None, _IDLE, None

    def _students(self, teacher: str, ticked: list | None = None) -> dict:
        """What the choice of students offers."""
        who = self.who()
        choices = self.services.recognition.students(teacher, who)
        info = (
            "compared with the teacher" if choices else "none yet: distil one, and it is compared with the teacher here"
        )
        return {"choices": choices, "value": self.services.recognition.chosen(teacher, ticked, who), "info": info}

    def _predict(self, teacher: str, keys: list, given: tuple | None) -> dict:
        if not given:
            return _IDLE
        keys = [key for key in keys or [] if isinstance(key, str)]
        return self.services.recognition.predictions(teacher, keys, *given, who=self.who())

    def _own(self, teacher: str, keys: list, path: str | None) -> tuple:
        given = (path, "", "your sound") if path else None
        return self._predict(teacher, keys, given), given

    def _sample(self, teacher: str, keys: list, data: gr.EventData) -> tuple:
        try:
            path, label, origin = self.services.recognition.sample(data.id)
        except (FramiError, AttributeError, TypeError) as error:
            raise refusal("this sound is not there") from error
        given = (str(path), label, origin)
        return self._predict(teacher, keys, given), given, components.served(path)
