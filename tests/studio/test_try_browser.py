"""The student in the visitor's own browser: its file, the runtime's address, and what the Try it tab does with both."""

import base64
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

from frami import audio, checkpoints, files
from frami.browser import MANIFEST, RUNTIME, facts
from frami.errors import FramiError
from frami.hosting.owners import EVERYONE
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services.browser_students import BrowserStudents
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.recognition import Recognition
from frami.studio.services.syntheses import Syntheses
from tests.helpers.studio import chromium, microphone_flags

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets" / "samples" / "fsdd" / "four-en-us.flac"
ARTEFACTS = ROOT / "test-artefacts"
STUDENT = "bundled:fsdd-tiny"


@pytest.fixture
def students(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    known = Distillations(Queue(Runs()), checkpoints.load, ["fsdd", "esc10"])
    return BrowserStudents(
        Recognition(known, ClipLookup(Syntheses(tmp_path), ROOT / "assets" / "gallery", checkpoints.load))
    )


def test_a_student_is_exported_once_and_no_other_file_is_given(students, monkeypatch):
    made = []
    monkeypatch.setattr(
        students, "_exported", lambda source, sha256: made.append((Path(source).name, sha256)) or b"onnx"
    )
    reply = students.model({"teacher": "fsdd", "student": STUDENT}, EVERYONE)
    card = checkpoints.read_card(checkpoints.resolve("fsdd-tiny"))
    assert made == [("fsdd-tiny", card.sha256)] and base64.b64decode(reply.pop("onnx")) == b"onnx"
    assert reply == facts(card) and reply["classes"] == list(card.classes) and reply["rate"] == 22_050
    for request in (
        {"teacher": "esc10", "student": STUDENT},
        {"teacher": "fsdd", "student": "bundled:fsdd"},
        {"teacher": "fsdd", "student": "run:../../etc"},
        {"teacher": "fsdd"},
        {"teacher": "nobody", "student": STUDENT},
        None,
        [],
    ):
        with pytest.raises(FramiError):
            students.model(request, EVERYONE)
    assert len(made) == 1


def fetch(address: str) -> tuple[int, bytes, str]:
    try:
        with urllib.request.urlopen(address, timeout=60) as reply:
            return reply.status, reply.read(), reply.headers.get("content-encoding", "")
    except urllib.error.HTTPError as error:
        return error.code, b"", ""


def test_the_runtime_comes_from_the_studio_and_nothing_else_does(studio):
    manifest = files.read_json(RUNTIME / MANIFEST)
    for name, row in manifest["files"].items():
        status, content, _ = fetch(f"{studio.address}onnxruntime-web/{name}")
        assert (status, len(content)) == (200, row["bytes"]), name
    for name in ("manifest.json", "..%2f..%2fapp.py", "nothing.mjs"):
        assert fetch(f"{studio.address}onnxruntime-web/{name}")[0] == 404, name


def opened(page):
    page.get_by_role("tab", name="Try it").click()
    page.wait_for_selector(".frami-samples[data-teacher=fsdd] button")
    page.locator(".frami-inbrowser").scroll_into_view_if_needed()
    page.evaluate(
        "() => { window.answers = [];"
        "document.querySelector('#try-browser .frami-browser').addEventListener('answer',"
        "({ detail }) => answers.push({ live: detail.live })) }"
    )
    return page


@pytest.mark.slow
def test_a_student_runs_in_the_page_without_a_request(browser, open_page, tmp_path):
    """The runtime on a click alone; then a sound that was clicked, a file and the microphone, without the studio."""
    sound, rate = soundfile.read(SAMPLE, dtype="float32")
    sound = np.concatenate([audio.mono(sound, rate, 22_050).numpy(), np.zeros(11_025, np.float32)])
    soundfile.write(tmp_path / "said.wav", sound, 22_050, "PCM_16")
    window = browser.browser_type.launch(executable_path=chromium(), args=microphone_flags(tmp_path / "said.wav"))
    try:
        page = open_page(context=window.new_context(permissions=["microphone"]))
        asked = []
        page.on("request", lambda request: asked.append(request))
        opened(page)
        assert not [one.url for one in asked if "onnxruntime" in one.url], "no byte of it before a click"
        page.locator("#try-samples button", has_text="four").first.click()
        page.wait_for_selector(".frami-try[data-state=predicted]", timeout=60_000)
        panel = page.locator("#try-browser .frami-browser")
        panel.locator(".sample").click()
        page.wait_for_function("answers.length === 1", timeout=180_000)
        assert panel.locator(".verdict b").text_content() == "four"
        loaded = [one.url for one in asked if "onnxruntime" in one.url]
        assert len(loaded) == 2 and all("?v=" in url for url in loaded)

        del asked[:]
        panel.locator(".file input").set_input_files(tmp_path / "said.wav")
        page.wait_for_function("answers.length === 2", timeout=60_000)
        panel.locator(".listen").click()
        page.wait_for_function("answers.filter(one => one.live).length >= 10", timeout=60_000)
        assert panel.get_attribute("data-heard") == "four"
        sent = [one.url for one in asked if len(one.post_data_buffer or b"") > 1000 or "upload" in one.url]
        assert sent == [], "no sound leaves the machine"
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / "try-browser.png", full_page=True)
        page.get_by_role("tab", name="Listen").click()
        page.wait_for_selector("#try-browser .frami-browser[data-mode='']", state="attached", timeout=20_000)
        assert "left" in panel.locator(".status").text_content()
    finally:
        window.close()


@pytest.mark.slow
def test_the_file_that_a_page_gets_answers_as_the_student(students):
    student = checkpoints.load("fsdd-tiny")
    reply = students.model({"teacher": "fsdd", "student": STUDENT}, EVERYONE)
    session = onnxruntime.InferenceSession(base64.b64decode(reply["onnx"]), providers=["CPUExecutionProvider"])
    sound, rate = soundfile.read(SAMPLE, dtype="float32")
    samples = audio.mono(sound, rate, reply["rate"])
    (logits,) = session.run(["logits"], {"waveform": samples[None].numpy()})
    own = student.model(student.spec(samples)[None, None]).logits.numpy()
    assert np.abs(logits - own).max() < 1e-3
