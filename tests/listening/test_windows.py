"""Windows of sound in blocks, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frami.listening import Windows


def windows_of(x: np.ndarray, length: int, hop: int, sizes: list[int]) -> list[tuple[int, list[float]]]:
    made, found, at, k = Windows(length, hop), [], 0, 0
    while at < len(x):
        size = sizes[k % len(sizes)]
        found += [(begin, w.tolist()) for begin, w in made.push(x[at : at + size])]
        at, k = at + size, k + 1
    return found + [(begin, w.tolist()) for begin, w in made.end()]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 30), st.lists(st.integers(1, 25), min_size=1, max_size=4))
def test_they_are_those_of_the_whole(count, length, hop, sizes):
    x = np.arange(count, dtype=np.float32)
    begins = list(range(0, count - length + 1, hop))
    heard = begins[-1] + length if begins else 0
    if count > heard and (hop <= length or not begins):
        begins.append(max(0, count - length))
    expected = [(begin, x[begin : begin + length].tolist()) for begin in begins]
    assert windows_of(x, length, hop, sizes) == expected
    if hop <= length:
        assert {v for _, values in expected for v in values} == set(x.tolist()), "every sample is in one"


@pytest.mark.parametrize(("length", "hop"), [(1_000, 10), (10, 50_000)])
def test_little_is_held(length, hop):
    made = Windows(length, hop)
    for _ in range(500):
        list(made.push(np.zeros(700, np.float32)))
        assert sum(map(len, made._blocks)) <= length + hop % 1_000 + 700
    assert made.samples == 350_000
