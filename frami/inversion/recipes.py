"""Methods of inversion as rows of data. Adding one adds a row."""

import hashlib
from dataclasses import dataclass, field, fields, replace

from frami.errors import FramiError
from frami.inversion.augment import ImageViewConfig, ViewConfig

#: Terms of the loss, in the order of logs and plots, and what each asks for.
TERMS: dict[str, str] = {
    "class": "the teacher recognises the class",
    "batch_norm": "layer statistics match those of the training data",
    "contrast": "each clip differs from all the others, whatever view is taken of it",
    "adversarial": "a student that learns along disagrees with the teacher",
    "balance": "all classes occur equally often",
    "activation": "the sound excites the teacher's last layer",
    "variation": "neighbouring points of the spectrogram are alike",
}


@dataclass(frozen=True)
class Recipe:
    """Weights, steps and choices of one method.

    ``weights`` : factor of each term of the loss by its name in ``TERMS``
    ``steps`` : optimisation steps of a batch of clips; ``warmup`` : batches made and thrown away before the first
    ``lr``, ``lr_latent``, ``lr_head`` : Adam's learning rates of generator, latents (0: fresh noise at each step
    instead) and projection head; ``cosine`` : the first two fall along a cosine within each batch
    ``parameter`` : what is optimised, a ``generator`` or the ``clip`` itself
    ``start`` : it begins at the teacher's stored mean ``spectrum`` or in the ``middle`` of the range
    ``keep`` : between batches the generator is made anew (``reset``), goes on (``kept``), goes on but for its first
    layer, which is made anew (``warm``), or is the start that a first-order meta step improves (``meta``)
    ``labels`` : the class loss pulls to the class ``target`` or to the teacher's ``own`` answer; then classes cannot be
    chosen, and what comes out is counted as asked as far as the classes asked for are among it
    ``certainty`` : probability at which the class loss lets go of a clip
    ``divergence`` : of the adversarial term (``losses.adversarial_loss``); ``student_steps`` : training steps of a
    companion student for each step, for a method that has nothing to learn without one
    ``feature`` : what the contrastive term compares: the ``means`` of all batch norms' inputs, the ``pooled`` state, or
    ``both``; ``head`` : through a projection that is ``learned``, or centred and ``plain``; ``negatives`` : clips of
    ``all`` classes, or of the ``same`` one only; ``temperature`` ; ``views`` ; ``bank`` : rows of the feature bank
    ``past`` : share of earlier batches in the batch-norm statistics; ``first_norm`` : factor of the first batch norm
    ``durations`` : shortest and longest clip when no duration is asked for, as shares of the teacher's usual one
    ``best`` : keep the clips of the step with the lowest loss instead of the last ones
    ``ablation`` : a row that exists to show what one choice of another row is worth
    """

    name: str
    source: str
    weights: dict[str, float]
    steps: int
    lr: float
    lr_latent: float = 0.0
    lr_head: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    cosine: bool = False
    warmup: int = 0
    parameter: str = "generator"
    start: str = "middle"
    keep: str = "reset"
    labels: str = "target"
    certainty: float = 1.0
    divergence: str = "agreeing"
    student_steps: int = 0
    feature: str = "both"
    head: str = "learned"
    negatives: str = "all"
    temperature: float = 0.1
    views: ViewConfig | ImageViewConfig = field(default_factory=ViewConfig)
    bank: int = 2048
    past: float = 0.0
    first_norm: float = 1.0
    durations: tuple[float, float] = (1.0, 1.0)
    best: bool = False
    ablation: bool = False


_FRAMI = Recipe(
    name="frami",
    source="Kang et al., ICASSP 2023 (arXiv 2303.07643); our formulation of what its abstract leaves open",
    weights={"class": 1.0, "batch_norm": 0.06, "contrast": 0.15, "adversarial": 0.5},
    steps=100,
    lr=5e-3,
    lr_latent=0.1,
    cosine=True,
    start="spectrum",
    temperature=0.3,
    past=0.9,
    durations=(0.6, 1.4),
)
_FAST = replace(
    _FRAMI,
    name="frami-fast",
    source="frami, warm-started: the generator but its first layer is kept, few steps, no second view",
    weights=_FRAMI.weights | {"contrast": 0.0},
    steps=28,
    lr=3e-3,
    lr_latent=0.2,
    past=0.8,
    keep="warm",
)
_FLASH = replace(
    _FAST,
    name="frami-flash",
    source="frami-fast with half the steps: more clips, less sure ones, for a student that learns against the clock",
    steps=14,
)


def _ablation(name: str, what: str, **choices) -> Recipe:
    return replace(_FRAMI, name=f"frami-{name}", source=f"frami, but: {what}", ablation=True, **choices)


_DEEPINVERSION = Recipe(
    name="deepinversion",
    source="DeepInversion and Adaptive DeepInversion, Yin et al., CVPR 2020",
    weights={"class": 1.0, "batch_norm": 0.05, "variation": 1e-3, "adversarial": 1.0},
    first_norm=10.0,
    steps=1000,
    lr=0.1,
    lr_latent=0.1,
    betas=(0.5, 0.99),
    parameter="clip",
    divergence="js",
    best=True,
)

_ROWS = (
    _FRAMI,
    _FAST,
    _FLASH,
    Recipe(
        name="cmi",
        source="Contrastive Model Inversion, Fang et al., IJCAI 2021",
        weights={"class": 0.5, "batch_norm": 1.0, "contrast": 0.8, "adversarial": 0.5},
        steps=200,
        lr=1e-3,
        lr_latent=1e-3,
        feature="means",
        views=ImageViewConfig(),
        best=True,
    ),
    _DEEPINVERSION,
    Recipe(
        name="dafl",
        source="Data-Free Learning of Student Networks, Chen et al., ICCV 2019",
        weights={"class": 1.0, "balance": 5.0, "activation": 0.1},
        steps=20,
        warmup=20,
        lr=1e-3,
        betas=(0.9, 0.999),
        keep="kept",
        labels="own",
    ),
    Recipe(
        name="dfq",
        source="Data-Free Network Quantization with Adversarial Knowledge Distillation, Choi et al., CVPRW 2020",
        weights={"class": 1.0, "batch_norm": 1.0, "balance": 20.0, "adversarial": 1.0},
        steps=20,
        warmup=20,
        lr=1e-3,
        betas=(0.9, 0.999),
        keep="kept",
        labels="own",
        divergence="kl",
        student_steps=10,
    ),
    Recipe(
        name="zskt",
        source="Zero-shot Knowledge Transfer via Adversarial Belief Matching, Micaelli and Storkey, NeurIPS 2019",
        weights={"adversarial": 1.0},
        steps=20,
        warmup=20,
        lr=1e-3,
        betas=(0.9, 0.999),
        keep="kept",
        labels="own",
        divergence="kl",
        student_steps=10,
    ),
    Recipe(
        name="fast",
        source="Up to 100x Faster Data-free Knowledge Distillation (Fast-DataFree), Fang et al., AAAI 2022",
        weights={"class": 0.5, "batch_norm": 10.0, "adversarial": 1.33},
        steps=10,
        warmup=20,
        lr=2e-3,
        lr_latent=1e-2,
        keep="meta",
        past=0.9,
        best=True,
    ),
    _ablation("no-contrast", "no contrastive term", weights=_FRAMI.weights | {"contrast": 0.0}),
    _ablation("image-views", "CMI's views", views=ImageViewConfig()),
    _ablation("pooled", "the pooled state alone is contrasted", feature="pooled"),
    _ablation("means", "the layer means alone are contrasted", feature="means"),
    _ablation("fixed", "one duration for all clips", durations=(1.0, 1.0)),
    _ablation("batch", "statistics of each batch, not of the set", past=0.0),
    replace(
        _DEEPINVERSION,
        name="deepinversion-cifar",
        source="deepinversion, but: the weights of its small-picture script",
        weights=_DEEPINVERSION.weights | {"batch_norm": 10.0},
        first_norm=1.0,
        ablation=True,
    ),
)

RECIPES: dict[str, Recipe] = {row.name: row for row in _ROWS}


def recipe(name: str) -> Recipe:
    """The row of this name; ``FramiError`` lists the names for another one."""
    try:
        return RECIPES[name]
    except KeyError:
        raise FramiError(f"no recipe '{name}'; choose one of: {', '.join(RECIPES)}") from None


def mark(recipe: Recipe) -> str:
    """Tells a recipe from itself with other numbers: of its settings, those that are not the usual ones."""
    usual = {field.name: field.default for field in fields(recipe)}
    own = {n: v for n, v in vars(recipe).items() if n not in ("name", "source", "ablation", "views") and v != usual[n]}
    return hashlib.sha256(repr([sorted(own.items()), recipe.views]).encode()).hexdigest()[:8]
