"""A program as a network that returns ``Features``, whose pooling and classifier a student can reuse."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.models import Features, length_mask
from frami.program.cutting import Places
from frami.program.inputs import Input
from frami.program.outputs import SCALES, Output
from frami.program.program import Graph, Program


@dataclass(frozen=True)
class Config:
    """What a network of a program is, beside the program: as its card holds it.

    ``classes``, ``n_mels`` : numbers of both; ``places`` : see there; ``takes`` : its input; ``free`` : whether its
    pooling takes any number of bands, and of frames; ``shape`` : those that it was tried with.
    """

    classes: int
    n_mels: int
    places: Places
    takes: Input
    free: tuple[bool, bool] = (True, True)
    shape: tuple[int, int] = (1, 1)

    def to_dict(self) -> dict:
        return {"architecture": "program"} | asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Config":
        fields = dict(values)
        places = dict(fields.pop("places"))
        places = Places(**places | {"axes": tuple(places["axes"]), "output": Output(**places["output"])})
        free = tuple(map(bool, fields.pop("free")))
        takes, shape = Input(**fields.pop("takes")), tuple(map(int, fields.pop("shape")))
        if takes.fill is not None and not (isinstance(takes.fill, float | int) and abs(takes.fill) < 1e6):
            raise ValueError(f"the value behind a clip's end is a number, not {takes.fill!r}")
        whole = {
            "clips": (takes.clips, 1, 4096), "shortest": (takes.shortest, 1, 10**5),
            "longest": (takes.longest or takes.shortest, takes.shortest, 10**6),
            "bands": (shape[0], 1, 10**5), "frames": (shape[1], 1, 10**5),
        } | {f"axis {k}": (axis, -1, 3) for k, axis in enumerate(places.axes)}  # fmt: skip
        for name, (value, least, most) in whole.items():
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f"{name} of a program is a whole number from {least} to {most}, not {value!r}")
        if (
            places.output.scale not in SCALES
            or len(places.axes) != 3
            or len(set(places.axes) - {-1}) != sum(axis >= 0 for axis in places.axes)
        ):
            raise ValueError("its axes or its scale are none")
        fields.pop("architecture", None)
        return cls(places=places, takes=takes, free=free, shape=shape, **fields)


class ProgramNetwork(nn.Module):
    """A whole network that is a program."""

    def __init__(self, program: Program, config: Config):
        super().__init__()
        self.config, self.program, places = config, program, config.places
        outputs = {"frames": places.frames, "pooled": places.pooled, "logits": places.logits}
        self.graph = Graph(replace(program, outputs=outputs))

    @property
    def longest(self) -> int | None:
        """Frames of the longest clip that it hears to its end; None: any."""
        return self.config.takes.longest

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """x : Tensor[B, 1, F, T]; lengths : Tensor[B] or None (all T). As of ``adapter.Adapted``: what is shorter than
        the network takes, or than the batch, begins again at its end."""
        takes, clips, frames = self.config.takes, len(x), x.shape[-1]
        taken = frames
        if takes.shortest > 1 or takes.longest is not None:
            taken = min(max(frames, takes.shortest), takes.longest or max(frames, takes.shortest))
        if lengths is not None or taken != frames:
            own = torch.full((clips,), frames, device=x.device) if lengths is None else lengths
            x = repeated(x, own, taken)
            if takes.fill is not None:
                x = torch.where(length_mask(own, taken).bool(), x, takes.fill)
        found = self._answered(takes.given(x))
        outputs = _arranged(found["frames"], self.config.places.axes)
        whole = outputs.shape[-1]
        if taken > frames:
            outputs = outputs[..., : -(-whole * frames // taken)]
        if lengths is None:
            lengths = torch.full((clips,), frames, device=x.device)
        lengths = (lengths.clamp(max=taken) * whole + taken - 1) // taken
        logits = from_answer(found["logits"], self.config.places.output)
        return Features(outputs, found["pooled"].flatten(1), logits, lengths.clamp(max=outputs.shape[-1]))

    def chosen(self, classes: Sequence[int]) -> "ProgramNetwork":
        """The same network with answers for these of its classes alone, in their order."""
        return ProgramNetwork(*self._chosen(classes)).eval().requires_grad_(False)

    def _chosen(self, classes: Sequence[int]) -> tuple[Program, Config]:
        places = self.config.places
        program, logits = self.program.chosen(places.logits, classes)
        return program, replace(self.config, classes=len(classes), places=replace(places, logits=logits))

    def _answered(self, x: Tensor) -> dict[str, Tensor]:
        """What the graph gives; of a batch of fixed size, piece by piece."""
        size, clips = self.config.takes.clips, len(x)
        if size == 1:
            return self.graph(x)
        given = x.repeat(-(-size // clips), *[1] * (x.dim() - 1))[:size] if clips < size else x
        if -len(given) % size:
            given = torch.cat([given, given[: -len(given) % size]])
        found = [self.graph(piece) for piece in given.split(size)]
        return {key: torch.cat([one[key] for one in found])[:clips] for key in found[0]}


class ReusableNetwork(ProgramNetwork):
    """One whose ``parts``, the programs from its frames to its embedding and from there to its answer, share its
    weights: see ``models.Teacher``."""

    def __init__(self, program: Program, config: Config, parts: Sequence[Program]):
        super().__init__(program, config)
        pooling, classifier = self.parts = tuple(parts)
        self.pooling = ProgramPooling(Graph(pooling, self.graph), config.places.axes, config.free, config.shape)
        self.classifier = ProgramClassifier(Graph(classifier, self.graph), config.places.output)

    def head(self, frames: Tensor, lengths: Tensor) -> Features:
        """See ``models.Teacher``."""
        pooled = self.pooling(frames, lengths)
        return Features(frames, pooled, self.classifier(pooled), lengths)

    def chosen(self, classes: Sequence[int]) -> "ReusableNetwork":
        """As of ``ProgramNetwork``."""
        pooling, classifier = self.parts
        classifier, _ = classifier.chosen(classifier.outputs[""], classes)
        made = ReusableNetwork(*self._chosen(classes), (pooling, classifier))
        return made.eval().requires_grad_(False)


class ProgramPooling(nn.Module):
    """Frame-level features to embedding: Tensor[B, C, F', T'], Tensor[B] → Tensor[B, D].

    A program knows no lengths: behind a clip's end its frames begin again. ``shape`` : bands and frames of what it was
    made for, which others are averaged to where it is not ``free``.
    """

    def __init__(self, graph: Graph, axes: Sequence[int], free: Sequence[bool], shape: Sequence[int]):
        super().__init__()
        self.graph, self.axes, self.free, self.shape = graph, axes, free, shape

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        if self.axes[2] < 0:  # a network whose state is one for the whole clip
            mask = length_mask(lengths, frames.shape[-1])
            return self.graph((frames.float() * mask).sum((2, 3)) / (lengths[:, None] * frames.shape[2])).flatten(1)
        x = repeated(frames.float(), lengths, frames.shape[-1])
        if self.axes[1] < 0 and x.shape[2] > 1:  # a network whose frames have no bands
            x = x.mean(2, keepdim=True)
        size = tuple(x.shape[k + 2] if free else self.shape[k] for k, free in enumerate(self.free))
        x = x if tuple(x.shape[2:]) == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
        return self.graph(_back(x, self.axes)).flatten(1)


class ProgramClassifier(nn.Module):
    """Embedding to logits: Tensor[B, D] → Tensor[B, K]."""

    def __init__(self, graph: Graph, output: Output):
        super().__init__()
        self.graph, self.output = graph, output

    def forward(self, pooled: Tensor) -> Tensor:
        return from_answer(self.graph(pooled), self.output)


def from_answer(answer: Tensor, output: Output) -> Tensor:
    """Logits, Tensor[B, K], of what the program answers."""
    return answer if output.linear else replace(output, name="").logits(answer, answer)


def repeated(x: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """x, Tensor[B, C, F, T], with so many frames: each clip begins again at its end. lengths : Tensor[B]."""
    at = torch.arange(frames, device=x.device) % lengths.clamp(min=1)[:, None]
    return x.gather(3, at[:, None, None].expand(-1, *x.shape[1:3], -1))


def _arranged(x: Tensor, axes: tuple[int, int, int]) -> Tensor:
    """A value as Tensor[B, C, F', T']."""
    channels, bands, time = axes
    if time < 0:
        return x.flatten(1)[:, :, None, None]
    return x.permute(0, channels, time).unsqueeze(2) if bands < 0 else x.permute(0, channels, bands, time)


def _back(x: Tensor, axes: tuple[int, int, int]) -> Tensor:
    """Inverse of ``_arranged``."""
    channels, bands, time = axes
    if time < 0:
        return x.flatten(1)
    if bands < 0:
        return x.squeeze(2) if channels < time else x.squeeze(2).transpose(1, 2)
    order = [0, 0, 0, 0]
    for place, axis in enumerate(axes):
        order[axis] = place + 1
    return x.permute(order)
