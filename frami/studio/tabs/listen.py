"""The Listen tab: the precomputed gallery, nothing to compute."""

import re

import gradio as gr

from frami.data.catalogue import DATASETS
from frami.data.matching import shortened
from frami.studio import components
from frami.studio.tabs.base import Tab

_INTRO = """
**Nobody recorded these sounds.** A network that was trained to recognise {subject} made them up: from its weights
alone, without a second of its training data, each picture was changed until the network recognised the class above it.
The percentage is its confidence. Click one to hear what the network has learnt that the class sounds like.
"""


class Listen(Tab):
    title, name = "Listen", "listen"

    def build(self, teacher: str) -> None:
        words, gallery = self.on_teacher(teacher)
        functions = components.clip_functions(self.services.clips, self.services.galleries, self.who)
        self.outputs = [
            gr.Markdown(words, elem_id="listen-intro"),
            components.drawn("wall", gallery, "gallery", functions),
        ]

    def on_teacher(self, teacher: str) -> tuple[str, dict]:
        """Two sentences on what these sounds are, and the gallery."""
        card = self.services.teachers[teacher]
        known = _verbatim(card.title if card.dataset else shortened(card.classes, 3))
        subject = DATASETS[card.dataset].subject if card.dataset in DATASETS else known
        return _INTRO.format(subject=subject), self.services.galleries.value(teacher)


def _verbatim(text: str) -> str:
    """A name of a person's own as Markdown that shows its very signs."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
