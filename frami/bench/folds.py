"""Cross-validation: each fold of a data set in turn is the test of a teacher that all others train."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from frami import data
from frami.bench.fold_teachers import FoldTeacher, ready
from frami.bench.pages import heading, intro, mean_sd, plus_minus, table
from frami.bench.results import Context
from frami.cluster import Engine
from frami.data import DataError, Skip
from frami.errors import FramiError
from frami.evaluation import Report, evaluate, recall, shares
from frami.models import DEFAULT
from frami.paths import home


@dataclass(frozen=True)
class Plan:
    """What is trained. here : take turns among the folds that are here, where some are missing; chosen : test only
    these (all others train all the same); keep : folder of the teachers (default: ``FRAMI_HOME/folds``); settings :
    fields of ``TrainConfig``; skip_bad : leave out files that cannot be used."""

    dataset: str
    architecture: str = DEFAULT
    size: str = "base"
    here: bool = False
    chosen: tuple[str, ...] = ()
    keep: Path | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    skip_bad: bool = False

    def folder(self, folds: Sequence[str]) -> Path:
        """Where the teachers of these folds lie: another setting makes another folder."""
        known = data.info(self.dataset)
        what = [self.dataset, self.architecture, self.size, list(folds), dict(known.training) | dict(self.settings)]
        what += ["skip_bad"] * self.skip_bad
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
        return (self.keep or home() / "folds") / f"{plain(Path(self.dataset).name)}-{plain(self.size)}-{key}"


def plain(name: str) -> str:
    """Part of a file's name for any name."""
    return re.sub(r"[^\w-]+", "_", name)


def turns(plan: Plan, here: Context) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All folds that take part, and those of them that are tested. Raises FramiError where one is missing, DataError
    for a data set that is not here."""
    known = data.info(plan.dataset)
    there = {clip.fold for clip in data.index(plan.dataset, here.data_folder)}
    folds = tuple(fold for fold in known.folds if fold in there)
    missing = [fold for fold in known.folds if fold not in there]
    if missing and not plan.here:
        raise FramiError(
            f"{known.title}: no clip of {known.fold_kind} {', '.join(missing)} is here, so the figure would not be the "
            f"official one; complete the data set, or add --here to take turns among: {', '.join(folds)}"
        )
    if len(folds) < 2:
        raise FramiError(f"{known.title} here has only {known.fold_kind} {', '.join(folds)}; turns need two or more")
    unknown = [fold for fold in plan.chosen if fold not in folds]
    if unknown:
        raise DataError(f"{known.title} here has no fold '{', '.join(unknown)}'; choose out of: {', '.join(folds)}")
    return folds, plan.chosen or folds


def run(plan: Plan, here: Context, engine: Engine | None = None, skip: Skip = None) -> dict:
    """Train the teachers that are not there yet, each a task of ``engine`` (None: in this process), and measure each on
    its fold. Returns plain numbers; a run that was stopped goes on with the fold, and the epoch, where it was. skip :
    as of ``data.load``, of files in the folds that are tested. Raises FramiError subclasses."""
    known, (folds, tested) = data.info(plan.dataset), turns(plan, here)
    folder = plan.folder(folds)
    paths = {fold: folder / f"{folds.index(fold) + 1:02d}-{plain(fold)}" for fold in tested}
    ready(
        [_teacher(plan, fold, [other for other in folds if other != fold], paths[fold]) for fold in tested],
        here,
        engine,
    )
    reports: list[Report] = []
    rows = []
    for fold, path in paths.items():
        with here.progress("clip", f"{known.fold_kind} {fold}") as report:
            found = evaluate(path, plan.dataset, "test", here.data_folder, here.device, report, skip)
        reports.append(found)
        scores = {name: getattr(found, name) for name in ("clips", "accuracy", "interval", "balanced_accuracy")}
        rows.append({"fold": fold} | scores | {"teacher": str(path)})
    mean, sd = mean_sd([row["accuracy"] for row in rows])
    confusion = torch.stack([found.confusion for found in reports]).sum(0)
    per_class = recall(confusion).tolist()
    listed = len(data.index(plan.dataset, here.data_folder))
    return {
        "dataset": data.label(plan.dataset), "title": known.title, "fold_kind": known.fold_kind,
        "architecture": plan.architecture, "size": plan.size, "settings": dict(plan.settings),
        "parameters": reports[0].cost.parameters,
        "folds": list(folds), "whole": tested == known.folds and listed >= known.clips, "clips_here": listed,
        "clips_published": known.clips, "rows": rows, "mean": mean, "sd": sd,
        "pooled": shares(confusion) | {"clips": int(confusion.sum())},
        "per_class": {
            name: None if share != share else share for name, share in zip(known.classes, per_class, strict=True)
        },
        "confusion": confusion.tolist(),
    }  # fmt: skip


def _teacher(plan: Plan, fold: str, others: Sequence[str], path: Path) -> FoldTeacher:
    shape = {"architecture": plan.architecture, "size": plan.size}
    about = f"{data.info(plan.dataset).fold_kind} {fold} is the test"
    settings = shape | {"train_folds": others, "test_folds": [fold]} | dict(plan.settings)
    return FoldTeacher(about, path, plan.dataset, settings, plan.skip_bad)


def page(value: dict, command: str) -> list[str]:
    """Lines of the page of what ``run`` returned, made by ``command``."""
    kind, pooled = value["fold_kind"], value["pooled"]
    lines = intro("folds", command=command)
    what = f"{value['architecture']} {value['size']}, {value['parameters'] / 1e6:.2f} M parameters"
    there = f"{value['clips_here']:,} of the {value['clips_published']:,} published clips are here, "
    partial = "" if value["whole"] else f" {there}{len(value['rows'])} of the folds are tested."
    about = f"Folds that take part: {', '.join(value['folds'])}.{partial}"
    lines += heading(f"{value['title']}: {what}", about)
    rows = [
        [row["fold"], str(row["clips"]), f"{row['accuracy']:.1%}", _interval(row), f"{row['balanced_accuracy']:.1%}"]
        for row in value["rows"]
    ]
    mean = plus_minus(100 * value["mean"], None if value["sd"] is None else 100 * value["sd"])
    rows.append(["*mean ± standard deviation*", "", f"{mean}%", "", ""])
    together = ["*all clips together*", str(pooled["clips"]), f"{pooled['accuracy']:.1%}"]
    rows.append([*together, _interval(pooled), f"{pooled['balanced_accuracy']:.1%}"])
    return lines + table([f"{kind}, held out", "clips", "accuracy", "95%", "balanced"], rows)


def _interval(row: dict) -> str:
    low, high = row["interval"]
    return f"{low:.1%} to {high:.1%}"
