"""What a distillation is: its settings, and those of a run that is stored."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

from frami import schema
from frami.distill.objectives import LABELS, objective
from frami.errors import FramiError
from frami.inversion.settings import check_least, check_seed, recipe_of_earlier
from frami.models import DEFAULT

SOURCES = ("made", "bank", "real", "noise")
#: What a student's weights are at first: random, or those of its teacher that fit into it, fitted to its clips or not.
STARTS = ("fitting", "sliced", "new", "teacher")
#: Made-up sounds beside made clips, at most.
MOST = 64
#: Which clips a training step takes: any, or rather those of which the student's answer was furthest off.
REPLAYS = ("uniform", "priority")
#: Fields of a run beside its teacher and the ``Settings``.
_REST = ("bank", "data", "dataset", "skip_bad")


@dataclass(frozen=True)
class Settings:
    """What a distillation is. FramiError for a value out of range.

    ``student`` : a size of ``architecture``; ``start`` : its first weights, those of the ``teacher`` that fit
    (``models.slice_weights``), each layer then fitted to what the teacher computes (``fitting.fit``); ``sliced``: these
    without that; ``new`` ones; or ``fitting``: as ``teacher`` where the networks are of one family, else ``new``;
    ``objective`` : a name of ``OBJECTIVES``, or ``labels`` (true classes, of real clips only); ``source`` : ``made``
    (by ``recipe``, as it goes), ``bank``, ``real`` or ``noise``; ``budget`` : seconds of making clips and learning
    together, or None: ``rounds`` batches of ``clips`` made ones and as many times ``steps`` of learning; ``share`` :
    part of the budget that making gets (None: found from the speed of both, see ``pace.best_clips``); ``turns`` : of
    making and learning, 1: all clips are made first; in later turns a recipe's adversarial term sees the student;
    ``batch`` : clips of a training step, drawn by ``replay``, all alike (``uniform``) or by ``priority`` (see
    ``replay.Priorities``); ``made_up`` : made-up sounds learnt from beside made clips at most (``made_up.py``);
    ``classes`` : names of the teacher's that the student learns, None: all; ``lr`` rises over
    the first twentieth of the learning and then falls to zero on a cosine.
    """

    student: schema.Line = "tiny"
    architecture: schema.Line = DEFAULT
    objective: schema.Line = "frami"
    source: schema.Line = "made"
    recipe: schema.Line = "frami"
    budget: Annotated[float, schema.number(0, schema.WORK)] | None = 120.0
    rounds: Annotated[int, schema.whole()] = 12
    clips: Annotated[int, schema.whole()] = 32
    steps: Annotated[int, schema.whole()] = 60
    share: Annotated[float, schema.number(0, 1)] | None = None
    turns: Annotated[int, schema.whole()] = 1
    batch: Annotated[int, schema.whole()] = 32
    lr: Annotated[float, schema.number(0, 1)] = 1.2e-2
    weight_decay: Annotated[float, schema.number(0, 1e6)] = 0.01
    seed: Annotated[int, schema.whole()] = 0
    start: schema.Line = "fitting"
    replay: schema.Line = "uniform"
    made_up: Annotated[int, schema.whole(0)] = MOST
    classes: tuple[schema.Line, ...] | None = None

    def __post_init__(self):
        if self.classes is not None:
            listed = isinstance(self.classes, list | tuple)
            if not listed or not all(isinstance(name, str) for name in self.classes):
                raise FramiError("classes are a list of names")
            object.__setattr__(self, "classes", tuple(self.classes))
        check_least(1, clips=self.clips, rounds=self.rounds, steps=self.steps, turns=self.turns)
        check_least(2, batch=self.batch)
        check_least(0, made_up=self.made_up)
        check_seed(self.seed)
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise FramiError(f"a budget is a number of seconds above 0, not {self.budget}")
        if self.share is not None and not 0 < self.share < 1:
            raise FramiError(f"the share of the budget for making clips lies between 0 and 1, not at {self.share}")
        if not 0 < self.lr <= 1:
            raise FramiError(f"a learning rate lies above 0 and at most at 1, not at {self.lr}")
        if self.source not in SOURCES:
            raise FramiError(f"no source '{self.source}'; choose one of: {', '.join(SOURCES)}")
        if self.start not in STARTS:
            raise FramiError(f"no start '{self.start}'; choose one of: {', '.join(STARTS)}")
        if self.replay not in REPLAYS:
            raise FramiError(f"no replay '{self.replay}'; choose one of: {', '.join(REPLAYS)}")
        if objective(self.objective) is LABELS and self.source != "real":
            raise FramiError("objective 'labels' learns the true classes of real clips: made ones have none")

    def to_dict(self) -> dict:
        """Its fields; the student's architecture, the replay and the classes where they are not the default ones."""
        usual = {"architecture": DEFAULT, "replay": "uniform", "classes": None}
        return {k: v for k, v in asdict(self).items() if k not in usual or usual[k] != v}


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run: ``teacher`` by name or path, ``bank`` a folder of made clips, ``data`` the folder of
    recordings that was named, or None; ``dataset`` the recordings to learn from and to measure on, by name or path
    (None: the teacher's own), whose unusable files are left out with ``skip_bad``."""

    teacher: schema.Path
    settings: Settings
    bank: schema.Path | None = None
    data: schema.Path | None = None
    dataset: schema.Path | None = None
    skip_bad: schema.Flag = False

    @classmethod
    def from_dict(cls, values: dict) -> "RunSettings":
        """From the settings of a stored run; fields that are not given have their defaults. Raises FramiError."""
        known = {field.name for field in fields(Settings)}
        foreign = set(values) - known - {"teacher", *_REST}
        if foreign or not isinstance(values.get("teacher"), str):
            what = f"unknown: {', '.join(sorted(foreign))}" if foreign else "no teacher is named"
            raise FramiError(f"these are not the settings of a distillation ({what})")
        if "turns" not in values and isinstance(values.get("recipe"), str):  # an earlier version's
            values = values | {"recipe": recipe_of_earlier(values["recipe"])}
        if values.get("source", "made") in ("made", "bank"):  # there were none in earlier versions
            values = {"made_up": 0} | values
        settings = schema.checked(Settings, {k: v for k, v in values.items() if k in known})
        rest = {name: values[name] for name in ("teacher", *_REST) if name in values}
        return schema.checked(cls, rest | {"settings": settings})

    def to_dict(self) -> dict:
        """As stored; without the settings of making clips where none are made."""
        named = {name: getattr(self, name) for name in _REST if getattr(self, name)}
        values = {"teacher": self.teacher, **self.settings.to_dict()} | named
        making = () if self.settings.source == "made" else ("recipe", "clips", "share", "turns")
        making += () if self.settings.source in ("made", "bank") else ("made_up",)
        return {name: value for name, value in values.items() if name not in making}

    @property
    def name(self) -> str:
        """Short name of the run."""
        s = self.settings
        source = {"made": s.recipe, "bank": Path(self.bank or "").name}.get(s.source, s.source)
        some = f" {len(s.classes)} classes" if s.classes else ""
        return f"{Path(self.teacher).name} {s.student} {s.objective} {source}{some}"
