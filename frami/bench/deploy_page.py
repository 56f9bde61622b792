"""The page of ``frami bench deploy``."""

from collections.abc import Iterable, Sequence

from frami.bench.pages import heading, intro, table
from frami.bench.parts import HELD_OUT, STRANGERS
from frami.quantisation import CLIPS
from frami.quantisation.lowering import METHOD


def page(cells: dict[str, dict], command: str) -> list[str]:
    """Lines of the page of what ``deploy.fill`` measured, with this command."""
    speeds = [cell for cell in cells.values() if cell.get("speed")]
    files = [cell for cell in cells.values() if not cell.get("speed")]
    reported = [cell for cell in files if cell["on"] == "reported" and cell["method"] in ("", METHOD)]
    lines = intro("deploy", command=command, method=METHOD, clips=str(CLIPS))
    if reported:
        lines += _overview(reported, speeds)
    if speeds:
        lines += _speed(speeds)
    for name in dict.fromkeys(cell["checkpoint"] for cell in reported):
        lines += heading(name)
        lines += _details([cell for cell in reported if cell["checkpoint"] == name])
    return lines + _methods([cell for cell in files if cell["on"] == "development"])


def _overview(cells: Sequence[dict], speeds: Sequence[dict]) -> list[str]:
    """Of each network the points that its file in eight bits loses, by what it was calibrated on."""
    lines = heading(
        "In short",
        "Points of accuracy against float32 on all reported clips: a minus is a loss. *Real* and *noise*: calibrated "
        "on as many recordings of the training folds, or on white noise, instead of made clips.",
    )
    rows = []
    for name in dict.fromkeys(cell["checkpoint"] for cell in cells):
        found = {(c["precision"], c.get("calibration", ""), c["each"]): c for c in cells if c["checkpoint"] == name}
        usual, plain = found.get(("int8", "made", CLIPS)), found.get(("float32", "", 0))
        points = [_points(found.get(("int8", kind, CLIPS))) for kind in ("made", "recordings", "noise")]
        few = _points(found.get(("int8", "made", 1)))
        sizes = [f"{c['bytes'] / 1e3:.0f}" if c else "–" for c in (plain, found.get(("fp16", "", 0)), usual)]
        accuracy = f"{_share(plain['parts'], 'accuracy'):.1%}" if plain and plain["parts"] else "–"
        times = next((one["milliseconds"] for one in speeds if one["checkpoint"] == name), None)
        ratio = f"{times['float32'] / times['int8']:.2f}" if times else "–"
        rows.append([f"`{name}`", accuracy, *points, few, *sizes, ratio])
    heads = ["network", "float32", "int8, made", "int8, real", "int8, noise", "int8, 1 made a class"]
    return lines + table([*heads, "kB float32", "kB fp16", "kB int8", "times as fast"], rows)


def _points(cell: dict | None) -> str:
    if not cell or not cell["parts"]:
        return "–"
    return f"{100 * (_share(cell['parts'], 'accuracy') - _share(cell['parts'], 'float_accuracy')):+.2f}"


def _share(rows: Iterable[dict], name: str, kind: str | None = None) -> float | None:
    """A share over all clips of the parts of a kind (None: of all)."""
    some = [row for row in rows if kind in (None, row["kind"])]
    clips = sum(row["clips"] for row in some)
    return sum(row[name] * row["clips"] for row in some) / clips if clips else None


def _speed(speeds: Sequence[dict]) -> list[str]:
    lines = heading(
        "Time and memory",
        "Milliseconds of one processor core for a clip of the usual duration, from log-Mels to logits (median; the "
        "files take turns), and megabytes by which a process with onnxruntime grows that loads the file and computes.",
    )
    rows = []
    for cell in speeds:
        times, memory = cell["milliseconds"], cell["memory"]
        rows.append([
            f"`{cell['checkpoint']}`", f"{cell['seconds']:.2f}", *(f"{times[name]:.2f}" for name in _PRECISIONS),
            *(f"{memory[name] / 1e6:.1f}" for name in _PRECISIONS),
        ])  # fmt: skip
    heads = [f"{what} {name}" for what in ("ms", "MB") for name in _PRECISIONS]
    return lines + table(["network", "seconds", *heads], rows)


_PRECISIONS = ("float32", "fp16", "int8")


def _details(cells: Sequence[dict]) -> list[str]:
    order = {"float32": 0, "fp16": 1, "int8": 2}
    kinds = {"": 0, "made": 1, "recordings": 2, "noise": 3}
    rows = []
    for cell in sorted(cells, key=lambda c: (order[c["precision"]], kinds[c.get("calibration", "")], c["each"])):
        used = f"{cell['calibration']}, {cell['each']} a class: {cell['clips']}" if "clips" in cell else "–"
        found = []
        for kind in (HELD_OUT, STRANGERS):
            accuracy, agreement = (_share(cell["parts"], name, kind) for name in ("accuracy", "agreement"))
            found += ["–", "–"] if accuracy is None else [f"{accuracy:.1%}", f"{agreement:.1%}"]
        rows.append([cell["precision"], used, f"{cell['bytes'] / 1e3:.0f}", *found])
    heads = ["precision", "calibrated on", "kB", "held out", "as float32", "strangers", "as float32"]
    return table(heads, rows)


def _methods(cells: Sequence[dict]) -> list[str]:
    """Which method of calibration is best on clips of development."""
    methods = list(dict.fromkeys(cell["method"] for cell in cells if cell["method"]))
    if not methods:
        return []
    lines = heading(
        "How ranges are chosen",
        "Points of accuracy against float32, and agreement with it, on clips of development: training clips, the same "
        "re-recorded, and words that a speech synthesizer says. No figure above is of these clips.",
    )
    rows = []
    wanted = dict.fromkeys((c["checkpoint"], c["calibration"], c["each"]) for c in cells if c["method"])
    for name, kind, each in wanted:
        found = {
            c["method"]: c for c in cells if (c["checkpoint"], c.get("calibration"), c["each"]) == (name, kind, each)
        }
        shown = [
            f"{_points(found[method])}, {_share(found[method]['parts'], 'agreement'):.1%}" if method in found else "–"
            for method in methods
        ]
        rows.append([f"`{name}`", f"{kind}, {each} a class", *shown])
    return lines + table(["network", "calibrated on", *methods], rows)
