"""The Synthesize tab: make clips live, stop at any time, hear and download them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import gradio as gr

from frami.errors import FramiError
from frami.hosting.mode import hosted
from frami.hosting.owners import Visitor
from frami.inversion import RECIPES, TERMS, InversionSettings, Recipe
from frami.inversion import recipe as recipe_named
from frami.inversion.settings import MOST_SEED
from frami.studio import components, visitors
from frami.studio.services import clip_ids, gpu_events, offers
from frami.studio.services.syntheses import Synthesis, archive
from frami.studio.tabs.base import EVENT, Page, Tab, refusal

CLIPS, BATCH = 10, 10
#: Seconds between two looks at a run, and after which the page is sent something in any case.
_TICK, _SILENCE = 0.15, 2
#: Limits that are named beside the form.
_LIMITS = ("clips", "work", "waiting_syntheses", "waiting_syntheses_all", "age")
#: What is shown of a run that the browser remembers and nobody else does.
_GONE = (
    "Your last run is not here any more: it was ended before its first clips were saved, or deleted because of its "
    "age. Press Generate to start it again."
)
_NO_STUDENT = " (this recipe has none)"


class Synthesize(Tab):
    title, name = "Synthesize", "synthesize"

    def build(self, teacher: str) -> None:
        recipe = RECIPES[offers.DEFAULT]
        classes, shortest, longest = self._suited(teacher, recipe)
        limits = self.services.limits
        most = limits.least("seconds", offers.LONGEST)
        with gr.Row(elem_id="choices", equal_height=True):
            self.recipe = gr.Dropdown(
                offers.choices(),
                value=recipe.name,
                label="Recipe",
                info="how the clips are made",
                elem_id="recipe",
                scale=2,
                min_width=260,
            )
            self.classes = gr.Dropdown(
                **classes, multiselect=True, label="Classes", elem_id="classes", scale=3, min_width=260
            )
            self.clips = _slider("samples", "Clips", limits.least("clips", CLIPS), 1, limits.least("clips", 64))
        self.about = gr.HTML(offers.about(recipe), elem_id="recipe-about", apply_default_css=False)
        with gr.Accordion("More settings", open=False, elem_id="advanced"), gr.Row():
            self.shortest = _slider("shortest", "Shortest (s)", shortest, offers.SHORTEST, most, 0.1)
            self.longest = _slider("longest", "Longest (s)", longest, offers.SHORTEST, most, 0.1)
            self.steps = _slider("steps", "Steps", self._steps(recipe), 1, limits.least("steps", offers.MOST_STEPS))
            self.weights = [
                gr.Slider(
                    0,
                    TERMS[name].most,
                    step=TERMS[name].step,
                    label=name.replace("_", " "),
                    elem_id=f"weight-{name}",
                    min_width=210,
                    **settings,
                )
                for name, settings in _weights(recipe).items()
            ]
            self.seed = gr.Number(
                0,
                label="Seed",
                info="same seed, same clips; the next run takes the next one",
                minimum=0,
                maximum=MOST_SEED,
                precision=0,
                elem_id="seed",
                min_width=210,
            )
            self.vocoder = gr.Dropdown(
                [(title, name) for name, title in offers.VOCODERS.items()],
                value=next(iter(offers.VOCODERS)),
                label="Vocoder",
                info="turns the pictures into sound, here and in the download",
                elem_id="vocoder",
                min_width=210,
            )
        with gr.Row(elem_id="actions"):
            self.generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=2)
            self.stop = gr.Button("Stop", interactive=False, elem_id="stop", scale=1, min_width=110)
            self.download = gr.DownloadButton(
                "Download (zip)", interactive=False, elem_id="download", scale=1, min_width=190
            )
        components.limits_note(limits, _LIMITS, "synthesize-limits")
        functions = [*components.clip_functions(self.services.clips, who=self.who), *self._sharing()]
        self.shown = components.drawn("live", {"state": "idle"}, "live", functions, finished=[])
        self.inputs = [self.recipe]
        self.outputs = [self.classes, self.shortest, self.longest]

    def connect(self, page: Page, opened: gr.Tab) -> None:
        parts = [self.shown, self.generate, self.stop, self.download, page.last_run]
        follow = {"outputs": parts, "concurrency_limit": None, **EVENT}
        settings = [page.teacher, self.recipe, self.classes, self.clips, self.shortest, self.longest, self.steps]
        settings += [self.seed, self.vocoder, *self.weights]
        if self.services.gpu is None:
            started = self.generate.click(self._start, settings, **follow)
        else:  # each holds a thread, in which the GPU is lent
            started = self.generate.click(self._start_on_gpu, settings, **follow | {"concurrency_limit": 16})
        started.success(lambda seed: seed + 1 if isinstance(seed, int) else 0, self.seed, self.seed, **EVENT)
        self.stop.click(self._stop, page.last_run, None, queue=False, **EVENT)
        page.demo.load(self._again, page.last_run, **follow)
        fitted = [self.about, self.steps, *self.weights, *self.outputs]
        self.recipe.input(self._on_recipe, [page.teacher, self.recipe], fitted, trigger_mode="always_last", **EVENT)
        self.recipe.change(lambda name: offers.about(recipe_named(name)), self.recipe, self.about, **EVENT)
        self.vocoder.input(None, self.vocoder, None, js="name => { frami.chooseVocoder(name); }", **EVENT)

    def on_teacher(self, teacher: str, recipe: str) -> list:
        classes, *seconds = self._suited(teacher, recipe_named(recipe))
        return [gr.update(**classes), *seconds]

    def _on_recipe(self, teacher: str, name: str) -> list:
        recipe = recipe_named(name)
        weights = [gr.update(**settings) for settings in _weights(recipe).values()]
        return [offers.about(recipe), self._steps(recipe), *weights, *self.on_teacher(teacher, name)]

    def _suited(self, name: str, recipe: Recipe) -> tuple[dict, float, float]:
        """What the choice of classes offers, shortest and longest clip."""
        teacher, targeted = self.services.load_teacher(name), offers.targeted(recipe)
        classes = {
            "choices": offers.classes(teacher.card),
            "value": [],
            "interactive": targeted,
            "info": offers.classes_hint(teacher.card) if targeted else "cannot be chosen with this recipe",
        }
        most = self.services.limits.of("seconds")
        return classes, *(min(seconds, most) for seconds in offers.seconds(teacher, recipe))

    def _steps(self, recipe: Recipe) -> int:
        """Steps that the page starts with."""
        return int(self.services.limits.least("steps", offers.steps(recipe)))

    # ------------------------------------------------------------------------------------- runs

    async def _start(self, *choices) -> AsyncIterator[tuple]:
        """Begin a run and follow it."""
        run, who = await asyncio.to_thread(self._begin, *choices)
        async for values in self._watched(self._follow(run, who)):
            yield values

    def _start_on_gpu(self, *choices) -> Iterator[tuple]:
        """Begin a run, make it in this very event, on the GPU that is lent to it, and follow it."""
        run, who = self._begin(*choices)
        for values in self._follow(run, who, gpu_events.synthesize(self.services.syntheses, run, self.services.gpu)):
            if values is None:
                time.sleep(_TICK)
            else:
                yield values

    def _begin(
        self, teacher, recipe, classes, clips, low, high, steps, seed, vocoder, *weights
    ) -> tuple[Synthesis, Visitor]:
        """A new run, and whose it is. The components have checked what they offer."""
        who = self.who()
        try:
            if seed is None:
                raise FramiError("the seed is missing: a whole number, 0 for example")
            if low > high:
                raise FramiError(f"the shortest clip ({low:g} s) cannot be longer than the longest ({high:g} s)")
            loaded = self.services.load_teacher(teacher)
            settings = InversionSettings.of(
                loaded,
                recipe,
                samples=clips,
                steps=steps,
                seconds=(low, high),
                classes=offers.chosen_classes(loaded.card, classes or []) or None,
                batch=BATCH,
                seed=seed,
                weights=dict(zip(TERMS, weights, strict=True)),
            )
            self.services.housekeeping.storage.check(who.owner, who.address)
            queued = self.services.gpu is None
            return self.services.syntheses.start(loaded, settings, vocoder, who, queued=queued), who
        except FramiError as error:
            raise refusal(error) from error

    def _follow(self, run: Synthesis, who: Visitor, work: Iterator[None] | None = None) -> Iterator[tuple | None]:
        """Values of the tab's parts while a run goes on, until it is done; None where there is nothing new, and the
        caller is to wait. A run that a link shows has no buttons, and is not remembered. ``work`` : what makes it,
        where this event does."""
        off, on = gr.update(interactive=False), gr.update(interactive=True)
        own = self.services.syntheses.owned(run.id, who)
        remembered, page = run.id if own else gr.skip(), visitors.page()
        shown, sent, at = None, -1, 0.0
        while True:
            self.services.presence.seen(who.owner, page)
            if work is not None and next(work, self) is self:
                work = None
            done, state, saved, ahead = run.done, run.latest, run.saved, self.services.syntheses.ahead(run)
            # A tab that was closed is noticed at a yield only.
            patience = _SILENCE if shown == (state, ahead) else _TICK if work else 0
            if not done and time.monotonic() - at < patience:
                if work is None:
                    yield None
                continue
            more = {"finished": run.saved_clips()} if saved != sent else {}
            place = {"ahead": ahead, "begins": round(self.services.syntheses.seconds_before(run))}
            link = {"own": own, "shareable": own and hosted(), "link": self.services.syntheses.has_link(run.id)}
            drawn = gr.update(value=run.value() | link | (place if state is None else {}), **more)
            if done:
                files = gr.update(value=_zip(run), interactive=True) if saved and own else off
                yield drawn, on, off, files, remembered
                return
            yield drawn, off if own else on, on if own else off, off, remembered
            shown, sent, at = (state, ahead), saved, time.monotonic()

    def _stop(self, id: str) -> None:
        if self.services.syntheses.owned(id, self.who()) and (run := self.services.syntheses.get(id)):
            run.stop()

    async def _again(self, id: str) -> AsyncIterator[tuple]:
        """The run that a link shows, else the browser's last one, while it goes on or as it was saved."""
        async for values in self._watched(self._shown_again(id)):
            yield values

    async def _watched(self, looks: Iterator[tuple | None]) -> AsyncIterator[tuple]:
        """Values of ``_follow``. However many pages look, none holds a thread of the server between two looks."""
        while (values := await asyncio.to_thread(next, looks, self)) is not self:
            if values is None:
                await asyncio.sleep(_TICK)
            else:
                yield values

    def _shown_again(self, id: str) -> Iterator[tuple | None]:
        syntheses, who = self.services.syntheses, self.who()
        shared = who.shared.partition(".")[0]
        remembered, id = id, shared if syntheses.shown(shared, who) else id if syntheses.owned(id, who) else None
        if run := syntheses.get(id) or syntheses.saved(id, self.services.load_teacher):
            yield from self._follow(run, who)
        else:
            gone = {"state": "error", "message": _GONE}
            yield gone if clip_ids.is_run(remembered) else gr.skip(), *(gr.skip() for _ in range(4))

    def _sharing(self) -> list:
        """``server.share({id})``, what a link names a run by, and ``server.unshare({id})``, which takes it back."""
        syntheses = self.services.syntheses

        @components.reply
        def share(request) -> dict:
            return {"run": syntheses.share(request.get("id") if isinstance(request, dict) else None, self.who())}

        @components.reply
        def unshare(request) -> dict:
            syntheses.unshare(request.get("id") if isinstance(request, dict) else None, self.who())
            return {}

        return [share, unshare]


def _slider(elem_id: str, label: str, value: float, least: float, most: float, step: float = 1) -> gr.Slider:
    whole = {"precision": 0} if step == 1 else {}
    return gr.Slider(least, most, value, step=step, label=label, elem_id=elem_id, min_width=190, **whole)


def _weights(recipe: Recipe) -> dict[str, dict]:
    """Of each term of the loss what its slider starts with."""
    start, companion = offers.weights(recipe), offers.companion(recipe)
    usable = {name: name != "adversarial" or companion for name in TERMS}
    return {
        name: {
            "value": start[name],
            "info": term.about + ("" if usable[name] else _NO_STUDENT),
            "interactive": usable[name],
        }
        for name, term in TERMS.items()
    }


def _zip(run: Synthesis) -> str | None:
    try:
        return str(archive(run.folder))
    except OSError:
        return None
