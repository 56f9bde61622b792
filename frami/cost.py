"""What a network costs: parameters, arithmetic and latency."""

import copy
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.device import threads


@dataclass(frozen=True)
class Cost:
    """``macs`` : multiply-accumulates of a clip of ``frames`` frames; ``latency_ms`` : of that clip on one CPU
    thread."""

    parameters: int
    macs: int
    latency_ms: float
    frames: int


def measure(model: nn.Module, spec: MelSpec, seconds: float) -> Cost:
    """Cost of classifying a clip of this duration, of a copy on the CPU."""
    model = copy.deepcopy(model).cpu()
    frames = spec.frames(seconds)
    clip = torch.full((1, 1, spec.n_mels, frames), spec.floor)
    return Cost(parameters(model), macs(model, clip), latency(model, clip), frames)


def parameters(model: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulate operations of one forward pass (convolutions and matrix products)."""
    from torch.utils.flop_counter import FlopCounterMode

    model = copy.deepcopy(model).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() // 2


def latency(model: nn.Module, clip: Tensor, passes: int = 50, most: float = 3.0) -> float:
    """Median milliseconds of a forward pass on one CPU thread, after five to warm up.

    clip : Tensor[1, 1, F, T]. At least ten passes, then until ``passes`` or ``most`` seconds are reached.
    """
    model, clip, spent = copy.deepcopy(model).cpu().eval(), clip.cpu(), []
    begin = time.perf_counter()
    with threads(1), torch.inference_mode():
        for _ in range(5):
            model(clip)
        while len(spent) < 10 or (len(spent) < passes and time.perf_counter() - begin < most):
            start = time.perf_counter()
            model(clip)
            spent.append(time.perf_counter() - start)
    return 1e3 * sorted(spent)[len(spent) // 2]
