"""Students: members of an architecture, with the teacher's pooling and classifier where an objective reuses them."""

from contextlib import nullcontext, suppress

import torch

from frami import models
from frami.adapter import as_program
from frami.checkpoints import Checkpoint
from frami.device import seeded
from frami.distill.objectives import OBJECTIVES, Objective, objective
from frami.distill.settings import Settings
from frami.errors import FramiError
from frami.models import Classifier, Projector, Teacher
from frami.program.program import ProgramError

#: Sizes of the default architecture that are offered as students, the smallest first.
STUDENTS = models.ARCHITECTURES[models.DEFAULT].students


def both(teacher: Checkpoint, settings: Settings) -> tuple[Checkpoint, Classifier, models.Kept | None]:
    """The teacher as its student needs it; the student, new; and what it has of its teacher, where its layers are to be
    fitted to that (``fitting.fit``)."""
    kind = objective(settings.objective)
    if kind.reuse and not isinstance(teacher.model, Teacher):
        with suppress(ProgramError):  # then the student says what this teacher does not offer
            teacher = as_program(teacher)
    student = new_student(teacher, settings.student, kind, settings.seed, settings.architecture, "new")
    kept = take_weights(student, teacher, settings.start)
    return teacher, student, None if settings.start == "sliced" else kept


def take_weights(student: Classifier, teacher: Checkpoint, start: str) -> models.Kept | None:
    """Give a student the weights of its teacher that fit into it, as ``start`` says; returns what it then has, None for
    a new one. FramiError with ``teacher`` where they do not fit."""
    if start == "new":
        return None
    with nullcontext() if start == "teacher" else suppress(FramiError):
        return models.slice_weights(student, teacher.model)
    return None


def new_student(
    teacher: Checkpoint,
    size: str,
    objective: Objective,
    seed: int = 0,
    architecture: str = models.DEFAULT,
    start: str = "fitting",
) -> Classifier:
    """A student of this size for this teacher, on its device; the same seed gives the same weights.

    Where the objective reuses the teacher's pooling and classifier, they are copied into the student, which runs alone,
    and stay as they are. ``start`` : as of ``Settings``. FramiError for an unknown size, a teacher without such parts,
    or with ``teacher`` one whose weights do not fit.
    """
    fields = {}
    if objective.reuse:
        if not isinstance(teacher.model, Teacher):
            others = ", ".join(name for name, row in OBJECTIVES.items() if not row.reuse)
            raise FramiError(
                f"objective '{objective.name}' reuses the teacher's own pooling and classifier, which this teacher "
                f"does not offer; choose one of: {others}"
            )
        channels = frame_channels(teacher)
        fields = {"projected": channels, "bottleneck": channels // 2 if objective.bottleneck else 0}
        fields |= {"head": teacher.model}
    with seeded(seed):
        student = models.build(size, len(teacher.classes), teacher.spec.n_mels, architecture, **fields)
    student = student.to(teacher.device)
    take_weights(student, teacher, start)
    return student


def new_hint(teacher: Checkpoint, student: Classifier, seed: int = 0) -> Projector:
    """The layer that takes a student's frames to the teacher's width while it learns (FitNets)."""
    with seeded(seed):
        return Projector(student.backbone.channels, frame_channels(teacher)).to(teacher.device)


@torch.no_grad()
def frame_channels(teacher: Checkpoint) -> int:
    """Channels of the teacher's frame-level features."""
    silence = torch.full((1, 1, teacher.spec.n_mels, teacher.spec.frames(teacher.seconds)), teacher.spec.floor)
    return teacher.model(silence.to(teacher.device)).frames.shape[1]
