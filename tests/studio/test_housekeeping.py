"""What a hosted studio does by itself: it ends abandoned work, and clears what is old."""

import os
import time
from types import SimpleNamespace

import pytest

from frami import checkpoints
from frami.errors import FramiError
from frami.hosting import limits, owners
from frami.hosting import presence as hosting_presence
from frami.hosting.limits import LimitError
from frami.hosting.presence import Presence
from frami.inversion import InversionSettings
from frami.studio.services.changes import Changing
from frami.studio.services.housekeeping import Housekeeping
from frami.studio.services.owned_runs import OwnedRuns
from frami.studio.services.storage import _measured, clear_uploads, taken
from frami.studio.services.syntheses import Syntheses
from tests.helpers.queues import SETTINGS, queue_in, status, until
from tests.helpers.visitors import named


@pytest.fixture
def make(tmp_path, monkeypatch):
    """``make(FRAMI_LIMITS)``: the housekeeping of a hosted studio, not begun, and its services."""
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    made = []

    def built(said: str = ""):
        monkeypatch.setenv("FRAMI_LIMITS", said)
        allowed = limits.current()
        queue = queue_in(tmp_path)
        presence = Presence(tmp_path / "visitors", allowed.of("silence"), allowed.of("grace"))
        runs = Syntheses(tmp_path / "studio", allowed)
        made.append((queue, runs))
        return Housekeeping(runs, OwnedRuns(queue, allowed), presence, allowed), runs, queue, presence

    yield built
    for queue, runs in made:
        runs.close()
        queue.close()


def test_a_change_of_a_sound_ends_with_its_visitor(make, teacher, monkeypatch):
    now = [time.time()]
    monkeypatch.setattr(hosting_presence, "time", SimpleNamespace(time=lambda: now[0]))
    keeping, runs, _, presence = make("silence=180,grace=75")
    ada, ben = (Changing(teacher, 1, named(name).owner, None) for name in ("ada", "ben"))
    for one in (ada, ben):
        one._turn = runs.submit(one, lambda one=one: one.stopped.wait(60))
    presence.opened("page", named("ada").owner)
    presence.closed("page")
    for _ in range(3):
        now[0] += 80
        presence.seen(named("ben").owner)
        keeping.end_abandoned()
    assert ada.stopped.is_set() and not ben.stopped.is_set()
    ben.stop()


def test_work_ends_whose_visitor_has_gone_and_no_other(make, teacher, monkeypatch):
    now = [time.time()]
    monkeypatch.setattr(hosting_presence, "time", SimpleNamespace(time=lambda: now[0]))
    keeping, runs, queue, presence = make("silence=180,grace=75,kept=600")
    settings = InversionSettings.of(teacher, "frami", samples=2, seconds=0.3, batch=2, steps=900)
    left, stays = (runs.start(teacher, settings, who=named(name)) for name in ("ada", "ben"))
    own, kept, other = (
        queue.add(name, SETTINGS, named(name).owner, keep)
        for name, keep in (("ada", False), ("ada", True), ("ben", False))
    )
    machine = queue.add("of the command line", SETTINGS)

    def after(seconds):
        """Look at who has gone after so many seconds, in which the other visitor has been heard of."""
        now[0] += seconds
        presence.seen(named("ben").owner)
        keeping.end_abandoned()

    after(100)
    assert not left.stopped and len(queue.waiting()) == 4, "nobody could have been heard of yet"
    presence.opened("page", named("ada").owner)
    presence.closed("page")
    after(70)
    assert len(queue.waiting()) == 4, "within the grace a page may be opened again"
    until(lambda: left.latest is not None, 60)
    after(130)
    until(lambda: left.done, 60)
    assert left.saved == 2, "what was made is saved"
    assert status(queue, own) == "stopped" and status(queue, kept) == "waiting"
    assert not stays.done and {status(queue, run) for run in (other, machine)} == {"waiting"}
    for _ in range(3):
        after(150)
    assert status(queue, kept) == "waiting", "one that is to be kept has longer"
    after(100)
    assert status(queue, kept) == "stopped"
    assert not stays._stop.is_set() and {status(queue, run) for run in (other, machine)} == {"waiting"}


def test_a_running_distillation_is_told_to_save_and_end(make):
    keeping, _, queue, _ = make("silence=0.3,grace=0.1")
    run = queue.begin().add("long", SETTINGS | {"ticks": 300}, named("ada").owner)
    until(lambda: status(queue, run) == "running")
    keeping.begin()
    until(lambda: status(queue, run) == "stopped")
    keeping.close()


def test_nothing_ends_on_ones_own_machine(make, monkeypatch):
    keeping, _, queue, presence = make("none")
    run = queue.add("mine", SETTINGS, named("ada").owner)
    presence.opened("page", named("ada").owner)
    presence.closed("page")
    keeping.begin().end_abandoned()
    assert not keeping._thread.is_alive() and status(queue, run) == "waiting"
    keeping.close()


def stored(folder, name, megabytes, age=0.0, owner="ada"):
    """A visitor's run of synthesis as it lies on the disk."""
    path = folder / name
    owners.claim(path, owner and named(owner).owner)
    path.mkdir(parents=True, exist_ok=True)
    (path / "clips").write_bytes(bytes(int(megabytes * 1e6)))
    for one in path.iterdir():
        os.utime(one, (time.time() - age, time.time() - age))
    return path


def test_old_runs_go_and_then_the_oldest_until_the_rest_is_small_enough(make, tmp_path):
    keeping, runs, queue, _ = make("age=1,disk_all=5")
    old = stored(runs.folder, "a" * 12, 0.1, age=3700)
    of_the_machine = stored(runs.folder, "b" * 12, 9, age=9999, owner=None)
    first, second, third = (stored(runs.folder, letter * 12, 2, age=100 - n) for n, letter in enumerate("cde"))
    student = queue.add("waits", SETTINGS, named("ben").owner)
    keeping.clean()
    assert not old.exists() and not first.exists() and second.exists() and third.exists() and of_the_machine.exists()
    assert queue.get(student.id), "what waits stays"
    queue.stop(student.id)
    with queue.runs._write() as base:
        base.execute("UPDATE runs SET updated = ? WHERE id = ?", (time.time() - 3700, student.id))
    keeping.clean()
    with pytest.raises(FramiError):
        queue.get(student.id)
    assert not student.folder.exists()


def test_a_visitor_has_so_much_and_their_oldest_clips_make_room(make):
    keeping, runs, queue, _ = make("disk=5,disk_all=14")
    first, second, third = (stored(runs.folder, letter * 12, 2, age=100 - n) for n, letter in enumerate("cde"))
    others = stored(runs.folder, "f" * 12, 4, age=500, owner="ben")
    keeping.storage.check(named("ada").owner)
    assert not first.exists() and second.exists() and third.exists() and others.exists()
    student = queue.add("student", SETTINGS, named("ada").owner)
    (student.folder / "snapshot").write_bytes(bytes(6_000_000))
    queue.stop(student.id)
    keeping.storage._at = 0
    with pytest.raises(LimitError, match="what your runs take on the disk: at most 5 MB"):
        keeping.storage.check(named("ada").owner)
    assert queue.get(student.id) and not second.exists(), "clips make room, students are left"
    stored(runs.folder, "9" * 12, 5, owner="cleo")
    keeping.storage._at = 0
    with pytest.raises(LimitError, match="of all visitors take on the disk: at most 14 MB"):
        keeping.storage.check(named("dora").owner)
    keeping.storage.check(None)


def test_uploads_go_by_age_and_total(tmp_path):
    for n in range(6):
        stored(tmp_path, f"{n}", 1, age=600 - 60 * n, owner=None)
    stored(tmp_path, "old", 1, age=4000, owner=None)
    assert taken(tmp_path) == 7_000_000
    clear_uploads(tmp_path, 3600, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "4", "5"]
    clear_uploads(tmp_path / "missing", 3600, 4)
    half = tmp_path / "tmp01234567"  # of an upload whose page was closed
    half.write_bytes(bytes(100))
    clear_uploads(tmp_path, 3600, 9)
    assert half.exists()
    os.utime(half, (time.time() - 4000,) * 2)
    clear_uploads(tmp_path, 3600, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "4", "5"]


def test_a_run_of_a_visitor_is_stored_by_its_teacher(make, teacher):
    """The note of the owner is no part of what is downloaded."""
    import zipfile

    from frami.studio.services.syntheses import archive

    _, runs, _, _ = make()
    settings = InversionSettings.of(teacher, "frami", samples=2, seconds=0.3, batch=2, steps=2)
    run = runs.start(teacher, settings, who=named("ada"))
    until(lambda: run.done, 60)
    assert owners.entry(run.folder).owner == named("ada").owner
    with zipfile.ZipFile(archive(run.folder)) as file:
        assert not any(owners.FILE in name for name in file.namelist())
    assert runs.saved(run.id, checkpoints.load).saved == 2


def test_whatever_fails_the_next_look_comes_and_old_runs_go(make, monkeypatch, caplog):
    keeping, runs, queue, _ = make("grace=0.1,age=1")
    old, looks = stored(runs.folder, "a" * 12, 0.1, age=3700), []

    def broken():
        looks.append(1)
        raise TypeError("it is broken")

    monkeypatch.setattr(keeping._runs, "going", broken)
    keeping.storage.runs = OwnedRuns(queue)
    keeping.begin()
    until(lambda: len(looks) > 3 and not old.exists())
    assert keeping.alive
    assert len([one for one in caplog.records if "it is broken" in one.getMessage()]) == 1, "said once"
    keeping.close()
    assert not keeping.alive


def test_a_folder_that_is_removed_meanwhile_has_no_size(tmp_path):
    assert _measured(tmp_path / "gone") == (0, 0.0)
