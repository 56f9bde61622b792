"""Measurements of distillation: every method under the same student, augmentation and time."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import product

import torch

from frami import banks
from frami.banks import Bank
from frami.bench import parts
from frami.bench.parts import Part
from frami.bench.results import TEACHERS, Context, Report, Results
from frami.checkpoints import Checkpoint
from frami.cluster import Engine, Failures, Local, Task
from frami.cluster.sent import SentTeacher
from frami.data import LogMels, label
from frami.device import machine, pick, threads
from frami.distill import Settings, distill
from frami.distill.loop import BudgetError
from frami.distill.objectives import LABELS
from frami.errors import FramiError
from frami.features.embeddings import recordings
from frami.features.gallery import EXPLORE
from frami.inversion.recipes import RECIPES, fingerprint
from frami.models import Classifier
from frami.paths import ASSETS

#: Published and own recipes of the table: all that are no ablation.
METHODS = tuple(row.name for row in RECIPES.values() if not row.ablation)
#: Objectives of the ablation, beside ``frami`` and ``logits``.
OBJECTIVES_ALONE = ("before", "after", "simkd", "fitnet", "attention")
#: Where the banks of ``EXPLORE`` lie, by teacher: of equal size, so that rows on them differ in the clips alone.
READY = ASSETS / "explore"
#: Version of how a run shares its time between making and learning, of the chains in which clips are made, of the
#: augmentation and the sounds beside, of a student's first weights and of the weights of what it learns; what was
#: measured under another is another row.
PACE = 7


@dataclass(frozen=True)
class Row:
    """A line of the table: what differs between the runs. ``group`` : methods, objectives, schedule, banks or
    references; ``changes`` : other settings by name."""

    name: str
    group: str
    objective: str
    recipe: str = "frami"
    source: str = "made"
    changes: tuple[tuple[str, str | int], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Of the recipe's settings, or of the ready banks; empty for references."""
        if self.source == "bank":
            found = [path for name in TEACHERS if (path := READY / name / self.recipe / banks.MANIFEST).is_file()]
            return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()[:8]
        return fingerprint(RECIPES[self.recipe]) if self.source == "made" else ""


ROWS: tuple[Row, ...] = (
    *(Row(f"{m} + {o}", "methods", o, recipe=m) for m in METHODS for o in ("frami", "logits")),
    *(Row(f"frami + {o}", "objectives", o) for o in OBJECTIVES_ALONE),
    Row("frami, in two turns", "schedule", "frami", changes=(("turns", 2),)),
    Row("frami, replay by priority", "schedule", "frami", changes=(("replay", "priority"),)),
    Row("frami, without made-up sounds", "schedule", "frami", changes=(("made_up", 0),)),
    Row("frami, sliced weights", "schedule", "frami", changes=(("start", "sliced"),)),
    Row("frami, new weights", "schedule", "frami", changes=(("start", "new"),)),
    *(Row(f"bank of {m}, {o}", "banks", o, m, "bank") for m in EXPLORE for o in ("logits", "frami")),
    Row("real clips, from scratch", "references", "labels", source="real"),
    Row("real clips, logits", "references", "logits", source="real"),
    Row("real clips, frami", "references", "frami", source="real"),
    Row("noise, logits", "references", "logits", source="noise"),
    Row("noise, frami", "references", "frami", source="noise"),
)


def chosen(names: Sequence[str] | None) -> list[Row]:
    """Rows whose name begins with one of ``names``, commas aside; all of them for None. Raises FramiError."""
    starts = tuple(name.replace(",", "") for name in names or [""])
    found = [row for row in ROWS if row.name.replace(",", "").startswith(starts)]
    if not found:
        raise FramiError(f"no such row; there are: {'; '.join(row.name for row in ROWS)}")
    return found


def bank(teacher: Checkpoint, row: Row) -> Bank | None:
    """The ready bank that a row learns from; None where this teacher has none."""
    folder = READY / teacher.card.name / row.recipe
    found = banks.load(folder) if (folder / banks.MANIFEST).exists() else None
    return found if found and found.made_from(teacher.card) else None


def fill(
    teacher: Checkpoint, rows: Sequence[Row], bases: Sequence[Settings], seeds: int, results: Results, here: Context,
    on: str = "reported", engine: Engine | None = None,
) -> None:  # fmt: skip
    """Measure the runs of these rows with each of these settings, seeds 0 to ``seeds`` - 1, that are not among the
    results yet, each a task of ``engine`` (None: in this process). on : which parts judge them, a name of ``parts.ON``.
    FramiError where a run could not be measured, once the others are."""
    engine = engine or Local()
    judges = parts.ON[on](teacher, here)
    marks = parts.fingerprint(judges)
    where = _expected(teacher, engine, here) or _machine_of(engine, here)

    def is_open(run: tuple[int, Settings, Row]) -> bool:
        """Without a clip in the time all seeds are alike: then once is enough."""
        seed, base, row = run
        cells = [results.get(key(teacher, row, base, other, marks, where)) for other in range(seeds)]
        measured = [cell for cell in cells if cell is not None]
        idle = row.source == "made" and measured and not any(cell["clips"] for cell in measured)
        return cells[seed] is None and not idle and (row.source != "bank" or bank(teacher, row) is not None)

    missing = [run for run in product(range(seeds), bases, rows) if is_open(run)]
    if not missing:
        return
    if engine.remote and (found := _machine_of(engine, here)) != where:
        where, missing = found, [run for run in product(range(seeds), bases, rows) if is_open(run)]
    card, training = teacher.card, None
    if any(row.source == "real" for *_, row in missing):
        with here.progress("clip", f"{card.name}: training clips") as report:
            training = recordings(teacher, None, "train", here.data_folder, report)
    if engine.remote:
        sent, shared = engine.share(SentTeacher.saved(teacher)), engine.share((judges, here.device_name))
        training = engine.share(training)
    else:
        judges = [part.heard(teacher) for part in judges]
        warm(teacher, bases[0])

    def tasks() -> Iterator[Task]:
        for seed, base, row in results.still_open(missing, is_open):
            clips = engine.share(bank(teacher, row)) if row.source == "bank" else training
            about = f"{card.name}: {row.name}, {length(base)}, seed {seed}"
            if engine.remote:
                yield Task(about, worker_cell, (sent, shared, row, base, seed, on, clips))
            else:
                yield Task(about, cell, (teacher, row, base, seed, on, judges, clips))

    failures = Failures("cells")
    unit = "cell" if engine.remote else "%"
    for ended in engine.run(tasks(), here.progress, unit=unit, label=card.name, total=len(missing)):
        if not failures.note(ended):
            results.put(*ended.value)
    failures.tell()


def cell(
    teacher: Checkpoint, row: Row, base: Settings, seed: int, on: str, judges: Sequence[Part],
    clips: LogMels | Bank | None, *, report: Report,
) -> tuple[str, dict]:  # fmt: skip
    """One run, measured: its key, and what is stored under it. judges : ``heard`` by the teacher; clips : as of
    ``learn``."""
    card, marks = teacher.card, parts.fingerprint(judges)
    found = measure(teacher, settings(row, base, seed), clips, judges, report)
    about = {
        "row": row.name, "group": row.group, "seed": seed, "teacher_name": card.name,
        "device": machine(teacher.device), "budget": base.budget or 0.0, "student": base.student,
        "length": length(base),
        "dataset": label(card.dataset), "held_out": ",".join(card.split["test"]), "at_once": base.clips,
        "batch": base.batch, "weights": card.sha256[:8], "pace": PACE, "fingerprint": row.fingerprint,
        "on": on, "measured_on": marks, "settings": others(base),
    }  # fmt: skip
    return key(teacher, row, base, seed, marks, machine(teacher.device)), found | about


def worker_cell(
    sent: SentTeacher, shared: tuple[Sequence[Part], str], row: Row, base: Settings, seed: int, on: str,
    clips: LogMels | Bank | None, *, report: Report,
) -> tuple[str, dict]:  # fmt: skip
    """``cell`` in another process. shared : what judges, not ``heard`` yet, and the name of a device."""
    judges, device = shared
    teacher = sent.load(device)
    ready = teacher.card.sha256, device, parts.fingerprint(judges), base
    if ready not in _READY:  # once in a process: the budget is for the run alone
        _READY.clear()
        warm(teacher, base)
        _READY[ready] = [part.heard(teacher) for part in judges]
    return cell(teacher, row, base, seed, on, _READY[ready], clips, report=report)


#: What a worker process has prepared for its last cell.
_READY: dict[tuple, list[Part]] = {}


def _machine(device: str, *, report: Report) -> str:
    return machine(pick(device))


def _expected(teacher: Checkpoint, engine: Engine, here: Context) -> str | None:
    """``machine`` of the workers as far as it is known before there is one, else None. On this machine they see the
    same devices, and have one thread each unless OMP_NUM_THREADS says another number (which Ray sets then)."""
    if not engine.remote:
        return machine(teacher.device)
    if not engine.here:
        return None
    with threads(torch.get_num_threads() if os.environ.get("OMP_NUM_THREADS") else 1):
        return machine(pick(here.device_name))


def _machine_of(engine: Engine, here: Context) -> str:
    """``machine`` of a worker; all of a sweep should be of one kind, as budgets of time are equal there alone."""
    failures = Failures("workers")
    (ended,) = engine.run([Task("machine", _machine, (here.device_name,))], here.progress, unit="worker", total=1)
    failures.note(ended)
    failures.tell()
    return ended.value


def key(teacher: Checkpoint, row: Row, base: Settings, seed: int, judges: str, where: str = "") -> str:
    """Name of a measurement: another teacher, device or setting, a changed recipe, other real clips make another name.
    judges : ``parts.fingerprint`` of these; where : ``machine`` of what measures it (default: where the teacher is)."""
    card = teacher.card
    what = f"{row.name} {row.fingerprint}".strip()
    common = f"{length(base)} {base.student} {base.clips}x{base.batch} {others(base)} pace{PACE}"
    of = f"{label(card.dataset)} {','.join(card.split['test'])} {card.sha256[:8]}"
    return f"{of} | {common} {where or machine(teacher.device)} | {judges} | {what} | {seed}"


def length(base: Settings) -> str:
    """How long a run is: seconds, as ``120s``, or rounds and the steps of each, as ``16x68``."""
    return f"{base.budget:g}s" if base.budget else f"{base.rounds}x{base.steps}"


def others(base: Settings) -> str:
    """Settings that neither a row nor an option of the command names, as ``name=value``; without those that are off."""
    named = {
        "student",
        "budget",
        "clips",
        "batch",
        "objective",
        "recipe",
        "source",
        "seed",
        "rounds",
        "steps",
        "made_up",
    }
    found = ((name, value) for name, value in sorted(asdict(base).items()) if name not in named and value)
    return " ".join(f"{name}={f'{value:g}' if isinstance(value, float) else value}" for name, value in found)


def settings(row: Row, base: Settings, seed: int) -> Settings:
    """Settings of a row's run: ``base`` but for what the row is about. Who learns true classes alone begins anew."""
    base = replace(base, **({"start": "new"} if row.objective == LABELS.name else {}) | dict(row.changes))
    return replace(base, objective=row.objective, recipe=row.recipe, source=row.source, seed=seed)


def measure(
    teacher: Checkpoint, run: Settings, clips: LogMels | Bank | None, judges: Sequence[Part], report: Report
) -> dict:
    """``learn``, and what each part judges of the student (``Part.judge``). Returns plain numbers."""
    student, found = learn(teacher, run, clips, report)
    return {"parts": [part.judge(student) for part in judges]} | found


def learn(
    teacher: Checkpoint, run: Settings, clips: LogMels | Bank | None, report: Report
) -> tuple[Classifier, dict]:  # fmt: skip
    """One run to its end; ``clips``: what it learns from where it makes none. Returns the student, and of the run
    agreement with the teacher on unseen made clips, the share of made clips that the teacher recognises as their
    targets, seconds, clips, steps, notes."""
    hits: list[torch.Tensor] = []
    with suppress(BudgetError):  # the student is untrained then, which is what this budget gives
        source = clips if run.source in ("real", "bank") else None
        for state in distill(teacher, run, source, every=0.2, now=clock(teacher)):
            report(int(100 * state.share), 100)
            if state.made is not None:
                hits.append(state.made.clips.target == state.made.clips.predicted)
    return state.student, {
        "made_agreement": None if math.isnan(state.agreement) else state.agreement,
        "recognised": round(float(torch.cat(hits).float().mean()), 5) if hits else None,
        "seconds": round(state.seconds, 2), "clips": state.clips, "steps": state.steps,
        "parameters": sum(p.numel() for p in state.student.parameters()), "notes": list(state.notes),
    }  # fmt: skip


def clock(teacher: Checkpoint) -> Callable[[], float]:
    """Clock of a budget: on one thread of a CPU the processor's, so that other work on the machine shortens a run
    less; else the wall's."""
    alone = teacher.device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def warm(teacher: Checkpoint, base: Settings) -> None:
    """A short run whose result is discarded: libraries load and choose their kernels outside the budget."""
    short = replace(base, budget=None, rounds=1, clips=base.clips, steps=6, source="made")
    for _ in distill(teacher, short, every=60):
        pass
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
