"""Recordings that ship: held out by every card, under licences that allow it, credited, small, and what the command
makes."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from frami import checkpoints, data
from frami.cli.recordings import held_out
from frami.data import DataError, shipped, shipping
from frami.data.catalogue import DATASETS

ROWS = shipped.table()
NETWORKS = [*checkpoints.bundled("teacher"), *checkpoints.bundled("student")]


def test_each_is_held_out_by_every_network_of_its_data_sets():
    assert len(ROWS) == len({row.file for row in ROWS}) >= 250
    for card in NETWORKS:
        learnt = {fold for part, folds in card.split.items() if part != "test" for fold in folds}
        for row in ROWS:
            if card.dataset in row.datasets:
                fold = row.clip(card.dataset, shipped.FOLDER).fold
                assert fold in card.split["test"] and fold not in learnt, (card.name, row.file)


def test_no_source_recording_is_in_a_fold_that_a_network_learnt_from(real_data):
    held = held_out()
    for name, part in (("fsdd", "fsdd"), ("esc50", "ESC-50")):
        if not (real_data / part).exists():
            pytest.skip(f"needs {part}")
        learnt = {clip.source for clip in data.index(name, real_data) if clip.fold not in held[name]}
        assert not learnt & {row.source for row in ROWS if name in row.datasets}


@pytest.mark.parametrize(("name", "each"), [("fsdd", 10), ("digits", 10), ("esc10", 7), ("esc50", 2)])
def test_classes_have_the_same_share(name, each):
    counts = Counter(row.label for row in ROWS if name in row.datasets)
    assert set(counts) == set(DATASETS[name].classes)
    assert min(counts.values()) >= each and max(counts.values()) - min(counts.values()) <= 1


def test_licences_allow_it_and_credits_are_whole():
    text = (shipped.FOLDER / shipped.CREDITS).read_text(encoding="utf-8")
    assert text == shipping._credits(ROWS), "as the command makes it"
    assert "CC BY-NC" in text and "“CC-BY” without a version" in text
    for row in ROWS:
        assert row.licence in shipped.LICENCES and shipped.LICENCES[row.licence] in text
        assert f"`{row.file}`" in text and row.url in text and row.author.strip() and row.title.strip() and row.change
        assert all(words in row.credit for words in (row.title, row.author, row.url, row.licence, row.change))
    assert {row.licence for row in ROWS if "fsdd" in row.datasets} == {"CC BY-SA 4.0"}
    assert not [row.file for row in ROWS if "urbansound8k" in row.datasets or "NC" in row.licence]


def test_own_licences_of_esc_are_those_of_its_list(real_data):
    listed = (real_data / "ESC-50" / "LICENSE-and-credits.txt").read_text(encoding="utf-8").splitlines()
    ends = {line[3:].partition(".ogg]")[0]: line.rstrip() for line in listed if line.startswith("- [")}
    short = {"CC BY 3.0": "[CC-BY]", "CC0 1.0": "[CC0]"}
    for row in ROWS:
        if "esc50" in row.datasets:
            assert ends[Path(row.file).stem.rpartition("-")[0]].endswith(short[row.licence]), row.file


def test_files_are_small_and_as_the_table_says():
    files = [path for path in shipped.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8e6
    named = {shipped.FOLDER / row.file for row in ROWS}
    assert set(files) == named | {shipped.FOLDER / name for name in (shipped.TABLE, shipped.CREDITS)}
    for row in ROWS:
        content = (shipped.FOLDER / row.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.sha256
    about = soundfile.info(shipped.FOLDER / ROWS[0].file)
    assert (about.format, about.subtype, about.samplerate) == ("FLAC", "PCM_16", 8000), "FSDD loses nothing"


def test_the_command_makes_the_same_bytes(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        shipping, "PARTS", (shipping.Part("fsdd", "fsdd", 1, ("digits",)), shipping.Part("esc10", "esc", 8))
    )
    monkeypatch.setattr(shipping, "evenly", lambda members, each: [members[0]] if members[0][0].label < 2 else [])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    made = shipping.make(held_out(), real_data, tmp_path / "out")
    assert len(made) == 4 and not (tmp_path / "out" / "old").exists()
    there = {row.file: row.sha256 for row in ROWS}
    assert all(there.get(row.file) == row.sha256 for row in made)
    with pytest.raises(DataError, match="may be given on"):
        shipping.make(held_out() | {"fsdd": {"george"}, "digits": {"fsdd/theo"}}, real_data, tmp_path / "out")


def test_choice_is_even_and_of_every_source():
    def pairs(sources):
        return [(type("Clip", (), {"source": source})(), number) for number, source in enumerate(sources)]

    chosen = shipping.evenly(pairs("aabbcc"), 3)
    assert [number for _, number in chosen] == [0, 2, 4], "one of each source"
    assert [number for _, number in shipping.evenly(pairs("a" * 50), 5)] == [0, 10, 20, 30, 40]
    assert len(shipping.evenly(pairs("ab"), 5)) == 2


def _change(row):
    return [
        row | {"file": "../checkpoints/fsdd.flac"}, row | {"file": "/etc/passwd.ogg"}, row | {"licence": "CC BY-NC"},
        row | {"url": "javascript:alert(1)"}, row | {"datasets": []}, row | {"datasets": ["nothing"]},
        row | {"title": "x" * 5000}, row | {"sha256": "no"}, {"file": row["file"]},
    ]  # fmt: skip


def test_a_missing_or_damaged_table_does_without(tmp_path):
    assert shipped.table(tmp_path) == [] and shipped.listed("fsdd", {"theo"}, tmp_path) == []
    with pytest.raises(DataError, match="no recording"):
        shipped.load("fsdd", {"theo"}, folder=tmp_path)
    row = ROWS[0].model_dump(mode="json")
    (tmp_path / "fsdd").mkdir()
    (tmp_path / row["file"]).write_bytes(b"no sound")
    rows = [[changed] for changed in _change(row)]
    for number, content in enumerate(['{"format": 2, "clips": []}', "[]", "{", "", *map(json.dumps, rows)]):
        text = content if number < 4 else f'{{"format": 1, "clips": {content}}}'
        (tmp_path / shipped.TABLE).write_text(text)
        shipped._table.cache_clear()
        assert shipped.table(tmp_path) == [], text[:200]
    (tmp_path / shipped.TABLE).write_text(json.dumps({"format": 1, "clips": [row, row | {"file": "fsdd/gone.flac"}]}))
    shipped._table.cache_clear()
    assert [one.file for one in shipped.table(tmp_path)] == [row["file"]], "a file that is gone is left out"
    with pytest.raises(DataError, match="no recording"):
        shipped.load("fsdd", {"theo"}, folder=tmp_path)
    assert shipped.listed("fsdd", {"george"}) == [], "a network that learnt from the speaker gets none"
