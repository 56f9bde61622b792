"""The page as Gradio runs it, guarded: what events are sent is checked by the component that it is for, and whatever
goes wrong in an event reaches the visitor in words."""

import re
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components.api_component import Api
from gradio.exceptions import Error

from frami.errors import FramiError, sentence
from frami.studio import web
from frami.studio.pages import Pages
from frami.studio.services import sent, troubles
from frami.studio.services.observation import Observation
from frami.studio.services.sent import SentError

#: Files that one component takes at most.
_FILES = 8
#: Lists that the browser remembers are not longer.
_REMEMBERED = 64
#: Seconds between two looks of Gradio's queue for an event, and for an event's progress; by itself it looks a thousand
#: and a hundred times a second, which costs an idle page 5% of a core.
_PAUSE, _PROGRESS = 0.025, 0.1


#: How an address begins, of any kind; a drive of Windows has one letter.
_ADDRESS = re.compile(r"(?i)[a-z][a-z0-9+.-]+:|//")


class Refusal(Error):
    """What an event raises to tell the visitor why nothing was done: words that are meant for them."""

    def __init__(self, words: str):
        super().__init__(words, duration=None, print_exception=False)


def refusal(reason: object) -> Refusal:
    """A refusal in the words of a reason: a text, or an exception as ``troubles.in_words`` tells it."""
    return Refusal(sentence(troubles.in_words(reason) if isinstance(reason, BaseException) else reason))


class Studio(gr.Blocks):
    """``defaults`` : arguments of ``launch`` unless others are given; ``observation``, ``opened_pages`` : set before it
    is launched."""

    defaults: dict
    observation: Observation
    opened_pages: Pages

    def launch(self, *args, **given):
        """As of ``gr.Blocks``, with ``defaults``, health and metrics."""
        # Gradio asks its own page for an answer within 3 s, and gives up on a busy machine.
        options = {"_frontend": False} | self.defaults | given
        options["app_kwargs"] = web.app_options(options.get("app_kwargs") or {})
        self._queue.sleep_when_free, self._queue.progress_update_sleep_when_free = _PAUSE, _PROGRESS
        return super().launch(*args, **options)

    def events(self) -> dict[str, int]:
        """How many events wait, and how many are at work: ``{"waiting", "running"}``."""
        return {"waiting": len(self._queue), "running": self._queue.get_active_worker_count()}

    async def preprocess_data(self, block_fn, inputs, state, explicit_call=False) -> list:
        """What an event's function is called with. Raises SentError for what no component of the page sends."""
        if block_fn.fn is None:
            raise SentError("this event is the browser's alone")
        check(block_fn.inputs, inputs, lambda block: state[block._id] if state and block._id in state else block)
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever a component makes of it
            raise SentError("this does not fit the page as it is now; reload it") from error

    async def process_api(self, block_fn, inputs, *args, iterator=None, **more) -> dict[str, Any]:
        """As of ``gr.Blocks``; raises Refusal alone."""
        began = time.perf_counter()
        try:
            answer = await super().process_api(block_fn, inputs, *args, iterator=iterator, **more)
        except Exception as error:
            if isinstance(error, Refusal | FramiError):
                web.REFUSED.get([]).append(True)
            raise error if isinstance(error, Refusal) else refusal(error) from None
        if iterator is None:
            self.observation.timed(self._name(block_fn), time.perf_counter() - began)
        return answer

    def _name(self, block_fn) -> str:
        """Of an event, for people: the component and what happened to it."""
        number, happened = block_fn.targets[0] if block_fn.targets else (None, "event")
        return f"{getattr(self.blocks.get(number), 'elem_id', None) or 'page'}.{happened}"


def check(blocks: list, values: list, current: Callable = lambda block: block) -> None:
    """Whether these are values that components send, each for its component. current : a component as this visitor has
    it. Raises SentError."""
    if len(blocks) != len(values):
        raise SentError("this is not what the event takes; reload the page")
    for block, value in zip(blocks, values, strict=True):
        if block.stateful:
            continue
        kind = next((kind for kind in CHECKS if isinstance(block, kind)), None)
        if kind is None:
            raise FramiError(f"values of {type(block).__name__} cannot be checked: add a row to CHECKS")
        plain = sent.plain(value)
        _no_address(plain)
        CHECKS[kind](current(block), plain)


def _no_address(value) -> None:
    """Gradio fetches a file that a browser names by an address of the web, whole and of any size, before an event is
    handled: none may be named. Raises SentError."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and _ADDRESS.match(path.strip()):
            raise SentError("files are uploaded, not named by an address of the web")
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            _no_address(one)


def _choice(block, value) -> None:
    sent.chosen(value, [key for _, key in block.choices or []], _label(block))


def _choices(block, value) -> None:
    sent.several([] if value is None else value, [key for _, key in block.choices or []], _label(block))


def _dropdown(block, value) -> None:
    (_choices if block.multiselect else _choice)(block, value)


def _slider(block, value) -> None:
    sent.number(value, _label(block), block.minimum, block.maximum)


def _number(block, value) -> None:
    bounds = {"least": block.minimum, "most": block.maximum}
    if value is not None:
        sent.number(value, _label(block), **{name: bound for name, bound in bounds.items() if bound is not None})


def _tick(block, value) -> None:
    sent.chosen(value, [True, False], _label(block))


def _remembered(block, value) -> None:
    """A text, or a list of them."""
    if isinstance(value, list):
        sent.texts(value, "what the browser remembers", _REMEMBERED)
    elif value is not None:
        sent.text(value, "what the browser remembers")


def _sound(block, value) -> None:
    """None, or a file that was uploaded here (Gradio looks whether it was)."""
    if value is not None:
        sent.text(sent.record(value, "the sound").get("path"), "the sound", sent.MOST_SIGNS)


def _text(block, value) -> None:
    if value is not None:
        sent.text(value, _label(block), block.max_length or sent.NAME)


def _file(block, value) -> None:
    """None, or files that were uploaded here (Gradio looks whether they were)."""
    several = block.file_count != "single"
    given = [] if value is None else value if several else [value]
    if not isinstance(given, list) or len(given) > _FILES:
        raise SentError(f"{_label(block)}: at most {_FILES} files")
    for one in given:
        sent.text(sent.record(one, "the file").get("path"), "the file", sent.MOST_SIGNS)


def _argument(block, value) -> None:
    """A plain value for a function of ``programs``, which checks the rest."""


def _label(block) -> str:
    return block.label or block.elem_id or "a choice"


#: What each kind of component sends.
CHECKS: dict[type, Callable] = {
    gr.Radio: _choice,
    gr.Checkbox: _tick,
    gr.CheckboxGroup: _choices,
    gr.Dropdown: _dropdown,
    gr.Slider: _slider,
    gr.Number: _number,
    gr.BrowserState: _remembered,
    gr.Audio: _sound,
    gr.Textbox: _text,
    gr.File: _file,
    Api: _argument,
}
