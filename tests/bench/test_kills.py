"""The benchmark of kills: a short run of it, and that it notices what is wrong."""

import json
import random
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from frami.bench import killed_studio, kills
from frami.bench.killed_studio import Killed
from frami.bench.kills import Victim
from frami.errors import FramiError
from tests.helpers.cli import run


@pytest.mark.slow
def test_a_command_that_is_killed_ends_whole(capsys, tmp_path):
    out = tmp_path / "kills.md"
    status, text, err = run(capsys, "bench", "kills", "--times", 2, "--only", "train-teacher", "--out", out, "--json")
    assert status == 0, err
    value = json.loads(text)
    (row,) = value["rows"].values()
    assert len(row["moments"]) == value["kills"] >= 1 and row["whole"] >= 1 and not row["wrong"], row
    assert "| `frami train-teacher` | 2 |" in out.read_text()
    assert out.read_text().splitlines() == kills.page(
        value, "frami bench kills --times 2 --seed 0 --only train-teacher"
    )


@pytest.mark.slow
def test_a_studio_lives_through_kills():
    """Each kind of process once, the page last; then it is started again and ends in peace."""
    told: list[Killed] = []
    killed_studio.run(True, 4, random.Random(0), told.append)
    assert [said for one in told for said in one.wrong] == []
    assert {"a worker", "a distillation", "the page"} <= {one.kind for one in told if not one.none}


def test_what_is_wrong_is_counted(monkeypatch):
    def lost(folder):
        raise AssertionError("a clip is missing")

    row = kills.Row(may="nothing")
    assert not kills._tolerated(row, "at the end", lambda: lost(None))
    assert row.wrong == ["at the end: AssertionError: a clip is missing"]
    value = {"machine": "one", "kills": 3, "asked": 9, "seconds": 60, "seed": 0, "commit": "abc"}
    value |= {"rows": {"studio: the page": asdict(row)}}
    lines = "\n".join(kills.page(value, "frami bench kills"))
    assert "something lost or left behind" in lines and "ended before the 9" in lines
    assert "- studio: the page: at the end: AssertionError: a clip is missing" in lines
    assert not kills.held(value)


def test_it_ends_with_status_1_where_something_was_lost(capsys, monkeypatch):
    monkeypatch.setattr(kills, "run", lambda *_: {"rows": {"one": {"wrong": ["a clip"]}}})
    monkeypatch.setattr(kills, "page", lambda *_: [])
    assert run(capsys, "bench", "kills")[0] == 1
    monkeypatch.setattr(kills, "run", lambda *_: {"rows": {"one": {"wrong": []}}})
    assert run(capsys, "bench", "kills")[0] == 0


def test_half_a_file_is_noticed(tmp_path):
    row = kills.Row(may="nothing")
    (tmp_path / "manifest.json").write_text('{"complete": tr')
    assert not kills._tolerated(row, "after a kill", lambda: kills._readable(tmp_path)) and row.wrong


def test_works_are_equal_by_their_numbers(tmp_path):
    def print_of(number, count):
        save_file({"a": torch.tensor([number]), "count": torch.tensor(count)}, tmp_path / "student.safetensors")
        victim = Victim("one", lambda _: [], lambda _: None, lambda at: [at / "student.safetensors"], "nothing")
        return kills._tensors(victim, tmp_path)

    assert print_of(0.5, 3) == print_of(0.5, 3) != print_of(0.25, 3) and print_of(0.5, 3) != print_of(0.5, 4)


def test_it_is_bounded():
    for wrong, said in (({"times": 0}, "1 to 1000 kills"), ({"times": 1, "only": "rm"}, "no command 'rm'")):
        with pytest.raises(FramiError, match=said):
            kills.run(report=lambda *_: None, **wrong)
