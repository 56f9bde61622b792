"""Clips that set the ranges of an eight-bit network, and clips that judge it."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import banks, checkpoints
from frami.audio import MelSpec
from frami.banks import Bank
from frami.checkpoints import Card, Checkpoint
from frami.errors import FramiError
from frami.features.recordings import choose, measured_on
from frami.inversion import InversionSettings, invert
from frami.paths import ASSETS, home

#: What a network can be calibrated on.
KINDS = ("made", "recordings", "noise")
#: Clips of each class to calibrate on, by default.
CLIPS = 10
#: Recipe, and clips of each class at most, that are made where no clip of a teacher's is at hand.
RECIPE, SYNTHESIZED = "frami-fast", 20
#: Recordings that judge a network, at most.
JUDGING = 500
#: Folder of the clips that ship with teachers, and their recipes, those that are calibrated on first.
_FOLDER, _RECIPES = "explore", ("frami", "dafl", "cmi")
#: Quietest and loudest noise, in dB below full scale.
_NOISE = (-60.0, -10.0)

#: ``report(done, total)``
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Calibration:
    """Clips to calibrate on, log-Mels Tensor[F, T] each; ``kind`` : of ``KINDS``; ``source`` : in words; ``each`` :
    clips of a class at most."""

    kind: str
    source: str
    each: int
    clips: list[Tensor]

    def facts(self) -> dict:
        return {"calibration": self.kind, "source": self.source, "clips": len(self.clips), "per_class": self.each}


@dataclass(frozen=True)
class Judging:
    """Recordings that judge a network: log-Mels Tensor[F, T], their classes, and in words which they are."""

    clips: list[Tensor]
    labels: list[int]
    which: str


@dataclass(frozen=True)
class Material:
    """All that a conversion needs of sound: ``unseen`` made clips are none of those that are calibrated on."""

    calibration: Calibration
    unseen: list[Tensor]
    recordings: Judging | None


def gather(
    network: Checkpoint, kind: str = "made", each: int = CLIPS, bank: str | Path | None = None,
    data_folder: str | Path | None = None, report: Report | None = None,
) -> Material:  # fmt: skip
    """Clips for a network: ``each`` of a class to calibrate on, the other made ones and recordings to judge it.

    Made clips are those of ``bank``; else those that ship with its teacher, or that a ``FRAMI_HOME`` holds; else they
    are made now, ``report(done, total)`` counts the steps. Of ``each`` clips at most half of a class's are calibrated
    on. Noise is white, of all loudnesses. Recordings to calibrate on are those of the training folds, found in
    ``data_folder``; those that judge are held out. Raises FramiError.
    """
    if kind not in KINDS:
        raise FramiError(f"no calibration '{kind}'; choose one of: {', '.join(KINDS)}")
    found, unseen = made(network, each, bank, report)
    if kind != "made":
        unseen = [*found.clips, *unseen]
        found = recorded(network, each, data_folder) if kind == "recordings" else noisy(network, each)
    return Material(found, unseen, judging(network, data_folder))


def made(
    network: Checkpoint, each: int, bank: str | Path | None = None, report: Report | None = None
) -> tuple[Calibration, list[Tensor]]:
    """Made clips, ``each`` of a class to calibrate on, and those that are left; as of ``gather``."""
    source, pools = _made(network, each, bank, report)
    taken, unseen = divide(pools, each)
    return Calibration("made", source, each, taken), unseen


def divide(pools: Sequence[Sequence[Tensor]], each: int) -> tuple[list[Tensor], list[Tensor]]:
    """Of the clips of each class the first ``each`` (half of them at most), and the others."""
    counts = [min(each, -(-len(pool) // 2)) for pool in pools]
    taken = [clip for pool, count in zip(pools, counts, strict=True) for clip in pool[:count]]
    return taken, [clip for pool, count in zip(pools, counts, strict=True) for clip in pool[count:]]


def _made(
    network: Checkpoint, each: int, bank: str | Path | None, report: Report | None
) -> tuple[str, list[list[Tensor]]]:
    """Made clips of each class of a network, and in words where they are from."""
    if bank is not None:
        given = banks.load(bank)
        if given.spec != network.spec:
            raise FramiError(f"the clips of {bank} are of another front-end than '{network.card.name}'; name another")
        pools = _by_class([given], network.classes)
        if sum(map(len, pools)) < 2:
            raise FramiError(f"{bank} holds no two clips of classes of '{network.card.name}'; name another bank")
        return f"the clips of {given.folder.resolve().name}", pools
    found = list(shipped(network.card, network.spec))
    if found:
        name = network.card.teacher or network.card.name
        return f"the clips of {name} that come with frami", _by_class(found, network.classes)
    return _synthesized(network, each, report)


def shipped(card: Card, spec: MelSpec) -> Iterator[Bank]:
    """Banks of a network's teacher, or of itself, that ship or that ``FRAMI_HOME`` holds, made from its present
    weights."""
    name = card.teacher or card.name
    try:
        sha256 = checkpoints.read_card(checkpoints.resolve(name)).sha256
    except FramiError:
        return
    for recipe in _RECIPES:
        for parent in (ASSETS / _FOLDER, home() / _FOLDER):
            folder = parent / name / recipe
            if not (folder / banks.MANIFEST).is_file():
                continue
            with suppress(FramiError):
                bank = banks.load(folder)
                if bank.manifest["settings"].get("teacher_sha256") == sha256 and bank.spec == spec:
                    yield bank


def _by_class(found: Iterable[Bank], classes: Sequence[str]) -> list[list[Tensor]]:
    """Log-Mels of each class, those of the first bank first, in an order that chance has drawn."""
    pools: list[list[Tensor]] = [[] for _ in classes]
    places = {name: place for place, name in enumerate(classes)}
    for bank in found:
        names, rows = bank.manifest["classes"], list(range(len(bank)))
        random.Random(0).shuffle(rows)
        for row in rows:
            place = places.get(names[int(bank.target[row])])
            if place is not None:
                pools[place].append(bank.frames[bank.offsets[row] : bank.offsets[row + 1]].T.float())
    return pools


def _synthesized(network: Checkpoint, each: int, report: Report | None) -> tuple[str, list[list[Tensor]]]:
    """Clips made now from the teacher; from the network itself where its teacher is not at hand."""
    teacher = network
    with suppress(FramiError):
        other = checkpoints.load(network.card.teacher) if network.card.teacher else network
        if other.spec == network.spec and set(other.classes) >= set(network.classes):
            teacher = other
    classes = [teacher.classes.index(name) for name in network.classes]
    count = len(classes) * min(2 * each, SYNTHESIZED)
    settings = InversionSettings.of(teacher, RECIPE, samples=max(2, count), seconds=None, classes=classes, batch=32)
    pools: list[list[Tensor]] = [[] for _ in classes]
    for state in invert(teacher, settings):
        if report:
            report(state.done, state.total)
        if state.finished:
            clips = state.clips
            for mel, length, target in zip(clips.mels, clips.lengths.tolist(), clips.target.tolist(), strict=True):
                pools[classes.index(target)].append(mel[0, :, :length].float())
    return f"clips made from {teacher.card.name}", pools


def noise(spec: MelSpec, count: int, seconds: float, seed: int = 0) -> list[Tensor]:
    """Log-Mels of white noise, Tensor[F, T] each, quiet to loud."""
    numbers = torch.Generator().manual_seed(seed)
    decibels = torch.linspace(*_NOISE, max(count, 1))
    samples = max(spec.shortest, round(seconds * spec.sample_rate))
    return [spec(10 ** (level / 20) * torch.randn(1, samples, generator=numbers))[0] for level in decibels]


def noisy(network: Checkpoint, each: int) -> Calibration:
    """White noise of the usual duration, as many clips as ``each`` of a class."""
    clips = noise(network.spec, each * len(network.classes), network.seconds)
    return Calibration("noise", "white noise", each, clips)


def recorded(network: Checkpoint, each: int, data_folder: str | Path | None) -> Calibration:
    """Recordings of the folds that a network, or its teacher, was trained on. Raises FramiError where they are not at
    hand."""
    clips, origin = choose(network.card, None, "train", data_folder, network.spec)
    rows = list(range(len(clips)))
    random.Random(0).shuffle(rows)
    left, chosen = dict.fromkeys(range(len(network.classes)), each), []
    for row in rows:
        label = int(clips.labels[row])
        if left[label]:
            left[label] -= 1
            chosen.append(clips.clip(row))
    return Calibration("recordings", f"training recordings of {origin.title}", each, chosen)


def judging(network: Checkpoint, data_folder: str | Path | None = None) -> Judging | None:
    """Held-out recordings of a network, those that ship where no others are at hand; None where there are none."""
    try:
        clips, origin = choose(network.card, None, "test", data_folder, network.spec, else_shipped=True)
    except FramiError:
        return None
    rows = sorted(random.Random(0).sample(range(len(clips)), min(JUDGING, len(clips))))
    some = clips.take(rows)
    labels = [int(label) for label in some.labels]
    return Judging([some.clip(k) for k in range(len(some))], labels, measured_on(some, origin.dataset))
