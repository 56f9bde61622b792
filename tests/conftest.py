"""What several tests share: a home of their own, real recordings, made sounds, a trained teacher, the studio's page."""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: one thread computes the same bits each time

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from frami import checkpoints, models, train
from frami.audio import MelSpec
from frami.checkpoints import Card
from frami.data import Clip, LogMels

ROOT = Path(__file__).resolve().parent.parent
RATE = 8_000

#: Rows of the made ESC-50: two classes of ESC-10 and one that only ESC-50 has (category, target, esc10).
ESC_ROWS = (("dog", 0, True), ("rooster", 1, True), ("cat", 5, False))
URBAN_ROWS = (("air_conditioner", 0), ("dog_bark", 3), ("street_music", 9))


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory) -> Path:
    """All that is written while testing goes to this folder, shared so that real recordings are decoded once."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real recordings; a test that takes it is skipped where there are none."""
    given = os.environ.get("FRAMI_DATA")
    if not given:
        pytest.skip("needs real recordings: set FRAMI_DATA to the folder that holds fsdd/, ESC-50/ and UrbanSound8K/")
    return ROOT / Path(given).expanduser()


def tone(kind: int, seconds: float = 0.25, seed: int = 0) -> np.ndarray:
    """A tone whose pitch tells its kind (0, 1, …), with a little hiss."""
    rng = np.random.default_rng((kind, seed))
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 0.4 * np.sin(2 * np.pi * 200 * 1.3**kind * time + rng.uniform(0, 6)) + 0.01 * rng.standard_normal(len(time))
    return wave.astype(np.float32)


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


@pytest.fixture(scope="session")
def make_tree() -> Callable[..., Path]:
    """``make_tree(name, root, **choices)`` writes made sounds in a data set's layout; returns ``root``."""
    makers = {
        "fsdd": make_fsdd,
        "audiomnist": make_audiomnist,
        "esc50": make_esc50,
        "esc10": make_esc50,
        "urbansound8k": make_urbansound8k,
    }
    return lambda name, root, **choices: makers[name](root, **choices)


def made_mels(classes: int = 4, each: int = 12, seed: int = 0, shortest: int = 24, longest: int = 40) -> LogMels:
    """Log-Mels of easy classes: each has its own bump of sixteen bands above noise."""
    spec = MelSpec()
    rng = np.random.default_rng(seed)
    frames, labels = [], np.tile(np.arange(classes), each)
    for label in labels:
        x = rng.normal(-8, 1, (rng.integers(shortest, longest + 1), spec.n_mels))
        x[:, 4 + 18 * label : 20 + 18 * label] += 5
        frames.append(x.clip(spec.floor).astype(np.float16))
    clips = [Clip(Path(f"made_{i}"), int(label), "1", "made") for i, label in enumerate(labels)]
    return LogMels(clips, frames, torch.from_numpy(labels), tuple(f"band {k}" for k in range(classes)), spec)


@pytest.fixture(scope="session")
def make_mels() -> Callable[..., LogMels]:
    """``make_mels(classes, each, seed, shortest, longest)``: log-Mels of classes that are easy to tell apart."""
    return made_mels


def card_for(model: models.Classifier, name: str, **fields) -> Card:
    """A card that fits ``model``."""
    values = {
        "name": name,
        "kind": "teacher",
        "dataset": "made",
        "title": "Made sounds",
        "classes": tuple(f"band {k}" for k in range(model.config.classes)),
        "mel_spec": MelSpec(n_mels=model.config.n_mels).to_dict(),
        "model": model.config.to_dict(),
        "parameters": models.parameters(model),
        "split": {"train": ["1"], "test": ["2"]},
        "accuracy": 0.5,
        "clips": 48,
        "licence": "Apache-2.0",
        "data_licence": "CC0-1.0",
        "seconds": 0.37,
    }
    return Card(**(values | fields))


@pytest.fixture(scope="session")
def make_card() -> Callable[..., Card]:
    """``make_card(model, name, **fields)``: a card that fits a model."""
    return card_for


def without_augmentation(**settings) -> train.TrainConfig:
    """Settings of a training that sees the clips as they are: every choice of augmentation is at zero."""
    kept = {"epochs", "batch", "lr", "weight_decay", "seed", "crop"}
    off = {field.name: type(field.default)(0) for field in fields(train.TrainConfig) if field.name not in kept}
    return train.TrainConfig(**(off | {"crop": 9.0} | settings))


@pytest.fixture(scope="session")
def plain_training() -> Callable[..., train.TrainConfig]:
    """``plain_training(**settings)``: a ``TrainConfig`` that augments nothing."""
    return without_augmentation


@pytest.fixture(scope="module")
def teacher() -> checkpoints.Checkpoint:
    """The bundled teacher of digits."""
    return checkpoints.load("fsdd")


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory) -> Path:
    """Path (without ending) of a checkpoint, alone in its folder: a nano classifier of four made classes, trained."""
    torch.manual_seed(0)
    model = models.build("nano", 4)
    for _ in train.train(model, made_mels(each=16), without_augmentation(epochs=6, batch=16)):
        pass
    accuracy = train.evaluate(model, made_mels(seed=1)).accuracy
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    checkpoints.save(path, model, card_for(model, "tiny", accuracy=accuracy))
    return path


# ----------------------------------------------------------------------------------------- the studio in a browser

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("FRAMI_DATA"):
            pytest.fail("no Chromium here, and FRAMI_DATA says that browser tests must run: apt-get install chromium")
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


@contextmanager
def running_studio(home: Path, data: str | Path | None) -> Iterator[str]:
    """Address of a studio started as a user starts it, with recordings in ``data`` or none."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "FRAMI_HOME": str(home), "FRAMI_DATA": str(data or "")}
    with (home / "log").open("w+") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}/"
        for _ in range(240):
            try:
                urllib.request.urlopen(address, timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, Path(log.name).read_text()
                time.sleep(0.5)
        else:
            process.kill()
            pytest.fail("the studio did not start: " + Path(log.name).read_text())
        yield address
        process.terminate()
        process.wait(20)
        assert "Traceback" not in Path(log.name).read_text(), Path(log.name).read_text()


@pytest.fixture(scope="module")
def start_studio(tmp_path_factory) -> Callable:
    """``with start_studio(data) as address``: a studio with a home of its own."""
    return lambda data=None: running_studio(tmp_path_factory.mktemp("studio-home"), data)


@pytest.fixture(scope="module")
def studio(start_studio) -> Iterator[str]:
    """Address of a studio."""
    with start_studio(os.environ.get("FRAMI_DATA")) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        window = p.chromium.launch(executable_path=chromium(), args=BROWSER_FLAGS)
        yield window
        window.close()


@pytest.fixture
def open_page(browser, studio):
    """Opens the studio; at the end the console must have been quiet and no other host asked."""
    contexts, trouble = [], []

    def opened(width=1400, height=900, theme="light", context=None, address=studio):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": height})
            contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        local = (address, "data:", "blob:", "ws://127.0.0.1")
        page.on("request", lambda r: None if r.url.startswith(local) else trouble.append(f"asked {r.url}"))
        page.goto(f"{address}?__theme={theme}")
        page.wait_for_selector("#gallery .frami-tile", timeout=60_000)
        return page

    opened.trouble = trouble
    yield opened
    for context in contexts:
        context.close()
    assert not trouble, trouble
