"""Methods of inversion as rows of data. Adding one adds a row."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

from frami.errors import FramiError
from frami.inversion.augment import ImageViewConfig, ViewConfig


@dataclass(frozen=True)
class Term:
    """A term of the loss. ``about`` : what it is low for; ``most``, ``step`` : largest weight that an interface offers,
    and in which steps."""

    about: str
    most: float
    step: float = 0.01


#: Terms of the loss by name, in the order of logs and plots.
TERMS: dict[str, Term] = {
    "class": Term("the teacher recognises the class", 4),
    "batch_norm": Term("layer statistics match those of the training data", 10),
    "contrast": Term("each clip differs from all the others, whatever view is taken of it", 4),
    "adversarial": Term("a student that learns along disagrees with the teacher", 2),
    "balance": Term("all classes occur equally often", 20, 0.1),
    "activation": Term("the sound excites the teacher's last layer", 1),
    "variation": Term("neighbouring points of the spectrogram are alike", 0.1, 0.001),
}


@dataclass(frozen=True)
class Recipe:
    """Weights, steps and choices of one method. FramiError for a choice or a term that there is not.

    ``title`` : name for people; ``about`` : what is special, in a sentence; ``source`` : publication
    ``weights`` : factor of each term of the loss by its name in ``TERMS``
    ``steps`` : optimisation steps of a batch of clips; ``warmup`` : batches made and discarded before the first, of
    ``warmup_clips`` clips and ``warmup_steps`` steps each (0, and where there are fewer: as many as of the others);
    the statistics of so few clips do not count as those of an earlier batch
    ``lr``, ``lr_latent``, ``lr_head`` : Adam's learning rates of generator, latents (0: fresh noise at each step
    instead) and projection head; ``cosine`` : the first two fall along a cosine within each batch
    ``parameter`` : what is optimised, a ``generator`` or the ``clip`` itself
    ``start`` : it begins at the teacher's stored mean ``spectrum`` (at made-up sounds, ``inversion.sounds``, where a
    network has no batch norm) or in the ``middle`` of the range
    ``given`` : what a generator draws a clip from: ``noise``, noise with a learnt embedding of the target class added
    (``sum``), or a fixed embedding of the class behind a layer of random weights (``noisy_layer``; those are latents)
    ``keep`` : between batches the generator is made anew (``reset``), goes on (``kept``), goes on but for its first
    layer, which is made anew (``warm``), or is the start that a first-order meta step improves (``meta``)
    ``average`` : share that a moving average of the generator keeps of itself at each step; the second half of a batch
    is drawn from it in the end (0: there is none)
    ``exchange`` : share of the finished clips that get half of their channels, within the generator, from another clip
    of the batch; their target class is the likelier one of the two
    ``labels`` : the class loss pulls to the ``target`` class or to the teacher's ``own`` prediction; then classes
    cannot be chosen, and target classes are assigned to the finished clips so that as many as possible agree
    ``certainty`` : probability from which on the class loss of a clip is constant
    ``modulate`` : exponent of a clip's weight in the class loss, a power of how far a student (without one, the
    teacher) is from the target class: 1 minus its probability (0: all weigh the same)
    ``divergence`` : of the adversarial term (``losses.adversarial_loss``); ``student_steps`` : training steps of a
    companion student for each step, for a method that has nothing to learn without one
    ``contrast`` : what the contrastive term takes as positives: a second ``view`` of each clip, which passes through
    the teacher too (in one of ``view_every`` steps); two random time ``segments`` of the same pass, their frame-level
    features pooled; or nothing, ``batch``: the clips of a batch are pushed apart, without a feature bank
    ``feature`` : what a ``view`` or a ``batch`` compares: the ``means`` of all batch norms' inputs, the ``pooled``
    embedding, or ``both``; ``head`` : through a projection that is ``learned``, or centred and ``plain``;
    ``negatives`` : clips of ``all`` classes, or of the ``same`` one only; ``temperature`` ; ``views`` ;
    ``feature_bank`` : its rows
    ``past`` : share of earlier batches in the batch-norm statistics; ``alone`` : factor of the batch-norm term while
    there are none, so that it does not outweigh the others there; ``first_norm`` : factor of the first batch norm
    ``durations`` : shortest and longest clip where none are given, as shares of the teacher's usual one
    ``best`` : the clips of the step with the lowest loss are taken, not the last ones
    ``ablation`` : a row that exists to show what one choice of another row is worth
    """

    name: str
    title: str
    about: str
    source: str
    weights: dict[str, float]
    steps: int
    lr: float
    lr_latent: float = 0.0
    lr_head: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    cosine: bool = False
    warmup: int = 0
    warmup_clips: int = 0
    warmup_steps: int = 0
    parameter: Literal["generator", "clip"] = "generator"
    start: Literal["middle", "spectrum"] = "middle"
    given: Literal["noise", "sum", "noisy_layer"] = "noise"
    keep: Literal["reset", "kept", "warm", "meta"] = "reset"
    average: float = 0.0
    exchange: float = 0.0
    labels: Literal["target", "own"] = "target"
    certainty: float = 1.0
    modulate: float = 0.0
    divergence: Literal["agreeing", "kl", "js"] = "agreeing"
    student_steps: int = 0
    contrast: Literal["view", "segments", "batch"] = "view"
    view_every: int = 1
    feature: Literal["means", "pooled", "both"] = "both"
    head: Literal["learned", "plain"] = "learned"
    negatives: Literal["all", "same"] = "all"
    temperature: float = 0.1
    views: ViewConfig | ImageViewConfig = field(default_factory=ViewConfig)
    feature_bank: int = 2048
    past: float = 0.0
    alone: float = 1.0
    first_norm: float = 1.0
    durations: tuple[float, float] = (1.0, 1.0)
    best: bool = False
    ablation: bool = False

    def __post_init__(self):
        for name, values in _CHOICES.items():
            if getattr(self, name) not in values:
                raise FramiError(f"'{name}' of a recipe is one of: {', '.join(values)}; not '{getattr(self, name)}'")
        check_terms(self.weights)
        if self.parameter == "clip" and not self.lr_latent:
            raise FramiError("a recipe that optimises the clip itself needs an lr_latent above 0")
        if self.parameter == "clip" and (self.given != "noise" or self.average or self.exchange):
            raise FramiError("a recipe that optimises the clip itself has no generator to give, average or exchange")
        if self.best and (self.average or self.exchange):
            raise FramiError("'best' clips are those of a step: a recipe draws new ones for 'average' and 'exchange'")
        if min(self.warmup, self.warmup_clips, self.warmup_steps) < 0:
            raise FramiError("'warmup', 'warmup_clips' and 'warmup_steps' are not negative")
        if not 0 <= self.alone <= 1:
            raise FramiError("'alone' lies between 0 and 1")
        if not 0 <= self.average < 1 or not 0 <= self.exchange <= 1 or self.modulate < 0:
            raise FramiError("'average' lies below 1, 'exchange' between 0 and 1, and 'modulate' is not negative")

    def warmup_batch(self, batch: int) -> tuple[int, int]:
        """Clips and steps of a batch of the warm-up, where ``batch`` clips are made at once."""
        return min(self.warmup_clips or batch, batch), min(self.warmup_steps or self.steps, self.steps)

    def warmup_cost(self, batch: int) -> float:
        """What the warm-up takes, in batches of ``batch`` clips."""
        clips, steps = self.warmup_batch(batch)
        return self.warmup * clips / batch * steps / self.steps


_CHOICES = {name: get_args(kind) for name, kind in get_type_hints(Recipe).items() if get_origin(kind) is Literal}


def check_terms(names: Iterable[str]) -> None:
    """Raise FramiError for a term of the loss that there is not."""
    if unknown := [name for name in names if name not in TERMS]:
        raise FramiError(f"no loss term '{unknown[0]}'; there are: {', '.join(TERMS)}")


_FINE = Recipe(
    name="frami-fine",
    title="FRAMI fine",
    about="For listening: many steps, and each clip has to differ from all others whatever view is taken of it.",
    source="frami in its first form: a second view of each clip, a feature bank, a new generator for each batch",
    weights={"class": 1.0, "batch_norm": 0.06, "contrast": 0.15, "adversarial": 0.5},
    steps=100, lr=5e-3, lr_latent=0.1, cosine=True, start="spectrum", temperature=0.3, past=0.9, durations=(0.6, 1.4),
)  # fmt: skip
_FAST = replace(
    _FINE,
    name="frami-fast",
    title="FRAMI fast",
    about="Clear clips in little time, whose diversity is left to chance.",
    source="frami with twice the steps and without its contrastive term",
    weights=_FINE.weights | {"contrast": 0.0},
    steps=28, lr=3e-3, lr_latent=0.2, past=0.8, keep="warm",
)  # fmt: skip
_FLASH = replace(
    _FAST,
    name="frami-flash",
    title="FRAMI flash",
    about="FRAMI without its contrastive term, to see what that is worth.",
    source="frami, but: no contrastive term",
    steps=14,
)
_FRAMI = replace(
    _FLASH,
    name="frami",
    title="FRAMI",
    about="The clips of a batch push each other apart; the generator is carried over, so that few steps suffice.",
    source="Kang et al., ICASSP 2023 (arXiv 2303.07643); our formulation of what its abstract leaves open",
    weights=_FLASH.weights | {"contrast": 1.0},
    contrast="batch", feature="means",
)  # fmt: skip
_WARM = replace(
    _FRAMI,
    name="frami-warm",
    title="FRAMI warm",
    about="FRAMI with a short warm-up of its generator, so that the first clips are clear as well.",
    source="frami, and: a short warm-up of the generator",
    warmup=1, warmup_clips=8, warmup_steps=14, alone=0.2,
)  # fmt: skip
_CMI = Recipe(
    name="cmi",
    title="CMI",
    about="What FRAMI grew out of: clips have to differ from each other, in views that were made for photographs.",
    source="Contrastive Model Inversion, Fang et al., IJCAI 2021",
    weights={"class": 0.5, "batch_norm": 1.0, "contrast": 0.8, "adversarial": 0.5},
    steps=200, lr=1e-3, lr_latent=1e-3, feature="means", views=ImageViewConfig(), best=True,
)  # fmt: skip
_DEEPINVERSION = Recipe(
    name="deepinversion",
    title="DeepInversion",
    about="No generator: each point of the spectrogram is optimised itself; a penalty makes it smooth.",
    source="DeepInversion and Adaptive DeepInversion, Yin et al., CVPR 2020",
    weights={"class": 1.0, "batch_norm": 0.05, "variation": 1e-3, "adversarial": 1.0},
    steps=1000, lr=0.1, lr_latent=0.1, betas=(0.5, 0.99), parameter="clip", divergence="js", first_norm=10.0, best=True,
)  # fmt: skip
_DAFL = Recipe(
    name="dafl",
    title="DAFL",
    about="One generator learns to make sounds of high confidence, of every class equally often.",
    source="Data-Free Learning of Student Networks, Chen et al., ICCV 2019",
    weights={"class": 1.0, "balance": 5.0, "activation": 0.1},
    steps=20, warmup=20, lr=1e-3, betas=(0.9, 0.999), keep="kept", labels="own",
)  # fmt: skip
_DFQ = replace(
    _DAFL,
    name="dfq",
    title="DFQ",
    about="One generator learns to match the training data's statistics where a student does not follow yet.",
    source="Data-Free Network Quantization with Adversarial Knowledge Distillation, Choi et al., CVPRW 2020",
    weights={"class": 1.0, "batch_norm": 1.0, "balance": 20.0, "adversarial": 1.0},
    divergence="kl",
    student_steps=10,
)
_ZSKT = replace(
    _DFQ,
    name="zskt",
    title="ZSKT",
    about="Disagreement alone: whatever a student classifies differently from the teacher, like a sound or not.",
    source="Zero-shot Knowledge Transfer via Adversarial Belief Matching, Micaelli and Storkey, NeurIPS 2019",
    weights={"adversarial": 1.0},
)
_FAST_DATAFREE = Recipe(
    name="fast",
    title="Fast-DataFree",
    about="One generator learns a good start, so that each new clip takes a few steps only.",
    source="Up to 100x Faster Data-free Knowledge Distillation (Fast-DataFree), Fang et al., AAAI 2022",
    weights={"class": 0.5, "batch_norm": 10.0, "adversarial": 1.33},
    steps=10, warmup=20, lr=2e-3, lr_latent=1e-2, keep="meta", past=0.9, best=True,
)  # fmt: skip
_NAYER = Recipe(
    name="nayer",
    title="NAYER",
    about="One generator is given the class alone; a noisy layer, made anew for each batch, makes its clips differ.",
    source="NAYER, Tran et al., CVPR 2024 (arXiv 2310.00258)",
    weights={"class": 0.5, "batch_norm": 10.0, "adversarial": 1.33},
    steps=40, lr=4e-3, lr_latent=4e-3, given="noisy_layer", keep="kept", past=0.9, best=True,
)  # fmt: skip
_MAD = Recipe(
    name="mad",
    title="MAD",
    about="Half of the clips come from one generator, half from its moving average, which recalls what it made before.",
    source="Momentum Adversarial Distillation, Do et al., NeurIPS 2022 (arXiv 2209.10359)",
    weights={"class": 1.0, "batch_norm": 1.0, "adversarial": 1.0},
    steps=20, warmup=20, lr=1e-3, given="sum", keep="kept", average=0.95, divergence="kl",
)  # fmt: skip
_SPACESHIPNET = Recipe(
    name="spaceshipnet",
    title="SpaceshipNet",
    about="Of ten finished clips seven are crossed with another one inside the generator: new clips without new steps.",
    source="SpaceshipNet, Yu et al., CVPR 2023",
    weights={"class": 0.5, "batch_norm": 1.0},
    steps=200, lr=1e-3, lr_latent=1e-3, exchange=0.7,
)  # fmt: skip
_SSD_KD = replace(
    _FAST_DATAFREE,
    name="ssd-kd",
    title="SSD-KD",
    about="Fast-DataFree, but the harder a clip's class is for the student, the more it weighs.",
    source="Small Scale Data-Free Knowledge Distillation (SSD-KD), Liu et al., CVPR 2024 (arXiv 2406.07876)",
    modulate=1.0,
)


def _ablation(of: Recipe, name: str, what: str, **choices) -> Recipe:
    """A row that differs from another in one choice."""
    about = f"{of.title} with one choice undone, to see what it is worth."
    texts = {"title": f"Ablation: {what}", "about": about, "source": f"{of.name}, but: {what}"}
    return replace(of, name=f"{of.name}-{name}", ablation=True, **texts, **choices)


_CIFAR = {"weights": _DEEPINVERSION.weights | {"batch_norm": 10.0}, "first_norm": 1.0}
_VIEW = {"contrast": "view", "weights": _FRAMI.weights | {"contrast": 0.15}, "feature": "both"}
_ROWS = (
    _FRAMI, _FINE, _FAST, _FLASH, _WARM, _CMI, _DEEPINVERSION, _DAFL, _DFQ, _ZSKT, _FAST_DATAFREE,
    _NAYER, _MAD, _SPACESHIPNET, _SSD_KD,
    _ablation(_FRAMI, "view", "a second view of each clip, and a feature bank", **_VIEW),
    _ablation(_FRAMI, "segments", "two time segments of each clip", contrast="segments"),
    _ablation(_FRAMI, "same", "clips of the same class alone push each other apart", negatives="same"),
    _ablation(_FINE, "no-contrast", "no contrastive term", weights=_FINE.weights | {"contrast": 0.0}),
    _ablation(_FINE, "image-views", "CMI's views", views=ImageViewConfig()),
    _ablation(_FINE, "pooled", "the embeddings alone are contrasted", feature="pooled"),
    _ablation(_FINE, "means", "the layer means alone are contrasted", feature="means"),
    _ablation(_FINE, "fixed", "one duration for all clips", durations=(1.0, 1.0)),
    _ablation(_FINE, "batch", "statistics of each batch, not of the set", past=0.0),
    _ablation(_DEEPINVERSION, "cifar", "the weights of its small-picture script", **_CIFAR),
)  # fmt: skip

RECIPES: dict[str, Recipe] = {row.name: row for row in _ROWS}


def recipe(name: str) -> Recipe:
    """The row of this name; ``FramiError`` lists the names for another one."""
    try:
        return RECIPES[name]
    except KeyError:
        raise FramiError(f"no recipe '{name}'; choose one of: {', '.join(RECIPES)}") from None


def fingerprint(recipe: Recipe) -> str:
    """Hash of all settings that differ from their defaults: under it measured results are stored."""
    usual = {field.name: field.default for field in fields(recipe)}
    texts = ("name", "title", "about", "source", "ablation", "views")
    own = {name: value for name, value in vars(recipe).items() if name not in texts and value != usual[name]}
    return hashlib.sha256(repr([sorted(own.items()), recipe.views]).encode()).hexdigest()[:8]
