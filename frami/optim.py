"""Adam and Muon with rates and moments that a recorded step can hold, and that a file can."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

#: Of Muon (Nesterov).
MOMENTUM = 0.95


def adam(groups: list[dict], device: torch.device, kind: type[Optimizer] = torch.optim.Adam, **choices) -> Optimizer:
    """An Adam for groups of ``params`` and ``lr``; on CUDA its rates are tensors, which a recorded step reads anew.

    Each group keeps its first rate as ``base``, for ``set_rate``.
    """
    cuda = device.type == "cuda"
    groups = [g | {"base": g["lr"], "lr": torch.tensor(g["lr"], device=device) if cuda else g["lr"]} for g in groups]
    return kind(groups, **({"fused": device.type != "mps", "capturable": cuda} | choices))


class Muon(torch.optim.AdamW):
    """AdamW, but in groups with ``orthogonal`` momentum whose matrices are orthogonalised before each step, so that all
    directions are learnt equally fast (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon). A convolution is
    the matrix of its flattened kernels; torch's own Muon takes matrices only. Rates are those of a square matrix.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in (group for group in self.param_groups if group.get("orthogonal")):
            for parameter in (p for p in group["params"] if p.grad is not None):
                state, rate = self.state[parameter], group["lr"]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                velocity = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                ahead = parameter.grad.lerp(velocity, MOMENTUM).flatten(1)
                aspect = max(1.0, len(ahead) / ahead.shape[1]) ** 0.5
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.sub_(rate * aspect * orthogonalised(ahead).view_as(parameter))
                parameter.grad = None  # the step of AdamW leaves it alone
        super().step()


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the nearest matrix whose singular values are all alike (0.7 to 1.2), Tensor[M, N], by Newton-Schulz
    iterations with the coefficients that Jordan et al. publish."""
    x = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if len(matrix) > matrix.shape[1] else x


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
    chosen = learnt(optimiser) if parameters is None else parameters
    return [{name: value.detach().cpu().clone() for name, value in optimiser.state.get(p, {}).items()} for p in chosen]


def restore(
    optimiser: Optimizer, states: list[dict] | dict[int, dict], parameters: Iterable[Tensor] | None = None
) -> None:
    """Inverse of ``moments``; a dict holds the states by number of the parameter, as torch's own ``state_dict`` does.

    ValueError where there are more or fewer parameters.
    """
    chosen = list(learnt(optimiser) if parameters is None else parameters)
    if isinstance(states, dict):
        states = [states.get(i, {}) for i in range(len(chosen))]
    for parameter, state in zip(chosen, states, strict=True):
        if state:
            copied = {name: value.to(parameter.device, copy=True) for name, value in state.items()}
            step = {"step": copied["step"].float()} if "step" in copied else {}
            optimiser.state[parameter] = copied | step


def learnt(optimiser: Optimizer) -> list[Tensor]:
    """All parameters of an optimiser, in order."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
