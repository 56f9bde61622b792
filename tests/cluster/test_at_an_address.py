"""A Ray cluster of two nodes that has a token, on this machine: commands find it by its address."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from frami import banks, checkpoints
from frami.cluster import of_studio
from frami.distill import RunSettings, Settings
from frami.runs import Runs
from frami.runs import where as places
from frami.runs.queue import Queue
from tests.helpers.distillation import QUICK
from tests.helpers.queues import status, until

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]


def _free_port(first: int) -> int:
    """Outside of 10002 to 19999, which Ray gives to its workers."""
    for port in range(first, first + 900):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


def _run(command: list, environment: dict) -> subprocess.CompletedProcess:
    done = subprocess.run(
        list(map(str, command)), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def cluster_at(tmp_path_factory):
    """``(address, environment)`` of a cluster whose token lies in the home of the environment."""
    home, temporary = tmp_path_factory.mktemp("home"), Path(f"/tmp/frami-ray-{os.getpid()}")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0" * 32)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = kept | {
        "HOME": str(home), "PYTHONPATH": str(ROOT), "FRAMI_HOME": str(home / "frami"), "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    at_start = environment | {"GRPC_ENABLE_FORK_SUPPORT": "0", "RAY_AUTH_MODE": "token"}
    head, client = _free_port(9000), _free_port(20_000)
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=2", "--disable-usage-stats"]
    before = {one.pid for one in psutil.process_iter()}
    try:
        places = [f"--port={head}", f"--ray-client-server-port={client}", f"--temp-dir={temporary}"]
        _start([*ray, "--head", "--include-dashboard=false", *places], at_start, home / "head.log")
        _start([*ray, f"--address=127.0.0.1:{head}"], at_start, home / "node.log")
        yield f"ray://127.0.0.1:{client}", environment
    finally:
        for one in psutil.process_iter():
            if one.pid not in before and _is_of(one, temporary, head):
                one.kill()


def _start(command: list[str], environment: dict, log: Path) -> None:
    """What it leaves in the background writes into the log."""
    with log.open("wb") as out:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=280)
    assert done.returncode == 0, log.read_text()[-2000:]


def _is_of(process: psutil.Process, folder: Path, port: int) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return str(folder) in words or f":{port} " in words


def test_a_bank_of_two_nodes_is_that_of_this_process(cluster_at, tiny_teacher, tmp_path):
    address, environment = cluster_at
    bank = [sys.executable, "-m", "frami", "synthesize", "--teacher", tiny_teacher, "--recipe", "frami", "--chain", 2]
    bank += ["--samples", 32, "--batch", 4, "--steps", 2, "--no-sounds", "--device", "cpu", "--json"]
    found = []
    for name, where in (("one", ["--on", "local"]), ("four", ["--on", address, "--workers", 4])):
        done = _run([*bank, *where, "--out", tmp_path / name], environment)
        assert json.loads(done.stdout)["clips"] == 32
        found.append(banks.load(tmp_path / name))
    for name in ("frames", "lengths", "target", "predicted", "confidence", "logits", "pooled"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name)), name


def test_folds_train_their_teachers_side_by_side(cluster_at, make_tree, tmp_path):
    address, environment = cluster_at
    make_tree("fsdd", tmp_path / "data", speakers=("george", "jackson", "theo"))
    folds = [sys.executable, "-m", "frami", "bench", "folds", "--dataset", "fsdd", "--here", "--size", "nano"]
    folds += ["--epochs", 1, "--batch", 16, "--device", "cpu", "--json", "--data", tmp_path / "data"]
    value = json.loads(_run([*folds, "--on", address, "--workers", 3], environment).stdout)
    assert [row["fold"] for row in value["rows"]] == ["george", "jackson", "theo"]
    again = json.loads(_run(folds, environment).stdout)
    assert again == value, "what is trained is not trained again"


def test_a_studio_has_its_runs_done_there(cluster_at, tiny_teacher, tmp_path, monkeypatch):
    """One that ends, and one that is stopped and goes on in this machine's own process."""
    address, environment = cluster_at
    for name, value in (environment | {"FRAMI_HOME": str(tmp_path), of_studio.SETTING: address}).items():
        monkeypatch.setenv(name, value)
    queue = Queue(Runs(), away=of_studio.asked()).begin()
    try:
        each = Settings(**QUICK), Settings(student="nano", budget=900.0)
        short, long = (queue.add(one.student, RunSettings(str(tiny_teacher), one).to_dict()) for one in each)
        until(lambda: status(queue, short) == "finished", 240)
        assert places.of(queue.get(short.id)).host == os.uname().nodename
        assert checkpoints.load(short.folder / "student").card.kind == "student"
        until(lambda: (long.folder / "state.pt").exists(), 240)
        queue.stop(long.id)
        until(lambda: status(queue, long) == "stopped", 240)
    finally:
        queue.close()
    assert queue.get(long.id).error is None
    monkeypatch.delenv(of_studio.SETTING)
    queue, before = Queue(Runs()).begin(), Runs().metrics(long.id)["share"][-1][1]
    try:
        queue.resume(long.id)
        until(lambda: queue.runs.metrics(long.id)["share"][-1][1] > before, 240)
        queue.stop(long.id)
        until(lambda: status(queue, long) == "stopped", 240)
    finally:
        queue.close()
