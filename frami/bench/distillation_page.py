"""The page of distillations: tables, sentences and pictures of what ``frami bench distillation`` measured."""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from frami.bench.distillation import PACE, ROWS, others
from frami.bench.folds import plain
from frami.bench.pages import heading, intro, mean_sd, picture, plus_minus, table
from frami.bench.parts import HELD_OUT, hardest, pooled
from frami.distill import Settings

#: Runs of each row that the finished table has.
SEEDS = 3

#: Behind the figures of runs that ended before their first clips.
_NO_CLIP = " †"
_NOTE = "† No clip was finished within the time: an untrained student; run once."

#: What came after the measurements of a version: 5, 6, and 7.
_FITTED = (
    "**The tables below are of students that were not fitted.** Since then each layer of a student is first fitted to",
    "what its teacher computes, and frame-level features count eight times ([method.md](../method.md)): what students",
    "reach so is in [distillation.md](distillation.md).",
)
_MADE_UP = (
    "**The tables below are of students that heard made clips alone.** Since then sounds that were made up without the",
    "teacher stand beside them ([method.md](../method.md)): what students reach so is in",
    "[distillation.md](distillation.md).",
)
_CHAINS = (
    "**The tables below are of students whose clips came from two chains of batches that began apart.** A first batch",
    "is poor, and here there were two, of the same classes. Since then both chains go on from one first batch, and",
    "within a budget one thread has one chain ([method.md](../method.md)): what students reach so is in",
    "[distillation.md](distillation.md).",
)
_SINCE = {4: _FITTED, 5: _MADE_UP, 6: _CHAINS}

Runs = dict[str, list[dict]]  # runs of each row by its name, in the order of the table


class Section(NamedTuple):
    """What the runs of a section share. ``budget`` : seconds, 0 where clips and steps are counted; ``length`` : as of
    ``distillation.length``."""

    dataset: str
    held_out: str
    student: str
    budget: float
    length: str
    device: str
    at_once: int
    batch: int
    weights: str
    on: str
    measured_on: str

    @property
    def conditions(self) -> tuple:
        """All but the teacher and its recordings."""
        return self.student, self.budget, self.length, self.device, self.at_once, self.batch, self.on

    @property
    def title(self) -> str:
        where = ", development parts" if self.on != "reported" else ""
        return f"`{self.student}`, {self.extent} on {self.device}{where}"

    @property
    def extent(self) -> str:
        """How long a run is, in words."""
        if self.budget:
            return f"{self.budget:g} s"
        rounds, steps = map(int, self.length.split("x"))
        return f"{rounds * self.at_once:,} clips and {rounds * steps:,} steps"

    @property
    def duration(self) -> str:
        """The command's option for it."""
        return f"--budget {self.length}" if self.budget else "--rounds {} --steps {}".format(*self.length.split("x"))

    @property
    def options(self) -> str:
        """The others of the command that makes its runs."""
        on = "" if self.on == "reported" else f" --on {self.on}"
        return f"--clips {self.at_once} --batch {self.batch} --student {self.student}{on}"


Sections = dict[Section, Runs]


def page(results: dict[str, dict], out: Path) -> list[str]:
    """Lines of the page, and its pictures beside ``out``: a table of all data sets for each student, budget and device,
    then a section for each teacher; where several folds of a data set were held out in turn, that of most
    runs alone has a section, and one table sets all of them side by side."""
    found, drawn = sections(results), set()
    turns = _in_turn(found)
    fullest = [max(some, key=lambda section: sum(map(len, found[section].values()))) for some in turns]
    shown = {section: found[section] for section in fullest}
    lines = [*intro("distillation", name=out.stem), *of_earlier(results)]
    lines += [*_overview(shown), *_best_rows(shown), *_all_folds(turns, found)]
    for section, runs in sorted(shown.items()):
        lines += [*_section(section, runs), *_missing(runs), *_gains(runs)]
        name = f"{section.dataset}-{section.held_out}-{section.student}-{section.length}-{section.device}"
        name += "" if section.on == "reported" else f"-{section.on}"
        path = out.with_name(f"{out.stem}-{plain(name)}.png")
        if path in drawn:  # another teacher of the same recordings, or other strangers
            path = path.with_stem(f"{path.stem}-{section.weights}-{section.measured_on}")
        if len(runs) > 1:
            drawn.add(path)
            title = f"{section.dataset}, {section.held_out} held out: {section.student}, {section.extent} a run"
            _draw(runs, title, path)
            lines += ["", f"![Accuracy and agreement of each row]({path.name})"]
    return lines


def _version(results: dict[str, dict]) -> int:
    """The latest version of distillations that was measured."""
    return max((cell.get("pace", 0) for cell in results.values()), default=PACE)


def of_earlier(results: dict[str, dict]) -> list[str]:
    """Lines that say what has changed where the latest measurements are of an earlier version."""
    return ["", *since] if (since := _SINCE.get(_version(results))) else []


def sections(results: dict[str, dict]) -> Sections:
    """Measurements by what they share and by row, without those of a row's recipe when it had other settings, of other
    settings of the student, and of a version before the latest that was measured."""
    now, settings, found = {row.name: row.fingerprint for row in ROWS}, others(Settings()), {}
    version = _version(results)
    for cell in results.values():
        holds = cell.get("pace") == version and cell["settings"] == settings
        if holds and cell["fingerprint"] == now.get(cell["row"]):
            runs = found.setdefault(Section(*(cell[field] for field in Section._fields)), {})
            runs.setdefault(cell["row"], []).append(cell)
    return {section: {row.name: runs[row.name] for row in ROWS if row.name in runs} for section, runs in found.items()}


def _in_turn(found: Sections) -> list[list[Section]]:
    """Sections that differ in what is held out only, in order; two teachers of the same fold are not in turn."""
    by_kind: dict[tuple, list[list[Section]]] = {}
    for section in sorted(found):
        turns = by_kind.setdefault((section.dataset, *section.conditions), [])
        turn = next((turn for turn in turns if section.held_out not in {other.held_out for other in turn}), None)
        if turn is None:
            turns.append(turn := [])
        turn.append(section)
    return [turn for turns in by_kind.values() for turn in turns]


# ------------------------------------------------------------------------------------------ figures of a row's runs


def kinds(runs: Runs) -> list[str]:
    """Kinds of the parts that judged these runs."""
    return list(dict.fromkeys(part["kind"] for cells in runs.values() for cell in cells for part in cell["parts"]))


def percent(cells: list[dict], kind: str, name: str = "accuracy", part: str | None = None) -> list[float]:
    """Accuracy, agreement or the teacher's accuracy of each run in %, on the clips of a kind, or of one of its parts;
    runs that were not judged by any are left out."""
    judged = [[one for one in cell["parts"] if part in (None, one["name"])] for cell in cells]
    return [100 * found[name] for some in judged if (found := pooled(some, kind))]


def _figure(cells: list[dict], kind: str, name: str = "accuracy", part: str | None = None) -> str:
    return plus_minus(*mean_sd(percent(cells, kind, name, part))) + (_NO_CLIP if _no_clip(cells) else "")


def _teacher(runs: Runs, kind: str, part: str | None = None) -> list[float]:
    """Accuracy of the teacher in %; empty where no run was judged by this part."""
    return [value for cells in runs.values() for value in percent(cells, kind, "teacher", part)][:1]


def _no_clip(cells: list[dict]) -> bool:
    return bool(cells) and not any(cell["clips"] for cell in cells)


def _noted(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A table, and the note that explains its marks if it has any."""
    lines = table(heads, rows)
    return [*lines, "", _NOTE] if any(_NO_CLIP in line for line in lines) else lines


# ------------------------------------------------------------------------------------------------ tables of the page


def _alike(found: Sections) -> Iterator[tuple[Section, dict[str, Runs]]]:
    """For each student, budget and device one of its sections, and the runs by data set (and what is held out); those
    of equal time first."""
    groups: dict[tuple, tuple[Section, dict[str, Runs]]] = {}
    for section, runs in sorted(found.items()):
        _, places = groups.setdefault(section.conditions, (section, {}))
        places[f"{section.dataset} ({section.held_out})" if section.dataset in places else section.dataset] = runs
    yield from sorted(groups.values(), key=lambda group: not group[0].budget)


def _overview(found: Sections) -> list[str]:
    """A table of all rows for each student, budget and device: on each data set what the held-out part and strangers
    say of them."""
    lines = []
    for section, places in _alike(found):
        columns = [(place, kind, runs) for place, runs in places.items() for kind in kinds(runs)]
        heads = ["row"]
        for place, kind, _ in columns:
            heads += [f"{place}: accuracy, {kind}", "agreement"]
        rows = [["*teacher*"]]
        for _, kind, runs in columns:
            rows[0] += [plus_minus(*mean_sd(_teacher(runs, kind))), "–"]
        for row in ROWS:
            if any(row.name in runs for runs in places.values()):
                figures = [
                    _figure(runs.get(row.name, []), kind, name)
                    for _, kind, runs in columns
                    for name in ("accuracy", "agreement")
                ]
                rows.append([f"`{row.name}`", *figures])
        about = "Accuracy and agreement with the teacher in %, over the clips of all parts of a kind together."
        lines += heading(f"All together: {section.title}", about)
        lines += _noted(heads, rows)
    return lines


def _best_rows(found: Sections) -> list[str]:
    """Each data set's best method in a sentence: beside the best published recipe, the real clips and the teacher."""
    lines = []
    for section, runs in sorted(found.items()):
        for kind in kinds(runs):
            for name in ("accuracy", "agreement"):
                sentence = _best_row(runs, kind, name)
                where = f"{section.dataset}, {section.held_out} held out, {section.extent}, {kind}, {name}"
                lines += [f"- {where}: {sentence}"] if sentence else []
    head = "The best of FRAMI's rows (recipe `frami` or a warm-started form, objective `frami`), in points:"
    return ["", head, "", *lines] if lines else []


def _best_row(runs: Runs, kind: str, name: str) -> str:
    shares = {row: values for row, cells in runs.items() if (values := percent(cells, kind, name))}
    mean = {row: fmean(values) for row, values in shares.items()}
    own = [row for row in mean if _is_own(row)]
    published = [row for row in mean if "+" in row and not row.startswith("frami")]
    real = [row for row in mean if row.startswith("real")]
    if not (own and published and real):
        return ""
    best, other, bound = (max(names, key=mean.__getitem__) for names in (own, published, real))
    parts = [
        f"`{best}` {mean[best]:.1f}",
        f"best published recipe `{other}` {mean[other]:.1f} ({mean[best] - mean[other]:+.1f}, "
        f"{_apart(shares[best], shares[other])})",
        f"`{bound}` {mean[bound]:.1f} ({mean[best] - mean[bound]:+.1f}, {_apart(shares[best], shares[bound])})",
    ]
    if name == "accuracy":
        (teacher,) = _teacher(runs, kind)
        parts.append(f"teacher {teacher:.1f} ({mean[best] - teacher:+.1f})")
    return f"{'; '.join(parts)}."


def _is_own(row: str) -> bool:
    return row.startswith("frami") and row.endswith("+ frami")


def _apart(a: list[float], b: list[float]) -> str:
    """Whether two rows' runs differ by more than their spread."""
    if min(len(a), len(b)) < 2:
        return "one run: no spread yet"
    return "outside the spread" if abs(fmean(a) - fmean(b)) > stdev(a) + stdev(b) else "within the spread"


def _all_folds(turns: list[list[Section]], found: Sections) -> list[str]:
    """Tables for each data set whose folds were held out in turn: the rows that were run on all of them."""
    lines = []
    for some in turns:
        if len(some) == 1:
            continue
        folds = [found[section] for section in some]
        lines += heading(
            f"{some[0].dataset}: {len(some)} folds held out in turn, {some[0].title}",
            "In %, of each fold the mean of its runs; each has a teacher that was not trained on it. Last, mean ± "
            "standard deviation over the folds.",
        )
        for kind in kinds(folds[0]):
            for name in ("accuracy", "agreement"):
                lines += _turn_table(some, folds, kind, name)
    return lines


def _turn_table(some: list[Section], folds: list[Runs], kind: str, name: str) -> list[str]:
    measured = {row: [percent(runs.get(row, []), kind, name) for runs in folds] for row in folds[0]}
    means = {row: list(map(fmean, values)) for row, values in measured.items() if all(values)}
    teacher = [value for runs in folds for value in _teacher(runs, kind)]
    rows = ([("*teacher*", teacher)] if name == "accuracy" and len(teacher) == len(folds) else []) + [
        (f"`{row}`", values) for row, values in means.items()
    ]
    if not means:
        return []
    lines = ["", f"{name.capitalize()}, {kind}:"]
    lines += table(
        ["row", *(section.held_out for section in some), "all"],
        [[row, *(f"{value:.1f}" for value in values), plus_minus(*mean_sd(values))] for row, values in rows],
    )
    own = [row for row in means if _is_own(row)]
    if own:
        best = max(own, key=lambda row: fmean(means[row]))
        against = {f"`{row}`": values for row, values in means.items() if not row.startswith("frami")}
        against |= {row: values for row, values in rows if row == "*teacher*"}
        ahead = [
            f"{row} {plus_minus(*mean_sd([a - b for a, b in zip(means[best], values, strict=True)]), '+.1f')}"
            for row, values in against.items()
        ]
        lines += ["", f"`{best}`, in points above the others, fold by fold: {'; '.join(ahead)}."]
    return lines


def _section(section: Section, runs: Runs) -> list[str]:
    """Heading and table of one teacher: every part by itself."""
    parts = {}
    for cells in runs.values():
        for part in cells[0]["parts"]:
            parts.setdefault((part["kind"], part["name"]), part)
    judges = [
        f"{kind}{f' ({name})' if name else ''}: {part['clips']} clips, teacher {part['teacher']:.1%}"
        for (kind, name), part in parts.items()
    ]
    heads = ["row"]
    for kind, name in parts:
        heads += [f"accuracy, {name if name and kind != HELD_OUT else kind}", "agreement"]
    rows = []
    for row, cells in runs.items():
        figures = [_figure(cells, kind, what, name) for kind, name in parts for what in ("accuracy", "agreement")]
        counts = [f"{fmean(cell[count] for cell in cells):,.0f}" for count in ("clips", "steps", "parameters")]
        rows.append([f"`{row}`", *figures, *counts, str(len(cells))])
    return [
        *heading(
            f"{section.dataset}: {section.held_out} held out",
            f"{'; '.join(judges)}. Student `{section.student}`, {section.extent} a run on {section.device}. The "
            f"command's options: `{section.duration} {section.options}`.",
        ),
        *_noted([*heads, "clips", "steps", "parameters", "runs"], rows),
    ]


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
    kind = hardest(next(iter(runs.values()))[0]["parts"])
    mean = {name: fmean(percent(cells, kind, "agreement")) for name, cells in runs.items() if not _no_clip(cells)}
    gains = {
        name.removesuffix(" + logits"): mean[name.replace("logits", "frami")] - value
        for name, value in mean.items()
        if name.endswith(" + logits") and name.replace("logits", "frami") in mean
    }
    if not gains:
        return []
    listed = ", ".join(f"`{name}` {gain:+.1f}" for name, gain in gains.items())
    head = f"Objective `frami` instead of `logits`, in points of agreement, {kind}"
    return ["", f"{head}: {listed}; mean {fmean(gains.values()):+.1f}."]


_COLOURS = {
    "methods": "#b5306f",
    "objectives": "#6f1d4d",
    "banks": "#2f6fb7",
    "schedule": "#8a5a00",
    "references": "#7b7285",
}


def _draw(runs: Runs, title: str, path: Path) -> None:
    """Bars of each row's accuracy on the first kind of part, with its spread, the teacher's as a line; dots of the
    agreement with the teacher on the hardest kind."""
    kind, hard = kinds(runs)[0], hardest(next(iter(runs.values()))[0]["parts"])
    spread: Callable[[list[float]], float] = lambda values: stdev(values) if len(values) > 1 else 0.0  # noqa: E731
    shares, agrees = ([percent(cells, *what) for cells in runs.values()] for what in ((kind,), (hard, "agreement")))
    colours = [_COLOURS[cells[0]["group"]] for cells in runs.values()]
    places = range(len(runs))
    with picture(path, 7.2, 0.8 + 0.22 * len(runs)) as axes:
        axes.barh(places, list(map(fmean, shares)), xerr=list(map(spread, shares)), color=colours, height=0.72)
        axes.scatter(list(map(fmean, agrees)), places, color="#2b2533", marker="|", s=60, zorder=3)
        axes.axvline(_teacher(runs, kind)[0], color="#2b2533", linestyle="--", linewidth=1)
        axes.set_yticks(places, list(runs), fontsize=7)
        axes.invert_yaxis()
        axes.set(xlabel=f"bars: accuracy, {kind}; strokes: agreement with the teacher, {hard}; in %", xlim=(0, 100))
        axes.set_title(f"{title} (dashed: the teacher)", fontsize=9, loc="left")
