"""The students of runs as files: in eight bits, and as a page that runs them."""

import io
import json
import shutil
import threading
import zipfile

import onnxruntime
import pytest

from frami import browser, checkpoints
from frami.errors import FramiError
from frami.paths import ASSETS
from frami.quantisation import exporting
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services import distillations
from frami.studio.services.distillations import FILES, Distillations
from frami.studio.services.troubles import in_words
from frami.weights import paths
from frami.workers import exports, jobs, limits
from frami.workers.teller import Teller

BANK = ASSETS / "explore" / "fsdd" / "frami"


def teller() -> Teller:
    return Teller(lambda value: None, threading.Event())


@pytest.fixture
def store(tmp_path):
    return Runs(tmp_path / "runs" / "runs.sqlite")


@pytest.fixture
def run(store):
    """A run whose student is a bundled one, with clips of its own."""
    run = store.create("distill", "tiny", {"teacher": "fsdd", "student": "tiny"})
    for source, to in zip(paths(checkpoints.resolve("fsdd-tiny")), paths(run.folder / "student"), strict=True):
        shutil.copyfile(source, to)
    shutil.copytree(BANK, run.folder / "bank")
    store.finish(run.id, {"agreement": 0.9})
    return run


@pytest.fixture
def known(store, run):
    return Distillations(Queue(store), checkpoints.load, ["fsdd"])


@pytest.fixture
def here(monkeypatch):
    """Jobs done in this process; what was asked for."""
    asked = []

    def do(job, arguments):
        asked.append(job)
        return jobs.JOBS[job](teller(), **arguments)

    monkeypatch.setattr(distillations, "shared", lambda: type("Pool", (), {"run": staticmethod(do)}))
    return asked


@pytest.mark.slow
def test_eight_bits_calibrated_on_the_runs_own_clips(known, run, here, monkeypatch):
    monkeypatch.setattr(exports, "JUDGING", 40)
    name, content = known.file(run.id, "onnx-int8")
    assert name == f"frami-fsdd-tiny-{run.id}-int8.onnx" and 100_000 < len(content) < 350_000
    about = onnxruntime.InferenceSession(content).get_modelmeta().custom_metadata_map
    measured = json.loads(about["measured"])
    assert (about["precision"], about["input"]) == ("int8", "waveform")
    assert measured["calibration"]["source"] == "the clips of bank" and measured["agreement"] >= 0.95
    assert measured["unseen"] == 40
    assert known.file(run.id, "onnx-int8") == (name, content) and here == ["export-int8"], "made once"


def test_a_page_as_an_archive(known, run, here, monkeypatch):
    monkeypatch.setattr(
        browser.export, "onnx", lambda network, path, input: path.write_bytes(b"onnx") and {"difference": 0}
    )
    name, content = known.file(run.id, "web")
    assert name == f"frami-fsdd-tiny-{run.id}-web.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        tops = {one.split("/")[0] for one in file.namelist()}
        inside = {one.partition("/")[2].partition("/")[0] for one in file.namelist()}
        page = file.read(f"{tops.copy().pop()}/index.html").decode()
    assert tops == {name.removesuffix(".zip")}
    assert inside == {"index.html", "page.css", "page.js", "model.onnx", "onnxruntime-web"}
    assert "runs in this browser" in page and str(run.folder) not in page


@pytest.mark.parametrize("host", ["", "1"])
def test_eight_bits_that_answer_otherwise_are_refused_in_words(run, monkeypatch, host):
    monkeypatch.setenv("FRAMI_HOSTED", host)
    monkeypatch.setattr(exports.quantisation, "export", lambda *_: exporting.refuse(
        {"agreement": 0.9, "unseen": 200, "recordings": None}, run.folder / "student.onnx"
    ))  # fmt: skip
    with pytest.raises(FramiError) as caught:
        exports.export_int8(teller(), source=str(run.folder / "student"), input="mel", bank=None)
    assert in_words(caught.value) == (
        "there is no file in eight bits: it agrees with the float32 network on 90.0% of 200 unseen made clips, less "
        "than 95%; take one in float32"
    )


def test_a_bank_with_few_clips_or_none_is_not_calibrated_on(run, tmp_path):
    network = checkpoints.load("fsdd-tiny")
    assert exports._whole(str(run.folder / "bank"), network) == str(run.folder / "bank")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    for folder in (None, str(tmp_path / "none"), str(tmp_path / "broken")):
        assert exports._whole(folder, network) is None


def test_every_kind_of_file_has_an_ending_of_its_own_and_the_limits_of_exports():
    endings = [distillations._ENDINGS[kind] for kind, _ in FILES]
    assert len(set(endings)) == len(FILES) == 5
    assert {name.partition("-")[0] for name in jobs.JOBS if name.startswith("export")} <= set(limits.LIMITS)
