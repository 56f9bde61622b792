"""The Synthesize tab: make clips live, stop at any time, hear and keep them."""

import time
from collections.abc import Iterator
from contextlib import suppress

import gradio as gr

from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.inversion import RECIPES, TERMS, Clips, Recipe
from frami.inversion import recipe as named
from frami.studio import components
from frami.studio.services import offers, page_values
from frami.studio.services.clips import VOICES, Reader
from frami.studio.services.jobs import Job, Jobs, archive

CLIPS, BATCH = 10, 10
_TICK = 0.15
_IDLE = {"state": "idle", "clips": [], "curves": {}}
_NO_STUDENT = " (none learns along here)"


def live_view(job: Job) -> dict:
    """A run as the page draws it now."""
    state, settings = job.latest, job.settings
    value = {
        "run": job.id,
        "state": "running" if not job.done else "error" if job.error else "stopped" if job.stopped else "done",
        "message": job.error,
        "axis": page_values.axis(job.teacher.spec),
        "hints": {name: term.about for name, term in TERMS.items()},
        "clips": [],
        "curves": {name: page_values.curve(list(values)) for name, values in list(job.curves.items())},
        "share": 0.0,
        "teacher": job.teacher.card.title,
        "recipe": offers.title(settings["recipe"]),
        "untargeted": job.untargeted,
    }
    if state is None:
        return value | {"state": value["state"] if job.done else "waiting"}
    value |= {
        "step": state.step,
        "steps": state.steps,
        "batch": state.batch,
        "batches": state.batches,
        "share": state.seconds / (state.seconds + state.left),
        "left": round(state.left, 1),
        "seconds": round(state.seconds, 1),
        "confidence": job.curves["confidence"][-1],
        "notes": list(state.notes),
    }
    written = 0 if job.manifest is None else len(job.manifest["clips"])
    first = (state.batch - 1) * settings["batch"]
    if not job.done and written <= first:
        value["clips"] = _rows(job, state.clips, f"step {state.step}", first)
    return value


def finished_view(job: Job) -> list[dict]:
    """The clips of a run that are done and written."""
    if job.manifest is None:
        return []
    return _rows(job, job.finished, offers.origin(job.settings))[: len(job.manifest["clips"])]


def _rows(job: Job, made: Clips, origin: str, first: int = 0) -> list[dict]:
    teacher = job.teacher
    return page_values.clips(made, f"run/{job.id}", teacher.classes, teacher.spec, origin, first, job.untargeted)


def tab(teacher: Checkpoint, jobs: Jobs, reader: Reader, load_teacher, teacher_choice: gr.Radio, known) -> dict:
    """Build the tab.

    ``known`` is the browser's memory of its last run. Returns the function, with its outputs, that shows the remembered
    run again.
    """
    recipe = RECIPES[offers.DEFAULT]
    low, high = offers.seconds(teacher, recipe)
    with gr.Row(elem_id="choices", equal_height=True):
        method = gr.Dropdown(
            offers.choices(),
            value=recipe.name,
            label="Recipe",
            info="how the clips are made",
            elem_id="recipe",
            scale=2,
            min_width=260,
        )
        classes = gr.Dropdown(
            **_class_choices(teacher, recipe),
            multiselect=True,
            label="Classes",
            elem_id="classes",
            scale=3,
            min_width=260,
        )
    about = gr.HTML(offers.about(recipe), elem_id="recipe-about", apply_default_css=False)
    with gr.Row(elem_id="controls", equal_height=True):
        span = {"minimum": offers.SHORTEST, "maximum": offers.LONGEST, "step": 0.1, "min_width": 190}
        samples = gr.Slider(1, 64, CLIPS, step=1, label="Clips", elem_id="samples", min_width=190)
        shortest = gr.Slider(value=low, label="Shortest (s)", elem_id="shortest", **span)
        longest = gr.Slider(value=high, label="Longest (s)", elem_id="longest", **span)
        steps = gr.Slider(
            1,
            offers.MOST_STEPS,
            offers.steps(recipe),
            step=1,
            label="Steps",
            elem_id="steps",
            min_width=190,
        )
    with gr.Accordion("Advanced: loss weights, seed, vocoder", open=False, elem_id="advanced"), gr.Row():
        start_weights = offers.weights(recipe)
        sliders = {
            name: gr.Slider(
                0,
                term.most,
                start_weights[name],
                step=term.step,
                label=name.replace("_", " "),
                info=_hint(name, recipe),
                interactive=_usable(name, recipe),
                elem_id=f"weight-{name}",
                min_width=210,
            )
            for name, term in TERMS.items()
        }
        seed = gr.Number(
            0,
            label="seed",
            info="same seed, same clips; moves on after each run",
            precision=0,
            elem_id="seed",
            min_width=210,
        )
        voice = gr.Dropdown(
            [(title, name) for name, title in VOICES.items()],
            value=next(iter(VOICES)),
            label="vocoder",
            info="makes the pictures sound, here and in the download",
            elem_id="vocoder",
            min_width=210,
        )
    with gr.Row(elem_id="actions"):
        generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=2)
        stop = gr.Button("Stop", interactive=False, elem_id="stop", scale=1, min_width=110)
        download = gr.DownloadButton("Download (zip)", interactive=False, elem_id="download", scale=1, min_width=190)
    show = components.live(_IDLE, reader, "live")
    outputs = [show, generate, stop, download, known]

    def start(name, method, classes, samples, shortest, longest, steps, seed, voice, *weights) -> Iterator[tuple]:
        try:
            teacher, recipe = load_teacher(name), named(method)
            settings = {
                "teacher": teacher.card.name,
                "recipe": recipe.name,
                "samples": _whole(samples, 1, 64, "clips"),
                "steps": _whole(steps, 1, offers.MOST_STEPS, "steps"),
                "seconds": _span(shortest, longest),
                "classes": _chosen(classes if offers.targeted(recipe) else [], teacher),
                "batch": BATCH,
                "seed": _whole(seed, 0, 2**31, "the seed"),
                "vocoder": _voice(voice),
                "weights": dict(zip(sliders, weights, strict=True)),
            }
            job = jobs.start(teacher, settings)
        except FramiError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        yield from _follow(job)

    def _follow(job: Job) -> Iterator[tuple]:
        busy = gr.update(interactive=False)
        shown, written, told = None, -1, 0.0
        while True:
            done, state, ahead = job.done, job.latest, jobs.ahead(job)
            count = 0 if job.manifest is None else len(job.manifest["clips"])
            mark = (state, ahead)
            # A word every two seconds at least: a tab that was closed is noticed at a yield only.
            if not done and written >= 0 and mark == shown and time.monotonic() - told < 2:
                time.sleep(_TICK)
                continue
            value = live_view(job) | ({"ahead": ahead} if state is None else {})
            more = {"finished": finished_view(job)} if count != written else {}
            page = gr.update(value=value, **more)
            if done:
                ready = {"value": _zip(job), "interactive": True} if count else {"interactive": False}
                yield page, gr.update(interactive=True), gr.update(interactive=False), gr.update(**ready), job.id
                return
            yield page, busy, gr.update(interactive=True), busy, job.id
            shown, written, told = mark, count, time.monotonic()

    def halt(id: str) -> None:
        job = jobs.get(id)
        if job is not None:
            job.stop()

    def again(id: str) -> Iterator[tuple]:
        job = jobs.get(id)
        if job is not None:
            yield from _follow(job)
            return
        bank, teacher = jobs.bank(id), None
        if bank is not None:
            with suppress(FramiError):
                teacher = load_teacher(bank.manifest["settings"]["teacher"])
        if teacher is None or len(teacher.classes) != bank.logits.shape[1]:
            yield tuple(gr.skip() for _ in outputs)
            return
        settings = bank.manifest["settings"]
        yield from _follow(
            Job(id, teacher, settings, bank.folder, done=True, finished=bank.clips(), manifest=bank.manifest)
        )

    def suit_teacher(name: str, method: str) -> list:
        teacher, recipe = load_teacher(name), named(method)
        return [gr.update(**_class_choices(teacher, recipe)), *offers.seconds(teacher, recipe)]

    def suit_recipe(name: str, method: str) -> list:
        recipe = named(method)
        weights = [
            gr.update(value=value, info=_hint(term, recipe), interactive=_usable(term, recipe))
            for term, value in offers.weights(recipe).items()
        ]
        return [offers.about(recipe), offers.steps(recipe), *weights, *suit_teacher(name, method)]

    event = {"api_visibility": "private"}
    suited = [classes, shortest, longest]
    chosen = {"inputs": [teacher_choice, method], "show_progress": "hidden", **event}
    teacher_choice.change(suit_teacher, outputs=suited, **chosen)
    fitted = [about, steps, *sliders.values(), *suited]
    method.input(suit_recipe, outputs=fitted, trigger_mode="always_last", **chosen)
    started = generate.click(
        start,
        [teacher_choice, method, classes, samples, shortest, longest, steps, seed, voice, *sliders.values()],
        outputs,
        concurrency_limit=16,
        show_progress="hidden",
        **event,
    )
    started.success(lambda seed: seed + 1 if isinstance(seed, int) else 0, seed, seed, show_progress="hidden", **event)
    stop.click(halt, known, None, queue=False, **event)
    voice.input(None, voice, None, js="name => { frami.speak(name); }", **event)
    return {"again": again, "outputs": outputs}


def _zip(job: Job) -> str | None:
    try:
        return str(archive(job.folder))
    except OSError:
        return None


def _class_choices(teacher: Checkpoint, recipe: Recipe) -> dict:
    """What the classes' control offers."""
    targeted = offers.targeted(recipe)
    return {
        "choices": [(page_values.name(label), i) for i, label in enumerate(teacher.classes)],
        "value": [],
        "interactive": targeted,
        "info": "none chosen: all in turn" if targeted else "cannot be chosen with this recipe",
    }


def _usable(term: str, recipe: Recipe) -> bool:
    return term != "adversarial" or offers.companion(recipe)


def _hint(term: str, recipe: Recipe) -> str:
    return TERMS[term].about + ("" if _usable(term, recipe) else _NO_STUDENT)


def _chosen(classes, teacher: Checkpoint) -> list[int]:
    chosen = [int(c) for c in classes or []]
    if any(not 0 <= c < len(teacher.classes) for c in chosen):
        raise FramiError("these classes belong to another teacher; choose again")
    return chosen or list(range(len(teacher.classes)))


def _voice(name) -> str:
    if name not in VOICES:
        raise FramiError(f"no such vocoder; there are: {', '.join(VOICES.values())}")
    return name


def _whole(value, least: int, most: int, name: str) -> int:
    if not isinstance(value, int | float) or value != int(value) or not least <= value <= most:
        raise FramiError(f"{name} must be a whole number from {least} to {most}")
    return int(value)


def _span(shortest, longest) -> list[float]:
    """Shortest and longest clip in seconds, or FramiError."""
    for value, name in ((shortest, "shortest"), (longest, "longest")):
        if not isinstance(value, int | float) or not offers.SHORTEST <= value <= offers.LONGEST:
            raise FramiError(f"the {name} clip lasts from {offers.SHORTEST:g} to {offers.LONGEST:g} seconds")
    if shortest > longest:
        raise FramiError(f"the shortest clip ({shortest:g} s) cannot be longer than the longest ({longest:g} s)")
    return [shortest, longest]
