"""``frami bench deploy``: networks as smaller files; ``frami bench listen``: what they hear in a long sound."""

import shlex
from pathlib import Path

from frami.bench import deploy, deploy_page, listen, parts
from frami.bench.results import filling
from frami.cli.arguments import aligned, command, context, data_option, names, whole
from frami.errors import FramiError
from frami.quantisation import METHODS
from frami.quantisation.lowering import METHOD


def add(bench) -> None:
    about = "Files in half precision and in eight bits, by what they were calibrated on; fills what is missing."
    sub = command(bench, "deploy", _deploy, about)
    sub.add_argument("--checkpoints", type=names, help="default: the bundled teachers and students")
    sub.add_argument("--methods", type=names, help=f"how ranges are chosen: {', '.join(METHODS)} (default: {METHOD})")
    sub.add_argument("--each", type=_counts, help="clips of each class to calibrate on, e.g. 1,10 (default: 1,10,100)")
    sub.add_argument("--clips", type=whole(1), help="of each part at most, drawn (default: all)")
    on = "reported: held-out clips and strangers (default); development: clips to choose settings on"
    sub.add_argument("--on", choices=list(parts.ON), default="reported", help=on)
    sub.add_argument("--out", default="docs/results/deploy.md", help="page; its figures lie beside it as .json")
    sub.add_argument("--page", action="store_true", help="measure nothing, write the page of what has been measured")
    data_option(sub)

    about = "What frami listen --events hears of words in a row, over its settings; on clips of development."
    sub = command(bench, "listen", _listen, about)
    sub.add_argument("--checkpoints", type=names, help=f"of spoken words (default: {', '.join(_LISTENING)})")
    words = f"of each sound (default: {listen.WORDS})"
    sub.add_argument("--words", type=whole(10, 10_000), default=listen.WORDS, help=words)
    sub.add_argument("--best", type=whole(1, 100), default=5, help="combinations of settings to show (default: 5)")
    data_option(sub)


#: Students on which defaults of ``frami listen`` were chosen.
_LISTENING = ("fsdd-tiny", "digits-mini")


def _listen(options) -> tuple[dict, list[str]]:
    rows = listen.measure(options.checkpoints or _LISTENING, context(options), options.words)
    shown = dict.fromkeys([listen.WINDOWWISE, listen.USUAL, *(key for key, _ in listen.ranked(rows)[: options.best])])
    table = [["network, sound", *listen.CHOSEN, "words", "events", "found", "missed", "false"]]
    for key in shown:
        for row in (row for row in rows if listen.key(row) == key):
            missed, false = row["words"] - row["found"], row["events"] - row["found"]
            counts = (row["words"], row["events"], f"{row['recall']:.1%}", missed, false)
            table.append([f"{row['checkpoint']}, {row['sound']}", *map(str, (*key, *counts))])
    note = "window: times the usual one; hop: share of a window; first settings: of windows; second: of --events"
    return {"rows": rows}, [*aligned(table), "", note]


def _counts(text: str) -> list[int]:
    return [whole(1, 1000)(part) for part in names(text)]


def _deploy(options) -> tuple[dict, list[str]]:
    out, methods = Path(options.out), options.methods or [METHOD]
    if unknown := [name for name in methods if name not in METHODS]:
        raise FramiError(f"no method '{unknown[0]}'; choose out of: {', '.join(METHODS)}")
    wanted = [one for one in deploy.variants(methods) if options.each is None or one.each in (0, *options.each)]
    with filling(out, "deploy", lambda found: deploy_page.page(found.cells, _words(options))) as results:
        if not options.page:
            listed = options.checkpoints or deploy.networks()
            deploy.fill(listed, wanted, results, context(options), options.on, options.clips)
    lines = [*out.read_text(encoding="utf-8").splitlines(), "", f"written to {out}"]
    return {"out": str(out), "cells": results.cells}, lines


def _words(options) -> str:
    """The command of a page."""
    words = ["frami bench deploy"]
    for name in ("checkpoints", "methods", "each"):
        if value := getattr(options, name):
            words.append(f"--{name} {shlex.quote(','.join(map(str, value)))}")
    words += [f"--clips {options.clips}"] if options.clips else []
    words += ["--on development"] if options.on == "development" else []
    return " ".join([*words, "--data FOLDER"])
