"""Sliding windows over sound that comes in blocks."""

from collections.abc import Iterator

import numpy as np


class Windows:
    """Windows of ``length`` samples, one each ``hop`` samples, of sound that comes in blocks of any size.

    No more is held than a window and a block. The end of the sound is in the last window: where it is in none, one more
    ends there (with a hop longer than a window, what lies between windows is left out).
    """

    def __init__(self, length: int, hop: int):
        if length < 1 or hop < 1:
            raise ValueError("a window and a hop have one sample or more")
        self.length, self.hop = length, hop
        self.samples = 0
        self._blocks: list[np.ndarray] = []  # what may be needed, from sample ``_first`` of the sound on
        self._first = self._next = 0  # ``_next`` : where the next window begins

    def push(self, block: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The windows that end in this block, array (N,): where each begins, and its samples."""
        self._blocks.append(np.asarray(block, np.float32))
        self.samples += len(block)
        if self._next + self.length > self.samples:
            if self._next >= self.samples:  # between two windows that are far apart
                self._blocks, self._first = [], self.samples
            return
        held = np.concatenate(self._blocks)
        while self._next + self.length <= self.samples:
            at = self._next - self._first
            yield self._next, held[at : at + self.length]
            self._next += self.hop
        # The window before the next one may be needed again, for the end.
        spare = min(max(0, self._next - self.hop - self._first), len(held))
        self._blocks, self._first = [held[spare:].copy()], self._first + spare

    def end(self) -> Iterator[tuple[int, np.ndarray]]:
        """The window at the end of the sound, where it is needed; of a sound shorter than a window all of it."""
        heard = self._next - self.hop + self.length if self._next else 0
        if self.samples > heard and (self.hop <= self.length or not self._next):
            begin = max(0, self.samples - self.length)
            yield begin, np.concatenate(self._blocks)[begin - self._first :]
