"""``frami runs``: list, show, compare and delete runs."""

import time

from frami.cli.arguments import aligned, command, group
from frami.errors import FramiError
from frami.runs import RunError, Runs, bundled


def add(commands) -> None:
    runs = group(commands, "runs")
    sub = command(runs, "list", _list, "All runs, newest first.")
    sub.add_argument("--kind", help="only runs of this kind, for example distill")
    sub = command(runs, "show", _show, "One run: its settings, curves and result.")
    sub.add_argument("id", metavar="RUN", help="id, its beginning, the run's folder, or a bundled student's name")
    sub = command(runs, "compare", _compare, "Runs side by side: settings that differ, results.")
    sub.add_argument("ids", metavar="RUN", nargs="+", help="two runs or more: id, its beginning, or the run's folder")
    sub = command(runs, "delete", _delete, "Delete a run and its folder.")
    sub.add_argument("id", metavar="RUN", help="id, its beginning, or the run's folder")


def _list(options) -> tuple[list, list[str]]:
    runs = Runs().list(options.kind)
    lines = [f"{run.id}  {run.status:8}  {_day(run.created)}  {run.kind:10} {run.name}{_shares(run)}" for run in runs]
    return [run.to_dict() for run in runs], lines or ["no runs yet"]


def _show(options) -> tuple[dict, list[str]]:
    store = Runs()
    try:
        run = store.find(options.id)
        curves = store.metrics(run.id)
    except RunError:
        found = bundled(options.id)
        if not found:
            raise
        run, curves = found
    lines = [
        f"{run.id}  {run.kind}  {run.name}",
        f"{run.status}{f' in process {run.pid}' if run.pid else ''}{f': {run.error}' if run.error else ''}",
        f"made {_day(run.created)}, last updated {_day(run.updated)}",
        f"folder {run.folder}",
    ]
    for title, values in (("settings", run.settings), ("result", run.result)):
        lines += [title, *(f"  {name:20} {_text(value)}" for name, value in values.items())] if values else []
    if curves:
        lines.append("curves (first, last)")
    for name, points in curves.items():
        lines.append(
            f"  {name:20} {points[0][2]:.4g} → {points[-1][2]:.4g}  ({len(points)} points to step {points[-1][0]})"
        )
    return run.to_dict() | {"metrics": curves}, lines


def _compare(options) -> tuple[dict, list[str]]:
    if len(options.ids) < 2:
        raise FramiError("give two runs or more to compare: frami runs compare RUN RUN")
    store = Runs()
    table = store.compare([store.find(text).id for text in options.ids])
    runs = table["runs"]
    rows = [["", *(run.id for run in runs)], ["name", *(run.name for run in runs)], ["", *(run.status for run in runs)]]
    rows += [[name, *map(_text, values)] for name, values in table["differing"].items()]
    rows += [
        [name, *map(_text, values)]
        for name, values in table["results"].items()
        if not any(isinstance(value, list | dict) for value in values)
    ]
    return table | {"runs": [run.to_dict() for run in runs]}, aligned(rows)


def _delete(options) -> tuple[dict, list[str]]:
    store = Runs()
    run = store.find(options.id)
    store.delete(run.id)
    left = f"; its folder {run.folder} is yours and stays" if run.folder.exists() else ""
    return {"deleted": run.id, "folder": str(run.folder)}, [f"deleted {run.id} ({run.name}){left}"]


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _shares(run) -> str:
    """The main figures of a result, in brackets."""
    shares = [
        f"{name} {run.result[name]:.1%}" for name in ("accuracy", "agreement") if _is_number(run.result.get(name))
    ]
    return f"  ({', '.join(shares)})" if shares else ""


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value) -> str:
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 90 else f"{text[:89]}…"
