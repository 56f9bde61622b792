"""The architectures of classifiers by name, which a card names, and their sizes. Adding one is a row here."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Annotated, Any, ClassVar

from torch import nn

from frami import schema
from frami.errors import FramiError
from frami.models.convolution import Conv2d
from frami.models.slots import (
    AttentivePooling,
    Backbone,
    Classifier,
    Projector,
    ResidualBlock,
    SeparableBlock,
    StatisticsPooling,
    Teacher,
)

#: The architecture of a card that names none.
DEFAULT = "residual"

POOLINGS: dict[str, type[nn.Module]] = {"statistics": StatisticsPooling, "attentive": AttentivePooling}
BLOCKS: dict[str, type[nn.Module]] = {"residual": ResidualBlock, "separable": SeparableBlock}


@dataclass(frozen=True)
class Config:
    """What a classifier is built from; each architecture adds fields of its own.

    ``pooling`` : a name of ``POOLINGS``; ``projected`` : channels to which a projector takes the frame-level features,
    so that another network's pooling and classifier fit behind it (0: no projector); ``bottleneck`` : hidden channels
    of that projector (0: one 1 × 1 convolution).
    """

    architecture: ClassVar[str]
    #: Fields that a card names only where they differ from their defaults.
    optional: ClassVar[tuple[str, ...]] = ("pooling", "projected", "bottleneck")

    classes: Annotated[int, schema.whole(1, schema.CLASSES)]
    n_mels: Annotated[int, schema.whole(1, schema.WIDE)] = 80
    pooling: schema.Line = "statistics"
    projected: Annotated[int, schema.whole(0, schema.WIDE)] = 0
    bottleneck: Annotated[int, schema.whole(0, schema.WIDE)] = 0

    def to_dict(self) -> dict:
        """As a card holds it; ``from_dict`` builds from it."""
        usual = {field.name: field.default for field in fields(self) if field.name in self.optional}
        values = {k: v for k, v in asdict(self).items() if k not in usual or v != usual[k]}
        return values if self.architecture == DEFAULT else {"architecture": self.architecture} | values


@dataclass(frozen=True)
class ResidualConfig(Config):
    """``width`` channels in the first of four stages, ``depth`` blocks a stage; ``block`` : ``residual``, or
    ``separable`` for devices with little memory."""

    architecture = DEFAULT
    optional = (*Config.optional, "block")

    width: Annotated[int, schema.whole(1, schema.WIDE)] = 16
    depth: Annotated[int, schema.whole(1, schema.DEEP)] = 2
    block: schema.Line = "residual"


def residual(config: ResidualConfig) -> Backbone:
    """Residual network over time and frequency; a sixteenth of both resolutions, eight times ``width`` channels."""
    stem = Conv2d(1, config.width, 3, 2, 1, bias=False)
    stages = [(config.width * 2**stage, 2 if stage else 1) for stage in range(4)]
    return _stacked(config, stem, _row(BLOCKS, config.block, "block"), stages)


def _stacked(
    config: Config, stem: nn.Conv2d, block: Callable[..., nn.Module], stages: list[tuple[int, int]]
) -> Backbone:
    """A first convolution and stages of ``depth`` blocks; of each stage the channels and the stride."""
    blocks, inputs = [], stem.out_channels
    for outputs, stride in stages:
        for place in range(config.depth):
            blocks.append(block(inputs, outputs, 1 if place else stride))
            inputs = outputs
    return Backbone(config.n_mels, stem, blocks, inputs)


@dataclass(frozen=True)
class TemporalConfig(Config):
    """``width`` channels at the start, 1.5, 2 and 3 times as many in the three stages of ``depth`` blocks each."""

    architecture = "tc-resnet"

    pooling: schema.Line = "attentive"
    width: Annotated[int, schema.whole(1, schema.WIDE)] = 16
    depth: Annotated[int, schema.whole(1, schema.DEEP)] = 1


def temporal(config: TemporalConfig) -> Backbone:
    """Convolutions over time alone, the Mel bands as input channels; an eighth of the frames (TC-ResNet, Choi et al.,
    Interspeech 2019, here with a batch norm for each band)."""
    stem = nn.Conv2d(config.n_mels, config.width, (1, 3), 1, (0, 1), bias=False)
    block = partial(ResidualBlock, kernel=(1, 9))
    return _stacked(config, stem, block, [(int(share * config.width), 2) for share in (1.5, 2, 3)])


@dataclass(frozen=True)
class Architecture:
    """``backbone`` builds the first slot of a configuration; ``sizes`` : fields of named configurations, the smallest
    first; ``students`` : those of them that are offered as students; ``hint`` : what to know when choosing one."""

    about: str
    config: type[Config]
    backbone: Callable[[Config], nn.Module]
    sizes: dict[str, dict[str, Any]]
    students: tuple[str, ...] = ()
    hint: str = ""


ARCHITECTURES: dict[str, Architecture] = {
    row.config.architecture: row
    for row in (
        Architecture(
            "residual network over time and frequency, statistics pooling",
            ResidualConfig,
            residual,
            {  # students of ten classes, with a projector to 128 channels: 15, 27, 57, 88, 188, 327 thousand parameters
                "micro": {"width": 8, "depth": 1, "block": "separable"},
                "nano": {"width": 4, "depth": 1},
                "edge": {"width": 16, "depth": 2, "block": "separable"},
                "tiny": {"width": 8, "depth": 1},
                "mini": {"width": 12, "depth": 1},
                "small": {"width": 16, "depth": 1},
                "base": {"width": 16, "depth": 2},
                "large": {"width": 24, "depth": 2},
                "huge": {"width": 32, "depth": 2},
            },
            students=("micro", "nano", "edge", "tiny", "mini", "small"),
            hint="micro and edge are for small devices",
        ),
        Architecture(
            "residual network over time alone, attentive statistics pooling",
            TemporalConfig,
            temporal,
            {
                "nano": {"width": 8, "depth": 1},
                "tiny": {"width": 16, "depth": 1},
                "small": {"width": 24, "depth": 1},
                "base": {"width": 48, "depth": 2},
            },
            students=("nano", "tiny", "small"),
        ),
    )
}


def build(
    size: str, classes: int, n_mels: int = 80, architecture: str = DEFAULT, head: Teacher | None = None, **fields
) -> Classifier:
    """A new classifier of one of an architecture's sizes; ``fields`` : of its configuration.

    ``head`` : a network whose pooling and classifier it ends in, as frozen copies. FramiError for a name that is in no
    table.
    """
    row = _row(ARCHITECTURES, architecture, "architecture")
    fields = _row(row.sizes, size, "size", f" of architecture {architecture}") | fields
    slots = {}
    if head is not None:
        slots = {name: copy.deepcopy(getattr(head, name)).requires_grad_(False) for name in ("pooling", "classifier")}
        names = {kind: name for name, kind in POOLINGS.items()}
        fields |= {"pooling": names.get(type(head.pooling), type(head.pooling).__name__)}
    return assembled(row.config(classes=classes, n_mels=n_mels, **fields), **slots)


def from_dict(values: dict, pooling: nn.Module | None = None, classifier: nn.Module | None = None) -> Classifier:
    """A new classifier from ``Config.to_dict``, with these slots where they are given. FramiError for a name that is in
    no table, a field that its architecture does not have, or a number beyond any network's."""
    fields = {"architecture": DEFAULT} | values
    row = _row(ARCHITECTURES, fields.pop("architecture"), "architecture")
    return assembled(schema.checked(row.config, fields), pooling, classifier)


def assembled(config: Config, pooling: nn.Module | None = None, classifier: nn.Module | None = None) -> Classifier:
    """The slots of a configuration, new where they are not given."""
    backbone = ARCHITECTURES[config.architecture].backbone(config)
    channels = config.projected or backbone.channels
    projector = Projector(backbone.channels, channels, config.bottleneck) if config.projected else None
    pooling = pooling or _row(POOLINGS, config.pooling, "pooling")(channels)
    classifier = classifier or nn.Linear(pooling.size, config.classes)
    return Classifier(backbone, pooling, classifier, projector, config)


def _row(table: dict[str, Any], name: str, what: str, of: str = "") -> Any:
    if not isinstance(name, str) or name not in table:
        raise FramiError(f"no {what} '{name}'{of}; choose one of: {', '.join(table)}")
    return table[name]
