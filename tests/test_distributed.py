"""One training on several processes: what is the same as on one, what ends, what goes on. Without Accelerate, what is
said instead."""

import json
import os
import signal
import sys
import threading
from importlib.util import find_spec

import psutil
import pytest
import torch
from safetensors.torch import load_file

from frami import banks, process, train
from frami.cli import main
from frami.curve import read_curve
from frami.device import threads
from frami.distributed import ALONE, joined
from frami.errors import FramiError
from frami.models import MaskedBatchNorm2d, build, length_mask
from tests.helpers.cli import run
from tests.helpers.launched import ended, launched, ranks, wait_until

together = pytest.mark.skipif(find_spec("accelerate") is None, reason="needs Accelerate: requirements-ddp.txt")

# ------------------------------------------------------------------------------------------------------ in one process


class Sum:
    """Adds up tensors of two threads, as processes do theirs."""

    def __init__(self):
        self._barrier, self._given = threading.Barrier(2), [None, None]

    def of(self, rank):
        def total(x):
            self._given[rank] = x.clone()
            self._barrier.wait(30)
            found = self._given[0] + self._given[1]
            self._barrier.wait(30)
            return x.copy_(found)

        return total


@pytest.mark.parametrize("ragged", [True, False])
def test_statistics_of_parts_are_those_of_the_batch(ragged):
    """Outputs, stored statistics and gradients of a batch norm that sees three clips and two are those of one that
    sees five."""
    torch.manual_seed(0)
    x, pull = torch.randn(5, 3, 4, 9) * 2 + 1, torch.randn(5, 3, 4, 9)
    mask = length_mask(torch.tensor([9, 4, 7, 2, 9]), 9) if ragged else None
    norms = [MaskedBatchNorm2d(3) for _ in range(3)]

    def step(norm, rows, total=None):
        norm.total = total
        given = x[rows].clone().requires_grad_()
        y = norm(given, None if mask is None else mask[rows], relu=True)
        y.backward(pull[rows])
        return y.detach(), given.grad

    whole = step(norms[0], slice(5))
    parts, both = [slice(3), slice(3, 5)], Sum()
    found = [None, None]

    def work(rank):
        found[rank] = step(norms[1 + rank], parts[rank], both.of(rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for k, name in enumerate(("output", "gradient")):
        torch.testing.assert_close(torch.cat([part[k] for part in found]), whole[k], rtol=1e-5, atol=1e-6, msg=name)
    for norm in norms[1:]:
        torch.testing.assert_close(norm.running_mean, norms[0].running_mean)
        torch.testing.assert_close(norm.running_var, norms[0].running_var)
    torch.testing.assert_close(norms[1].weight.grad + norms[2].weight.grad, norms[0].weight.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norms[1].bias.grad + norms[2].bias.grad, norms[0].bias.grad, rtol=1e-5, atol=1e-5)


def test_batch_norms_share_within_the_block_only(make_mels, plain_training):
    class Two(type(ALONE)):
        size = 2

    model = build("nano", 4)
    norms = [m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)]
    with pytest.raises(ZeroDivisionError), Two().joint(model):
        assert norms and all(norm.total is not None for norm in norms)
        raise ZeroDivisionError
    assert all(norm.total is None for norm in norms)
    with ALONE.joint(model):
        assert all(norm.total is None for norm in norms)
    with pytest.raises(train.TrainingError, match="a batch of 1 clips has no part for each of 2 processes"):
        next(train.train(model, make_mels(each=1, classes=4), plain_training(batch=1, epochs=1), group=Two()))


def test_one_process_joins_nobody(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert joined() is ALONE and ALONE.main and ALONE.part(5) == slice(5) and ALONE.shared("x") == "x"
    for some in ({"WORLD_SIZE": "2"}, {"RANK": "3"}, {"WORLD_SIZE": "2", "RANK": "1"}, {"LOCAL_RANK": "1", "RANK": ""}):
        with monkeypatch.context() as patch:  # as of a job of a scheduler, which is no launcher's
            for name, value in some.items():
                patch.setenv(name, value)
            assert joined() is ALONE and process.launched() == (0, 1)


@pytest.mark.parametrize("name", ["train-teacher", "distill"])
def test_without_accelerate_the_command_says_what_to_install(name, monkeypatch, capsys):
    """Once: the second process is silent."""
    monkeypatch.setitem(sys.modules, "accelerate", None)
    for rank, said in ((0, "frami[ddp]"), (1, "")):
        with monkeypatch.context() as patch:
            patch.setattr(signal, "signal", lambda *_: None)
            patch.setenv("WORLD_SIZE", "2")
            patch.setenv("RANK", str(rank))
            patch.setenv("LOCAL_RANK", str(rank))
            status, out, err = run(capsys, name, "--device", "cpu")
        assert status == 2 and not out and (said in err if said else not err)
    with monkeypatch.context() as patch, pytest.raises(FramiError, match="takes its own GPU"):
        patch.setenv("LOCAL_RANK", "0")
        patch.setenv("WORLD_SIZE", "2")
        patch.setenv("RANK", "0")
        joined("mps")


# ----------------------------------------------------------------------------------------------------------- a teacher


@pytest.fixture(scope="module")
def training(make_tree, tmp_path_factory):
    """A folder and the arguments of a training in it, of 70 clips in batches of odd sizes."""
    folder = tmp_path_factory.mktemp("trained")
    make_tree("fsdd", folder / "data", speakers=("george", "jackson", "nicolas", "yweweler", "theo"), takes=2)
    command = ["train-teacher", "--dataset", "fsdd", "--data", folder / "data", "--size", "nano", "--batch", 9]
    return folder, [*command, "--epochs", 6, "--lr", 5e-4, "--device", "cpu", "--json"]


@pytest.fixture(scope="module")
def pair(training):
    """The path of what two processes trained, and their output."""
    folder, command = training
    status, out, err = ended(launched(folder, *command, "--out", folder / "two"))
    assert status == 0, err
    return folder / "two", out, err


@pytest.mark.slow
@together
def test_two_processes_train_as_one_does(training, pair, monkeypatch, capsys):
    """The same losses to 5e-5, about what a change of the first weights by 1e-7 makes of them (at higher learning rates
    that grows to 1e-2); and one result, one set of files, one voice."""
    folder, command = training
    monkeypatch.setenv("FRAMI_PRECISION", "float32")
    assert main([str(a) for a in [*command, "--out", folder / "one"]]) == 0
    alone, shared = json.loads(capsys.readouterr().out), json.loads(pair[1])
    rows, others = (read_curve(folder / f"{name}.curve.csv") for name in ("one", "two"))
    assert len(rows) == len(others) == 6
    for one, other in zip(rows, others, strict=True):
        assert abs(one["loss"] - other["loss"]) < 5e-5, (one, other)
    for name in ("epochs", "clips", "validation_clips"):
        assert alone["training"][name] == shared["training"][name]
    weights = [load_file(folder / f"{name}.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    assert "frami" not in pair[2]
    assert sorted(path.name for path in folder.glob("two*")) == ["two.curve.csv", "two.json", "two.safetensors"]


@pytest.mark.slow
@together
def test_a_process_that_is_lost_ends_the_other_and_the_same_command_goes_on(training, pair):
    """What comes out is what comes out of a training that was not stopped, to the bit."""
    folder, command = training
    out, curve = folder / "lost", folder / "lost.curve.csv"
    process = launched(folder, *command, "--out", out)
    wait_until(lambda: curve.exists() and len(read_curve(curve)) >= 2, process)
    workers = ranks(process)
    workers["1"].kill()
    status, _, err = ended(process, 60)
    assert status and sorted(workers) == ["0", "1"] and not psutil.wait_procs(workers.values(), timeout=5)[1]
    assert "process 1:" not in err and "Traceback" not in err.partition("torch/distributed")[0]
    assert out.with_name("lost.training").exists() and not out.with_name("lost.safetensors").exists()
    process = launched(folder, *command, "--out", out)
    status, _, err = ended(process)
    assert status == 0, err
    whole, again = load_file(f"{pair[0]}.safetensors"), load_file(f"{out}.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


# ----------------------------------------------------------------------------------------------------------- a student


@pytest.mark.slow
@together
def test_two_processes_distil_as_one_does(tiny_teacher, tmp_path, monkeypatch, capsys):
    """Clips made by the main one, the same; the same student to 1e-5 after twenty steps, with parts of different
    sizes, an objective with a helper layer and clips replayed by priority."""
    command = ["distill", "--teacher", tiny_teacher, "--student", "nano", "--objective", "fitnet", "--rounds", 2]
    command += ["--clips", 8, "--steps", 10, "--batch", 7, "--replay", "priority", "--lr", 1e-3, "--device", "cpu"]
    command += ["--seed", 1]  # of which twenty steps do not blow up what the order of sums leaves
    monkeypatch.setenv("FRAMI_PRECISION", "float32")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    found = {}
    for processes in (1, 2):
        options = [*command, "--json", "--out", tmp_path / f"run{processes}"]
        with threads(1):  # as many as each of two processes has: on more, the sums of a first batch have another order
            status, out, err = run(capsys, *options) if processes == 1 else ended(launched(tmp_path, *options))
        assert status == 0 and "frami" not in err, err
        found[processes] = json.loads(out)
    for name in ("clips", "steps", "agreement_clips"):
        assert found[1][name] == found[2][name], name
    made = [banks.load(tmp_path / f"run{n}" / "bank") for n in (1, 2)]
    assert torch.equal(made[0].frames, made[1].frames)
    students = [load_file(tmp_path / f"run{n}" / "student.safetensors") for n in (1, 2)]
    for name, weights in students[0].items():
        torch.testing.assert_close(weights, students[1][name], rtol=1e-4, atol=1e-5)
    assert len(list((tmp_path / "home" / "runs").glob("*.db"))) <= 1 and not list(tmp_path.glob("run*/state.pt"))


@pytest.mark.slow
@together
def test_a_stopped_distillation_goes_on(tiny_teacher, tmp_path):
    """Ctrl-C ends both processes, saved; two go on within what is left of the budget, which the main one counts."""
    out = tmp_path / "run"
    command = ["distill", "--teacher", tiny_teacher, "--student", "nano", "--source", "noise"]
    command += ["--budget", "9s", "--batch", 8, "--keep", 0, "--device", "cpu"]
    process = launched(tmp_path, *command, "--out", out)
    wait_until(lambda: (out / "state.pt").exists() and saved_steps(out) > 3, process)
    workers = ranks(process)
    os.killpg(process.pid, signal.SIGINT)
    status, _, err = ended(process, 60)
    assert status and err.count("what was finished is saved") == 1, err
    assert sorted(workers) == ["0", "1"] and not psutil.wait_procs(workers.values(), timeout=5)[1]
    before = saved_steps(out)
    status, text, err = ended(launched(tmp_path, "distill", "--resume", out, "--device", "cpu", "--json"))
    assert status == 0, err
    result = json.loads(text)
    assert result["steps"] > before and 9 <= result["seconds"] < 34


def saved_steps(folder) -> int:
    return torch.load(folder / "state.pt", weights_only=True)["steps"]
