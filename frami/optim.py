"""Adam with rates and moments that a recorded step can hold, and that a file can."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


def adam(groups: list[dict], device: torch.device, kind: type[Optimizer] = torch.optim.Adam, **choices) -> Optimizer:
    """An Adam for groups of ``params`` and ``lr``; on CUDA its rates are tensors, which a recorded step reads anew.

    Each group keeps its first rate as ``base``, for ``set_rate``.
    """
    cuda = device.type == "cuda"
    groups = [g | {"base": g["lr"], "lr": torch.tensor(g["lr"], device=device) if cuda else g["lr"]} for g in groups]
    return kind(groups, **({"fused": device.type != "mps", "capturable": cuda} | choices))


def set_rate(optimiser: Optimizer, factor: float) -> None:
    """Learning rates as shares of those that the optimiser began with."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group["base"] * factor)
        else:
            group["lr"] = group["base"] * factor


def forget(optimiser: Optimizer, parameters: Iterable[Tensor]) -> None:
    """Set the moments of these parameters back to the start, in place."""
    for parameter in parameters:
        for value in optimiser.state.get(parameter, {}).values():
            value.zero_()


def moments(optimiser: Optimizer, parameters: Iterable[Tensor] | None = None) -> list[dict[str, Tensor]]:
    """What an Adam remembers of each parameter (default: all of them, in order): copies on the CPU; empty before its
    first step."""
    chosen = _all(optimiser) if parameters is None else parameters
    return [{name: value.detach().cpu().clone() for name, value in optimiser.state.get(p, {}).items()} for p in chosen]


def restore(
    optimiser: Optimizer, states: list[dict] | dict[int, dict], parameters: Iterable[Tensor] | None = None
) -> None:
    """Inverse of ``moments``; a dict holds the states by number of the parameter, as torch's own ``state_dict`` does.

    ValueError where there are more or fewer parameters.
    """
    chosen = list(_all(optimiser) if parameters is None else parameters)
    if isinstance(states, dict):
        states = [states.get(i, {}) for i in range(len(chosen))]
    for parameter, state in zip(chosen, states, strict=True):
        if state:
            copied = {name: value.to(parameter.device, copy=True) for name, value in state.items()}
            optimiser.state[parameter] = copied | {"step": copied["step"].float()}


def _all(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
