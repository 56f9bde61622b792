"""The page: what all tabs share, and the tabs."""

from collections.abc import Container
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from frami import paths, temporary
from frami.hosting.mode import hosted
from frami.hosting.owners import Visitor
from frami.studio import address, components, forms, programs, visitors
from frami.studio.guard import Studio
from frami.studio.pages import Pages
from frami.studio.services import log, shared, troubles
from frami.studio.services.observation import Observation
from frami.studio.services.shared import Services
from frami.studio.tabs import EVENT, TABS, Page
from frami.studio.theme import launch_options

#: What the page does when the server has answered its opening.
_ARRIVED = "name => { frami.arrive?.(name); frami.restoreForms?.(name); }"
#: Seconds between two signs of an open page, at least those where the silence is short.
_BEAT, _LEAST_BEAT = 20, 1


def build() -> Studio:
    """The whole studio; its ``end_runs()`` stops what is computed. Raises FramiError when no teacher is there."""
    log.begin()
    if notice := paths.settle():
        troubles.LOG.warning(notice)
    services = shared.start()
    if services.place is None:
        troubles.LOG.warning(shared.NEIGHBOUR)
        notice = notice or (None if hosted() else shared.NEIGHBOUR)
    tabs = [tab(services) for tab in TABS]
    first, *_ = services.teachers

    # Gradio's own age of files is for an own machine, where no housekeeping is, and for what is there at the end.
    with Studio(title="FRAMI Studio", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True) as demo:
        # Outside the tabs: what lies in a tab is mounted, and so read from the browser, only when that is opened.
        last_run = gr.BrowserState("", storage_key="frami-run", secret="frami-studio")
        runs = gr.BrowserState([], storage_key="frami-runs", secret="frami-studio")
        components.header(services.device, notice)
        with gr.Row(elem_id="teacher-bar"):
            teacher = gr.Radio(
                components.titles(services.teachers),
                value=first,
                label="Teacher: the network that these sounds come from",
                elem_id="teacher",
                scale=1,
                min_width=120,
            )
            facts = gr.HTML(
                components.teacher_facts(services.teachers[first]), elem_id="teacher-facts", apply_default_css=False
            )
        page, opened, built = Page(demo, teacher, last_run, runs), [], []
        with gr.Row(elem_id="main"):
            with gr.Column(scale=3, min_width=320), gr.Tabs(elem_id="tabs") as bar:
                for tab in tabs:
                    classes = ["frami-wide"] if tab.wide else None
                    with gr.Tab(tab.title, id=tab.name, elem_id=f"{tab.name}-tab", elem_classes=classes) as here:
                        components.section(tab.title)
                        before = set(demo.blocks)
                        tab.build(first)
                        built.append([block for key, block in demo.blocks.items() if key not in before])
                    opened.append(here)
            with gr.Column(scale=1, min_width=300, elem_id="side"):
                components.detail()

        components.footer(how=any(tab.name == "method" for tab in tabs))

        def facts_of(name: str):
            """Of a teacher that was removed meanwhile nothing changes."""
            card = services.teachers.get(name)
            return gr.skip() if card is None else components.teacher_facts(card)

        teacher.change(facts_of, teacher, facts, **EVENT)
        demo.load(services.warm, queue=False, **EVENT)
        for tab, here in zip(tabs, opened, strict=True):
            tab.connect(page, here)
            if tab.outputs:
                answered = teacher.change(tab.on_teacher, [teacher, *tab.inputs], tab.outputs, **EVENT)
                if tab.answered:
                    answered.then(None, teacher, None, js=tab.answered, **EVENT)
        names = {tab.name: here for tab, here in zip(tabs, opened, strict=True)}
        address.connect(address.build(services, tabs, tabs[0].who), services, page, bar, names)
        arriving = demo.load(lambda: _arrive(services, visitors.here(), names), None, [teacher, bar], **EVENT)
        arriving.then(None, teacher, None, js=_ARRIVED, **EVENT)
        forms.connect(demo, built, first)
        if services.limits:
            _notice_visitors(services, demo)

        programs.publish(services)

    demo.defaults = launch_options() | {"mcp_server": programs.mcp_here()}
    demo.observation = Observation(services).begin()
    demo.opened_pages = Pages(services.limits)

    def end_runs() -> None:
        services.close()
        demo.observation.end()

    demo.end_runs = end_runs
    return demo


def _notice_visitors(services: Services, demo: gr.Blocks) -> None:
    """Pages that are open say so, and those that are closed are missed."""
    presence = services.presence

    def beat(_) -> dict:
        presence.seen(visitors.here().owner)
        temporary.keep()
        return {}

    pause = max(_LEAST_BEAT, min(_BEAT, services.limits.of("silence") / 4))
    components.drawn("visitor", {}, "visitor", [beat], pause=pause)
    demo.unload(lambda: presence.closed(visitors.page()))
    if temporary.is_own(uploads := Path(get_upload_folder())):  # else others' files may lie there
        services.housekeeping.uploads = uploads


def _arrive(services: Services, who: Visitor, tabs: Container[str] = ()) -> tuple:
    """Note that a page was opened; teacher and tab that its address names, else those of the run that its link
    shows."""
    services.presence.opened(visitors.page(), who.owner)
    here = gr.update(choices=components.titles(services.teachers))  # others may have come since the studio began
    (named, shown), id = address.asked(services, tabs), who.shared.partition(".")[0]
    if isinstance(named, str):
        here |= {"value": named}
    if not id:
        return here, shown
    teacher, tab = services.distillations.teacher_of(id, who), "distil"
    if teacher is None:
        teacher, tab = services.syntheses.teacher_of(id, who), "synthesize"
    if teacher in services.teachers:  # once somebody went elsewhere from there, the address says so
        return (here, shown) if isinstance(shown, gr.Tabs) else (here | {"value": teacher}, gr.Tabs(selected=tab))
    gr.Warning("This link shows nothing any more: the run was deleted, or whoever shared it has taken the link back.")
    return here, shown
