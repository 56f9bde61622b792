"""Pieces that several tabs share. Each is a ``gr.HTML`` whose script lives in ``assets/page``."""

import base64
from collections.abc import Callable
from html import escape

import gradio as gr

from frami.device import describe
from frami.errors import FramiError
from frami.studio.services import page_values
from frami.studio.services.clips import Reader


def header(device) -> gr.HTML:
    """Name, one sentence, and the device that computes."""
    return gr.HTML(
        '<header class="frami-head"><div><h1>FRAMI <span>Studio</span></h1>'
        "<p>Hear what a sound classifier remembers.</p></div>"
        f'<div class="frami-chip" id="device">{describe(device)}</div></header>',
        elem_id="header",
    )


def teacher_facts(card) -> str:
    """The teacher bar's facts as HTML (all values come from a checked card; escaped nevertheless)."""
    pairs = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in page_values.facts(card))
    return f'<dl class="frami-facts">{pairs}</dl>'


def wall(value: dict, reader: Reader, elem_id: str) -> gr.HTML:
    """Groups of playable spectrograms: ``{"groups": [{"title", "clips"}], "axis"}``."""
    return _drawn("wall", value, reader, elem_id)


def live(value: dict, reader: Reader, elem_id: str) -> gr.HTML:
    """A run: state, progress, curves, the clips that form (``value``) and those that are done (``finished``)."""
    return _drawn("live", value, reader, elem_id, finished=[])


def detail() -> gr.HTML:
    """The selected clip, whichever tab it was clicked in."""
    return gr.HTML(
        {},
        html_template='<div class="frami-detail"></div>',
        js_on_load="frami.detail(element)",
        apply_default_css=False,
        elem_id="detail",
    )


def clip_functions(reader: Reader) -> list[Callable]:
    """What the script asks the server for: ``wav(id)``, the sound of a clip, and ``states(id)``, how it came to be."""

    def wav(id: str) -> dict:
        try:
            return {"data": base64.b64encode(reader(id)).decode()}
        except (FramiError, OSError) as error:
            return {"error": str(error)}

    def states(id: str) -> list[dict]:
        try:
            return reader.states(id)
        except (FramiError, OSError):
            return []

    return [wav, states]


def _drawn(kind: str, value: dict, reader: Reader, elem_id: str, **props) -> gr.HTML:
    """A component that ``frami.<kind>`` of the script draws, and whose clips ``reader`` finds."""

    return gr.HTML(
        value,
        html_template=f'<div class="frami-{kind}" role="group"></div>',
        js_on_load=f"frami.{kind}(element, props, server, watch)",
        server_functions=clip_functions(reader),
        apply_default_css=False,
        elem_id=elem_id,
        **props,
    )
