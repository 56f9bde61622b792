"""The Listen tab: the precomputed gallery, nothing to compute."""

from functools import lru_cache
from pathlib import Path

import gradio as gr

from frami import banks
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.studio import components
from frami.studio.services import offers, page_values
from frami.studio.services.clips import Reader

_INTRO = """
**Nobody recorded these sounds.** A network that was trained to recognise {subject} made them up: from its weights
alone, without a second of its training data, each picture was changed until the network heard the class above it.
The percentage says how sure it is. Click one to hear what the network believes it sounds like.
"""


@lru_cache(maxsize=16)
def gallery_view(folder: Path) -> dict:
    """The wall's value for a gallery bank; ``{"message"}`` where there is none."""
    try:
        bank = banks.load(folder)
    except FramiError:
        return {"groups": [], "message": "No gallery for this teacher yet. Make one with: frami gallery"}
    settings = bank.manifest["settings"]
    classes = tuple(dict.fromkeys(entry["target_name"] for entry in bank.manifest["clips"]))
    rows = page_values.clips(bank.clips(), f"gallery/{folder.name}", classes, bank.spec, offers.origin(settings))
    groups = [
        {"title": page_values.name(c), "clips": [r for r in rows if r["target"] == page_values.name(c)]}
        for c in classes
    ]
    return {"groups": groups, "axis": page_values.axis(bank.spec)}


def introduction(card) -> str:
    """Two sentences on what these sounds are."""
    return _INTRO.format(subject=DATASETS[card.dataset].subject if card.dataset in DATASETS else card.title)


def tab(folder: Path, card, reader: Reader) -> tuple[gr.Markdown, gr.HTML]:
    """Build the tab; returns what a change of teacher renews."""
    words = gr.Markdown(introduction(card), elem_id="listen-intro")
    pictures = components.wall(gallery_view(folder / card.name), reader, "gallery")
    return words, pictures
