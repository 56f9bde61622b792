"""Banks of made clips on disk: one shard a finished batch, one sound file a clip, and a manifest for people.

``shards/`` is the truth: what lies there whole is what the bank holds. ``manifest.json`` says with which settings, and
lists the clips; in a long run it lags behind the shards by at most a tenth. ``resume.pt`` is there until a run has
finished and holds what the next batch needs to know of the earlier ones.
"""

from frami.banks.bank import Bank, load
from frami.banks.folder import MANIFEST, SHARDS, BankError, put_in_place
from frami.banks.making import create_for, fill, filling
from frami.banks.saving import Predict, predictor
from frami.banks.sounds import renew_sounds
from frami.banks.writer import Writer, create

__all__ = [
    "MANIFEST", "SHARDS", "Bank", "BankError", "Predict", "Writer", "create", "create_for", "fill", "filling", "load",
    "predictor", "put_in_place", "renew_sounds",
]  # fmt: skip
