"""The Listen tab: the precomputed gallery, nothing to compute."""

from functools import lru_cache
from pathlib import Path

import gradio as gr

from frami import banks
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.studio import components
from frami.studio.services import clip_ids, offers, page_values
from frami.studio.tabs.base import Tab

_INTRO = """
**Nobody recorded these sounds.** A network that was trained to recognise {subject} made them up: from its weights
alone, without a second of its training data, each picture was changed until the network recognised the class above it.
The percentage is its confidence. Click one to hear what the network has learnt that the class sounds like.
"""


class Listen(Tab):
    title, name = "Listen", "listen"

    def build(self, teacher: str) -> None:
        words, pictures = self.on_teacher(teacher)
        self.outputs = [
            gr.Markdown(words, elem_id="listen-intro"),
            components.drawn("wall", pictures, "gallery", components.clip_functions(self.services.clips)),
        ]

    def on_teacher(self, teacher: str) -> tuple[str, dict]:
        """Two sentences on what these sounds are, and the gallery."""
        card = self.services.teachers[teacher]
        subject = DATASETS[card.dataset].subject if card.dataset in DATASETS else card.title
        return _INTRO.format(subject=subject), gallery(self.services.clips.gallery / teacher, card.sha256)


@lru_cache(maxsize=16)
def gallery(folder: Path, sha256: str) -> dict:
    """A gallery bank as the page draws it; ``{"message"}`` where there is none, or of other weights."""
    try:
        bank = banks.load(folder)
    except FramiError:
        bank = None
    if bank is None or bank.manifest["settings"].get("teacher_sha256") not in (None, sha256):
        return {"groups": [], "message": "No gallery for this teacher yet. Make one with: frami gallery"}
    origin, prefix = offers.origin(bank.manifest["settings"]), clip_ids.prefix("gallery", folder.name)
    classes = tuple(dict.fromkeys(entry["target_name"] for entry in bank.manifest["clips"]))
    rows = page_values.clips(bank.clips(), prefix, classes, bank.spec, origin)
    titles = [page_values.name(label) for label in classes]
    groups = [{"title": title, "clips": [row for row in rows if row["target"] == title]} for title in titles]
    return {"groups": groups, "axis": page_values.axis(bank.spec)}
