"""Pieces that several tabs share."""

import base64
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from html import escape
from pathlib import Path

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder

from frami.checkpoints import Card
from frami.data.catalogue import in_words
from frami.device import describe
from frami.errors import sentence
from frami.hosting.limits import BY_NAME, LIFTING, Limits
from frami.hosting.mode import hosted
from frami.hosting.owners import Visitor
from frami.studio import visitors
from frami.studio.services import offers, page_values, sent, troubles
from frami.studio.services.clips import ClipLookup, to_hear, to_save
from frami.studio.services.galleries import Galleries

#: What the bundled teachers are called on the page: two know the digits, and differ by the voices they learnt from.
SHORT_TITLES = {
    "digits": "Digits, many voices",
    "fsdd": "Digits, four voices",
    "esc10": "10 everyday sounds",
    "esc50": "50 everyday sounds",
    "urbansound8k": "City sounds",
}


def header(device, notice: str | None = None) -> gr.HTML:
    """Name, one sentence, the device that computes, and a ``notice`` to whoever runs the studio. Visitors of a hosted
    one are told what it means for them."""
    if notice and hosted():
        notice = "What is made here is lost when this studio restarts: download what you want to keep."
    return gr.HTML(
        '<header class="frami-head"><div><h1>FRAMI <span>Studio</span></h1>'
        "<p>Hear what a sound classifier remembers.</p></div>"
        f'<div class="frami-chip" id="device">{describe(device)}</div></header>'
        + (f'<p class="frami-notice" role="status" id="notice">{escape(sentence(notice))}</p>' if notice else ""),
        elem_id="header",
    )


#: Where the paper is.
PAPER = "https://arxiv.org/abs/2303.07643"


def footer(how: bool) -> gr.HTML:
    """Links to the paper, the code where it is at hand, what explains the method (``how``: whether the studio has that
    tab), and the page as it is shown."""
    space = os.environ.get("SPACE_ID", "")
    links = [("Paper", PAPER)]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", space):
        links.append(("Code", f"https://huggingface.co/spaces/{space}/tree/main"))
    return drawn("links", {}, "links", how=how, links=links)


def section(title: str) -> gr.HTML:
    """The heading of a tab, for screen readers: the bar of tabs shows it to others."""
    return gr.HTML(f'<h2 class="frami-spoken">{escape(title)}</h2>', padding=False, elem_classes="frami-section")


def limits_note(limits: Limits, names: Sequence[str], elem_id: str) -> gr.HTML:
    """These limits in a few words, beside the form that they bound; nothing where there are none."""
    said = " · ".join(f"{escape(BY_NAME[name].words)}: <b>{limits.words(name)}</b>" for name in names if limits)
    words = f'<p class="frami-limits">On this shared page: {said}. <span>{LIFTING}.</span></p>'
    return gr.HTML(words, visible=bool(limits), elem_id=elem_id, apply_default_css=False, padding=False)


def titles(cards: Mapping[str, Card]) -> list[tuple[str, str]]:
    """(title, name) of each teacher, a short one where it has one; the name stands behind what several would have."""
    found = {name: SHORT_TITLES.get(name, card.title) for name, card in cards.items()}
    times = Counter(found.values())
    return [(title if times[title] == 1 else f"{title} ({name})", name) for name, title in found.items()]


def teacher_facts(card: Card) -> str:
    """The teacher's facts as HTML, behind a button (all values come from a checked card; escaped nevertheless)."""
    held = card.split.get("test")
    where = f" on {in_words(card.dataset, held)}, held out from training" if held else ""
    facts = {
        "classes": f"{len(card.classes)}{', several at once' * card.multilabel}",
        "parameters": page_values.amount(card.parameters),
        f"accuracy{where}": "not measured" if card.accuracy is None else f"{card.accuracy:.1%}",
        "data licence": card.data_licence,
    }
    pairs = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return (
        '<button type="button" class="frami-info" popovertarget="teacher-about" aria-label="About this network">'
        "<span>i</span></button>"
        f'<div id="teacher-about" popover><b>{escape(card.title)}</b><dl class="frami-facts">{pairs}</dl></div>'
    )


def drawn(kind: str, value: dict, elem_id: str, functions: list[Callable] | None = None, **props) -> gr.HTML:
    """A component that ``frami.<kind>`` of the page's scripts (``assets/page``) draws from its value and ``props``.

    ``functions`` : what the script may call on the server, by name; what they get is the page's: it must be checked.
    """
    return gr.HTML(
        value,
        html_template=f'<div class="frami-{kind}" role="group"></div>',
        js_on_load=f"frami.{kind}(element, props, server, watch, trigger, upload)",
        server_functions=functions,
        apply_default_css=False,
        elem_id=elem_id,
        **props,
    )


def detail() -> gr.HTML:
    """The selected clip, whichever tab it was clicked in."""
    return drawn("detail", {}, "detail", vocoders=offers.VOCODERS)


def reply(work: Callable) -> Callable:
    """A function that the script calls: what cannot be done is answered with ``{"error": message}``."""

    @wraps(work)
    def replied(request):
        try:
            return work(sent.plain(request))
        except Exception as error:
            return {"error": sentence(troubles.in_words(error))}

    return replied


def told(data: gr.EventData) -> dict:
    """What a script gave to ``trigger``: any names and values; empty where it gave none."""
    return data._data if isinstance(data._data, dict) else {}


def served(path: Path) -> str:
    """Path of a copy of a file in the folder that Gradio serves: it gives away no other, wherever the studio runs."""
    return processing_utils.save_file_to_cache(path, get_upload_folder())


def wav_function(sound: Callable[[str], bytes]) -> Callable:
    """``server.wav(id)`` of the script: a sound file that ``sound`` finds, as loud as all others;
    ``server.wav({original: id})`` : to save, as loud as it is."""

    @reply
    def wav(request) -> dict:
        original = isinstance(request, dict)
        found = sound(sent.text(request.get("original"), "the clip") if original else request)
        return {"data": base64.b64encode((to_save if original else to_hear)(found)).decode()}

    return wav


def clip_functions(
    clips: ClipLookup, galleries: Galleries | None = None, who: Callable[[], Visitor] = visitors.here
) -> list[Callable]:
    """``server.wav(id)``, the sound of a clip, ``server.states(id)``, how it was made, and of galleries
    ``server.pictures(ids)``, clips of which the page has no picture yet. ``who`` : asks."""

    @reply
    def states(id) -> list[dict]:
        return clips.states(id, who())

    @reply
    def pictures(ids) -> list[dict]:
        return galleries.pictures(ids)

    return [wav_function(lambda id: clips.sound(id, who())), states, *([pictures] if galleries else [])]
