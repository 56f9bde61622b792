"""Try it without a browser: sounds by tokens, listening live, what decided, changes, and whose they are."""

import base64
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from frami import checkpoints
from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.limits import LimitError, Limits
from frami.hosting.owners import EVERYONE, Visitor
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services import listening as listening_service
from frami.studio.services import page_values
from frami.studio.services.changes import Changes
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.listening import Listening
from frami.studio.services.recognition import Recognition
from frami.studio.services.sent import SentError
from frami.studio.services.syntheses import Syntheses
from tests.studio.test_try_it import finished_run

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets" / "samples" / "fsdd" / "four-en-us.flac"
ANNA, BERT = Visitor("a" * 32), Visitor("b" * 32)


@pytest.fixture
def syntheses(tmp_path):
    made = Syntheses(tmp_path, Limits({"waiting_syntheses": 1}))
    yield made
    made.close()


@pytest.fixture
def recognition(tmp_path, monkeypatch, syntheses):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    known = Distillations(Queue(Runs()), checkpoints.load, ["fsdd", "esc10"])
    return Recognition(known, ClipLookup(syntheses, ROOT / "assets" / "gallery", checkpoints.load))


def test_a_sound_is_its_visitors_alone(recognition, tmp_path):
    token = recognition.given.add(SAMPLE, "four", "your sound", ANNA)
    assert recognition.given.find(token, ANNA).path == SAMPLE
    for other, who in ((token, BERT), (token, EVERYONE), ("x", ANNA), (None, ANNA), ({}, ANNA)):
        with pytest.raises(FramiError):
            recognition.given.find(other, who)
    gone = recognition.given.add(tmp_path / "gone.wav", "", "your sound", ANNA)
    with pytest.raises(FramiError, match="give it again"):
        recognition.given.find(gone, ANNA)
    assert recognition.hear(token, ANNA)[:4] == b"RIFF"


def test_students_of_others_are_not_offered_and_not_tried(recognition, teacher, monkeypatch):
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    known = recognition.distillations
    run, sample = finished_run(known.queue.runs, teacher), recognition.sample("sample/fsdd/7")
    owners.claim(run.folder, ANNA.owner)
    key, link = f"run:{run.id}", known.owned.share(run.id, ANNA)
    assert key in recognition.chosen("fsdd", [key], ANNA)
    for who in (BERT, replace(BERT, shared=link), EVERYONE):
        assert key not in [k for _, k in recognition.students("fsdd", who)]
        value = recognition.predictions("fsdd", [key], recognition.given.add(*sample, who), who)
        assert len(value["networks"]) == 1 and "not there any more" in value["cautions"][-1]
    mine = recognition.given.add(*sample, ANNA)
    assert len(recognition.predictions("fsdd", [key], mine, ANNA)["networks"]) == 2


def test_what_decided_is_drawn_and_heard_for_any_class(recognition):
    token = recognition.given.add(SAMPLE, "four", "your sound", ANNA)
    request = {"given": token, "teacher": "fsdd", "network": "", "label": 4}
    value = recognition.decided(request, ANNA)
    picture = value["picture"]
    assert value["class"] == "four" and value["before"] > 0.9 and 0 < value["share"] < 0.4
    assert len(base64.b64decode(value["saliency"])) == picture["clip"]["frames"] * picture["axis"]["bands"]
    assert base64.b64decode(value["sound"])[:4] == b"RIFF"
    for bad in ({"label": 10}, {"label": "4"}, {"network": "run:../x"}, {"teacher": "/etc"}, {"given": "no"}):
        with pytest.raises(FramiError):
            recognition.decided(request | bad, ANNA)


def pieces(samples, rate, seconds=0.4):
    size = int(rate * seconds)
    for at in range(0, len(samples), size):
        content = (32_767 * samples[at : at + size]).astype("<i2").tobytes()
        yield [base64.b64encode(content[i : i + 3_000]).decode() for i in range(0, len(content), 3_000)]


def test_live_pieces_are_recognised_within_bounds(recognition, monkeypatch):
    monkeypatch.setattr(listening_service, "PAUSE", 0)
    samples, rate = soundfile.read(SAMPLE)
    listening = Listening(recognition, Limits({"listening": 120}))
    request = {"session": "one", "teacher": "fsdd", "students": [], "rate": rate}
    said = [
        listening.piece(request | {"pcm": pcm, "begin": not i}, ANNA) for i, pcm in enumerate(pieces(samples, rate))
    ]
    assert said[-1]["state"] == "heard" and said[-1]["networks"][0]["top"][0][0] == "four"
    silence = next(pieces(np.zeros(rate), rate))
    assert listening.piece(request | {"session": "new", "pcm": silence, "begin": True}, ANNA)["state"] == "quiet"
    assert listening.piece(request | {"pcm": silence}, ANNA)["state"] == "ended", "one session for each visitor"
    assert listening.piece(request | {"session": "b", "pcm": silence, "begin": True}, BERT)["state"] == "quiet"
    wrong = [{"pcm": one} for one in (["!!!"], ["AAA="] * 65, "AAAA", [1], None, [], [""])]
    for bad in (*wrong, {"rate": 10**6}, {"rate": None}, {"teacher": "x"}, {"students": ["x"] * 9}):
        with pytest.raises(SentError):
            listening.piece(request | {"session": "new", "pcm": silence} | bad, ANNA)
    with pytest.raises(FramiError, match="than time has passed"):
        for _ in range(400):
            listening.piece(request | {"session": "new", "pcm": silence}, ANNA)
    over = Listening(recognition, Limits({"listening": 0}))
    over.piece(request | {"pcm": silence, "begin": True}, ANNA)
    assert "Start it again" in over.piece(request | {"pcm": silence}, ANNA)["message"]


def test_live_pieces_are_computed_a_few_times_a_second(recognition, monkeypatch):
    now, asked = [0.0], []
    monkeypatch.setattr(listening_service, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Listening, "_heard", lambda *_: asked.append(now[0]) or {"state": "heard", "n": len(asked)})
    listening, rate = Listening(recognition), 8_000
    piece = next(pieces(np.full(3_200, 0.3), rate))
    request = {"session": "one", "teacher": "fsdd", "students": [], "rate": rate, "pcm": piece}
    said = []
    for at in (0.0, 0.1, 0.19, 0.25, 0.3, 0.5):
        now[0] = at
        said.append(listening.piece(request, ANNA)["n"])
    assert asked == [0.0, 0.25, 0.5] and said == [1, 1, 1, 2, 2, 3], "in between the last answer is given again"
    with pytest.raises(SentError, match="sample rate has changed"):
        listening.piece(request | {"rate": 16_000, "begin": True}, ANNA)


def test_a_new_session_for_each_piece_gives_no_more_sound(recognition, monkeypatch):
    monkeypatch.setattr(listening_service, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(Listening, "_heard", lambda *_: {"state": "heard"})
    listening, rate = Listening(recognition), 8_000
    text = base64.b64encode(np.full(1_000, 9_000, "<i2").tobytes()).decode()
    request = {"teacher": "fsdd", "students": [], "rate": rate, "pcm": [text] * 16, "begin": True}  # 2 s
    for k in range(2):  # as far ahead of the clock as one session may be
        listening.piece(request | {"session": f"s{k}"}, ANNA)
    with pytest.raises(FramiError, match="than time has passed"):
        listening.piece(request | {"session": "s2"}, ANNA)


def test_a_change_takes_a_place_among_the_syntheses(recognition, syntheses, teacher):
    changes, token = Changes(syntheses), recognition.given.add(SAMPLE, "four", "your sound", ANNA)
    given = recognition.given.find(token, ANNA)
    id = changes.start(teacher, given, 7, ANNA)
    with pytest.raises(LimitError):
        changes.start(teacher, given, 7, ANNA)
    with pytest.raises(FramiError):
        changes.find(id, BERT)
    for bad in (10, -1, "7", None, True):
        with pytest.raises(SentError):
            changes.start(teacher, given, bad, ANNA)
    deadline = time.monotonic() + 120
    while changes.find(id, ANNA).value()["state"] in ("waiting", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    value = changes.find(id, ANNA).value()
    assert value["state"] == "done" and value["heard"] and value["target"] == "seven" and value["predicted"] == "seven"
    size = value["frames"] * value["axis"]["bands"]
    assert {len(base64.b64decode(value[name])) for name in ("before", "after", "difference")} == {size}
    assert changes.sound(id, "after", ANNA)[:4] == b"RIFF" != changes.sound(id, "before", ANNA)
    stopped = changes.start(teacher, given, 1, ANNA)
    changes.find(stopped, ANNA).stop()
    while not changes.find(stopped, ANNA).done:
        time.sleep(0.05)
    assert changes.find(stopped, ANNA).value()["state"] == "stopped"


def test_pictures_end_where_the_sound_ends(teacher):
    spec = teacher.spec
    rate = spec.sample_rate
    low = (np.hanning(rate) * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)).astype(np.float32)  # without a click
    used = page_values.used_bands(spec(torch.from_numpy(0.3 * low)), spec)
    assert spec.n_mels // 4 <= used < spec.n_mels * 0.8
    axis = page_values.cropped(page_values.axis(spec), used)
    assert axis["bands"] == used and all(band < used for _, band in axis["ticks"])
