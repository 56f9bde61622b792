"""Visitors of a hosted studio without a page: what is whose, what each may do, and what waits when."""

import json
import secrets
import threading
import time

import pytest

from frami import checkpoints
from frami.distill import RunSettings, Settings
from frami.errors import FramiError
from frami.hosting import limits, owners
from frami.hosting.limits import LimitError
from frami.inversion import InversionSettings
from frami.paths import ASSETS
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services import clips as clips_service
from frami.studio.services import distillations
from frami.studio.services.background import Background
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.recognition import Recognition
from frami.studio.services.storage import Storage
from frami.studio.services.syntheses import Syntheses
from frami.workers import pool
from tests.helpers.queues import SETTINGS, queue_in, status, until
from tests.helpers.visitors import named
from tests.studio.test_try_it import finished_run


@pytest.fixture(autouse=True)
def hosted(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    return monkeypatch


@pytest.fixture
def known(tmp_path):
    """Distillations whose runs are over in no time."""
    queue = queue_in(tmp_path)
    yield Distillations(queue, checkpoints.load, ["fsdd"], limits.current())
    queue.close()


def wanted(count: int = 1, budget: float = 30) -> list[RunSettings]:
    return [RunSettings("fsdd", Settings(student="nano", budget=budget, seed=seed)) for seed in range(count)]


def synthesis(teacher, steps=3, **more):
    values = {"samples": 2, "seconds": 0.3, "batch": 2} | more
    return InversionSettings.of(teacher, "frami", steps=steps, **values)


def rows(known, name, **more):
    return [row for row in known.value("fsdd", who=named(name, **more))["runs"] if "bundled" not in row["title"]]


# ----------------------------------------------------------------------------------------------- distillations


def test_closed_nothing_more_is_measured(known):
    known.close()
    assert not known.costs.alive and not known.queue.alive


def test_a_distillation_is_nobody_elses(known):
    ada, ben = named("ada"), named("ben")
    run = known.owned.begin(wanted(), ada)
    machine = known.queue.add("of the command line", SETTINGS)
    assert [row["id"] for row in rows(known, "ada")] == [run.id] and rows(known, "ben") == []
    for who in (ben, owners.visitor(None), owners.EVERYONE):
        for id in (run.id, machine.id, "0" * 12, "../x", ""):
            for act in (known.owned.stop, known.owned.resume, known.owned.delete, known.owned.share):
                with pytest.raises(FramiError, match=r"^no such run$"):
                    act(id, who)
            with pytest.raises(FramiError, match=r"^no such run$"):
                known.file(id, "onnx-mel", who)
    assert known.queue.waiting() == [run.id, machine.id], "all are as they were"
    known.owned.stop(run.id, ada)
    known.owned.resume(run.id, ada)
    known.owned.delete(run.id, ada)
    assert rows(known, "ada") == []


def test_bundled_runs_are_shown_to_all_and_are_nobodys(known):
    (row,) = known.value("fsdd", who=named("ben"))["runs"]
    assert "bundled" in row["title"] and not row["own"] and not row["usable"] and row["status"] == "finished"
    assert row["curves"]["accuracy"] and row["result"]["confusion"]
    assert "curves" not in known.value("fsdd", {row["id"]: row["stamp"]}, who=named("ben"))["runs"][0]
    for act in (known.owned.stop, known.owned.delete, known.owned.share):
        with pytest.raises(FramiError, match="no such run"):
            act(row["id"], named("ben"))


def test_a_link_shows_a_run_and_allows_nothing(known):
    run = known.owned.begin(wanted(), named("ada"))
    known.queue.runs.log(run.id, 1, 2.0, {"agreement": 0.25, "share": 0.5, "left": 3.0})
    link = known.owned.share(run.id, named("ada"))
    (row,) = rows(known, "ben", shared=link)
    assert row["id"] == run.id and not row["own"] and row["curves"]["agreement"] and "shared" in row["title"]
    assert known.teacher_of(run.id, named("ben", link)) == "fsdd" and known.teacher_of(run.id, named("ben")) is None
    for act in (known.owned.stop, known.owned.resume, known.owned.delete, known.owned.share, known.owned.unshare):
        with pytest.raises(FramiError, match="no such run"):
            act(run.id, named("ben", link))
    with pytest.raises(FramiError, match="no such run"):
        known.file(run.id, "safetensors", named("ben", link))
    known.owned.unshare(run.id, named("ada"))
    assert rows(known, "ben", shared=link) == []


def test_only_so_many_wait_of_a_visitor_and_of_all(known, hosted):
    hosted.setenv("FRAMI_LIMITS", "runs_at_once=3,waiting_runs=4,waiting_runs_all=6,budget=60")
    known.owned.limits = limits.current()
    for refused, words in ((wanted(4), "at once: at most 3 runs"), (wanted(1, budget=61), "at most 60 s")):
        with pytest.raises(LimitError, match=rf"{words} .*FRAMI_LIMITS=none"):
            known.owned.begin(refused, named("ada"))
    with pytest.raises(LimitError, match="time for each"):
        known.owned.begin([RunSettings("fsdd", Settings(budget=None))], named("ada"))
    known.owned.begin(wanted(3), named("ada"))
    with pytest.raises(LimitError, match="your distillations that wait or run: at most 4"):
        known.owned.begin(wanted(2), named("ada"))
    assert len(known.queue.waiting()) == 3, "none of the two was queued"
    known.owned.begin(wanted(3), named("ben"))
    with pytest.raises(LimitError, match="of all visitors that wait or run: at most 6"):
        known.owned.begin(wanted(1), named("cleo"))
    stopped = known.queue.all()[0]
    known.owned.stop(stopped.id, named("ben"))
    known.owned.begin(wanted(1), named("cleo"))
    with pytest.raises(LimitError, match="of all visitors"):
        known.owned.resume(stopped.id, named("ben"))


def test_who_does_not_say_who_it_is_begins_nothing(known, tmp_path, teacher):
    """Nobody could count such a request: 36 runs once waited of one visitor."""
    runs = Syntheses(tmp_path / "studio", limits.current())
    for nobody in (owners.visitor(None), owners.visitor("short")):
        with pytest.raises(FramiError, match="did not say which browser this is; reload it"):
            known.owned.begin(wanted(), nobody)
        with pytest.raises(FramiError, match="did not say which browser this is; reload it"):
            runs.start(teacher, synthesis(teacher), who=nobody, queued=False)
    assert known.queue.all() == [] and not runs.going() and not (tmp_path / "studio").exists()


def test_without_limits_runs_of_visitors_stay(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr("frami.studio.services.syntheses._RUNS", 1)
    runs = Syntheses(tmp_path / "studio", limits.NONE)
    names = {"a" * 12: "ada", "b" * 12: "ben", "c" * 12: None, "d" * 12: None}
    for id, name in names.items():
        (runs.folder / id).mkdir(parents=True)
        owners.claim(runs.folder / id, name and named(name).owner)
    runs._forget()
    left = {path.name for path in runs.folder.iterdir()}
    assert {"a" * 12, "b" * 12} < left and len(left) == 3


def test_many_clicks_at_once_get_no_more_than_one_after_the_other(known, hosted):
    hosted.setenv("FRAMI_LIMITS", "waiting_runs=5")
    known.owned.limits = limits.current()

    def click():
        with pytest.raises(LimitError):
            for _ in range(6):
                known.owned.begin(wanted(), named("ada"))

    clicks = [threading.Thread(target=click) for _ in range(4)]
    for one in clicks:
        one.start()
    for one in clicks:
        one.join()
    assert len(known.queue.waiting()) == 5


def test_hundreds_of_runs_cost_a_poll_little(known):
    """457 runs of another visitor once made each of them cost a second."""
    for _ in range(300):
        known.queue.add("of ada", SETTINGS, named("ada").owner, queued=False)
    run = known.owned.begin(wanted(), named("ben"))
    seen = {row["id"]: row["stamp"] for row in known.value("fsdd", who=named("ben"))["runs"]}
    begin = time.process_time()
    value = known.value("fsdd", seen, known=True, who=named("ben"))
    spent = time.process_time() - begin
    assert run.id in seen and len(json.dumps(value)) < 5_000
    assert spent < 0.5, f"{spent:.2f} s of the processor"


def test_the_page_tells_when_each_begins(known):
    for name in ("ada", "ben"):
        known.owned.begin(wanted(2, budget=40), named(name))
    extra = 40 + distillations.EXTRA
    assert [(row["ahead"], row["begins"]) for row in rows(known, "ada")] == [(2, 2 * extra), (0, 0)]
    assert [(row["ahead"], row["begins"]) for row in rows(known, "ben")] == [(3, 3 * extra), (1, extra)]


def test_nobody_knows_when_a_cluster_answers(known, monkeypatch):
    """While a run waits for it, nothing is said of when the next ones begin."""
    for name in ("ada", "ben"):
        known.owned.begin(wanted(budget=40), named(name))
    first, *_ = known.queue.waiting()
    known.queue._dequeue(first)
    known.queue._current[first] = ()
    begins = [[row["begins"] for row in rows(known, name)] for name in ("ada", "ben")]
    assert begins == [[None], [40 + distillations.EXTRA]]
    monkeypatch.setattr(type(known.queue), "several", True)
    assert [[row["begins"] for row in rows(known, name)] for name in ("ada", "ben")] == [[None], [None]]
    known.queue._current.clear()


def test_a_visitor_with_one_run_does_not_wait_for_anothers_ten(known):
    many = [known.queue.add(str(n), SETTINGS, named("ada").owner) for n in range(5)]
    known.queue.begin()
    until(lambda: status(known.queue, many[0]) in ("running", "finished"))
    one = known.queue.add("one", SETTINGS, named("ben").owner)
    until(lambda: status(known.queue, one) == "finished")
    assert status(known.queue, many[4]) == "waiting"


def test_exports_that_wait_are_few(known, teacher, hosted):
    """45 requests once held all threads of the server: another visitor's click took 49 seconds."""
    go, answers = threading.Event(), []
    runs = {name: finished_run(known.queue.runs, teacher) for name in ("ada", "ben", "cleo", "dora")}
    for name, run in runs.items():
        owners.claim(run.folder, named(name).owner)
    hosted.setattr(pool.Pool, "_once", lambda *_: go.wait(20) and b"onnx")

    def ask(name):
        try:
            answers.append(known.file(runs[name].id, "onnx-mel", named(name))[1])
        except FramiError as error:
            answers.append(str(error))

    def asked(pools, name, count, refused):
        hosted.setattr(distillations, "shared", lambda: pools)
        threads = [threading.Thread(target=ask, args=(name,)) for _ in range(count)]
        for one in threads:
            one.start()
        until(lambda: len(answers) == refused, 5)
        return threads

    here = pool.Pool()
    threads = asked(here, "ada", 45, 44)
    assert all("one of these is being made for you already" in answer for answer in answers)
    assert all("FRAMI_LIMITS=none" in answer for answer in answers)
    for name, refused in (("ben", 44), ("cleo", 44), ("dora", 45)):  # one at work and two that wait
        threads += asked(here, name, 1, refused)
    assert "too many of these are at work or waiting" in answers[-1]
    go.set()
    for one in threads:
        one.join(20)
    assert answers.count(b"onnx") == 3 and here.health()["refused"] == 45
    hosted.setenv("FRAMI_LIMITS", "none")
    known._exported.cache_clear()
    go.clear()
    answers.clear()
    threads = asked(pool.Pool(), "ada", 10, 7)
    assert all("too many of these" in answer for answer in answers), "without limits, too"
    go.set()
    for one in threads:
        one.join(20)
    assert answers.count(b"onnx") == 3


# ------------------------------------------------------------------------------------ one address, invented names

HERE, THERE = "203.0.113.9", "198.51.100.7"


def invented(host=HERE):
    """A visitor whom nobody has seen, from the same address as all others."""
    return owners.visitor(secrets.token_urlsafe(24), host=host)


def refused(words, do, most):
    """How many of 50 invented visitors get through; the others are told why."""
    done = 0
    for _ in range(50):
        try:
            do(invented())
            done += 1
        except LimitError as error:
            assert f"{words}, with those of all others at your network address: at most {most}" in str(error)
            assert "FRAMI_LIMITS=none" in str(error)
    return done


def test_invented_visitors_of_one_address_leave_room_for_distillations_of_another(known):
    assert refused("your distillations that wait or run", lambda who: known.owned.begin(wanted(), who), 20) == 20
    run = known.owned.begin(wanted(), invented(THERE))
    known.owned.begin(wanted(2), named("ada"))
    assert len(known.queue.waiting()) == 23
    mine = owners.Visitor(owners.entry(run.folder).owner, address=invented().address)
    known.owned.stop(run.id, mine)
    with pytest.raises(LimitError, match="network address"):
        known.owned.resume(run.id, mine)


def test_invented_visitors_of_one_address_leave_room_for_syntheses_of_another(tmp_path, teacher, hosted):
    hosted.setattr("frami.studio.services.syntheses.invert", lambda *_: (_ for _ in ()))  # it is looked at, not made
    runs = Syntheses(tmp_path / "studio", limits.current())
    begin = lambda who: runs.start(teacher, synthesis(teacher), who=who, queued=False)  # noqa: E731
    assert refused("your syntheses that wait or run", begin, 8) == 8
    begin(invented(THERE))
    begin(invented("2001:db8::1"))
    assert len(runs.going()) == 10


def test_invented_visitors_of_one_address_leave_room_on_the_disk(known, tmp_path, hosted):
    hosted.setenv("FRAMI_LIMITS", "disk=5,disk_all=16")
    known.owned.limits = allowed = limits.current()
    runs = Syntheses(tmp_path / "studio", allowed)
    storage = Storage(runs, known.owned, allowed)
    for _ in range(3):
        who = invented()
        storage.check(who.owner, who.address)
        run = known.queue.add("of this address", SETTINGS, who.owner)
        known.owned.origins.note(run.id, who.address)
        (run.folder / "state").write_bytes(bytes(3_000_000))
        known.queue.stop(run.id)
        storage._at = 0
    with pytest.raises(LimitError, match="take on the disk, with those of all others at your network address: at most"):
        storage.check(invented().owner, invented().address)
    storage.check(invented(THERE).owner, invented(THERE).address)


def test_an_address_that_is_not_known_has_no_limit_of_its_own(known):
    """As of this machine: others are not counted as its visitors."""
    for _ in range(25):
        known.owned.begin(wanted(), invented("127.0.0.1"))
    assert len(known.queue.waiting()) == 25


# -------------------------------------------------------------------------------------------------- syntheses


@pytest.mark.slow
def test_clips_are_nobody_elses(tmp_path, teacher, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path / "no-recordings"))
    ada, ben = named("ada"), named("ben")
    runs = Syntheses(tmp_path / "studio", limits.current())
    run = runs.start(teacher, synthesis(teacher), who=ada)
    until(lambda: run.done, 60)
    clips = ClipLookup(runs, tmp_path, checkpoints.load)
    maps = FeatureMaps(tmp_path / "none", runs, checkpoints.load, ["fsdd"])
    id, key = f"run/{run.id}/0", f"run-{run.id}"
    assert clips.sound(id, ada)[:4] == b"RIFF" and clips.states(id, ada)
    assert [k for _, k in maps.choices("fsdd", [run.id], ada)] == [key, "real"], "and the recordings that ship"
    others = maps.choices("fsdd", [], ben)
    assert maps.clip("fsdd", [key], f"explore/fsdd/{key}/0", ada)["clip"]
    assert maps.sound(f"explore/fsdd/{key}/0", ada)[:4] == b"RIFF"
    for who in (ben, owners.EVERYONE, owners.visitor(None)):
        for hear in (clips.sound, clips.states):
            with pytest.raises(FramiError, match="no such clip"):
                hear(id, who)
        with pytest.raises(FramiError, match="no such clip"):
            clips.sound(f"{id}@0", who)
        assert maps.choices("fsdd", [run.id], who) == others and maps.view("fsdd", [key], who=who)["layers"] == []
        assert maps.more("fsdd", [key], "", who).get("layers") == []
        for look in (lambda who=who: maps.clip("fsdd", [key], f"explore/fsdd/{key}/0", who),
                     lambda who=who: maps.sound(f"explore/fsdd/{key}/0", who),
                     lambda who=who: runs.share(run.id, who)):  # fmt: skip
            with pytest.raises(FramiError, match="no such"):
                look()
        assert not runs.owned(run.id, who)
    friend = named("ben", runs.share(run.id, ada))
    assert clips.sound(id, friend)[:4] == b"RIFF" and runs.teacher_of(run.id, friend) == "fsdd"
    assert not runs.owned(run.id, friend) and maps.choices("fsdd", [run.id], friend) == others
    runs.unshare(run.id, ada)
    with pytest.raises(FramiError, match="no such clip"):
        clips.sound(id, friend)
    runs.close()
    maps.close()
    assert Syntheses(tmp_path / "studio").owned(run.id, ada), "after a restart, too"


def test_where_too_many_maps_wait_the_page_asks_again(tmp_path, hosted):
    hosted.setenv("FRAMI_DATA", str(tmp_path / "no-recordings"))
    folder = tmp_path / "explore" / "fsdd"
    folder.mkdir(parents=True)
    (folder / "frami").symlink_to(ASSETS / "explore" / "fsdd" / "frami")  # a bank without a precomputed map
    work = Background("test", waiting=0)
    maps = FeatureMaps(folder.parent, Syntheses(tmp_path), checkpoints.load, ["fsdd"], _work=work)
    value = maps.view("fsdd", ["frami"], who=named("ada"))
    assert "other visitors" in maps.more("fsdd", ["frami"], value["stamp"], named("ada"))["pending"]
    wishes = []
    hosted.setattr(work, "start", lambda task, work, owner, address: wishes.append(owner) or "")
    for who in (named("ada"), named("ben"), owners.visitor(None)):
        maps.more("fsdd", ["frami"], value["stamp"], who)
    assert len(set(wishes)) == 3 and None not in wishes, "each has a place of their own"
    maps.close()


def test_sounds_are_made_for_who_asks(tmp_path, teacher, hosted):
    """So that none takes the places of all."""
    asked = []

    def run(self, job, *_, **__):
        asked.append((job, *pool._asker.get()))
        raise FramiError("enough")

    hosted.setattr(pool.Pool, "run", run)
    clips_service._logits.cache_clear()  # of another test in this process
    runs, ada = Syntheses(tmp_path), named("ada", host=HERE)
    clips = ClipLookup(runs, ASSETS / "gallery", checkpoints.load)
    maps = FeatureMaps(ASSETS / "explore", runs, checkpoints.load, ["fsdd"])
    recognition = Recognition(Distillations(Queue(Runs()), checkpoints.load, ["fsdd"]), clips)
    given = recognition.given.add(*recognition.sample("sample/fsdd/7"), ada)
    for work in (
        lambda: clips.sound("gallery/fsdd/0~griffin-lim", ada),
        lambda: clips.states("gallery/fsdd/0", ada),
        lambda: maps.sound("explore/fsdd/frami/0~griffin-lim", ada),
        lambda: recognition.sound("gallery/fsdd/0~griffin-lim", ada),
        lambda: recognition.predictions("fsdd", [], given, who=ada),
    ):
        with pytest.raises(FramiError, match="enough"):
            work()
    kinds = ["vocode", "classify", "vocode", "vocode", "recognise"]
    assert asked == [(f"sound-{kind}", ada.owner, ada.address) for kind in kinds]
    assert ada.address and pool._asker.get() == (None, None)
    maps.close()


def test_a_synthesis_is_bounded_and_visitors_take_turns(tmp_path, teacher, hosted):
    hosted.setenv("FRAMI_LIMITS", "clips=8,steps=700,seconds=1,work=5000,waiting_syntheses=3,waiting_syntheses_all=5")
    runs = Syntheses(tmp_path / "studio", limits.current())
    for settings, words in (
        (synthesis(teacher, samples=9), "at most 8 clips"),
        (synthesis(teacher, steps=701), "at most 700 steps"),
        (synthesis(teacher, seconds=1.5), "length of a clip: at most 1 s"),
        (synthesis(teacher, samples=8, seconds=1.0, steps=700), "clips × seconds × steps .* 5,600"),
    ):
        with pytest.raises(LimitError, match=rf"{words}.*FRAMI_LIMITS=none"):
            runs.start(teacher, settings, who=named("ada"))
    long = [runs.start(teacher, synthesis(teacher, steps=700), who=named("ada")) for _ in range(3)]
    with pytest.raises(LimitError, match="your syntheses that wait or run: at most 3"):
        runs.start(teacher, synthesis(teacher), who=named("ada"))
    until(lambda: long[0].latest is not None, 60)
    short = runs.start(teacher, synthesis(teacher), who=named("ben"))
    assert runs.before(short) == [long[0]] and runs.before(long[2]) == [long[0], short, long[1]]
    assert 0 < runs.seconds_before(short) < runs.seconds_before(long[1]) < runs.seconds_before(long[2])
    runs.start(teacher, synthesis(teacher), who=named("cleo"))
    with pytest.raises(LimitError, match="all visitors"):
        runs.start(teacher, synthesis(teacher), who=named("dora"))
    long[0].stop()
    until(lambda: short.done, 60)
    assert not long[1].done, "the second of one visitor comes after the first of another"
    runs.close()


def test_ones_own_machine_has_one_owner(tmp_path, teacher, hosted):
    hosted.setenv("FRAMI_HOSTED", "0")
    runs = Syntheses(tmp_path / "studio", limits.current())
    run = runs.start(teacher, synthesis(teacher, samples=2, steps=2), who=named("ada"))
    until(lambda: run.done, 60)
    assert run.owner is None and runs.owned(run.id, named("ben")) and not (run.folder / owners.FILE).exists()
    begun = time.time()
    runs.close()
    assert time.time() - begun < 5
