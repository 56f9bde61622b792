"""The run store: written by several processes at once, read after crashes, clear about what is wrong."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from frami import checkpoints
from frami.errors import FramiError
from frami.runs import store as module
from frami.runs.store import STATUSES, RunError, Runs, alive
from tests.helpers.cli import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """A home for each test."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store() -> Runs:
    return Runs()


def python(code: str, **more) -> subprocess.Popen:
    """Another process that has the store as ``store``."""
    code = f"import os, sys, time\nfrom frami.runs import Runs\nstore = Runs()\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, **more)


def at_work(id: str) -> subprocess.Popen:
    """Another process that has started this run and goes on for ever."""
    process = python(f"store.start({id!r}); store.log({id!r}, 1, 0.5, {{'loss': 3.0}}); print('on', flush=True)\n"
                     "while True: time.sleep(1)")  # fmt: skip
    assert process.stdout.readline() == "on\n"
    return process


def kill(process: subprocess.Popen, wait: bool = True) -> None:
    process.send_signal(signal.SIGKILL)
    if wait:
        process.wait(20)


# --- a run's life ----------------------------------------------------------------------------------------------------


def test_nothing_is_made_by_reading(store, place):
    assert store.list() == []
    with pytest.raises(RunError, match="frami runs list"):
        store.get("abc")
    assert not place.exists()


def test_from_waiting_to_finished(store, place):
    settings = {"recipe": "frami", "seconds": (0.5, 1.0), "out": Path("/x"), "views": None}
    run = store.create("distill", "digits, nano", settings)
    assert run.status == "waiting" and len(run.id) == 12 and int(run.id, 16) >= 0
    assert run.folder == (place / "runs" / run.id).resolve() and run.folder.is_dir()
    assert run.settings == {"recipe": "frami", "seconds": [0.5, 1.0], "out": "/x", "views": None}
    assert (run.result, run.error, run.pid) == ({}, None, None) and abs(run.created - time.time()) < 60
    store.start(run.id)
    here = store.get(run.id)
    assert (here.status, here.pid) == ("running", os.getpid())
    store.log(run.id, 10, 1.5, {"loss": 2.0, "agreement": 0.3})
    assert store.get(run.id).updated > here.updated
    store.finish(run.id, {"accuracy": np.float32(0.5), "agreement": float("nan"), "confusion": np.eye(2, dtype=int)})
    done = store.get(run.id)
    assert (done.status, done.pid, done.error) == ("finished", None, None)
    assert done.result == {"accuracy": 0.5, "agreement": None, "confusion": [[1, 0], [0, 1]]}
    assert {"waiting", "running", "stopped", "finished", "failed"} == set(STATUSES)
    assert (place / "runs" / "runs.sqlite").is_file()


def test_stopped_and_failed_runs_start_again(store):
    id = store.create("distill", "it", {}).id
    store.stop(id)
    assert store.get(id).status == "stopped"
    store.start(id)
    store.fail(id, "the disk is full")
    run = store.get(id)
    assert (run.status, run.error, run.pid) == ("failed", "the disk is full", None)
    store.stop(id)
    assert store.get(id).status == "failed", "a stop that comes too late changes nothing"
    store.start(id)
    assert store.get(id).error is None
    store.finish(id, {"accuracy": 1.0})
    store.stop(id)
    assert store.get(id).status == "finished"


def test_curves(store):
    id = store.create("distill", "it", {}).id
    store.log(id, 20, 2.0, {"loss": 1, "accuracy": float("nan"), "far": math.inf})
    store.log(id, 10, 1.0, {"loss": 2.0, "accuracy": 0.5})
    store.log(id, 30, 3.0, {"loss": 0.5})
    assert store.metrics(id) == {"loss": [(10, 1.0, 2.0), (20, 2.0, 1.0), (30, 3.0, 0.5)], "accuracy": [(10, 1.0, 0.5)]}
    store.cut(id, 10)
    store.log(id, 20, 2.5, {"loss": 1.5})
    store.log(id, 20, 2.6, {"loss": 1.6})
    assert store.metrics(id)["loss"] == [(10, 1.0, 2.0), (20, 2.6, 1.6)]
    store.log(id, 30, 3.0, {"loss": 1.0})
    store.log(id, 20, 2.2, {"accuracy": 0.7}, begins=True)
    assert store.metrics(id) == {"loss": [(10, 1.0, 2.0)], "accuracy": [(10, 1.0, 0.5), (20, 2.2, 0.7)]}
    assert store.metrics(store.create("distill", "other", {}).id) == {}


def test_list_is_newest_first(store):
    made = [store.create(kind, f"run {k}", {}) for k, kind in enumerate(("distill", "bench", "distill"))]
    assert store.list() == made[::-1]
    assert [run.name for run in store.list("distill")] == ["run 2", "run 0"]
    assert store.list("other") == []


def test_find(store, tmp_path, monkeypatch):
    ids = iter(["abc000000001", "abd000000002"])
    with monkeypatch.context() as patch:
        patch.setattr(module.secrets, "token_hex", lambda count: next(ids))
        one, two = store.create("a", "one", {}), store.create("a", "two", {}, tmp_path / "mine")
    assert store.find("abc") == store.find("ABC0") == store.find(one.id) == store.find(str(one.folder)) == one
    monkeypatch.chdir(tmp_path)
    assert store.find("mine") == store.find("./mine/") == two
    again = store.create("a", "three", {}, tmp_path / "mine")
    assert store.find("mine").id == again.id, "of several in one folder the newest"
    for text, word in (("ab", "several"), ("zz", "zz"), ("", "frami runs list"), ("mine/x", "mine/x")):
        with pytest.raises(RunError, match=word):
            store.find(text)


def test_compare(store):
    one = store.create("a", "one", {"recipe": "frami", "seed": 0, "steps": 3})
    two = store.create("a", "two", {"recipe": "cmi", "seed": 0})
    store.finish(two.id, {"accuracy": 0.5})
    table = store.compare([two.id, one.id])
    assert [run.id for run in table["runs"]] == [two.id, one.id]
    assert table["differing"] == {"recipe": ["cmi", "frami"], "steps": [None, 3]}
    assert table["results"] == {"accuracy": [0.5, None]}


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.get("f" * 12),
        lambda s: s.start("f" * 12),
        lambda s: s.log("f" * 12, 1, 1.0, {"loss": 1.0}),
        lambda s: s.finish("f" * 12, {}),
        lambda s: s.stop("f" * 12),
        lambda s: s.fail("f" * 12, "why"),
        lambda s: s.metrics("f" * 12),
        lambda s: s.cut("f" * 12, 3),
        lambda s: s.delete("f" * 12),
        lambda s: s.compare(["f" * 12]),
    ],
)
def test_an_unknown_run_is_named(call, store):
    store.create("a", "one", {})
    with pytest.raises(RunError, match="no run 'ffffffffffff'"):
        call(store)
    assert issubclass(RunError, FramiError)
    base = sqlite3.connect(store.path)
    assert base.execute("SELECT count(*) FROM metrics").fetchone() == (0,)
    base.close()


# --- deleting --------------------------------------------------------------------------------------------------------


def test_delete_takes_rows_and_own_folder(store, tmp_path, place):
    mine, kept, own = (store.create("a", "it", {}, folder) for folder in (tmp_path / "mine", place / "runs", None))
    for entry in (mine, kept, own):
        (entry.folder / "file").write_text("x")
        store.log(entry.id, 1, 1.0, {"loss": 1.0})
    for entry in (mine, kept, own):
        store.delete(entry.id)
    assert store.list() == [] and not own.folder.exists()
    assert (mine.folder / "file").is_file(), "a folder elsewhere is the user's"
    assert (kept.folder / "file").is_file() and store.path.is_file(), "the folder of all runs is no run's"
    base = sqlite3.connect(store.path)
    assert base.execute("SELECT count(*) FROM metrics").fetchone() == (0,)
    base.close()
    assert [path.name for path in (place / "runs").iterdir() if path.is_dir()] == []


def test_a_folder_of_two_runs_stays_until_the_last(store, place):
    one = store.create("a", "one", {}, place / "runs" / "shared")
    two = store.create("a", "two", {}, one.folder)
    store.delete(one.id)
    assert two.folder.is_dir()
    store.delete(two.id)
    assert not two.folder.exists()


def test_a_link_is_not_followed_out_of_the_runs(store, place, tmp_path):
    (tmp_path / "precious").mkdir()
    (place / "runs").mkdir(parents=True)
    (place / "runs" / "link").symlink_to(tmp_path / "precious")
    run = store.create("a", "it", {}, place / "runs" / "link")
    store.delete(run.id)
    assert (tmp_path / "precious").is_dir()


# --- several processes -----------------------------------------------------------------------------------------------


def test_two_processes_make_the_store_and_write_at_once(store):
    code = """
run = store.create("a", sys.argv[0], {})
store.start(run.id)
for step in range(60):
    store.log(run.id, step, step / 10, {"loss": 1 / (step + 1), "accuracy": 0.5})
    store.list()
store.finish(run.id, {"steps": 60})
"""
    processes = [python(code, stderr=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert [run.status for run in store.list()] == ["finished"] * 3
    for entry in store.list():
        assert [step for step, _, _ in store.metrics(entry.id)["loss"]] == list(range(60))


def test_threads_share_a_store(store):
    made, trouble = [store.create("a", str(k), {}) for k in range(4)], []

    def write(id: str) -> None:
        try:
            for step in range(25):
                store.log(id, step, 0.0, {"loss": 1.0})
        except Exception as error:
            trouble.append(error)

    threads = [threading.Thread(target=write, args=(run.id,)) for run in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not trouble and all(len(store.metrics(run.id)["loss"]) == 25 for run in made)


def test_a_run_at_work_elsewhere_is_left_alone(store):
    id = store.create("a", "it", {}).id
    process = at_work(id)
    try:
        run = store.get(id)
        assert (run.status, run.pid) == ("running", process.pid)
        with pytest.raises(RunError, match=f"process {process.pid}; stop it"):
            store.start(id)
        with pytest.raises(RunError, match="stop it before"):
            store.delete(id)
        store.stop(id)
        assert store.get(id).status == "stopped" and store.get(id).pid == process.pid
        with pytest.raises(RunError, match="stop it before"):
            store.delete(id)
    finally:
        kill(process)
    assert store.get(id).pid is None
    store.delete(id)


def test_a_killed_process_leaves_a_stopped_run(store):
    id = store.create("a", "it", {}).id
    process = at_work(id)
    kill(process, wait=False)
    until = time.monotonic() + 10
    while store.get(id).status == "running" and time.monotonic() < until:
        time.sleep(0.05)
    run = store.get(id)
    assert (run.status, run.pid) == ("stopped", None), "also while nobody has waited for the dead process"
    assert run.error == "its process ended before it was finished"
    assert store.list() == [run] and store.metrics(id) == {"loss": [(1, 0.5, 3.0)]}
    process.wait(20)
    store.start(id)
    assert store.get(id).pid == os.getpid() and store.get(id).error is None


def test_a_process_killed_while_it_writes_loses_whole_calls_only(store):
    id = store.create("a", "it", {}).id
    values = "{name: 1.0 for name in 'abcdefgh'}"
    for _ in range(3):
        process = python(f"print('on', flush=True)\nfor step in range(10**9): store.log({id!r}, step, 0.0, {values})")
        assert process.stdout.readline() == "on\n"
        time.sleep(0.3)
        kill(process)
        curves = store.metrics(id)
        assert len({len(points) for points in curves.values()}) <= 1
        store.log(id, -1, 0.0, dict.fromkeys("abcdefgh", 1.0))


def written(store, query: str, *values) -> None:
    """Change the store's file itself."""
    base = sqlite3.connect(store.path)
    base.execute(query, values)
    base.commit()
    base.close()


def test_another_process_of_the_same_number_is_not_the_run(store):
    id = store.create("a", "it", {}).id
    store.start(id)
    written(store, "UPDATE runs SET updated = ?", psutil.Process().create_time() - 60)
    assert store.get(id).status == "stopped"
    store.delete(id)


def test_a_process_is_the_same_while_it_is_older_than_what_it_wrote():
    began = psutil.Process().create_time()
    assert alive(os.getpid(), time.time()) and alive(os.getpid(), began) and not alive(os.getpid(), began - 10)
    assert not alive(None, time.time()) and not alive(2**22 + 7, time.time()) and not alive(2**70, time.time())


def test_a_process_of_which_the_system_says_nothing_counts(monkeypatch):
    def denied(self):
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "create_time", denied)
    assert alive(os.getpid(), 0.0)


@pytest.mark.parametrize("born", ["0f9e-boot-id 355565", "Mon Jul  6 10:11:12 2026", "133654321987654321", "", None])
def test_runs_of_an_earlier_version_are_read(store, born):
    """Earlier versions noted when the process began, in a form of each system."""
    gone, own = store.create("a", "gone", {}), store.create("a", "own", {})
    for entry, pid in ((gone, 2**22 + 7), (own, os.getpid())):
        written(store, "UPDATE runs SET status = 'running', pid = ?, born = ? WHERE id = ?", pid, born, entry.id)
    assert store.get(own.id).status == "running" and store.get(own.id).pid == os.getpid()
    assert (store.get(gone.id).status, store.get(gone.id).error) == ("stopped", module.ENDED)
    store.start(gone.id)
    assert store.get(gone.id).pid == os.getpid()


# --- what can be wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["noise", "cut", "header"])
def test_a_damaged_store_says_what_to_do(damage, store):
    for k in range(40):
        store.log(store.create("a", f"run {k}", {"text": "x" * 500}).id, 1, 1.0, {"loss": 1.0})
    content = bytearray(store.path.read_bytes())
    if damage == "noise":
        content = bytearray(b"not a store at all" * 100)
    elif damage == "cut":
        content = content[: len(content) // 2 + 100]
    else:
        content[:16] = b"\0" * 16
    store.path.write_bytes(content)
    with pytest.raises(RunError, match=r"damaged.*move this file") as caught:
        store.list()
    assert str(store.path) in str(caught.value) and len(str(caught.value).splitlines()) == 1
    store.path.unlink()
    assert store.list() == []
    store.create("a", "again", {})
    assert len(store.list()) == 1


def test_an_empty_file_and_a_damaged_row(store):
    store.path.parent.mkdir(parents=True)
    store.path.write_bytes(b"")
    assert store.list() == []
    store.create("a", "it", {})
    written(store, "UPDATE runs SET settings = '{'")
    with pytest.raises(RunError, match="damaged"):
        store.list()


def test_one_damaged_row_does_not_hide_the_others(store, caplog):
    module._warn_of.cache_clear()
    bad, good = store.create("a", "bad", {}), store.create("a", "good", {})
    written(store, "UPDATE runs SET settings = '{' WHERE id = ?", bad.id)
    for _ in range(3):
        assert [run.id for run in store.list()] == [good.id]
    assert [bad.id in one.getMessage() for one in caplog.records] == [True], "it is said once"
    with pytest.raises(RunError, match="damaged"):
        store.get(bad.id)
    store.delete(bad.id)
    assert store.list() == [store.get(good.id)]


def test_a_long_error_of_an_earlier_version_is_read(store):
    run = store.create("a", "it", {})
    written(store, "UPDATE runs SET status = 'failed', error = ? WHERE id = ?", "x" * 100_000, run.id)
    assert store.list()[0].error == "x" * 2000


def test_a_newer_store(store):
    store.create("a", "it", {})
    written(store, "PRAGMA user_version = 99")
    with pytest.raises(RunError, match=r"newer frami.*update"):
        store.list()


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(RunError, match="FRAMI_HOME"):
        Runs().create("a", "it", {})
    with pytest.raises(RunError, match="FRAMI_HOME"):
        Runs().create("a", "it", {}, tmp_path / "elsewhere")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(RunError, match="cannot be used"):
        Runs(tmp_path / "folder.sqlite").list()


def test_a_store_that_is_locked_says_so(store, monkeypatch):
    id = store.create("a", "it", {}).id
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(module, "_WAIT", 0.2)
    assert store.get(id).id == id, "reading goes on"
    with pytest.raises(RunError, match="another process"):
        store.log(id, 1, 1.0, {"loss": 1.0})
    other.close()
    store.log(id, 1, 1.0, {"loss": 1.0})


# --- the command line ------------------------------------------------------------------------------------------------


def test_commands(capsys, store):
    assert json.loads(run(capsys, "runs", "list", "--json")[1]) == []
    assert "no run" in run(capsys, "runs", "list")[1]
    one = store.create("distill", "one", {"recipe": "frami", "seed": 1})
    two = store.create("bench", "two", {"recipe": "cmi", "seed": 1})
    store.log(one.id, 3, 0.5, {"loss": 2.0})
    store.finish(one.id, {"accuracy": 0.931, "agreement": None, "per_class": {"zero": 1.0}})
    rows = json.loads(run(capsys, "runs", "list", "--json")[1])
    assert [row["id"] for row in rows] == [two.id, one.id] and rows[1]["folder"] == str(one.folder)
    assert len(json.loads(run(capsys, "runs", "list", "--kind", "bench", "--json")[1])) == 1
    assert "accuracy 93.1%" in run(capsys, "runs", "list")[1]
    shown = json.loads(run(capsys, "runs", "show", one.id, "--json")[1])
    assert shown["metrics"] == {"loss": [[3, 0.5, 2.0]]} and shown["result"]["accuracy"] == 0.931
    assert "loss" in run(capsys, "runs", "show", one.id[:8])[1]
    table = json.loads(run(capsys, "runs", "compare", one.id, two.id, "--json")[1])
    assert table["differing"] == {"recipe": ["frami", "cmi"]} and table["runs"][0]["id"] == one.id
    text = run(capsys, "runs", "compare", one.id, two.id)[1]
    assert "frami" in text and "0.931" in text and "seed" not in text
    status, out, _ = run(capsys, "runs", "delete", one.id, "--json")
    assert status == 0 and json.loads(out)["deleted"] == one.id and not one.folder.exists()
    assert [r.id for r in store.list()] == [two.id]


@pytest.mark.parametrize("card", checkpoints.bundled("student"), ids=lambda card: card.name)
def test_the_runs_that_made_the_bundled_students(capsys, store, card):
    """Settings, result and curves are there, and are those of the card."""
    shown = json.loads(run(capsys, "runs", "show", card.name, "--json")[1])
    training = card.training
    assert shown["id"] == training["run"] and shown["status"] == "finished" and shown["pid"] is None
    assert all(training[name] == value for name, value in shown["settings"].items())
    result, curves = shown["result"], shown["metrics"]
    assert result["accuracy"] == pytest.approx(card.accuracy, abs=1e-3) and result["clips"] == training["made_clips"]
    assert curves["accuracy"][-1][0] == result["steps"] == training["steps_done"]
    assert curves["accuracy"][-1][2] == pytest.approx(card.accuracy, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["show", "nobody"], "nobody"),
        (["delete", "nobody"], "nobody"),
        (["compare", "nobody"], "two runs"),
        (["compare", "nobody", "noone"], "nobody"),
        (["list", "all"], "all"),
        ([], "ACTION"),
        (["dance"], "dance"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, arguments, word):
    status, out, err = run(capsys, "runs", *arguments)
    assert status == 2 and out == "" and err.count("\n") == 1 and word in err
