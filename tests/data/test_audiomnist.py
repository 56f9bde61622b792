"""AudioMNIST's table of speakers is read for what it says, and never keeps its clips from loading."""

import json

import pytest

from frami import cli, data
from frami.data.audiomnist import FILE, speakers
from frami.data.dataset import Speaker


@pytest.fixture
def write(tmp_path):
    """``write(table)``: a folder with this table, text or a value; returns what is read of it."""

    def read(table) -> dict[str, Speaker]:
        path = tmp_path / FILE
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(table if isinstance(table, bytes) else json.dumps(table).encode())
        return speakers(tmp_path)

    return read


def test_a_row_as_published(write):
    row = {
        "accent": "german", "age": 30, "gender": "male", "native speaker": "no", "origin": "Europe, Germany, Wuerzburg",
        "recordingdate": "17-06-22-11-04-28", "recordingroom": "Kino",
    }  # fmt: skip
    assert write({"01": row}) == {"01": Speaker(30, "male", "German", False, "Europe, Germany, Wuerzburg", "kino")}


@pytest.mark.parametrize(
    ("said", "age"),
    [
        *[(30, 30), ("25", 25), (" 27 years", 27), (31.0, 31)],
        *[(wrong, None) for wrong in ("1234", 1234, "12345", 0, -5, "", None, "unknown", True, [25])],
    ],
)
def test_ages(said, age, write):
    assert write({"45": {"age": said}})["45"].age == age


def test_spellings(write):
    found = write(
        {
            "52": {"recordingroom": "vr-romm", "Native speaker": "Yes", "accent": "French ", "gender": "Female"},
            "23": {"recordingroom": "VR-Room", "native_speaker": True, "accent": "", "gender": 1},
            " 7": {"native speaker": "partly"},
            "32": {"accent": "Egyptian_American?"},
            "note": {"age": 3},
            "33": "lost",
        }
    )
    assert found == {
        "07": Speaker(),
        "23": Speaker(native=True, room="vr-room"),
        "32": Speaker(accent="Egyptian_American?"),
        "52": Speaker(None, "female", "French", True, None, "vr-room"),
    }


@pytest.mark.parametrize("table", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b"null", b"[" * 100_000, b'{"01": null}'])
def test_a_table_that_says_nothing(table, write):
    assert write(table) == {}


def test_clips_load_whatever_the_table_is(make_tree, tmp_path, capsys):
    root = make_tree("audiomnist", tmp_path, speakers=(1, 17, 60))
    path = root / "AudioMNIST" / FILE
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"01": {"age": "30"}, "02": {"age": 25}}).encode())
    assert len(data.index("audiomnist", root)) == 30
    assert cli.main(["data", "list", "--json", "--data", str(root)]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    there = rows["audiomnist"]["speakers"]
    assert list(there) == ["01", "17", "60"], "of the clips here alone"
    assert there["01"]["age"] == 30 and there["17"] == there["60"] == dict.fromkeys(there["01"])
    assert rows["fsdd"]["speakers"] is None
    for table in (b"not JSON", None):
        path.unlink() if table is None else path.write_bytes(table)
        assert len(data.load("audiomnist", "all", root)) == 30


def test_the_real_table(real_data):
    known = speakers(real_data / "AudioMNIST")
    here = {clip.source for clip in data.index("audiomnist", real_data)}
    assert here < set(known) and known["01"].accent == known["02"].accent == "German"
    assert {speaker.room for speaker in known.values()} == {"kino", "vr-room", "library"}
    assert all(speaker.age and speaker.native is not None for speaker in known.values())
