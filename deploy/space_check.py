"""Rehearse the Space: ``make space-check``. What works here, with nothing that a Space lacks, works there.

Only what the Space installs, files that cannot be written, a user whom the system does not know and who has no home,
no network, two cores, 16 GB, another working directory, temporary files elsewhere; then the main paths in a browser.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from deploy import environment, sandbox, visit
from frami.errors import FramiError

#: One that was raised; those that Python ignores come from forked processes of Spaces' own library.
_TRACEBACK = re.compile(r"^(?!Exception ignored).*\nTraceback \(most recent call last\)", re.MULTILINE)
#: What the header that Gradio adds in a Space says where it cannot ask its host.
_HEADER = "Space not found"


def main() -> int:
    """0 where all works, 1 where something does not, 2 where the rehearsal itself cannot be."""
    options = _options()
    try:
        return _rehearse(options)
    except sandbox.NotStarted as error:
        print(f"FAILED  {error}\nthe Space would not work")
        return 1
    except FramiError as error:
        print(f"space-check: {error}", file=sys.stderr)
        return 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="space-check", description=__doc__.splitlines()[0])
    parser.add_argument("space", type=Path, help="its files, made by make space")
    parser.add_argument("--python", type=Path, help="of an environment that was installed before (--install)")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="install an environment here as a Space does")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep what the studio wrote")
    parser.add_argument("--only", nargs="*", metavar="PATH", help=", ".join(one.__name__ for one in visit.PATHS))
    return parser.parse_args()


def _rehearse(options: argparse.Namespace) -> int:
    if options.install:
        print(f"installed: {environment.fresh(options.install, options.space)}")
        return 0
    apart, failed, notes = sandbox.enter(), [], []
    if not apart:
        notes.append("no network, an unknown user: unshare is not allowed here, or not there (it is Linux's)")
    with tempfile.TemporaryDirectory(prefix="frami-space-") as folder:
        work, python, missing = Path(folder), options.python, []
        if python is None:
            python, missing = environment.present(work / "environment", options.space)
            notes.append(f"an environment of its own; of what a Space installs this one lacks {_few(missing)}")
        found = subprocess.run([python, "-V"], capture_output=True, text=True).stdout.split()[-1]
        if found != (there := environment.version(options.space)):
            notes.append(f"Python {found} in place of {there}")
        copy = shutil.copytree(options.space, work / "space")
        started = time.monotonic()
        with sandbox.running(python, copy, work, apart, not missing) as studio:
            print(f"ok      The studio starts ({time.monotonic() - started:.0f} s)", flush=True)
            failed += _visit(studio.address, options.only, notes) + _health(studio.address)
        log = studio.log.read_text(errors="replace")
    if options.log:
        options.log.write_text(log)
    failed += ["a traceback in the log"] if _TRACEBACK.search(log) else []
    failed += ["more memory than 16 GB, so it was ended"] if studio.peak > studio.memory else []
    if failed:
        print(f"--- the end of the log ---\n{log[-3000:]}\n--------------------------")
    print(f"memory: {studio.peak / 2**30:.1f} GB at most, all processes together")
    for line in notes:
        print(f"not as in a Space: {line}")
    for line in failed:
        print(f"FAILED  {line}")
    print(f"the Space would not work: {len(failed)} failures" if failed else "the Space would work")
    return 1 if failed else 0


def _visit(address: str, only: list[str] | None, notes: list[str]) -> list[str]:
    """What fails of the visitor's paths and of the page itself. notes : what was asked of other hosts is added."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise FramiError("no Chromium here: apt-get install chromium")
    failed = []
    with visit.page(address, chromium) as page:
        for path in visit.PATHS:
            if only is None or path.__name__ in only:
                failed += _walk(path, page)
        asked = list(dict.fromkeys(page.elsewhere))
    failed += [f"the page's console: {line}" for line in dict.fromkeys(page.trouble) if not (asked and line == _HEADER)]
    notes += [f"the page asked for {url}, in vain" for url in asked]
    return failed


def _health(address: str) -> list[str]:
    """What is wrong with the answer that hosts ask for."""
    try:
        with urllib.request.urlopen(f"{address}health", timeout=10) as answer:
            status = json.loads(answer.read())["status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"/health: {error}"]
    return [] if status == "ok" else [f"/health: {status}"]


def _few(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _walk(path, page) -> list[str]:
    """What went wrong on one of the paths, on one line each."""
    started, about = time.monotonic(), path.__doc__.rstrip(".")
    try:
        path(page)
    except Exception as error:  # of the browser, or of what it found
        why = " ".join(str(error).split())[:300]
        print(f"FAILED  {about}: {why}", flush=True)
        return [f"{about}: {why}"]
    print(f"ok      {about} ({time.monotonic() - started:.0f} s)", flush=True)
    return []


if __name__ == "__main__":
    sys.exit(main())
