"""What a student predicts for the clips of a feature map."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from frami import checkpoints
from frami.errors import FramiError
from frami.hosting.owners import EVERYONE, Visitor
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.map_layers import MapLayer
from frami.studio.services.recognition import Recognition
from frami.workers.pool import shared


@dataclass(frozen=True)
class MapStudents:
    """Students of ``recognition`` and the layers of ``maps``; what a worker found is kept there."""

    maps: FeatureMaps
    recognition: Recognition

    def offered(self, name: str, who: Visitor = EVERYONE) -> list[tuple[str, str]]:
        """(title, key) of each student of a teacher that this visitor may ask. Raises FramiError."""
        if name not in self.maps.teachers:
            raise FramiError("no such teacher; reload the page")
        return self.recognition.students(name, who)

    def agreement(self, name: str, keys: Sequence[str], student: str, who: Visitor = EVERYONE) -> dict:
        """The class that a student predicts for each clip, ``{"layers": {key: [class, …]}}`` as far as they are known,
        None for one that it cannot be told of, and what is still computed (``pending``, None at the end). Raises
        FramiError."""
        if student not in [key for _, key in self.offered(name, who)]:
            raise FramiError("this student is not there any more; choose another one")
        shown, path = self.maps.shown(name, keys, who), str(self.recognition.path(student))
        card = checkpoints.read_card(path)
        found: dict[str, list] = {}
        pending = None
        for one in shown.layers:
            if one.mels is None:
                found[one.layer.key] = [None] * len(one.layer)
                continue
            task = "student", name, path, card.sha256, one.layer.key, one.layer.digest
            work = partial(_predicted, path, one, _places(card.classes, shown.teacher.classes))
            result, words = self.maps.later(task, work, f"The student listens to {one.layer.title}", who)
            if result is not None:
                found[one.layer.key] = result
            elif self.maps.failed(task):
                raise FramiError(words or "the student could not be asked")
            else:
                pending = pending or words
        return {"layers": found, "pending": pending}


def _places(classes: Sequence[str], among: Sequence[str]) -> list[int]:
    """The place of each class among others, -1 where it is not there."""
    place = {name: i for i, name in enumerate(among)}
    return [place.get(name, -1) for name in classes]


def _predicted(path: str, one: MapLayer, places: list[int], progress: Callable) -> list[int | None]:
    mels = one.mels()
    there = [i for i, mel in enumerate(mels) if mel is not None]
    found: list[int | None] = [None] * len(mels)
    if there:
        heard = shared().run("map-students", {"student": path, "mels": [mels[i] for i in there]})
        for i, predicted in zip(there, heard.tolist(), strict=True):
            found[i] = places[predicted]
    return found
