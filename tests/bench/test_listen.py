"""Words in a row, and what counts as one that was found."""

import numpy as np
import pytest
import torch

from frami.bench import listen
from frami.listening import Answer, onnx
from tests.helpers.cli import run
from tests.helpers.listening import RATE, sound, tones_onnx


def test_each_event_is_of_one_word():
    words = [(1.0, 1.5, "one"), (2.0, 2.5, "two"), (3.0, 3.5, "one"), (4.0, 4.5, "six")]
    told = [(1.1, 1.3, "one"), (1.4, 1.5, "one"), (2.0, 2.4, "six"), (2.4, 2.5, "two"), (3.55, 3.8, "one")]
    found = listen.judged([Answer(start, end, name, 0.9) for start, end, name in told], words)
    assert (found["words"], found["events"], found["found"]) == (4, 5, 3), "the second “one”, and six, are of no word"
    assert (found["recall"], found["precision"]) == (0.75, 0.6)


def test_words_in_a_row_are_where_they_are_said_to_be(tmp_path):
    tones = {name: torch.from_numpy(sound((None, 0.3), (name, 0.4), (None, 0.2))) for name in ("low", "high")}
    clips = [(lambda rate, x=x: x, name) for name, x in tones.items()] * 6
    said = listen.in_a_row("tones", clips, RATE, 10)
    assert len(said.words) == 10 and {label for *_, label in said.words} == {"low", "high"}
    for start, end, _ in said.words:
        inside = said.samples[round(start * RATE) : round(end * RATE)]
        assert 0.35 < end - start < 0.6 and np.abs(inside).max() > 0.4, "without the quiet at its ends"
    gaps = [one[0] - other[1] for one, other in zip(said.words[1:], said.words, strict=False)]
    assert min(gaps) >= listen.PAUSES[0] - 0.01 and max(gaps) <= listen.PAUSES[1] + 0.01
    network = onnx(tones_onnx(tmp_path / "tones.onnx"))
    rows = list(listen._rows("tones", network, said, 1.0, 0.25))
    assert len(rows) == len(listen.SMOOTHS) * len(listen.THRESHOLDS)
    assert max(row["recall"] for row in rows) == 1.0
    best, f1 = listen.ranked(rows)[0]
    assert f1 == max(row["f1"] for row in rows) and len(best) == len(listen.CHOSEN)
    assert {listen.WINDOWWISE[1:], listen.USUAL[1:]} <= {
        (hop, threshold, smooth) for hop in listen.HOPS for threshold in listen.THRESHOLDS for smooth in listen.SMOOTHS
    }, "the defaults are among what is tried"


@pytest.mark.parametrize(
    ("arguments", "word"), [(["--checkpoints", "esc10-tiny"], "no spoken words"), (["--words", "1"], "below 10")]
)
def test_bad_input_is_one_line_and_status_2(capsys, arguments, word):
    status, out, err = run(capsys, "bench", "listen", *arguments)
    assert (status, out) == (2, "") and word in err and err.count("\n") == 1, err
