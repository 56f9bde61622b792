"""Tasks on real Ray clusters of this machine: four worker processes, one of which is killed; skipped without Ray."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import torch

from frami import banks, cluster
from frami.bench import distillation
from frami.bench.results import Context
from frami.cluster import Task
from tests.helpers import tasks

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def quiet(unit, label):
    yield lambda done, total: None


@pytest.fixture(scope="module")
def engine():
    with cluster.opened("ray", workers=4, device="cpu") as opened:
        yield opened


def test_a_worker_that_is_killed_stops_nothing(engine, tmp_path):
    """Its task is done again, in another process; the others are done once."""
    given = [Task(str(n), tasks.slept, (2.5, n, str(tmp_path))) for n in range(12)]
    results, killed = {}, None
    for ended in engine.run(given, quiet):
        results[ended.task.name] = ended
        if killed is None and len(results) == 4:
            killed = _running(tmp_path)
            os.kill(int((tmp_path / f"{killed}.begun").read_text()), signal.SIGKILL)
    assert {name: one.value for name, one in results.items()} == {str(n): n for n in range(12)}
    assert {n for n in range(12) if results[str(n)].begins == 2} == {killed}
    first, second = (tmp_path / f"{killed}.begun").read_text().split()
    assert first != second and len({one.where for one in results.values()}) >= 4


def _running(folder: Path) -> int:
    """Number of a task that will not end soon."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for path in sorted(folder.glob("*.begun")):
            young = time.time() - path.stat().st_mtime < 1.5
            if young and path.read_text().strip() and not path.with_suffix(".ended").exists():
                return int(path.stem)
        time.sleep(0.02)
    raise AssertionError("no task runs")


def test_failures_are_told_and_stop_nothing(engine, tmp_path):
    large = engine.share(list(range(1000)))
    given = [
        Task("deadly", tasks.deadly),
        Task("refused", tasks.refused),
        Task("twice", tasks.failing, (str(tmp_path), 2)),
        Task("shared", tasks.doubled, (large,)),
    ]
    ended = {one.task.name: one for one in engine.run(given, quiet)}
    assert ended["deadly"].error.startswith("lost with its worker, 2 times") and ended["deadly"].begins == 2
    assert ended["refused"].error == "this cannot be had" and ended["refused"].begins == 1
    assert (ended["twice"].value, ended["twice"].begins) == ("done", 3)
    assert ended["shared"].value == 2 * list(range(1000))


def test_what_machine_its_workers_are_is_known_before_there_are_any(engine, teacher):
    here = Context(torch.device("cpu"), None, quiet, "cpu")
    assert distillation._expected(teacher, engine, here) == distillation._machine_of(engine, here)


def test_who_stops_asking_stops_what_runs(engine, tmp_path):
    given = [Task(str(n), tasks.slept, (0.1 if n == 0 else 60, n, str(tmp_path))) for n in range(4)]
    run = engine.run(given, quiet)
    assert next(run).value == 0
    end = time.monotonic() + 30
    while len(list(tmp_path.glob("*.begun"))) < 4 and time.monotonic() < end:
        time.sleep(0.1)
    busy = [int((tmp_path / f"{n}.begun").read_text()) for n in (1, 2, 3)]
    run.close()
    while any(psutil.pid_exists(pid) for pid in busy) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in busy)


def test_gpus_that_are_not_there_are_refused():
    code = (
        "from frami import cluster\nfrom frami.errors import FramiError\n"
        "try: cluster.opened('ray', workers=1, gpus=0.25)\nexcept FramiError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("--gpus 0.25: Ray knows of 0 GPUs here"), done.stderr


def test_no_cluster_at_an_address_is_said(engine):
    """In a process of its own: this one has a cluster. Ray tries three times, here for a second each."""
    code = (
        "from frami import cluster\nfrom frami.errors import FramiError\n"
        "try: cluster.opened('ray://127.0.0.1:1')\nexcept FramiError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment |= {f"RAY_CLIENT_{which}_CONNECTION_TIMEOUT_S": "1" for which in ("INITIAL", "MAX")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.startswith("no Ray cluster answers at ray://127.0.0.1:1 ("), done.stderr


# --- commands --------------------------------------------------------------------------------------------------------


def frami(folder: Path, *arguments, threads: int = 1) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FRAMI_HOME": str(folder / "home")}
    environment |= {"OMP_NUM_THREADS": str(threads)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder}
    command = [sys.executable, "-m", "frami", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def test_a_bank_of_four_workers_is_that_of_one(tiny_teacher, tmp_path):
    bank = ["synthesize", "--teacher", tiny_teacher, "--recipe", "frami", "--samples", 40, "--batch", 4, "--steps", 2]
    bank += ["--chain", 2, "--no-sounds", "--device", "cpu", "--json"]
    found = []
    for name, where in (("one", ["--on", "local"]), ("four", ["--on", "ray", "--workers", 4])):
        process = frami(tmp_path, *bank, *where, "--out", tmp_path / name, threads=2)
        out, err = process.communicate(timeout=280)
        assert process.returncode == 0 and json.loads(out)["clips"] == 40, err
        found.append(banks.load(tmp_path / name))
    for name in ("frames", "lengths", "target", "predicted", "confidence", "logits", "pooled"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name)), name
    assert found[0].manifest["clips"] == found[1].manifest["clips"]


def test_a_stop_by_the_keyboard_leaves_nothing_running_and_the_same_command_goes_on(tiny_teacher, tmp_path):
    bank = ["synthesize", "--teacher", tiny_teacher, "--recipe", "frami", "--samples", 24, "--batch", 2, "--steps", 60]
    bank += ["--chain", 6, "--on", "ray", "--workers", 2, "--no-sounds", "--device", "cpu", "--out", tmp_path / "bank"]
    process = frami(tmp_path, *bank)
    end = time.monotonic() + 200
    while len(list((tmp_path / "bank" / "shards").glob("shard-*"))) < 2 and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    assert any("ray::" in " ".join(one.cmdline()) or "raylet" in one.name() for one in started)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130 and "what was finished is saved" in err
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
    assert list((tmp_path / "bank").glob("resume-*.pt"))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "bank" / "shards").iterdir()}
    process = frami(tmp_path, *bank)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 0 and "goes on" in err, err
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "bank" / "shards").iterdir()}
    assert len(after) == 12 and sum(after[name] == when for name, when in before.items()) >= 2, "made once"


def test_cells_of_a_table_come_as_they_end_and_a_killed_worker_costs_none(tmp_path, make_tree):
    """Two seeds of two rows; with the data set on the driver alone, as far as the workers are told."""
    make_tree("fsdd", tmp_path / "data", speakers=("george", "jackson", "nicolas", "yweweler", "theo"))
    table = ["bench", "distillation", "--teachers", "fsdd", "--data", tmp_path / "data", "--out", tmp_path / "page.md"]
    table += ["--rounds", 2, "--steps", 8, "--clips", 8, "--batch", 4, "--student", "nano", "--seeds", 2]
    table += ["--rows", "noise,real clips logits", "--on", "ray", "--workers", 2, "--device", "cpu", "--json"]
    process = frami(tmp_path, *table)
    killed, end = None, time.monotonic() + 200
    while killed is None and time.monotonic() < end and process.poll() is None:
        for one in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if "ray::fsdd: " in " ".join(one.cmdline()):
                    one.kill()
                    killed = one.pid
                    break
        time.sleep(0.02)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0 and killed, err
    cells = json.loads(out)["cells"]
    assert len(cells) == 6 and {cell["seed"] for cell in cells.values()} == {0, 1}
    process = frami(tmp_path, *table)
    out, err = process.communicate(timeout=280)
    assert json.loads(out)["cells"] == cells, "nothing is measured twice"
