"""Temporary folders of a process: removed when it ends, or by the next one where it was killed."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frami import locks, temporary
from frami.paths import child_environment

#: Begins, writes a file to each folder, says where, and waits for a line.
BEGIN = """
import os, tempfile
from pathlib import Path
from frami import temporary
temporary.begin()
for place in (tempfile.gettempdir(), os.environ["GRADIO_TEMP_DIR"]):
    Path(place).mkdir(exist_ok=True)
    (Path(place) / "file").touch()
    print(place, flush=True)
input()
"""


@pytest.fixture
def begun(tmp_path):
    """``begun()``: a process that has begun, and its two folders."""
    processes, environment = [], child_environment()
    for name in ("TMPDIR", "GRADIO_TEMP_DIR"):
        (tmp_path / name).mkdir()
        environment[name] = str(tmp_path / name)

    def start():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", BEGIN], env=environment, **pipes)
        processes.append(process)
        return process, [Path(process.stdout.readline().strip()) for _ in range(2)]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_folders_of_the_dead_are_removed_and_no_others(begun, tmp_path):
    dead, places = begun()
    other, others = begun()
    assert all(place.is_dir() for place in places), "it lives"
    stays = tmp_path / "TMPDIR" / f"{temporary.PREFIX}without-a-lock"
    stays.mkdir()
    (stays / "file").touch()
    strange = tmp_path / "TMPDIR" / "frami-somebody"
    strange.mkdir()
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    ends, own = begun()
    assert not any(place.exists() for place in places)
    assert all((place / "file").exists() for place in (*others, *own)) and stays.exists() and strange.exists()
    ends.communicate("\n")
    assert not any(place.exists() for place in own) and all(place.exists() for place in others)
    other.communicate("\n")
    assert os.listdir(tmp_path / "GRADIO_TEMP_DIR") == []


def test_a_folder_of_another_user_or_a_link_stays(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / locks.NAME).touch()
    base = tmp_path / "base"
    base.mkdir()
    (base / f"{temporary.PREFIX}link").symlink_to(elsewhere)
    theirs = base / f"{temporary.PREFIX}theirs"
    theirs.mkdir()
    (theirs / locks.NAME).touch()
    with monkeypatch.context() as other:
        other.setattr(os, "getuid", lambda: 12345)
        temporary.clear(base)
    assert theirs.exists()
    temporary.clear(base)
    assert not theirs.exists() and (elsewhere / locks.NAME).exists()


def test_an_empty_one_goes_when_it_is_old(tmp_path):
    young, old = (tmp_path / f"{temporary.PREFIX}{name}" for name in ("young", "old"))
    young.mkdir()
    old.mkdir()
    os.utime(old, (time.time() - 3600,) * 2)
    temporary.clear(tmp_path)
    assert young.exists() and not old.exists()


@pytest.fixture
def here(monkeypatch, tmp_path):
    """This process would begin in ``tmp_path``, and ends what it began by itself."""
    monkeypatch.setattr(temporary.atexit, "register", lambda *_: None)
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    return tmp_path


def test_a_disk_that_takes_none_changes_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", "as it was")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    temporary.begin()
    assert os.environ["TMPDIR"] == "as it was"


def test_where_nothing_can_be_written_it_starts_all_the_same(monkeypatch, tmp_path):
    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(temporary.tempfile, "gettempdir", nowhere)
    monkeypatch.setenv("TMPDIR", "as it was")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    temporary.begin()
    assert os.environ["TMPDIR"] == "as it was"


def test_a_folder_in_use_stays_young(here):
    temporary.begin()
    (folder,) = here.iterdir()
    assert temporary.is_own(folder / "uploads") and not temporary.is_own(here)
    os.utime(folder, (1, 1))
    temporary.keep()
    assert time.time() - folder.stat().st_mtime < 60
    temporary.end()
    assert not temporary.is_own(folder)


def test_a_filesystem_without_locks_has_one_folder_that_nobody_clears(monkeypatch, here):
    def refused(*_, **__):
        raise OSError(errno.ENOTSUP, "not here")

    monkeypatch.setattr(locks.FileLock, "acquire", refused)
    temporary.begin()
    (folder,) = here.iterdir()
    assert os.environ["TMPDIR"] == str(folder)
    (folder / "file").touch()
    temporary.clear(here)
    assert folder.exists()
    temporary.end()
    assert not folder.exists()
