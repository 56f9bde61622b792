"""How many clips, how many steps: what each is worth on development parts, and the law by which a budget is divided."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch.nn.functional as F

from frami import banks
from frami.banks import Bank
from frami.bench.distillation import PACE
from frami.bench.pages import heading, intro, table
from frami.bench.parts import development, fingerprint
from frami.bench.results import Context, Report, Results
from frami.checkpoints import Checkpoint
from frami.distill import Settings, distill
from frami.features.embeddings import embed
from frami.inversion import InversionSettings, invert
from frami.inversion import recipe as row
from frami.inversion.recipes import fingerprint as of_recipe

#: Exponents that the fits try.
EXPONENTS = np.arange(0.1, 2.05, 0.05)


@dataclass(frozen=True)
class Plan:
    """What is measured: each number of clips with each number of steps, with these settings of a distillation."""

    clips: tuple[int, ...]
    steps: tuple[int, ...]
    settings: Settings


def key(teacher: Checkpoint, plan: Plan, clips: int, steps: int, parts: str) -> str:
    """Name of a measurement: another teacher, recipe, setting or part makes another name."""
    card, seed = teacher.card, plan.settings.seed
    return f"{card.name} {card.sha256[:8]} | {how(plan.settings)} | {parts} | {clips} clips {steps} steps | {seed}"


def how(s: Settings) -> str:
    """What measurements share that one law is fitted to."""
    return f"{s.recipe} {of_recipe(row(s.recipe))} {s.student} {s.objective} lr{s.lr:g} {s.batch} pace{PACE}"


def comparable(cells: dict[str, dict], settings: Settings) -> list[dict]:
    """Measurements of all teachers with these settings, of any seed."""
    return [cell for name, cell in cells.items() if name.split(" | ")[1] == how(settings)]


def fill(teacher: Checkpoint, plan: Plan, results: Results, here: Context) -> list[dict]:
    """Measure what is not among the results yet; returns all rows of this teacher and plan.

    A row: clips, steps, and for each development part the mean Kullback-Leibler divergence of the student's prediction
    from the teacher's, and their agreement. Raises FramiError.
    """
    parts = development(teacher, here)
    stamp = fingerprint(parts)
    wanted = {(n, s): key(teacher, plan, n, s, stamp) for n, s in itertools.product(plan.clips, plan.steps)}
    missing = [pair for pair, name in wanted.items() if results.get(name) is None]
    if missing:
        targets = [embed(teacher, part.clips, batch=128).logits for part in parts]
    for clips, pairs in itertools.groupby(missing, key=lambda pair: pair[0]):
        with TemporaryDirectory() as folder:
            with here.progress("step", f"{teacher.card.name}: {clips} clips") as report:
                bank = _bank(teacher, plan, clips, Path(folder), report)
            for _, steps in pairs:
                with here.progress("%", f"{teacher.card.name}: {clips} clips, {steps} steps") as report:
                    found = _measured(teacher, plan, steps, bank, parts, targets, report)
                about = {"teacher": teacher.card.name, "recipe": plan.settings.recipe, "student": plan.settings.student}
                results.put(wanted[clips, steps], about | {"clips": clips, "steps": steps, "parts": found})
    return [results.get(name) for name in wanted.values()]


def _bank(teacher: Checkpoint, plan: Plan, clips: int, folder: Path, report: Report) -> Bank:
    s = plan.settings
    settings = InversionSettings.of(teacher, s.recipe, samples=clips, batch=s.clips, seconds=None, seed=s.seed)
    writer = banks.create_for(teacher, settings, folder)
    banks.fill(writer, invert(teacher, settings, every=20), lambda state: report(state.done, state.total))
    return banks.load(folder)


def _measured(teacher, plan, steps, bank, parts, targets, report) -> list[dict]:
    run = replace(plan.settings, source="bank", budget=None, rounds=1, steps=steps)
    for state in distill(teacher, run, bank, every=2.0):
        report(int(100 * state.share), 100)
    student = Checkpoint(state.student.eval(), teacher.card, teacher.spec)
    found = []
    for part, target in zip(parts, targets, strict=True):
        logits = embed(student, part.clips, batch=128).logits
        divergence = F.kl_div(logits.log_softmax(1), target.log_softmax(1), reduction="batchmean", log_target=True)
        agreement = (logits.argmax(1) == target.argmax(1)).float().mean()
        found.append(
            {"part": part.kind, "clips": len(target), "divergence": float(divergence), "agreement": float(agreement)}
        )
    return found


@dataclass(frozen=True)
class Law:
    """``clips · N^-a + steps · S^-b + rest``: what a student misses after N clips and S steps; ``error`` : root of the
    mean squared relative error of the fit."""

    clips: float
    a: float
    steps: float
    b: float
    rest: float
    error: float

    def __call__(self, clips, steps):
        return self.clips * clips**-self.a + self.steps * steps**-self.b + self.rest


def fit(rows: Sequence[tuple[float, float, float]]) -> Law:
    """The law that fits rows (clips, steps, divergence) best, by relative error: factors of zero or more by
    non-negative least squares for each pair of exponents."""
    from scipy.optimize import nnls  # needs most of a second to be loaded

    n, s, y = np.array(rows, dtype=float).T
    best = None
    for a, b in itertools.product(EXPONENTS, EXPONENTS):
        columns = np.stack([n**-a, s**-b, np.ones_like(n)], 1)
        factors, left = nnls(columns / y[:, None], np.ones_like(y))
        if best is None or left < best[0]:
            best = left, Law(factors[0], float(a), factors[1], float(b), factors[2], left / len(y) ** 0.5)
    return best[1]


def common(groups: Sequence[Sequence[tuple[float, float, float]]]) -> Law:
    """A law for several teachers: the exponents that fit all of their rows best, by relative error, each with its own
    factors; ``clips`` is the geometric mean of what clips weigh against steps, whose factor is 1, and ``rest`` is 0:
    neither a common factor nor the rest matters to how a budget is divided."""
    from scipy.optimize import nnls  # needs most of a second to be loaded

    data = [np.array(rows, dtype=float).T for rows in groups]
    count, best = sum(len(n) for n, _, _ in data), None
    for a, b in itertools.product(EXPONENTS, EXPONENTS):
        left, ratios = 0.0, []
        for n, s, y in data:
            columns = np.stack([n**-a, s**-b, np.ones_like(n)], 1)
            (clips, steps, _), error = nnls(columns / y[:, None], np.ones_like(y))
            left += error**2
            ratios.append(clips / steps if steps else np.inf)
        if best is None or left < best[0]:
            ratio = float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-9)))))
            best = left, Law(ratio, float(a), 1.0, float(b), 0.0, (left / count) ** 0.5)
    return best[1]


def triples(rows: Sequence[dict]) -> list[list[tuple[float, float, float]]]:
    """Clips, steps and divergence of measurements, each teacher's together."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for measured in rows:
        found.setdefault(measured["teacher"], []).append((measured["clips"], measured["steps"], divergence(measured)))
    return list(found.values())


def divergence(measured: dict) -> float:
    """Of a row: the mean over its parts, so that none counts for its number of clips."""
    return float(np.mean([part["divergence"] for part in measured["parts"]]))


def page(rows: Sequence[dict]) -> list[str]:
    """Lines of the page of these rows."""
    teachers: dict[str, list[dict]] = {}
    for measured in sorted(rows, key=lambda measured: (measured["clips"], measured["steps"])):
        teachers.setdefault(measured["teacher"], []).append(measured)
    commands = [_command(name, own) for name, own in sorted(teachers.items())]
    lines = intro("allocation", commands="\n    ".join(commands))
    if len(teachers) > 1:
        law = common(triples(rows))
        about = (
            "Exponents that fit all teachers, and the geometric mean of what clips weigh against steps; a common "
            "factor, and what no time mends, do not matter to how a budget is divided: "
            f"{law.clips:.3g} · clips^-{law.a:.2f} + steps^-{law.b:.2f}; relative error {law.error:.1%}."
        )
        lines += heading("The law that divides a budget", about)
    for name, own in sorted(teachers.items()):
        law = fit([(m["clips"], m["steps"], divergence(m)) for m in own])
        about = (
            "Divergence from the teacher, mean of the development parts. "
            f"Fitted to this teacher alone: {law.clips:.3g} · clips^-{law.a:.2f} + {law.steps:.3g} · "
            f"steps^-{law.b:.2f} + {law.rest:.3g}; relative error {law.error:.1%}."
        )
        lines += heading(f"{name}: `{own[0]['student']}`, `{own[0]['recipe']}`", about)
        kinds = [part["part"] for part in own[0]["parts"]]
        heads = ["clips", "steps", "divergence", "fitted", *(f"agreement, {kind}" for kind in kinds)]
        lines += table(heads, [_cells(measured, law) for measured in own])
    return lines


def _command(name: str, own: Sequence[dict]) -> str:
    grid = " ".join(
        f"--{what} {','.join(str(value) for value in sorted({measured[what] for measured in own}))}"
        for what in ("clips", "steps")
    )
    return f"frami bench allocation --teachers {name} {grid} --data FOLDER"


def _cells(measured: dict, law: Law) -> list[str]:
    n, s = measured["clips"], measured["steps"]
    agreements = [f"{part['agreement']:.1%}" for part in measured["parts"]]
    return [str(n), str(s), f"{divergence(measured):.4f}", f"{law(n, s):.4f}", *agreements]
