"""Another class is heard after a small change of a sound, and what did not succeed says so."""

import json
from pathlib import Path

import pytest

from frami import audio_input
from frami.cli import main
from frami.errors import FramiError
from frami.inversion.change import change

SAMPLE = Path(__file__).parents[2] / "assets" / "samples" / "fsdd" / "four-en-us.flac"


@pytest.fixture(scope="module")
def mel(teacher):
    return teacher.spec(audio_input.read(SAMPLE, teacher.spec).samples)


def test_a_small_change_makes_another_class_heard(teacher, mel):
    states = list(change(teacher, mel, 7))
    last = states[-1]
    assert last.finished and not any(state.finished for state in states[:-1]) and len(states) > 3
    assert last.heard and last.predicted == 7 and last.start < 0.1 and last.confidence >= 0.8
    assert 0.1 < last.decibels < 4 and 0 < last.share <= 1
    assert last.after.shape == mel.shape and last.difference.abs().max() > 0.1
    logits = teacher.model(last.after[None, None]).logits
    assert int(logits.argmax()) == 7, "the teacher itself hears it"
    assert (last.before - mel).abs().max() < 1e-4 or last.before.shape == mel.shape


def test_the_nearness_keeps_the_change_small(teacher, mel):
    near, free = (list(change(teacher, mel, 1, steps=30, near=weight))[-1] for weight in (1.0, 0.0))
    assert near.decibels < free.decibels


def test_too_few_steps_do_not_succeed_and_say_so(teacher, mel):
    last = list(change(teacher, mel, 9, steps=1))[-1]
    assert not last.heard and last.predicted == 4 and last.finished


def test_what_cannot_be_changed_is_refused_at_the_call(teacher, mel):
    for bad in ({"target": 10}, {"target": -1}, {"target": 1, "steps": 0}, {"target": 1, "near": float("nan")}):
        with pytest.raises(FramiError):
            change(teacher, mel, **bad)
    with pytest.raises(FramiError, match="too long"):
        change(teacher, mel.repeat(1, 100), 1)


def test_the_command_writes_before_after_and_a_report(tmp_path, capsys):
    out = tmp_path / "seven"
    arguments = ["synthesize", "--teacher", "fsdd", "--from", str(SAMPLE), "--class", "seven", "--steps", "40"]
    assert main([*arguments, "--vocoder", "griffin-lim", "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"before.wav", "after.wav", "change.json", "spectrograms.safetensors"}
    report = json.loads((out / "change.json").read_text())
    assert report["class"] == "seven" and report["confidence"] > report["confidence_before"]
    capsys.readouterr()
    assert main([*arguments, "--out", str(out)]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main(["synthesize", "--teacher", "fsdd", "--from", str(SAMPLE), "--out", str(out)]) == 2
    assert "--class NAME" in capsys.readouterr().err
