"""Tables that other programs saved are read, and the file that a table lists is found, whatever its name."""

import unicodedata
from pathlib import Path

import pytest
import torch

from frami import audio, data
from frami.data import DataError
from frami.data.dataset import split_ending

TABLES = {"esc10": "ESC-50/meta/esc50.csv", "urbansound8k": "UrbanSound8K/metadata/UrbanSound8K.csv"}


@pytest.mark.parametrize(
    "saved",
    {
        "by Excel": lambda text: b"\xef\xbb\xbf" + text.replace("True", "TRUE").replace("False", "FALSE").encode(),
        "with semicolons": lambda text: text.replace(",", ";").encode(),
        "with semicolons and their line": lambda text: b"sep=;\r\n" + text.replace(",", ";").encode(),
        "with tabs in UTF-16": lambda text: text.replace(",", "\t").encode("utf-16"),
        "with Windows' line ends": lambda text: text.replace("\r", "").replace("\n", "\r\n").encode(),
        "with Unix's line ends": lambda text: text.replace("\r", "").encode(),
        "with spaces and empty rows": lambda text: text.replace(",", " , ").encode() + b",,,,,,\n\n",
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_another_program_saved(saved, name, make_tree, tmp_path):
    root = make_tree(name, tmp_path)
    expected = data.index(name, root)
    (root / TABLES[name]).write_bytes(saved[1]((root / TABLES[name]).read_bytes().decode()))
    assert data.index(name, root) == expected


def test_a_cell_that_is_neither_yes_nor_no_is_named(make_tree, tmp_path):
    root = make_tree("esc10", tmp_path)
    path = root / TABLES["esc10"]
    path.write_bytes(path.read_bytes().replace(b"True", b"maybe"))
    with pytest.raises(DataError, match=r"esc50\.csv: 'maybe' in the column esc10"):
        data.index("esc10", root)
    path.write_bytes("filename;Größe\n".encode("cp1252"))
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        data.index("esc10", root)


def clip_of(path: Path) -> data.Clip:
    stem, ending = split_ending(path)
    return data.Clip(stem, 0, "1", "somebody", ending=ending)


def test_the_listed_file_is_taken_before_another_of_its_name(tmp_path):
    for name in ("x.mp3", "x.wav", "x.flac", "y.ogg", "y.mp3", "z.WAV", "take 1.5.wav"):
        (tmp_path / name).touch()
    wanted = {
        "x.wav": "x.wav", "x.mp3": "x.mp3", "x": "x.wav", "x.ogg": "x.wav", "y.wav": "y.ogg",
        "z.wav": "z.WAV", "take 1.5": "take 1.5.wav",
    }  # fmt: skip
    found = data.find([clip_of(tmp_path / name) for name in wanted])
    assert [path.name for path in found] == list(wanted.values())


def test_names_of_any_script_are_found_however_their_accents_are_encoded(tmp_path):
    names = ["Mäuse.wav", "хлопок.wav", "笑い声.wav", "مطر.wav", "x² 'a' 🔔.wav"]
    for name in names:
        (tmp_path / unicodedata.normalize("NFD", name)).touch()
    found = data.find([clip_of(tmp_path / name) for name in names])
    assert [unicodedata.normalize("NFC", path.name) for path in found] == names


def test_links_are_followed_and_broken_ones_named(tmp_path):
    (tmp_path / "real").mkdir()
    audio.save(tmp_path / "real" / "a.wav", torch.zeros(2_000))
    (tmp_path / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "b.wav").symlink_to(tmp_path / "real" / "a.wav")
    (tmp_path / "c.wav").symlink_to(tmp_path / "nowhere.wav")
    found = data.find([clip_of(tmp_path / "linked" / "a.wav"), clip_of(tmp_path / "b.wav")])
    assert [len(audio.load(path)) for path in found] == [2_000, 2_000]
    with pytest.raises(DataError, match=r"1 of 1 listed .*c\.wav \(a link to a file that is not there\)"):
        data.find([clip_of(tmp_path / "c.wav")])


def test_a_clip_in_a_format_that_is_not_read_is_named_with_what_to_do(tmp_path):
    (tmp_path / "a.MPC").touch()
    with pytest.raises(DataError, match=r"a\.MPC \(not read here; convert it, for example: ffmpeg -i a\.MPC a\.wav"):
        data.find([clip_of(tmp_path / "a.wav")])


def test_a_digit_with_a_raised_number_in_its_name_is_no_clip(make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    for name in ("²_theo_0.wav", "1_theo_².wav", "٣_theo_0.wav", "._1_theo_0.wav"):
        (root / "fsdd" / "recordings" / name).touch()
    assert len(data.index("fsdd", root)) == 10
