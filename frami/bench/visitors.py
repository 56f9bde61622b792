"""Visitors of a studio without a browser: they send what the page's scripts send, and time the answers."""

import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

#: What the studio says of an error that it did not expect: an error, no polite refusal.
UNEXPECTED = "Something went wrong"
#: Header by which a browser says whose it is (``assets/page/visitor.js``).
TOKEN = "x-frami-visitor"
_ADDRESSES = ip_network("198.18.0.0/15")
#: Seconds after which an answer is not waited for any more.
PATIENCE = 120


@dataclass
class Record:
    """What all visitors saw. ``clicks`` : seconds until the first answer, by kind; ``errors``, ``refusals`` : words and
    how often; ``done`` : how many runs came to their end, by kind."""

    clicks: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    _own: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def click(self, kind: str) -> Iterator[Callable[[], None]]:
        """Time a click until ``answered()`` is called first, or the block ends; what goes wrong is counted."""
        began, spent = time.perf_counter(), []

        def answered() -> None:
            if not spent:
                spent.append(time.perf_counter() - began)

        try:
            yield answered
            answered()
        except Refused as error:
            answered()
            words = str(error)
            self.count(self.errors if UNEXPECTED in words else self.refusals, f"{kind}: {words}")
        except (requests.RequestException, ValueError, KeyError) as error:
            self.count(self.errors, f"{kind}: {type(error).__name__}")
            return
        with self._own:
            self.clicks.setdefault(kind, []).append(spent[0])

    def count(self, where: dict[str, int], what: str) -> None:
        with self._own:
            where[what] = where.get(what, 0) + 1


class Refused(Exception):
    """The studio said why it does not do something."""


class Visitor:
    """One who does the same again and again until ``until`` (``time.monotonic()``).

    address : of the studio, with a slash; pause : mean seconds between two clicks; token : who it is (None: somebody
    new)
    """

    def __init__(self, address: str, record: Record, seed: int, until: float, pause: float, token: str | None = None):
        self._api, self._record, self._until, self._pause = f"{address}gradio_api/", record, until, pause
        self._web, self._chance, self._session = requests.Session(), random.Random(seed), secrets.token_hex(6)
        self._web.headers[TOKEN] = token or secrets.token_urlsafe(24)
        # Each from an address of its own, as a proxy on this machine says it: of the range for measurements (RFC 2544).
        self._web.headers["x-forwarded-for"] = str(_ADDRESSES[seed % _ADDRESSES.num_addresses])
        # As browsers do: a connection that the server has just closed, since it was idle, is opened again.
        self._web.mount("http://", HTTPAdapter(max_retries=Retry(1, status=0, allowed_methods=None)))
        config = self._web.get(f"{address}config", timeout=PATIENCE).json()
        self._parts = {part["props"].get("elem_id"): part for part in config["components"]}
        self._values = {part["id"]: part["props"].get("value") for part in config["components"]}
        self._events = config["dependencies"]

    def leave(self) -> None:
        """End the visit behind what is being done."""
        self._until = 0.0

    def listen(self) -> None:
        """Play clips of the gallery, and choose another teacher now and then."""
        teachers = [name for _, name in self._parts["teacher"]["props"]["choices"]]
        clips = [clip["id"] for group in self._parts["gallery"]["props"]["value"]["groups"] for clip in group["clips"]]
        for _ in self._turns():
            with self._record.click("play"):
                self._call("gallery", "wav", self._chance.choice(clips))
            if self._chance.random() < 0.1:
                with self._record.click("choose a teacher") as answered:
                    changes = [event for event in self._events if [self._id("teacher"), "change"] in event["targets"]]
                    for event in changes[:2]:  # its facts and its gallery; the other tabs are not open
                        self._happen(event, answered, teacher=self._chance.choice(teachers))

    def synthesize(self) -> None:
        """Make four clips, watch them form, play one."""
        for _ in self._turns():
            with self._record.click("synthesize") as answered:
                seed = self._chance.randrange(1000)
                if self._happen(self._event("generate", "click"), answered, samples=4, steps=20, seed=seed):
                    self._record.count(self._record.done, "syntheses")

    def distil(self) -> None:
        """Train a student for 20 seconds, look at its curve, delete it."""
        teacher = self._values[self._id("teacher")]
        for _ in self._turns():
            begun = None
            with self._record.click("distil"):
                values = {"distil-students": ["nano"], "distil-recipes": ["frami-flash"], "distil-seconds": 20}
                shown = self._happen(self._event("distil-start", "click"), **values)
                begun = shown[0]["begun"] if shown else None  # the visit has ended
            while begun and time.monotonic() < self._until:
                with self._record.click("look at the runs"):
                    runs = self._call("distil", "runs", {"teacher": teacher, "seen": {}, "known": True})["runs"]
                    mine = next((run for run in runs if run["id"] == begun), None)
                    if mine is None or mine["status"] in ("finished", "failed"):
                        ended = f"{mine['status']} {mine['error'] or ''}" if mine else "gone"
                        self._record.count(self._record.done, f"students {ended.strip()}")
                        break
                time.sleep(2)
            if begun:
                with self._record.click("stop and delete"):
                    self._remove(begun)

    def try_it(self) -> None:
        """Click the machine-spoken digits."""
        samples = self._parts["try-samples"]["props"]["value"]["groups"][0]["sounds"]
        for _ in self._turns():
            sample = self._chance.choice(samples)["id"]
            with self._record.click("try a sound"):
                self._happen(self._event("try-samples", "select"), event_data={"id": sample})

    # ------------------------------------------------------------------------------------- requests

    def _turns(self) -> Iterator[None]:
        while time.monotonic() < self._until:
            time.sleep(min(self._chance.expovariate(1 / self._pause), max(0.0, self._until - time.monotonic())))
            yield

    def _remove(self, run: str) -> None:
        for _ in range(60):  # it saves its state before it is stopped
            try:
                self._call("distil", "stop", {"id": run})
                self._call("distil", "remove", {"id": run})
                return
            except Refused:
                time.sleep(0.5)

    def _id(self, name: str) -> int:
        return self._parts[name]["id"]

    def _event(self, name: str, happened: str) -> dict:
        return next(event for event in self._events if [self._id(name), happened] in event["targets"])

    def _call(self, name: str, function: str, data):
        """What a function of a component answers."""
        request = {"component_id": self._id(name), "fn_name": function, "session_hash": self._session, "data": data}
        answer = self._web.post(f"{self._api}component_server", json=request, timeout=PATIENCE)
        value = answer.json()
        if isinstance(value, dict) and value.get("error"):
            raise Refused(value["error"])
        return value

    def _happen(self, event: dict, answered: Callable[[], None] = lambda: None, event_data=None, **chosen) -> list:
        """What an event returns; nothing where it goes on when the visit ends.

        Its inputs are those of the page as it opens, but for the ``chosen`` ones, by the components' names.
        """
        own = {self._id(name): value for name, value in chosen.items()}
        request = {
            "fn_index": event["id"],
            "session_hash": self._session,
            "data": [own.get(part, self._values[part]) for part in event["inputs"]],
            "event_data": event_data,
            "trigger_id": event["targets"][0][0],
        }
        if not event["queue"]:
            answer = self._web.post(f"{self._api}run/predict", json=request, timeout=PATIENCE).json()
            return _output(answer)
        joined = self._web.post(f"{self._api}queue/join", json=request, timeout=PATIENCE).json()
        if "event_id" not in joined:
            raise Refused(str(joined.get("detail")))
        stream = self._web.get(
            f"{self._api}queue/data", params={"session_hash": self._session}, stream=True, timeout=PATIENCE
        )
        with stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix(b"data: ")) if line else {}
                if message.get("msg") in ("process_generating", "process_completed"):
                    answered()
                if message.get("msg") == "process_completed":
                    return _output(message["output"])
                if time.monotonic() > self._until:
                    return []  # the visit is over, the page is closed
        raise ValueError("the stream ended")


def _output(answer: dict) -> list:
    if answer.get("error") or answer.get("detail"):
        raise Refused(str(answer.get("error") or answer["detail"]))
    return answer["data"]
