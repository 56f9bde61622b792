"""Files are written whole or not at all, with usual permissions, by any number of writers at once."""

import json
import os
import resource
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from frami import files, weights
from frami.data import store
from frami.paths import child_environment
from frami.studio.services import shared


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "it.json"
    files.write_json(path, {"é": 1})
    files.write_json(path, {"é": [2]}, indent=None)
    assert path.read_text(encoding="utf-8") == '{"é": [2]}\n'
    assert os.listdir(path.parent) == ["it.json"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_permissions_are_those_of_any_new_file(mask, tmp_path):
    before = os.umask(mask)
    try:
        files.write(tmp_path / "it", b"x")
        weights.save(tmp_path / "weights", {}, {})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~mask}


@pytest.mark.parametrize("what", ["write_bytes", "replace", "fsync", "interrupt"])
def test_what_fails_leaves_the_old_file_and_no_other(what, tmp_path, monkeypatch):
    path = tmp_path / "it"
    files.write(path, "old")

    def full(*args):
        raise KeyboardInterrupt if what == "interrupt" else OSError(28, "No space left on device")

    monkeypatch.setattr(files.os if what == "fsync" else Path, "write_bytes" if what == "interrupt" else what, full)
    with pytest.raises((OSError, KeyboardInterrupt)):
        files.write(path, "new")
    assert os.listdir(tmp_path) == ["it"] and path.read_text() == "old"


def test_writers_at_once_have_a_file_each(tmp_path):
    with files.replacing(tmp_path / "it.wav") as first, files.replacing(tmp_path / "it.wav") as second:
        assert first != second and first.suffix == second.suffix == ".wav"
        first.write_text("first")
        second.write_text("second")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: files.write(tmp_path / "it.wav", str(i) * 1000), range(9)))
    assert len(set((tmp_path / "it.wav").read_text())) == 1
    assert os.listdir(tmp_path) == ["it.wav"]


def test_what_cannot_be_written_is_known_before(tmp_path):
    files.try_writing(tmp_path / "new" / "it.json")
    assert [*(tmp_path / "new").iterdir()] == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "it", tmp_path / ("n" * 250)):
        with pytest.raises(OSError):
            files.try_writing(path)


def test_a_disk_that_ends_in_the_middle(tmp_path):
    """The error is the system's, whatever PyTorch makes of it, and the old file stays."""
    weights.save_state(tmp_path / "state.pt", {"x": torch.zeros(3)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError):
            weights.save_state(tmp_path / "state.pt", {"x": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert torch.load(tmp_path / "state.pt", weights_only=True)["x"].shape == (3,)


def test_names_that_are_no_utf_8_are_kept(tmp_path):
    for name in ("ü 🎺", os.fsdecode(b"\xff.wav")):
        files.write_json(tmp_path / "it.json", {name: 1})
        assert files.read_json(tmp_path / "it.json") == {name: 1}
    assert "ü" in files.as_json("ü")


def test_former_keys_are_read_under_their_present_names(tmp_path):
    (tmp_path / "it.json").write_text(json.dumps({"clips": [{"asked": 1, "heard_name": "dog"}], "as_asked": 0.5}))
    expected = {"clips": [{"target": 1, "predicted_name": "dog"}], "target_accuracy": 0.5}
    assert files.read_json(tmp_path / "it.json") == expected


def test_a_folder_that_is_removed_is_gone_at_once_and_its_rest_later(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)  # as if the process were killed here
    files.remove_folder(folder)
    assert not folder.exists() and len(files.folders(tmp_path)) == 1
    monkeypatch.undo()
    (tmp_path / "other").mkdir()
    files.clear_removed(tmp_path)
    assert os.listdir(tmp_path) == ["other"]
    files.clear_removed(tmp_path / "missing")
    files.remove_folder(tmp_path / "other")
    assert os.listdir(tmp_path) == []


WRITING = """
import sys
from pathlib import Path
from frami import files
with files.replacing(Path(sys.argv[1]), long=True) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    input()
"""


def writing(path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", WRITING, path], env=child_environment(), **pipes)
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_the_dead_left_of_stores_goes_with_the_next_studio(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    store.tidy()  # there is none
    folder = store.folder() / "digits"
    folder.mkdir(parents=True)
    dead, living = writing(folder / "a.npy"), writing(folder / "b.npy")
    other = folder / ".01234567.a.json"
    other.touch()
    dead.kill()
    dead.communicate()
    assert len(os.listdir(folder)) == 3
    shared.start().close()
    assert sorted(name.split(".", 2)[2] for name in os.listdir(folder)) == ["a.json", "b.npy"]
    assert living.communicate("\n")[0] == "" and living.returncode == 0


def test_what_a_killed_process_left_of_a_long_write_goes_with_the_next(tmp_path):
    path, other = tmp_path / "it.bin", tmp_path / ".01234567.it.bin.more"
    other.touch()
    dead, living = writing(path), writing(path)
    dead.kill()
    dead.communicate()
    assert len(os.listdir(tmp_path)) == 3
    with files.replacing(path, long=True) as temporary:
        temporary.write_bytes(b"whole")
        assert len(os.listdir(tmp_path)) == 3, "that of the dead is gone, that of the living is not"
    assert path.read_bytes() == b"whole"
    assert living.communicate("\n")[0] == "" and living.returncode == 0
    assert path.read_bytes() == b"half" and sorted(os.listdir(tmp_path)) == [other.name, path.name]
