"""The page's address: what ``?tab=…&teacher=…&clip=…`` say is shown when the page opens, and by Back and Forward. Known
values count; whatever else an address says is ignored."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from frami.studio import components
from frami.studio.services import found_clips
from frami.studio.services.shared import Services
from frami.studio.tabs.base import EVENT, Page, Tab


def build(services: Services, tabs: Sequence[Tab], who) -> gr.HTML:
    """The component whose script (``assets/page/address.js``) keeps the address. ``who`` : asks."""
    first, *_ = services.teachers

    @components.reply
    def find(request) -> dict:
        return found_clips.find(services, request.get("id") if isinstance(request, dict) else None, who())

    functions = components.clip_functions(services.clips, who=who)
    functions[0] = components.wav_function(lambda id: found_clips.sound(services, id, who()))
    home = {"tab": tabs[0].name, "teacher": first}
    return components.drawn("address", {}, "address", [*functions, find], home=home)


def connect(shown: gr.HTML, services: Services, page: Page, bar: gr.Tabs, tabs: dict[str, gr.Tab]) -> None:
    """Show what the address says when it goes Back or Forward. ``tabs`` : by their names."""

    def goto(data: gr.EventData) -> tuple:
        wanted = components.told(data)
        return chosen(services, tabs, wanted.get("teacher"), wanted.get("tab"))

    shown.select(goto, None, [page.teacher, bar], **EVENT | {"queue": False})


def asked(services: Services, tabs) -> tuple:
    """Teacher and tab that the address of the page names whose event is handled in this thread."""
    parts = getattr(LocalContext.request.get(None), "query_params", None) or {}
    return chosen(services, tabs, parts.get("teacher"), parts.get("tab"))


def chosen(services: Services, tabs, teacher: Any, tab: Any) -> tuple:
    """Updates of the teacher and of the bar of tabs; none for what is not known."""
    known = isinstance(teacher, str) and teacher in services.teachers, isinstance(tab, str) and tab in tabs
    return teacher if known[0] else gr.skip(), gr.Tabs(selected=tab) if known[1] else gr.skip()
