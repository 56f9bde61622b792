"""The Distil tab: students that learn from made clips alone, each a run of its own, beside each other."""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from html import escape
from itertools import product

import gradio as gr

from frami.checkpoints import Checkpoint
from frami.distill import OBJECTIVES, STUDENTS, RunSettings, Settings
from frami.errors import FramiError
from frami.hosting.limits import NONE, Limits
from frami.hosting.mode import hosted
from frami.hosting.owners import Visitor
from frami.inversion import RECIPES
from frami.inversion.settings import MOST_SEED
from frami.models import ARCHITECTURES, DEFAULT
from frami.runs import Run
from frami.studio import components, visitors
from frami.studio.services import class_groups, distillations, gpu_events, offers, quick_students, run_titles, sent
from frami.studio.services.distillations import Distillations
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.tabs.base import EVENT, Page, Tab, refusal

#: Recipe that is ticked at first, and stands first.
RECIPE = Settings().recipe
#: Name of a preset, and its seconds of making clips and learning; the default ends within three minutes on two cores.
PRESETS = (("Quick: 30 s", 30), ("Short: 2 min", 120), ("Long: 10 min", 600), ("Best: 30 min", 1800))
BUDGET = 120
LEAST, MOST = 2, 24 * 3600
#: Runs that one click starts at most.
MOST_RUNS = 24

#: Limits that are named beside the form.
_LIMITS = ("runs_at_once", "waiting_runs", "waiting_runs_all", "budget", "disk", "age")

_COMPARE = """
**Students of several sizes, objectives and recipes, beside each other.** Each combination that you tick becomes a run:
clips are made from the teacher's weights first, and then learnt from.
"""
_QUEUE = (
    "One run at a time; the others wait their turn, even when you close this page or restart the studio. "
    "A run that was interrupted continues with Resume."
)
#: How both begin where a cluster does the runs.
_CLUSTER = "As many runs at once as the cluster has room for"
_SHARED_QUEUE = (
    "One run at a time, and visitors take turns. Nobody else sees your runs. A run that is not to be kept stops "
    "about a minute after you close this page; Resume continues it."
)


class Distil(Tab):
    title, name, wide = "Distil", "distil", True

    def build(self, teacher: str) -> None:
        self.taught = components.drawn(
            "taught",
            self._first(teacher),
            "distil-taught",
            lesson_functions(self.services.distillations, self.services.load_teacher, self.services.maps, self.who),
            seconds=quick_students.BUDGET,
            tried="try-tab",
        )
        with gr.Column(elem_id="distil-compare"):  # the script folds it
            self._build_comparison(teacher)
        self.outputs = [self.sizes, self.classes, self.shown, self.taught]

    def _build_comparison(self, teacher: str) -> None:
        gr.Markdown(_COMPARE, elem_id="distil-intro")
        self.sizes = gr.CheckboxGroup(
            self._students(teacher),
            value=["tiny"],
            label="Students",
            info=f"and their parameters; {ARCHITECTURES[DEFAULT].hint}",
            elem_id="distil-students",
        )
        self.objectives = gr.CheckboxGroup(
            distillations.objectives(),
            value=["frami"],
            label="Objectives",
            info="what they learn from the teacher",
            elem_id="distil-objectives",
        )
        main, ablations = recipes()
        self.recipes = gr.CheckboxGroup(
            main,
            value=[RECIPE],
            label="Recipes",
            info="how the clips are made that they learn from",
            elem_id="distil-recipes",
        )
        with gr.Accordion("Ablations: recipes with one part changed", open=False, elem_id="distil-more"):
            self.ablations = gr.CheckboxGroup(
                ablations, value=[], label="Ablations", show_label=False, elem_id="distil-ablations"
            )
        self.classes = gr.Dropdown(
            **self._offered(teacher), multiselect=True, label="Classes", elem_id="distil-classes", min_width=260
        )
        self.about = gr.HTML(_about(["frami"]), elem_id="distil-about", apply_default_css=False)
        with gr.Row(elem_id="distil-budget", equal_height=True):
            allowed = [(title, seconds) for title, seconds in PRESETS if seconds <= self.services.limits.of("budget")]
            self.preset = gr.Radio(
                allowed, value=BUDGET, label="Time for each", elem_id="distil-preset", scale=4, min_width=300
            )
            self.budget = gr.Number(
                BUDGET, label="In seconds", precision=0, elem_id="distil-seconds", scale=1, min_width=110
            )
            self.seed = gr.Number(0, label="Seed", precision=0, elem_id="distil-seed", scale=1, min_width=90)
        self.keep = gr.Checkbox(
            False,
            label=f"Keep going when I leave (up to {self.services.limits.words('kept')})",
            visible=bool(self.services.limits),
            elem_id="distil-keep",
        )
        components.limits_note(self.services.limits, _LIMITS, "distil-limits")
        queue = self.services.distillations.queue
        note = _SHARED_QUEUE if self.services.limits else _QUEUE
        self.start = gr.Button(_button(1, BUDGET, queue.several), variant="primary", elem_id="distil-start")
        self.shown = components.drawn(
            "distil",
            {"teacher": teacher},
            "distil",
            server_functions(self.services.distillations, self.who),
            files=[list(pair) for pair in distillations.FILES],
            named=list(run_titles.SETTINGS.values()),
            shareable=hosted(),
            note=note.replace("One run at a time", _CLUSTER) if queue.several else note,
        )

    def connect(self, page: Page, opened: gr.Tab) -> None:
        event = EVENT | {"queue": False}
        # A tick while the one before is still handled counts too, and the last one has the last word.
        latest = event | {"trigger_mode": "always_last"}
        groups = [self.sizes, self.objectives, self.recipes, self.ablations]
        happened = [*(group.change for group in groups), self.budget.change]
        gr.on(happened, self._plan, [*groups, self.budget], [self.start, self.about], **latest)
        self.preset.input(lambda seconds: seconds, self.preset, self.budget, **latest)
        self.budget.input(_preset, self.budget, self.preset, **latest)
        inputs = [page.teacher, *groups, self.budget, self.seed, self.classes, self.keep]
        if self.services.gpu is None:
            # Queued: only then does Gradio show what is refused.
            once = EVENT | {"concurrency_limit": None, "trigger_mode": "once"}
            self.start.click(self._begin, inputs, self.shown, **once)
            self.taught.select(self._teach, page.teacher, self.taught, **once)
        else:
            self.start.click(self._begin_on_gpu, inputs, self.shown, **EVENT, concurrency_limit=16)
            self.taught.select(self._teach_on_gpu, page.teacher, self.taught, **EVENT, concurrency_limit=16)

    def on_teacher(self, teacher: str) -> tuple:
        shown = {"teacher": teacher}
        return (
            gr.update(choices=self._students(teacher)),
            gr.update(**self._offered(teacher)),
            shown,
            self._first(teacher),
        )

    def _first(self, teacher: str) -> dict:
        """What the first view shows at once."""
        return {"teacher": teacher, "first": self.services.distillations.first(teacher)}

    def _students(self, teacher: str) -> list[tuple[str, str]]:
        return distillations.students(self.services.load_teacher(teacher))

    def _offered(self, teacher: str) -> dict:
        """The choice of classes, where a teacher has many."""
        card = self.services.load_teacher(teacher).card
        many = len(card.classes) > class_groups.MANY
        about = "the student learns these alone; none chosen: all"
        return {"choices": offers.classes(card), "value": [], "visible": many, "info": about}

    def _begin(self, teacher, *choices) -> dict:
        return {"teacher": teacher, "begun": self._add(teacher, *choices)[-1].id}

    def _begin_on_gpu(self, teacher, *choices) -> Iterator[dict]:
        """Make short runs in this very event, on the GPU that is lent to it."""
        *_, budget, _, _, _ = choices
        lent = isinstance(budget, int | float) and budget <= gpu_events.SHORT
        yield from self._made(teacher, self._add(teacher, *choices, queued=not lent), lent)

    def _teach(self, teacher: str) -> dict:
        """Begin a student that learns from the ready clips."""
        return {"teacher": teacher, "begun": self._add_quick(teacher).id}

    def _teach_on_gpu(self, teacher: str) -> Iterator[dict]:
        yield from self._made(teacher, [self._add_quick(teacher, queued=False)], True)

    def _made(self, teacher: str, runs: list[Run], lent: bool) -> Iterator[dict]:
        """Runs that are made here, one after the other, where they are ``lent`` the GPU; else they are queued."""
        shown, queue = {"teacher": teacher, "begun": runs[-1].id}, self.services.distillations.queue
        with ExitStack() as going:
            for run in runs if lent else ():  # those that have not begun are not stopped
                going.enter_context(queue.elsewhere(run))
            yield shown
            for run in runs if lent else ():
                for reason in gpu_events.distil(queue, run, self.services.gpu):
                    if reason:
                        gr.Warning(reason)
                    yield shown

    def _add_quick(self, teacher: str, queued: bool = True) -> Run:
        who, known = self.who(), self.services.distillations
        try:
            wanted = quick_students.request(teacher, known.next_seed(teacher, who))
            self.services.housekeeping.storage.check(who.owner, who.address)
            return known.owned.add([wanted], who, False, queued)[-1]
        except FramiError as error:
            raise refusal(error) from error

    def _add(self, teacher, *choices, queued: bool = True) -> list[Run]:
        """The runs that were chosen, new in the store."""
        sizes, objectives, main, ablations, *choices, classes, keep = choices
        who = self.who()
        try:
            card = self.services.load_teacher(teacher).card
            names = [card.classes[k] for k in offers.chosen_classes(card, classes or [])]
            ticked = [*(main or []), *(ablations or [])]
            wanted = requests(teacher, sizes, objectives, ticked, *choices, names, self.services.limits)
            self.services.housekeeping.storage.check(who.owner, who.address)
            return self.services.distillations.owned.add(wanted, who, keep is True, queued)
        except FramiError as error:
            raise refusal(error) from error

    def _plan(self, sizes, objectives, main, ablations, budget) -> tuple:
        count = len(sizes or []) * len(objectives or []) * (len(main or []) + len(ablations or []))
        each = budget if isinstance(budget, int | float) else 0
        reason = self.services.distillations.owned.may_begin(count, each)
        button = gr.update(
            value=reason or _button(count, budget, self.services.distillations.queue.several),
            interactive=not reason and 0 < count <= MOST_RUNS,
        )
        return button, _about(objectives or [])


def recipes() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(title, name) of the recipes to tick, the default first, and of the ablations."""
    main = sorted(offers.choices(ablations=False), key=lambda choice: choice[1] != RECIPE)
    return main, [choice for choice in offers.choices() if choice not in main]


def requests(
    teacher: str, sizes, objectives, recipes, budget, seed, classes: Sequence[str] = (), limits: Limits = NONE
) -> list[RunSettings]:
    """Each run that was ticked; ``classes`` : names of those that the students learn, none: all. FramiError for what
    cannot be. ``limits`` : that its words name."""
    if len(classes) == 1:
        raise FramiError("choose at least two classes: of one alone there is nothing to tell apart")
    groups = {"student": (sizes, STUDENTS), "objective": (objectives, OBJECTIVES), "recipe": (recipes, RECIPES)}
    for name, (chosen, known) in groups.items():
        if not chosen or any(one not in known for one in chosen):
            raise FramiError(f"tick at least one {name}")
    count = len(sizes) * len(objectives) * len(recipes)
    if count > MOST_RUNS:
        most_runs = int(limits.least("runs_at_once", MOST_RUNS))
        raise FramiError(f"these would be {count} runs; untick some: {most_runs} at once are the most")
    longest = int(limits.least("budget", MOST))  # said; what is between the two is refused with how to lift the limit
    rows = (
        (budget, LEAST, MOST, longest, "the time for each, in seconds,"),
        (seed, 0, MOST_SEED, MOST_SEED, "the seed"),
    )
    for value, least, most, said, what in rows:
        if not isinstance(value, int | float) or not float(value).is_integer() or not least <= value <= most:
            raise FramiError(f"{what} is a whole number from {least} to {said}")
    combined = product(*([one for one in known if one in chosen] for chosen, known in groups.values()))
    settings = (dict(zip(groups, row, strict=True)) for row in combined)
    common = {"budget": float(budget), "seed": int(seed), "classes": tuple(classes) or None}
    return [RunSettings(teacher, Settings(**one, **common)) for one in settings]


def _preset(budget) -> dict:
    return gr.update(value=budget if budget in dict(PRESETS).values() else None)


def _button(count: int, budget, several: bool = False) -> str:
    """``several`` : whether runs may be made at once."""
    if not count:
        return "Tick a student, an objective and a recipe"
    if count > MOST_RUNS:
        return f"{count} runs are too many: {MOST_RUNS} at once are the most"
    if several and count > 1:
        return f"Distil {count} students on the cluster"
    what = "Distil a student" if count == 1 else f"Distil {count} students, one after the other"
    return what if not isinstance(budget, int | float) else f"{what}: {_time(count * (budget + distillations.EXTRA))}"


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


def lesson_functions(
    known: Distillations,
    load_teacher: Callable[[str], Checkpoint],
    maps: FeatureMaps,
    who: Callable[[], Visitor] = visitors.here,
) -> list:
    """What the script of the first view calls, with a dict as below: ``runs``, ``stop``; ``learnt``, some of the ready
    clips of a ``teacher``; and ``wav(id)``, the sound of one."""

    @components.reply
    def learnt(request) -> dict:
        teacher = _text(request, "teacher")
        if teacher not in known.teachers:
            raise FramiError("no such teacher; reload the page")
        return quick_students.shown(teacher, load_teacher)

    runs, stop, *_ = server_functions(known, who)
    return [runs, stop, learnt, components.wav_function(lambda id: maps.sound(id, who()))]


def server_functions(known: Distillations, who: Callable[[], Visitor] = visitors.here) -> list:
    """What the script calls, each with a dict: ``runs`` of a teacher, and with the ``id`` of one of them the others.
    ``who`` : asks."""
    owned = known.owned

    @components.reply
    def runs(request) -> dict:
        teacher, seen = _text(request, "teacher"), request.get("seen")
        return known.value(teacher, seen if isinstance(seen, dict) else {}, request.get("known") is True, who())

    @components.reply
    def stop(request) -> None:
        owned.stop(_text(request, "id"), who())

    @components.reply
    def resume(request) -> None:
        owned.resume(_text(request, "id"), who())

    @components.reply
    def remove(request) -> None:
        owned.delete(_text(request, "id"), who())

    @components.reply
    def pair(request) -> dict:
        return known.pair(_text(request, "teacher"), [_text(request, "first"), _text(request, "second")], who())

    @components.reply
    def file(request) -> dict:
        name, content = known.file(_text(request, "id"), _text(request, "kind"), who())
        return {"name": name, "data": base64.b64encode(content).decode()}

    @components.reply
    def share(request) -> dict:
        return {"run": owned.share(_text(request, "id"), who())}

    @components.reply
    def unshare(request) -> dict:
        owned.unshare(_text(request, "id"), who())
        return {}

    return [runs, stop, resume, remove, file, share, unshare, pair]


def _text(request, name: str) -> str:
    return sent.text(sent.record(request).get(name), "the run's id" if name == "id" else name, 100)
