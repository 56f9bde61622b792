"""How rich the clips of banks are, beside each other and beside recordings of their teacher's data set."""

import os
from collections.abc import Sequence

from frami import checkpoints, data
from frami.banks import Bank
from frami.bench.diversity import chosen, judged_training, measures, training_clips
from frami.bench.results import Context, Report
from frami.checkpoints import Checkpoint
from frami.data import LogMels, Skip
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.features import diversity, judges
from frami.features.embeddings import embed, recordings

Banks = Sequence[tuple[str, Bank]]  # with their names


def compare(
    banks: Banks,
    here: Context,
    *,
    samples: int | None,
    teacher: str | None,
    dataset: str | None,
    split: str,
    seed: int,
    skip: Skip = None,
    judge: str | None = None,
) -> tuple[dict, list[str]]:
    """Measure the first ``samples`` clips of each bank (default: as many as the smallest has) beside real clips of
    ``split``, and as many real training clips where they are here; also as the ``judge`` hears them (path of a
    checkpoint; default: the teacher's bundled one, if any). Returns plain numbers, and remarks on them. Raises
    FramiError where the banks do not compare."""
    count = _count(banks, samples)
    try:
        own = checkpoints.load(teacher or banks[0][1].manifest["settings"]["teacher"], here.device)
    except checkpoints.CheckpointError as error:
        more = "" if teacher else ". Name the teacher of the bank by its path, with --teacher"
        raise FramiError(f"{error}{more}") from error
    _check(banks, own)
    other = judges.load(judge, own) if judge else judges.of(own)
    with here.progress("clip", "real clips") as report:
        clips, notes = _real(own, dataset, split, here.data_folder, report, skip)
        real = embed(own, clips, progress=report) if clips else None
    judged = embed(other.network, clips) if clips and other else None
    training = training_clips(own, clips.clips, here) if clips else None
    rows, reference = [], None
    with here.progress("bank", "diversity") as report:
        for done, (name, bank) in enumerate(banks, 1):
            row = {"bank": name, "recipe": bank.manifest["settings"].get("recipe")}
            found = judges.measures(other, bank.clips(range(count)), judged, seed=seed) if other else None
            rows.append(judges.added(row | measures(bank, bank.target, real, count, seed=seed), found))
            report(done, len(banks))
        if training and (picked := chosen(training, count, seed)):
            reference = {"clips": f"real training clips ({', '.join(own.card.split.get('train', []))})"}
            found, embedded = None, embed(own, training, picked)
            if other:
                found = judged_training(own, other, judged, training, count, here, seed)
            reference |= measures(embedded, embedded.labels, real, count, seed=seed)
            reference = judges.added(reference, found)
    value = {
        "teacher": own.card.name, "dataset": dataset or own.card.dataset, "split": split,
        "real_clips": len(clips) if clips else 0, "samples": count, "k": diversity.K, "rows": rows,
        "reference": reference, "judge": other and other.says(),
    }  # fmt: skip
    return value, [*notes, *_few_classes(banks, count, len(own.classes))]


def _count(banks: Banks, samples: int | None) -> int:
    name, smallest = min(banks, key=lambda one: len(one[1]))
    if len(smallest) < max(samples or 2, 2):
        needed = f"--samples {samples}" if samples else "diversity needs at least 2"
        raise FramiError(f"{name} has {len(smallest)} {'clip' if len(smallest) == 1 else 'clips'}, but {needed}")
    return samples or len(smallest)


def _check(banks: Banks, teacher: Checkpoint) -> None:
    """FramiError when a bank was not made from these weights."""
    for name, bank in banks:
        named, own = bank.manifest["settings"]["teacher"], teacher.card.name
        if named != own:
            made = f"{name} was made from '{named}', not from '{own}'"
            raise FramiError(f"{made}: features of two teachers do not compare")
        if not bank.made_from(teacher.card) or bank.spec != teacher.spec:
            raise FramiError(f"{name} was made from other weights of '{own}'; make the bank again")


def _real(
    teacher: Checkpoint, dataset: str | None, split: str, data_folder: str | None, report: Report, skip: Skip
) -> tuple[LogMels | None, list[str]]:
    """Real clips to measure with, or None and a remark on how to get them where none were requested."""
    known = teacher.card.dataset
    if not (dataset or (known in DATASETS and (data_folder or os.environ.get("FRAMI_DATA")))):
        try:
            data.locate(known, data_folder)
        except data.DataError as error:
            return None, [f"without real clips there is no coverage, density or Fréchet distance: {error}"]
    return recordings(teacher, dataset, split, data_folder, report, skip), []


def _few_classes(banks: Banks, count: int, classes: int) -> list[str]:
    """A remark where banks do not target every class, which lowers their coverage."""
    targets = {name: len(bank.target[:count].unique()) for name, bank in banks}
    few = [f"{name} targets {number}" for name, number in targets.items() if number < classes]
    return [f"of {classes} classes {', '.join(few)}: that alone lowers coverage and Vendi"] if few else []
