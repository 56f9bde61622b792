"""Distillation without data: a student that learns from made clips, the teacher's hidden states reused."""

from frami.distill.loop import Settings, State, distill
from frami.distill.objectives import OBJECTIVES, Objective, objective
from frami.distill.student import STUDENTS, new_student
from frami.models import ARCHITECTURES

__all__ = [
    "ARCHITECTURES",
    "OBJECTIVES",
    "STUDENTS",
    "Objective",
    "Settings",
    "State",
    "distill",
    "new_student",
    "objective",
]
