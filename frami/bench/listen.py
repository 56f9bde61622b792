"""What ``frami listen`` hears of words in a row, over its settings: words found, missed, and events that are none.

The words are material for choosing: clips of the folds that a teacher was trained on (a student without data has heard
none of them), and such by a speech synthesizer. They follow one another in an order and with pauses that chance has
drawn, over quiet noise, as one long sound.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from torch import Tensor

from frami import audio, audio_input, checkpoints, data
from frami.bench import spoken
from frami.bench.results import Context
from frami.checkpoints import Card
from frami.errors import FramiError
from frami.features.recordings import training_folds
from frami.listening import Answer, Events, Listener, Recogniser, Settings, Smoothing, checkpoint
from frami.listening.answers import EVENT_HOP, EVENT_SMOOTH, EVENT_WINDOW, Window

#: Words of a sound at most, seconds of pauses between them, level of the noise in dB of full scale, and the seed.
WORDS, PAUSES, NOISE, SEED = 400, (0.2, 1.5), -50.0, 3
#: Seconds by which an event may begin or end beside a word that it is of.
NEAR = 0.1
#: Peak of a word: recordings are as loud as each other.
LEVEL = 0.5
#: What is tried: windows as multiples of the usual one, hops as shares of a window, thresholds, and windows that are
#: smoothed over.
WINDOWS, HOPS, THRESHOLDS, SMOOTHS = (1.0, 1.5), (0.5, 0.25), (0.5, 0.6, 0.7, 0.8, 0.9), (1, 2, 3)

#: ``read(rate)`` : samples Tensor[N] at a rate in Hz
Sound = Callable[[int], Tensor]


@dataclass(frozen=True)
class Said:
    """Words in a row: ``samples`` (N,) at ``rate`` Hz, and of each word (start, end, class) in seconds."""

    name: str
    samples: np.ndarray
    rate: int
    words: list[tuple[float, float, str]]


def sounds(card: Card, rate: int, here: Context, count: int = WORDS) -> list[Said]:
    """Development sounds for a network of spoken words. Raises FramiError where its recordings are not at hand, or for
    a network of other sounds."""
    if not data.info(card.dataset).subject.startswith("spoken"):
        raise FramiError(f"'{card.name}' knows no spoken words; name another with --checkpoints")
    folds = training_folds(card)
    clips = [clip for clip in data.index(card.dataset, here.data_folder) if clip.fold in folds]
    found = [("training speakers", [(partial(data.sound, clip), card.classes[clip.label]) for clip in clips])]
    with here.progress("clip", "espeak-ng") as report:
        folder = spoken.folder_of(card.classes, report)
    made = [(word, path) for word in card.classes for path in sorted((folder / word).glob("*.flac"))]
    found.append(("espeak-ng", [(partial(audio.load, path), word) for word, path in made]))
    return [in_a_row(name, clips, rate, count) for name, clips in found]


def in_a_row(name: str, clips: Sequence[tuple[Sound, str]], rate: int, count: int = WORDS) -> Said:
    """Clips, what reads them and their class, drawn, without the quiet at their ends, one after the other."""
    drawn = np.random.default_rng(SEED)
    samples, words, at = [], [], 0
    for k in drawn.permutation(len(clips))[:count]:
        read, label = clips[k]
        x, _ = audio_input.trim(read(rate), rate)
        pause = round(drawn.uniform(*PAUSES) * rate)
        samples += [np.zeros(pause, np.float32), (x * (LEVEL / x.abs().max().clamp_min(1e-9))).numpy()]
        words.append(((at + pause) / rate, (at + pause + len(x)) / rate, label))
        at += pause + len(x)
    samples.append(np.zeros(rate, np.float32))
    whole = np.concatenate(samples)
    noise = 10 ** (NOISE / 20) * drawn.standard_normal(len(whole)).astype(np.float32)
    return Said(name, whole + noise, rate, words)


class _Kept(Listener):
    """A listener that keeps the windows instead of making answers of them."""

    kept: list[Window]

    def _told(self, window: Window) -> Iterator[Answer]:
        self.kept.append(window)
        return iter(())


def windows(network: Recogniser, said: Said, window: float, hop: float) -> list[Window]:
    """Probabilities of all windows of a sound; ``window``, ``hop`` in seconds."""
    listener = _Kept(network, Settings(), window, hop)
    listener.kept = []
    for start in range(0, len(said.samples), said.rate):
        for _ in listener.push(said.samples[start : start + said.rate]):
            pass
    for _ in listener.end():
        pass
    return listener.kept


def smoothed(heard: Sequence[Window], count: int) -> list[Window]:
    """Windows with the mean over ``count`` of them."""
    smoothing = Smoothing(count)
    return [*(one for window in heard for one in smoothing.push(window)), *smoothing.end()]


def events(heard: Sequence[Window], network: Recogniser, threshold: float, seconds: float) -> list[Answer]:
    """What becomes of windows at a threshold."""
    found = Events(network.classes, Settings(threshold, events=True), network.multilabel)
    return [*(one for window in heard for one in found.push(window)), *found.end(seconds)]


def judged(told: Sequence[Answer], words: Sequence[tuple[float, float, str]]) -> dict:
    """Words that an event of their class is upon, each event for one word: ``words``, ``events``, ``found``,
    ``recall``, ``precision`` and their harmonic mean ``f1``."""
    left, found = sorted(told, key=lambda one: one.start), 0
    for start, end, label in words:
        for k, one in enumerate(left):
            if one.name == label and one.start < end + NEAR and one.end > start - NEAR:
                found += 1
                del left[k]
                break
    recall, precision = found / max(1, len(words)), found / max(1, len(told))
    f1 = 2 * recall * precision / max(1e-9, recall + precision)
    return {
        "words": len(words), "events": len(told), "found": found, "recall": round(recall, 4),
        "precision": round(precision, 4), "f1": round(f1, 4),
    }  # fmt: skip


def measure(names: Sequence[str], here: Context, count: int = WORDS) -> list[dict]:
    """Of each network and sound a row for each combination of settings, of those that are tried. Raises FramiError."""
    rows = []
    for name in names:
        network, card = checkpoint(name), checkpoints.read_card(checkpoints.resolve(name))
        for said in sounds(card, network.rate, here, count):
            pairs = list(product(WINDOWS, HOPS))
            with here.progress("sound", f"{name}: {said.name}") as report:
                for done, (times, share) in enumerate(pairs, 1):
                    rows += _rows(name, network, said, times, share)
                    report(done, len(pairs))
    return rows


def _rows(name: str, network: Recogniser, said: Said, times: float, share: float) -> Iterator[dict]:
    window = times * network.window
    heard, seconds = windows(network, said, window, share * window), len(said.samples) / said.rate
    for smooth in SMOOTHS:
        mean = smoothed(heard, smooth)
        for threshold in THRESHOLDS:
            chosen = {"window": times, "hop": share, "threshold": threshold, "smooth": smooth}
            told = judged(events(mean, network, threshold, seconds), said.words)
            yield {"checkpoint": name, "sound": said.name, **chosen, **told}


#: Names of the settings in a row; those of windows one by one, and those that events have by default.
CHOSEN = ("window", "hop", "threshold", "smooth")
WINDOWWISE, USUAL = (1.0, 0.5, 0.5, 1), (EVENT_WINDOW, EVENT_HOP, 0.5, EVENT_SMOOTH)


def key(row: dict) -> tuple:
    """The settings of a row."""
    return tuple(row[name] for name in CHOSEN)


def ranked(rows: Sequence[dict]) -> list[tuple[tuple, float]]:
    """Combinations of settings with their mean ``f1`` over networks and sounds, the best first."""
    sums: dict[tuple, list[float]] = {}
    for row in rows:
        sums.setdefault(key(row), []).append(row["f1"])
    means = {settings: sum(values) / len(values) for settings, values in sums.items()}
    return sorted(means.items(), key=lambda pair: -pair[1])
