"""The loop: a source's blocks through windows, the network, and what becomes an answer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from frami import streams
from frami.listening.answers import Answer, Events, Settings, Smoothing, Window, answers_of
from frami.listening.recognisers import ListenError, Recogniser
from frami.listening.windows import Windows
from frami.streams import Source

#: Samples that go through the network at once, and windows, at most.
_SAMPLES, _WINDOWS = 1 << 19, 32


@dataclass
class Summary:
    """What was heard. ``seconds`` : of sound; ``windows`` : of them, ``silent`` : those that were not looked at;
    ``answers``; ``busy`` : seconds that the front-end and the network took; ``spent`` : seconds since the beginning."""

    seconds: float = 0.0
    windows: int = 0
    silent: int = 0
    answers: int = 0
    busy: float = 0.0
    spent: float = 0.0

    def factor(self, live: bool) -> float | None:
        """Real-time factor: seconds of work for a second of sound, of a live sound without waiting for it; None before
        any sound."""
        return (self.busy if live else self.spent) / self.seconds if self.seconds else None


class Listener:
    """A network that is given sound block by block, in any sizes, at ``recogniser.rate``.

    window, hop : seconds (None: what suits the network, and half a window). ListenError where the network takes no such
    window.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        settings: Settings | None = None,
        window: float | None = None,
        hop: float | None = None,
    ):
        self.recogniser, self.settings = recogniser, settings or Settings()
        rate = recogniser.rate
        length = max(1, round((window or recogniser.window) * rate))
        if recogniser.length not in (None, length):
            raise ListenError(
                f"{recogniser.name} takes windows of {recogniser.length / rate:.6g} s only; leave --window out"
            )
        self.windows = Windows(length, max(1, round(hop * rate) if hop else length // 2))
        self.summary = Summary()
        self._smoothing = Smoothing(self.settings.smooth)
        self._events = Events(recogniser.classes, self.settings, recogniser.multilabel)
        self._quiet = 10 ** (self.settings.silence / 20)
        self._most = max(1, min(_WINDOWS, _SAMPLES // length)) if recogniser.batched else 1
        self._spanned = 0.0

    @property
    def window(self) -> float:
        """Seconds of a window."""
        return self.windows.length / self.recogniser.rate

    @property
    def hop(self) -> float:
        """Seconds from a window to the next."""
        return self.windows.hop / self.recogniser.rate

    def push(self, block: np.ndarray) -> Iterator[Answer]:
        """What is heard by the end of this block, array (N,)."""
        yield from self._heard(self.windows.push(block))
        self.summary.seconds = self.windows.samples / self.recogniser.rate

    def end(self) -> Iterator[Answer]:
        """What is heard at the end of the sound, and the events that are not over."""
        yield from self._heard(self.windows.end(), last=True)
        for window in self._smoothing.end():
            yield from self._told(window)
        yield from self.close()

    def close(self) -> Iterator[Answer]:
        """The events that are not over, of a sound that is left where it is."""
        seconds = self.windows.samples / self.recogniser.rate
        if self.hop > self.window:  # behind the last window nothing was heard
            seconds = min(seconds, self._spanned)
        yield from self._counted(self._events.end(seconds))

    def _heard(self, windows: Iterator[tuple[int, np.ndarray]], last: bool = False) -> Iterator[Answer]:
        batch: list[tuple[int, np.ndarray]] = []
        for one in windows:
            batch.append(one)
            if len(batch) == self._most:
                yield from self._answered(batch, last)
                batch = []
        if batch:
            yield from self._answered(batch, last)

    def _answered(self, batch: list[tuple[int, np.ndarray]], last: bool) -> Iterator[Answer]:
        begun = time.perf_counter()
        classes, rate = len(self.recogniser.classes), self.recogniser.rate
        found = np.zeros((len(batch), classes), np.float32)
        loud = [k for k, (_, x) in enumerate(batch) if max(float(x.max()), -float(x.min())) >= self._quiet]
        if loud:
            sounds = np.stack([batch[k][1] for k in loud])
            lacking = max(0, (self.recogniser.length or 0) - sounds.shape[1])
            found[loud] = self.recogniser.answer(np.pad(sounds, ((0, 0), (0, lacking))))
        self.summary.busy += time.perf_counter() - begun
        self.summary.windows += len(batch)
        self.summary.silent += len(batch) - len(loud)
        for (begin, x), values in zip(batch, found, strict=True):
            start, end = begin / rate, (begin + len(x)) / rate
            until = end if last else (begin + (len(x) + self.windows.hop) / 2) / rate
            one, self._spanned = Window(start, end, (self._spanned, until), values), until
            for window in self._smoothing.push(one):
                yield from self._told(window)

    def _told(self, window: Window) -> Iterator[Answer]:
        if self.settings.events:
            yield from self._counted(self._events.push(window))
        else:
            network = self.recogniser
            found = answers_of(window, network.classes, self.settings.threshold, network.multilabel)
            yield from self._counted(iter(found))

    def _counted(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        for one in answers:
            self.summary.answers += 1
            yield one


def listen(listener: Listener, source: Source) -> Iterator[Answer]:
    """All that is heard in a source, as soon as it is. AudioError for sound that goes wrong on the way."""
    begun = time.perf_counter()
    for block in streams.resampled(source.blocks, source.rate, listener.recogniser.rate):
        yield from listener.push(block)
        listener.summary.spent = time.perf_counter() - begun
    yield from listener.end()
    listener.summary.spent = time.perf_counter() - begun
