"""Model inversion: spectrograms that a classifier recognises, made from its weights alone."""

from frami.inversion.clips import Clips, Progress, Trajectory
from frami.inversion.recipes import RECIPES, Recipe, recipe
from frami.inversion.synthesize import arithmetic, invert, make_clips

__all__ = ["RECIPES", "Clips", "Progress", "Recipe", "Trajectory", "arithmetic", "invert", "make_clips", "recipe"]
