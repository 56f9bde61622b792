"""What one process writes, another is told to leave alone, at once; a lock does not outlive its process."""

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from frami import files, locks, models
from frami.hosting import owners
from frami.paths import child_environment
from tests.helpers.cli import run, synthesize

HOLD = """
import sys, time
from pathlib import Path
from frami import locks
held = getattr(locks, sys.argv[1])(Path(sys.argv[2]))
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def held_elsewhere(kind: str, path: Path):
    """For the block, another process has the lock; it is killed at the end, without a chance to let go."""
    command = [sys.executable, "-c", HOLD, kind, str(path)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment())
    try:
        assert other.stdout.readline() == b"held\n"
        yield other
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()


def test_a_lock_is_let_go_and_leaves_nothing(tmp_path):
    with held_elsewhere("folder", tmp_path / "bank") as other:
        with pytest.raises(locks.InUseError, match=rf"bank is being written by process {other.pid}; wait until"):
            locks.folder(tmp_path / "bank")
        assert os.listdir(tmp_path / "bank") == [locks.NAME]
    (tmp_path / "bank" / ".01234567.manifest.json").touch()  # what a killed process leaves
    (tmp_path / "bank" / ".mine").touch()
    one, same = locks.folder(tmp_path / "bank"), locks.folder(tmp_path / "bank")
    assert set(os.listdir(tmp_path / "bank")) == {locks.NAME, ".mine"}
    one.release()
    assert locks.NAME in os.listdir(tmp_path / "bank"), "another part of this process has it"
    del same
    assert os.listdir(tmp_path / "bank") == [".mine"]


def test_a_process_that_was_forked_does_not_let_go(tmp_path):
    held = locks.checkpoint(tmp_path / "it")
    child = os.fork()
    if not child:
        held.release()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    code = f"from pathlib import Path; from frami import locks; locks.checkpoint(Path({str(tmp_path / 'it')!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=child_environment())
    assert f"is being written by process {os.getpid()}" in done.stderr
    held.release()
    assert not os.listdir(tmp_path)


def test_where_nothing_may_be_written_there_is_no_lock(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locks.FileLock, "acquire", refused)
    with locks.folder(tmp_path):
        pass


@pytest.mark.parametrize("command", ["synthesize", "distill", "train-teacher", "train-vocoder", "import"])
def test_the_second_of_two_commands_is_told_at_once(command, tmp_path, capsys, fresh_home):
    out = tmp_path / "out"
    torch.save(models.build("nano", 2).state_dict(), tmp_path / "w.pth")
    files.write(tmp_path / "classes.txt", "a\nb\n")
    weights = ["--weights", tmp_path / "w.pth", "--classes", tmp_path / "classes.txt"]
    given = {
        "synthesize": synthesize(out, "--no-sounds"),
        "distill": ["distill", "--teacher", "fsdd", "--rounds", 1, "--clips", 4, "--steps", 1, "--out", out],
        "train-teacher": ["train-teacher", "--dataset", "fsdd", "--data", tmp_path, "--out", out],
        "train-vocoder": ["train-vocoder", "--steps", 1, "--data", tmp_path, "--out", out],
        "import": ["import", "--architecture", "residual:nano", *weights, "--out", out],
    }[command]
    kind = "folder" if command in ("synthesize", "distill") else "checkpoint"
    with held_elsewhere(kind, out) as other:
        status, stdout, err = run(capsys, *given)
        assert status == 2 and not stdout
        assert err == (
            f"frami {command}: {out} is being written by process {other.pid}; wait until it ends, or choose another "
            "--out\n"
        )
    if command in ("synthesize", "import"):
        assert run(capsys, *given)[0] == 0
        assert not [path for path in tmp_path.rglob(".*") if path.suffix == ".lock"]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_the_filesystem_knows_no_locks_there_is_none(tmp_path, monkeypatch, number):
    """As on some network drives."""

    def unknown(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", unknown)
    with locks.folder(tmp_path / "bank"):
        pass
    assert (tmp_path / "bank").is_dir()


def test_what_the_page_writes_into_a_folder_is_left(tmp_path):
    """The note of the owner is written while another process may have the folder."""
    with files.replacing(tmp_path / owners.FILE) as temporary:
        temporary.write_text("{}")
        locks.folder(tmp_path).release()
        assert temporary.exists()


def test_threads_of_a_process_share_a_lock(tmp_path):
    """None is told that its own process is in the way."""
    failed, begin = [], threading.Barrier(8)

    def take():
        begin.wait()
        try:
            for _ in range(40):
                locks.folder(tmp_path).release()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failed
    assert not os.listdir(tmp_path)


def test_one_at_a_time_for_a_moment(tmp_path, monkeypatch):
    """Threads and processes alike, and where no lock can be made all go on."""
    inside, most = [], []

    def work():
        for _ in range(20):
            with locks.alone(tmp_path / ".lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(most) == 80 and max(most) == 1
    monkeypatch.setattr(locks, "_WAIT", 0.1)
    with locks.alone(tmp_path / ".lock"), pytest.raises(locks.InUseError, match="try again"), \
            locks.alone(tmp_path / ".lock"):  # fmt: skip
        pass

    def refused(*_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(locks.FileLock, "acquire", refused)
    with locks.alone(tmp_path / ".lock"):
        pass


def test_what_a_killed_process_left_is_cleared_and_no_more(tmp_path):
    half, others = tmp_path / ".01234567.manifest.json", tmp_path / ".01234567..owner"
    with held_elsewhere("folder", tmp_path):
        half.touch()
        others.touch()
        locks.clear(tmp_path)
        assert half.exists() and locks.abandoned(tmp_path) is None, "a process has it"
    assert (tmp_path / locks.NAME).exists(), "it could not let go"
    locks.clear(tmp_path)
    assert os.listdir(tmp_path) == [others.name]
    half.touch()
    with locks.folder(tmp_path):
        half.touch()
        locks.clear(tmp_path)
        assert half.exists() and (tmp_path / locks.NAME).exists(), "this process has it"
    locks.clear(tmp_path / "missing")
    with held_elsewhere("folder", tmp_path / "run" / "bank"):
        locks.clear(tmp_path)
        assert (tmp_path / "run" / "bank" / locks.NAME).exists()
    locks.clear(tmp_path)
    assert os.listdir(tmp_path / "run" / "bank") == [], "a run has a bank of its own"
