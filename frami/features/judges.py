"""Judges: networks that are not the teacher and listen to what was made of it.

Diversity in the teacher's own space says how rich clips are to the teacher. A judge is of another architecture and
learnt from other recordings: what it recognises is in the sounds, not in the weights that they were made from.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import checkpoints
from frami.checkpoints import Checkpoint
from frami.data import LogMels
from frami.data.catalogue import fold_kind
from frami.data.matching import matching
from frami.errors import FramiError
from frami.features import diversity
from frami.features.embeddings import Embedded, embed
from frami.features.recordings import heard_by
from frami.inversion import Clips
from frami.models import DEFAULT
from frami.paths import BUNDLED

FOLDER = BUNDLED / "judges"

#: The judge of each bundled teacher, a checkpoint in ``FOLDER``.
JUDGES = {
    "digits": "digits",
    "esc10": "esc10",
    "esc50": "esc50",
    "fsdd": "digits",
    "urbansound8k": "urbansound8k",
}


@dataclass(frozen=True, eq=False)
class Judge:
    """A network that judges a teacher's clips. ``classes`` : Tensor[K'], the teacher's class for each of its own, -1
    where the teacher has none of that name (``data.matching``)."""

    network: Checkpoint
    classes: Tensor

    @property
    def sha256(self) -> str:
        return self.network.card.sha256

    def says(self) -> str:
        """What it is and learnt from, and its accuracy on what it did not hear, in a line."""
        card = self.network.card
        kind, learnt, others = fold_kind(card.dataset), *(", ".join(card.split.get(n, [])) for n in ("train", "test"))
        what = f"{card.model.get('architecture', DEFAULT)}, {card.parameters / 1e3:,.0f} thousand parameters"
        what += f", learnt from {card.title}, {kind} {learnt}"
        if card.accuracy is None:
            return what
        return f"{what}; right on {card.accuracy:.1%} of {card.clips:,} clips of {others}, which it never heard"


@dataclass
class Judged:
    """Clips as a judge hears them: pooled Tensor[N, D], its embeddings; predicted Tensor[N], the teacher's class that
    it recognises, -1 for one that the teacher does not have."""

    pooled: Tensor
    predicted: Tensor


def of(teacher: Checkpoint) -> Judge | None:
    """The bundled judge of a teacher, on its device; None where there is none. Raises FramiError for a damaged one."""
    return load(FOLDER / JUDGES[teacher.card.name], teacher) if known(teacher) else None


def known(teacher: Checkpoint) -> bool:
    """Whether a teacher has a bundled judge."""
    return teacher.card.name in JUDGES and checkpoints.exists(FOLDER / JUDGES[teacher.card.name])


def load(path: str | Path, teacher: Checkpoint) -> Judge:
    """Any checkpoint as a judge of a teacher's clips. Raises FramiError where it is the teacher itself, takes other
    spectrograms, or shares fewer than two classes with it."""
    network = checkpoints.load(path, teacher.device)
    name = teacher.card.name
    if network.card.sha256 and network.card.sha256 == teacher.card.sha256:
        raise FramiError(f"{path} is the teacher '{name}' itself; give another network as its judge")
    if network.spec != teacher.spec:
        raise FramiError(f"{path} takes other spectrograms than '{name}'; train it with the same front-end")
    found = matching(teacher.classes, network.classes)
    if len(found) < 2:
        raise FramiError(f"{path} knows other classes than '{name}', and at least two have to match by name")
    return Judge(network, torch.tensor([found.get(i, -1) for i in range(len(network.classes))]))


@torch.inference_mode()
def hear(judge: Judge, clips: Clips, batch: int = 32) -> Judged:
    """Made clips as a judge hears them."""
    pooled, predicted = [], []
    for rows in torch.arange(len(clips)).split(batch):
        lengths = clips.lengths[rows].to(judge.network.device)
        mels = clips.mels[rows, ..., : int(lengths.max())].float().to(judge.network.device)
        out = judge.network.model(mels, lengths)
        pooled.append(out.pooled.float().cpu())
        predicted.append(judge.classes[out.logits.argmax(1).cpu()])
    return Judged(torch.cat(pooled), torch.cat(predicted))


def measures(judge: Judge, clips: Clips, real: Embedded | None = None, **choices) -> dict:
    """``diversity.judged`` of made clips, of those whose target class the judge knows, beside real ones in the judge's
    space (``embed`` of its network, with the teacher's labels). ``choices`` : its ``seed`` and ``resamples``. Raises
    FramiError."""
    return _measures(judge, hear(judge, clips), clips.target, real, choices)


def of_real(judge: Judge, clips: LogMels, rows: list[int], real: Embedded | None, **choices) -> dict:
    """The same of real clips, ``rows`` of those, and how many these are (``samples``)."""
    found = embed(judge.network, clips, rows)
    heard = Judged(found.pooled, judge.classes[found.predicted])
    return {"samples": len(rows)} | _measures(judge, heard, found.labels, real, choices)


def _measures(judge: Judge, made: Judged, target: Tensor, real: Embedded | None, choices: dict) -> dict:
    known = torch.isin(target, judge.classes)
    if not known.any():
        return dict.fromkeys(diversity.JUDGED) | {"intervals": dict.fromkeys(diversity.JUDGED)}
    beside: tuple[Tensor, ...] = ()
    if real is not None:
        shared = torch.isin(real.labels, judge.classes)
        beside = real.pooled[shared], real.labels[shared]
    return diversity.judged(made.pooled[known], target[known], made.predicted[known], *beside, **choices)


def unheard(judge: Judge, clips: LogMels, dataset: str, data_folder: str | Path | None = None) -> list[int]:
    """Numbers of the real clips of a data set that a judge was not trained on, nor on others of the same speaker or
    source recording."""
    heard = heard_by(judge.network.card, clips.clips, dataset, data_folder)
    return [i for i in range(len(clips)) if i not in heard]


def added(row: dict, found: dict | None) -> dict:
    """A row of measures with a judge's; without them, they are None."""
    found = found or dict.fromkeys(diversity.JUDGED) | {"intervals": dict.fromkeys(diversity.JUDGED)}
    rest = {name: found[name] for name in diversity.JUDGED}
    return row | rest | {"intervals": row.get("intervals", {}) | found["intervals"]}
