"""Any teacher: a plain classifier of Mel-spectrograms as a ``Checkpoint`` that can be inverted and distilled.

A module needs nothing but an answer for each class (logits, or what a softmax or sigmoid made of them) and a last
``nn.Linear``. With batch norm, made clips are also held to the statistics
of its training data; without, an inversion works with the terms that remain, and reports it. Students can reuse its
pooling and its last layer: cut out of its program (``as_program``), or as ``pooling`` says. ``save`` writes it for the
commands; ``chosen`` leaves some of its classes.

>>> from torch import nn
>>> from frami.adapter import adapt
>>> from frami.audio import MelSpec
>>> from frami.inversion import make_clips
>>> module = nn.Sequential(
...     nn.Conv2d(1, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
...     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
... )
>>> teacher = adapt(module, MelSpec(n_mels=64), ["rain", "wind"])
>>> teacher.card.model["frames"], teacher.card.model["classifier"]
('2', '5')
>>> clips = make_clips(teacher, samples=4, seconds=0.5, steps=2)
>>> clips.mels.shape
torch.Size([4, 1, 64, 43])
"""

from frami.adapter.adapted import Adapted, AdaptedParts
from frami.adapter.adapting import adapt
from frami.adapter.chosen import chosen
from frami.adapter.importing import as_program, save

__all__ = ["Adapted", "AdaptedParts", "adapt", "as_program", "chosen", "save"]
