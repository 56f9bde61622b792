"""``frami bench deploy``: networks as files in half precision and in eight bits."""

import shlex
from pathlib import Path

from frami.bench import deploy, deploy_page, parts
from frami.bench.results import filling
from frami.cli.arguments import command, context, data_option, names, whole
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
