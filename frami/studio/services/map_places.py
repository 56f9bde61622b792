"""Where a visitor's own sound lies on a feature map."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from frami import answers
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.features.distances import points, squares
from frami.hosting.owners import EVERYONE, Visitor
from frami.studio.services import clips, page_values
from frami.studio.services.feature_maps import FeatureMaps, ShownMap
from frami.studio.services.given import GivenSounds
from frami.workers.pool import asked_by, on_file, shared

#: Clips that say where a sound lies, and made and real ones that are named as its neighbours.
NEAREST, MADE, REAL = 5, 3, 2
#: What the ids of placed sounds begin with.
PREFIX = "given/"
_KEPT = 32


@dataclass(frozen=True)
class MapPlaces:
    """Sounds ``given`` in Try it on ``maps``. Methods raise FramiError."""

    maps: FeatureMaps
    given: GivenSounds
    _heard: object = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_heard", lru_cache(maxsize=_KEPT)(_embedded))

    def placed(self, name: str, keys: Sequence[str], token: str, who: Visitor = EVERYONE) -> dict:
        """A sound on the map: its ``clip`` as the page draws one, class, confidence, ``places`` in each projection, and
        its nearest clips (``near``). It is placed by ``place``: no projection is computed anew."""
        shown = self.maps.shown(name, keys, who)
        teacher = shown.teacher
        heard = self._embed(teacher, token, who)
        logits = heard["logits"]
        predicted = int(logits.argmax())
        clip = page_values.clip(
            f"{PREFIX}{name}/{token}", heard["mel"], logits, predicted, predicted, teacher.classes, teacher.spec,
            teacher.multilabel, origin="your sound", untargeted=True, real=True,
        )  # fmt: skip
        features = torch.cat([one.layer.pooled for one in shown.layers])
        distances = squares(points(heard["pooled"][None]), points(features))[0].sqrt()
        xy = {"pca": shown.pca} | ({} if shown.umap is None else {"umap": shown.umap})
        return {
            "clip": clip,
            "label": predicted,
            "predicted": predicted,
            "confidence": round(float(answers.probabilities(logits, teacher.multilabel)[predicted]), 3),
            "places": {name: [round(x, 3) for x in place(distances, there).tolist()] for name, there in xy.items()},
            "near": _neighbours(shown, distances),
        }

    def sound(self, id: str, who: Visitor = EVERYONE) -> bytes:
        """A placed sound as the teacher heard it, as a WAV file."""
        name, _, token = id.removeprefix(PREFIX).rpartition("/")
        if name not in self.maps.teachers:
            raise FramiError("no such clip; reload the page")
        teacher = self.maps.load_teacher(name)
        return clips.wav_file(self._embed(teacher, token, who)["samples"], teacher.spec.sample_rate)

    def _embed(self, teacher: Checkpoint, token: str, who: Visitor) -> dict:
        path = self.given.find(token, who).path
        with asked_by(who.owner, who.address):
            heard = self._heard(str(path), path.stat().st_mtime_ns, *on_file(teacher).items())
        if "refused" in heard:
            raise FramiError(heard["refused"])
        return heard


def _embedded(path: str, changed: int, *teacher: tuple[str, str]) -> dict:
    """A worker embeds a sound file that was changed then."""
    return shared().run("sound-embed", dict(teacher) | {"path": path})


def place(distances: Tensor, there: Tensor) -> Tensor:
    """Where a sound lies in a projection that was computed without it: the mean of its ``NEAREST`` clips, weighted by
    the inverse of their distances in feature space (Shepard 1968). distances : Tensor[N]; there : Tensor[N, 2]."""
    near = distances.topk(min(NEAREST, len(distances)), largest=False)
    weights = 1 / near.values.clamp(min=1e-6)
    return (there[near.indices].double() * (weights / weights.sum())[:, None]).sum(0)


def _neighbours(shown: ShownMap, distances: Tensor) -> list[dict]:
    """The nearest made and real clips as the page draws them; where none is real, that many more made ones."""
    rows = [(one, row) for one in shown.layers for row in range(len(one.layer))]
    any_real = any(one.layer.real for one in shown.layers)
    wanted = {False: MADE if any_real else MADE + REAL, True: REAL if any_real else 0}
    found: dict[bool, list] = {False: [], True: []}
    for i in distances.argsort().tolist():
        one, row = rows[i]
        if len(found[one.layer.real]) < wanted[one.layer.real]:
            more = {"layer": one.layer.key, "distance": round(float(distances[i]), 2)}
            found[one.layer.real].append(one.show(row) | more)
        if all(len(found[real]) >= count for real, count in wanted.items()):
            break
    return found[False] + found[True]
