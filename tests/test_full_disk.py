"""A disk without room ends a command in one line, leaves no piece of a file, and the same command goes on later."""

import re
import resource
import shlex
import sqlite3
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError

from frami import audio, checkpoints, files, models
from frami.audio import AudioError
from frami.bench import pages
from frami.bench.results import Results
from frami.errors import FramiError
from frami.files import FullError
from frami.runs import RunError, Runs
from frami.studio.services import troubles
from tests.helpers.cli import run, synthesize
from tests.helpers.own import make_folder


@contextmanager
def room_for(size: int):
    """For the block, no file can be larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


def commands(folder: Path) -> dict[str, tuple[list, int]]:
    """Commands that write to ``folder/out``, and bytes that are too few for one of their files."""
    torch.save(models.build("nano", 2).state_dict(), folder / "w.pth")
    files.write(folder / "classes.txt", "a\nb\n")
    weights = ["--architecture", "residual:nano", "--weights", folder / "w.pth", "--classes", folder / "classes.txt"]
    out = ["--out", folder / "out" / "it"]
    quick = ["--teacher", "fsdd", "--student", "nano", "--rounds", 1, "--clips", 4, "--steps", 2]
    return {
        "import": (["import", *weights, *out], 50_000),
        "export": (["export", "fsdd", "--format", "safetensors", *out], 500_000),
        "synthesize": (synthesize(folder / "out" / "it"), 10_000),
        "gallery": (["gallery", "--teachers", "fsdd", "--each", 1, "--steps", 2, *out], 10_000),
        "distill": (["distill", *quick, "--out", folder / "out" / "it"], 60_000),
        "distill in the run's own folder": (["distill", *quick], 60_000),
    }


def advised(err: str, given: list) -> list:
    """The command that the last line of a command's errors tells to give once there is room."""
    line = err.splitlines()[-1]
    assert "No space left on the disk; make room and " in line and "Traceback" not in err, err
    if named := re.search(r"make room and go on with: frami (.*)$", line):
        return shlex.split(named[1])
    assert "make room and give the same command again" in line
    return [word for word in given if word != "--overwrite"] if "without --overwrite" in line else given


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("distill", "distill in the run's own folder")]


@pytest.mark.parametrize("command", ["import", "export", "synthesize", "gallery", *SLOW])
def test_a_command_ends_in_a_line_and_goes_on_as_it_says(command, tmp_path, capsys, fresh_home):
    given, size = commands(tmp_path)[command]
    with room_for(size):
        status, out, err = run(capsys, *given)
    assert status == 2 and not out and (len(err.splitlines()) == 1 or command == "gallery"), err
    assert not half_written(tmp_path / "out")
    status, _, err = run(capsys, *advised(err, given))
    assert status == 0, err
    assert not half_written(tmp_path / "out")


def test_a_distillation_that_could_not_begin_begins_with_the_same_command(tmp_path, capsys, fresh_home, monkeypatch):
    given, _ = commands(tmp_path)["distill"]
    real = files.write_json

    def full(path, value, *more):
        raise FullError(path)

    monkeypatch.setattr(files, "write_json", full)
    status, _, err = run(capsys, *given)
    assert status == 2 and advised(err, given) == given and not Runs().list()
    monkeypatch.setattr(files, "write_json", real)
    monkeypatch.setattr("frami.distill.run.work", lambda *_: (_ for _ in ()).throw(FramiError("it has begun")))
    assert "it has begun" in run(capsys, *given)[2]


@pytest.mark.parametrize("batches", [0, 1])
def test_a_bank_that_replaces_another_goes_on_as_it_says(batches, tmp_path, capsys, monkeypatch):
    """What replaced the other one is there: ``--overwrite`` once more would begin anew."""
    out = tmp_path / "bank"
    assert run(capsys, *synthesize(out, "--no-sounds", "--seed", 1))[0] == 0
    given = synthesize(out, "--no-sounds", "--batch", 1, "--overwrite")
    real, written = files.write, []

    def write(path, content):
        if path.suffix == ".safetensors":
            written.append(path)
            if len(written) > batches:
                raise FullError(path)
        real(path, content)

    monkeypatch.setattr("frami.banks.writer.files.write", write)
    status, _, err = run(capsys, *given)
    assert status == 2
    monkeypatch.undo()
    again = advised(err, given)
    assert ("--overwrite" in again) is (not batches)
    status, _, err = run(capsys, *again)
    assert status == 0 and ("goes on behind the 1 clips" in err) is bool(batches), err


def test_pages_and_figures_of_benchmarks_say_what_to_do(tmp_path):
    with room_for(2_000), pytest.raises(FullError, match=r"same command again: it measures again what it has not"):
        pages.write(tmp_path / "page.md", ["x" * 3_000])
    with room_for(2_000), pytest.raises(FullError, match=r"same command again: what was finished is saved"):
        Results(tmp_path / "page.json").put("key", {"text": "x" * 3_000})
    assert {path.name for path in tmp_path.iterdir()} <= {".page.json.lock"}


def test_a_training_ends_in_a_line_and_goes_on(tmp_path, capsys, fresh_home):
    recordings = make_folder(tmp_path / "sounds", {"low": 4, "high": 4})
    size = ["--size", "nano", "--batch", 4, "--epochs", 1]
    given = ["train-teacher", "--dataset", recordings, *size, "--out", tmp_path / "out" / "it"]
    assert run(capsys, *given)[0] == 0  # so that the log-Mels are there
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    with room_for(50_000):
        status, _, err = run(capsys, *given)
    assert status == 2
    assert not half_written(tmp_path / "out")
    assert run(capsys, *advised(err, given))[0] == 0 and checkpoints.load(tmp_path / "out" / "it").card.name == "it"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["system", "safetensors"],
)
def test_a_library_that_hides_it_is_understood(error, tmp_path):
    with pytest.raises(FullError, match=r"it\.bin: No space left on the disk; make room"), \
            files.replacing(tmp_path / "it.bin") as temporary:  # fmt: skip
        temporary.write_bytes(b"x")
        raise error
    assert not list(tmp_path.iterdir())


def test_an_error_without_a_reason_is_one_of_a_full_disk_where_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4_096}))
    with pytest.raises(FullError), files.replacing(tmp_path / "it"):
        raise RuntimeError("unexpected pos 64 vs 1320480")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "it"):
        raise RuntimeError("another matter")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_a_sound_is_not_cut_silently(ending, tmp_path):
    with room_for(1_000), pytest.raises(AudioError, match="cannot be written there"):
        audio.save(tmp_path / f"x.{ending}", torch.rand(22_050))


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(kilobytes)``: a folder on a disk of that size."""
    mounted = []

    def made(kilobytes: int) -> Path:
        folder = tmp_path / f"disk {len(mounted)}"
        folder.mkdir()
        option = f"size={kilobytes}k"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("only root may mount a small disk")
        mounted.append(folder)
        return folder

    yield made
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("room", [0, 40], ids=["at the beginning", "later"])
def test_a_run_store_on_a_full_disk_says_so_at_once(room, small_disk, monkeypatch):
    disk = small_disk(room + 4)
    monkeypatch.setenv("FRAMI_HOME", str(disk))
    begin = time.monotonic()
    with pytest.raises(FullError, match=r"runs\.sqlite: No space left on the disk; make room"):
        for number in range(200):
            Runs().create("distill", f"run {number}", {"text": "x" * 500})
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("hosted", ["1", ""])
@pytest.mark.parametrize(
    "code, told",
    [
        (sqlite3.SQLITE_FULL, troubles.FULL),
        (sqlite3.SQLITE_READONLY, troubles.UNWRITABLE),
        (sqlite3.SQLITE_CANTOPEN, troubles.UNWRITABLE),
        (sqlite3.SQLITE_IOERR | 3 << 8, troubles.UNWRITABLE),
    ],
    ids=["full", "read-only", "no folder", "input or output"],
)
def test_errors_of_a_store_that_stay_are_told_at_once(code, told, hosted, monkeypatch, fresh_home):
    def refused(*_):
        error = sqlite3.OperationalError("as SQLite says it")
        error.sqlite_errorcode = code
        raise error

    def waited(_):
        raise AssertionError("waiting does not help")

    monkeypatch.setenv("FRAMI_HOSTED", hosted)
    monkeypatch.setattr("frami.runs.store.time.sleep", waited)
    monkeypatch.setattr(Runs, "_open", lambda _: Runs._create_tables(SimpleNamespace(execute=refused)))
    with pytest.raises((RunError, FullError)) as raised:
        Runs().create("distill", "run", {})
    words = troubles.in_words(raised.value)
    assert words == told if hosted or told == troubles.FULL else "cannot be used now" in words


def test_a_store_that_is_locked_is_tried_again(monkeypatch, fresh_home):
    """While another process makes its tables."""
    answers = [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, None]
    real = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, query, *values):
            if "journal_mode" in query and (code := answers.pop(0)) is not None:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = code
                raise error
            return super().execute(query, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, factory=Connection, **k))
    assert Runs().create("distill", "run", {}).name == "run" and not answers


def test_a_run_that_ended_on_a_full_disk_says_so_on_the_page():
    assert troubles.of_run(str(FullError("/srv/home/runs/x/state.pt"))).startswith(troubles.FULL)
