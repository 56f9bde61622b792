"""Kills commands and the studio at random moments and gives them again: what was finished stays, and the work ends."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file

from frami import banks, checkpoints
from frami.bench import killed_studio
from frami.bench.pages import heading, intro, table
from frami.device import processor
from frami.distill.run import unfinished
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
    it left is not what an undisturbed one leaves; ``result(folder)`` : the files with tensors that it makes;
    ``finished(folder)`` : files that were finished, which must stay; ``may`` : what a kill may cost, in words."""

    name: str
    words: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    result: Callable[[Path], list[Path]]
    may: str
    finished: Callable[[Path], list[Path]] = lambda folder: []


def _synthesis(folder: Path) -> list[str]:
    options = {"--teacher": "fsdd", "--recipe": "frami", "--samples": 12, "--batch": 2, "--steps": 6, "--seconds": 0.4}
    return ["synthesize", *(str(word) for pair in options.items() for word in pair), "--out", str(folder / "bank")]


def _check_bank(folder: Path) -> None:
    bank = banks.load(folder / "bank")
    assert bank.manifest["complete"] and len(bank) == 12, "the bank is not complete"
    assert len(list((folder / "bank").rglob("*.wav"))) == 12, "sounds are missing"


def _shards(folder: Path) -> list[Path]:
    return sorted((folder / "bank").glob("shard-*.safetensors"))


def _finished_shards(folder: Path) -> list[Path]:
    """All but the last one, which may be anew."""
    return _shards(folder)[:-1]


def _distillation(folder: Path) -> list[str]:
    out = str(folder / "run")
    if unfinished(folder / "run", Runs(folder / "home" / "runs" / "runs.sqlite")):  # as the command advises
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


def _export(folder: Path) -> list[str]:
    return ["export", "fsdd", "--overwrite", "--out", str(folder / "fsdd.onnx")]


def _check_export(folder: Path) -> None:
    import onnx

    onnx.checker.check_model(str(folder / "fsdd.onnx"))


VICTIMS = (
    Victim("synthesize", _synthesis, _check_bank, _shards, "the batch at work", _finished_shards),
    Victim("distill", _distillation, _check_run, lambda folder: [folder / "run" / "student.safetensors"],
           "what it learnt since it was saved last (`--keep`)"),
    Victim("train-teacher", _training, _check_teacher, lambda folder: [folder / "teacher.safetensors"],
           "the epoch at work"),
    Victim("export", _export, _check_export, lambda folder: [folder / "fsdd.onnx"], "the file that is being made"),
)  # fmt: skip
#: The studio, by whether strangers share it.
STUDIOS = {"hosted-studio": True, "studio": False}
NAMES = (*STUDIOS, *(victim.name for victim in VICTIMS))
#: What the death of a process of a studio may cost.
_MAY = {
    "a worker": "the batch, map or export at work, of which its visitor is told",
    "a distillation": "what it learnt since it was saved last; its visitor is told, Resume continues it",
    "another process": "the same as of its parent",
    "the page": "the batch at work, and syntheses that wait; a distillation is stopped, Resume continues it",
    "the end": "nothing",
}
#: Kills of a studio before the next victim's turn.
_IN_TURN = 8


def run(times: int, report: Callable[[int, int], None], seed: int = 0, only: str | None = None) -> dict:
    """Kill so many times, commands and studios in turn, or until Ctrl-C; ``only`` : one of ``NAMES``. Returns plain
    values. Raises FramiError where a command fails undisturbed, or no studio starts."""
    if not 1 <= times <= MOST:
        raise FramiError(f"1 to {MOST} kills")
    names = [name for name in NAMES if only in (None, name)]
    if not names:
        raise FramiError(f"no command '{only}' is killed here; choose one of: {', '.join(NAMES)}")
    victims, chance, begin = {one.name: one for one in VICTIMS}, random.Random(seed), time.monotonic()
    rows: dict[str, Row] = {}

    def killed(outcome: killed_studio.Killed, name: str) -> None:
        row = rows.setdefault(f"{name}: {outcome.kind}", Row(may=_MAY[outcome.kind]))
        row.ended += outcome.none
        row.moments += [] if outcome.none or outcome.kind == "the end" else [outcome.moment]
        row.wrong += outcome.wrong
        report(min(_count(rows), times), times)

    with suppress(KeyboardInterrupt):
        while (left := times - _count(rows)) > 0:
            for place, name in enumerate(names):
                if name in victims:
                    row = rows.setdefault(f"frami {name}", Row(may=victims[name].may, whole=0, equal=0))
                    _one(victims[name], min(_AGAIN, left), chance, row)
                else:
                    share = max(1, min(_IN_TURN, -(-left // (len(names) - place))))
                    killed_studio.run(STUDIOS[name], share, chance, lambda outcome, name=name: killed(outcome, name))
                report(min(_count(rows), times), times)
                if (left := times - _count(rows)) <= 0:
                    break
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "commit": commit(),
        "seed": seed,
        "asked": times,
        "kills": _count(rows),
        "seconds": round(time.monotonic() - begin),
        "rows": {name: asdict(row) for name, row in rows.items()},
    }


@dataclass
class Row:
    """What came of the kills of one kind: seconds from the start to each, works or processes that ``ended`` before, for
    a command how many works ended ``whole`` and how many of these ``equal`` to an undisturbed one, its usual seconds
    (``takes``), and what was ``wrong``."""

    may: str
    takes: float | None = None
    moments: list[float] = field(default_factory=list)
    ended: int = 0
    whole: int | None = None
    equal: int | None = None
    wrong: list[str] = field(default_factory=list)


def _count(rows: dict[str, Row]) -> int:
    return sum(len(row.moments) for row in rows.values())


def held(value: dict) -> bool:
    """Whether nothing was lost and nothing stayed behind."""
    return not any(row["wrong"] for row in value["rows"].values())


def _one(victim: Victim, most: int, chance: random.Random, row: Row) -> None:
    """Work that is killed some times and then let be."""
    usual, undisturbed = _undisturbed(victim)
    row.takes = round(usual, 1)
    with TemporaryDirectory(prefix="frami-kills-") as name:
        folder = Path(name)
        for _ in range(most):
            moment, before = chance.uniform(0.0, usual), _prints(victim, folder)
            if not _killed(victim, folder, moment, row):
                break
            row.moments.append(moment)
            _tolerated(row, f"after a kill at {moment:.1f} s", lambda: _readable(folder))
            lost = [path for path, content in before.items() if _prints(victim, folder).get(path) != content]
            if lost:
                row.wrong.append(f"{', '.join(lost)} changed, which was finished")
        code, said = _given(victim, folder)
        with _home(folder):  # killed behind its last write, a command is told that what it makes is there
            whole = _tolerated(row, "at the end", lambda: victim.check(folder))
        row.whole += whole
        row.equal += whole and _tensors(victim, folder) == undisturbed
        if code != 0 and not whole:
            row.wrong.append(f"it did not come to its end: {said}")
        left = [str(path.relative_to(folder)) for path in folder.rglob(".*") if path.is_file()]
        if left:
            row.wrong.append(f"left behind at the end: {', '.join(left)}")


def _tolerated(row: Row, when: str, check: Callable[[], None]) -> bool:
    try:
        check()
        return True
    except Exception as error:  # whatever a reader of damaged files raises
        row.wrong.append(f"{when}: {type(error).__name__}: {error}")
        return False


def _readable(folder: Path) -> None:
    """What lies there can be read at any moment. Half files have names of their own until they are whole: they may lie
    there until the work goes on."""
    for path in folder.rglob("*"):
        if killed_studio.HALF.fullmatch(path.name):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)


def _prints(victim: Victim, folder: Path) -> dict[str, str]:
    return {path.name: killed_studio.print_of(path) for path in victim.finished(folder)}


def _tensors(victim: Victim, folder: Path) -> str:
    """One print of the values that a command made, without what its files say of times and paths."""
    digest = hashlib.sha256()
    for path in victim.result(folder):
        if path.suffix != ".safetensors":
            digest.update(path.read_bytes())
            continue
        for name, tensor in sorted(load_file(path).items()):
            digest.update(name.encode() + tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@cache
def commit() -> str:
    """The commit of this program, as far as git knows it."""
    command = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--dirty", "--abbrev=10"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return "unknown"


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


def _killed(victim: Victim, folder: Path, seconds: float, row: Row) -> bool:
    """Start it and kill it and all that it started after so many seconds; False where it has ended before."""
    process = _started(victim, folder)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    except KeyboardInterrupt:
        _kill(process)
        raise
    if process.poll() is not None:
        row.ended += 1
        if process.returncode != 0 and "there already" not in (said := _last(folder)):
            row.wrong.append(f"given again: {said}")
        return False
    _kill(process)
    return True


def _kill(process: subprocess.Popen) -> None:
    """Kill a process that has not ended, and all that it started."""
    if process.poll() is not None:
        return
    for one in (*(child.pid for child in killed_studio.below(process.pid)), process.pid):
        with suppress(OSError):
            os.kill(one, signal.SIGKILL)
    process.wait()


def _given(victim: Victim, folder: Path) -> tuple[int | None, str]:
    """Give the command again; its status and last line, None where it takes too long."""
    process = _started(victim, folder)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return None, "it took too long"
    finally:  # also where Ctrl-C ends the bench
        _kill(process)
    return process.returncode, _last(folder)


def _last(folder: Path) -> str:
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


@cache
def _undisturbed(victim: Victim) -> tuple[float, str]:
    """Seconds that a command takes, and the print of what it makes."""
    with TemporaryDirectory(prefix="frami-kills-") as name:
        begin = time.monotonic()
        code, said = _given(victim, Path(name))
        seconds = time.monotonic() - begin
        if code != 0:
            raise FramiError(f"frami {victim.name} fails without being killed: {said}")
        with _home(Path(name)):
            victim.check(Path(name))
        return seconds, _tensors(victim, Path(name))


def page(value: dict, command: str) -> list[str]:
    """Lines of the page of a measurement."""
    lines = intro("kills", command=command)
    about = (
        f"{value['kills']} kills in {value['seconds'] / 60:.0f} min, seed {value['seed']}, commit {value['commit']}."
    )
    if value["kills"] < value["asked"]:
        about += f" It was ended before the {value['asked']} that were asked for."
    lines += heading(f"{value['machine']}: {'nothing' if held(value) else 'something'} lost or left behind", about)
    heads = ["killed", "kills", "at", "what a kill may cost", "lost or left behind", "ended whole", "equal"]
    lines += table(heads, [_cells(name, row) for name, row in value["rows"].items()])
    for name, row in value["rows"].items():
        lines += [line for said in row["wrong"] for line in ("", f"- {name}: {said}")]
    return lines


def _cells(name: str, row: dict) -> list[str]:
    at, ended = row["moments"], "–" if row["whole"] is None else str(row["whole"])
    span = f"{min(at):.1f} to {max(at):.1f} s" if at else "there was none" if row["ended"] and not row["takes"] else "–"
    span += f" of {row['takes']:g} s" if row["takes"] else ""
    equal = "–" if row["equal"] is None else f"{row['equal']} of {row['whole']}"
    return [
        f"`{name}`" if name.startswith("frami") else name,
        str(len(at)),
        span,
        row["may"],
        str(len(row["wrong"])),
        ended,
        equal,
    ]
