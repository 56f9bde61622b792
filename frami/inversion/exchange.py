"""New clips out of two: a generator that exchanges channels between clips (SpaceshipNet, Yu et al., CVPR 2023)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: Convolutions of a generator in front of which channels may be exchanged: the first ones.
LAYERS = 3


@dataclass(frozen=True)
class Plan:
    """Which clips become new ones. ``chosen`` : bool Tensor[B]; ``partners`` : Tensor[B], another clip for each (the
    clip itself where it is alone); ``layer`` : below ``LAYERS``; ``rng`` : draws the channels."""

    chosen: Tensor
    partners: Tensor
    layer: int
    rng: torch.Generator


def draw_plan(clips: int, share: float, rng: torch.Generator, device: torch.device | str = "cpu") -> Plan:
    """A random plan for this share of the clips."""
    order = torch.randperm(clips, generator=rng)
    partners = torch.empty_like(order)
    partners[order] = order.roll(1)
    chosen = torch.zeros(clips, dtype=torch.bool)
    chosen[torch.randperm(clips, generator=rng)[: round(share * clips)]] = clips > 1
    return Plan(chosen.to(device), partners.to(device), int(torch.randint(LAYERS, (), generator=rng)), rng)


def likelier(logits: Tensor, labels: Tensor, plan: Plan) -> Tensor:
    """Target classes, Tensor[B], after the exchange: of its own and its partner's class a chosen clip has the one whose
    logit, Tensor[B, K], is larger."""
    others = labels[plan.partners]
    own, other = (logits.gather(1, classes[:, None])[:, 0] for classes in (labels, others))
    return torch.where(plan.chosen & (other > own), others, labels)


@contextmanager
def exchanging(generator: nn.Module, plan: Plan) -> Iterator[None]:
    """Within the context the generator gives the chosen clips half of their channels, at random, from their partners,
    in front of the convolution that the plan names."""

    def exchanged(conv: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x,) = inputs
        ranks = torch.rand(x.shape[:2], generator=plan.rng).argsort(1).argsort(1).to(x.device)
        foreign = (ranks < x.shape[1] // 2) & plan.chosen[:, None]
        return (torch.where(foreign[:, :, None, None], x[plan.partners], x),)

    convs = [module for module in generator.modules() if isinstance(module, nn.Conv2d)]
    handle = convs[plan.layer].register_forward_pre_hook(exchanged)
    try:
        yield
    finally:
        handle.remove()
