"""Distillation without data: a student that learns from made clips, the teacher's features reused."""

from frami.distill.loop import State, distill
from frami.distill.objectives import OBJECTIVES, Objective, objective
from frami.distill.settings import RunSettings, Settings
from frami.distill.student import STUDENTS, new_student
from frami.models import ARCHITECTURES

__all__ = [
    "ARCHITECTURES", "OBJECTIVES", "STUDENTS", "Objective", "RunSettings", "Settings", "State", "distill",
    "new_student", "objective",
]  # fmt: skip
