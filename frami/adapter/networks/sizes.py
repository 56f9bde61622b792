"""Sizes of a network as its weights state them."""

from collections.abc import Mapping

from torch import Tensor

from frami.errors import FramiError


def shape(tensors: Mapping[str, Tensor], of: str, key: str, layout: str) -> tuple[int, ...]:
    """Shape of a weight of ``of``, whose axes the ``layout`` names, as in ``"outputs, inputs, size"``. FramiError where
    it is missing or has other axes."""
    found = tensors.get(key)
    if found is None:
        raise FramiError(f"these are no weights of {of}: they have no '{key}' (expected [{layout}])")
    if found.dim() != layout.count(",") + 1 or not found.numel():
        raise FramiError(f"these are no weights of {of}: '{key}' is {list(found.shape)} (expected [{layout}])")
    return tuple(found.shape)
