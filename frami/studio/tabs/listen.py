"""The Listen tab: a recording beside what the network made of its class, then the gallery; nothing to compute."""

import re

import gradio as gr

from frami.data.catalogue import DATASETS
from frami.data.matching import shortened
from frami.studio import components
from frami.studio.services import sent
from frami.studio.services.stories import Stories
from frami.studio.tabs.base import Tab

_INTRO = """
**Nobody recorded these sounds.** A network that was trained to recognise {subject} made them up from its weights.
"""


class Listen(Tab):
    title, name = "Listen", "listen"

    def build(self, teacher: str) -> None:
        words, story, gallery = self.on_teacher(teacher)
        functions = components.clip_functions(self.services.clips, self.services.galleries, self.who)
        self.outputs = [
            gr.Markdown(words, elem_id="listen-intro"),
            components.drawn("story", story, "story", [*functions, *self._story()]),
            components.drawn("wall", gallery, "gallery", functions),
        ]

    def on_teacher(self, teacher: str) -> tuple[str, dict, dict]:
        """A sentence on what these sounds are, the pair to begin with, and the gallery."""
        card = self.services.teachers[teacher]
        known = _verbatim(card.title if card.dataset else shortened(card.classes, 3))
        subject = DATASETS[card.dataset].subject if card.dataset in DATASETS else known
        story, gallery = self._stories().value(teacher), self.services.galleries.value(teacher)
        return _INTRO.format(subject=subject), story, gallery

    def _stories(self) -> Stories:
        return Stories(self.services.galleries, self.services.recordings)

    def _story(self) -> list:
        """``server.recorded({teacher})``, recordings beside the made clips, and ``server.clip({id})``, one of either
        with its picture."""
        stories = self._stories()

        @components.reply
        def recorded(request) -> dict:
            return stories.recorded(sent.text(sent.record(request).get("teacher"), "the teacher"))

        @components.reply
        def clip(request) -> dict:
            return stories.clip(sent.record(request).get("id"))

        return [recorded, clip]


def _verbatim(text: str) -> str:
    """A name of a person's own as Markdown that shows its very signs."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
