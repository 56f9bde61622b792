"""The Gradio interface: one file a tab, no mathematics."""

from functools import lru_cache

import gradio as gr

from frami import checkpoints, device
from frami.errors import FramiError
from frami.paths import ASSETS
from frami.runs.queue import Queue
from frami.studio import components
from frami.studio.services.clips import Reader
from frami.studio.services.distillations import Board
from frami.studio.services.feature_map import Atlas
from frami.studio.services.jobs import Jobs
from frami.studio.tabs import distil, explore, listen, synthesize, try_it


def build() -> gr.Blocks:
    """The whole studio; its ``end_runs()`` stops what is at work. Raises FramiError when no teacher is there."""
    known = {card.name: card for card in checkpoints.bundled("teacher")}
    if not known:
        raise FramiError("no teacher in checkpoints/; train one with: frami train-teacher")
    order = sorted(known, key=lambda name: (name != "fsdd", name))
    here = device.pick()
    load_teacher = lru_cache(maxsize=8)(lambda name: checkpoints.load(name, here))
    gallery = ASSETS / "gallery"
    jobs = Jobs()
    reader = Reader(jobs, gallery, load_teacher)
    atlas = Atlas(ASSETS / "explore", jobs, load_teacher, order)
    board = Board(Queue().begin(), load_teacher, order)
    panel = try_it.Panel(board, load_teacher, gallery)
    first = known[order[0]]

    with gr.Blocks(title="FRAMI Studio", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True) as demo:
        # Outside the tabs: what lies in a tab is mounted, and so read from the browser, only when that is opened.
        known_run = gr.BrowserState("", storage_key="frami-run", secret="frami-studio")
        known_runs = gr.BrowserState([], storage_key="frami-runs", secret="frami-studio")
        components.header(here)
        with gr.Row(elem_id="teacher-bar", equal_height=True):
            teacher = gr.Radio(
                [(known[name].title, name) for name in order],
                value=first.name,
                label="Teacher",
                elem_id="teacher",
                scale=2,
                min_width=530,
            )
            facts = gr.HTML(components.teacher_facts(first), elem_id="teacher-facts")
        with gr.Row(elem_id="main"):
            with gr.Column(scale=3, min_width=320), gr.Tabs(elem_id="tabs"):
                with gr.Tab("Listen", id="listen"):
                    words, wall = listen.tab(gallery, first, reader)
                with gr.Tab("Synthesize", id="synthesize"):
                    synthesis = synthesize.tab(load_teacher(first.name), jobs, reader, load_teacher, teacher, known_run)
                with gr.Tab("Explore", id="explore-tab") as opened:
                    map_parts = explore.tab(atlas, first)
                with gr.Tab("Distil", id="distil-tab", elem_id="distil-tab"):
                    distil_parts = distil.tab(board, load_teacher(first.name))
                with gr.Tab("Try it", id="try-tab", elem_id="try-tab") as trying:
                    try_parts = try_it.tab(panel, first)
            with gr.Column(scale=1, min_width=300, elem_id="side"):
                components.detail()

        def choose(name: str, runs: list) -> tuple:
            card = known[name]
            return (
                components.teacher_facts(card),
                listen.introduction(card),
                listen.gallery_view(gallery / name),
                *explore.renewed(atlas, name, None, runs),
                *distil.renewed(board, load_teacher(name)),
                *try_it.other(panel, name),
            )

        teacher.change(
            choose,
            [teacher, known_runs],
            [
                facts,
                words,
                wall,
                *map_parts.values(),
                *(distil_parts[part] for part in ("sizes", "show")),
                *(try_parts[part] for part in ("tiles", "ticked", "sound", "show", "last")),
            ],
            show_progress="hidden",
            api_visibility="private",
        )
        explore.connect(map_parts, atlas, opened, teacher, known_run, known_runs)
        distil.connect(distil_parts, board, teacher)
        try_it.connect(try_parts, panel, trying, teacher)
        demo.load(
            synthesis["again"],
            known_run,
            synthesis["outputs"],
            show_progress="hidden",
            concurrency_limit=16,
            api_visibility="private",
        )

    def end_runs() -> None:
        atlas.close()
        jobs.close()
        board.queue.close()

    demo.end_runs = end_runs
    return demo
