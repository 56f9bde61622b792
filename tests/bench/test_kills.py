"""The benchmark of kills: a short run of it, and that it notices what is wrong."""

import json

import pytest

from frami.bench import kills
from frami.bench.kills import Victim
from frami.errors import FramiError
from tests.helpers.cli import run

QUIET = ["runs", "list"]


@pytest.mark.slow
def test_a_command_that_is_killed_ends_whole(capsys, tmp_path):
    out = tmp_path / "kills.md"
    status, text, err = run(capsys, "bench", "kills", "--times", 2, "--only", "train-teacher", "--out", out, "--json")
    assert status == 0, err
    value = json.loads(text)
    (row,) = value["commands"].values()
    assert row["killed"] + row["ended"] >= 1 and row["whole"] >= 1 and not row["wrong"], row
    assert "| `frami train-teacher` |" in out.read_text()
    assert out.read_text().splitlines() == kills.page(
        value, "frami bench kills --times 2 --seed 0 --only train-teacher"
    )


def test_what_is_wrong_is_counted(monkeypatch):
    def lost(folder):
        raise AssertionError("a clip is missing")

    row = kills._Row()
    assert not kills._tolerated(row, Victim("synthesize", lambda folder: QUIET, lost), "at the end", lambda: lost(None))
    assert row.wrong == ["synthesize at the end: AssertionError: a clip is missing"]


def test_half_a_file_is_noticed(tmp_path):
    row, victim = kills._Row(), kills.VICTIMS[0]
    (tmp_path / "manifest.json").write_text('{"complete": tr')
    assert not kills._tolerated(row, victim, "after a kill", lambda: kills._readable(tmp_path)) and row.wrong


def test_it_is_bounded():
    for wrong, said in (({"times": 0}, "1 to 1000 kills"), ({"times": 1, "only": "rm"}, "no command 'rm'")):
        with pytest.raises(FramiError, match=said):
            kills.run(report=lambda *_: None, **wrong)
