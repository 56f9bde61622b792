"""What a studio does when many visitors use it at the same time, on this machine alone: answers, memory, what is left.

The studio is started in a folder of its own, on an address that only this machine reaches, and ended at the end.
"""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression, median, quantiles
from tempfile import TemporaryDirectory

import psutil
import requests

from frami.bench.pages import heading, intro, table
from frami.bench.visitors import Record, Visitor
from frami.device import processor
from frami.errors import FramiError
from frami.paths import PACKAGE, child_environment

#: Visitors and seconds at most.
MOST_VISITORS, MOST_SECONDS = 200, 7200
_START, _SAMPLE, _SETTLE = 180, 1.0, 5
#: Folders that the studio may write to, below the temporary one.
FOLDERS = {"FRAMI_HOME": "home", "TMPDIR": "temporary", "GRADIO_TEMP_DIR": "gradio"}


@dataclass(frozen=True)
class Plan:
    """How many visitors do what, for how many seconds, with how many between two clicks (a mean); ``hosted`` : with the
    limits of a studio that strangers share."""

    listening: int = 50
    synthesising: int = 10
    distilling: int = 4
    trying: int = 5
    seconds: float = 600.0
    pause: float = 2.0
    hosted: bool = False

    def __post_init__(self):
        if not 0 < sum((self.listening, self.synthesising, self.distilling, self.trying)) <= MOST_VISITORS:
            raise FramiError(f"1 to {MOST_VISITORS} visitors in all")
        if not 5 <= self.seconds <= MOST_SECONDS:
            raise FramiError(f"the time is 5 to {MOST_SECONDS} seconds")


def run(plan: Plan, report: Callable[[int, int], None]) -> dict:
    """The measurement as plain values. Raises FramiError where no studio starts."""
    record, samples, busy = Record(), [], os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with TemporaryDirectory(prefix="frami-load-") as folder, studio(Path(folder), plan.hosted) as (process, address):
        began = time.monotonic()
        until = began + plan.seconds
        doing = {"listen": plan.listening, "synthesize": plan.synthesising, "distil": plan.distilling}
        doing |= {"try_it": plan.trying}
        visits = [what for what, count in doing.items() for _ in range(count)]
        threads = [
            threading.Thread(target=_visit, args=(address, record, seed, until, plan.pause, what))
            for seed, what in enumerate(visits)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and process.poll() is None:
            now = time.monotonic() - began
            samples.append((now, *_memory(process.pid)))
            report(min(int(now), int(plan.seconds)), int(plan.seconds))
            time.sleep(_SAMPLE)
        died = process.poll() is not None
        for thread in threads:
            thread.join()
        time.sleep(_SETTLE)
        health = {} if died else requests.get(f"{address}health", timeout=30).json()
        after = _memory(process.pid) if not died else (0.0, 0.0)
        _end(process)
        log = (Path(folder) / "log").read_text(encoding="utf-8", errors="replace")
        left = {name: _size(Path(folder) / name) for name in FOLDERS.values()}
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "load_before": busy,
        "plan": asdict(plan),
        "clicks": {kind: _times(some) for kind, some in sorted(record.clicks.items())},
        "all": _times([x for some in record.clicks.values() for x in some]),
        "errors": record.errors | ({f"the studio ended with status {process.returncode}": 1} if died else {}),
        "refusals": record.refusals,
        "logged": sum("unexpected" in line or line.startswith("Traceback") for line in log.splitlines()),
        "done": record.done,
        "health": health.get("status", "no answer"),
        "memory": _levels(samples, after),
        "samples": [[round(x, 1) for x in sample] for sample in samples[:: max(1, len(samples) // 200)]],
        "left": {name: {"files": files, "megabytes": round(size / 1e6, 2)} for name, (files, size) in left.items()},
    }


def _visit(address: str, record: Record, seed: int, until: float, pause: float, what: str) -> None:
    """One visitor, from the opening of the page on."""
    visitor = None
    with record.click("open the page"):
        visitor = Visitor(address, record, seed, until, pause)
    if visitor:
        getattr(visitor, what)()


def page(value: dict, command: str) -> list[str]:
    """Lines of the page of a measurement."""
    plan, memory = value["plan"], value["memory"]
    lines = intro("load", command=command)
    who = ", ".join(f"{plan[what]} {what}" for what in ("listening", "synthesising", "distilling", "trying"))
    lines += heading(f"{value['machine']}: {who}, {plan['seconds']:g} s")
    if (busy := value["load_before"]) is not None:
        lines += ["", f"Others' work on this machine when it began (load average): {busy:.1f}."]
    rows = [
        [kind, f"{row['count']:,}", *(f"{row[k]:.3f} s" for k in ("median", "p95", "most"))]
        for kind, row in [*value["clicks"].items(), ("all", value["all"])]
        if row["count"]
    ]
    lines += table(["click", "times", "median", "95% within", "longest"], rows)
    words = [("errors", value["errors"]), ("polite refusals", value["refusals"]), ("brought to an end", value["done"])]
    for title, found in words:
        said = "; ".join(f"{count} × {what}" for what, count in sorted(found.items())) or "none"
        lines += ["", f"- {title}: {said}"]
    lines += ["", f"- unexpected errors in the log: {value['logged']}; health at the end: {value['health']}"]
    lines += ["", *_memory_words(memory)]
    left = "; ".join(f"{name}: {row['files']} files, {row['megabytes']:g} MB" for name, row in value["left"].items())
    return [*lines, "", f"- left behind, when the studio had ended: {left}"]


def _memory_words(memory: dict) -> list[str]:
    lines = [
        f"- resident memory of the page's process: {memory['first']:.0f} MB at first, {memory['middle']:.0f} MB half "
        f"way, {memory['last']:.0f} MB at the end, {memory['after']:.0f} MB when all had left; with what it started at "
        f"most {memory['most']:.0f} MB"
    ]
    for name, words in (("early", "first half"), ("late", "second half")):
        slope = memory[name]
        lines += [
            "",
            f"- its slope in the {words}: {slope['megabytes_an_hour']:+.0f} MB an hour (r² {slope['r2']:.2f})",
        ]
    return lines


@contextmanager
def studio(folder: Path, hosted: bool) -> Iterator[tuple[subprocess.Popen, str]]:
    """Process and address of a studio that writes below a folder, also one where another was killed. Raises FramiError
    where none starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in FOLDERS.values():
        (folder / name).mkdir(exist_ok=True)
    environment = child_environment() | {name: str(folder / place) for name, place in FOLDERS.items()}
    environment |= {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "FRAMI_HOSTED": str(int(hosted)),
    }
    command, address = [sys.executable, str(PACKAGE.parent / "app.py")], f"http://127.0.0.1:{port}/"
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, preexec_fn=_interruptible
        )
        try:
            until = time.monotonic() + _START
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > until:
                    last = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                    raise FramiError(f"no studio started here ({' '.join(last) or 'it said nothing'}); try: make demo")
                time.sleep(0.2)
            yield process, address
        finally:
            _end(process)


def _interruptible() -> None:
    """Ctrl-C ends the studio, also where this process was started in the background and ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}health", timeout=2).ok
    except requests.RequestException:
        return False


def _end(process: subprocess.Popen) -> None:
    """As Ctrl-C does: what is computed is stopped and saved."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
    process.kill()
    process.wait()


def _memory(pid: int) -> tuple[float, float]:
    """Megabytes of a process, and of those that it started."""
    found = [0.0, 0.0]
    with suppress(psutil.Error):
        own = psutil.Process(pid)
        found[0] = own.memory_info().rss / 1e6
        for child in own.children(recursive=True):
            with suppress(psutil.Error):
                found[1] += child.memory_info().rss / 1e6
    return found[0], found[1]


def _size(folder: Path) -> tuple[int, int]:
    """Files below a folder, and their bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _times(some: Sequence[float]) -> dict:
    """How many, median, 95th percentile and the longest, in seconds."""
    if not some:
        return {"count": 0, "median": None, "p95": None, "most": None}
    high = quantiles(some, n=20)[-1] if len(some) > 1 else some[0]
    return {"count": len(some), "median": median(some), "p95": min(high, max(some)), "most": max(some)}


def _levels(samples: list[tuple[float, float, float]], after: tuple[float, float]) -> dict:
    """Levels of the page's process in megabytes, its slopes in the first and the second half, the most of all."""
    some = samples or [(0.0, *after)]
    half = len(some) // 2
    return {
        "first": some[0][1],
        "middle": some[half][1],
        "last": some[-1][1],
        "after": after[0],
        "most": max(page + below for _, page, below in some),
        "early": slope(some[:half]),
        "late": slope(some[half:]),
    }


def slope(samples: Sequence[tuple[float, float, float]]) -> dict:
    """Megabytes an hour of the page's process, by least squares, and how much of its variance that explains."""
    times, sizes = [sample[0] for sample in samples], [sample[1] for sample in samples]
    if len(set(times)) < 2:
        return {"megabytes_an_hour": 0.0, "r2": 0.0}
    rate, start = linear_regression(times, sizes)
    mean = math.fsum(sizes) / len(sizes)
    spread = math.fsum((size - mean) ** 2 for size in sizes)
    rest = math.fsum((size - start - rate * at) ** 2 for at, size in zip(times, sizes, strict=True))
    return {"megabytes_an_hour": rate * 3600, "r2": 1 - rest / spread if spread else 0.0}
