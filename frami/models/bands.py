"""Which Mel bands a network has heard something in."""

from torch import nn

from frami.mel import MelSpec

#: Natural logarithm above the floor that a band's mean and standard deviation reach where it is not empty.
_HEARD = 1.2


def heard_bands(model: nn.Module, spec: MelSpec) -> int:
    """How many Mel bands, from the lowest on, have sound in the data that a model was trained with; all of them where
    its first batch norm is not one of the bands."""
    norms = (part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))
    first = next(norms, None)
    if first is None or first.num_features != spec.n_mels or first.running_mean is None:
        return spec.n_mels
    above_floor = first.running_mean + first.running_var.clamp(min=0).sqrt() - spec.floor
    heard = (above_floor > _HEARD).nonzero()
    return int(heard.max()) + 1 if len(heard) else spec.n_mels
