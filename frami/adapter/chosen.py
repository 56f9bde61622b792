"""A teacher of some of its classes alone, so that a student need not learn the others."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from frami.adapter.importing import as_program
from frami.checkpoints import Checkpoint
from frami.cost import parameters
from frami.errors import FramiError
from frami.models import Classifier
from frami.program.network import ProgramNetwork


def chosen(teacher: Checkpoint, classes: Sequence[str]) -> Checkpoint:
    """The same teacher with answers for these of its classes alone, in the teacher's order.

    Of a teacher of one class a clip these share the whole probability; of a multi-label one each keeps its own. Raises
    FramiError for a class that it does not know, for fewer than two classes, and for a network that cannot be cut.
    """
    known = {name: number for number, name in enumerate(teacher.classes)}
    if unknown := [name for name in classes if name not in known]:
        raise FramiError(f"'{teacher.card.name}' knows no class '{unknown[0]}'; its classes: {', '.join(known)[:200]}")
    rows = sorted({known[name] for name in classes})
    if len(rows) < 2:
        raise FramiError("choose at least two classes: of one alone there is nothing to tell apart")
    if len(rows) == len(known):
        return teacher
    teacher = as_program(teacher)
    model = teacher.model
    if isinstance(model, ProgramNetwork):
        model = model.chosen(rows).to(teacher.device)
    elif isinstance(model, Classifier) and isinstance(model.classifier, nn.Linear):
        model = _linear(model, rows)
    else:
        raise FramiError(f"classes of '{teacher.card.name}' cannot be chosen: its last layer is not its own")
    names = tuple(teacher.classes[row] for row in rows)
    card = replace(teacher.card, classes=names, parameters=parameters(model), model=model.config.to_dict())
    return Checkpoint(model, card, teacher.spec)


@torch.no_grad()
def _linear(model: Classifier, rows: Sequence[int]) -> Classifier:
    """A copy whose last layer has these rows alone."""
    model = copy.deepcopy(model)
    whole = model.classifier
    part = nn.Linear(whole.in_features, len(rows)).to(whole.weight)
    part.weight.copy_(whole.weight[list(rows)])
    part.bias.copy_(whole.bias[list(rows)])
    model.classifier = part.eval().requires_grad_(False)
    model.config = replace(model.config, classes=len(rows))
    return model
