"""The lines of docs/listen.md, which use nothing of this package, hear what ``frami listen`` hears."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.helpers.cli import run
from tests.helpers.listening import RATE, sound, tones_onnx

PAGE = (Path(__file__).parents[2] / "docs" / "listen.md").read_text()
(SNIPPET,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_the_lines_hear_what_frami_hears(capsys, tmp_path, rate):
    tones_onnx(tmp_path / "tones.onnx")
    pieces = [("low", 1.3), (None, 0.9), ("high", 1.03)]
    soundfile.write(tmp_path / "x.wav", sound(*pieces, rate=rate), rate)
    command = [sys.executable, "-c", SNIPPET, "tones.onnx", "x.wav"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    _, out, _ = run(capsys, "listen", tmp_path / "tones.onnx", tmp_path / "x.wav")
    ours = [json.loads(line) for line in out.splitlines()]
    if rate != RATE:  # beside silence a resampled window is faint, but not silent
        ours, theirs = ([row for row in rows if row["class"] != "neither"] for rows in (ours, theirs))
    assert [row["class"] for row in theirs] == [row["class"] for row in ours] and len(ours) > 10
    for one, other in zip(theirs, ours, strict=True):
        assert one["start"] == pytest.approx(other["start"], abs=2e-3)
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-3 if rate == RATE else 0.1)


def test_they_are_few():
    assert len([line for line in SNIPPET.splitlines() if line and not line.startswith("import")]) <= 30
    assert "frami." not in SNIPPET and "import frami" not in SNIPPET
