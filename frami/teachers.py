"""From a data set to a teacher: trained, measured on the held-out folds, written with its card."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from frami import checkpoints, data, files, locks, models, train
from frami.audio import MelSpec
from frami.checkpoints import Card
from frami.cost import parameters
from frami.curve import Curve
from frami.data.dataset import DatasetInfo
from frami.data.rerecorded import rerecorded
from frami.data.trained_on import facts
from frami.distributed import ALONE, Group
from frami.errors import FramiError
from frami.weights import stem


def train_teacher(
    dataset: str,
    out: str | Path,
    *,
    data_folder: str | Path | None = None,
    architecture: str = models.DEFAULT,
    size: str = "base",
    train_folds: Sequence[str] | None = None,
    validation_folds: Sequence[str] | None = None,
    test_folds: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    on_clips: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[train.Epoch], None] | None = None,
    skip: data.Skip = None,
    stop: Callable[[], bool] | None = None,
    group: Group = ALONE,
    **settings,
) -> Card | None:
    """Train a teacher, measure it once on the held-out folds and write ``out.safetensors`` and ``out.json``.

    By default all folds but the data set's test fold train. The best epoch is chosen on ``validation_folds``, or on the
    share ``validation`` of the training clips (``hold_out``). A training that was cut off goes on from its last epoch
    (``out.training``), its learning curve is kept (``out.curve.csv``); a finished one is replaced with ``overwrite``
    only. skip : as of ``data.load``. Where ``stop()`` turns true the training ends after the epoch at work, and the
    best one so far becomes the teacher (FramiError where none was finished). group : processes that train together,
    as of ``train.train``, all called so; all but the main one write nothing and return None. ``settings`` replace
    fields of ``TrainConfig`` and the data set's own. Raises FramiError subclasses, InUseError where another process
    writes this checkpoint.
    """
    with group.main_first():
        known = data.info(dataset)
        out = stem(out)
        if not out.name:
            raise FramiError(f"--out {out}: a folder; name the checkpoint in it, for example {out / 'my-teacher'}")
        lock = locks.checkpoint(out) if group.main else None
        if group.main and checkpoints.exists(out) and not overwrite:
            raise FramiError(f"{out}.safetensors is there already; choose another --out, or add --overwrite")
        spec = MelSpec()
        config = train.TrainConfig(**(dict(known.training) | settings))
        torch.manual_seed(config.seed)
        model = models.build(size, len(known.classes), spec.n_mels, architecture).to(device)
        folds = _folds(known, data.index(dataset, data_folder), train_folds, validation_folds, test_folds)
        if group.main:
            files.try_writing(out.with_name(out.name + ".curve.csv"))
        counted = _until(stop, on_clips)
        read = {
            part: data.load(dataset, named, data_folder, spec, progress=counted, skip=skip)
            for part, named in folds.items()
            if named
        }
        training, validation = read["train"], read.get("validation")
        if validation is None and config.validation:
            kept, held = hold_out(training.clips, config.validation, config.seed)
            training, validation = training.take(kept), training.take(held) if held else None
        versions = rerecorded(training, config.versions, config.seed, counted)
    state, curve = out.with_name(out.name + ".training"), Curve(out)
    for epoch in train.train(model, training, config, state, validation, versions, curve.add, stop, group):
        if on_epoch:
            on_epoch(epoch)
    if not group.main:
        return None
    done = curve.rows[-1]["epoch"] if curve.rows else config.epochs
    measured = train.evaluate(model, read["test"])
    lengths = sorted(len(frames) for frames in training.frames)
    untrained = [name for label, name in enumerate(known.classes) if not (training.labels == label).any()]
    card = Card(
        name=out.name,
        kind="teacher",
        dataset=known.name,
        title=known.title,
        classes=known.classes,
        mel_spec=spec.to_dict(),
        model=model.config.to_dict(),
        parameters=parameters(model),
        split={part: list(named) for part, named in folds.items() if named},
        accuracy=round(measured.accuracy, 4),
        clips=measured.clips,
        licence="Apache-2.0",
        data_licence=known.licence,
        training=asdict(config)
        | {"size": size, "clips": len(training), "validation_clips": len(validation or ()), "best_epoch": curve.best}
        | ({"classes_without_clips": untrained} if untrained else {})
        | ({"stopped_after": done} if done < config.epochs else {})
        | facts(known, skip is not None),
        evaluation=f"frami evaluate {out.name if out.is_absolute() else out.as_posix()}"
        + ("" if known.own else f" --dataset {dataset} --split {','.join(folds['test'])}"),
        seconds=round(spec.seconds(lengths[len(lengths) // 2]), 2),
        measured=_measured(measured, known.classes),
    )
    checkpoints.save(out, model, card)
    state.unlink(missing_ok=True)
    lock.release()
    return card


def _until(stop: Callable[[], bool] | None, report: Callable[[int, int], None] | None):
    """A report of clips that are read, which ends the training where that is to stop already."""
    if stop is None:
        return report

    def counted(done: int, total: int) -> None:
        if stop():
            raise FramiError("stopped before its first epoch; nothing of it is kept but the recordings' log-Mels")
        if report:
            report(done, total)

    return counted


def _measured(found: train.Evaluation, classes: Sequence[str]) -> dict:
    """An evaluation as a card keeps it; classes without a clip are left out."""
    shares = zip(classes, found.per_class, strict=True)
    return {
        "interval": [round(end, 4) for end in found.interval],
        "balanced_accuracy": round(found.balanced, 4),
        "per_class": {name: round(share, 4) for name, share in shares if share is not None},
    }


def _folds(
    known: DatasetInfo, clips: Sequence[data.Clip], train_folds, validation_folds, test_folds
) -> dict[str, tuple[str, ...]]:
    """The folds that train, choose the best epoch and test; those that are not named are the data set's own."""
    here = {clip.fold for clip in clips}
    test = tuple(test_folds or [fold for fold in known.test_folds if fold in here] or known.test_folds)
    validation = tuple(validation_folds or () if train_folds or test_folds else known.validation_folds)
    validation = tuple(validation_folds or (fold for fold in validation if fold in here))
    rest = (fold for fold in known.folds if fold in here and fold not in test + validation)
    folds = {"train": tuple(train_folds or rest), "validation": validation, "test": test}
    for one, other in (("train", "test"), ("validation", "test"), ("train", "validation")):
        both = set(folds[one]) & set(folds[other])
        if both:
            named = {"train": "training", "validation": "validation", "test": "testing"}
            raise FramiError(
                f"fold {', '.join(sorted(both))} is named for {named[one]} and for {named[other]}; keep them apart"
            )
    if not folds["train"]:
        more = "; a class needs two recordings at least, and two groups where groups are given" if known.own else ""
        raise FramiError(f"no fold is left to train on; {known.title} here has only: {', '.join(sorted(here))}{more}")
    return folds


def hold_out(clips: Sequence[data.Clip], share: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Positions of the clips that train and of those that choose the best epoch, about ``share`` of each class.

    No source is on both sides, unless there are fewer than ten of them or one is more than twice the share; then single
    files are held out. A class keeps at least half of its clips for training.
    """
    sources = Counter(clip.source for clip in clips)
    whole = len(sources) >= 10 and max(sources.values()) <= max(1, 2 * share * len(clips))
    groups: dict[str, list[int]] = {}
    for position in np.random.default_rng(seed).permutation(len(clips)).tolist():
        clip = clips[position]
        groups.setdefault(clip.source if whole else str(clip.file or clip.stem), []).append(position)
    sizes = Counter(clip.label for clip in clips)
    left = {label: round(share * size) for label, size in sizes.items()}
    most = {label: size // 2 for label, size in sizes.items()}
    held: list[int] = []
    for members in groups.values():
        labels = Counter(clips[i].label for i in members)
        wanted = any(left[label] > 0 for label in labels)
        if wanted and all(count <= most[label] for label, count in labels.items()):
            held += members
            for label, count in labels.items():
                left[label] -= count
                most[label] -= count
    return sorted(set(range(len(clips))) - set(held)), sorted(held)
