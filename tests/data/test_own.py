"""A person's own recordings: folders and tables are listed, split and loaded; what is wrong with them is said."""

import os
import shutil
import time

import numpy as np
import pytest
import soundfile

from frami import audio, data, sound_files
from frami.audio import MelSpec
from frami.data import DataError, own
from tests.helpers.own import make_folder, make_table
from tests.helpers.recordings import RATE, tone

SPEC = MelSpec()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "log-mels"


def rows_of(folds: str = "", groups: str = "", classes: str = "abababab") -> list[dict[str, str]]:
    """Rows of a table: fold and group of each file, a letter each."""
    rows = [{"file": f"{i}.wav", "class": name} for i, name in enumerate(classes)]
    for column, letters in (("fold", folds), ("group", groups)):
        for row, letter in zip(rows, letters, strict=False):
            row[column] = letter
    return rows


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_folder_a_class(tmp_path):
    names = {"big dog's": 5, 'a "quoted", thing': 5, "🐦 bird": 6}
    root = make_folder(tmp_path / "my sounds", names)
    (root / "🐦 bird" / "deep" / "deeper").mkdir(parents=True)
    (root / "🐦 bird" / "0.wav").rename(root / "🐦 bird" / "deep" / "deeper" / "Ünder²の.WAV")
    for hidden in (".DS_Store", "🐦 bird/._1.wav", "notes.txt", "🐦 bird/readme.md"):
        (root / hidden).write_bytes(b"no sound")
    (root / "empty").mkdir()
    known = data.info(root)
    assert known.classes == tuple(sorted(names)) and known.title == "my sounds" and known.clips == 16
    assert data.info(str(root)) is known, "it is read once"
    clips = data.index(root)
    assert [sum(clip.label == i for clip in clips) for i in range(3)] == [5, 5, 6]
    assert known.folds == ("1", "2", "3", "4", "5") and known.test_fold == "1"
    assert known.note == "no fold or group given: split 1 of 5 held out by class, seed 0"
    assert [clip.label for clip in clips if clip.fold == "1"] == [0, 1, 2]
    loaded = data.load(root, "all")
    assert len(loaded) == 16 and {len(mel) for mel in loaded.frames} == {SPEC.frames(0.25)}
    found = own.listing(root)
    assert (found.others, found.outside, found.empty) == (2, (), ("empty",))


def test_a_folder_that_changes_is_read_again(tmp_path):
    root = make_folder(tmp_path / "it", {"a": 3, "b": 3})
    before = data.info(root)
    time.sleep(0.02)
    soundfile.write(root / "a" / "new.wav", tone(0), RATE)
    assert data.info(root).clips == 7 and data.info(root).fingerprint != before.fingerprint
    (root / "a" / "new.wav").unlink()
    assert data.info(root).fingerprint == before.fingerprint


def test_folders_that_are_folds(tmp_path):
    for part in ("Train", "test"):
        make_folder(tmp_path / "set" / part, {"yes": 2, "no": 2})
    known = data.info(tmp_path / "set")
    assert (known.classes, known.folds, known.test_fold) == (("no", "yes"), ("Train", "test"), "test")
    assert {clip.fold for clip in data.load(known.name, "train").clips} == {"Train"}
    sounding = make_folder(tmp_path / "railway", {"train": 2, "test": 2})
    assert data.info(sounding).classes == ("test", "train"), "sounds in them make them classes"


def test_links_are_followed_once(tmp_path):
    root = make_folder(tmp_path / "it", {"a": 2, "b": 2})
    elsewhere = make_folder(tmp_path / "other", {"more": 3}) / "more"
    (root / "a" / "linked").symlink_to(elsewhere)
    (root / "a" / "round").symlink_to(root / "a")
    (root / "b" / "up").symlink_to(root)
    (root / "b" / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    (root / "b" / "loop").symlink_to("loop")
    (root / "b" / "itself.wav").symlink_to(root / "b" / "itself.wav")
    assert data.info(root).clips == 2 + 3 + 2 + 2
    with pytest.raises(DataError, match=r"gone\.wav: a link to a file that is not there"):
        data.load(root)


def test_many_files_are_listed_without_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "load", None)
    for name in "ab":
        (tmp_path / "many" / name).mkdir(parents=True)
        for i in range(1_000):
            os.close(os.open(tmp_path / "many" / name / f"{i}.wav", os.O_CREAT))
    start = time.process_time()
    assert len(data.index(tmp_path / "many")) == 2_000
    assert time.process_time() - start < 1, "100,000 in less than a minute"
    start = time.process_time()
    for _ in range(20):
        data.info(tmp_path / "many")
    assert time.process_time() - start < 0.1, "what has not changed is not listed again"


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table(tmp_path):
    names = ["cat/dog", 'the "best"', "a, b", "🎺"]
    rows = [{"file": f"sub/{i}.wav", "class": names[i % 4]} for i in range(12)]
    known = data.info(make_table(tmp_path / "clips.csv", rows))
    assert known.classes == tuple(sorted(names)) and known.title == "clips"
    assert len(data.load(tmp_path / "clips.csv", "all")) == 12


@pytest.mark.parametrize(
    "saved",
    [
        lambda text: b"\xef\xbb\xbf" + text.replace(",", ";").replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: ("sep=;\n" + text.replace(",", ";")).encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
    ids=["Excel, BOM, semicolons, CRLF", "UTF-16 with tabs", "sep=", "empty lines"],
)
def test_a_table_as_a_spreadsheet_saves_it(saved, tmp_path):
    text = "GROUP,Class , file,Fold\nx,ä,0.wav,1.0\nx,b,1.wav,1.0\ny,ä,2.wav,2.0\ny,b,3.wav,10\n"
    (tmp_path / "t.csv").write_bytes(saved(text))
    known, clips = data.info(tmp_path / "t.csv"), data.index(tmp_path / "t.csv")
    assert (known.classes, known.folds, known.test_fold) == (("b", "ä"), ("1", "2", "10"), "1")
    assert [(clip.file.name, clip.fold, clip.source) for clip in clips] == [
        ("0.wav", "1", "x"), ("1.wav", "1", "x"), ("2.wav", "2", "y"), ("3.wav", "10", "y"),
    ]  # fmt: skip


def test_a_file_is_one_however_its_path_is_written(tmp_path):
    """And under two classes: it is not learnt and measured."""
    make_folder(tmp_path, {"s": 8})
    ways = ["s/0.wav", "./s/0.wav", "s/../s/0.wav", f"{tmp_path}/s/0.wav", "s\\0.wav"]
    rows = [{"file": way, "class": "a"} for way in ways] + [{"file": "s//0.wav", "class": "b"}]
    rows += [{"file": f"s/{i}.wav", "class": "ab"[i % 2]} for i in range(1, 8)]
    clips = data.index(make_table(tmp_path / "t.csv", rows, sounds=False))
    assert len(clips) == 9
    twice = [clip for clip in clips if clip.source == "s/0.wav"]
    assert {clip.label for clip in twice} == {0, 1} and len({clip.fold for clip in twice}) == 1


def test_folds_that_differ_in_capitals_only_are_one(tmp_path):
    rows = [row | {"fold": fold} for row, fold in zip(rows_of(), ["Test", "test", "TRAIN", "train"] * 2, strict=True)]
    known = data.info(make_table(tmp_path / "t.csv", rows))
    assert known.folds == ("TRAIN", "Test") and known.test_fold == "Test"
    assert len(data.load(tmp_path / "t.csv", "test")) == 4


def test_names_do_not_steer_a_terminal(tmp_path):
    root = make_folder(tmp_path / "it", {"red\x1b[31m": 2, "\u202eback": 2, "\x1b": 2})
    assert data.info(root).classes == ("'\\x1b'", "back", "red [31m")


def test_backslashes_and_absolute_paths(tmp_path):
    (sound,) = [make_folder(tmp_path / "far", {"x": 1}) / "x" / "0.wav"]
    rows = [{"file": "sub\\a.wav", "class": "a"}, {"file": str(sound), "class": "b"}]
    table = make_table(tmp_path / "t.csv", rows, sounds=False)
    make_folder(tmp_path, {"sub": 1})
    (tmp_path / "sub" / "0.wav").rename(tmp_path / "sub" / "a.wav")
    assert len(data.load(table, "all")) == 2


def test_folds_by_column(tmp_path):
    table = make_table(tmp_path / "t.csv", rows_of("ttvvssss", "aabbccdd"))
    assert data.info(table).folds == ("s", "t", "v") and data.info(table).test_fold == "s"
    rows = [row | {"fold": {"t": "train", "v": "validation", "T": "test"}[row["fold"]]} for row in rows_of("ttvvTTTT")]
    named = make_table(tmp_path / "named.csv", rows)
    known = data.info(named)
    assert known.test_fold == "test" and known.note == "split by the folds that are given"
    assert known.validation_folds == ("validation",), "it chooses the best epoch of a training"
    two = [row | {"fold": {"t": "train", "v": "dev"}[row["fold"]]} for row in rows_of("ttttvvvv")]
    other = data.info(make_table(tmp_path / "two.csv", two))
    assert (other.test_fold, other.validation_folds) == ("dev", ()), "what is left is not what trains"
    assert len(data.load(named, "train")) == 4, "all but the held-out fold"
    assert len(data.load(named, ["train"])) == 2, "the fold of that name"
    assert len(data.load(named, "test")) == 4


def test_folds_by_group(tmp_path):
    table = make_table(tmp_path / "t.csv", rows_of("", "aabbccdd"))
    known, clips = data.info(table), data.index(table)
    assert known.note == "no fold given: split 1 of 4 held out by group, seed 0"
    assert all(len({clip.fold for clip in clips if clip.source == group}) == 1 for group in "abcd")
    one_each = data.info(make_table(tmp_path / "one.csv", rows_of("", "abababab")))
    assert (one_each.folds, one_each.test_fold) == (("1",), "1") and "split 1 of 1 held out" in one_each.note
    torn = make_table(tmp_path / "torn.csv", rows_of("11122222", "aaaabbbb"))
    assert "1 group is in two folds" in data.info(torn).note


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected the columns file and class"),
        ("name,kind\n1,2\n", "it has: name, kind"),
        ("file,class\na.wav,x\n", "at least two classes; found x"),
        ("file,class\na.wav,x\n,y\n", "row 3 has no file"),
        ("\nfile,class\n\na.wav,x\n\n,y\n", "row 5 has no file"),
        ("file,class,fold\na.wav,x,1\nb.wav,y,\n", "row 3 has no fold"),
        ('file,class,fold\na.wav,x,"1,2"\nb.wav,y,2\n', "has no comma"),
        ("file,class\na.wav,x\nb.wav\n", "row 3 has no class"),
        ("file,class\ncaf\udce9.wav,x\n", "in UTF-8"),
        (f"file,class\na.wav,{'x' * 300}\nb.wav,y\n", "row 2: the name of a class has more than 255"),
        (f"file,class,fold\na.wav,x,{'1' * 300}\nb.wav,y,2\n", "row 2: the name of a fold has more than 255"),
        (f'file,class\n"a.wav,x\n{"b.wav,y" * 20_000}', "is a quotation mark not closed"),
    ],
)
def test_a_bad_table(text, said, tmp_path):
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"t\.csv") as caught:
        data.info(tmp_path / "t.csv")
    assert said in str(caught.value)


def test_a_path_that_is_no_data_set(tmp_path):
    (sound,) = (make_folder(tmp_path / "far", {"x": 1}) / "x").iterdir()
    with pytest.raises(DataError, match=r"0\.wav: a sound file; give a folder"):
        data.info(sound)
    shutil.rmtree(tmp_path / "far")
    with pytest.raises(DataError, match="no such folder or table"):
        data.info(tmp_path / "gone")
    with pytest.raises(DataError, match="at least two folders"):
        data.info(tmp_path)
    make_folder(tmp_path, {"only": 2})
    (tmp_path / "clips.csv").write_text("x")
    with pytest.raises(DataError, match=r"found only\. There is a table: give .*clips\.csv"):
        data.info(tmp_path)
    with pytest.raises(DataError, match="give the path of your own recordings"):
        data.info("somewhere")


def test_bad_files_are_named_and_skipped_when_asked(tmp_path, cache):
    root = make_folder(tmp_path / "it", {"a": 4, "b": 4})
    soundfile.write(root / "a" / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(root / "a" / "short.wav", tone(0, 0.03), RATE)
    soundfile.write(root / "b" / "nothing.wav", np.zeros(0), RATE)
    (root / "b" / "text.mp3").write_text("no sound")
    (root / "b" / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    with pytest.raises(DataError) as caught:
        data.load(root)
    assert "5 of 13 files of it cannot be used" in str(caught.value) and "and 2 more" in str(caught.value)
    assert "--skip-bad" in str(caught.value) and len(str(caught.value).splitlines()) == 1
    for _ in range(2):  # decoded, and from the cache
        lines = []
        loaded = data.load(root, skip=lines.append)
        assert len(loaded) == 8 and loaded.labels.tolist().count(0) == 4
        assert len(lines) == 5 and [word for word in ("silent", "too short (30 ms") if word in "".join(lines)]
    with pytest.raises(DataError):
        data.load(root)
    nothing = make_folder(tmp_path / "none", {"a": 1, "b": 1})
    for file in nothing.rglob("*.wav"):
        soundfile.write(file, np.zeros(RATE), RATE)
    with pytest.raises(DataError, match="no file of fold 1 can be used"):
        data.load(nothing, "1", skip=lambda line: None)


def test_a_file_that_the_system_refused_is_tried_again(tmp_path, cache, monkeypatch):
    """Its rights may have changed, which neither its size nor its time says."""
    root = make_folder(tmp_path / "it", {"a": 2, "b": 2})
    read = own.sound

    def refused(path, rate):
        if path == root / "a" / "1.wav":
            raise sound_files.UnreadableError(f"{path}: not readable") from PermissionError(13, "Permission denied")
        return read(path, rate)

    with monkeypatch.context() as patched:
        patched.setattr(own, "sound", refused)
        assert len(data.load(root, skip=lambda line: None)) == 3
    assert len(data.load(root)) == 4


def test_names_that_are_no_names_of_files(tmp_path, cache):
    """Bytes that are no UTF-8, a NUL in a table, and a name too long for a file: named like any bad file."""
    root = make_folder(tmp_path / "it", {"a": 2, "b": 2})
    soundfile.write(root / "a" / "silent.wav", np.zeros(RATE), RATE)
    try:
        (root / "a" / "silent.wav").rename(root / "a" / os.fsdecode(b"\xff.wav"))
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    for _ in range(2):  # decoded, and from the cache
        lines = []
        assert len(data.load(root, skip=lines.append)) == 4
        assert len(lines) == 1 and "silent" in lines[0]
    for name in ("a\0b.wav", "c" * 300 + ".wav"):
        table = make_table(tmp_path / "it" / "t.csv", [{"file": f"{c}/0.wav", "class": c} for c in "ab"])
        table.write_text(table.read_text() + f"{name},a\n")
        with pytest.raises(DataError, match=r"1 of 3 files of t cannot be used: .*no such sound file"):
            data.load(table)
    with pytest.raises(DataError, match="no data set named"):
        data.info("d" * 300)


def test_a_broken_clip_of_a_published_set_can_be_skipped_too(make_tree, tmp_path, cache):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    (root / "fsdd" / "recordings" / "3_theo_0.wav").write_bytes(b"RIFF")
    lines = []
    assert len(data.load("fsdd", "theo", root, skip=lines.append)) == 9 and "3_theo_0" in lines[0]
    with pytest.raises(audio.AudioError, match="3_theo_0"):
        data.load("fsdd", "theo", root)


# --- durations -------------------------------------------------------------------------------------------------------


def test_long_recordings_become_segments(tmp_path, cache):
    root = make_folder(tmp_path / "it", {"a": 2, "b": 2})
    soundfile.write(root / "a" / "long.wav", np.concatenate([tone(0, 12), tone(9, 13)]), RATE)
    soundfile.write(root / "b" / "just.wav", tone(3, 0.05), RATE)
    loaded = data.load(root)
    parts = [i for i, clip in enumerate(loaded.clips) if clip.file.name == "long.wav"]
    assert len(parts) == 3 and len(loaded) == 4 + 3 + 1
    assert len({loaded.clips[i].fold for i in parts}) == 1, "both sides never share a file"
    assert len({loaded.clips[i].key for i in parts}) == 3
    whole = SPEC(audio.load(root / "a" / "long.wav", SPEC.sample_rate))
    assert sum(len(loaded.frames[i]) for i in parts) == whole.shape[1]
    assert max(len(loaded.frames[i]) for i in parts) - min(len(loaded.frames[i]) for i in parts) <= 1
    last = data.sound(loaded.clips[parts[2]], SPEC.sample_rate)
    inner = SPEC(last)[:, 4:-4]
    assert (inner - loaded.clip(parts[2])[:, 4 : 4 + inner.shape[1]]).abs().max() < 0.1


def test_no_hour_is_decoded(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "hour.wav", np.ones(3600 * 1000, np.int16), 1_000)
    monkeypatch.setattr(audio, "mono", None)
    with pytest.raises(audio.AudioError, match=r"hour\.wav: too long \(60 minutes\)"):
        own.sound(tmp_path / "hour.wav", 22_050)
