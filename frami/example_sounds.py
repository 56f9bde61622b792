"""Bundled sounds to try a network with: digits spoken by espeak-ng.

``python -m frami.example_sounds`` makes them again in ``assets/samples`` (needs espeak-ng:
``apt-get install espeak-ng``).
"""

import io
import json
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import soundfile
from torch import Tensor

from frami import audio, audio_input, files
from frami.checkpoints import read_card
from frami.errors import FramiError
from frami.paths import ASSETS, BUNDLED

FOLDER = ASSETS / "samples"
#: Voices of espeak-ng, their descriptions, words per minute.
VOICES = (("en-us", "a man's voice", 190), ("en-us+f3", "a woman's voice", 170))
TEACHER = "fsdd"
#: Samples a second of ``speech``.
RATE = 22_050
_LEVEL = 0.7


@dataclass(frozen=True)
class ExampleSound:
    """A bundled sound: its file, class and voice."""

    path: Path
    label: str
    voice: str


def listed(classes: Collection[str], folder: Path = FOLDER) -> list[ExampleSound]:
    """Bundled sounds of these classes, whichever teacher knows them; empty where there are none."""
    found = []
    for path in sorted(folder.glob("*/samples.json")):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            found += [ExampleSound(path.parent / row["file"], row["label"], row["voice"]) for row in rows]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [one for one in found if one.label in classes]


def make(folder: Path = FOLDER) -> list[ExampleSound]:
    """Synthesize each digit in each voice. Raises FramiError where espeak-ng is not installed."""
    folder = folder / TEACHER
    folder.mkdir(parents=True, exist_ok=True)
    rows, classes = [], read_card(BUNDLED / TEACHER).classes
    for voice, name, speed in VOICES:
        for label in classes:
            path = folder / f"{label}-{voice.replace('+', '-')}.flac"
            x, _ = audio_input.trim(speech(label, voice, speed), RATE)
            files.write(path, audio.encoded(path, x * (_LEVEL / x.abs().max()), RATE))
            rows.append(
                {"file": path.name, "label": label, "voice": name, "source": f"espeak-ng -v {voice} -s {speed}"}
            )
    text = ",\n".join(f" {json.dumps(row, ensure_ascii=False)}" for row in rows)
    files.write(folder / "samples.json", f"[\n{text}\n]\n")
    return listed(classes, folder.parent)


def speech(text: str, voice: str, speed: int, pitch: int = 50) -> Tensor:
    """Text spoken by espeak-ng, Tensor[N] at ``RATE``. speed : words a minute; pitch : 0 to 99. FramiError where
    espeak-ng is not installed, or knows no such voice."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise FramiError(f"espeak-ng cannot be run ({error}); install it with: apt-get install espeak-ng") from error
    samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    return audio.mono(samples, rate, RATE)


if __name__ == "__main__":
    try:
        print(f"{len(make())} sounds in {FOLDER}")
    except FramiError as error:
        sys.exit(str(error))
