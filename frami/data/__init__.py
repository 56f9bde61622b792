"""Data sets: what is known of them, real recordings as log-Mels, downloads."""

from frami.data.own import label
from frami.data.recordings import (
    Clip,
    DataError,
    LogMels,
    Skip,
    find,
    folds_of,
    index,
    info,
    load,
    locate,
    pad,
    select,
    sound,
)

__all__ = [
    "Clip", "DataError", "LogMels", "Skip", "find", "folds_of", "index", "info", "label", "load", "locate", "pad",
    "select", "sound",
]  # fmt: skip
