"""The real clips that judge a student: what its teacher held out, strangers, and those on which choices are made.

``reported`` parts are in the tables, and nothing is chosen on them. ``development`` parts are for choosing: a student
that was made without data has heard none of them, and no table of results shows them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from frami import data, train
from frami.bench import spoken, strangers
from frami.bench.results import Context
from frami.checkpoints import Card, Checkpoint, bundled
from frami.data import LogMels
from frami.data.catalogue import DATASETS
from frami.data.rerecorded import rerecorded
from frami.features.recordings import NothingToHear, choose, held_out, training_folds
from frami.models import Classifier

#: Kinds of parts. Strangers are people, or places, of other data sets, or of folds that the teacher has not seen.
HELD_OUT, STRANGERS = "held out", "strangers"
TRAINING, RERECORDED, SPOKEN = "training clips", "re-recorded", "machine-spoken"
#: Development parts: clips at most of the training ones, and the seed that draws and re-records them.
CLIPS, SEED = 800, 77


@dataclass(frozen=True)
class Part:
    """Real clips of one kind and origin, with the teacher's classes; ``teacher`` : those that it predicts, Tensor[N],
    once ``heard`` by it."""

    kind: str
    name: str
    clips: LogMels
    teacher: Tensor | None = None

    def heard(self, teacher: Checkpoint) -> "Part":
        return replace(self, teacher=train.evaluate(teacher.model, self.clips, batch=128).predictions)

    def judge(self, student: Classifier) -> dict:
        """What a student is worth on it, as plain numbers: accuracy, agreement with the teacher, and the teacher's
        accuracy, each 0 to 1, of so many clips."""
        found = train.evaluate(student, self.clips, batch=128)
        return {
            "kind": self.kind, "name": self.name, "clips": len(self.clips), "accuracy": round(found.accuracy, 5),
            "agreement": _share(found.predictions == self.teacher),
            "teacher": _share(self.teacher == self.clips.labels),
        }  # fmt: skip


def _share(hits: Tensor) -> float:
    return round(float(hits.float().mean()), 5)


def reported(teacher: Checkpoint, here: Context) -> list[Part]:
    """What the teacher's card holds out, and strangers: those of its data set whose folds the card does not name, and
    all other data sets that are here (``strangers.datasets``), without clips of its own. Raises FramiError."""
    card = teacher.card
    with here.progress("clip", f"{card.name}: held-out clips") as report:
        held, _ = choose(card, None, "test", here.data_folder, teacher.spec, report)
    parts = _by_member(card, held)
    listed = data.index(card.dataset, here.data_folder)
    named, there = training_folds(card).union(card.split.get("test", ())), {clip.fold for clip in listed}
    unnamed = [fold for fold in data.info(card.dataset).folds if fold in there - named]
    own = {clip.key for clip in listed}
    wanted = [(card.dataset, ",".join(unnamed))] if unnamed else []
    wanted += [(name, "all") for name in strangers.datasets([card], here) if name != card.dataset]
    for name, split in wanted:
        with here.progress("clip", f"{card.name}: {name}") as report:
            try:
                clips, _ = choose(card, name, split, here.data_folder, teacher.spec, report)
            except NothingToHear:
                continue
        foreign = [i for i, clip in enumerate(clips.clips) if name == card.dataset or clip.key not in own]
        if foreign:
            title = data.label(name) if split == "all" else f"{data.label(name)} {split}"
            parts.append(Part(STRANGERS, title, clips.take(foreign)))
    return parts


def _by_member(card: Card, clips: LogMels) -> list[Part]:
    """Held-out clips, those of each member of a set of several apart."""
    members = data.info(card.dataset).parts or ("",)
    found = []
    for member in members:
        rows = [i for i, clip in enumerate(clips.clips) if clip.fold.startswith(f"{member}/" if member else "")]
        if rows:
            folds = dict.fromkeys(clips.clips[i].fold for i in rows)
            found.append(Part(HELD_OUT, ",".join(folds), clips.take(rows)))
    return found


def development(teacher: Checkpoint, here: Context) -> list[Part]:
    """Clips of the teacher's training folds, drawn with a fixed seed, the same as if recorded elsewhere, of a network
    of spoken words those words by a speech synthesizer, and what it holds out where no table of results rests on that
    (``_free``). Raises FramiError."""
    card = teacher.card
    with here.progress("clip", f"{card.name}: training clips") as report:
        training, _ = choose(card, None, "train", here.data_folder, teacher.spec, report)
        drawn = torch.randperm(len(training), generator=torch.Generator().manual_seed(SEED))[:CLIPS]
        some = training.take(sorted(drawn.tolist()))
    with here.progress("clip", f"{card.name}: re-recorded") as report:
        parts = [Part(TRAINING, "", some), Part(RERECORDED, "", rerecorded(some, 1, SEED, report)[0])]
    if card.dataset in DATASETS and DATASETS[card.dataset].subject.startswith("spoken"):
        with here.progress("clip", "espeak-ng") as report:
            folder = spoken.folder_of(card.classes, report)
        clips, _ = choose(card, str(folder), "all", here.data_folder, teacher.spec)
        parts.append(Part(SPOKEN, "espeak-ng", clips))
    if _free(card):
        with here.progress("clip", f"{card.name}: held-out clips") as report:
            held, _ = choose(card, None, "test", here.data_folder, teacher.spec, report)
        parts += _by_member(card, held)
    return parts


def _free(card: Card) -> bool:
    """Whether choices may be made on what a teacher holds out: all teachers that come with the studio learnt from it,
    where there are any of its data set."""
    ours = [one for one in bundled() if one.dataset == card.dataset]
    held = held_out(card)
    return bool(ours and held) and all(held <= training_folds(one) for one in ours)


#: What ``--on`` names.
ON: dict[str, Callable[[Checkpoint, Context], list[Part]]] = {"reported": reported, "development": development}


def fingerprint(parts: Sequence[Part]) -> str:
    """Of the clips of all parts, wherever their folder is."""
    listed = [
        (part.kind, part.name, [(clip.fold, Path(clip.key).name, clip.label) for clip in part.clips.clips])
        for part in parts
    ]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:8]


def pooled(judged: Sequence[dict], kind: str | None = None) -> dict | None:
    """Shares over all clips of the parts of a kind (None: of all) that ``Part.judge`` returned; None without any."""
    some = [part for part in judged if kind in (None, part["kind"])]
    clips = sum(part["clips"] for part in some)
    if not clips:
        return None
    shares = {
        name: sum(part[name] * part["clips"] for part in some) / clips for name in ("accuracy", "agreement", "teacher")
    }
    return {"clips": clips, **shares}


def hardest(judged: Sequence[dict]) -> str:
    """The kind of part that says most of a student: strangers, where there are any."""
    kinds = list(dict.fromkeys(part["kind"] for part in judged))
    return STRANGERS if STRANGERS in kinds else kinds[-1]
