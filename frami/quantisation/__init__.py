"""Smaller numbers in exported networks: weights in half precision, or all of a network in eight bits.

The ranges of an eight-bit network's values are measured on clips (calibration). Clips that were made from the teacher
serve as well as recordings, so no step from a teacher to an eight-bit file needs data.
"""

from frami.quantisation.calibration import CLIPS, KINDS, Calibration, Material, gather
from frami.quantisation.exporting import PRECISIONS, PrecisionError, export
from frami.quantisation.lowering import METHODS

__all__ = ["CLIPS", "KINDS", "METHODS", "PRECISIONS", "Calibration", "Material", "PrecisionError", "export", "gather"]
