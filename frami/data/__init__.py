"""Data sets: what is known of them, real recordings as log-Mels, downloads."""

from frami.data.recordings import Clip, DataError, LogMels, find, folds_of, index, info, load, locate, pad, select

__all__ = ["Clip", "DataError", "LogMels", "find", "folds_of", "index", "info", "load", "locate", "pad", "select"]
