"""The page: what all tabs share, and the tabs."""

import gradio as gr

from frami.checkpoints import Card
from frami.studio import components
from frami.studio.services import shared
from frami.studio.tabs import EVENT, TABS, Page


def build() -> gr.Blocks:
    """The whole studio; its ``end_runs()`` stops what is computed. Raises FramiError when no teacher is there."""
    services = shared.start()
    tabs = [tab(services) for tab in TABS]
    first, *_ = services.teachers

    with gr.Blocks(title="FRAMI Studio", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True) as demo:
        # Outside the tabs: what lies in a tab is mounted, and so read from the browser, only when that is opened.
        last_run = gr.BrowserState("", storage_key="frami-run", secret="frami-studio")
        runs = gr.BrowserState([], storage_key="frami-runs", secret="frami-studio")
        components.header(services.device)
        with gr.Row(elem_id="teacher-bar", equal_height=True):
            teacher = gr.Radio(
                _titles(services.teachers),
                value=first,
                label="Teacher",
                elem_id="teacher",
                scale=2,
                min_width=530,
            )
            facts = gr.HTML(components.teacher_facts(services.teachers[first]), elem_id="teacher-facts")
        page, opened = Page(demo, teacher, last_run, runs), []
        with gr.Row(elem_id="main"):
            with gr.Column(scale=3, min_width=320), gr.Tabs(elem_id="tabs"):
                for tab in tabs:
                    classes = ["frami-wide"] if tab.wide else None
                    with gr.Tab(tab.title, id=tab.name, elem_id=f"{tab.name}-tab", elem_classes=classes) as here:
                        tab.build(first)
                    opened.append(here)
            with gr.Column(scale=1, min_width=300, elem_id="side"):
                components.detail()

        teacher.change(lambda name: components.teacher_facts(services.teachers[name]), teacher, facts, **EVENT)
        demo.load(services.warm, queue=False, **EVENT)
        for tab, here in zip(tabs, opened, strict=True):
            tab.connect(page, here)
            if tab.outputs:
                teacher.change(tab.on_teacher, [teacher, *tab.inputs], tab.outputs, **EVENT)

    demo.end_runs = services.close
    return demo


def _titles(cards: dict[str, Card]) -> list[tuple[str, str]]:
    """(title, name) of each teacher; the name stands behind a title that several have."""
    titles = [card.title for card in cards.values()]
    return [
        (card.title if titles.count(card.title) == 1 else f"{card.title} ({name})", name)
        for name, card in cards.items()
    ]
