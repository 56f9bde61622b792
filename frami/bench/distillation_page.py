"""The page of distillations: tables, sentences and pictures of what ``frami bench distillation`` measured."""

import re
import statistics
from pathlib import Path

from frami.bench.pages import save_picture
from frami.errors import FramiError


def write(results, out: Path) -> list[str]:
    """Write the page (and its pictures) of everything that has been measured; returns its lines."""
    lines = page(cells_of(results.cells), out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def check(out: Path) -> None:
    """Refuse to write over a file that is no such page. Raises FramiError."""
    if not out.exists():
        return
    try:
        ours = out.is_file() and out.read_text(encoding="utf-8").startswith(_READING.splitlines()[0])
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise FramiError(f"{out} is there and is no page of distillations; move it away, or choose another --out")


def cells_of(results: dict[str, dict]) -> list[dict]:
    """The measurements of a file of results. Those of before cells said which numbers their recipe had get them from
    their names."""
    cells = []
    for name, cell in results.items():
        *_, what, _ = name.split(" | ") if name.count(" | ") > 1 else ("", "", "")
        cells.append({"numbers": what.removeprefix(cell["row"]).strip()} | cell)
    return cells


_SECTION = ("dataset", "held_out", "student", "budget", "device", "at_once", "batch", "weights", "pace")

#: Runs of each row that the finished table has.
SEEDS = 3

_READING = """\
# Distillation without data

Made by this command, which fills what is missing in `distillation.json` and writes this page:

    OMP_NUM_THREADS=1 frami bench distillation --budget 120s --data FOLDER

Several such commands may run side by side, one for each core, and fill the same file; on one thread of a CPU the
seconds are the processor's, so that other work on the machine shortens a run less (shared caches still slow it: on a
busy machine `frami-fast` made a fifth fewer clips). Each run gets the same seconds of making and learning together,
the same student and the same views on replay: rows differ in how clips are made or in what is learnt from them, and
what follows from that. Clips are made at the pace that the method and the device allow: *clips* says how many, so
these rows differ in the size of their banks as well. The rows *bank of …* do not: they learn from the hundred clips
of each recipe that come with the studio, whose making is not counted, and differ in the clips alone. An objective
that reuses the teacher's classifier brings the projector that leads there: *parameters* count both. `frami` has the
contrastive term; `frami-fast` and `frami-flash`, its warm-started forms, leave it out and make more clips instead.
Rows that were measured beside other work, as some here were (the digits' seed 0 above all), differ by that too. What
a run needs to get going counts as well: batches that a method throws away at its start (twenty of `dafl`, `dfq`,
`zskt` and `fast`; `dfq` and `zskt` train a companion on them that is not the student measured here), on a GPU the
recording of graphs (about a second a run). Accuracy is on held-out real recordings: mean ± sample standard deviation
over the seeds, or one run. *Agreement*: with the teacher, on the same recordings. Settings were chosen on other
held-out parts: of the digits the speaker yweweler, with a teacher that was trained on george, jackson and nicolas
only; nothing was chosen on the recordings of this page. For such measurements (with `--data FOLDER`, too):

    frami train-teacher --dataset fsdd --train george,jackson,nicolas --test yweweler --epochs 25 --out dev
    frami bench distillation --teachers dev --rows "frami-flash + frami" --out results/dev.md"""

#: Behind the accuracy of runs that ended before their first clips.
_NOTHING = " †"
_NOTE = ["", "† No clip was finished within the time: a student that has learnt nothing; run once."]


def page(cells: list[dict], out: Path) -> list[str]:
    """The tables of these measurements, a section for each data set, student, budget and device; where several parts
    of a data set were held out in turn, the first alone has a section, and one table sets all of them side by side."""
    lines = _READING.splitlines()
    sections: dict[tuple, list[dict]] = {}
    for cell in current(cells):
        sections.setdefault(tuple(cell[name] for name in _SECTION), []).append(cell)
    turns, drawn = in_turn(sections), set()
    first = {kinds[0]: sections[kinds[0]] for kinds in turns.values()}
    lines += [*overview(first), *objectives(first), *verdicts(first), *every_part(sections)]
    for kind, found in sorted(first.items()):
        dataset, held, student, budget, device, at_once, batch, *_ = kind
        teacher = found[0]["teacher"]
        lines += [
            "",
            f"## {dataset}: {held} held out",
            "",
            f"Teacher {teacher:.1%}. Student `{student}`, {budget:g} s a run on {device}. The command's options: "
            f"`--budget {budget:g}s --clips {at_once} --batch {batch} --student {student}`.",
            "",
            "| row | accuracy | agreement | clips | steps | parameters | runs |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += _noted([_line(rows) for rows in grouped(found)])
        lines += [*_open(grouped(found)), *_reading(grouped(found))]
        where = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
        picture = out.with_name(f"{out.stem}-{dataset}-{held}-{student}-{budget:g}s-{where}.png")
        if picture in drawn:  # another teacher of the same recordings
            picture = picture.with_stem(f"{picture.stem}-{found[0]['weights']}")
        if len(grouped(found)) > 1:
            drawn.add(picture)
            draw(grouped(found), teacher, f"{dataset}, {held} held out: {student}, {budget:g} s a run", picture)
            lines += ["", f"![Accuracy of each row]({picture.name})"]
    return lines


def current(cells: list[dict]) -> list[dict]:
    """Without what was measured while a row's recipe had other numbers."""
    from frami.bench.distillation import ROWS

    now = {row.name: row.numbers for row in ROWS}
    return [cell for cell in cells if cell.get("numbers") == now.get(cell["row"])]


def overview(sections: dict[tuple, list[dict]]) -> list[str]:
    """A table for each student, budget and device: every method's clips, with the answer alone and with the hidden
    states, on each data set."""
    lines = []
    for shared, found in _alike(sections).items():
        accuracy = {place: by_row(cells) for place, cells in found.items()}
        student, budget, device, *_ = shared
        heads = [f"{place}, {what}" for place in accuracy for what in ("answer", "hidden states")]
        lines += [
            "",
            f"## All together: `{student}`, {budget:g} s on {device}",
            "",
            "Accuracy in % with the answer alone (`logits`) and with the hidden states reused (`frami`):",
            "",
            f"| clips by | {' | '.join(heads)} |",
            f"|---|{'---|' * len(heads)}",
        ]
        table = []
        for label, rows in _pairs():
            if any(row in there for there in accuracy.values() for row in rows):
                shown = [_accuracy(there.get(row, [])) for there in accuracy.values() for row in rows]
                table.append(f"| {label} | {' | '.join(shown)} |")
        lines += _noted(table)
    return lines


def objectives(sections: dict[tuple, list[dict]]) -> list[str]:
    """A table for each student, budget and device: what each objective makes of the same recipe's clips."""
    from frami.bench.distillation import OBJECTIVES_ALONE
    from frami.distill import OBJECTIVES

    lines = []
    for shared, found in _alike(sections).items():
        accuracy = {place: by_row(cells) for place, cells in found.items()}
        student, budget, device, *_ = shared
        there = {row for rows in accuracy.values() for row in rows}
        for recipe in ("frami", "frami-flash"):
            if not there & {f"{recipe} + {name}" for name in OBJECTIVES_ALONE}:
                continue
            rows = [(name, f"{recipe} + {name}") for name in OBJECTIVES if f"{recipe} + {name}" in there]
            lines += [
                "",
                f"## What is learnt from the clips of `{recipe}`: `{student}`, {budget:g} s on {device}",
                "",
                f"| objective | {' | '.join(accuracy)} |",
                f"|---|{'---|' * len(accuracy)}",
                *_noted(
                    [
                        f"| `{name}` | {' | '.join(_accuracy(p.get(row, [])) for p in accuracy.values())} |"
                        for name, row in rows
                    ]
                ),
            ]
    return lines


def verdicts(sections: dict[tuple, list[dict]]) -> list[str]:
    """Each data set's best method in a sentence: beside the best published recipe, the real clips and the teacher."""
    lines = []
    for kind, cells in sorted(sections.items()):
        shares = {row: [100 * run["accuracy"] for run in runs] for row, runs in by_row(cells).items()}
        mean = {row: statistics.fmean(values) for row, values in shares.items()}
        own = [row for row in mean if row.startswith("frami") and row.endswith("+ frami")]
        others = [row for row in mean if "+" in row and not row.startswith("frami")]
        real = [row for row in mean if row.startswith("real")]
        if not (own and others and real):
            continue
        best, other, bound = (max(rows, key=mean.__getitem__) for rows in (own, others, real))
        ahead = mean[best] - mean[other]
        lines.append(
            f"- {kind[0]}, {kind[1]} held out, {kind[3]:g} s: `{best}` {mean[best]:.1f}; best published recipe "
            f"`{other}` {mean[other]:.1f} ({ahead:+.1f}, {_apart(shares[best], shares[other])}); `{bound}` "
            f"{mean[bound]:.1f} ({mean[best] - mean[bound]:+.1f}); teacher {100 * cells[0]['teacher']:.1f} "
            f"({mean[best] - 100 * cells[0]['teacher']:+.1f})."
        )
    head = (
        "The best of FRAMI's rows with the hidden states (`frami` or one of its warm-started forms), in points of "
        "accuracy:"
    )
    return ["", head, "", *lines] if lines else []


def in_turn(sections: dict[tuple, list[dict]]) -> dict[tuple, list[tuple]]:
    """The sections that differ in the part held out only, in order, by what they share; two teachers of the same part
    are not in turn."""
    found: dict[tuple, list[tuple]] = {}
    for kind in sorted(sections):
        dataset, held, student, budget, device, at_once, batch, _, pace = kind
        shared = (dataset, student, budget, device, at_once, batch, pace)
        again = 0
        while held in [earlier[1] for earlier in found.get((*shared, again), [])]:
            again += 1
        found.setdefault((*shared, again), []).append(kind)
    return found


def every_part(sections: dict[tuple, list[dict]]) -> list[str]:
    """A table for each data set whose parts were held out in turn: the rows that were run on all of them."""
    lines = []
    for shared, kinds in in_turn(sections).items():
        if len(kinds) == 1:
            continue
        dataset, student, budget, device, *_ = shared
        parts = [by_row(sections[kind]) for kind in kinds]
        means = {
            row: [100 * statistics.fmean(run["accuracy"] for run in part[row]) for part in parts]
            for row in parts[0]
            if all(row in part for part in parts)
        }
        teacher = [100 * sections[kind][0]["teacher"] for kind in kinds]
        lines += [
            "",
            f"## {dataset}: {len(kinds)} parts held out in turn, `{student}`, {budget:g} s on {device}",
            "",
            "Accuracy in %, of each part the mean of its runs; each part has a teacher that never heard it. Last, mean "
            "± standard deviation over the parts:",
            "",
            f"| row | {' | '.join(kind[1] for kind in kinds)} | all |",
            f"|---|{'---|' * len(kinds)}---|",
            *(
                f"| {label} | {' | '.join(f'{value:.1f}' for value in values)} | {_spread(values)} |"
                for label, values in [("*teacher*", teacher), *((f"`{row}`", values) for row, values in means.items())]
            ),
            *_part_by_part(means | {"teacher": teacher}),
        ]
    return lines


def _part_by_part(means: dict[str, list[float]]) -> list[str]:
    """FRAMI's best row beside each of the others, by the differences on each part."""
    own = [row for row in means if row.startswith("frami") and row.endswith("+ frami")]
    if not own:
        return []
    best = max(own, key=lambda row: statistics.fmean(means[row]))
    others = [row for row in means if not row.startswith("frami")]
    said = [f"`{row}` {_spread([a - b for a, b in zip(means[best], means[row], strict=True)], '+')}" for row in others]
    return ["", f"`{best}`, in points of accuracy above the others, part by part: {'; '.join(said)}."]


def _spread(values: list[float], sign: str = "") -> str:
    return f"{statistics.fmean(values):{sign}.1f} ± {statistics.stdev(values):.1f}"


def _apart(a: list[float], b: list[float]) -> str:
    """Whether two rows' runs differ by more than their spread."""
    if min(len(a), len(b)) < 2:
        return "one run: no spread yet"
    spread = statistics.stdev(a) + statistics.stdev(b)
    return "outside the spread" if abs(statistics.fmean(a) - statistics.fmean(b)) > spread else "within the spread"


def _alike(sections: dict[tuple, list[dict]]) -> dict[tuple, dict[str, list[dict]]]:
    """Sections that differ in the recordings only: by what they share, by data set (and what is held out)."""
    found: dict[tuple, dict[str, list[dict]]] = {}
    for kind, cells in sorted(sections.items()):
        dataset, held, student, budget, device, at_once, batch, _, pace = kind
        alike = found.setdefault((student, budget, device, at_once, batch, pace), {})
        alike[f"{dataset} ({held})" if dataset in alike else dataset] = cells
    return found


def _pairs() -> list[tuple[str, tuple[str, str]]]:
    from frami.bench.distillation import METHODS
    from frami.features.gallery import EXPLORE

    sources = [(f"*ready bank of `{name}`*", f"bank of {name}, ") for name in EXPLORE]
    sources += [("*real training clips*", "real clips, "), ("*noise*", "noise, ")]
    named = [(f"`{name}`", f"{name} + ") for name in METHODS] + sources
    return [(label, (f"{start}logits", f"{start}frami")) for label, start in named]


def grouped(cells: list[dict]) -> list[list[dict]]:
    """Runs of the same row together, in the order of the table."""
    from frami.bench.distillation import ROWS

    rows = [[cell for cell in cells if cell["row"] == row.name] for row in ROWS]
    return [found for found in rows if found]


def by_row(cells: list[dict]) -> dict[str, list[dict]]:
    """Runs of each row by its name, in the order of the table."""
    return {runs[0]["row"]: runs for runs in grouped(cells)}


def _open(groups: list[list[dict]]) -> list[str]:
    """What has not been measured yet, in a sentence."""
    from frami.bench.distillation import ROWS

    there = {runs[0]["row"] for runs in groups}
    banks = any(row.name in there for row in ROWS if row.source == "bank")  # not every teacher has them
    missing = [f"`{row.name}`" for row in ROWS if row.name not in there and (banks or row.source != "bank")]
    many = len(missing) > len(there)
    said = [f"no run yet of {f'the other {len(missing)} rows' if many else ', '.join(missing)}"] if missing else []
    taught = [runs for runs in groups if not _nothing(runs)]
    short = [runs for runs in taught if len(runs) < SEEDS]
    if short:
        names = ", ".join("`" + runs[0]["row"] + "`" for runs in short)
        of = "" if short == taught else f" of {names}"
        said.append(f"{min(map(len, short))} of {SEEDS} seeds{of}")
    return ["", f"Still open: {'; '.join(said)}."] if said else []


def _reading(groups: list[list[dict]]) -> list[str]:
    """What reusing the hidden states is worth to each method, where both objectives were run."""
    taught = [runs for runs in groups if not _nothing(runs)]
    mean = {runs[0]["row"]: statistics.fmean(run["accuracy"] for run in runs) for runs in taught}
    gains = {
        name.removesuffix(" + logits"): 100 * (mean[name.replace("logits", "frami")] - value)
        for name, value in mean.items()
        if name.endswith(" + logits") and name.replace("logits", "frami") in mean
    }
    if not gains:
        return []
    listed = ", ".join(f"`{name}` {gain:+.1f}" for name, gain in gains.items())
    average = statistics.fmean(gains.values())
    return [
        "",
        "Hidden states reused (`frami`) instead of the answer alone (`logits`), in points of accuracy: "
        f"{listed}; mean {average:+.1f}.",
    ]


def _share(runs: list[dict], name: str) -> str:
    """Mean ± sample standard deviation in %, one run's value alone, a dash for none."""
    values = [100 * run[name] for run in runs]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}" if values else "–"


def _accuracy(runs: list[dict]) -> str:
    return _share(runs, "accuracy") + (_NOTHING if _nothing(runs) else "")


def _nothing(runs: list[dict]) -> bool:
    return bool(runs) and not any(run["clips"] for run in runs)


def _noted(table: list[str]) -> list[str]:
    return table + (_NOTE if any(_NOTHING in line for line in table) else [])


def _line(runs: list[dict]) -> str:
    middle = [f"{statistics.fmean(run[name] for run in runs):,.0f}" for name in ("clips", "steps", "parameters")]
    cells = [f"`{runs[0]['row']}`", _accuracy(runs), _share(runs, "agreement"), *middle, str(len(runs))]
    return "| " + " | ".join(cells) + " |"


_COLOURS = {"methods": "#b5306f", "objectives": "#6f1d4d", "banks": "#2f6fb7", "references": "#7b7285"}


def draw(groups: list[list[dict]], teacher: float, title: str, path: Path) -> None:
    """Bars of each row's accuracy with its spread, the teacher's as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    means = [100 * statistics.fmean(run["accuracy"] for run in runs) for runs in groups]
    spread = [100 * statistics.stdev(run["accuracy"] for run in runs) if len(runs) > 1 else 0 for runs in groups]
    figure, axes = plt.subplots(figsize=(7.2, 0.6 + 0.22 * len(groups)), layout="constrained")
    places = range(len(groups))
    axes.barh(places, means, xerr=spread, color=[_COLOURS[runs[0]["group"]] for runs in groups], height=0.72)
    axes.axvline(100 * teacher, color="#2b2533", linestyle="--", linewidth=1)
    axes.set_yticks(places, [runs[0]["row"] for runs in groups], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="accuracy on held-out recordings in %", xlim=(0, 100))
    axes.set_title(f"{title} (dashed: the teacher)", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)
