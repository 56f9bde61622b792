"""Words by a speech synthesizer, in many voices."""

import shutil

import pytest
import soundfile

from frami import example_sounds
from frami.bench import spoken
from frami.data import own
from frami.errors import FramiError


def test_speakers_differ_and_are_the_same_each_time():
    found = list(spoken.voices(48))
    assert found == list(spoken.voices(48)) and found[:4] == list(spoken.voices(4))
    assert len({one.name for one in found}) == len({one.file for one in found}) == 48
    assert len({one.speed for one in found}) > 20 and len({one.pitch for one in found}) > 15
    assert {one.name.partition("+")[0] for one in found} == set(spoken.VOICES)


def test_without_the_synthesizer_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FramiError, match="apt-get install espeak-ng"):
        spoken.folder_of(("one", "two"), count=1, root=tmp_path)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng: apt-get install espeak-ng")
def test_words_are_spoken_once(tmp_path, monkeypatch):
    counted = []
    folder = spoken.folder_of(("one", "sea_waves"), lambda *at: counted.append(at), 2, root=tmp_path)
    assert counted == [(k, 4) for k in range(1, 5)]
    found = own.describe(folder)
    assert found.classes == ("one", "sea_waves") and found.clips == 4
    sounds = [soundfile.read(path) for path in sorted(folder.glob("*/*.flac"))]
    assert all(0.1 < len(x) / rate < 2 and abs(x).max() == pytest.approx(0.5, abs=0.01) for x, rate in sounds)
    assert len({len(x) for x, _ in sounds}) == 4
    monkeypatch.setattr(spoken, "speech", lambda *_: pytest.fail("they are there"))
    assert spoken.folder_of(("one", "sea_waves"), count=2, root=tmp_path) == folder
    next(folder.glob("one/*.flac")).unlink()
    monkeypatch.setattr(spoken, "speech", example_sounds.speech)
    spoken.folder_of(("one", "sea_waves"), count=2, root=tmp_path)
    assert len(list(folder.glob("*/*.flac"))) == 4, "what is missing is spoken again"
