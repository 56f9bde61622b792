"""The page against whoever sends something else than its scripts do; what is seen of it; how errors are told."""

import json
import random
import re
from types import SimpleNamespace

import gradio as gr
import pytest
import requests
from gradio.state_holder import StateHolder
from starlette.middleware import Middleware

from frami.errors import FramiError
from frami.runs.queue import Queue
from frami.studio import build, guard, launch_options
from frami.studio.services.background import Background
from frami.studio.services.sent import SentError
from frami.studio.services.syntheses import Syntheses
from tests.helpers import hostile

#: Requests of the test with random values, over all events and functions.
REQUESTS = 2_000
#: What no answer to a visitor holds: references are given for what was not expected.
RAW = re.compile(r"reference|Traceback|/work/|site-packages|\.py\b|NoneType|unhashable|\bobject\b|[a-z]Error\b")


def nothing(*_, **__):
    raise FramiError("this test starts nothing")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A studio that begins no work, in this process, and its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("FRAMI_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(Queue, "add", nothing)
        patch.setattr(Syntheses, "start", nothing)
        patch.setattr(Background, "start", lambda *_: "")
        demo = build()
        _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True)
        demo.address = address.rstrip("/")
        yield demo
        demo.close()
        demo.end_runs()


def post(page, path, content):
    content = content if isinstance(content, str | bytes) else json.dumps(content)
    kind = {"Content-Type": "application/json"}
    return requests.post(f"{page.address}/gradio_api/{path}", data=content, headers=kind, timeout=60)


def functions(page):
    """Each function that a script may call: number of its component and its name."""
    found = [
        (number, name)
        for number, block in page.blocks.items()
        for name in dir(block)
        if name[0] != "_" and getattr(getattr(block, name, None), "_is_server_fn", False)
    ]
    assert {"wav", "states", "pictures", "runs", "stop", "resume", "remove", "file", "clip", "more"} <= {
        name for _, name in found
    }
    return found


def call(page, component, name, value):
    """``value`` : as JSON."""
    rest = json.dumps({"component_id": component, "fn_name": name, "session_hash": "hostile"})
    return post(page, "component_server", f'{rest[:-1]}, "data": {value}}}')


def happen(page, number, values, more=""):
    """``values`` : of an event's inputs, each as JSON."""
    rest = f'"fn_index": {number}, "session_hash": "hostile"{more}'
    return post(page, "run/predict", f'{{{rest}, "data": [{", ".join(values)}]}}')


def usual(page, number):
    """The values that an event of the page as it opens is sent, each as JSON."""
    return [json.dumps(getattr(block, "value", None), default=str) for block in page.fns[number].inputs]


def in_words(answer, sent=""):
    """An answer that repeats nothing of what was sent, and tells nothing of Python."""
    assert answer.status_code in (200, 400, 422), (answer.status_code, answer.text[:300], sent[:300])
    refused = answer.status_code != 200 or answer.text.startswith('{"error"')
    if refused:
        assert len(answer.text) < 400 and not RAW.search(answer.text), (answer.text[:400], sent[:300])
    return refused


@pytest.mark.slow
def test_whatever_is_sent_is_refused_in_words(page, caplog):
    """Every event and function of the page; one that is new is among them."""
    chance = random.Random(17)
    events = [number for number, event in page.fns.items() if event.targets]
    doors = [("event", number) for number in events] + [("function", pair) for pair in functions(page)]
    refused = 0
    for turn in range(REQUESTS):
        kind, door = doors[turn % len(doors)]
        if kind == "function":
            sent = hostile.value(chance)
            refused += in_words(call(page, *door, sent), f"{door} {sent}")
            continue
        values = usual(page, door)
        if values and chance.random() < 0.9:
            values[chance.randrange(len(values))] = hostile.value(chance)
        else:
            values = [hostile.value(chance) for _ in range(chance.randrange(4))]
        more = f', "event_data": {hostile.value(chance)}' if chance.random() < 0.3 else ""
        refused += in_words(happen(page, door, values, more), f"{door} {values} {more}")
    assert refused > REQUESTS / 2, "most of this is nothing that the page sends"
    assert not [record for record in caplog.records if hasattr(record, "failure")], caplog.text


def test_each_kind_of_component_is_checked(page):
    kinds = {type(block) for event in page.fns.values() for block in event.inputs if not block.stateful}
    assert kinds and all(issubclass(kind, tuple(guard.CHECKS)) for kind in kinds)
    with pytest.raises(FramiError, match="CHECKS"):
        guard.check([gr.ColorPicker(render=False)], ["#000000"])


@pytest.mark.parametrize("address", ["http://example.com/b.zip", "HTTPS://example.com/b", "ftp://example.com", "//x/y"])
def test_files_at_addresses_are_not_fetched(address):
    """Gradio would fetch one before the event's function is called, whatever its size."""
    file = {"path": address, "meta": {"_type": "gradio.FileData"}}
    one, several = gr.File(render=False), gr.File(file_count="multiple", render=False)
    for block, value in ((one, file), (several, [file]), (guard.Api(None, {"type": "object"}), {"sound": [file]})):
        with pytest.raises(SentError, match="uploaded"):
            guard.check([block], [value])
    guard.check(
        [one], [file | {"path": "/tmp/gradio/x.zip", "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/x.zip"}]
    )


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("run/predict", b""), ("run/predict", b"\xff"), ("run/predict", "[]"), ("run/predict", '{"data": 3}'),
        ("run/predict", '{"data": [], "fn_index": 10000}'), ("run/predict", '{"data": [], "fn_index": true}'),
        ("run/nobody", '{"data": []}'), ("call/nobody", '{"data": []}'), ("call/v2/nobody", "{}"),
        ("queue/join", '{"data": []}'), ("queue/join", '{"data": [], "fn_index": -1, "session_hash": "x"}'),
        ("queue/join", '{"data": [], "fn_index": 0, "session_hash": ["x"]}'), ("cancel", "{}"), ("cancel", '"x"'),
        ("component_server", "{}"), ("component_server", '{"component_id": [], "fn_name": "wav", "session_hash": "x"}'),
        ("component_server", '{"component_id": 1, "fn_name": "__init__", "session_hash": "x", "data": ""}'),
        ("component_server", "x" * 5_000_000), ("run/predict", "[" * 100_000), ("upload", b""), ("reset", "{}"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_in_words(page, path, content):
    answer = post(page, path, content)
    assert 400 <= answer.status_code < 500 and len(answer.text) < 400 and not RAW.search(answer.text), answer.text


def test_how_far_an_upload_is_is_asked_in_few_words(page):
    """Gradio remembers each upload that it was asked about."""
    address = f"{page.address}/gradio_api/upload_progress"
    answer = requests.get(address, params={"upload_id": "x" * 50_000}, timeout=60)
    assert answer.status_code == 400 and "the page does not send" in answer.text


def test_numbers_and_lists_are_those_of_the_page(page):
    """The requests by which this was found."""
    names = {getattr(block, "elem_id", None): number for number, block in page.blocks.items()}
    for id in ("sample/fsdd/" + "9" * 5_000, "gallery/fsdd/٣", f"run/{'a' * 12}/0", "gallery/./0", 10**400):
        assert in_words(call(page, names["try-samples"], "wav", json.dumps(id)))
    generate = next(n for n, event in page.fns.items() if (names["generate"], "click") in event.targets)
    labels = [block.elem_id for block in page.fns[generate].inputs]
    for name, value in (
        ("classes", json.dumps([*range(10)] * 100_000)),
        ("classes", json.dumps([*range(10)] * 1_000)),
        ("classes", "[true]"),
        ("samples", "NaN"),
        ("samples", "true"),
        ("steps", "1e999"),
        ("seed", '"٣"'),
    ):
        wrong = usual(page, generate)
        wrong[labels.index(name)] = value
        assert in_words(happen(page, generate, wrong), name)
    assert "starts nothing" in happen(page, generate, usual(page, generate)).text, (
        "as it stands the page's own request is taken"
    )


def test_an_unexpected_error_is_told_by_its_reference(page, caplog, monkeypatch):
    """Of a function and of an event; the log has it under that reference, without what could tell who it was."""
    secret = "KeyError of /tmp/gradio/0a1b2c3d4e5f/my-voice.wav by session 7vlx9q2h3k1"

    def fails(*_, **__):
        raise ValueError(secret)

    names = {getattr(block, "elem_id", None): number for number, block in page.blocks.items()}
    monkeypatch.setattr(type(page.observation._services.galleries), "pictures", fails)
    monkeypatch.setattr(type(page.observation._services.maps), "_choose", fails)
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    event = next(n for n, one in page.fns.items() if (names["explore-banks"], "input") in one.targets)
    answers = [
        call(page, names["gallery"], "pictures", "[]"),
        happen(page, event, usual(page, event)),
    ]
    for answer in answers:
        reference = re.search(r"reference ([0-9a-f]{8})", answer.json()["error"])[1]
        (record,) = [one for one in caplog.records if getattr(one, "reference", None) == reference]
        assert "ValueError" in record.getMessage() and any("test_guard.py" in place for place in record.place)
        for private in ("my-voice", "7vlx9q2h3k1", "0a1b2c3d4e5f"):
            assert private not in record.getMessage() and private not in answer.text
        assert "KeyError" not in answer.text
    assert [answer.status_code for answer in answers] == [200, 500]


def test_health_and_metrics(page, monkeypatch):
    answer = requests.get(f"{page.address}/health", timeout=10)
    value = answer.json()
    assert answer.status_code == 200 and value["status"] == "ok" and value["uptime_s"] > 0
    assert value["workers"] == dict.fromkeys(("distillations", "syntheses", "maps", "processes"), "alive")
    assert value["queue"]["syntheses"] == {"waiting": 0, "running": 0}
    requests.get(f"{page.address}/no-such-page", timeout=10)
    call(page, next(n for n, name in functions(page) if name == "wav"), "wav", '"gallery/fsdd/0"')
    text = requests.get(f"{page.address}/metrics", timeout=10).text
    for name in ("frami_memory_bytes", "frami_waiting", "frami_running", "frami_worker_alive", "frami_answer_seconds"):
        assert re.search(rf"^# TYPE {name} (gauge|summary)$", text, re.MULTILINE), name
    line = re.compile(r'(#.*|\w+(\{\w+="[\w. -]+"(,\w+="[\w.]+")*\})? [0-9.e+-]+)')
    assert all(line.fullmatch(one) for one in text.splitlines()), text
    assert re.search(r'frami_answer_seconds\{event="gallery.wav",quantile="0.95"\} [0-9.]+', text)
    monkeypatch.setattr(Queue, "alive", False)
    answer = requests.get(f"{page.address}/health", timeout=10)
    assert answer.status_code == 503 and answer.json()["workers"]["distillations"] == "dead"
    assert "window.frami" in requests.get(page.address, timeout=10).text, (
        "looks come without being asked for, as on a Space"
    )
    assert "frami_up 0" in requests.get(f"{page.address}/metrics", timeout=10).text


def test_what_a_hosted_studio_adds_takes_nothing_away():
    """Middleware of its own stands before the gate; health and metrics stay."""

    class Counting:
        asked = 0

        def __init__(self, app):
            self.app = app

        async def __call__(self, *request):
            Counting.asked += 1
            await self.app(*request)

    with guard.Studio(analytics_enabled=False) as demo:
        gr.HTML("")
    demo.defaults = {"app_kwargs": {"middleware": [Middleware(Counting)], "title": "Ours"}}
    demo.observation = SimpleNamespace(health=lambda events: {"status": "ok"} | events())
    app, address, _ = demo.launch(prevent_thread_lock=True, quiet=True)
    try:
        before = Counting.asked
        answer = requests.get(f"{address}health", timeout=10)
        assert answer.json() == {"status": "ok", "waiting": 0, "running": 0} and Counting.asked == before + 1
        answer = requests.post(f"{address}gradio_api/component_server", data="{}", timeout=10)
        assert answer.status_code == 400 and Counting.asked == before + 2 and app.title == "Ours"
    finally:
        demo.close()


def test_a_session_that_is_gone_ends_its_stream_quietly(page, caplog):
    answer = requests.get(f"{page.address}/gradio_api/queue/data?session_hash=gone", timeout=10)
    assert "session_not_found" in answer.text and not [one for one in caplog.records if hasattr(one, "failure")]


def test_values_that_are_hostile_are_named_in_words():
    radio = gr.Radio([("One", 1)], label="Pick", render=False)
    for value in (True, "1", [1], None, 2):
        with pytest.raises(SentError, match="Pick"):
            guard.check([radio], [value])
    tick = gr.Checkbox(label="Tick", render=False)
    for value in (1, 0, "true", None, [True]):
        with pytest.raises(SentError, match="Tick"):
            guard.check([tick], [value])
    guard.check([radio, tick], [1, False])


@pytest.mark.parametrize("hosted", ["", "1"])
def test_no_limit_takes_the_gate_or_health_away(monkeypatch, hosted):
    """Hosted, the limits of uploads are given to the application too."""
    monkeypatch.setenv("FRAMI_HOSTED", hosted)
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, **options: options["app_kwargs"])
    with guard.Studio() as page:
        page.defaults = launch_options()
    for given in ({}, launch_options()):
        options = page.launch(**given)
        assert {route.path for route in options["routes"]} == {
            "/health",
            "/metrics",
            "/share.png",
            "/apple-touch-icon.png",
            "/onnxruntime-web/{name}",
        }
        kinds = [one.cls.__name__ for one in options["middleware"]]
        assert kinds == (["ProxyHeadersMiddleware", "UploadLimits"] if hosted else []) + ["Preview", "Gate"]


def test_so_many_pages_are_remembered_however_many_names_are_sent(monkeypatch):
    """1,500 names once cost 162 MB."""
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    monkeypatch.setenv("FRAMI_LIMITS", "sessions=20")
    with gr.Blocks() as page:
        gr.State(0)
    page.state_session_capacity = launch_options()["state_session_capacity"]
    sessions = StateHolder()
    sessions.set_blocks(page)
    for number in range(1_500):
        sessions[f"name-{number}"]
    assert len(sessions.session_data) == len(sessions.time_last_used) == 20
