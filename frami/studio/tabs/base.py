"""What a tab of the studio is."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from frami.hosting.owners import Visitor
from frami.studio import visitors
from frami.studio.guard import refusal
from frami.studio.services.shared import Services

__all__ = ["EVENT", "Page", "Tab", "refusal"]

#: Options of an event of the page: none is public, and nothing is dimmed while it is handled.
EVENT = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Page:
    """Components that all tabs share: the page itself, the choice of the teacher, and what the browser remembers: its
    last run of synthesis, and its latest ones."""

    demo: gr.Blocks
    teacher: gr.Radio
    last_run: gr.BrowserState
    runs: gr.BrowserState


class Tab:
    """One tab. ``title`` : its name on the bar; ``name`` : of its element; ``wide`` : the selected clip is hidden.

    When another teacher is chosen, ``on_teacher`` is called with its name and the values of ``inputs``; what it returns
    goes to ``outputs``. Both lists are set by ``build`` or ``connect``. ``answered`` : what the page does then (a
    function of JavaScript, of the name that is chosen now).
    """

    title: str
    name: str
    wide = False
    answered: str | None = None

    def __init__(self, services: Services):
        self.services = services
        self.inputs: list[Component] = []
        self.outputs: list[Component] = []

    def who(self) -> Visitor:
        """The visitor whose event is handled, who thereby counts as here."""
        found = visitors.here()
        self.services.presence.seen(found.owner)
        return found

    def build(self, teacher: str) -> None:
        """Make the tab's components, as they are for this teacher."""
        raise NotImplementedError

    def connect(self, page: Page, opened: gr.Tab) -> None:
        """Say what events do; ``opened`` is the tab itself. Called when all tabs are built."""

    def on_teacher(self, teacher: str, *values):
        """Values of ``outputs`` for another teacher."""
        return [gr.skip() for _ in self.outputs]
