"""How long a student takes, from nothing, until it predicts what its teacher predicts of real clips.

A run divides its time between making clips and learning from them by the whole of it, so where a long run stands on
its way says nothing of a shorter one: several budgets are run, each to its end.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from frami.bench.distillation import METHODS, ROWS, Row
from frami.bench.distillation_page import Runs, Section, of_earlier, percent, sections
from frami.bench.folds import plain
from frami.bench.pages import heading, intro, mean_sd, picture, plus_minus, table
from frami.bench.parts import hardest

#: Seconds of the runs, and shares of real clips, unless others are named.
BUDGETS, MARKS = (30.0, 60.0, 120.0, 240.0), (0.8, 0.85, 0.9)
#: Rows unless others are named: each method with the teacher's features reused, and real clips as the limit.
DEFAULT: tuple[Row, ...] = tuple(
    row for row in ROWS if row.name in {*(f"{method} + frami" for method in METHODS), "real clips, frami"}
)

Budgets = dict[float, Runs]  # runs of each row by their budget in seconds, in order


def page(results: dict[str, dict], out: Path, marks: Sequence[float]) -> list[str]:
    """Lines of the page, and its pictures beside ``out``: a section for each teacher, with the seconds to each of
    ``marks`` and the agreement at each budget, by strangers together and by each part."""
    lines, drawn = [*intro("time-to-agreement"), *of_earlier(results)], set()
    for section, budgets in sorted(_teachers(results).items()):
        judged = next(iter(next(iter(budgets.values())).values()))[0]["parts"]
        hard = hardest(judged)
        single = sum(part["kind"] == hard for part in judged) == 1
        parts = [(hard, None), *((p["kind"], p["name"]) for p in judged if not (single and p["kind"] == hard))]
        lines += heading(
            f"{section.dataset}: {section.held_out} held out, `{section.student}` on {section.device}",
            f"The command's options: `{section.options}`.",
        )
        for kind, name in parts:
            some = [part for part in judged if part["kind"] == kind and name in (None, part["name"])]
            title = f"{kind} ({', '.join(part['name'] for part in some)}), {sum(part['clips'] for part in some)} clips:"
            lines += ["", title, *_table(budgets, kind, name, marks)]
        path = out.with_name(f"{out.stem}-{plain(f'{section.dataset}-{section.held_out}-{section.student}')}.png")
        if path in drawn:
            path = path.with_stem(f"{path.stem}-{section.weights}-{section.measured_on}")
        drawn.add(path)
        _draw(budgets, hard, marks, f"{section.dataset}, {section.held_out} held out: {hard}", path)
        lines += ["", f"![Agreement against seconds]({path.name})"]
    return lines


def _teachers(results: dict[str, dict]) -> dict[Section, Budgets]:
    """Runs by all that they share but the budget."""
    found: dict[Section, Budgets] = {}
    for section, runs in sorted(sections(results).items(), key=lambda pair: pair[0].budget):
        if section.budget:
            found.setdefault(section._replace(budget=0.0, length=""), {})[section.budget] = runs
    return found


def _table(budgets: Budgets, kind: str, name: str | None, marks: Sequence[float]) -> list[str]:
    heads = ["row", *(f"to {100 * mark:g}%" for mark in marks), *(f"in {budget:g} s" for budget in budgets)]
    rows = []
    for row in _rows(budgets):
        cells = {budget: runs.get(row, []) for budget, runs in budgets.items()}
        agrees = {budget: percent(some, kind, "agreement", name) for budget, some in cells.items()}
        spent = [seconds_to(cells, agrees, mark) for mark in marks]
        reached = ["–" if seconds is None else f"{seconds:.0f} s" for seconds in spent]
        rows.append([f"`{row}`", *reached, *(plus_minus(*mean_sd(values)) for values in agrees.values())])
    return table(heads, rows)


def seconds_to(cells: dict[float, list[dict]], agrees: dict[float, list[float]], mark: float) -> float | None:
    """Mean seconds of the shortest runs whose mean agreement (in %) reaches ``mark`` (0 to 1); None where none does."""
    for budget, values in sorted(agrees.items()):
        if values and fmean(values) >= 100 * mark:
            return fmean(cell["seconds"] for cell in cells[budget])
    return None


def _rows(budgets: Budgets) -> list[str]:
    there = {row for runs in budgets.values() for row in runs}
    return [row.name for row in ROWS if row.name in there]


def _draw(budgets: Budgets, kind: str, marks: Sequence[float], title: str, path: Path) -> None:
    """A line for each row: mean agreement against seconds, with its spread; the marks dashed."""
    with picture(path, 7.2, 4.2) as axes:
        for row in _rows(budgets):
            cells = [some for runs in budgets.values() if (some := runs.get(row))]
            seconds = [fmean(cell["seconds"] for cell in some) for some in cells]
            means, spreads = zip(*(mean_sd(percent(some, kind, "agreement")) for some in cells), strict=True)
            style = {"linestyle": "--", "color": "#7b7285"} if row.startswith("real") else {}
            axes.errorbar(seconds, means, [sd or 0 for sd in spreads], label=row, marker="o", capsize=2, **style)
        for mark in marks:
            axes.axhline(100 * mark, color="#2b2533", linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks(list(budgets), [f"{budget:g}" for budget in budgets])
        axes.minorticks_off()
        axes.set(xlabel="seconds from nothing", ylabel="agreement with the teacher in %", ylim=(0, 100))
        axes.set_title(title, fontsize=9, loc="left")
        axes.legend(frameon=False, fontsize=7)
