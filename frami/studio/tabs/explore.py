"""The Explore tab: the feature map, its nearest neighbours, and how rich each bank is."""

import base64
from collections.abc import Sequence

import gradio as gr

from frami.checkpoints import Card
from frami.errors import FramiError
from frami.features import diversity
from frami.studio.services.feature_map import Atlas

#: Columns of the table: name of the measure, its title, whether it is a share.
COLUMNS = (
    ("coverage", "Coverage", False),
    ("density", "Density", False),
    ("frechet", "Fréchet distance", False),
    ("vendi", "Vendi score", False),
    ("within_class", "Within a class", False),
    ("target_accuracy", "As asked", True),
)
_RUNS = 8
_INTRO = """
**Each point is a sound**, placed by what the teacher makes of it: two that lie together are alike to the teacher. Click
one to hear it, or walk with the arrow keys.
"""


def tab(atlas: Atlas, card: Card) -> dict:
    """Build the tab; returns its components: ``banks``, the layers to choose from, and ``map``."""
    gr.Markdown(_INTRO, elem_id="explore-intro")
    choices = atlas.choices(card.name, [])
    banks = gr.CheckboxGroup(choices, value=chosen(choices, None), label="On the map", elem_id="explore-banks")
    columns = [{"name": n, "title": t, "share": s, "reading": diversity.READING[n]} for n, t, s in COLUMNS]
    return {
        "banks": banks,
        "map": gr.HTML(
            {},
            html_template='<div class="frami-explore"></div>',
            js_on_load="frami.explore(element, props, server, watch)",
            server_functions=_functions(atlas),
            apply_default_css=False,
            elem_id="explore",
            columns=columns,
        ),
    }


def connect(parts: dict, atlas: Atlas, opened: gr.Tab, teacher: gr.Radio, known_run, runs) -> None:
    """What a click does. ``known_run`` is the browser's memory of its last run, ``runs`` of its latest ones."""
    event = {"show_progress": "hidden", "api_visibility": "private"}
    known_run.change(_remembered, [known_run, runs], runs, **event)
    opened.select(
        lambda name, ticked, runs: renewed(atlas, name, ticked, runs),
        [teacher, parts["banks"], runs],
        [parts["banks"], parts["map"]],
        concurrency_limit=None,
        **event,
    )
    parts["banks"].input(
        lambda name, ticked: atlas.view(name, ticked),
        [teacher, parts["banks"]],
        parts["map"],
        concurrency_limit=None,
        trigger_mode="always_last",
        **event,
    )


def renewed(atlas: Atlas, name: str, ticked: Sequence[str] | None, runs: Sequence[str]) -> tuple:
    """Updates of the tab's components for a teacher; ``ticked`` None: as at first."""
    choices = atlas.choices(name, _ids(runs))
    value = chosen(choices, ticked)
    return gr.update(choices=choices, value=value), atlas.view(name, value)


def chosen(choices: list[tuple[str, str]], ticked: Sequence[str] | None) -> list[str]:
    """Of the layers there are, those that were ticked; where nothing was, all but the visitor's runs."""
    keys = [key for _, key in choices]
    return [key for key in keys if key in (ticked or [])] or [key for key in keys if not key.startswith("run-")]


def _ids(runs) -> list[str]:
    return [run for run in runs if isinstance(run, str)][:_RUNS] if isinstance(runs, list) else []


def _remembered(run: str, runs) -> list[str]:
    """The browser's runs, the latest first."""
    older = [one for one in _ids(runs) if one != run]
    return [run, *older][:_RUNS] if isinstance(run, str) and run else older


def _functions(atlas: Atlas) -> list:
    """What the script asks the server for. Everything that comes in is the page's: it is checked."""

    def wav(id: str) -> dict:
        try:
            return {"data": base64.b64encode(atlas.sound(id)).decode()}
        except (FramiError, OSError, TypeError) as error:
            return {"error": str(error)}

    def clip(ask: dict) -> dict:
        try:
            return atlas.clip(*_asked(ask), str(ask.get("id")))
        except (FramiError, OSError) as error:
            return {"error": str(error)}

    def more(ask: dict) -> dict:
        try:
            return atlas.more(*_asked(ask), str(ask.get("stamp")))
        except FramiError as error:
            return {"error": str(error)}

    return [wav, clip, more]


def _asked(ask) -> tuple[str, list[str]]:
    name, keys = (ask.get("teacher"), ask.get("keys")) if isinstance(ask, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(keys, list) or len(keys) > 32:
        raise FramiError("no such map")
    return name, [key for key in keys if isinstance(key, str)]
