"""``frami listen``: files, pipes, both kinds of networks, and how much memory it takes."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from frami import audio, checkpoints, streams
from frami.listening import Listener, ListenError, Settings, listen, onnx
from frami.listening.answers import event_window
from tests.helpers.cli import run
from tests.helpers.listening import RATE, sound, tones_onnx

ROOT = Path(__file__).parents[2]
PIECES = [("low", 2.0), (None, 1.0), ("high", 1.5), ("low", 1.5)]


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    return tones_onnx(tmp_path_factory.mktemp("onnx") / "tones.onnx")


@pytest.fixture
def long(tmp_path) -> Path:
    soundfile.write(tmp_path / "long.wav", sound(*PIECES), RATE)
    return tmp_path / "long.wav"


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "frami", "listen", *map(str, arguments)]


# --- answers ---------------------------------------------------------------------------------------------------------


def test_windows_of_a_file(capsys, tones, long):
    status, out, err = run(capsys, "listen", tones, long, "--threshold", 0)
    assert status == 0, err
    found = rows(out)
    assert all(set(row) == {"start", "end", "class", "confidence"} for row in found)
    assert [row["start"] for row in found[:3]] == [0, 0.2, 0.4] and found[0]["end"] == 0.4, "of the card"
    assert not any(row["start"] >= 2 and row["end"] <= 3 for row in found), "silence has no answer"
    assert {row["class"] for row in found if row["end"] <= 2} == {"low"}
    assert {row["class"] for row in found if row["start"] >= 3 and row["end"] <= 4.5} == {"high"}
    assert found[-1]["end"] == 6.0
    assert re.search(r"00:00:06\.000 of sound, 29 windows, 4 of them silent, 25 answers, real-time factor 0\.\d+", err)


def test_events_of_a_file(capsys, tones, long):
    status, out, _ = run(capsys, "listen", tones, long, "--events", "--window", 0.2, "--hop", 0.05)
    found = rows(out)
    assert status == 0 and [row["class"] for row in found] == ["low", "high", "low"]
    for row, (onset, offset) in zip(found, [(0, 2), (3, 4.5), (4.5, 6)], strict=True):
        assert abs(row["start"] - onset) < 0.1 and abs(row["end"] - offset) < 0.1, "half a window"
        assert row["windows"] > 20 and row["peak"] >= row["confidence"] > 0.5


def test_events_have_windows_of_their_own_unless_they_are_given(capsys, tones, long, tmp_path):
    for words, told in (([], "0.4 s each 0.2 s"), (["--events"], "0.6 s each 0.15 s"),
                        (["--events", "--window", "0.2"], "0.2 s each 0.05 s"),
                        (["--events", "--hop", "0.1"], "0.6 s each 0.1 s")):  # fmt: skip
        assert f"windows of {told}" in run(capsys, "listen", tones, long, *words)[2]
    fixed = tones_onnx(tmp_path / "fixed.onnx", length=RATE // 2)
    assert "windows of 0.5 s each 0.125 s" in run(capsys, "listen", fixed, long, "--events")[2], "it takes no other"
    assert event_window(5.0) == 5.5 and event_window(0.4) == pytest.approx(0.6)


def test_several_classes_at_once(capsys, tmp_path):
    several = tones_onnx(tmp_path / "several.onnx", multilabel=True)
    soundfile.write(tmp_path / "x.wav", sound(("low", 1), ("low+high", 1)), RATE)
    _, out, _ = run(capsys, "listen", several, tmp_path / "x.wav", "--events", "--threshold", 0.6)
    assert {row["class"]: round(row["start"]) for row in rows(out)} == {"low": 0, "high": 1}


def test_a_terminal_gets_lines_for_people(tones, long):
    pty = pytest.importorskip("pty")
    import os

    main, other = pty.openpty()
    done = subprocess.Popen(command(tones, long, "--events"), stdout=other, stderr=subprocess.PIPE, cwd=ROOT)
    done.wait(60)
    os.close(other)
    lines = os.read(main, 1 << 16).decode().splitlines()
    assert done.returncode == 0 and len(lines) == 3
    assert re.fullmatch(r"00:00:00\.000 – 00:00:0[12]\.\d{3}  +\d+\.\d%  low", lines[0]), lines


def test_raw_samples_are_the_file(capsys, tones, long, monkeypatch):
    x, _ = soundfile.read(long, dtype="int16")
    expected = run(capsys, "listen", tones, long)[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(x.tobytes())))
    assert run(capsys, "listen", tones, "-", "--rate", RATE)[1] == expected


def test_answers_come_while_the_sound_does(tones):
    """The first half of a pipe is answered before the second comes, and Ctrl-C ends it in peace."""
    x = (sound(("low", 1), ("high", 1)) * 32_767).astype("<i2").tobytes()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(tones, "-", "--events"), cwd=ROOT, text=False, **pipes) as process:
        process.stdin.write(x)
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        assert (first["class"], first["start"]) == ("low", 0.0)
        time.sleep(1.5)  # it has read all of it by then
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)  # by the signal: the pipe is still open
        out, err = process.communicate()
    assert process.returncode == 0 and [row["class"] for row in rows(out.decode())] == ["high"]
    assert "stopped after 00:00:0" in err.decode() and "Traceback" not in err.decode()


@pytest.mark.parametrize("choices", [{}, {"window": 0.1, "hop": 0.03}, {"window": 0.3, "hop": 1.0}])
def test_blocks_make_no_difference(tones, choices):
    """Answers and events are the same, whatever pieces the sound comes in."""
    x, found = sound(*PIECES), []
    for size in (len(x), 4_000, 173):
        for events in (False, True):
            listener = Listener(onnx(tones), Settings(events=events), **choices)
            source = streams.Source(RATE, iter([x[k : k + size] for k in range(0, len(x), size)]))
            found.append([one.row() for one in listen(listener, source)])
    assert found[0] == found[2] == found[4] and found[1] == found[3] == found[5] and found[0] and found[1]
    assert all(row["end"] <= 6.001 for row in found[1])


def test_a_checkpoint_hears_what_it_hears_in_a_clip(capsys, tiny_teacher, tmp_path):
    """The whole of a sound as one window: its own prediction."""
    x = np.random.default_rng(0).standard_normal(11_025).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "x.wav", x, 22_050)
    teacher = checkpoints.load(tiny_teacher)
    status, out, err = run(
        capsys, "listen", tiny_teacher, tmp_path / "x.wav", "--window", 0.5, "--threshold", 0, "--threads", 1
    )
    assert status == 0, err
    with torch.no_grad():
        logits = teacher.model(teacher.spec(audio.load(tmp_path / "x.wav"))[None, None]).logits[0]
    (row,) = rows(out)
    assert (row["class"], row["end"]) == (teacher.classes[int(logits.argmax())], 0.5)
    assert row["confidence"] == pytest.approx(float(logits.softmax(0).max()), abs=2e-4)


def test_a_file_with_one_length(capsys, tmp_path):
    fixed = tones_onnx(tmp_path / "fixed.onnx", length=RATE // 2)
    soundfile.write(tmp_path / "x.wav", sound(("low", 0.3)), RATE)
    _, out, _ = run(capsys, "listen", fixed, tmp_path / "x.wav")
    assert [(row["class"], row["end"]) for row in rows(out)] == [("low", 0.3)]
    status, _, err = run(capsys, "listen", fixed, tmp_path / "x.wav", "--window", 1)
    assert status == 2 and "0.5 s only" in err


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["gone.onnx", "long.wav"], "frami export"),
        (["text.onnx", "long.wav"], "not readable as ONNX"),
        (["mel.onnx", "long.wav"], "--input waveform"),
        (["foreign.onnx", "long.wav"], "frami export"),
        (["classes.onnx", "long.wav"], "metadata"),
        (["rate.onnx", "long.wav"], "metadata"),
        (["tones.onnx", "gone.wav"], "no such sound file"),
        (["tones.onnx", "long.wav", "--gap", "1"], "--events"),
        (["tones.onnx", "long.wav", "--rate", "8000"], "leave them out"),
        (["tones.onnx", "long.wav", "--threshold", "2"], "between 0 and 1"),
        (["nobody", "long.wav"], "nobody"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, long, arguments, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("no network")
    tones_onnx(tmp_path / "tones.onnx")
    tones_onnx(tmp_path / "mel.onnx", input="mel")
    tones_onnx(tmp_path / "foreign.onnx", input=None)
    tones_onnx(tmp_path / "classes.onnx", classes='{"a": 1}')
    tones_onnx(tmp_path / "rate.onnx", sample_rate="0")
    status, out, err = run(capsys, "listen", *arguments)
    assert (status, out) == (2, "") and word in err and err.count("\n") == 1, err


def test_without_a_card_a_window_is_a_second(tmp_path):
    for card in (None, "no JSON", "[1]", '{"seconds": -1}', '{"seconds": "x"}'):
        assert onnx(tones_onnx(tmp_path / "x.onnx", card=card)).window == 1.0
    assert onnx(tones_onnx(tmp_path / "x.onnx", card='{"seconds": 3600}')).window == 30.0


def test_a_network_that_refuses_a_window(tones):
    with pytest.raises(ListenError, match="--window"):
        onnx(tones).answer(np.zeros((1, 5, 2), np.float32))


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sound(tones, tmp_path):
    """A quarter of an hour takes as much as a minute, though it alone would be 170 MB in floats at the file's rate."""
    peaks = []
    for minutes in (1, 15):
        path = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(path, "w", 48_000, 1) as file:
            minute = sound(("low", 20), (None, 20), ("high", 20), rate=48_000)
            for _ in range(minutes):
                file.write(minute)
        code = "import resource, sys\nfrom frami.cli import main\nmain(sys.argv[1:])\n"
        code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        arguments = ["listen", str(tones), str(path), "--events", "--shortest", "1"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280
        )
        *found, peak = done.stdout.splitlines()
        assert done.returncode == 0 and len(found) == 2 * minutes, done.stderr
        peaks.append(int(peak) / 1_024)
    assert peaks[1] - peaks[0] < 25, peaks
