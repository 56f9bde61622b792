"""Made sounds in the layouts of the data sets, as their publishers have them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 8_000

#: Rows of the made ESC-50: two classes of ESC-10 and one that only ESC-50 has (category, target, esc10).
ESC_ROWS = (("dog", 0, True), ("rooster", 1, True), ("cat", 5, False))
URBAN_ROWS = (("air_conditioner", 0), ("dog_bark", 3), ("street_music", 9))


def tone(kind: int, seconds: float = 0.25, seed: int = 0) -> np.ndarray:
    """A tone whose pitch tells its kind (0, 1, …), with a little hiss."""
    rng = np.random.default_rng((kind, seed))
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 0.4 * np.sin(2 * np.pi * 200 * 1.3**kind * time + rng.uniform(0, 6)) + 0.01 * rng.standard_normal(len(time))
    return wave.astype(np.float32)


def tone_file(
    path: Path, seconds: float, rate: int = 22_050, level: float = 0.5, channels: int = 1, lead: float = 0.0
) -> Path:
    """A file with a tone of 440 Hz after ``lead`` seconds of silence."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.concatenate([np.zeros(round(lead * rate)), level * np.sin(2 * np.pi * 440 * time)])
    soundfile.write(path, np.stack([wave] * channels, 1) if channels > 1 else wave, rate)
    return path


def make_fsdd(root: Path, speakers: Sequence[str] = ("george", "theo"), takes: int = 1, ending: str = ".wav") -> Path:
    """FSDD's layout below ``root / "fsdd"``: ten digits of each speaker; takes are of rising duration."""
    folder = root / "fsdd" / "recordings"
    folder.mkdir(parents=True, exist_ok=True)
    for number, speaker in enumerate(speakers):
        for digit in range(10):
            for take in range(takes):
                wave = tone(digit, 0.2 + 0.05 * take, 100 * number + take)
                soundfile.write(folder / f"{digit}_{speaker}_{take}{ending}", wave, RATE)
    return root


def make_audiomnist(
    root: Path, speakers: Sequence[int] = (1, 26, 28, 60), takes: int = 1, ending: str = ".wav"
) -> Path:
    """AudioMNIST's layout below ``root / "AudioMNIST"``."""
    for speaker in speakers:
        folder = root / "AudioMNIST" / "data" / f"{speaker:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for digit in range(10):
            for take in range(takes):
                path = folder / f"{digit}_{speaker:02d}_{take}{ending}"
                soundfile.write(path, tone(digit, 0.2, 100 * speaker + take), RATE)
    (root / "AudioMNIST" / "data" / "audioMNIST_meta.txt").write_text("{}\n")
    return root


def make_esc50(root: Path, folds: Sequence[int] = (1, 2), ending: str = ".wav") -> Path:
    """ESC-50's layout below ``root / "ESC-50"``: one clip of each of ``ESC_ROWS`` in each fold; the table says .wav."""
    base = root / "ESC-50"
    (base / "meta").mkdir(parents=True, exist_ok=True)
    (base / "audio").mkdir(exist_ok=True)
    with (base / "meta" / "esc50.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for fold in folds:
            for category, target, esc10 in ESC_ROWS:
                stem = f"{fold}-10{target}{fold}-A-{target}"
                table.writerow([f"{stem}.wav", fold, target, category, esc10, f"10{target}{fold}", "A"])
                soundfile.write(base / "audio" / f"{stem}{ending}", tone(target, 0.3, fold), RATE)
    return root


def make_urbansound8k(root: Path, folds: Sequence[int] = (1, 2, 10), ending: str = ".wav") -> Path:
    """UrbanSound8K's layout below ``root / "UrbanSound8K"``; the table says .wav."""
    base = root / "UrbanSound8K"
    (base / "metadata").mkdir(parents=True, exist_ok=True)
    with (base / "metadata" / "UrbanSound8K.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"])
        for fold in folds:
            (base / "audio" / f"fold{fold}").mkdir(parents=True, exist_ok=True)
            for name, number in URBAN_ROWS:
                stem = f"77{fold}-{number}-0-0"
                table.writerow([f"{stem}.wav", f"77{fold}", 0.0, 0.3, 1, fold, number, name])
                soundfile.write(base / "audio" / f"fold{fold}" / f"{stem}{ending}", tone(number, 0.3, fold), RATE)
    return root


def make_speechcommands(root: Path, words: Sequence[str] = ("zero", "one", "nine"), ending: str = ".wav") -> Path:
    """Speech Commands' layout below ``root / "SpeechCommands"``: each word by a speaker of each split."""
    base, lists = root / "SpeechCommands", {"validation": [], "testing": []}
    for kind, word in enumerate((*words, "happy", "_background_noise_")):
        (base / word).mkdir(parents=True, exist_ok=True)
        for number, (speaker, split) in enumerate((("0a1", "train"), ("0b2", "validation"), ("0c3", "testing"))):
            soundfile.write(base / word / f"{speaker}_nohash_0{ending}", tone(kind, 0.3, number), RATE)
            if split in lists:
                lists[split].append(f"{word}/{speaker}_nohash_0.wav")
    for split, names in lists.items():
        (base / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def make_tree(name: str, root: Path, **choices) -> Path:
    """Made sounds in the layout of the data set ``name``; returns ``root``."""
    makers = {
        "fsdd": make_fsdd,
        "audiomnist": make_audiomnist,
        "speechcommands-digits": make_speechcommands,
        "esc50": make_esc50,
        "esc10": make_esc50,
        "urbansound8k": make_urbansound8k,
    }
    return makers[name](root, **choices)
