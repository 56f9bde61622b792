"""A hosted studio with several visitors: in two browsers, and by the requests that a hostile one sends."""

import base64
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from frami.hosting import owners
from tests.helpers.queues import until
from tests.helpers.studio import choose_teacher, compare_methods, open_settings
from tests.helpers.visitors import call, config, functions, named, post

ROOT = Path(__file__).parents[2]
#: How a function answers that finds nothing of somebody else's.
REFUSED = "no such|this (.* )?is not (there|here)|nothing is on the map"
ARTEFACTS = ROOT / "test-artefacts"


@pytest.fixture(scope="module")
def studio(start_studio):
    """A studio that strangers share; an abandoned page is missed within seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOSTED", "1")
        patch.setenv("FRAMI_LIMITS", "grace=3,silence=40,waiting_runs=3,uploads=12,upload=5")
        with start_studio(os.environ.get("FRAMI_DATA")) as started:
            yield started


@pytest.fixture
def visit(browser, studio):
    """``visit(shared)``: a page in a browser profile of its own; ``shared`` : what the link that it opens names."""
    profiles = []

    def opened(shared=""):
        profiles.append(browser.new_context(permissions=["clipboard-read", "clipboard-write"]))
        page = profiles[-1].new_page()
        page.set_viewport_size({"width": 1400, "height": 900})
        page.goto(f"{studio.address}?__theme=light" + f"&run={shared}" * bool(shared))
        page.wait_for_selector("#gallery .frami-tile, #live, #distil", state="attached", timeout=60_000)
        return page

    yield opened
    for profile in profiles:
        profile.close()


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def generate(page, steps=None):
    tab(page, "Synthesize")
    if steps:
        open_settings(page)
        page.locator("#steps input[type=number]").fill(str(steps))
        page.locator("#steps input[type=number]").press("Tab")
    page.locator("button#generate").click()


def state(page, name, seconds=60):
    page.wait_for_selector(f"#live .frami-live[data-state='{name}']", timeout=1000 * seconds)


def copied(page, button):
    """What a link names its run by, once this button has copied it."""
    button.click()
    page.wait_for_selector(".sharing .said:has-text('Copied')", timeout=10_000)
    return page.evaluate("navigator.clipboard.readText()").partition("?run=")[2]


@pytest.mark.slow
def test_two_visitors_synthesize_and_one_shows_a_run_to_the_other(visit, studio):
    ada, ben = visit(), visit()
    token = ada.evaluate("localStorage.getItem('frami-visitor')")
    assert re.fullmatch(r"[\w-]{32}", token) and token != ben.evaluate("localStorage.getItem('frami-visitor')")
    generate(ada, 4)
    state(ada, "done")
    run = ada.locator("#live .frami-tile").first.get_attribute("data-id").split("/")[1]
    assert owners.entry(studio.home / "studio" / run).owner
    stored = [path.read_bytes() for path in studio.home.rglob("*") if path.is_file()]
    assert not any(token.encode() in content for content in stored), "the disk has no token"
    ada.reload()
    tab(ada, "Synthesize")
    state(ada, "done")
    assert ada.locator("#live .frami-tile").first.get_attribute("data-id").split("/")[1] == run
    link = copied(ada, ada.locator("#live .copy-link"))
    assert link.startswith(f"{run}.") and len(link) > len(run) + 22
    cleo = visit(shared=link)
    state(cleo, "done")
    assert "Shared with you" in cleo.locator("#live .status").inner_text()
    tile = cleo.locator("#live .frami-tile").first
    tile.click()
    cleo.wait_for_function("() => frami.player.readyState > 0 && !frami.player.error", timeout=10_000)
    assert cleo.locator("button#stop").is_disabled() and not cleo.locator("#live .copy-link").is_visible()
    assert cleo.locator("#download").is_disabled()
    tab(cleo, "Explore")
    cleo.wait_for_selector("#explore .frami-explore[data-teacher]", timeout=20_000)
    assert cleo.locator("#explore-banks label", has_text="Your run").count() == 0
    ada.locator("#live .unshare").click()
    ada.wait_for_selector("#live .said:has-text('nothing any more')")
    ben.goto(f"{studio.address}?run={link}")
    ben.wait_for_selector(".toast-body:has-text('shows nothing any more')", timeout=20_000)
    ARTEFACTS.mkdir(exist_ok=True)
    cleo.screenshot(path=ARTEFACTS / "hosted-shared-run.png")


@pytest.mark.slow
def test_a_page_that_is_closed_ends_its_synthesis_and_a_reload_does_not(visit, studio):
    ada = visit()
    generate(ada, 900)
    state(ada, "running")
    step = int(ada.locator("#live .frami-live").get_attribute("data-step"))
    ada.reload()
    tab(ada, "Synthesize")
    state(ada, "running")
    time.sleep(5)
    assert int(ada.locator("#live .frami-live").get_attribute("data-step")) > step, "it goes on"
    folder = max((studio.home / "studio").iterdir(), key=lambda path: path.stat().st_mtime)
    ada.close()
    until(lambda: (folder / "shards").is_dir() and any((folder / "shards").iterdir()), 40)
    ben = visit()
    generate(ben, 3)
    state(ben, "done", 40)


@pytest.mark.slow
def test_distillations_of_two_visitors(visit, studio):
    ada, ben = visit(), visit()
    for page, seconds in ((ada, 300), (ben, 5)):
        choose_teacher(page, "fsdd")
        tab(page, "Distil")
        compare_methods(page)
        page.locator("#distil-limits").wait_for()
        page.locator("#distil-seconds input").fill(str(seconds))
        page.locator("#distil-seconds input").press("Tab")
        page.locator("button#distil-start:has-text('about')").click()
        page.wait_for_selector("#distil .run .stop:visible", timeout=60_000)
    own = ada.locator("#distil .run", has=ada.locator(".stop:visible"))
    assert own.count() == 1 and ben.locator("#distil .run", has=ben.locator(".stop:visible")).count() == 1
    ids = [
        page.locator("#distil .run", has=page.locator(".stop:visible")).get_attribute("data-id") for page in (ada, ben)
    ]
    assert ids[0] not in [row.get_attribute("data-id") for row in ben.locator("#distil .run").all()]
    ben.wait_for_selector("#distil .run .status:has-text('begins in about')", timeout=10_000)
    bundled = ben.locator("#distil .run", has_text="bundled")
    assert bundled.count() == 1 and not bundled.locator("button:visible, select:visible").count()
    link = copied(ada, own.locator(".copy-link"))
    ARTEFACTS.mkdir(exist_ok=True)
    ada.screenshot(path=ARTEFACTS / "hosted-distil.png", full_page=True)
    cleo = visit(shared=link)
    shown = cleo.locator(f"#distil .run[data-id='{ids[0]}']")
    shown.wait_for(timeout=30_000)
    assert "shared with you" in shown.inner_text() and not shown.locator("button:visible, select:visible").count()
    ada.wait_for_selector("#distil .run[data-status='running']", timeout=60_000)
    ada.close()  # without asking to keep it: the other visitor's turn comes soon
    ben.wait_for_selector(f"#distil .run[data-id='{ids[1]}'][data-status='running']", timeout=90_000)
    ben.locator("#distil-seconds input").fill("9000")
    ben.locator("#distil-seconds input").press("Tab")
    ben.wait_for_selector("button#distil-start[disabled]:has-text('at most 10 min')", timeout=10_000)


#: How what is another's, or nobody's, is refused.
REFUSED = "no such|this (.* )?is not (there|here)|the map has changed|nothing is on the map"


def test_requests_with_the_id_of_anothers_run_find_none(studio):
    """Each function that the page's scripts call, by another visitor and by one without a token."""
    folder = studio.home / "studio" / ("ab" * 6)
    owners.claim(folder, "of ada")
    known, theirs = functions(studio.address), {"teacher": "fsdd", "keys": [f"run-{folder.name}"]}
    assert {"distil.stop", "distil.file", "live.wav", "live.share", "explore.clip", "visitor.beat"} <= set(known)
    wave = (9000 * np.sin(np.arange(9000) / 5)).astype("<i2").reshape(6, -1)
    loud = [base64.b64encode(some.tobytes()).decode() for some in wave]
    asked = {
        "wav": [f"run/{folder.name}/0", f"explore/fsdd/run-{folder.name}/0"],
        "states": [f"run/{folder.name}/0"],
        "clip": [{"teacher": "fsdd", "keys": [f"run-{folder.name}"], "id": f"explore/fsdd/run-{folder.name}/0"}],
        "more": [{"teacher": "fsdd", "keys": [f"run-{folder.name}"], "stamp": ""}],
        "runs": [{"teacher": "fsdd", "seen": {}, "known": True}],
        "pictures": [[f"run/{folder.name}/0"]],
        "beat": [{}],
        "recorded": [{"teacher": "fsdd"}],
        "work": [{}],
        "learnt": [{"teacher": "fsdd"}],
        "placed": [{"teacher": "fsdd", "keys": ["frami"], "token": folder.name}],
        "selection": [theirs | {"rows": {f"run-{folder.name}": [0]}}],
        "bundle": [theirs | {"rows": {f"run-{folder.name}": [0]}}],
        "students": [theirs],
        "agreement": [theirs | {"student": f"run:{folder.name}"}],
        "pair": [{"teacher": "fsdd", "first": folder.name, "second": folder.name}],
        "live": [{"session": "s", "teacher": "fsdd", "students": [f"run:{folder.name}"], "rate": 16_000, "pcm": loud}],
        "model": [{"teacher": "fsdd", "student": f"run:{folder.name}"}],
        "decided": [{"given": folder.name, "teacher": "fsdd", "network": f"run:{folder.name}", "label": 0}],
        "change": [{"given": folder.name, "teacher": "fsdd", "label": 0}],
        "changing": [folder.name],
        "stop_change": [folder.name],
        "download": [{"name": folder.name}],
        "gallery": [{"name": folder.name}],
    }
    open_to_all = ("runs", "more", "beat", "recorded", "work", "learnt", "students")
    for function, component in known.items():
        name = function.rpartition(".")[2]
        for data in asked.get(name, [{"id": folder.name, "kind": "onnx-mel"}]):
            for who in ("ben", None):
                status, answer = call(studio.address, component, name, data, who)
                assert status == 200 and folder.name not in json.dumps(answer.get("runs", answer.get("layers", []))), (
                    name
                )
                if name == "live":
                    assert [one["title"] for one in answer["networks"]] == ["The teacher"], "no student of another"
                elif name not in open_to_all:
                    refused = "Students: choose" if name == "model" else REFUSED
                    assert re.match(refused, answer["error"]), (function, answer)


def test_uploads_are_counted_by_the_server(studio):
    line = "frontier"
    body = f'--{line}\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'.encode()
    body += bytes(4_500_000) + f"\r\n--{line}--\r\n".encode()
    answers = [
        post(studio.address, "gradio_api/upload", body, "dora", f"multipart/form-data; boundary={line}")
        for _ in range(3)
    ]
    assert [status for status, _ in answers] == [200, 200, 413], answers
    assert "at most 12 MB" in answers[2][1] and "FRAMI_LIMITS=none" in answers[2][1]


def test_a_flood_of_runs_is_refused_in_words(studio):
    """Five requests once queued 120 runs of 24 hours."""
    import urllib.request

    page = config(studio.address)
    button = next(part["id"] for part in page["components"] if part["props"].get("elem_id") == "distil-start")
    (event,) = [one for one in page["dependencies"] if [button, "click"] in [list(t) for t in one["targets"]]]
    assert named("dora") is not None
    several = ["micro", "nano", "edge", "tiny"]
    for sizes, budget in ((several, 86400), (several, 60), (["nano"], 86400), (["nano"], None)):
        data = ["fsdd", sizes, ["frami"], ["frami-flash"], [], budget, 0, [], False]
        body = {"data": data, "fn_index": event["id"], "session_hash": "dora"}
        status, answer = post(studio.address, "gradio_api/run/predict", json.dumps(body).encode(), "dora")
        assert status != 200 and "error" in answer, answer
    with urllib.request.urlopen(studio.address, timeout=10) as reply:
        assert reply.status == 200


@pytest.mark.slow
def test_one_address_with_invented_names_shuts_nobody_out(studio):
    """Fifty names upload, open pages and start runs from one address, as a proxy says it; then somebody else does."""
    page = config(studio.address)
    ids = {part["props"].get("elem_id"): part["id"] for part in page["components"]}
    start = next(one["id"] for one in page["dependencies"] if [ids["distil-start"], "click"] in one["targets"])
    line = "frontier"
    sound = f'--{line}\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'.encode()
    sound += bytes(4_500_000) + f"\r\n--{line}--\r\n".encode()

    def ask(what, host, number):
        """Whether it was done, and what was answered."""
        who = {"x_frami_visitor": f"{host.replace('.', '-'):-<28}{number:04}", "x_forwarded_for": f"9.9.9.9, {host}"}
        session = f"{host}-{number}"
        if what == "upload":
            kind = f"multipart/form-data; boundary={line}"
            status, answer = post(studio.address, "gradio_api/upload", sound, kind=kind, **who)
        elif what == "open":
            body = {"component_id": ids["visitor"], "fn_name": "beat", "session_hash": session, "data": {}}
            status, answer = post(studio.address, "gradio_api/component_server/", json.dumps(body).encode(), **who)
        else:
            data = ["fsdd", ["nano"], ["frami"], ["frami-flash"], [], 20, 0, [], False]
            body = {"data": data, "fn_index": start, "session_hash": f"{host}-0"}
            status, answer = post(studio.address, "gradio_api/run/predict", json.dumps(body).encode(), **who)
        return status == 200, str(answer)

    for what, most, tried in (("upload", 10, 12), ("start", 12, 14), ("open", 250, 252)):
        answers = [ask(what, "203.0.113.9", number) for number in range(tried)]
        assert [done for done, _ in answers] == [True] * most + [False] * (tried - most), (what, answers[-1])
        assert "at your network address: at most" in answers[-1][1] and "FRAMI_LIMITS=none" in answers[-1][1]
        done, answer = ask(what, "198.51.100.7", 0)
        assert done, answer
    stored = [path.read_bytes() for path in studio.home.rglob("*") if path.is_file() and "elsewhere" not in path.parts]
    assert not any(b"203.0.113.9" in content for content in stored), "neither the disk nor the log has the address"
