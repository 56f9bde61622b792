"""The page of ``frami bench teachers``."""

from collections.abc import Sequence

from frami.bench.pages import heading, intro, mean_sd, plus_minus, table
from frami.bench.strange_training import STRANGERS
from frami.data import info

#: What students learn from, as a cell names it.
LEARNT = ("made", "real")
#: Below this share of made clips that a teacher recognises, the page says so.
FEW = 0.5


def page(cells: dict[str, dict], command: str) -> list[str]:
    """Lines of the page of all measurements of the present networks, a section for each budget, student and device."""
    lines = intro("teachers", command=command)
    groups: dict[tuple, list[dict]] = {}
    present = {row.name: row.fingerprint for row in STRANGERS}
    for cell in (one for one in cells.values() if present.get(one["network"]) == one["trained"]):
        groups.setdefault((cell["length"], cell["student"], cell["device"], cell["pace"]), []).append(cell)
    for (length, student, device, _), some in groups.items():
        by_name = {name: found for name in present if (found := [one for one in some if one["network"] == name])}
        lines += heading(f"{length}, student `{student}`", f"On {device}. {' '.join(_summary(by_name))}")
        lines += _students(by_name)
        lines += _several(by_name)
        lines += heading("The networks")
        lines += _networks(by_name)
        lines += heading("The files")
        lines += _files(by_name)
        lines += _said(by_name)
    return lines + intro("teachers-end")


def _done(cells: Sequence[dict], source: str) -> list[dict]:
    return [cell for cell in cells if cell["source"] == source and "refused" not in cell]


def _mean(cells: Sequence[dict], name: str) -> float | None:
    return mean_sd([100 * cell["parts"][0][name] for cell in cells])[0]


def _share(cells: Sequence[dict], name: str) -> str:
    return plus_minus(*mean_sd([100 * cell["parts"][0][name] for cell in cells]))


def _recognised(cells: Sequence[dict]) -> list[float]:
    return [100 * cell["recognised"] for cell in cells if cell["recognised"] is not None]


def _summary(by_name: dict[str, list[dict]]) -> list[str]:
    """What the tables say, in sentences."""
    imported = [name for name, cells in by_name.items() if any("import" in cell for cell in cells)]
    lines = [f"{len(imported)} of {len(by_name)} networks were imported."]
    pairs = {name: (_done(cells, "made"), _done(cells, "real")) for name, cells in by_name.items()}
    both = {name: pair for name, pair in pairs.items() if all(pair)}
    gaps = {name: (_mean(made, "agreement"), _mean(real, "agreement")) for name, (made, real) in both.items()}
    if gaps:
        made, real = (sum(pair[k] for pair in gaps.values()) / len(gaps) for k in (0, 1))
        lost = {name: pair[1] - pair[0] for name, pair in gaps.items()}
        least, most = min(lost, key=lost.get), max(lost, key=lost.get)
        lines.append(
            f"Students without data agree with their teachers on {made:.1f}% of the held-out clips, students of real "
            f"clips on {real:.1f}% (means of the networks): {lost[least]:.1f} points less for `{least}`, "
            f"{lost[most]:.1f} for `{most}`."
        )
    few = [name for name, (made, _) in pairs.items() if (shares := _recognised(made)) and min(shares) < 100 * FEW]
    if few:
        lines.append(f"Fewer than half of the made clips are recognised as their class by: {_names(few)}.")
    other = [name for name, cells in by_name.items() if any("refused" in cell for cell in cells)]
    return [*lines, f"Refused, at least once: {_names(other)}."] if other else lines


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _students(by_name: dict[str, list[dict]]) -> list[str]:
    heads = [
        "network", "teacher: accuracy", "made clips", "recognised as their class", "without data: accuracy",
        "agreement", "real clips: accuracy", "agreement", "parameters, teacher", "student",
    ]  # fmt: skip
    rows = []
    for name, cells in by_name.items():
        made, real = _done(cells, "made"), _done(cells, "real")
        done = [*made, *real]
        clips = mean_sd([float(cell["clips"]) for cell in made])[0]
        rows.append([
            f"`{name}`", _share(done[:1], "teacher"), "–" if clips is None else f"{clips:,.0f}",
            plus_minus(*mean_sd(_recognised(made))), _share(made, "accuracy"), _share(made, "agreement"),
            _share(real, "accuracy"), _share(real, "agreement"),
            f"{done[0]['import']['parameters']:,}" if done else "–", f"{done[0]['parameters']:,}" if done else "–",
        ])  # fmt: skip
    return table(heads, rows)


def _several(by_name: dict[str, list[dict]]) -> list[str]:
    """Mean average precision of multi-label networks; nothing without any."""
    rows = []
    for name, cells in by_name.items():
        made, real = ([cell["precision"] for cell in _done(cells, one) if "precision" in cell] for one in LEARNT)
        if made or real:
            shown = (100 * cell["teacher"] for cell in (made or real)[:1])
            each = (plus_minus(*mean_sd([100 * cell["student"] for cell in some])) for some in (made, real))
            rows.append([f"`{name}`", *(f"{value:.1f}" for value in shown), *each])
    if not rows:
        return []
    words = "Mean average precision in % on held-out clips, half of them with another one at the same time."
    return heading("Several at once", words) + table(["network", "teacher", "without data", "real clips"], rows)


def _networks(by_name: dict[str, list[dict]]) -> list[str]:
    heads = [
        "network", "what it is", "learnt", "imported by", "front-end", "norms", "pooling and classifier, by students",
        "accuracy, by its owner", "imported", "training, s",
    ]  # fmt: skip
    rows = []
    for name, (cell, *rest) in by_name.items():
        full = next((one for one in (cell, *rest) if "refused" not in one), cell)
        own, said = full.get("own"), full.get("import")
        data = f"{info(full['dataset']).title}, held out: {full['held_out']}"
        rows.append([
            f"`{name}`", f"{full['title']} ({full['about']})", data + ("; several at once" if full["several"] else ""),
            f"`{full['way']}`", f"{full['frontend']}: {full['sample_rate']:,} Hz, {full['bands']} bands",
            ", ".join(f"{count} {kind}" for kind, count in own["norms"].items()) if own else "–",
            ("reused" if said["reusable"] else "not reused") if said else "–",
            f"{100 * own['accuracy']:.1f}" if own else "–", _share([full] if "parts" in full else [], "teacher"),
            f"{own['training_seconds']:.0f}" if own else "–",
        ])  # fmt: skip
    return table(heads, rows)


def _files(by_name: dict[str, list[dict]]) -> list[str]:
    rows = []
    for name, cells in by_name.items():
        for cell in _done(cells, "made")[:1]:
            file = cell["onnx"]
            if "refused" in file:
                rows.append([f"`{name}`", "–", "–", f"not written: {file['refused']}"])
                continue
            rows.append(
                [f"`{name}`", file["takes"], f"{file['bytes'] / 1e3:,.0f} kB", f"{file['same']} of {file['of']}"]
            )
    return table(["student of", "the ONNX file takes", "size", "same class in onnxruntime"], rows)


def _said(by_name: dict[str, list[dict]]) -> list[str]:
    """What the commands remarked and refused, once for each network."""
    lines: dict[str, None] = {}
    for name, cells in by_name.items():
        for cell in cells:
            if "refused" in cell:
                lines[f"- `{name}`, {cell['source']} clips, refused at {cell['stage']}: {cell['refused']}"] = None
            elif not cell["import"]["reusable"]:
                lines[f"- `{name}`, import: its pooling is not reused: {cell['import']['why']}"] = None
            for note in cell.get("notes", ()):
                lines[f"- `{name}`, {cell['source']} clips: {note}"] = None
    return [*heading("What the commands said"), "", *lines] if lines else []
