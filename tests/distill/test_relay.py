"""A run that a cluster does, without one: what its worker sends, what of it is believed, and workers that are lost."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from frami import banks, checkpoints
from frami.banks.folder import shard_path
from frami.cluster import run_there
from frami.cluster.pieces import Pieces
from frami.cluster.placed import DisconnectedError, LostError
from frami.cluster.run_there import FILES, Begun, News, RunThere
from frami.distill import RunSettings, Settings, relay
from frami.distill.arrivals import Arrivals
from frami.distill.relay import Relay
from frami.distill.run import begin, of, work
from frami.errors import FramiError
from frami.runs import Runs, where
from tests.helpers.distillation import QUICK
from tests.helpers.queues import until

ROOT = Path(__file__).resolve().parents[2]


class Ended:
    """A process that has ended."""

    def poll(self):
        return 0


@pytest.fixture(scope="module")
def sent(tiny_teacher, tmp_path_factory):
    """A run that a worker has done, and the news that it sends of it at the end."""
    base = tmp_path_factory.mktemp("there")
    store, request = Runs(base / "runs.sqlite"), RunSettings(str(tiny_teacher), Settings(**QUICK))
    id = begin(request, store, base / "run")
    work(id, store)
    there = RunThere()
    there._base, there._folder, there._store, there._id = base, base / "run", store, id
    there._process, there._sent, there._seen = Ended(), {}, {}
    (base / "log").write_text("100%\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_there, "WITH", 1 << 10)
        news = there.news()
    assert news.large and not news.files
    assert base.samefile(there._place())
    news = replace(news, files={name: there.piece(name, 0, size) for name, size in news.large.items()}, large={})
    assert there.news() == replace(news, points=(), files={}), "nothing is sent twice"
    return store.get(id), store.metrics(id), news


@pytest.fixture
def here(sent, tmp_path, monkeypatch):
    """What stores it on the studio's machine, where the run waits."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    run, store = sent[0], Runs()
    own = store.create(run.kind, run.name, run.settings, id=run.id)
    request = RunSettings.from_dict(run.settings)
    return Arrivals(store, own, request, of(request))


def test_what_a_worker_sends_is_the_run_as_it_did_it(sent, here):
    run, curves, news = sent
    assert all(FILES.fullmatch(name) for name in news.files) and (news.code, news.status) == (0, "finished")
    here.store.log(run.id, 7, 1.0, {"share": 0.5})  # of a worker that was lost
    here.begin()
    writes, found = here.store._write, []

    @contextmanager
    def written():
        with writes() as base:
            yield base
        found.append(here.store.metrics(run.id))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(here.store, "_write", written)
        here.take(news)
    assert all("share" in one for one in found), "who looks finds the old points or the new ones"
    assert found[-1] == here.store.metrics(run.id) == curves
    assert here.result(news) == run.result
    own, theirs = (checkpoints.read_card(folder / "student") for folder in (here.run.folder, run.folder))
    assert own == replace(theirs, sha256=own.sha256)
    bank = here.run.folder / "bank"
    shutil.copy(shard_path(bank, 0), shard_path(bank, 40))  # of one that was lost before the run learnt from it
    here.drop_surplus()
    clips = banks.load(bank)
    assert len(clips) == run.result["clips"] and not clips.damaged


def _changed(news, what):
    """News of which one thing is another than a run sends."""
    damaged = {"weights": "student.safetensors", "card": "student.json", "shard": "bank/shards/shard-00000.safetensors"}
    if what in damaged:
        content = bytearray(news.files[damaged[what]])
        content[-3] ^= 0xFF
        return replace(news, files=news.files | {damaged[what]: bytes(content)})
    point = ("agreement", 1, 1.0, 0.5)
    return {
        "a path": replace(news, files={"../../escaped.json": b"{}"}),
        "another file": replace(news, files={"owner": b"{}"}),
        "half a student": replace(news, files={"student.json": news.files["student.json"]}),
        "a text": replace(news, files={"state.pt": "text"}),
        "no files": replace(news, files=None),
        "no news": {"points": ()},
        "a name": replace(news, points=(("<b>", *point[1:]),)),
        "a step": replace(news, points=(("agreement", -5, 1.0, 0.5),)),
        "a time": replace(news, points=(("agreement", 1, float("nan"), 0.5),)),
        "a value": replace(news, points=((*point[:3], "high"),)),
        "a status": replace(news, status="fine"),
        "an exit": replace(news, code="0"),
        "a size": replace(news, large={"state.pt": "1"}),
        "a large path": replace(news, large={"../state.pt": 1}),
        "too much": replace(news, large={"state.pt": 1 << 40}),
        "a short piece": replace(news, large={"state.pt": 5}),
    }[what]


WRONG = [
    "weights", "card", "shard", "a path", "another file", "half a student", "a text", "no files", "no news", "a name",
    "a step", "a time", "a value", "a status", "an exit", "a size", "a large path", "too much", "a short piece",
]  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_refused_and_not_stored(sent, here, what):
    with pytest.raises(FramiError, match="what came back from the cluster cannot be used") as told:
        here.take(here.complete(_changed(sent[2], what), Pieces(lambda *_: b"one").take))
    assert "/tmp" not in str(told.value), "it names no folder"
    assert not here.store.metrics(here.run.id) and not (here.run.folder / "state.pt").exists()
    assert not list(here.run.folder.parent.parent.glob("escaped*")) and not (here.run.folder / "owner").exists()


def test_a_student_of_another_teacher_is_refused(sent, here, teacher):
    here.teacher = teacher
    with pytest.raises(FramiError, match="another teacher"):
        here.take(sent[2])
    assert not checkpoints.exists(here.run.folder / "student")


@pytest.mark.parametrize(
    "change",
    [
        {"run": "other"}, {"accuracy": 1.5}, {"clips": -1}, {"confusion": [[1]]}, {"confusion": [["1"] * 4] * 4},
        {"more": 1}, {"notes": "a text"}, {"parameters": None},
    ],
)  # fmt: skip
def test_a_result_that_cannot_be_is_refused(sent, here, change):
    here.take(sent[2])
    with pytest.raises(FramiError, match="what came back from the cluster cannot be used"):
        here.result(replace(sent[2], result=sent[2].result | change))
    shutil.rmtree(here.run.folder)
    with pytest.raises(FramiError, match="has no student"):
        here.result(sent[2])


class There:
    """A worker that says so much before it is lost; then the last news again and again."""

    def __init__(self, answers):
        self.answers, self.asked, self.received, self.large = list(answers), [], {}, {}

    def ask(self, method, *arguments, seconds=None):
        self.asked.append(method)
        if method == "version":
            return relay.frami.__version__
        if method == "begin":
            return Begun("node-3", "b")
        if method == "receive":
            self.received[arguments[0]] = self.received.get(arguments[0], b"") + arguments[1]
        if method == "piece":
            return self.large[arguments[0]][arguments[1] : sum(arguments[1:])]
        if method != "news":
            return None
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def number(self, node):
        return 3

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gone = True


@pytest.fixture
def followed(here, monkeypatch):
    """``followed(workers…)``: the run after it was followed on a cluster that gives these workers."""
    monkeypatch.setattr(relay, "LOOK", 0.0)
    monkeypatch.setattr(relay.signal, "signal", lambda *_: None)

    def followed(*workers):
        made, one = iter(workers), Relay(here.store, here.run.id, "ray://host:1", None)

        @contextmanager
        def reached():
            class Engine:
                gpus = 0.0

                def placed(self, *_):
                    return next(made)

            yield Engine()

        one._reached = reached
        return one

    return followed


def test_a_lost_worker_costs_a_run_once(sent, here, followed):
    first, second = There([News(), LostError("ActorDiedError")]), There([sent[2]])
    followed(first, second).finish()
    assert here.store.get(here.run.id).status == "finished" and second.asked[-1] == "end"
    assert where.of(here.store.get(here.run.id)).worker == 3 and first.gone and second.gone


def test_a_cluster_that_goes_and_comes_back_costs_none(sent, here, followed, monkeypatch):
    """Where the run came further each time: else it may be what takes the cluster with it."""
    waits = []
    monkeypatch.setattr(relay.time, "sleep", lambda _: waits.append(where.of(here.run).state))
    state = News(files={"state.pt": b"a state"})
    gone = [There([state, DisconnectedError("ConnectionError")]) for _ in range(4)]
    followed(*gone, There([sent[2]])).finish()
    assert here.store.get(here.run.id).status == "finished" and waits.count("unreachable") == 4
    with pytest.raises(FramiError, match="lost with its worker, 2 times"):
        followed(*(There([DisconnectedError("ConnectionError")]) for _ in range(2))).finish()


def test_large_files_go_and_come_in_pieces(sent, here, followed, monkeypatch):
    """A stop is passed on between them."""
    monkeypatch.setattr(relay, "Pieces", lambda ask: Pieces(ask, 1 << 12))
    folder, last = here.run.folder, sent[2]
    (folder / "bank" / "shards").mkdir(parents=True)
    (folder / "state.pt").write_bytes(state := bytes(range(256)) * 40)
    there = There([replace(last, files={}, large={name: len(one) for name, one in last.files.items()})])
    there.large, one = last.files, followed(there)
    one._told_to_stop()
    one.finish()
    assert there.received["state.pt"] == state and there.asked.count("receive") > 5
    assert there.asked.index("begin") < there.asked.index("stop") < len(there.asked) - there.asked[::-1].index("piece")
    assert here.store.get(here.run.id).status == "finished" and checkpoints.exists(folder / "student")


def test_one_that_is_lost_twice_is_told(here, followed):
    with pytest.raises(FramiError, match=r"lost with its worker, 2 times, .*Resume continues it"):
        followed(*(There([LostError("ActorDiedError")]) for _ in range(2))).finish()
    assert here.store.get(here.run.id).status == "failed"


def test_stop_saves_what_there_is(here, followed):
    one = followed(there := There([lambda: one._told_to_stop() or News(), News(code=130, status="stopped")]))
    with pytest.raises(KeyboardInterrupt):
        one.finish()
    assert here.store.get(here.run.id).status == "stopped" and "stop" in there.asked


def test_one_far_beyond_its_budget_is_ended(here, followed, monkeypatch):
    monkeypatch.setattr(relay, "longest", lambda run: -1.0)
    there = There([News(), News(code=130, status="stopped")])
    with pytest.raises(FramiError, match="longer than its budget"):
        followed(there).finish()
    assert "stop" in there.asked


@pytest.mark.parametrize(
    "news, told",
    [
        (News(code=2, status="failed", error="the first clips alone took the budget"), "the first clips alone"),
        (News(code=1, log="Traceback\nOSError: no room\n"), "OSError: no room"),
        (News(code=-9), "perhaps because memory ran out; Resume"),
        (News(code=0, status="stopped"), "stopped on the cluster; Resume"),
    ],
)
def test_how_it_failed_is_told(here, followed, news, told):
    with pytest.raises(FramiError, match=told):
        followed(There([news])).finish()
    assert told.split(";")[0] in here.store.get(here.run.id).error


def test_workers_of_another_version_are_waited_for(sent, here, followed, monkeypatch):
    """And a connection that is lost before a worker has the run costs it nothing."""
    other, lost, said = There([News()]), There([News()]), []
    monkeypatch.setattr(other, "ask", lambda *_, **__: "0.0.1")
    monkeypatch.setattr(lost, "ask", lambda *_, **__: (_ for _ in ()).throw(LostError("ConnectionError")))
    monkeypatch.setattr(relay.time, "sleep", lambda _: said.append(where.of(here.run).state))
    followed(other, lost, lost, lost, There([sent[2]])).finish()
    assert said == ["other", *3 * ["unreachable"]] and here.store.get(here.run.id).status == "finished"


def test_too_few_gpus_are_waited_for(here, monkeypatch):
    said, answers = [], iter([relay.GpusError("0 GPUs"), SystemExit(15)])

    def opened(*_, **__):
        raise next(answers)

    monkeypatch.setattr(relay, "OnRay", opened)
    monkeypatch.setattr(relay.time, "sleep", lambda _: said.append(where.of(here.run).state))
    with pytest.raises(KeyboardInterrupt):  # so ends what Ray's own handler of SIGTERM raises
        Relay(here.store, here.run.id, "ray://host:1", 0.25).finish()
    assert said == ["lacking"]


def test_a_ray_of_the_studio_that_has_ended_is_told(here, monkeypatch):
    (here.run.folder / "address").write_text('{"address": "127.0.0.1:1", "token": "x"}')

    def opened(*_, **__):
        raise relay.UnreachableError("no")

    monkeypatch.setattr(relay, "OnRay", opened)
    monkeypatch.setattr(relay.local_ray, "allow", lambda _: None)
    monkeypatch.setattr(relay.time, "sleep", lambda _: None)
    with pytest.raises(FramiError, match="own Ray has ended; Resume"):
        Relay(here.store, here.run.id, str(here.run.folder / "address"), None).finish()


@pytest.mark.slow
def test_a_signal_ends_one_that_waits_for_its_cluster(here):
    """A process of its own, into which Ray puts a handler of its own; it says no address."""
    command = [sys.executable, "-m", "frami.distill.relay", "ray://127.0.0.1:1", "", here.run.id]
    environment = os.environ | {"FRAMI_HOME": str(here.run.folder.parents[1]), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: (found := where.of(here.store.get(here.run.id))) and found.state, 60)
    time.sleep(6)  # now Ray asks there
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "127.0.0.1" not in said
    assert here.store.get(here.run.id).status == "waiting"


def test_what_goes_to_a_worker_is_the_teacher_and_the_last_checkpoint(here, tiny_teacher):
    (here.run.folder / "bank" / "shards").mkdir(parents=True)
    for name in ("state.pt", "log", "owner", "bank/shards/shard-00000.safetensors"):
        (here.run.folder / name).write_bytes(b"x")
    order, contents = Relay(here.store, here.run.id, "ray://host:1", None)._order(here.request, "cpu")
    assert set(order.files) == set(contents) == {
        "given/tiny.safetensors", "given/tiny.json", "state.pt", "bank/shards/shard-00000.safetensors",
    }  # fmt: skip
    assert order.settings["teacher"] == "tiny" and str(tiny_teacher.parent) not in str(order.settings)


def test_no_address_is_told_to_visitors(here, monkeypatch):
    def opened(*_, **__):
        raise FramiError("no Ray cluster answers at ray://host:1 (version mismatch)")

    monkeypatch.setattr(relay, "OnRay", opened)
    with pytest.raises(FramiError, match="version"):
        Relay(here.store, here.run.id, "ray://host:1", None).finish()
    assert "ray://" not in here.store.get(here.run.id).error


def test_a_cluster_that_does_not_answer_is_waited_for(here, monkeypatch):
    """And that is said, in the list too; a stop is heard meanwhile."""
    said, answers = [], iter([relay.UnreachableError("no"), relay.UnreachableError("no"), KeyboardInterrupt()])

    def opened(*_, **__):
        raise next(answers)

    monkeypatch.setattr(relay, "OnRay", opened)
    monkeypatch.setattr(relay.signal, "signal", lambda *_: None)
    monkeypatch.setattr(relay.time, "sleep", lambda _: said.append(where.of(here.run)))
    with pytest.raises(KeyboardInterrupt):
        Relay(here.store, here.run.id, "ray://host:1", None).finish()
    assert [one.state for one in said] == ["unreachable"] * 2
    assert here.store.get(here.run.id).status == "waiting", "the queue says whether it is stopped or goes on waiting"
