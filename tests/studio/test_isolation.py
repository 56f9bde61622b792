"""Work that is killed in the middle: its visitor is told, what was finished stays, and the next work is done."""

import os
import signal
import time
from types import SimpleNamespace

import psutil
import pytest

from frami import checkpoints, locks
from frami.errors import FramiError
from frami.hosting.owners import EVERYONE
from frami.hosting.presence import Presence
from frami.inversion import InversionSettings
from frami.paths import ASSETS
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services import feature_maps
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.recognition import Recognition
from frami.studio.services.syntheses import Syntheses
from frami.studio.tabs.synthesize import Synthesize
from frami.workers import pool as pools
from frami.workers.limits import WorkLimits
from tests.helpers.workers import in_thread
from tests.studio.test_page import generate
from tests.studio.test_try_it import finished_run


def waited(condition, seconds=60, pause=0.02):
    """What ``condition()`` gives as soon as it is true; ``pause`` : seconds between two looks."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(pause)
    return found


def kill_worker():
    """End the worker that is at work as the kernel would where memory runs out."""
    os.kill(waited(pools.shared().processes)[0], signal.SIGKILL)


def test_a_killed_synthesis_keeps_its_batches_and_the_next_run_works(tmp_path, teacher):
    runs = Syntheses(tmp_path)
    settings = InversionSettings.of(teacher, "frami", samples=4, steps=12, seconds=0.3, batch=2)
    run = runs.start(teacher, settings)
    waited(lambda: run.latest and run.latest.batch == 2)
    kill_worker()
    waited(lambda: run.done)
    assert "try again" in run.error and "\n" not in run.error and run.value()["state"] == "error"
    assert run.saved == 2 and len(run.saved_clips()) == 2 and len(runs.bank(run.id)) == 2
    assert not list(run.folder.glob(".*")), "no lock, and no half file"
    assert ClipLookup(runs, tmp_path, checkpoints.load).sound(f"run/{run.id}/1")[:4] == b"RIFF"
    following = runs.start(teacher, settings)
    waited(lambda: following.done)
    assert not following.error and following.saved == 4
    runs.close()


def test_a_synthesis_that_was_killed_before_anything_was_saved_can_be_started_again(tmp_path, teacher):
    runs = Syntheses(tmp_path)
    run = runs.start(teacher, InversionSettings.of(teacher, "frami", samples=2, steps=900, seconds=0.3, batch=2))
    waited(lambda: run.latest)
    kill_worker()
    waited(lambda: run.done)
    assert "was ended" in run.value()["message"] and run.error.endswith("press Generate to start it again.")
    runs.close()
    # after a restart only the browser remembers it
    services = SimpleNamespace(
        syntheses=Syntheses(tmp_path), presence=Presence(tmp_path, 0, 0), load_teacher=checkpoints.load
    )
    (values,) = Synthesize(services)._shown_again(run.id)
    assert values[0]["state"] == "error" and "Press Generate to start it again" in values[0]["message"]
    (values,) = Synthesize(services)._shown_again("")
    assert "state" not in values[0], "a new visitor is told nothing"


def test_what_the_dead_left_beside_clips_is_cleared(tmp_path):
    folder = tmp_path / "0123456789ab"
    (tmp_path / ".deleted-01234567-ba9876543210" / "sounds").mkdir(parents=True)
    folder.mkdir()
    for name in (locks.NAME, ".01234567.manifest.json", ".01234567..owner", ".owner", "manifest.json"):
        (folder / name).touch()
    Syntheses(tmp_path).tidy()
    assert os.listdir(tmp_path) == [folder.name] and sorted(os.listdir(folder)) == [".owner", "manifest.json"]


@pytest.mark.slow
def test_a_killed_umap_is_computed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path))
    folder = tmp_path / "explore" / "fsdd"
    folder.mkdir(parents=True)
    (folder / "frami").symlink_to(ASSETS / "explore" / "fsdd" / "frami")  # a bank without a precomputed map
    shown = FeatureMaps(folder.parent, Syntheses(tmp_path), checkpoints.load, ["fsdd"])
    lost = pools.shared().health()["lost"]
    value = shown.view("fsdd", ["frami"])
    assert value["umap"] is None and shown.more("fsdd", ["frami"], value["stamp"])["pending"].startswith("UMAP")
    waited(lambda: pools.shared().health()["busy"])
    kill_worker()
    found = waited(lambda: shown.more("fsdd", ["frami"], value["stamp"]).get("umap"), 400, 0.5)
    assert len(found) == 2 * len(value["layers"][0]["labels"]) and pools.shared().health()["lost"] == lost + 1
    shown.close()


def test_what_cannot_be_computed_is_said(tmp_path, monkeypatch):
    def lost(job, *_, **__):
        raise pools.OverLimitError("this needed more than 6 GB of memory and was ended")

    monkeypatch.setattr(feature_maps, "shared", lambda: SimpleNamespace(run=lost))
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path))
    (tmp_path / "fsdd").mkdir()
    (tmp_path / "fsdd" / "frami").symlink_to(ASSETS / "explore" / "fsdd" / "frami")
    shown = FeatureMaps(tmp_path, Syntheses(tmp_path), checkpoints.load, ["fsdd"])
    stamp = shown.view("fsdd", ["frami"])["stamp"]
    waited(lambda: shown.more("fsdd", ["frami"], stamp)["pending"] is None)
    assert "6 GB" in shown.view("fsdd", ["frami"])["trouble"]
    shown.close()


@pytest.mark.slow
def test_a_killed_export_is_made_again_and_few_wait(fresh_home, teacher):
    known = Distillations(Queue(Runs()), checkpoints.load, ["fsdd"])
    run = finished_run(known.queue.runs, teacher)
    lost = pools.shared().health()["lost"]
    thread, found = in_thread(lambda: known.file(run.id, "onnx-mel"))
    waited(lambda: pools.shared().health()["busy"])
    kill_worker()
    others = [in_thread(lambda kind=kind: known.file(run.id, kind)) for kind in ["onnx"] * 6]
    for one in (thread, *(other for other, _ in others)):
        one.join()
    name, content = found[0]
    assert name.endswith("-mel.onnx") and len(content) > 10_000 and pools.shared().health()["lost"] == lost + 1
    answers = [answer for _, (answer,) in others]
    assert sum(isinstance(answer, FramiError) for answer in answers) == 4, "two wait, the others are told"
    assert all("try again" in str(answer) for answer in answers if isinstance(answer, FramiError))


def test_a_sound_that_takes_all_memory_costs_a_worker_only(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    pool = pools.shared()
    monkeypatch.setitem(pool._limits, "sound", WorkLimits(seconds=60, gigabytes=-1))
    lookup = ClipLookup(Syntheses(tmp_path), ASSETS / "gallery", checkpoints.load)
    recognition = Recognition(Distillations(Queue(Runs()), checkpoints.load, ["fsdd"]), lookup)
    given = recognition.given.add(*recognition.sample("sample/fsdd/7"), EVERYONE)
    with pytest.raises(FramiError, match="memory"):
        recognition.predictions("fsdd", [], given)
    monkeypatch.undo()
    assert recognition.predictions("fsdd", [], given)["networks"][0]["top"][0][0] == "seven"


@pytest.mark.slow
def test_the_page_goes_on_when_its_worker_is_killed(open_page, studio):
    """In a browser: the visitor is told, the page answers, and the next run works, in another process."""

    def workers():
        found = psutil.Process(studio.process.pid).children()
        return [one for one in found if "frami.workers.worker" in one.cmdline()]

    page = open_page()
    generate(page, samples=2, steps=600)
    page.wait_for_selector(".frami-live[data-state=running] .frami-tile", timeout=120_000)
    killed = workers()
    for one in killed:
        one.kill()
    page.wait_for_selector(".frami-live[data-state=error]", timeout=20_000)
    assert "try again" in page.locator("#live .status").inner_text()
    page.get_by_role("tab", name="Listen").click()
    page.locator("#gallery .frami-tile").first.click()
    page.wait_for_function("() => frami.player.readyState > 0", timeout=20_000)
    generate(page, samples=2, steps=4)
    page.wait_for_selector(".frami-live[data-state=done]", timeout=120_000)
    assert workers() and not set(workers()) & set(killed) and studio.process.poll() is None
