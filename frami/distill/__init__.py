"""Distillation without data: a student that learns from made clips, the teacher's hidden states reused."""

from frami.distill.loop import Settings, State, distill
from frami.distill.objectives import OBJECTIVES, Objective
from frami.distill.student import STUDENTS, new_student

__all__ = ["OBJECTIVES", "STUDENTS", "Objective", "Settings", "State", "distill", "new_student"]
