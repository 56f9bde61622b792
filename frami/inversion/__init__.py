"""Model inversion: spectrograms that a classifier recognises, made from its weights alone."""

from frami.inversion.clips import Clips, Progress, Trajectory
from frami.inversion.loop import arithmetic, check, invert, make_clips
from frami.inversion.recipes import RECIPES, TERMS, Recipe, Term, recipe
from frami.inversion.settings import InversionSettings, durations

__all__ = [
    "RECIPES",
    "TERMS",
    "Clips",
    "InversionSettings",
    "Progress",
    "Recipe",
    "Term",
    "Trajectory",
    "arithmetic",
    "check",
    "durations",
    "invert",
    "make_clips",
    "recipe",
]
