"""The forms of the tabs survive a reload: the browser keeps what was chosen (``assets/page/forms.js``), and what is
still offered is shown again."""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import LocalContext

from frami.studio import components, guard
from frami.studio.services.sent import SentError
from frami.studio.tabs.base import EVENT

#: Kinds of components that are kept.
_KINDS = (gr.Radio, gr.CheckboxGroup, gr.Dropdown, gr.Slider, gr.Number, gr.Checkbox)


def connect(demo: guard.Studio, forms: Sequence[Sequence[Component]], home: str) -> None:
    """Keep the values of these components, tab by tab. home : the teacher that the page opens with."""
    kept = [[one for one in form if isinstance(one, _KINDS) and one.elem_id] for form in forms]
    every = [one for form in kept for one in form]
    for form in filter(None, kept):
        names = json.dumps([one.elem_id for one in form])
        noted = f"(...values) => {{ frami.keepForm({names}, values); }}"
        gr.on([one.change for one in form], None, form, None, js=noted, **EVENT)

    def restore(data: gr.EventData) -> list:
        values = components.told(data).get("values")
        return restored(every, values if isinstance(values, dict) else {}, _current(demo))

    shown = components.drawn("forms", {}, "forms", home=home)
    shown.select(restore, None, every, **EVENT | {"queue": False})


def restored(every: Sequence[Component], values: dict, current=lambda one: one) -> list:
    """An update of each component: the value that was kept of it, none where that is no longer offered. current : the
    component as this visitor has it."""
    return [_checked(current(one), values[one.elem_id]) if one.elem_id in values else gr.skip() for one in every]


def _checked(one: Component, value: Any) -> Any:
    try:
        guard.check([one], [value])
    except SentError:
        return gr.skip()
    return gr.skip() if value is None else gr.update(value=value)


def _current(demo: guard.Studio):
    """A component as the visitor has it whose event is handled in this thread."""
    page = getattr(LocalContext.request.get(None), "session_hash", None)
    holder = demo.state_holder
    state = holder[page] if page in holder else {}  # noqa: SIM401 -- it has no get
    return lambda one: state[one._id] if one._id in state else one  # noqa: SIM401
