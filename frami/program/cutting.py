"""Where a program can be cut in two: values through which everything goes on its way from the input to the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from frami.errors import FramiError
from frami.program import outputs
from frami.program.operations import base
from frami.program.outputs import Output
from frami.program.program import Graph, Node, Program, ProgramError

#: Operations with weights that read the last axis, so that channels are there.
_LAST = ("linear", "layer_norm", "native_layer_norm", "gru", "lstm", "matmul", "rms_norm", "embedding", "addmm")
#: Those that read the second axis.
_SECOND = ("conv1d", "conv2d", "convolution", "batch_norm", "group_norm", "instance_norm", "avg_pool1d", "max_pool1d",
           "adaptive_avg_pool1d", "_native_batch_norm_legit_no_training")  # fmt: skip
#: Those whose rows are logits for certain.
_LINEAR = ("linear", "addmm", "matmul", "mm")
#: Those from a row of logits to probabilities.
_SCALES = ("sigmoid", "softmax", "_softmax", "log_softmax", "_log_softmax")


@dataclass
class Runs:
    """Shapes, and numbers, of all values of a program in several passes; ``first`` : values of the first of them."""

    shapes: list[dict[str, tuple[int, ...]]]
    numbers: list[dict[str, int]]
    first: dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Names of the values that a network is known by.

    ``frames`` : frame-level features, whose ``axes`` are those of channels, bands and time (-1: none); ``pooled`` : the
    embedding; ``logits`` : the answer, ``output`` says on which scale.
    """

    frames: str
    axes: tuple[int, int, int]
    pooled: str
    logits: str
    output: Output


@torch.no_grad()
def run(graph: Graph, clips: list[Tensor]) -> Runs:
    """Pass each of the clips through a program."""
    shapes, numbers, first = [], [], {}
    for k, clip in enumerate(clips):
        shapes.append({})
        numbers.append({})
        for name, value in graph.values(clip, all=True):
            if isinstance(value, Tensor):
                shapes[-1][name] = tuple(value.shape)
            elif isinstance(value, int) and not isinstance(value, bool):
                numbers[-1][name] = value
            if not k:
                first[name] = value
    return Runs(shapes, numbers, first)


def answer(program: Program, runs: Runs, classes: int, output: str | None, scale: str | None) -> tuple[str, Output]:
    """Name of the value that holds the logits, or the answer that they are computed back from, and its scale."""
    found = runs.first
    returned = {key: found[name] for key, name in program.outputs.items()}
    given = returned[""] if list(returned) == [""] else returned
    clips = runs.shapes[0][program.input][0]
    rows = [name for node in program.nodes for name in node.gives if runs.shapes[0].get(name) == (clips, classes)]
    linear = next((n for n in reversed(rows) if base(_maker(program, n).operation) in _LINEAR), None)
    what = found[linear] if linear else torch.full((clips, classes), float("nan"))
    chosen = outputs.find(given, what, output, scale)
    if not chosen.answer(given).isfinite().all():
        raise FramiError("this network answers noise with NaN or infinite numbers; export it anew")
    name = program.outputs[chosen.name if chosen.name in program.outputs else ""]
    maker = _maker(program, name)
    if not chosen.linear and maker is not None and base(maker.operation) in _SCALES:
        # Not the last row of numbers, but what the softmax or sigmoid was given.
        before = next(iter(maker.reads), None)
        if before in runs.shapes[0] and runs.shapes[0][before] == (clips, classes):
            return before, Output(chosen.name, chosen.scale, True)
    return (linear, Output(chosen.name, chosen.scale, True)) if chosen.linear else (name, chosen)


def _maker(program: Program, name: str) -> Node | None:
    return next((node for node in program.nodes if name in node.gives), None)


def cuts(program: Program, end: str, tensor: Callable[[str], bool]) -> list[str]:
    """Values that everything goes through on its way from the input to ``end``, in their order.

    ``tensor(name)`` : whether a value is a tensor (numbers carry sizes only).
    """
    wanted, needed = {end}, []
    for node in reversed(program.nodes):
        if wanted & set(node.gives):
            needed.append(node)
            wanted |= set(node.reads)
    needed.reverse()
    depends, last = {program.input}, {}
    for place, node in enumerate(needed):
        if depends & set(filter(tensor, node.reads)):
            depends |= set(filter(tensor, node.gives))
        for name in node.reads:
            last[name] = place
    last[end] = len(needed)
    found, live = [], {program.input}
    for place, node in enumerate(needed):
        live |= {name for name in node.gives if name in depends and last.get(name, -1) > place}
        live = {name for name in live if last[name] > place}
        if len(live) == 1 and live <= set(node.gives):
            found += live
    return found


def weighed(program: Program, start: str, end: str) -> bool:
    """Whether a layer with weights lies between two values."""
    return any(
        name in program.names and program.tensors[program.names[name]].dim() >= 2
        for node in program.part(start, end).nodes
        for name in node.reads
    )


def places(
    program: Program, runs: Runs, classes: int, frames: str | None, output: str | None, scale: str | None,
    time_first: bool = False,
) -> Places:  # fmt: skip
    """Find what a student needs. FramiError where there is no such value, with those that there are.

    frames : name of the frame-level features where the last ones are not meant.
    """
    logits, found = answer(program, runs, classes, output, scale)
    shapes = runs.shapes[0]
    whole = cuts(program, logits, lambda name: name in shapes or name in program.names)
    several = [name for name in whole if _several(shapes[name])]
    if frames is not None and frames not in several:
        raise FramiError(f"no frame-level features '{frames}' in this program; there are: {_listed(several, shapes)}")
    fitting = [name for name in several if weighed(program, name, logits)]
    if not fitting:
        raise FramiError(
            "this program has no frame-level features that all of it goes through, so no student can be taught by "
            f"them; values that everything goes through: {_listed(whole, shapes)}"
        )
    frames = frames or fitting[-1]
    behind = whole[whole.index(frames) + 1 :]
    one = next((name for name in behind if _row(shapes[name])), logits)
    if one != logits and _reads_few(program, runs, frames, one, _axes(program, runs, frames, time_first)):
        # A class token or two, or the last state: what the others hold need not be where the student has it.
        frames, behind = one, behind[behind.index(one) + 1 :]
    behind = ([frames] if _row(shapes[frames]) else []) + behind
    rows = [name for name in behind if _row(shapes[name]) and name != logits and weighed(program, name, logits)]
    axes = _axes(program, runs, frames, time_first)
    return Places(frames, axes, rows[-1] if rows else logits, logits, found)


@torch.no_grad()
def exact(program: Program, graph: Graph, places_: Places, clips: Sequence[Tensor]) -> Places:
    """The same places, the logits computed back from the answer itself where that is not what the last linear layer
    alone makes of each of these clips: a gate or a limit that one clip does not show. FramiError for answers that are
    no numbers. clips : as the program takes them."""
    found = places_.output
    if not found.linear:
        return places_
    key = found.name if found.name in program.outputs else ""
    whole = Graph(replace(program, outputs={"answer": program.outputs[key], "logits": places_.logits}), graph).eval()
    for x in clips:
        both = whole(x)
        if not both["answer"].isfinite().all():
            raise FramiError("this network answers some levels of noise with NaN or infinite numbers")
        expected = outputs.SCALES[found.scale](both["logits"].double())
        if not torch.allclose(expected, both["answer"].double(), rtol=1e-3, atol=1e-5):
            return replace(places_, logits=program.outputs[key], output=replace(found, linear=False))
    return places_


def _reads_few(program: Program, runs: Runs, frames: str, row: str, axes: tuple[int, int, int]) -> bool:
    """Whether what lies between two values reads a single one of the frames, or two of more than four."""
    x = runs.first[frames].detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(Graph(tail(program, runs, frames, row))(x).square().sum(), x)
    except (RuntimeError, ProgramError):
        return False
    others = [axis for axis in range(x.dim()) if axis != axes[2]]
    read, count = int((slope.abs().amax(others) > 0).sum()), x.shape[axes[2]]
    return (read == 1 < count) or (read == 2 and count > 4)


def _several(shape: tuple[int, ...]) -> bool:
    """Whether a value can be features of several frames."""
    return len(shape) in (3, 4) and prod(sorted(shape[1:])[:-1]) > 1


def _row(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2 and prod(shape[2:]) == 1


def _listed(names: list[str], shapes: dict) -> str:
    return ", ".join(f"{name} {list(shapes[name])}" for name in names[-8:]) or "none"


def _axes(program: Program, runs: Runs, name: str, time_first: bool) -> tuple[int, int, int]:
    """Axes of channels, bands and time of a value."""
    shape = runs.shapes[0][name]
    if _row(shape):
        return 1, -1, -1
    varying = [k for k in range(1, len(shape)) if len({shapes[name][k] for shapes in runs.shapes}) > 1]
    if len(shape) == 3:
        time = varying[0] if varying else 1 if _channels_last(program, name) else 2
        return 3 - time, -1, time
    time = varying[0] if varying else 2 if time_first else 3
    channels = 3 if time == 1 else 1
    return channels, 6 - time - channels, time


def _channels_last(program: Program, name: str) -> bool:
    """Whether what made a value puts channels on the last axis."""
    seen = set()
    while name is not None and name not in seen:
        seen.add(name)
        node = _maker(program, name)
        if node is None:
            return False
        kind = base(node.operation)
        if kind in _LAST or kind in _SECOND:
            return kind in _LAST
        name = next(iter(node.reads), None)
    return False


def tail(program: Program, runs: Runs, start: str, end: str) -> Program:
    """The part from a cut to a later one, whose sizes follow from what it is given. ProgramError where one does not."""
    given = {}
    for name, number in runs.numbers[0].items():
        there = [numbers[name] for numbers in runs.numbers]
        for axis in range(len(runs.shapes[0][start])):
            if there == [shapes[start][axis] for shapes in runs.shapes]:
                given[name] = {"size": axis}
                break
        else:
            if len(set(there)) == 1:
                given[name] = number
    part = program.part(start, end, given)
    foreign = [name for node in part.nodes for name in node.reads if name == program.input]
    if foreign:
        raise ProgramError(f"what lies between '{start}' and '{end}' reads the input as well")
    return part
