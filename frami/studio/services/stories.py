"""What Listen opens with for a teacher: a clip that it made beside a recording of its class, and pairs to guess."""

from dataclasses import dataclass

from frami.data import shipped
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.features.recordings import held_out
from frami.studio.services import clip_ids
from frami.studio.services.galleries import Galleries
from frami.studio.services.recordings import Recordings

#: Classes that are shown first, whichever a teacher knows; else its first class with a clip that it recognises.
FIRST = ("three", "dog", "siren")
#: Pairs of which the page chooses its rounds have as many clips of a class and origin, at most.
_EACH = 3
_BRIEF = ("id", "target", "predicted", "confidence", "frames")


@dataclass(frozen=True)
class Stories:
    """Of teachers with these galleries and recordings."""

    galleries: Galleries
    recordings: Recordings

    def value(self, name: str) -> dict:
        """``{"teacher", "axis", "made", "ships"}``: the clip of the gallery that the teacher is surest of among those
        of a class that is shown first, None where there is no gallery; whether recordings ship."""
        rows, axis = self.galleries.clips_of(name)
        made, card = _surest(rows), self.galleries.cards[name] if rows else None
        ships = bool(card and card.dataset in DATASETS and shipped.listed(card.dataset, held_out(card)))
        return {"teacher": name, "axis": axis, "made": made, "ships": ships}

    def recorded(self, name: str) -> dict:
        """``{"real", "pairs"}``: a recording of the class of ``value``'s clip, whole, and ``[{"real", "made"}]`` class
        by class, lists of brief clips. None and [] where no recordings ship; a worker may have to classify them."""
        if name not in self.recordings.teachers:
            raise FramiError("no such teacher; reload the page")
        rows, _ = self.galleries.clips_of(name)
        found = self.recordings.value(name, pictures=False)["clips"]
        made = _surest(rows)
        same = [row for row in found if made and row["target"] == made["target"]]
        real = _surest(same)
        pairs = []
        for target in dict.fromkeys(row["target"] for row in rows):
            both = [[_brief(row) for row in some if row["target"] == target][:_EACH] for some in (found, rows)]
            if all(both):
                pairs.append(dict(zip(("real", "made"), both, strict=True)))
        return {"real": self.recordings.clip(real["id"]) if real else None, "pairs": pairs}

    def clip(self, id) -> dict:
        """A clip of a gallery or a recording, whole. FramiError for another id."""
        kind = clip_ids.parse(id).kind
        return self.recordings.clip(id) if kind == "recording" else self.galleries.pictures([id])[0]


def _surest(rows: list[dict]) -> dict | None:
    """Of the first class that is there the recognised clip with the highest confidence."""
    right = [row for row in rows if row["predicted"] == row["target"]] or rows
    targets = [row["target"] for row in right]
    target = next((name for name in FIRST if name in targets), targets[0] if targets else None)
    return max((row for row in right if row["target"] == target), key=lambda row: row["confidence"], default=None)


def _brief(row: dict) -> dict:
    return {key: row[key] for key in _BRIEF}
