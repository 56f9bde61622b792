"""What the page offers: recipes with what it says of each and starts with, classes to choose, and vocoders."""

import csv
import io
import shlex
from collections.abc import Sequence
from html import escape

from frami import vocoder as vocoders
from frami.checkpoints import Card, Checkpoint
from frami.errors import FramiError
from frami.inversion import RECIPES, TERMS, Recipe, durations
from frami.studio.services import class_groups, page_values

#: The recipe that the studio opens with.
DEFAULT = "frami-fast"
#: Steps of the default recipe at most: its first clips are done within ten seconds on two CPU cores.
STEPS = 40
MOST_STEPS = 1000
SHORTEST, LONGEST = 0.2, 5.0
#: Vocoders that need no other package, by name, with their titles; the first is the default.
VOCODERS = {name: kind.title for name, kind in vocoders.VOCODERS.items() if not kind.optional}


def title(name: str) -> str:
    """A recipe's name for people."""
    return RECIPES[name].title if name in RECIPES else name


def choices(ablations: bool = True) -> list[tuple[str, str]]:
    """(title, name) of the recipes, the default first and the ablations last."""
    names = [name for name in RECIPES if ablations or not RECIPES[name].ablation]
    names.sort(key=lambda name: (name != DEFAULT, RECIPES[name].ablation))
    return [(title(name), name) for name in names]


def about(recipe: Recipe) -> str:
    """What is special, what to know before it runs, and where it is from; as HTML."""
    said = [recipe.about]
    if companion(recipe):
        said.append("A small student learns along, which is slow on a CPU.")
    if not targeted(recipe):
        said.append("Its target classes cannot be chosen.")
    if recipe.warmup_steps:
        said.append("Its first steps are taken on a few clips that are not saved.")
    elif recipe.warmup:
        said.append(f"Makes {recipe.warmup} batches to learn from before the first that is saved.")
    return f'<p class="frami-about">{escape(" ".join(said))} <span>{escape(recipe.source)}</span></p>'


def targeted(recipe: Recipe) -> bool:
    """Whether its clips have target classes."""
    return recipe.labels == "target"


def untargeted(settings: dict) -> bool:
    """Whether a run's settings name a recipe without target classes."""
    recipe = RECIPES.get(settings["recipe"])
    return recipe is not None and not targeted(recipe)


def companion(recipe: Recipe) -> bool:
    """Whether a student of its own learns along."""
    return recipe.student_steps > 0


def steps(recipe: Recipe) -> int:
    """Steps that the page starts with."""
    return min(recipe.steps, STEPS if recipe.name == DEFAULT else MOST_STEPS)


def weights(recipe: Recipe) -> dict[str, float]:
    """Weights that the page starts with, of all terms. The adversarial one needs a student."""
    offered = {term: recipe.weights.get(term, 0.0) for term in TERMS}
    return offered if companion(recipe) else offered | {"adversarial": 0.0}


def seconds(teacher: Checkpoint, recipe: Recipe) -> tuple[float, float]:
    """Shortest and longest clip that the page starts with."""
    low, high = (min(max(round(s, 1), SHORTEST), LONGEST) for s in durations(teacher, recipe, None))
    return low, high


def classes(card: Card) -> list[tuple[str, int]]:
    """(name, value) of what can be chosen as target classes: of many classes each category as a whole first, whose
    value is negative, then each class by its index."""
    several = _categories(card)
    whole = [(f"{one['title']}: all {len(one['classes'])}", -1 - k) for k, one in enumerate(several)]
    return whole + [(page_values.name(label), i) for i, label in enumerate(card.classes)]


def chosen_classes(card: Card, chosen: Sequence[int]) -> list[int]:
    """Indices of the classes that were chosen, each once; ``chosen`` holds values of ``classes``. FramiError for
    another teacher's."""
    several = _categories(card)
    if not all(-len(several) <= one < len(card.classes) for one in chosen):
        raise FramiError("these are classes of another teacher; choose some of this one")
    return list(dict.fromkeys(k for one in chosen for k in ([one] if one >= 0 else several[-1 - one]["classes"])))


def classes_hint(card: Card) -> str:
    """What is said below the choice of classes."""
    if len(card.classes) <= class_groups.MANY:
        return "leave empty for all classes"
    return f"type to find one of {len(card.classes)}; leave empty for all, from the first of the list on"


def _categories(card: Card) -> list[dict]:
    return class_groups.of_teacher(card) if len(card.classes) > class_groups.MANY else []


def making(teacher: str, explore: bool = False) -> str:
    """The command that makes the gallery, or with ``explore`` the map, of a teacher of any name."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([teacher])
    return f"frami gallery {'--explore ' * explore}--teachers {shlex.quote(text.getvalue())}"


def origin(settings: dict) -> str:
    """How the clips of a run were made, in a few words."""
    return f"{title(settings['recipe'])}, {settings['steps']} steps, seed {settings['seed']}"


def vocoder(name: str | None) -> str | None:
    """Name of a vocoder for ``vocoder.get``: None, the usual one for a front-end, where it is the first."""
    return None if name == next(iter(VOCODERS)) else name
