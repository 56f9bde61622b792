"""Sound classifiers: slots, and the architectures that fill them."""

from frami.models.architectures import ARCHITECTURES, DEFAULT, Config, ResidualConfig, build, from_dict
from frami.models.norms import MaskedBatchNorm2d, length_mask
from frami.models.slicing import Kept, slice_weights
from frami.models.slots import Classifier, Features, Projector, StatisticsPooling, Teacher

__all__ = [
    "ARCHITECTURES", "DEFAULT", "Classifier", "Config", "Features", "Kept", "MaskedBatchNorm2d", "Projector",
    "ResidualConfig", "StatisticsPooling", "Teacher", "build", "from_dict", "length_mask", "slice_weights",
]  # fmt: skip
