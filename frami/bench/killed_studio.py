"""A studio at work of which one process is killed (``kill -9``) at a random moment, and what must hold then."""

import hashlib
import io
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import requests

from frami import files, locks
from frami.bench.load import FOLDERS, studio
from frami.bench.visitors import PATIENCE, UNEXPECTED, Record, Refused, Visitor
from frami.errors import FramiError
from frami.runs import Run, Runs
from frami.runs.child import PATIENCE as SAVING
from frami.temporary import PREFIX

#: Kinds of processes that are killed: its name, and what the command line of such a process has in it.
KINDS = {
    "a worker": "frami.workers.worker",
    "a distillation": "frami.runs.child",
    "another process": "",
    "the page": None,
}
#: Seconds until a process is killed at most, and that the studio may take to be whole again.
_MOMENT, _WHOLE = 12.0, 240.0
HALF = re.compile(r"\.[0-9a-f]{8}\..+")
_OVER = ("finished", "failed", "stopped")


@dataclass
class Killed:
    """What came of one kill: the ``kind`` (of ``KINDS``), seconds since the studio was up, what was ``wrong``, and
    whether there was no such process (``none``)."""

    kind: str
    moment: float = 0.0
    wrong: list[str] = field(default_factory=list)
    none: bool = False


class Witness(Visitor):
    """A visitor who does all that can be begun, deletes nothing, and remembers it. ``ended`` : how many syntheses came
    to an end, ``told`` : what was said of those that were not made."""

    ended, told = 0, ()

    def make(self) -> None:
        """Four clips again and again."""
        for _ in self._turns():
            with self._record.click("synthesize"):
                values = self._happen(self._event("generate", "click"), samples=4, steps=10)
                drawn = next((one for one in values if isinstance(one, dict) and "state" in one), {})
                if drawn.get("state") == "error":
                    self.told = (*self.told, str(drawn.get("message")))
                self.ended += 1

    def teach(self) -> None:
        """Two distillations at a time, one at work and one that waits."""
        for _ in self._turns():
            with self._record.click("distil"):
                if sum(row["status"] not in _OVER for row in self.runs()) < 2:
                    values = {"distil-students": ["nano"], "distil-recipes": ["frami-flash"], "distil-seconds": 8}
                    self._happen(self._event("distil-start", "click"), **values, **{"distil-keep": True})

    def export(self) -> None:
        """Download a finished student as ONNX."""
        for _ in self._turns():
            with self._record.click("export"):
                done = [row["id"] for row in self.runs() if row["status"] == "finished"]
                if done:
                    kind = self._chance.choice(("onnx", "onnx-mel"))
                    self._call("distil", "file", {"id": self._chance.choice(done), "kind": kind})

    def explore(self) -> None:
        """A map of the latest clips, until it is drawn."""
        teacher = self._values[self._id("teacher")]
        for _ in self._turns():
            with self._record.click("map"):
                choices = [key for _, key in self._parts["explore-banks"]["props"]["choices"]]
                keys = self._chance.sample(choices, min(2, len(choices)))
                shown = self._happen(self._event("explore-banks", "input"), **{"explore-banks": keys})
                value = shown[0] if shown else {}
                asked = {"teacher": teacher, "keys": keys}
                while value.get("pending") and time.monotonic() < self._until:
                    time.sleep(0.5)
                    value = self._call("explore", "more", asked | {"stamp": value.get("stamp")})

    def upload(self) -> None:
        """A sound, slowly."""
        for _ in self._turns():
            with self._record.click("upload"):
                body = _Slow(400_000)
                headers = {"content-type": f"multipart/form-data; boundary={body.EDGE}"}
                asked = {"headers": headers, "params": {"upload_id": "slow"}, "timeout": PATIENCE}
                answer = self._web.post(f"{self._api}upload", data=body, **asked)
                if not answer.ok:
                    raise Refused(answer.text)

    def runs(self) -> list[dict]:
        """The visitor's distillations as the page draws them."""
        asked = {"teacher": self._values[self._id("teacher")], "seen": {}, "known": True}
        return [row for row in self._call("distil", "runs", asked)["runs"] if row["own"]]

    def resume(self, id: str) -> None:
        self._call("distil", "resume", {"id": id})

    def hears(self, clip: str) -> None:
        """Play a clip of a run. Refused where there is none."""
        self._call("live", "wav", clip)


class _Slow(io.BytesIO):
    """A form with a file of so many bytes that takes a while to be read."""

    EDGE = "edge"

    def __init__(self, size: int):
        disposition = 'Content-Disposition: form-data; name="files"; filename="a.wav"'
        head, end = f"--{self.EDGE}\r\n{disposition}\r\n\r\n", f"\r\n--{self.EDGE}--\r\n"
        super().__init__(head.encode() + bytes(size) + end.encode())

    def read(self, size: int = -1) -> bytes:
        time.sleep(0.05)
        return super().read(size)


def run(hosted: bool, kills: int, chance: random.Random, told: Callable[[Killed], None]) -> None:
    """Kill so many processes of a studio, of each kind in turn; ``told`` is given what came of each. Raises FramiError
    where no studio starts."""
    with TemporaryDirectory(prefix="frami-kills-") as name:
        life = _Life(Path(name), hosted, chance, told)
        while True:
            kinds = _turn(kills, chance)
            kills -= len(kinds)
            with studio(life.folder, hosted) as (process, address):
                life.begin(process, address)
                life.after_page()
                if kinds:
                    with life.crowd():
                        for kind in kinds:
                            life.kill(kind)
            if "the page" not in kinds:  # it has ended in peace
                break
        life.after_end()


def _turn(kills: int, chance: random.Random) -> list[str]:
    """The next kinds, in any order, the page last."""
    return sorted(chance.sample(list(KINDS), min(kills, len(KINDS))), key=lambda kind: kind == "the page")


class _Life:
    """A studio through all of its deaths. ``dead`` : what there was when the page was killed last."""

    def __init__(self, folder: Path, hosted: bool, chance: random.Random, told: Callable[[Killed], None]):
        self.folder, self.hosted, self._chance, self._told = folder, hosted, chance, told
        self.home, self._token, self._record = folder / "home", secrets.token_urlsafe(24), Record()
        self._dead: _Dead | None = None
        self._latest: Killed | None = None

    def begin(self, process, address: str) -> None:
        """The studio is up."""
        self._process, self._address, self._began = process, address, time.monotonic()
        self._witness = self._visitor(Witness)

    def _visitor(self, kind: type[Visitor], token: str | None = None) -> Visitor:
        seed, until = self._chance.randrange(10**6), self._began + 3600
        return kind(self._address, self._record, seed, until, 2.0, token or self._token)

    @contextmanager
    def crowd(self) -> Iterator[None]:
        """Visitors at work, for the block."""
        own = [self._witness, *(self._visitor(Witness) for _ in range(4))]  # a page each
        whats = ("make", "teach", "export", "explore", "upload")
        does = [getattr(one, what) for one, what in zip(own, whats, strict=True)]
        guests = [self._visitor(Visitor, secrets.token_urlsafe(24)) for _ in range(2)]
        does += [guests[0].listen, guests[1].try_it]
        threads = [threading.Thread(target=do, daemon=True) for do in does]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for one in (*own, *guests):
                one.leave()
            for thread in threads:
                thread.join(PATIENCE)

    # ------------------------------------------------------------------------------------- a kill

    def kill(self, kind: str) -> None:
        """At a random moment; what does not hold then is told."""
        killed = Killed(kind)
        time.sleep(self._chance.uniform(0, _MOMENT))
        victim = self._process.pid if kind == "the page" else self._one_of(kind)
        if victim is None and kind == "another process":
            self._told(Killed(kind, none=True))
            kind = killed.kind = "a worker"
            victim = self._one_of(kind)
        if victim is None:
            self._told(Killed(kind, none=True))
            return
        killed.moment = time.monotonic() - self._began
        before = _Dead(self.home, self._process.pid, psutil.Process(victim))
        errors, ended = dict(self._record.errors), self._witness.ended
        psutil.Process(victim).kill()
        before.at = time.time()
        if kind == "the page":
            self._process.wait()
            self._dead, self._latest = before, killed
            return
        with _noted(killed):
            self._goes_on(killed, before, ended)
        for said, count in self._record.errors.items():
            if count > errors.get(said, 0):
                killed.wrong.append(f"a visitor was not told in words: {said}")
        self._told(killed)

    def _one_of(self, kind: str) -> int | None:
        """The number of a process of this kind, once there is one."""
        until = time.monotonic() + (0 if kind == "another process" else 30)
        while True:
            found = []
            for one in below(self._process.pid):
                with suppress(psutil.Error):
                    words = " ".join(one.cmdline())
                    known = next((name for name, mark in KINDS.items() if mark and mark in words), "another process")
                    found += [one.pid] if known == kind else []
            if found or time.monotonic() > until:
                return self._chance.choice(found) if found else None
            time.sleep(0.1)

    def _goes_on(self, killed: Killed, before: "_Dead", ended: int) -> None:
        """Behind the death of another process than the page's."""
        assert self._process.poll() is None, "the page has ended, too"
        play = self._visitor(Witness)
        begin = time.monotonic()
        play.hears(play._parts["gallery"]["props"]["value"]["groups"][0]["clips"][0]["id"])
        assert time.monotonic() - begin < 30, "a click was answered late"
        _await(lambda: _well(self._address), 60, "/health is not ok again")
        _await(lambda: not before.left(), 30, "what the process had started goes on without it")
        if killed.kind == "a distillation":
            self._is_told(before.victim_words[-1])
        _await(lambda: self._witness.ended > ended, _WHOLE, "no synthesis came to an end any more")
        _await(lambda: not self._stale(), 30, lambda: f"locks stayed: {', '.join(self._stale())}")
        for said in self._witness.told:
            assert UNEXPECTED not in said and "\n" not in said, f"a visitor was told: {said}"

    def _is_told(self, id: str) -> None:
        """A distillation whose process was killed is said to have ended, and can be resumed."""
        row = _await(
            lambda: next((row for row in self._witness.runs() if row["id"] == id and row["status"] in _OVER), None),
            30, "a distillation whose process is gone is said to be at work",
        )  # fmt: skip
        if row["status"] != "finished":
            assert row["error"], "nobody is told that the distillation has ended"
            self._witness.resume(id)

    # ------------------------------------------------------------------------------------- the page's end

    def after_page(self) -> None:
        """Behind the death of the page, when it has been started again."""
        before, killed = self._dead, self._latest
        if before is None:
            return
        self._dead = None
        with _noted(killed):
            _await(lambda: not before.left(), SAVING + 10, lambda: f"processes stayed: {', '.join(before.left())}")
            runs = {row["id"]: row for row in self._witness.runs()}
            for id, status in before.runs.items():
                assert id in runs, f"a distillation that was {status} is gone"
                now = runs[id]["status"]
                if status == "finished":
                    assert now == "finished", f"a finished distillation is {now}"
                elif now in ("failed", "stopped"):
                    self._witness.resume(id)
            for path, content in before.files.items():
                assert print_of(path) == content, f"{path.relative_to(self.home)} was finished, and is not as it was"
            for path in list(before.files):
                if path.parent.parent.name == "studio" and path.name.startswith("shard"):
                    self._heard(path.parent)
            _await(lambda: not self._stale(), 30, lambda: f"locks stayed: {', '.join(self._stale())}")
            half = self._half(before.at)
            assert not half, f"half files stayed: {', '.join(half)}"
            own = self._temporary()
            assert not own, f"temporary files of the dead stayed: {', '.join(own)}"
            _await(lambda: _well(self._address), 60, "/health is not ok")
        self._told(killed)

    def _heard(self, folder: Path) -> None:
        """The clips of a run of the witness's are played, those of another one are not."""
        with suppress(Refused):
            self._witness.hears(f"run/{folder.name}/0")
            return
        owner = (folder / ".owner").read_text() if (folder / ".owner").exists() else ""
        mine = hashlib.sha256(self._token.encode()).hexdigest()[:32] in owner
        assert self.hosted and not mine, "finished clips are not played any more"

    def after_end(self) -> None:
        """When the studio has ended in peace: nothing stays behind."""
        killed = Killed("the end")
        with _noted(killed):
            for name in ("temporary", "gradio"):
                assert not list((self.folder / name).rglob("*")), f"{name} files stayed when the studio had ended"
            stale = [str(path.relative_to(self.home)) for path in self.home.rglob(locks.NAME)]
            assert not stale, f"locks stayed: {', '.join(stale)}"
            half = self._half(time.time())
            assert not half, f"half files stayed: {', '.join(half)}"
            log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
            odd = [line for line in log.splitlines() if "unexpected" in line or line.startswith("Traceback")]
            assert not odd, f"the log has {len(odd)} unexpected errors: {odd[0]} {log[-1500:]}"
        if killed.wrong:
            self._told(killed)

    # ------------------------------------------------------------------------------------- what is there

    def _stale(self) -> list[str]:
        """Locks that no living process of the studio has."""
        at_work = {self._process.pid, *(one.pid for one in below(self._process.pid))}
        found = []
        for path in self.home.rglob(locks.NAME):
            with suppress(OSError, ValueError):
                if int(path.read_text()) not in at_work:
                    found.append(str(path.relative_to(self.home)))
        return found

    def _half(self, before: float) -> list[str]:
        """Files that were being written before then, and are not whole."""
        found = []
        for path in self.home.rglob(".*"):
            with suppress(OSError):
                if (HALF.fullmatch(path.name) or path.name.startswith(".deleted-")) and path.stat().st_mtime < before:
                    found.append(str(path.relative_to(self.home)))
        return found

    def _temporary(self) -> list[str]:
        """What lies in the temporary folders and is not the living studio's."""
        found = []
        for name in FOLDERS.values():
            for path in (self.folder / name).iterdir() if name != "home" else ():
                lock = path / locks.NAME
                own = lock.exists() and lock.read_text() == str(self._process.pid)
                found += [] if own and path.name.startswith(PREFIX) else [f"{name}/{path.name}"]
        return found


class _Dead:
    """What there is just before a process is killed: the processes that must end with it, the witness's runs, files
    that are finished."""

    def __init__(self, home: Path, page: int, victim: psutil.Process):
        self.at, self.victim_words = time.time(), victim.cmdline()
        self._processes = [victim, *below(victim.pid)]
        self._words = {one.pid: _words(one) for one in self._processes}
        store: list[Run] = Runs(home / "runs" / "runs.sqlite").list() if home.is_dir() else []
        self.runs = {run.id: run.status for run in store if victim.pid == page}
        self.files: dict[Path, str] = {}
        for folder in (home / "studio").glob("*"):
            with suppress(OSError, ValueError):
                whole = files.read_json(folder / "manifest.json")["complete"]
                for path in sorted(folder.glob("shard-*.safetensors"))[: None if whole else -1]:
                    self._add(path)
        for one in store:
            if one.status == "finished":
                for path in (one.folder / "student.safetensors", one.folder / "student.json"):
                    self._add(path)

    def _add(self, path: Path) -> None:
        with suppress(OSError):
            self.files[path] = print_of(path)

    def left(self) -> list[str]:
        """Those of its processes that live."""
        found = []
        for one in self._processes:
            with suppress(psutil.Error):
                if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(self._words[one.pid])
        return found


@contextmanager
def _noted(killed: Killed) -> Iterator[None]:
    """What does not hold in the block is noted as wrong."""
    try:
        yield
    except (AssertionError, Refused, FramiError) as error:
        killed.wrong.append(str(error))
    except (requests.RequestException, OSError, ValueError, KeyError) as error:
        killed.wrong.append(f"{type(error).__name__}: {error}")


def _await(condition: Callable, seconds: float, otherwise: str | Callable[[], str]):
    """What ``condition()`` gives as soon as it is true; AssertionError with these words after so many seconds."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, otherwise() if callable(otherwise) else otherwise
        time.sleep(0.2)
    return found


def _well(address: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{address}health", timeout=10).ok
    return False


def below(pid: int) -> list[psutil.Process]:
    """Processes that one started, and those that these did."""
    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()[1:4])
    return "?"


def print_of(path: Path) -> str:
    """What tells a file's content from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
