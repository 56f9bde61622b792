"""The Distil tab: students that learn from made clips alone, each a run of its own, beside each other."""

import base64
from html import escape
from itertools import product

import gradio as gr

from frami.checkpoints import Checkpoint
from frami.distill import OBJECTIVES, STUDENTS, Settings
from frami.distill.run import RunSettings
from frami.errors import FramiError
from frami.inversion import RECIPES
from frami.studio.services import distillations as boards
from frami.studio.services import offers
from frami.studio.services.distillations import Board

#: Name of a preset, and its seconds of making clips and learning; the default ends within three minutes on two cores.
PRESETS = (
    ("A look: 30 s", 30),
    ("Short: 2 min", 120),
    ("Long: 10 min", 600),
    ("Best: 30 min", 1800),
)
BUDGET = 120
LEAST, MOST = 2, 24 * 3600
#: Runs that one click starts at most, and seconds that each takes beside its budget.
MOST_RUNS, EXTRA = 24, 20

_INTRO = """
**A small network learns from the big one, and never hears a recording.** The teacher is turned inside out again and
again, and a student a fraction of its size learns from the clips that come out. Press the button and watch the curve
climb.
"""
_QUEUE = (
    "One run at a time; the others wait their turn, here, even when you close this page or restart the studio. "
    "A run that is cut off goes on with Resume."
)


def tab(board: Board, teacher: Checkpoint) -> dict:
    """Build the tab; returns its components by name."""
    gr.Markdown(_INTRO, elem_id="distil-intro")
    sizes = gr.CheckboxGroup(
        boards.students(teacher),
        value=["tiny"],
        label="Students",
        info=f"and their parameters; {boards.remarks()}",
        elem_id="distil-students",
    )
    objectives = gr.CheckboxGroup(
        boards.objectives(), value=["frami"], label="Objectives", info="what they learn", elem_id="distil-objectives"
    )
    recipes = gr.CheckboxGroup(
        offers.choices(ablations=False),
        value=["frami-flash"],
        label="Recipes",
        info="how the clips are made that they learn from",
        elem_id="distil-recipes",
    )
    about = gr.HTML(_about(["frami"]), elem_id="distil-about", apply_default_css=False)
    with gr.Row(elem_id="distil-budget", equal_height=True):
        preset = gr.Radio(PRESETS, value=BUDGET, label="Time for each", elem_id="distil-preset", scale=4, min_width=300)
        budget = gr.Number(BUDGET, label="in seconds", precision=0, elem_id="distil-seconds", scale=1, min_width=110)
        seed = gr.Number(0, label="seed", precision=0, elem_id="distil-seed", scale=1, min_width=90)
    start = gr.Button(_button(1, BUDGET), variant="primary", elem_id="distil-start")
    show = gr.HTML(
        {"teacher": teacher.card.name},
        html_template='<div class="frami-distil"></div>',
        js_on_load="frami.distil(element, props, server, watch)",
        server_functions=_functions(board),
        apply_default_css=False,
        elem_id="distil",
        files=[list(pair) for pair in boards.FILES],
        named=list(boards.SETTINGS.values()),
        note=_QUEUE,
    )
    return {
        "sizes": sizes, "objectives": objectives, "recipes": recipes, "about": about, "preset": preset,
        "budget": budget, "seed": seed, "start": start, "show": show,
    }  # fmt: skip


def connect(parts: dict, board: Board, teacher: gr.Radio) -> None:
    """What a click does."""
    event = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    # A tick while the one before is being answered counts too, and the last one has the last word.
    latest = event | {"trigger_mode": "always_last"}
    ticked = [parts["sizes"], parts["objectives"], parts["recipes"]]
    happened = [*(group.input for group in ticked), parts["budget"].change]
    gr.on(happened, _plan, [*ticked, parts["budget"]], [parts["start"], parts["about"]], **latest)
    parts["preset"].input(lambda seconds: seconds, parts["preset"], parts["budget"], **latest)
    parts["budget"].input(_preset, parts["budget"], parts["preset"], **latest)

    def begin(name, sizes, objectives, recipes, budget, seed) -> dict:
        try:
            made = [
                board.queue.add(one.name, one.to_dict())
                for one in requests(name, sizes, objectives, recipes, budget, seed)
            ]
        except FramiError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        return {"teacher": name, "begun": made[-1].id}

    parts["start"].click(
        begin, [teacher, *ticked, parts["budget"], parts["seed"]], parts["show"], **event, trigger_mode="once"
    )


def requests(name: str, sizes, objectives, recipes, budget, seed) -> list[RunSettings]:
    """Each run that was ticked. FramiError for what cannot be."""
    groups = (
        (sizes, STUDENTS, "student"),
        (objectives, OBJECTIVES, "objective"),
        (recipes, RECIPES, "recipe"),
    )
    for chosen, known, what in groups:
        if not chosen or any(one not in known for one in chosen):
            raise FramiError(f"tick at least one {what}")
    count = len(sizes) * len(objectives) * len(recipes)
    if count > MOST_RUNS:
        raise FramiError(f"these would be {count} runs; untick some: {MOST_RUNS} at once are the most")
    for value, least, most, what in ((budget, LEAST, MOST, "the time for each"), (seed, 0, 2**31 - 1, "the seed")):
        if not isinstance(value, int | float) or value != int(value) or not least <= value <= most:
            raise FramiError(f"{what} is a whole number from {least} to {most}")
    return [
        RunSettings(
            name, Settings(student=size, objective=objective, recipe=recipe, budget=float(budget), seed=int(seed))
        )
        for size, objective, recipe in product(
            *([one for one in known if one in chosen] for chosen, known, _ in groups)
        )
    ]


def renewed(board: Board, teacher: Checkpoint) -> tuple:
    """Updates of ``sizes`` and ``show`` for another teacher."""
    return gr.update(choices=boards.students(teacher)), {"teacher": teacher.card.name}


def _plan(sizes, objectives, recipes, budget) -> tuple:
    count = len(sizes or []) * len(objectives or []) * len(recipes or [])
    return gr.update(value=_button(count, budget), interactive=0 < count <= MOST_RUNS), _about(objectives or [])


def _preset(budget) -> dict:
    return gr.update(value=budget if budget in dict(PRESETS).values() else None)


def _button(count: int, budget) -> str:
    if not count:
        return "Tick a student, an objective and a recipe"
    if count > MOST_RUNS:
        return f"{count} runs are too many: {MOST_RUNS} at once are the most"
    what = "Distil a student" if count == 1 else f"Distil {count} students, one after the other"
    return what if not isinstance(budget, int | float) else f"{what}: {_time(count * (budget + EXTRA))}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _about(names: list[str]) -> str:
    """What the ticked objectives are, as HTML."""
    rows = "".join(
        f"<div><dt>{escape(row.title)}</dt><dd>{escape(row.about)}</dd></div>"
        for name, row in OBJECTIVES.items()
        if name in names
    )
    return f'<dl class="frami-objectives">{rows}</dl>'


def _functions(board: Board) -> list:
    """What the script asks the server for. Everything that comes in is the page's: it is checked."""

    def answered(ask, work) -> dict:
        try:
            if not isinstance(ask, dict):
                raise FramiError("no such run")
            return work(ask) or {}
        except (FramiError, OSError) as error:
            return {"error": str(error)}

    def runs(ask: dict) -> dict:
        def work(ask):
            seen = ask.get("seen")
            return board.value(_text(ask, "teacher"), seen if isinstance(seen, dict) else {})

        return answered(ask, work)

    def stop(ask: dict) -> dict:
        return answered(ask, lambda ask: board.queue.stop(_text(ask, "id")))

    def resume(ask: dict) -> dict:
        return answered(ask, lambda ask: board.queue.resume(_text(ask, "id")))

    def remove(ask: dict) -> dict:
        return answered(ask, lambda ask: board.queue.delete(_text(ask, "id")))

    def file(ask: dict) -> dict:
        def work(ask):
            name, content = board.file(_text(ask, "id"), _text(ask, "kind"))
            return {"name": name, "data": base64.b64encode(content).decode()}

        return answered(ask, work)

    return [runs, stop, resume, remove, file]


def _text(ask: dict, name: str) -> str:
    if not isinstance(ask.get(name), str):
        raise FramiError("no such run")
    return ask[name]
