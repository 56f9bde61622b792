"""From probabilities of windows to answers: smoothing, thresholds, events.

Pure of sound and networks: a window has a time and probabilities, array (K,).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from frami.errors import FramiError

#: What suits events, chosen on spoken words by ``frami bench listen``: a window as a multiple of the usual one, and
#: seconds that it is longer at most; the hop as a share of it; windows that are smoothed over.
EVENT_WINDOW, EVENT_MORE, EVENT_HOP, EVENT_SMOOTH = 1.5, 0.5, 0.25, 2


def event_window(usual: float) -> float:
    """Seconds of a window that suits events of a network whose training clips usually last so long."""
    return usual + min((EVENT_WINDOW - 1) * usual, EVENT_MORE)


@dataclass(frozen=True)
class Settings:
    """What is an answer. ``threshold`` : least probability; ``smooth`` : windows over which probabilities are averaged;
    ``events`` : whether answers of successive windows become events, ``gap`` : seconds within one that another answer
    may take, ``shortest`` : seconds that one lasts at least; ``silence`` : level in dB of full scale of the loudest
    sample below which a window is not looked at. FramiError for values that do not go."""

    threshold: float = 0.5
    smooth: int = 1
    events: bool = False
    gap: float = 0.0
    shortest: float = 0.0
    silence: float = -60.0

    def __post_init__(self):
        for wrong, problem in (
            (not 0 <= self.threshold <= 1, "a threshold is 0 to 1"),
            (self.smooth < 1, "smoothing takes one window or more"),
            (not self.gap >= 0 or not self.shortest >= 0, "a gap and the shortest event are 0 s or longer"),
            ((self.gap or self.shortest) and not self.events, "--gap and --shortest are of events; add --events"),
        ):
            if wrong:
                raise FramiError(problem)


@dataclass(frozen=True)
class Window:
    """Probabilities (K,) of a window from ``start`` to ``end`` seconds; ``span`` : the time that it stands for, without
    what the next and the last one stand for."""

    start: float
    end: float
    span: tuple[float, float]
    probabilities: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """A class that is heard from ``start`` to ``end`` seconds. ``confidence`` : its probability in a window, or the
    mean over an event's ``windows``, whose highest is ``peak``."""

    start: float
    end: float
    name: str
    confidence: float
    peak: float | None = None
    windows: int | None = None

    def row(self) -> dict:
        """As one line of JSON has it."""
        values = {"start": round(self.start, 3), "end": round(self.end, 3), "class": self.name}
        values["confidence"] = round(self.confidence, 4)
        if self.windows is not None:
            values |= {"peak": round(self.peak, 4), "windows": self.windows}
        return values


class Smoothing:
    """The mean of the probabilities of ``count`` windows in a row, of which the answer is the middle one's."""

    def __init__(self, count: int):
        self.before, self.after = (count - 1) // 2, count // 2
        self._held: deque[Window] = deque(maxlen=count)
        self._left = 0  # windows of those held that have had their answer

    def push(self, window: Window) -> Iterator[Window]:
        if len(self._held) == self._held.maxlen:
            self._left -= 1
        self._held.append(window)
        if len(self._held) - self._left > self.after:
            yield self._of(self._left)

    def end(self) -> Iterator[Window]:
        while self._left < len(self._held):
            yield self._of(self._left)

    def _of(self, k: int) -> Window:
        near = list(self._held)[max(0, k - self.before) : k + self.after + 1]
        self._left += 1
        if len(near) == 1:
            return near[0]
        return replace(self._held[k], probabilities=np.mean([one.probabilities for one in near], axis=0))


def chosen(probabilities: np.ndarray, threshold: float, multilabel: bool) -> list[int]:
    """Classes that are heard: the likeliest one, of a multi-label network all, where they reach the threshold. None at
    all where every probability is 0, as of silence."""
    if multilabel:
        order = np.argsort(-probabilities, kind="stable")
        return [int(k) for k in order if probabilities[k] >= threshold and probabilities[k] > 0]
    best = int(probabilities.argmax())
    return [best] if probabilities[best] >= threshold and probabilities[best] > 0 else []


def answers_of(window: Window, classes: Sequence[str], threshold: float, multilabel: bool) -> list[Answer]:
    """What is heard in one window."""
    found = chosen(window.probabilities, threshold, multilabel)
    return [Answer(window.start, window.end, classes[k], float(window.probabilities[k])) for k in found]


@dataclass
class _Open:
    """An event that may go on. ``total`` : of its confidences."""

    onset: float
    offset: float
    total: float
    peak: float
    windows: int


class Events:
    """Events of windows: a class from the first to the last window in a row in which it is heard. Each comes when it is
    over. No more is held than one open event a class."""

    def __init__(self, classes: Sequence[str], settings: Settings, multilabel: bool):
        self.classes, self.settings, self.multilabel = classes, settings, multilabel
        self._open: dict[int, _Open] = {}
        self._last = 0.0

    def push(self, window: Window) -> Iterator[Answer]:
        (start, end), gap = window.span, self.settings.gap + 1e-6
        found = chosen(window.probabilities, self.settings.threshold, self.multilabel)
        over = [k for k, one in self._open.items() if (start if k in found else end) - one.offset > gap]
        yield from self._closed(over)
        for k in found:
            confidence = float(window.probabilities[k])
            if one := self._open.get(k):
                one.offset, one.total = end, one.total + confidence
                one.peak, one.windows = max(one.peak, confidence), one.windows + 1
            else:
                self._open[k] = _Open(start, end, confidence, confidence, 1)
        self._last = end

    def end(self, seconds: float) -> Iterator[Answer]:
        """Those that are not over; what is heard in the last window lasts until ``seconds``."""
        for one in self._open.values():
            one.offset = seconds if one.offset == self._last else min(one.offset, seconds)
        yield from self._closed(list(self._open))

    def _closed(self, which: list[int]) -> Iterator[Answer]:
        for k in sorted(which, key=lambda k: self._open[k].onset):
            one = self._open.pop(k)
            if one.offset - one.onset >= self.settings.shortest - 1e-6:
                mean = one.total / one.windows
                yield Answer(one.onset, one.offset, self.classes[k], mean, one.peak, one.windows)
