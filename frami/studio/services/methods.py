"""What the page says of each recipe, and what it starts with."""

from html import escape

from frami.checkpoints import Checkpoint
from frami.inversion import RECIPES, durations
from frami.inversion.recipes import Recipe

#: The recipe that the studio opens with.
DEFAULT = "frami-fast"
#: Steps of the default recipe at most: its first clips are done within ten seconds on two CPU cores.
STEPS = 40
MOST_STEPS = 1000
SHORTEST, LONGEST = 0.2, 5.0

#: Largest weight that the page offers for each term, and the step of its slider.
RANGES = {
    "class": (4, 0.01),
    "batch_norm": (10, 0.01),
    "contrast": (4, 0.01),
    "adversarial": (2, 0.01),
    "balance": (20, 0.1),
    "activation": (1, 0.01),
    "variation": (0.1, 0.001),
}

_TITLES = {
    "frami-fast": "FRAMI fast",
    "frami-flash": "FRAMI flash",
    "frami": "FRAMI",
    "cmi": "CMI",
    "deepinversion": "DeepInversion",
    "dafl": "DAFL",
    "dfq": "DFQ",
    "zskt": "ZSKT",
    "fast": "Fast-DataFree",
}
_SPECIAL = {
    "frami-fast": "FRAMI for little time: what the generator learnt goes on from batch to batch, and few steps do.",
    "frami-flash": "FRAMI fast with half the steps: more clips, less sure ones, for students short of time.",
    "frami": "Each clip has to differ from all the others, and all begin at the mean spectrum that the teacher holds.",
    "cmi": "What FRAMI grew out of: clips have to differ from each other, in views that were made for photographs.",
    "deepinversion": "No generator: each point of the spectrogram is changed for itself, a penalty keeps it smooth.",
    "dafl": "One generator learns to make sounds that the teacher is sure of, from every class equally often.",
    "dfq": "One generator learns to make sounds like the training data's that a student does not know yet.",
    "zskt": "Nothing but disagreement: whatever a student hears otherwise than the teacher, like a sound or not.",
    "fast": "One generator learns a good start, so that each new clip takes a few steps only.",
}


def title(name: str) -> str:
    """A recipe's name for people."""
    recipe = RECIPES.get(name)
    if recipe is not None and recipe.ablation:
        return f"Ablation: {recipe.source.partition('but: ')[2] or recipe.source}"
    return _TITLES.get(name, name)


def choices() -> list[tuple[str, str]]:
    """All recipes, the default first and the ablations last."""
    names = sorted(RECIPES, key=lambda name: (name != DEFAULT, RECIPES[name].ablation))
    return [(title(name), name) for name in names]


def about(recipe: Recipe) -> str:
    """What is special, what to know before it runs, and where it is from; as HTML."""
    said = [
        _SPECIAL.get(recipe.name, "FRAMI with one choice undone, to see what it is worth." if recipe.ablation else "")
    ]
    if companion(recipe):
        said.append("A small student learns along, which is slow on a CPU.")
    if not targeted(recipe):
        said.append("It cannot be asked for classes.")
    if recipe.warmup:
        said.append(f"Makes {recipe.warmup} batches to learn from before the first that is kept.")
    return f'<p class="frami-about">{escape(" ".join(said))} <span>{escape(recipe.source)}</span></p>'


def targeted(recipe: Recipe) -> bool:
    """Whether clips of a class can be asked for."""
    return recipe.labels == "target"


def untargeted(settings: dict) -> bool:
    """Whether a run's settings name a recipe that nobody can ask for classes."""
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
    offered = {term: recipe.weights.get(term, 0.0) for term in RANGES}
    return offered if companion(recipe) else offered | {"adversarial": 0.0}


def seconds(teacher: Checkpoint, recipe: Recipe) -> tuple[float, float]:
    """Shortest and longest clip that the page starts with."""
    low, high = (min(max(round(s, 1), SHORTEST), LONGEST) for s in durations(teacher, recipe, None))
    return low, high


def origin(settings: dict) -> str:
    """How the clips of a run were made, in a few words."""
    return f"{title(settings['recipe'])}, {settings['steps']} steps, seed {settings['seed']}"
