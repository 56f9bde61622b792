"""ZeroGPU as a stand-in keeps its rules: slices in forked processes, within what a visitor has, else on the CPU."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from frami import banks, checkpoints
from frami.distill import RunSettings, Settings
from frami.distill import run as distil_run
from frami.inversion import InversionSettings
from frami.paths import child_environment
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services import gpu_events
from frami.studio.services.syntheses import Syntheses
from frami.workers import slices, synthesis, zerogpu
from frami.workers.zerogpu import ALLOWANCE, LEAST, USUAL, Loan, NotLentError, ZeroGpu
from tests.helpers import zerogpu as rules
from tests.helpers.workers import InThisProcess


@pytest.fixture
def visitor():
    token = rules.visitor.set("anonymous")
    yield "anonymous"
    rules.visitor.reset(token)


@pytest.fixture(autouse=True)
def no_recordings(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path / "none"))


@pytest.fixture
def short_slices(monkeypatch):
    """Slices that leave time for a batch only."""
    monkeypatch.setattr(synthesis, "_SPARE", 1e9)


def lent(**choices) -> tuple[rules.Spaces, ZeroGpu]:
    spaces = rules.Spaces(**choices)
    return spaces, ZeroGpu(spaces.GPU, device="cpu")


def settings_for(teacher, **choices):
    return InversionSettings.of(teacher, "frami", **({"samples": 6, "steps": 6, "seconds": 0.3, "batch": 2} | choices))


def begun(tmp_path, teacher, **choices):
    """Syntheses, and a run of them that is the caller's to make."""
    runs = Syntheses(tmp_path, pool=InThisProcess())
    return runs, runs.start(teacher, settings_for(teacher, **choices), queued=False)


def waited(run):
    until = time.monotonic() + 60
    while not run.done and time.monotonic() < until:
        time.sleep(0.02)
    assert run.done


def test_a_run_goes_on_from_slice_to_slice(tmp_path, teacher, visitor, short_slices):
    """Each in another process; the clips are those of a run without slices."""
    spaces, gpu = lent()
    runs, run = begun(tmp_path, teacher)
    seen = [(run.latest.batch, run.latest.step) for _ in gpu_events.synthesize(runs, run, gpu)]
    assert run.done and not run.error and not run.notes and run.saved == 6 and run.value()["state"] == "done"
    assert seen == sorted(seen) and [batch for batch, step in seen if step == 6] == [1, 2, 3]
    assert len({process for _, process in spaces.calls}) == 3 and os.getpid() not in dict(map(reversed, spaces.calls))
    assert all(LEAST <= seconds <= zerogpu.MOST for seconds, _ in spaces.calls) and spaces.calls[0][0] == USUAL
    at_once = runs.start(teacher, settings_for(teacher))
    waited(at_once)
    assert torch.allclose(runs.bank(run.id).clips().mels, runs.bank(at_once.id).clips().mels, atol=1e-5)
    assert runs.bank(run.id).manifest["complete"] and not (run.folder / "resume.pt").exists()
    assert not torch.cuda.is_initialized()
    runs.close()


@pytest.mark.parametrize(
    "choices, told",
    [
        ({"quota": 3}, "3s left"),
        ({"longest": 5}, "larger than the maximum allowed"),
        ({"crash": 4}, "GPU task aborted"),
    ],
)
def test_what_is_not_lent_is_made_on_the_cpu_and_said(tmp_path, teacher, visitor, choices, told):
    """No quota left, an illegal duration, a process that is taken away after some states."""
    spaces, gpu = lent(**choices)
    runs, run = begun(tmp_path, teacher)
    list(gpu_events.synthesize(runs, run, gpu))
    waited(run)
    assert not run.error and run.saved == 6 and len(spaces.asked) == 1
    (note,) = run.value()["notes"]
    assert told in note and "on the CPU" in note and not set("'\"") & set(note)
    runs.close()


def test_a_thread_of_our_own_is_lent_nothing(tmp_path, teacher):
    spaces, gpu = lent()
    runs, run = begun(tmp_path, teacher, samples=2)
    thread = threading.Thread(target=lambda: list(gpu_events.synthesize(runs, run, gpu)))
    thread.start()
    thread.join()
    waited(run)
    assert spaces.calls == [] and run.notes and run.saved == 2
    runs.close()


def test_a_visitor_with_little_left_is_asked_for_no_more(tmp_path, teacher, visitor, short_slices):
    """And when that is used up, the CPU goes on behind the batches that are there."""
    spaces, gpu = lent(quota=12, least=5)
    runs, run = begun(tmp_path, teacher)
    list(gpu_events.synthesize(runs, run, gpu))
    waited(run)
    assert spaces.asked[:2] == [USUAL, 12] and spaces.calls[0][0] == 12
    assert not run.error and run.saved == 6 and "on the CPU" in run.notes[0]
    assert runs.bank(run.id).manifest["complete"] and banks.load(run.folder).target.tolist() == [0, 1, 2, 3, 4, 5]
    runs.close()


def test_seconds_of_a_faster_kind_of_gpu_count_more(tmp_path, teacher, visitor):
    """What is left is told in the host's seconds: 24 of them are 16 of ours."""
    spaces, gpu = lent(quota=24, factor=1.5)
    runs, run = begun(tmp_path, teacher, samples=2)
    list(gpu_events.synthesize(runs, run, gpu))
    assert run.done and not run.notes and spaces.asked == [USUAL, 16] and spaces.calls[0][0] == 16
    runs.close()


def test_stop_and_leaving_keep_what_was_made(tmp_path, teacher, visitor):
    _, gpu = lent()
    runs, run = begun(tmp_path, teacher, steps=4000)
    for _ in gpu_events.synthesize(runs, run, gpu):
        asked = time.monotonic()
        run.stop()
    assert time.monotonic() - asked < 10 and run.value()["state"] == "stopped"
    assert run.saved == len(run.saved_clips()) == 2
    left = runs.start(teacher, settings_for(teacher, steps=4000), queued=False)
    work = gpu_events.synthesize(runs, left, gpu)
    next(work)
    work.close()
    assert left.stopped and left.done and left.saved == 2
    runs.close()


def test_a_run_whose_slice_ends_without_a_word_is_over(tmp_path, teacher):
    """And one whose state cannot be taken in: it would count as at work until the studio is started again."""
    for told in ([], [{"saved": 0}]):
        runs, run = begun(tmp_path, teacher)
        gpu = SimpleNamespace(synthesize=lambda *_, told=told: (state for state in told))
        with suppress(TypeError):
            list(gpu_events.synthesize(runs, run, gpu))
        assert run.done and "start it again" in run.error and run not in runs.going()
        runs.close()


def test_what_is_wrong_is_said_and_not_tried_elsewhere(tmp_path, teacher, visitor):
    spaces, gpu = lent()
    runs, run = begun(tmp_path, teacher)
    run.folder.write_text("a file")
    list(gpu_events.synthesize(runs, run, gpu))
    assert run.done and "choose a folder" in run.error and len(spaces.calls) == 1
    runs.close()


# ------------------------------------------------------------------------------------------ distillations


def distillation(fresh_home, **choices):
    queue = Queue(Runs())
    wanted = RunSettings("fsdd", Settings(student="nano", recipe="frami-flash", **choices))
    return queue, queue.add(wanted.name, wanted.to_dict(), queued=False)


@pytest.mark.slow
def test_a_short_distillation_runs_in_slices(fresh_home, visitor, monkeypatch):
    monkeypatch.setattr(slices, "START", USUAL - 1.0)  # the first slice is short
    monkeypatch.setattr(distil_run, "REPORT_EVERY", 0.3)
    spaces, gpu = lent(quota=1000)
    monkeypatch.setattr(gpu_events, "Loan", lambda: Loan(left=1000))
    queue, run = distillation(fresh_home, budget=None, rounds=1, clips=4, steps=30)
    statuses = set()
    for told in gpu_events.distil(queue, run, gpu):
        assert told is None
        monkeypatch.setattr(slices, "START", 0.0)
        statuses.add(queue.status(queue.get(run.id), queue.waiting()))
    run = queue.get(run.id)
    assert run.status == "finished" and run.result["steps"] == 30, run.error
    assert len(spaces.calls) >= 2 and all(seconds <= USUAL for seconds, _ in spaces.calls)
    assert "stopped" not in statuses, "between two slices it is not shown as stopped"
    assert checkpoints.load(run.folder / "student").card.kind == "student" and not queue.waiting()


def test_a_distillation_that_is_lent_nothing_waits_for_the_cpu(fresh_home, visitor):
    spaces, gpu = lent(quota=0)
    queue, run = distillation(fresh_home)
    (*_, reason) = gpu_events.distil(queue, run, gpu)
    assert "on the CPU" in reason and queue.waiting() == [run.id] and spaces.calls == []


@pytest.mark.slow
def test_a_distillation_stops_in_its_slice(fresh_home, visitor):
    _, gpu = lent()
    queue, run = distillation(fresh_home, budget=60.0)
    asked = None
    for _ in gpu_events.distil(queue, run, gpu):
        if asked is None and queue.get(run.id).status == "running" and (run.folder / "student.json").exists():
            queue.stop(run.id)
            asked = time.monotonic()
    assert time.monotonic() - asked < 8
    run = queue.get(run.id)
    assert run.status == "stopped" and not queue.waiting() and (run.folder / "state.pt").exists()


# ------------------------------------------------------------------------------------------ what is asked for


def test_how_long_a_slice_asks_for():
    assert Loan().ask() == USUAL and Loan().ask(needed=1.0) == LEAST and Loan().ask(needed=1000) == USUAL
    assert Loan().ask(needed=1000, batch=30) == 34 and Loan().ask(batch=1000) == zerogpu.MOST
    assert Loan(left=13).ask() == 13 and Loan().left == ALLOWANCE
    with pytest.raises(NotLentError, match="had its time"):
        Loan(left=LEAST - 1).ask()


def test_elsewhere_spaces_is_neither_needed_nor_loaded(monkeypatch, caplog):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert zerogpu.find() is None and "spaces" not in sys.modules
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", None)
    assert zerogpu.find() is None, "such a Space without the package"
    monkeypatch.setitem(sys.modules, "spaces", object())
    assert zerogpu.find() is None and "spaces cannot be loaded" in caplog.text, "with a package of another kind"
    monkeypatch.setitem(sys.modules, "spaces", rules.Spaces())
    assert zerogpu.find().device == "cuda"


@pytest.mark.slow
def test_the_page_of_such_a_space_asks_for_no_gpu(tmp_path):
    """CUDA is not touched by the start of the page, though PyTorch as ``spaces`` patches it says that it is there."""
    code = (
        "import sys, torch\n"
        "from tests.helpers import zerogpu\n"
        "sys.modules['spaces'] = zerogpu.Spaces()\n"
        "torch.cuda.is_available = lambda: True\n"
        "from app import demo\n"
        "from frami.studio.services import shared\n"
        "services = shared.start()\n"
        "print(services.device, services.gpu is not None, torch.cuda.is_initialized())\n"
        "services.close(), demo.end_runs()"
    )
    environment = child_environment() | {"SPACES_ZERO_GPU": "true", "FRAMI_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["cpu", "True", "False"], done.stderr
