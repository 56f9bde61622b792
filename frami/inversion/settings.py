"""What an inversion is: the one value that a bank's manifest, a gallery and a run of the studio store."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel

from frami import schema
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.inversion.recipes import RECIPES, Recipe, fingerprint
from frami.inversion.recipes import recipe as named
from frami.inversion.teacher import TeacherCopy

#: Shortest and longest clip, in seconds.
SHORTEST, LONGEST = 0.1, 30.0
#: Largest seed of an inversion, and of a distillation.
MOST_SEED = 2**48 - 1


@dataclass(frozen=True)
class InversionSettings:
    """All that decides which clips are made; ``InversionSettings.of`` fills in what is not given.

    teacher, teacher_sha256 : name and checksum of the weights (None in what early versions stored); recipe : with the
    ``steps`` and ``weights`` in use; samples : number of clips; seconds : the shortest and the longest clip; classes :
    target classes, which take turns; batch : clips made at once; snapshots : states of each clip to save on its way.
    FramiError where one is out of range.
    """

    teacher: str
    teacher_sha256: str | None
    recipe: Recipe
    samples: int
    seconds: tuple[float, float]
    classes: tuple[int, ...]
    batch: int
    seed: int
    snapshots: int = 0

    def __post_init__(self):
        check_least(1, samples=self.samples, steps=self.recipe.steps, batch=self.batch)
        check_least(0, snapshots=self.snapshots)
        check_seed(self.seed)
        durations(None, self.recipe, self.seconds)
        if any(not math.isfinite(value) or value < 0 for value in self.recipe.weights.values()):
            raise FramiError("weights of loss terms are finite and not negative")

    @classmethod
    def of(
        cls,
        teacher: Checkpoint,
        recipe: Recipe | str = "frami-fine",
        *,
        samples: int = 16,
        seconds: float | Sequence[float] | None = 1.0,
        steps: int | None = None,
        classes: Sequence[int] | None = None,
        batch: int = 16,
        seed: int = 0,
        snapshots: int = 0,
        weights: dict[str, float] | None = None,
    ) -> "InversionSettings":
        """Settings that fit a teacher.

        seconds : duration of every clip, or the shortest and the longest, or None for the teacher's usual ones; steps :
        None for the recipe's; classes : indices, None for all; weights : replaces single weights of the recipe.
        FramiError where one is out of range or does not fit.
        """
        row = named(recipe) if isinstance(recipe, str) else recipe
        row = replace(row, steps=row.steps if steps is None else steps, weights=row.weights | (weights or {}))
        kinds = len(teacher.classes)
        classes = tuple(range(kinds) if classes is None else classes)
        if not classes or any(not 0 <= c < kinds for c in classes):
            raise FramiError(f"classes are numbers from 0 to {kinds - 1}, not {list(classes)}")
        span = durations(teacher, row, seconds)
        card = teacher.card
        settings = cls(card.name, card.sha256, row, samples, span, classes, batch, seed, snapshots)
        TeacherCopy(teacher, span)  # refuses clips of a duration that the teacher does not take
        return settings

    def to_dict(self) -> dict:
        """As stored, in JSON's types; ``weights`` where they are not those of the recipe's row."""
        low, high = self.seconds
        values = {
            "teacher": self.teacher, "teacher_sha256": self.teacher_sha256, "recipe": self.recipe.name,
            "samples": self.samples, "steps": self.recipe.steps, "seconds": low if low == high else [low, high],
            "classes": list(self.classes), "batch": self.batch, "seed": self.seed,
        }  # fmt: skip
        row = RECIPES.get(self.recipe.name)
        values |= {"fingerprint": fingerprint(row)} if row else {}
        values |= {} if row and row.weights == self.recipe.weights else {"weights": self.recipe.weights}
        return values | ({"snapshots": self.snapshots} if self.snapshots else {})

    @classmethod
    def from_dict(cls, values: dict) -> "InversionSettings":
        """Inverse of ``to_dict`` for a recipe of ``RECIPES``. FramiError."""
        try:
            schema.held(_Stored, values)
            row = named(values["recipe"])
            row = replace(row, steps=values["steps"], weights=row.weights | values.get("weights", {}))
            plain = {name: values[name] for name in ("teacher", "samples", "batch", "seed")}
            span = durations(None, row, values["seconds"])
            optional = {"teacher_sha256": values.get("teacher_sha256"), "snapshots": values.get("snapshots", 0)}
            return cls(recipe=row, seconds=span, classes=tuple(values["classes"]), **plain, **optional)
        except (KeyError, TypeError) as error:
            raise FramiError(f"these are not the settings of an inversion ({error})") from error


class _Stored(BaseModel):
    """Types of what is stored of an inversion."""

    teacher: schema.Path | None = None
    teacher_sha256: schema.Line | None = None
    recipe: schema.Line
    samples: Annotated[int, schema.whole(1, 10**9)]
    steps: Annotated[int, schema.whole(1, 10**9)] = 1
    seconds: Annotated[float, schema.number(0, LONGEST)] | list[Annotated[float, schema.number(0, LONGEST)]]
    classes: list[Annotated[int, schema.whole(0, schema.CLASSES)]] = []
    batch: Annotated[int, schema.whole(1, 10**9)] = 1
    seed: Annotated[int, schema.whole(0, MOST_SEED)] = 0
    snapshots: Annotated[int, schema.whole(0, 10**6)] = 0
    weights: dict[schema.Line, Annotated[float, schema.number(0, 1e9)]] = {}


def upgraded(values: dict, classes: int) -> dict:
    """Stored settings as ``to_dict`` writes them: early versions left out that all classes take turns and the recipe's
    fingerprint, wrote one duration as a range, and called ``frami-fine`` ``frami``. Those of anything else than an
    inversion stay as they are. SchemaError for values of other types."""
    if not {"recipe", "samples", "seconds"} <= set(values):
        return values
    schema.held(_Stored, values)
    if "fingerprint" not in values:
        name = recipe_of_earlier(values["recipe"])
        values = values | {"recipe": name} | ({"fingerprint": fingerprint(RECIPES[name])} if name in RECIPES else {})
    seconds = values["seconds"]
    if isinstance(seconds, list) and len(set(seconds)) == 1:
        seconds = seconds[0]
    return {"classes": list(range(classes))} | values | {"seconds": seconds}


def recipe_of_earlier(name: str) -> str:
    """What a recipe is called now that was stored by its name alone."""
    ablation = name.removeprefix("frami-")
    kept = name in ("frami-fast", "frami-flash") or not name.startswith("frami")
    return name if kept else "frami-fine" + (f"-{ablation}" if ablation != name else "")


def durations(
    teacher: Checkpoint | None, recipe: Recipe, seconds: float | Sequence[float] | None
) -> tuple[float, float]:
    """Shortest and longest clip in seconds; ``seconds`` : as in ``InversionSettings.of`` (the teacher only matters for
    None: no clip is then longer than it hears). FramiError."""
    if seconds is None:
        most = LONGEST
        if (longest := getattr(teacher.model, "longest", None)) is not None:  # frames, of a network that is not ours
            most = min(LONGEST, teacher.spec.samples(longest) / teacher.spec.sample_rate)
        low, high = (min(max(teacher.seconds * share, SHORTEST), most) for share in recipe.durations)
    elif isinstance(seconds, tuple | list):
        if len(seconds) != 2:
            raise FramiError(f"durations are the shortest and the longest in seconds, not {seconds}")
        low, high = seconds
    else:
        low = high = seconds
    if not SHORTEST <= low <= high <= LONGEST:
        text = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise FramiError(f"a clip lasts {SHORTEST:g} to {LONGEST:g} seconds, the shorter first, not {text}")
    return low, high


def check_seed(seed: int) -> None:
    """FramiError for a seed that is no whole number within the limits."""
    if not 0 <= seed <= MOST_SEED:
        raise FramiError(f"a seed is a whole number from 0 to {MOST_SEED}, not {seed}")


def check_least(least: int, **counts: int) -> None:
    """FramiError for a count below ``least``."""
    for name, value in counts.items():
        if value < least:
            raise FramiError(f"{name} is at least {least}, not {value}")
