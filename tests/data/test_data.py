"""Published layouts are read, spectrograms are computed once, and what is wrong with a folder is said."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from frami import audio, data
from frami.audio import AudioError, MelSpec
from frami.data import DataError
from frami.data.catalogue import AUDIOMNIST_FOLDS, DATASETS
from frami.errors import FramiError
from frami.teachers import train_teacher

SPEC = MelSpec()
LAYOUTS = ["fsdd", "audiomnist", "speechcommands-digits", "esc10", "esc50", "urbansound8k"]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "log-mels"


@pytest.fixture
def deaf(monkeypatch):
    """Call it, and from then on decoding a sound fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"decodes {args[0]}")

    return lambda: monkeypatch.setattr(audio, "load", refuse)


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_fsdd(make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, speakers=("george", "theo"), takes=2)
    (root / "fsdd" / "recordings" / "notes.txt").write_text("not a clip")
    clips = data.index("fsdd", root)
    assert len(clips) == 2 * 10 * 2
    assert Counter(clip.fold for clip in clips) == {"george": 20, "theo": 20}
    for clip in clips:
        digit, speaker, _ = clip.stem.name.split("_")
        assert (clip.label, clip.fold, clip.source) == (int(digit), speaker, speaker)
    assert data.load("fsdd", "all", root).classes[:2] == ("zero", "one")


def test_audiomnist(make_tree, tmp_path):
    root = make_tree("audiomnist", tmp_path, speakers=(1, 26, 60))
    clips = data.index("audiomnist", root)
    assert len(clips) == 30
    for clip in clips:
        digit, speaker, _ = clip.stem.name.split("_")
        assert clip.label == int(digit)
        assert clip.source == speaker
        assert int(speaker) in AUDIOMNIST_FOLDS[clip.fold]
    loaded = data.load("audiomnist", "test", root)
    assert {clip.source for clip in loaded.clips} == {"26", "60"}
    assert {clip.source for clip in data.load("audiomnist", "train", root).clips} == {"01"}


def test_speech_commands_by_its_lists(make_tree, tmp_path):
    root = make_tree("speechcommands-digits", tmp_path)
    folder = root / "SpeechCommands"
    (folder / "testing_list.txt").open("a").write("four/0c3_nohash_7.wav\n.\n/\n")  # listed, not here
    (folder / "one" / "notes.txt").write_text("not a clip")
    (folder / "one" / "0a1_nohash_².wav").write_bytes(b"")
    clips = data.index("speechcommands-digits", root)
    assert {(DATASETS["speechcommands-digits"].classes[c.label], c.source, c.fold) for c in clips} == {
        (word, speaker, fold)
        for word in ("zero", "one", "nine")
        for speaker, fold in (("0a1", "train"), ("0b2", "validation"), ("0c3", "testing"))
    }
    assert len(clips) == 9 and [c.label for c in clips] == sorted(c.label for c in clips)
    assert {c.fold for c in data.load("speechcommands-digits", "test", root).clips} == {"testing"}
    assert {c.fold for c in data.load("speechcommands-digits", "train", root).clips} == {"train", "validation"}
    words = {DATASETS["speechcommands"].classes[c.label] for c in data.index("speechcommands", root)}
    assert words == {"zero", "one", "nine", "happy"}


def test_lists_of_another_system_are_read_and_a_lost_one_is_named(make_tree, tmp_path):
    root = make_tree("speechcommands-digits", tmp_path)
    expected = data.index("speechcommands-digits", root)
    lists = sorted((root / "SpeechCommands").glob("*_list.txt"))
    for path in lists:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert data.index("speechcommands-digits", root) == expected
    lists[1].unlink()
    with pytest.raises(DataError, match=r"validation_list\.txt"):
        data.index("speechcommands-digits", root)


def test_digits_of_several_sets(make_tree, tmp_path):
    """Each part keeps its speakers apart, by the folds and under the names of its own; one that is not here is passed
    over."""
    make_tree("fsdd", tmp_path)
    make_tree("audiomnist", tmp_path, speakers=(1, 26, 12))
    assert {clip.fold for clip in data.index("digits", tmp_path)} == {
        "fsdd/george", "fsdd/theo", "audiomnist/1", "audiomnist/2", "audiomnist/5"
    }  # fmt: skip
    card = train_teacher("digits", tmp_path / "part", data_folder=tmp_path, size="nano", epochs=1, versions=0)
    assert set(card.split["test"]) == {"fsdd/theo", "audiomnist/1", "audiomnist/5"} and card.clips == 10 + 20
    make_tree("speechcommands-digits", tmp_path)
    counted = Counter(clip.fold for clip in data.index("digits", tmp_path))
    assert sum(counted.values()) == 20 + 30 + 9 and counted["speechcommands-digits/validation"] == 3
    assert {c.source for c in data.load("digits", "test", tmp_path).clips} == {
        "fsdd/theo", "audiomnist/26", "audiomnist/12", "speechcommands-digits/0c3"
    }  # fmt: skip
    assert {c.label for c in data.load("digits", "speechcommands-digits/testing", tmp_path).clips} == {0, 1, 9}
    card = train_teacher(
        "digits", tmp_path / "it", data_folder=tmp_path, size="nano", epochs=1, versions=1, test_folds=None
    )
    assert card.split["validation"] == ["speechcommands-digits/validation"]
    assert set(card.split["train"]) == {"fsdd/george", "audiomnist/2", "speechcommands-digits/train"}
    assert set(card.split["test"]) == set(DATASETS["digits"].test_folds) and card.clips == 10 + 20 + 3


def test_esc50_and_its_esc10(make_tree, tmp_path):
    root = make_tree("esc50", tmp_path, folds=(1, 2))
    large, small = data.index("esc50", root), data.index("esc10", root)
    assert Counter((DATASETS["esc50"].classes[c.label], c.fold) for c in large) == Counter(
        (name, fold) for name in ("dog", "rooster", "cat") for fold in "12"
    )
    assert Counter((DATASETS["esc10"].classes[c.label], c.fold) for c in small) == Counter(
        (name, fold) for name in ("dog", "rooster") for fold in "12"
    )
    assert {(c.stem.name, c.source) for c in small} < {(c.stem.name, c.source) for c in large}
    assert {c.source for c in large if c.fold == "1"} == {"1001", "1011", "1051"}
    assert len(data.load("esc10", "test", root)) == 2


def test_urbansound8k(make_tree, tmp_path):
    root = make_tree("urbansound8k", tmp_path, folds=(1, 2, 10))
    clips = data.index("urbansound8k", root)
    assert Counter(c.fold for c in clips) == {"1": 3, "2": 3, "10": 3}
    assert {(c.label, DATASETS["urbansound8k"].classes[c.label]) for c in clips} == {
        (0, "air_conditioner"),
        (3, "dog_bark"),
        (9, "street_music"),
    }
    assert {c.source for c in clips if c.fold == "10"} == {"7710"}
    assert {c.fold for c in data.load("urbansound8k", "train", root).clips} == {"1", "2"}
    assert {c.fold for c in data.load("urbansound8k", "test", root).clips} == {"10"}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("ending", [".flac", ".ogg"])
def test_another_format_is_found_by_its_stem(name, ending, make_tree, tmp_path):
    wav, other = make_tree(name, tmp_path / "wav"), make_tree(name, tmp_path / "other", ending=ending)
    expected, loaded = data.load(name, "all", wav), data.load(name, "all", other)
    assert {path.suffix for path in data.find(loaded.clips)} == {ending}
    assert [c.stem.name for c in loaded.clips] == [c.stem.name for c in expected.clips]
    assert loaded.labels.tolist() == expected.labels.tolist()
    assert [len(f) for f in loaded.frames] == [len(f) for f in expected.frames]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_folder_itself_or_the_one_above_or_the_environment(name, make_tree, tmp_path, monkeypatch):
    root = make_tree(name, tmp_path)
    own = root / DATASETS[name].folder
    assert data.locate(name, root) == data.locate(name, str(own)) == own
    monkeypatch.setenv("FRAMI_DATA", str(root))
    assert data.locate(name) == own
    monkeypatch.delenv("FRAMI_DATA")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    with pytest.raises(DataError, match="frami data download"):
        data.locate(name)
    shutil.copytree(own, tmp_path / "home" / "data" / own.name)
    assert data.locate(name) == tmp_path / "home" / "data" / own.name


# --- splits ----------------------------------------------------------------------------------------------------------


def test_what_a_split_means():
    known = DATASETS["urbansound8k"]
    assert data.folds_of("urbansound8k", "all") == known.folds
    assert data.folds_of("urbansound8k", "test") == (known.test_fold,) == ("10",)
    assert data.folds_of("urbansound8k", "train") == tuple("123456789")
    assert data.folds_of("urbansound8k", "train", train=("2", "4")) == ("2", "4")
    assert data.folds_of("urbansound8k", "3") == ("3",)
    assert data.folds_of("urbansound8k", "3, 10,3") == ("3", "10")
    assert data.folds_of("fsdd", "theo") == ("theo",)


@pytest.mark.parametrize("name", DATASETS)
def test_train_and_test_are_apart(name):
    train, test = set(data.folds_of(name, "train")), set(data.folds_of(name, "test"))
    assert train and test and not train & test
    assert train | test == set(data.folds_of(name, "all"))


@pytest.mark.parametrize("split", ["eleven", "1,11", "", "0"])
def test_an_unknown_split_is_named(split):
    with pytest.raises(DataError) as caught:
        data.folds_of("urbansound8k", split)
    assert f"'{split.split(',')[-1]}'" in str(caught.value)
    assert "1, 2, 3" in str(caught.value)


def test_an_unknown_name_is_told_the_names():
    with pytest.raises(DataError) as caught:
        data.load("imagenet")
    assert "'imagenet'" in str(caught.value)
    assert all(name in str(caught.value) for name in DATASETS)


def test_a_fold_that_is_not_here(make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, speakers=("george",))
    assert len(data.load("fsdd", "train", root)) == 10
    with pytest.raises(DataError, match=r"no clip of fold theo; it has: george"):
        data.load("fsdd", "test", root)
    with pytest.raises(DataError, match="lucas"):
        data.load("fsdd", "train", root, train=("george", "lucas"))


# --- spectrograms and their cache ------------------------------------------------------------------------------------


def test_values_are_those_of_the_transform(make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, takes=2)
    loaded = data.load("fsdd", "all", root)
    assert loaded.spec == SPEC
    for i, path in enumerate(data.find(loaded.clips)):
        expected = SPEC(audio.load(path, SPEC.sample_rate))
        assert loaded.clip(i).dtype == torch.float32
        assert loaded.clip(i).shape == expected.shape
        assert (loaded.clip(i) - expected).abs().max() < 0.01


def test_another_spectrogram(make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    spec = MelSpec(8_000, 256, 64, 40, 50.0, 3_800.0)
    data.load("fsdd", "theo", root)
    loaded = data.load("fsdd", "theo", root, spec)
    expected = spec(audio.load(data.find(loaded.clips)[3], 8_000))
    assert (loaded.clip(3) - expected).abs().max() < 0.01


def test_the_second_time_nothing_is_decoded(make_tree, tmp_path, cache, deaf):
    root = make_tree("fsdd", tmp_path)
    first = data.load("fsdd", "all", root)
    deaf()
    counted = []
    again = data.load("fsdd", "all", root, progress=lambda done, total: counted.append((done, total)))
    assert counted[-1] == (20, 20)
    assert again.labels.tolist() == first.labels.tolist()
    for i in range(len(first)):
        torch.testing.assert_close(again.clip(i), first.clip(i), rtol=0, atol=0)
    assert len(data.load("fsdd", "test", root)) == 10
    with pytest.raises(AssertionError):
        data.load("fsdd", "test", root, MelSpec(hop_length=512))


def test_a_changed_file_is_decoded_again(make_tree, tmp_path, cache):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    before = data.load("fsdd", "theo", root)
    path = data.find(before.clips)[4]
    audio.save(path, torch.zeros(11_025), 22_050)
    after = data.load("fsdd", "theo", root)
    assert after.clip(4).shape == (80, 43)
    assert (after.clip(4) - SPEC.floor).abs().max() < 0.01
    torch.testing.assert_close(after.clip(3), before.clip(3), rtol=0, atol=0)


def test_a_finished_fold_stays_when_the_next_fails(make_tree, tmp_path, cache, deaf):
    root = make_tree("fsdd", tmp_path)
    broken = root / "fsdd" / "recordings" / "3_theo_0.wav"
    broken.write_bytes(broken.read_bytes()[:20])
    with pytest.raises(AudioError, match="3_theo_0"):
        data.load("fsdd", "george,theo", root)
    assert len([*cache.glob("*.json")]) == 1
    deaf()
    assert len(data.load("fsdd", "george", root)) == 10


class Stop(BaseException):
    """As a keyboard interrupt or a studio's stop button."""


@pytest.mark.parametrize("stop", [Stop, KeyboardInterrupt, RuntimeError])
def test_a_stopped_computation_leaves_no_broken_cache(stop, make_tree, tmp_path, cache):
    root = make_tree("fsdd", tmp_path, speakers=("theo",), takes=3)

    def progress(done, total):
        assert total == 30
        raise stop

    with pytest.raises(stop):
        data.load("fsdd", "theo", root, progress=progress)
    loaded = data.load("fsdd", "theo", root)
    assert len(loaded) == len(loaded.frames) == 30
    assert (loaded.clip(29) - SPEC(audio.load(data.find(loaded.clips)[29]))).abs().max() < 0.01


def test_stopped_while_the_cache_is_written(make_tree, tmp_path, cache, monkeypatch):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    write = Path.write_bytes

    def half(path, content):
        write(path, content[: len(content) // 2])
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(Stop):
            data.load("fsdd", "theo", root)
    assert len(data.load("fsdd", "theo", root)) == 10


def test_a_cache_that_lost_its_array_is_made_again(make_tree, tmp_path, cache):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    data.load("fsdd", "theo", root)
    (array,) = cache.glob("*.npy")
    array.unlink()
    assert len(data.load("fsdd", "theo", root)) == 10


def test_progress_counts_all_folds(make_tree, tmp_path, cache):
    root = make_tree("fsdd", tmp_path, speakers=("george", "theo"), takes=2)
    counted = []
    data.load("fsdd", "all", root, progress=lambda *at: counted.append(at))
    assert counted == sorted(counted)
    assert counted[-1] == (40, 40)
    assert (20, 40) in counted


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_padded_with_silence(make_tree, tmp_path):
    loaded = data.load("fsdd", "all", make_tree("fsdd", tmp_path, takes=3))
    chosen = [5, 0, 7, 58]
    mels, lengths, labels = loaded.batch(chosen)
    assert lengths.tolist() == [len(loaded.frames[i]) for i in chosen]
    assert len(set(lengths.tolist())) > 1
    assert mels.shape == (4, 1, 80, lengths.max())
    assert labels.tolist() == [loaded.clips[i].label for i in chosen]
    for row, i, length in zip(mels[:, 0], chosen, lengths, strict=True):
        torch.testing.assert_close(row[:, :length], loaded.clip(i), rtol=0, atol=0)
        assert row[:, length:].eq(SPEC.floor).all()


def test_batches_give_every_clip_once_and_pad_little(make_mels):
    loaded = make_mels(classes=4, each=7)
    sizes, seen = [], []
    for rows, mels, lengths in loaded.batches(8):
        sizes.append(len(mels))
        seen += rows
        assert lengths.tolist() == sorted(lengths.tolist()) == [len(loaded.frames[i]) for i in rows]
        torch.testing.assert_close(mels[-1, 0], loaded.clip(rows[-1]), rtol=0, atol=0)
    assert sizes == [8, 8, 8, 4] and sorted(seen) == list(range(28))
    chosen = [9, 3, 3, 20]
    ((positions, mels, lengths),) = loaded.batches(8, chosen)
    assert sorted(positions) == [0, 1, 2, 3]
    for position, mel, length in zip(positions, mels[:, 0], lengths, strict=True):
        torch.testing.assert_close(mel[:, :length], loaded.clip(chosen[position]), rtol=0, atol=0)


# --- what can be wrong -----------------------------------------------------------------------------------------------


def test_missing_clips_are_one_error_with_their_number(make_tree, tmp_path):
    root = make_tree("esc50", tmp_path)
    for path in [*(root / "ESC-50" / "audio").glob("1-*")]:
        path.unlink()
    with pytest.raises(DataError) as caught:
        data.load("esc50", "1,2", root)
    assert "3 of 3 listed clips have no sound file" in str(caught.value)
    assert "1-1001-A-0" in str(caught.value)
    shutil.rmtree(root / "ESC-50" / "audio")
    with pytest.raises(DataError, match="listed clips have no sound file"):
        data.load("esc50", "2", root)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"<html>404</html>", bytes(range(256)) * 40])
def test_a_file_that_is_no_sound_is_named(content, make_tree, tmp_path, cache):
    root = make_tree("urbansound8k", tmp_path)
    broken = root / "UrbanSound8K" / "audio" / "fold2" / "772-3-0-0.wav"
    broken.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        data.load("urbansound8k", "2", root)
    assert str(broken) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not [*cache.glob("*.json")]


def test_a_truncated_ogg_is_named(make_tree, tmp_path):
    root = make_tree("urbansound8k", tmp_path, ending=".ogg")
    broken = root / "UrbanSound8K" / "audio" / "fold1" / "771-9-0-0.ogg"
    broken.write_bytes(broken.read_bytes()[:1500])
    with pytest.raises(AudioError, match="771-9-0-0"):
        data.load("urbansound8k", "1", root)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_without_the_data_set(kind, name, tmp_path):
    folder = tmp_path / "somewhere"
    if kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("not a folder")
    with pytest.raises(DataError) as caught:
        data.load(name, "all", folder)
    assert str(folder / DATASETS[name].folder) in str(caught.value)
    assert f"frami data download {name}" in str(caught.value)


@pytest.mark.parametrize("name", ["fsdd", "audiomnist"])
def test_a_folder_of_something_else(name, tmp_path):
    inside = {"fsdd": "recordings", "audiomnist": "data"}[name]
    (tmp_path / inside / "holiday").mkdir(parents=True)
    (tmp_path / inside / "IMG_1_a.wav").write_bytes(b"")
    with pytest.raises(DataError, match="lists no clip"):
        data.load(name, "all", tmp_path)


def test_a_clip_outside_the_published_ones(make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    (root / "fsdd" / "recordings" / "3_somebody_0.wav").write_bytes(b"")
    with pytest.raises(DataError, match="3_somebody_0"):
        data.load("fsdd", "theo", root)
    make_tree("audiomnist", tmp_path, speakers=(1, 61))
    with pytest.raises(DataError, match=r"\d_61_0"):
        data.load("audiomnist", "all", root)


TABLES = {
    "esc10": "ESC-50/meta/esc50.csv",
    "esc50": "ESC-50/meta/esc50.csv",
    "urbansound8k": "UrbanSound8K/metadata/UrbanSound8K.csv",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    "damage",
    {
        "nothing": lambda text: "",
        "header only": lambda text: text.splitlines()[0] + "\n",
        "web page": lambda text: "<html>\n<body>Not found</body>\n</html>\n",
        "noise": lambda text: bytes(range(256)) * 8,
        "cut in the last row": lambda text: text.rstrip()[: text.rstrip().rindex("\n") + 12],
        "cut in a middle row": lambda text: text.replace(text.splitlines()[2], text.splitlines()[2][:8]),
        "foreign class": lambda text: text.replace("dog", "unicorn"),
        "a column lost": lambda text: "\n".join(line.rsplit(",", 2)[0] for line in text.split("\n")),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_broken_table_is_named(damage, name, make_tree, tmp_path):
    root = make_tree(name, tmp_path)
    table = root / TABLES[name]
    broken = damage[1](table.read_text())
    table.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    with pytest.raises(DataError) as caught:
        data.load(name, "all", root)
    assert str(root / DATASETS[name].folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_its_errors_are_for_users():
    assert issubclass(DataError, FramiError)


# --- real recordings (FRAMI_DATA) ------------------------------------------------------------------------------------


def test_real_fsdd(real_data):
    clips = data.index("fsdd", real_data)
    speakers = ("george", "jackson", "nicolas", "theo", "yweweler")
    assert Counter(c.fold for c in clips) == dict.fromkeys(speakers, 500)
    assert set(Counter((c.label, c.fold) for c in clips).values()) == {50}
    loaded = data.load("fsdd", "test", real_data)
    assert len(loaded) == 500 and {c.fold for c in loaded.clips} == {"theo"}
    seconds = [SPEC.seconds(len(f)) for f in loaded.frames]
    assert 0.1 < min(seconds) < max(seconds) < 2.4
    assert all(loaded.clip(i).max() > -5 for i in range(0, 500, 50))


def test_real_esc10(real_data):
    clips = data.index("esc10", real_data)
    assert len(data.find(clips)) == 400
    assert Counter(c.fold for c in clips) == dict.fromkeys("12345", 80)
    assert Counter(c.label for c in clips) == dict.fromkeys(range(10), 40)
    folds = {}
    for clip in clips:
        assert folds.setdefault(clip.source, clip.fold) == clip.fold, "a source recording is in two folds"
    loaded = data.load("esc10", "1", real_data)
    assert len(loaded) == 80
    assert sum(abs(SPEC.seconds(len(f)) - 5) < 0.05 for f in loaded.frames) >= 75


def test_real_urbansound8k(real_data):
    clips = data.index("urbansound8k", real_data)
    assert len(data.find(clips)) == 2598
    assert Counter(c.fold for c in clips) == {"1": 873, "2": 888, "10": 837}
    assert {c.label for c in clips} == set(range(10))
    folds = {}
    for clip in clips:
        assert folds.setdefault(clip.source, clip.fold) == clip.fold, "a source recording is in two folds"
    for path in data.find(clips[::500]):
        mel = SPEC(audio.load(path, SPEC.sample_rate))
        assert 1 < mel.shape[1] <= SPEC.frames(4.05) and mel.max() > -8


@pytest.mark.slow
def test_real_esc50(real_data):
    """Four folds of all classes, and the fifth of ESC-10's; that the others are missing from it is no error."""
    clips = data.index("esc50", real_data)
    assert len(data.find(clips)) == 1680
    assert Counter(c.fold for c in clips) == dict.fromkeys("1234", 400) | {"5": 80}
    assert set(Counter(c.label for c in clips if c.fold != "5").values()) == {32}
    assert {DATASETS["esc50"].classes[c.label] for c in clips if c.fold == "5"} == set(DATASETS["esc10"].classes)
    assert len(data.load("esc50", "5", real_data)) == 80


def test_real_audiomnist(real_data):
    loaded = data.load("audiomnist", "all", real_data)
    assert len(loaded) == 311
    speakers = {"1": {"05"}, "2": {"01"}, "3": {"02"}, "4": {"03"}, "5": {"04", "12"}}
    assert {fold: {c.source for c in loaded.clips if c.fold == fold} for fold in "12345"} == speakers
    assert {c.label for c in loaded.clips if c.source == "01"} == set(range(10))


def test_real_speech_commands(real_data):
    clips = data.index("speechcommands-digits", real_data)
    assert len(data.find(clips)) == 751 and {c.label for c in clips} == set(range(10))
    assert Counter(c.fold for c in clips) == {"train": 563, "testing": 131, "validation": 57}
    folds = {}
    for clip in clips:
        assert folds.setdefault(clip.source, clip.fold) == clip.fold, "a speaker is in two splits"
    assert [c.stem for c in data.index("speechcommands", real_data)] == sorted(c.stem for c in clips)
