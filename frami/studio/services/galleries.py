"""A teacher's gallery as the page draws it; of a large one the pictures come when they are looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from frami import banks
from frami.checkpoints import Card
from frami.errors import FramiError
from frami.hosting.mode import hosted
from frami.studio.services import clip_ids, offers, page_values
from frami.studio.services.class_groups import of_teacher
from frami.studio.services.clips import ClipLookup

#: Clips of a gallery whose pictures the page gets at once, and pictures of a larger one that it may ask for at a time.
AT_ONCE, A_REQUEST = 60, 48
#: What is sent of a clip whose picture comes later.
_BRIEF = ("id", "target", "predicted", "confidence", "frames")


@dataclass(frozen=True)
class Galleries:
    """Galleries of the teachers with these ``cards``, found by ``clips``."""

    clips: ClipLookup
    cards: Mapping[str, Card]
    _read_at: Callable[[str, int], tuple] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_read_at", lru_cache(maxsize=8)(self._read))

    def value(self, name: str) -> dict:
        """A gallery class by class; ``{"message"}`` where there is none, or of other weights."""
        card = self.cards[name]
        rows, targets, axis = self._rows(name)
        if not rows:
            button = "" if hosted() else "press “Make a gallery” on its card in the tab Teachers & data, or "
            message = f"No gallery for this teacher yet. Make one: {button}run {offers.making(name)}"
            return {"teacher": name, "groups": [], "message": message}
        if len(rows) > AT_ONCE:
            rows = [{key: row[key] for key in _BRIEF} for row in rows]
        of_class: dict[int, list] = {}
        for row, target in zip(rows, targets, strict=True):
            of_class.setdefault(target, []).append(row)
        groups = [
            {"title": page_values.name(card.classes[k]), "label": k, "clips": of_class[k]} for k in sorted(of_class)
        ]
        return {"teacher": name, "groups": groups, "categories": of_teacher(card), "axis": axis}

    def pictures(self, ids: Sequence[str]) -> list[dict]:
        """These clips of galleries whole, as the page draws them. FramiError for other ids, or too many."""
        if not isinstance(ids, list) or len(ids) > A_REQUEST:
            raise FramiError(f"at most {A_REQUEST} clips at a time")
        found = []
        for clip in map(clip_ids.parse, ids):
            rows = self._rows(clip.owner)[0] if clip.kind == "gallery" and clip.owner in self.cards else []
            if clip.state is not None or clip.vocoder is not None or clip.index >= len(rows):
                raise FramiError("no such clip; reload the page")
            found.append(rows[clip.index])
        return found

    def clips_of(self, name: str) -> tuple[list[dict], dict]:
        """All clips of a gallery whole, and the axes of their pictures; no clip where there is none."""
        rows, _, axis = self._rows(name)
        return rows, axis

    def _rows(self, name: str) -> tuple[list[dict], list[int], dict]:
        """All clips of a gallery, their target classes, and the axes of their pictures; no clip where there is none."""
        try:
            written = (self.clips.gallery_of(name) / banks.MANIFEST).stat().st_mtime_ns
        except OSError:
            return [], [], {}
        return self._read_at(name, written)

    def _read(self, name: str, written: int) -> tuple[list[dict], list[int], dict]:
        """The same of a gallery as it was ``written`` then."""
        try:
            bank = banks.load(self.clips.gallery_of(name))
        except FramiError:
            bank = None
        if bank is None or not bank.made_from(self.cards[name]):
            return [], [], {}
        origin, prefix = offers.origin(bank.manifest["settings"]), clip_ids.prefix("gallery", name)
        rows = page_values.clips(bank.clips(), prefix, bank.manifest["classes"], bank.spec, origin)
        return rows, bank.target.tolist(), page_values.axis_of(self.clips.load_teacher(name))
