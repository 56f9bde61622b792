"""A teacher from a program or a module: tried on noise, cut where a student can reuse it, checked, with a card."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from frami import answers, checkpoints
from frami.adapter import published, trial
from frami.adapter.adapted import Adapted
from frami.audio import MelSpec
from frami.checkpoints import Card, Checkpoint
from frami.cost import parameters
from frami.errors import FramiError
from frami.models import Classifier
from frami.program import archive, cutting
from frami.program.inputs import Input
from frami.program.network import Config, ProgramNetwork, ReusableNetwork
from frami.program.norms import restore
from frami.program.program import Graph, Program, ProgramError

#: Seconds of a made clip at least.
SHORTEST = 0.1
#: Largest difference of logits that is taken as rounding.
TOLERANCE = 1e-3
#: Clips that a module is exported with: the size of all batches where its operations fix it.
_CLIPS = 16
#: Share of a clip's frames up to which a network that reads no more is one that cuts its input.
_HEARD = 0.75


@dataclass(frozen=True)
class Found:
    """What an import says of a network. ``norms`` : batch norms that store statistics; ``shortest``, ``longest`` :
    frames that it takes (None: any); ``behind`` : share of its weights behind the frame-level features; ``reusable`` :
    whether students can reuse its pooling and classifier, ``why`` not; ``centres`` : whether it removes the mean of
    each band itself, as its front-end does from now on; ``multilabel`` : as of ``Card``."""

    operations: int
    norms: int
    shortest: int
    longest: int | None
    frames: str
    pooled: str
    behind: float
    reusable: bool
    why: str = ""
    centres: bool = False
    multilabel: bool = False


def teacher(
    program: Program,
    spec: MelSpec,
    classes: Sequence[str],
    *,
    name: str = "imported",
    seconds: float = 1.0,
    frames: str | None = None,
    output: str | None = None,
    scale: str | None = None,
    takes: Input | None = None,
    multilabel: bool | None = None,
    least: float | None = None,
    silent: bool | None = None,
    licence: str = "unknown",
    data_licence: str = "unknown",
) -> tuple[Checkpoint, Found]:
    """A teacher from a program that takes the log-Mels of ``spec``, Tensor[B, 1, F, T] or Tensor[B, F, T] or with the
    last two axes the other way round, and answers for each of the ``classes``.

    frames, output, scale, multilabel : as of ``adapt``, ``frames`` as a name of the program's values; takes : the form
    of its input, by default what the shape says that it was exported for; least : seconds up to which a clip begins
    again at its end, of a network that learnt from pieces of one length; silent : silence follows there instead. Raises
    FramiError where something does not fit.
    """
    graph = Graph(program).eval().requires_grad_(False)
    trial.check_numbers(graph)
    takes = takes or _form(program, spec)
    noise = _noise(program, graph, spec, seconds, takes)
    _answers(program, graph, takes.given(noise))
    runs = cutting.run(graph, [takes.given(noise)])
    _, found = cutting.answer(program, runs, len(classes), output, scale)
    takes = trial.limits(graph, noise, takes, found.answer, len(classes))
    takes = _heard(graph, noise, takes, found.answer)
    takes = _repeating(takes, spec, least, bool(silent))
    noise = torch.cat([noise] * -(-takes.shortest // noise.shape[3]), 3)[..., : max(noise.shape[3], takes.shortest)]
    centres = not spec.remove_mean and _centres(graph, noise, takes, found.answer)
    if centres:  # so that clips are made, and students hear, without what the network never hears
        spec = replace(spec, remove_mean=True)
    runs = cutting.run(graph, [takes.given(clip) for clip in _others(noise, takes)])
    places = cutting.places(program, runs, len(classes), frames, output, scale, takes.time_first)
    middle, high = ((spec.floor + share * (spec.ceiling - spec.floor)) for share in (0.5, 0.9))
    levels = [noise - noise.mean() + level for level in (spec.floor, middle, high)]
    places = cutting.exact(program, graph, places, [takes.given(clip) for clip in (noise, *levels)])
    config = Config(len(classes), spec.n_mels, places, takes)
    network = ProgramNetwork(program, config).eval().requires_grad_(False)
    why = ""
    try:
        network = _reusable(program, runs, network, noise)
    except FramiError as error:
        why = str(error)
    trial.check_gradient(network, noise, lambda model, x: model(x).logits)
    if multilabel is None:
        multilabel = answers.several(places.output.scale, len(classes))
    if takes.longest is not None and spec.seconds(takes.longest) < SHORTEST:
        raise FramiError(
            f"this network takes {takes.longest} frames at most, {spec.seconds(takes.longest):.2f} seconds; clips last "
            f"{SHORTEST:g} at least. Was it exported with a free time axis?"
        )
    card = _card(
        network.config.to_dict(), spec, classes, _parameters(program), name, seconds, licence=licence,
        data_licence=data_licence, multilabel=multilabel,
    )  # fmt: skip
    about = Found(
        len(program.nodes),
        len(norms(network)),
        takes.shortest,
        takes.longest,
        places.frames,
        places.pooled,
        behind(program, places),
        not why,
        why,
        centres,
        multilabel,
    )
    return Checkpoint(network, card, spec), about


def _card(
    model: dict, spec: MelSpec, classes: Sequence[str], count: int, name: str = "imported", seconds: float = 1.0,
    licence: str = "unknown", data_licence: str = "unknown", multilabel: bool | None = None, **_,
) -> Card:  # fmt: skip
    return Card(
        name=name, kind="teacher", dataset="", title=name, classes=tuple(classes), mel_spec=spec.to_dict(), model=model,
        parameters=count, split={}, accuracy=None, clips=0, licence=licence, data_licence=data_licence, seconds=seconds,
        multilabel=bool(multilabel),
    )  # fmt: skip


def from_module(
    module: nn.Module, spec: MelSpec, classes: Sequence[str], *, seconds: float = 1.0, channel: bool = True,
    time_first: bool = False, clips: int = _CLIPS, **settings,
) -> tuple[Checkpoint, Found]:  # fmt: skip
    """``teacher`` of a module, by way of ``torch.export``; channel, time_first : as of ``adapt``; clips : that it is
    exported with. ProgramError where torch cannot export it."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    noise = trial.noise(module, clips, spec, seconds)
    takes = Input(channel, time_first)
    program = archive.exported(module, takes.given(noise), -2 if time_first else -1)
    return teacher(program, spec, classes, seconds=seconds, takes=takes, **settings)


def from_published(
    architecture: str, weights: str | Path, spec: MelSpec, classes: Sequence[str], **settings
) -> tuple[Checkpoint, Found, list[str]]:
    """``teacher`` of a named architecture (``published.load``) and a file of weights; also the names in the file that
    were not used."""
    loaded = published.load(architecture, weights, len(classes), spec.n_mels)
    network = loaded.network
    if not isinstance(network, Classifier):
        return *from_module(network, spec, classes, time_first=loaded.row.time_first, **settings), loaded.unused
    if settings.get("least") or settings.get("silent"):
        raise FramiError("--least is for networks of other make: ours hear a clip of any length to its end")
    trial.check_numbers(network.requires_grad_(False))
    card = _card(network.config.to_dict(), spec, classes, parameters(network), **settings)
    return Checkpoint(network, card, spec), of_classifier(network, card.multilabel), loaded.unused


def of_classifier(network: Classifier, multilabel: bool = False) -> Found:
    """What an import says of a network of our own architectures."""
    count = sum(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in network.modules())
    return Found(0, count, 1, None, "backbone", "pooling", 0.0, True, multilabel=multilabel)


def as_program(teacher_: Checkpoint) -> Checkpoint:
    """An adapted teacher as one that is a program, which can be saved, and whose pooling and classifier students can
    reuse. FramiError where torch cannot export it."""
    model = teacher_.model
    if not isinstance(model, Adapted):
        return teacher_
    card, takes, output = teacher_.card, model.takes, model.output
    made, _ = from_module(
        _bare(model.module), teacher_.spec, card.classes, seconds=card.seconds, channel=takes.channel,
        time_first=takes.time_first, output=output.name or None, scale=output.scale, name=card.name,
        licence=card.licence, data_licence=card.data_licence, multilabel=card.multilabel,
    )  # fmt: skip
    card = replace(made.card, title=card.title, mel_spec=card.mel_spec)
    return Checkpoint(made.model, card, teacher_.spec)


def save(teacher_: Checkpoint, path: str | Path) -> Path:
    """Write an adapted teacher, as a program, with its card; ``checkpoints.load`` and every command read it. Returns
    the path of its weights. FramiError where torch cannot export it."""
    made = as_program(teacher_)
    return checkpoints.save(path, made.model, replace(made.card, name=Path(path).stem))


def _bare(module: nn.Module) -> nn.Module:
    """A copy without hooks, its batch norms as torch has them."""
    module = copy.deepcopy(module)
    restore(module)
    for part in module.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    return module


def norms(network: ProgramNetwork) -> list:
    """Batch norms of a network's own graph that store statistics."""
    return [m for m in network.graph.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]


def _form(program: Program, spec: MelSpec) -> Input:
    """How the program takes log-Mels, from the shape that it was exported with."""
    shape, bands = program.shape, spec.n_mels
    meant = f"log-Mels Tensor[B, 1, {bands}, T] or Tensor[B, {bands}, T], or with time before the bands"
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[1] not in (1, None)):
        sizes = ", ".join("free" if size is None else str(size) for size in shape)
        sound = "; one that takes sound is exported from behind its front-end" if len(shape) <= 2 else ""
        raise FramiError(f"this program takes Tensor[{sizes}], not {meant}{sound}")
    if bands not in shape[-2:] and None not in shape[-2:]:
        raise FramiError(
            f"this program takes {shape[-2]} x {shape[-1]} numbers a clip, the front-end has {bands} bands; state its "
            f"own front-end, whose number of bands is one of them"
        )
    return Input(channel=len(shape) == 4, time_first=shape[-2] != bands and (shape[-1] == bands or shape[-2] is None))


def _noise(program: Program, graph: Graph, spec: MelSpec, seconds: float, takes: Input) -> Tensor:
    """Noise like log-Mels, Tensor[B, 1, F, T], of a size that the program takes."""
    clips = program.shape[0] or 2
    time = program.shape[-2] if takes.time_first else program.shape[-1]
    noise = trial.noise(graph, clips, spec, seconds)
    if time is not None and not _takes(graph, takes.given(noise)):
        noise = trial.noise(graph, clips, spec, spec.seconds(time))[..., :time]
        noise = torch.cat([noise] * -(-time // noise.shape[-1]), 3)[..., :time]
    return noise


@torch.no_grad()
def _takes(graph: Graph, x: Tensor) -> bool:
    try:
        graph(x)
    except Exception:  # of any kind: what it computes is a stranger's
        return False
    return True


@torch.no_grad()
def _answers(program: Program, graph: Graph, x: Tensor) -> None:
    try:
        graph(x)
    except Exception as error:  # of any kind: what it computes is a stranger's
        why = " ".join(str(error).split())[:300]
        sizes = " x ".join("any" if size is None else str(size) for size in program.shape)
        raise FramiError(
            f"this program does not take log-Mels Tensor{list(x.shape)} ({why}); it was exported for {sizes}: state "
            "its own front-end, and the usual length of its clips"
        ) from error


def _heard(graph: Graph, noise: Tensor, takes: Input, answer) -> Input:
    """With the longest clip that is heard to its end, where a network reads the beginning of longer ones only."""
    if takes.longest is not None:
        return takes
    times = 4 if _takes(graph, takes.given(torch.cat([noise] * 4, 3))) else 2
    x = torch.cat([noise] * times, 3).requires_grad_()
    try:
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(answer(graph(takes.given(x))).square().sum(), x)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise FramiError(f"no gradient flows through this program ({why}): it cannot be inverted") from error
    if not slope.isfinite().all():
        raise FramiError("the gradient through this network is NaN or infinite at noise: it cannot be inverted")
    read = int((slope.abs().amax((0, 1, 2)) > 0).nonzero().max()) + 1 if slope.any() else x.shape[3]
    return replace(takes, longest=read) if read <= _HEARD * x.shape[3] else takes


@torch.no_grad()
def _centres(graph: Graph, noise: Tensor, takes: Input, answer) -> bool:
    """Whether a network removes the mean of each band over the clip itself."""
    shift = torch.randn(1, 1, noise.shape[2], 1, generator=torch.Generator().manual_seed(2)).to(noise) * noise.std()
    plain, moved, softer = (answer(graph(takes.given(x))) for x in (noise, noise + shift, noise / 2))
    usual = (softer - plain).abs().max()  # of a network that hardly answers to anything, next to nothing
    return bool(usual > 0 and (moved - plain).abs().max() <= TOLERANCE * usual)


def _repeating(takes: Input, spec: MelSpec, least: float | None, silent: bool) -> Input:
    """With clips repeated, or ``silent`` behind their end, up to so many seconds. FramiError where it is not said how
    many."""
    if silent and not least:
        raise FramiError("--silence needs --least: how long a clip is with it")
    frames = spec.frames(least) if least else 0
    frames = min(frames, takes.longest or frames)  # what it does not hear need not be there
    return replace(takes, shortest=max(takes.shortest, frames), fill=spec.floor if silent else None)


def _others(noise: Tensor, takes: Input) -> list[Tensor]:
    """Noise of several numbers of clips and frames, as far as the program takes them."""
    frames = noise.shape[-1]
    longer = takes.longest or 2 * frames
    other = longer if longer > frames else takes.shortest
    more = torch.cat([noise, noise], 3)[..., :other]
    return [noise, torch.cat([more, more[:1]]) if takes.clips == 1 else more]


def _reusable(program: Program, runs: cutting.Runs, network: ProgramNetwork, noise: Tensor) -> ReusableNetwork:
    """The network with its pooling and classifier. FramiError where these cannot be cut off."""
    config, places = network.config, network.config.places
    pooling = cutting.tail(program, runs, places.frames, places.pooled)
    classifier = cutting.tail(program, runs, places.pooled, places.logits)
    with torch.no_grad():
        own = network(noise)
    shape = tuple(own.frames.shape[2:])
    made = ReusableNetwork(program, replace(config, shape=shape), (pooling, classifier)).eval().requires_grad_(False)
    free = tuple(_pools(made, own.frames, axis) for axis in (2, 3))
    if free != (True, True):
        made = ReusableNetwork(program, replace(made.config, free=free), made.parts).eval().requires_grad_(False)
    with torch.no_grad():
        found = made.head(own.frames, own.lengths)
    wrong = float((found.logits - own.logits).abs().max())
    if not wrong <= TOLERANCE * max(1.0, float(own.logits.abs().max())):
        raise ProgramError(f"what lies behind '{places.frames}' gives other logits (by {wrong:.1e}) than the whole")
    return made


@torch.no_grad()
def _pools(network: ReusableNetwork, frames: Tensor, axis: int) -> bool:
    """Whether the pooling takes one more band (axis 2) or frame (axis 3) than it was made for."""
    more = torch.cat([frames, frames.narrow(axis, 0, 1)], axis)
    lengths = torch.full((len(frames),), more.shape[3])
    try:
        return network.pooling(more, lengths).shape == network.pooling(frames, lengths.clamp(max=frames.shape[3])).shape
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False


def behind(program: Program, places: cutting.Places) -> float:
    """Share of the weights that lie behind the frame-level features."""
    part = program.part(places.frames, places.logits)
    return round(_parameters(part) / max(1, _parameters(program)), 3)


def _parameters(program: Program) -> int:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(t.numel() for own, t in program.tensors.items() if own.rpartition(".")[2] not in statistics)
