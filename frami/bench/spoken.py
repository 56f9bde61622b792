"""Words by a speech synthesizer, in many voices: people whom no network has heard, for choices during development."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from frami import audio, audio_input, files
from frami.bench.results import Report, silent
from frami.example_sounds import RATE, speech
from frami.paths import home

#: Voices of espeak-ng that speak English, and variants of each: seven men, five women.
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VARIANTS = (*(f"m{k}" for k in range(1, 8)), *(f"f{k}" for k in range(1, 6)))
#: Words a minute and pitch (espeak-ng's scale of 0 to 99), from and below; level of the peak.
SPEED, PITCH, LEVEL = (110, 220), (25, 75), 0.5


@dataclass(frozen=True)
class Voice:
    """A speaker: one of ``VOICES`` in a variant, at a speed and pitch of its own."""

    name: str
    speed: int
    pitch: int

    @property
    def file(self) -> str:
        return f"{self.name.replace('+', '-')}-{self.speed}-{self.pitch}.flac"


def voices(count: int = 48, seed: int = 0) -> Iterator[Voice]:
    """Speakers, the same for each seed: each another voice and variant, as long as there are some."""
    rng = np.random.default_rng(seed)
    pairs = [f"{voice}+{variant}" for voice in VOICES for variant in VARIANTS]
    for k in [pairs[i] for i in rng.permutation(len(pairs))][:count]:
        yield Voice(k, int(rng.integers(*SPEED)), int(rng.integers(*PITCH)))


def folder_of(
    words: Sequence[str], report: Report = silent, count: int = 48, seed: int = 0, root: Path | None = None
) -> Path:
    """Folder with a folder for each word, in which ``count`` voices speak it; made where it is not there yet.

    Silence around a word is cut. root : default ``FRAMI_HOME/spoken``. ``report(done, total)`` counts clips. Raises
    FramiError without espeak-ng.
    """
    speakers = list(voices(count, seed))
    key = hashlib.sha256(json.dumps([list(words), [one.file for one in speakers], LEVEL]).encode()).hexdigest()[:8]
    folder = (root or home() / "spoken") / f"espeak-ng-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted = [(word, one, folder / word / one.file) for word in words for one in speakers]
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        for done, (word, one, path) in enumerate(wanted, 1):
            if not path.exists():
                x, _ = audio_input.trim(speech(word.replace("_", " "), one.name, one.speed, one.pitch), RATE)
                with files.replacing(path) as temporary:
                    audio.save(temporary, x * (LEVEL / x.abs().max()), RATE)
            report(done, len(wanted))
    return folder
