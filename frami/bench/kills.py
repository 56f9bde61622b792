"""Kills commands and the studio at random moments and gives them again: what was finished stays, and the work ends."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import soundfile
import torch

from frami import banks, checkpoints
from frami.bench.pages import heading, intro, table
from frami.device import processor
from frami.errors import FramiError
from frami.paths import PACKAGE, child_environment
from frami.runs import Runs

#: Kills at most; seconds that a command may take when it is given again.
MOST, PATIENCE = 1000, 600
#: Times that a command is killed at most before it may end.
_AGAIN = 3


@dataclass(frozen=True)
class Victim:
    """A command that is killed. ``words(folder)`` : its arguments; ``check(folder)`` : raises AssertionError where what
    it left is not what an undisturbed one leaves; ``finished(folder)`` : files that were finished, which must stay."""

    name: str
    words: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    finished: Callable[[Path], list[Path]] = lambda folder: []


def _synthesis(folder: Path) -> list[str]:
    options = {"--teacher": "fsdd", "--recipe": "frami", "--samples": 12, "--batch": 2, "--steps": 6, "--seconds": 0.4}
    return ["synthesize", *(str(word) for pair in options.items() for word in pair), "--out", str(folder / "bank")]


def _check_bank(folder: Path) -> None:
    bank = banks.load(folder / "bank")
    assert bank.manifest["complete"] and len(bank) == 12, "the bank is not complete"
    assert len(list((folder / "bank").rglob("*.wav"))) == 12, "sounds are missing"


def _shards(folder: Path) -> list[Path]:
    """Shards of a bank; the last one may be anew."""
    return sorted((folder / "bank").glob("shard-*.safetensors"))[:-1]


def _distillation(folder: Path) -> list[str]:
    out = str(folder / "run")
    if (folder / "run" / "state.pt").exists():
        return ["distill", "--resume", out, "--keep", "0.5"]
    options = {"--teacher": "fsdd", "--student": "nano", "--rounds": 4, "--clips": 8, "--steps": 10, "--batch": 8}
    return ["distill", *(str(word) for pair in options.items() for word in pair), "--keep", "0.5", "--out", out]


def _check_run(folder: Path) -> None:
    (run,) = [one for one in Runs(folder / "home" / "runs" / "runs.sqlite").list() if one.status == "finished"]
    assert run.result["steps"] == 40 and run.result["clips"] == 32, "steps or clips are missing, or there twice"
    checkpoints.load(folder / "run" / "student")


def _training(folder: Path) -> list[str]:
    sounds = folder / "sounds"
    if not sounds.exists():
        rng = np.random.default_rng(0)
        for name, pitch in (("low", 200), ("high", 2000)):
            (sounds / name).mkdir(parents=True)
            for i in range(12):
                time_axis = np.arange(8000) / 16_000
                sound = 0.3 * np.sin(2 * np.pi * pitch * time_axis) + 0.05 * rng.standard_normal(8000)
                soundfile.write(sounds / name / f"{i}.wav", sound.astype(np.float32), 16_000)
    options = {"--dataset": sounds, "--size": "micro", "--epochs": 6, "--batch": 8, "--out": folder / "teacher"}
    return ["train-teacher", *(str(word) for pair in options.items() for word in pair)]


def _check_teacher(folder: Path) -> None:
    card = checkpoints.load(folder / "teacher").card
    assert card.training["epochs"] == 6 and not list(folder.glob("*.training")), "the training has not ended"


VICTIMS = (
    Victim("synthesize", _synthesis, _check_bank, _shards),
    Victim("distill", _distillation, _check_run),
    Victim("train-teacher", _training, _check_teacher),
)


def run(times: int, report: Callable[[int, int], None], seed: int = 0, only: str | None = None) -> dict:
    """Kill so many times, commands in turn; ``only`` : the name of one of them. Returns plain values. Raises FramiError
    where a command fails undisturbed."""
    if not 1 <= times <= MOST:
        raise FramiError(f"1 to {MOST} kills")
    victims = [one for one in VICTIMS if only in (None, one.name)]
    if not victims:
        raise FramiError(f"no command '{only}' is killed here; choose one of: {', '.join(v.name for v in VICTIMS)}")
    rng, rows, done = random.Random(seed), {one.name: _Row() for one in victims}, 0
    usual = {one.name: _undisturbed(one) for one in victims}
    while done < times:
        for victim in victims:
            if done >= times:
                break
            killed = _one(victim, usual[victim.name], min(_AGAIN, times - done), rng, rows[victim.name])
            done += max(killed, 1)
            report(min(done, times), times)
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "seed": seed,
        "kills": sum(row.killed for row in rows.values()),
        "commands": {name: vars(row) | {"usual_s": round(usual[name], 1)} for name, row in rows.items()},
    }


class _Row:
    """What came of the kills of one command: ``killed``, ``ended`` before it could be, ``whole`` works in the end, and
    what was ``wrong``."""

    def __init__(self):
        self.killed = self.ended = self.whole = 0
        self.wrong: list[str] = []


def _one(victim: Victim, usual: float, most: int, rng: random.Random, row: _Row) -> int:
    """Work that is killed some times and then let be; how often it was killed."""
    with TemporaryDirectory(prefix="frami-kills-") as name:
        folder, killed = Path(name), 0
        for _ in range(most):
            moment = rng.uniform(0.0, usual)
            if not _killed(victim, folder, moment):
                row.ended += 1
                break
            killed += 1
            before = _prints(victim, folder)
            _tolerated(row, victim, f"after a kill at {moment:.1f} s", lambda: _readable(folder))
            code, said = _given(victim, folder, usual * rng.uniform(0.1, 0.5))
            if code not in (None, 0) and "there already" not in said:
                row.wrong.append(f"{victim.name}, given again after {moment:.1f} s: {said}")
            lost = [path for path, content in before.items() if _prints(victim, folder).get(path) != content]
            if lost:
                row.wrong.append(f"{victim.name}: {', '.join(lost)} changed, which was finished")
            killed += code is None
        code, said = _given(victim, folder, PATIENCE)
        with _home(folder):  # killed behind its last write, a command is told that what it makes is there
            whole = _tolerated(row, victim, "at the end", lambda: victim.check(folder))
        row.whole += whole
        if code != 0 and not whole:
            row.wrong.append(f"{victim.name} did not come to its end: {said}")
        row.killed += killed
        return killed


def _tolerated(row: _Row, victim: Victim, when: str, check: Callable[[], None]) -> bool:
    try:
        check()
        return True
    except (AssertionError, FramiError, OSError, ValueError) as error:
        row.wrong.append(f"{victim.name} {when}: {type(error).__name__}: {error}")
        return False


def _readable(folder: Path) -> None:
    """What lies there can be read at any moment, or is refused in words."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in folder.rglob("*.safetensors"):
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            list(file.keys())
    for path in folder.rglob("*.pt"):
        torch.load(path, weights_only=True)


def _prints(victim: Victim, folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in victim.finished(folder)}


class _home:
    """FRAMI_HOME in a folder of the work, within the context."""

    def __init__(self, folder: Path):
        self._folder, self._before = folder / "home", os.environ.get("FRAMI_HOME")

    def __enter__(self):
        os.environ["FRAMI_HOME"] = str(self._folder)

    def __exit__(self, *_):
        os.environ.pop("FRAMI_HOME")
        if self._before is not None:
            os.environ["FRAMI_HOME"] = self._before


def _started(victim: Victim, folder: Path) -> subprocess.Popen:
    environment = child_environment() | {"FRAMI_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    environment.pop("FRAMI_DATA", None)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "frami", *victim.words(folder)], cwd=PACKAGE.parent, env=environment, stdout=log,
            stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def _killed(victim: Victim, folder: Path, seconds: float) -> bool:
    """Start it and kill it and all that it started after so many seconds; False where it has ended before."""
    process = _started(victim, folder)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    if process.poll() is not None:
        return False
    for one in _tree(process.pid):
        with suppress(OSError):
            os.kill(one, signal.SIGKILL)
    process.wait()
    return True


def _tree(pid: int) -> Iterator[int]:
    with suppress(psutil.Error):
        yield from [child.pid for child in psutil.Process(pid).children(recursive=True)]
    yield pid


def _given(victim: Victim, folder: Path, seconds: float) -> tuple[int | None, str]:
    """Give the command again; its status and last line, None where it was killed after so many seconds."""
    process = _started(victim, folder)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        for one in _tree(process.pid):
            with suppress(OSError):
                os.kill(one, signal.SIGKILL)
        process.wait()
        return None, "it took too long"
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return process.returncode, lines[-1] if lines else "it said nothing"


def _undisturbed(victim: Victim) -> float:
    """Seconds that a command takes."""
    with TemporaryDirectory(prefix="frami-kills-") as name:
        begin = time.monotonic()
        code, said = _given(victim, Path(name), PATIENCE)
        seconds = time.monotonic() - begin
        if code != 0:
            raise FramiError(f"frami {victim.name} fails without being killed: {said}")
        with _home(Path(name)):
            victim.check(Path(name))
        return seconds


def page(value: dict, command: str) -> list[str]:
    """Lines of the page of a measurement."""
    lines = intro("kills", command=command)
    lines += heading(f"{value['machine']}: {value['kills']} kills, seed {value['seed']}")
    rows = [
        [f"`frami {name}`", f"{row['usual_s']:g} s", str(row["killed"]), str(row["whole"]), str(len(row["wrong"]))]
        for name, row in value["commands"].items()
    ]
    lines += table(["command", "takes", "kills", "works that ended whole", "what was wrong"], rows)
    for row in value["commands"].values():
        lines += [line for said in row["wrong"] for line in ("", f"- {said}")]
    return lines
