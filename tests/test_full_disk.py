"""A disk without room ends a command in one line, leaves no piece of a file, and the same command goes on later."""

import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from frami import audio, checkpoints, files, models
from frami.audio import AudioError
from frami.files import FullError
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
        "distill": (["distill", *quick, "--out", folder / "out" / "it"], 60_000),
    }


@pytest.mark.parametrize("command", ["import", "export", "synthesize", pytest.param("distill", marks=pytest.mark.slow)])
def test_a_command_ends_in_a_line_and_goes_on(command, tmp_path, capsys, fresh_home):
    given, size = commands(tmp_path)[command]
    with room_for(size):
        status, out, err = run(capsys, *given)
    assert status == 2 and not out and len(err.splitlines()) == 1, err
    assert "No space left on the disk; make room and give the same command again" in err
    assert not half_written(tmp_path / "out")
    if command == "distill":
        given = ["distill", "--resume", "--out", tmp_path / "out" / "it"]
    status, _, err = run(capsys, *given)
    assert status == 0, err
    assert not half_written(tmp_path / "out")


def test_a_training_ends_in_a_line_and_goes_on(tmp_path, capsys, fresh_home):
    recordings = make_folder(tmp_path / "sounds", {"low": 4, "high": 4})
    size = ["--size", "nano", "--batch", 4, "--epochs", 1]
    given = ["train-teacher", "--dataset", recordings, *size, "--out", tmp_path / "out" / "it"]
    assert run(capsys, *given)[0] == 0  # so that the log-Mels are there
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    with room_for(50_000):
        status, _, err = run(capsys, *given)
    assert status == 2 and "No space left on the disk" in err.splitlines()[-1] and "Traceback" not in err
    assert not half_written(tmp_path / "out")
    assert run(capsys, *given)[0] == 0 and checkpoints.load(tmp_path / "out" / "it").card.name == "it"


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
