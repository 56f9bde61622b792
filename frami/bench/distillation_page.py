"""The page of distillations: tables, sentences and pictures of what ``frami bench distillation`` measured."""

import re
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from frami.bench.distillation import METHODS, OBJECTIVES_ALONE, ROWS
from frami.bench.pages import heading, intro, mean_sd, picture, plus_minus, table
from frami.distill import OBJECTIVES
from frami.features.gallery import EXPLORE

#: Runs of each row that the finished table has.
SEEDS = 3

#: Behind the accuracy of runs that ended before their first clips.
_NO_CLIP = " †"
_NOTE = "† No clip was finished within the time: the accuracy of an untrained student; run once."
#: The two objectives that every source of clips is measured with.
_BOTH = ("logits", "frami")

Runs = dict[str, list[dict]]  # runs of each row by its name, in the order of the table


class Section(NamedTuple):
    """What the runs of a section share."""

    dataset: str
    held_out: str
    student: str
    budget: float
    device: str
    at_once: int
    batch: int
    weights: str
    pace: int

    @property
    def conditions(self) -> tuple:
        """All but the teacher and its recordings."""
        return self.student, self.budget, self.device, self.at_once, self.batch, self.pace

    @property
    def title(self) -> str:
        return f"`{self.student}`, {self.budget:g} s on {self.device}"


Sections = dict[Section, Runs]


def page(results: dict[str, dict], out: Path) -> list[str]:
    """Lines of the page, and its pictures beside ``out``: a section for each data set, student, budget and device;
    where several parts of a data set were held out in turn, the first alone has a section, and one table sets all of
    them side by side."""
    sections, drawn = _sections(results), set()
    turns = _in_turn(sections)
    first = {kinds[0]: sections[kinds[0]] for kinds in turns}
    lines = intro("distillation")
    lines += [*_overview(first), *_objectives(first), *_best_rows(first), *_all_parts(turns, sections)]
    for section, runs in sorted(first.items()):
        lines += [
            *heading(
                f"{section.dataset}: {section.held_out} held out",
                f"Teacher {_teacher(runs):.1%}. Student `{section.student}`, {section.budget:g} s a run on "
                f"{section.device}. The command's options: `--budget {section.budget:g}s --clips {section.at_once} "
                f"--batch {section.batch} --student {section.student}`.",
            ),
            *_noted(
                ["row", "accuracy", "agreement", "clips", "steps", "parameters", "runs"],
                [[f"`{name}`", *_figures(cells)] for name, cells in runs.items()],
            ),
            *_missing(runs),
            *_gains(runs),
        ]
        where = re.sub(r"[^a-z0-9]+", "-", section.device.lower()).strip("-")
        name = f"{section.dataset}-{section.held_out}-{section.student}-{section.budget:g}s"
        path = out.with_name(f"{out.stem}-{name}-{where}.png")
        if path in drawn:  # another teacher of the same recordings
            path = path.with_stem(f"{path.stem}-{section.weights}")
        if len(runs) > 1:
            drawn.add(path)
            title = f"{section.dataset}, {section.held_out} held out: {section.student}, {section.budget:g} s a run"
            _draw(runs, title, path)
            lines += ["", f"![Accuracy of each row]({path.name})"]
    return lines


def _sections(results: dict[str, dict]) -> Sections:
    """Measurements by what they share and by row, without those of a row's recipe when it had other settings."""
    now, sections = {row.name: row.fingerprint for row in ROWS}, {}
    for name, cell in results.items():
        if _fingerprint(name, cell) == now.get(cell["row"]):
            runs = sections.setdefault(Section(*(cell[field] for field in Section._fields)), {})
            runs.setdefault(cell["row"], []).append(cell)
    return {
        section: {row.name: runs[row.name] for row in ROWS if row.name in runs} for section, runs in sections.items()
    }


def _fingerprint(name: str, cell: dict) -> str:
    """A cell's own, or the one in its name: the earliest cells have no other."""
    *_, what, _ = name.split(" | ") if name.count(" | ") > 1 else ("", "", "")
    return cell.get("fingerprint", what.removeprefix(cell["row"]).strip())


def _in_turn(sections: Sections) -> list[list[Section]]:
    """Sections that differ in the part held out only, in order; two teachers of the same part are not in turn."""
    found: dict[tuple, list[list[Section]]] = {}
    for section in sorted(sections):
        turns = found.setdefault((section.dataset, *section.conditions), [])
        turn = next((turn for turn in turns if section.held_out not in {other.held_out for other in turn}), None)
        if turn is None:
            turns.append(turn := [])
        turn.append(section)
    return [turn for turns in found.values() for turn in turns]


def _alike(sections: Sections) -> list[tuple[str, dict[str, Runs]]]:
    """For each student, budget and device its title, and the runs by data set (and what is held out)."""
    found: dict[tuple, tuple[str, dict[str, Runs]]] = {}
    for section, runs in sorted(sections.items()):
        _, places = found.setdefault(section.conditions, (section.title, {}))
        places[f"{section.dataset} ({section.held_out})" if section.dataset in places else section.dataset] = runs
    return list(found.values())


def _overview(sections: Sections) -> list[str]:
    """Tables of all sources of clips, with both objectives, on each data set."""
    labels = {f"{name} + ": f"`{name}`" for name in METHODS}
    labels |= {f"bank of {name}, ": f"*ready bank of `{name}`*" for name in EXPLORE}
    labels |= {"real clips, ": "*real training clips*", "noise, ": "*noise*"}
    lines = []
    for title, places in _alike(sections):
        rows = []
        for start, label in labels.items():
            cells = [runs.get(start + objective, []) for runs in places.values() for objective in _BOTH]
            if any(cells):
                rows.append([label, *map(_accuracy, cells)])
        heads = ["clips by", *(f"{place}, `{objective}`" for place in places for objective in _BOTH)]
        about = "`logits` (KD loss alone) and `frami` (with frame-level features and embedding)"
        lines += heading(f"All together: {title}", f"Accuracy in % with the objectives {about}:")
        lines += _noted(heads, rows)
    return lines


def _objectives(sections: Sections) -> list[str]:
    """Tables of what each objective makes of the same recipe's clips."""
    lines = []
    for title, places in _alike(sections):
        there = {row for runs in places.values() for row in runs}
        for recipe in ("frami", "frami-flash"):
            if there & {f"{recipe} + {name}" for name in OBJECTIVES_ALONE}:
                rows = [
                    [f"`{name}`", *(_accuracy(runs.get(f"{recipe} + {name}", [])) for runs in places.values())]
                    for name in OBJECTIVES
                    if f"{recipe} + {name}" in there
                ]
                lines += heading(f"Objectives on the clips of `{recipe}`: {title}")
                lines += _noted(["objective", *places], rows)
    return lines


def _best_rows(sections: Sections) -> list[str]:
    """Each data set's best method in a sentence: beside the best published recipe, the real clips and the teacher."""
    lines = []
    for section, runs in sorted(sections.items()):
        shares = {name: _percent(cells) for name, cells in runs.items()}
        mean = {name: fmean(values) for name, values in shares.items()}
        own = [name for name in mean if _is_own(name)]
        published = [name for name in mean if "+" in name and not name.startswith("frami")]
        real = [name for name in mean if name.startswith("real")]
        if not (own and published and real):
            continue
        best, other, bound = (max(names, key=mean.__getitem__) for names in (own, published, real))
        teacher = 100 * _teacher(runs)
        lines.append(
            f"- {section.dataset}, {section.held_out} held out, {section.budget:g} s: `{best}` {mean[best]:.1f}; best "
            f"published recipe `{other}` {mean[other]:.1f} ({mean[best] - mean[other]:+.1f}, "
            f"{_apart(shares[best], shares[other])}); `{bound}` {mean[bound]:.1f} ({mean[best] - mean[bound]:+.1f}); "
            f"teacher {teacher:.1f} ({mean[best] - teacher:+.1f})."
        )
    head = "The best of FRAMI's rows (recipe `frami` or a warm-started form, objective `frami`), in points of accuracy:"
    return ["", head, "", *lines] if lines else []


def _all_parts(turns: list[list[Section]], sections: Sections) -> list[str]:
    """A table for each data set whose parts were held out in turn: the rows that were run on all of them."""
    lines = []
    for kinds in turns:
        if len(kinds) == 1:
            continue
        parts = [sections[kind] for kind in kinds]
        means = {
            name: [fmean(_percent(part[name])) for part in parts]
            for name in parts[0]
            if all(name in part for part in parts)
        }
        teacher = [100 * _teacher(part) for part in parts]
        rows = [
            [label, *(f"{value:.1f}" for value in values), plus_minus(*mean_sd(values))]
            for label, values in [("*teacher*", teacher), *((f"`{name}`", values) for name, values in means.items())]
        ]
        lines += heading(
            f"{kinds[0].dataset}: {len(kinds)} parts held out in turn, {kinds[0].title}",
            "Accuracy in %, of each part the mean of its runs; each part has a teacher that was not trained on it. "
            "Last, mean ± standard deviation over the parts:",
        )
        lines += table(["row", *(kind.held_out for kind in kinds), "all"], rows)
        own = [name for name in means if _is_own(name)]
        if own:
            best = max(own, key=lambda name: fmean(means[name]))
            others = {name: values for name, values in means.items() if not name.startswith("frami")}
            ahead = [
                f"`{name}` {plus_minus(*mean_sd([a - b for a, b in zip(means[best], values, strict=True)]), '+.1f')}"
                for name, values in (others | {"teacher": teacher}).items()
            ]
            lines += ["", f"`{best}`, in points of accuracy above the others, part by part: {'; '.join(ahead)}."]
    return lines


def _is_own(row: str) -> bool:
    return row.startswith("frami") and row.endswith("+ frami")


def _apart(a: list[float], b: list[float]) -> str:
    """Whether two rows' runs differ by more than their spread."""
    if min(len(a), len(b)) < 2:
        return "one run: no spread yet"
    return "outside the spread" if abs(fmean(a) - fmean(b)) > stdev(a) + stdev(b) else "within the spread"


def _figures(cells: list[dict]) -> list[str]:
    """Cells of a row of a section's table."""
    counts = [f"{fmean(cell[name] for cell in cells):,.0f}" for name in ("clips", "steps", "parameters")]
    agreement = plus_minus(*mean_sd(_percent(cells, "agreement")))
    return [_accuracy(cells), agreement, *counts, str(len(cells))]


def _missing(runs: Runs) -> list[str]:
    """What has not been measured yet, in a sentence."""
    banks = any(row.name in runs for row in ROWS if row.source == "bank")  # not every teacher has them
    missing = [f"`{row.name}`" for row in ROWS if row.name not in runs and (banks or row.source != "bank")]
    many = len(missing) > len(runs)
    parts = [f"no run yet of {f'the other {len(missing)} rows' if many else ', '.join(missing)}"] if missing else []
    with_clips = {name: len(cells) for name, cells in runs.items() if not _no_clip(cells)}
    short = {name: count for name, count in with_clips.items() if count < SEEDS}
    if short:
        of = "" if short == with_clips else f" of {', '.join(f'`{name}`' for name in short)}"
        parts.append(f"{min(short.values())} of {SEEDS} seeds{of}")
    return ["", f"Still open: {'; '.join(parts)}."] if parts else []


def _gains(runs: Runs) -> list[str]:
    """What the objective ``frami`` is worth to each method, where both objectives were run."""
    mean = {name: fmean(_percent(cells)) for name, cells in runs.items() if not _no_clip(cells)}
    gains = {
        name.removesuffix(" + logits"): mean[name.replace("logits", "frami")] - value
        for name, value in mean.items()
        if name.endswith(" + logits") and name.replace("logits", "frami") in mean
    }
    if not gains:
        return []
    listed = ", ".join(f"`{name}` {gain:+.1f}" for name, gain in gains.items())
    head = "Objective `frami` instead of `logits`, in points of accuracy"
    return ["", f"{head}: {listed}; mean {fmean(gains.values()):+.1f}."]


_COLOURS = {"methods": "#b5306f", "objectives": "#6f1d4d", "banks": "#2f6fb7", "references": "#7b7285"}


def _draw(runs: Runs, title: str, path: Path) -> None:
    """Bars of each row's accuracy with its spread, the teacher's as a line."""
    means, spread = zip(*(mean_sd(_percent(cells)) for cells in runs.values()), strict=True)
    colours = [_COLOURS[cells[0]["group"]] for cells in runs.values()]
    with picture(path, 7.2, 0.6 + 0.22 * len(runs)) as axes:
        axes.barh(range(len(runs)), means, xerr=[sd or 0 for sd in spread], color=colours, height=0.72)
        axes.axvline(100 * _teacher(runs), color="#2b2533", linestyle="--", linewidth=1)
        axes.set_yticks(range(len(runs)), list(runs), fontsize=7)
        axes.invert_yaxis()
        axes.set(xlabel="accuracy on held-out recordings in %", xlim=(0, 100))
        axes.set_title(f"{title} (dashed: the teacher)", fontsize=9, loc="left")


def _teacher(runs: Runs) -> float:
    """Accuracy of the teacher, 0 to 1."""
    return next(iter(runs.values()))[0]["teacher"]


def _percent(cells: list[dict], name: str = "accuracy") -> list[float]:
    return [100 * cell[name] for cell in cells]


def _accuracy(cells: list[dict]) -> str:
    return plus_minus(*mean_sd(_percent(cells))) + (_NO_CLIP if _no_clip(cells) else "")


def _no_clip(cells: list[dict]) -> bool:
    return bool(cells) and not any(cell["clips"] for cell in cells)


def _noted(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A table, and the note that explains its marks if it has any."""
    lines = table(heads, rows)
    return [*lines, "", _NOTE] if any(_NO_CLIP in line for line in lines) else lines
