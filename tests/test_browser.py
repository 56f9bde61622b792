"""An exported page: the folder, and what it does in a real browser with a feigned microphone."""

import functools
import gzip
import hashlib
import json
import threading
import time
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from frami import audio, audio_input, browser, checkpoints, export, files, quantisation
from frami.checkpoints import Checkpoint
from tests.helpers.cli import run
from tests.helpers.studio import chromium, microphone_flags

ROOT = Path(__file__).parents[1]
#: A digit that the student knows, as the studio ships it.
SPOKEN, LABEL = ROOT / "assets" / "samples" / "fsdd" / "four-en-us.flac", "four"
STUDENT = "fsdd-tiny"
RATE = 22_050


# ----------------------------------------------------------------------------------------------------- the runtime


def test_the_vendored_runtime_is_the_pinned_one():
    """Each file is what its manifest says, and the version is that of ``deploy/vendor.py``."""
    manifest = files.read_json(browser.RUNTIME / browser.MANIFEST)
    source = (ROOT / "deploy" / "vendor.py").read_text()
    assert f'"{manifest["package"]}", "{manifest["version"]}"' in source and manifest["integrity"] in source
    there = {path.name for path in browser.RUNTIME.iterdir()}
    assert there == {*manifest["files"], browser.MANIFEST} and "LICENSE" in there
    for name, row in manifest["files"].items():
        content = (browser.RUNTIME / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (row["bytes"], row["sha256"]), name
        if "unpacked_sha256" in row:
            assert hashlib.sha256(gzip.decompress(content)).hexdigest() == row["unpacked_sha256"], name
    assert f"v{manifest['version']}" in (browser.RUNTIME / browser.runtime()["script"]).read_text()[:200]


# ------------------------------------------------------------------------------------------------------ the folder


@pytest.fixture
def quick_export(monkeypatch):
    """A file in place of the ONNX one, which takes seconds."""

    def made(network, path, input):
        Path(path).write_bytes(b"onnx")
        return {"difference": 0.0}

    monkeypatch.setattr(export, "onnx", made)


def test_the_folder_is_there_as_a_whole_and_replaces_its_own_kind_alone(quick_export, tmp_path, capsys):
    out = tmp_path / "site"
    export_page = ["export", STUDENT, "--format", "web", "--out", out]
    status, told, err = run(capsys, *export_page)
    assert status == 0 and "http.server" in told, err
    assert {path.name for path in out.iterdir()} == set(browser.FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["site"], "nothing is left beside it"
    assert run(capsys, *export_page)[0] == 2
    (out / "model.onnx").write_bytes(b"old")
    assert run(capsys, *export_page, "--overwrite")[0] == 0
    assert (out / "model.onnx").read_bytes() == b"onnx"
    (out / "diary.txt").write_text("mine")
    status, _, err = run(capsys, *export_page, "--overwrite")
    assert status == 2 and "diary.txt" in err and "--out" in err
    status, _, err = run(capsys, *export_page[:-1], out / "diary.txt")
    assert status == 2 and "no folder" in err


def test_what_fails_leaves_the_page_that_was_there(quick_export, tmp_path, monkeypatch, teacher):
    out = tmp_path / "site"
    browser.site(teacher, out)
    before = (out / "index.html").read_bytes()

    def stopped(card):
        raise KeyboardInterrupt

    monkeypatch.setattr(browser, "_html", stopped)
    with pytest.raises(KeyboardInterrupt):
        browser.site(teacher, out, overwrite=True)
    assert (out / "index.html").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_page_with_a_smaller_network_says_what_that_costs(tmp_path, monkeypatch, capsys):
    asked = []

    def lowered(network, path, input, precision, material, force):
        asked.append((network.card.name, input, precision, force))
        path.write_bytes(b"small")
        return {"path": str(path), "bytes": 5, "agreement": 0.985, "unseen": 200, "recordings": None}

    monkeypatch.setattr(quantisation, "gather", lambda *_: None)
    monkeypatch.setattr(quantisation, "export", lowered)
    out = tmp_path / "site"
    status, told, err = run(capsys, "export", STUDENT, "--format", "web", "--precision", "int8", "--out", out)
    assert status == 0 and "agrees with float32 on 98.5% of 200 unseen made clips" in told, err
    assert asked == [(STUDENT, "waveform", "int8", False)] and (out / "model.onnx").read_bytes() == b"small"

    def refused(*_, **__):
        raise quantisation.PrecisionError(Path("model.onnx"), "it agrees seldom", "--force")

    monkeypatch.setattr(quantisation, "export", refused)
    command = ["export", STUDENT, "--format", "web", "--precision", "int8", "--out", tmp_path / "other"]
    status, _, err = run(capsys, *command)
    assert status == 2 and f"{tmp_path / 'other'} was not written: it agrees seldom; --force" in err, err
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_names_of_classes_are_text_alone(quick_export, tmp_path, teacher):
    """What a card says cannot become a script or an element of the page, and says nothing of this machine."""
    evil = "</script><script>alert(1)</script>"
    card = replace(
        teacher.card, classes=(evil, *teacher.classes[1:]), title='"><img src=x onerror=alert(1)>', dataset="/home/me/x"
    )
    browser.site(Checkpoint(teacher.model, card, teacher.spec), tmp_path / "site")
    text = (tmp_path / "site" / "index.html").read_text()
    assert "<script>alert" not in text and "<img" not in text and "/home/me" not in text
    about = json.loads(text.partition('id="about">')[2].partition("</script>")[0])
    assert about["classes"][0] == evil


def test_the_page_says_what_the_card_says(quick_export, tmp_path):
    student = checkpoints.load(STUDENT)
    browser.site(student, tmp_path / "site")
    text = (tmp_path / "site" / "index.html").read_text()
    card = student.card
    for said in (f"{card.accuracy:.1%} of {card.clips}", card.licence, card.data_licence, "without any recording"):
        assert said in text, said
    assert all(f"<li>{label}</li>" in text for label in card.classes)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text


# ------------------------------------------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "site"
    browser.site(checkpoints.load(STUDENT), out)
    return out


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> Path:
    """A digit with pauses, as a WAV file at the student's rate."""
    sound, rate = soundfile.read(SPOKEN, dtype="float32")
    sound = audio.mono(sound, rate, RATE).numpy()
    path = tmp_path_factory.mktemp("said") / "four.wav"
    soundfile.write(path, np.concatenate([sound, np.zeros(RATE // 2, np.float32)]), RATE, "PCM_16")
    return path


class Served:
    """Any web server: a folder, and the paths that were asked for."""

    def __init__(self, folder: Path):
        self.asked = asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_):
                asked.append(self.path)

        handler = functools.partial(Handler, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def served(site):
    found = Served(site)
    yield found
    found.server.shutdown()
    found.server.server_close()


WATCH = """() => {
  window.answers = [];
  document.querySelector(".frami-browser").addEventListener("answer", ({ detail }) => answers.push({
    logits: [...detail.logits], samples: [...detail.samples], live: detail.live, at: performance.now() }));
}"""


def visit(window, served, **options):
    """A page that must ask no other host and whose console must be quiet."""
    page, trouble = window.new_page(**options), []
    page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    own = (served.address, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else trouble.append(f"asked {r.url}"))
    page.goto(served.address)
    page.wait_for_selector(".frami-browser .listen")
    page.evaluate(WATCH)
    return page, trouble


def of_onnxruntime(site: Path, samples) -> np.ndarray:
    session = onnxruntime.InferenceSession(site / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"waveform": np.asarray(samples, np.float32)[None]})
    return logits[0]


def until(page, expression: str, seconds: float = 120) -> None:
    """Wait for what Playwright's own waiting asks by eval, which the page's policy refuses."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, page.locator(".status").text_content()
        page.wait_for_timeout(100)


def answered(page, number: int = 1):
    until(page, f"answers.length >= {number}")
    return page.evaluate("answers.at(-1)")


@pytest.mark.slow
def test_a_file_is_recognised_as_in_python_without_a_request(browser, served, site, said):
    page, trouble = visit(browser, served)
    assert sorted(served.asked) == ["/", "/page.css", "/page.js"], "no byte of the network before it is asked for"
    page.locator(".file input").set_input_files(said)
    answer = answered(page)
    assert page.locator(".verdict b").text_content() == LABEL
    sound, _ = soundfile.read(said, dtype="float32")
    prepared = audio_input.prepared(torch.from_numpy(sound), RATE, checkpoints.load(STUDENT).spec).samples.numpy()
    assert np.allclose(answer["samples"], prepared, atol=1e-4), "trimmed as the studio trims"
    assert np.abs(np.array(answer["logits"]) - of_onnxruntime(site, prepared)).max() < 1e-3
    assert f"{LABEL}, " in page.locator(".status").text_content()
    asked = list(served.asked)
    refused = page.evaluate("fetch('page.js').then(() => false, () => true)")
    assert refused, "the browser itself refuses"
    page.context.set_offline(True)
    page.locator(".file input").set_input_files(said)
    assert np.allclose(answered(page, 2)["logits"], answer["logits"], atol=1e-5) and served.asked == asked
    trouble[:] = [line for line in trouble if "Content Security Policy" not in line]  # of that very request

    # at another rate, as where a browser cannot connect a microphone at the student's
    at = np.arange(48_000) / 48_000
    low, high = (np.sin(2 * np.pi * hertz * at).astype(np.float32) for hertz in (1_000, 15_000))
    resample = "samples => frami.panel.network().resampled(new Float32Array(samples), 48000).then(x => [...x])"
    found = np.array(page.evaluate(resample, low.tolist()))
    inner = np.arange(len(found))[500:-500]
    assert abs(len(found) - RATE) < 60
    assert np.abs(found[inner] - np.sin(2 * np.pi * 1_000 * inner / RATE)).max() < 2e-3
    assert np.abs(np.array(page.evaluate(resample, high.tolist()))[inner]).max() < 1e-3, "no alias"

    page.locator(".file input").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"no sound"})
    until(page, "document.querySelector('.status').textContent.includes('cannot read')")
    assert trouble == []
    page.close()


@pytest.mark.slow
def test_the_microphone_is_heard_ten_times_a_second_and_stops(browser, served, site, said):
    window = browser.browser_type.launch(executable_path=chromium(), args=microphone_flags(said))
    try:
        page, trouble = visit(
            window.new_context(permissions=["microphone"], viewport={"width": 390, "height": 844}), served
        )
        page.locator(".listen").click()
        until(page, "document.querySelector('.frami-browser').dataset.mode === 'listening'")
        asked = list(served.asked)
        until(page, f"document.querySelector('.verdict b').textContent === '{LABEL}'")
        answer = answered(page, 20)
        assert answer["live"] and served.asked == asked, "nothing is sent"
        assert np.abs(np.array(answer["logits"]) - of_onnxruntime(site, answer["samples"])).max() < 1e-3
        between = np.diff(page.evaluate("answers.map(one => one.at)"))
        assert np.median(between) < 400, "about a tenth of a second on an idle machine"
        assert " ms from sound to answer" in page.locator(".answer .facts").text_content()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        said_aloud = page.evaluate(
            "() => new Promise(done => { const seen = [], box = document.querySelector('.frami-spoken');"
            "new MutationObserver(() => seen.push(box.textContent)).observe(box, { childList: true });"
            "setTimeout(() => done(seen), 3000) })"
        )
        assert len(said_aloud) <= 2, "a live region that does not chatter"
        page.locator(".listen").click()
        until(page, "document.querySelector('.frami-browser').dataset.mode === ''")
        count = page.evaluate("answers.length")
        page.wait_for_timeout(500)
        assert page.evaluate("answers.length") == count and trouble == []
    finally:
        window.close()


@pytest.mark.slow
def test_a_microphone_that_is_refused_is_said_in_words(browser, served):
    page, trouble = visit(browser, served)
    page.locator(".listen").click()
    until(page, "/choose a file/.test(document.querySelector('.status').textContent)")
    assert page.locator(".listen").is_enabled() and not trouble
    page.close()
