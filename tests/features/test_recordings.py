"""Which real clips a network is measured on: its own data set's, or those of another whose classes match."""

import pytest

from frami import checkpoints, models
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.features.recordings import choose, same, training_folds


@pytest.fixture(scope="module")
def digits():
    """The bundled teacher's card: trained on george, jackson, nicolas and yweweler; theo is held out."""
    return checkpoints.load("fsdd").card


@pytest.fixture
def card_of(make_card):
    def of(dataset, split=None):
        classes = DATASETS[dataset].classes
        model = models.build("nano", len(classes))
        split = split or {"train": ["2"], "test": ["1"]}
        return make_card(model, f"of-{dataset}", dataset=dataset, classes=classes, split=split)

    return of


def test_its_own_data_set(digits, make_tree, tmp_path):
    tree = make_tree("fsdd", tmp_path, speakers=("theo", "george"))
    clips, origin = choose(digits, None, "test", tree)
    assert len(clips) == 10 and origin.folds == ("theo",) and origin.sources == 1
    assert not (origin.other or origin.trained or origin.left_out or origin.heard) and len(origin.matched) == 10
    clips, origin = choose(digits, "fsdd", "all", tree)
    assert len(clips) == 20 and origin.trained, "it was trained on george"


def test_digits_of_strangers(digits, make_tree, tmp_path):
    """AudioMNIST in figures, Speech Commands in words, in another order than the network's."""
    make_tree("audiomnist", tmp_path, speakers=(1, 26, 28))
    clips, origin = choose(digits, "audiomnist", "test", tmp_path)
    assert len(clips) == 10 and origin.folds == ("1",) and origin.other and not origin.trained
    clips, origin = choose(digits, "audiomnist", "all", tmp_path)
    assert len(clips) == 30 and origin.sources == 3 and clips.classes == digits.classes
    assert all(int(clip.stem.name[0]) == clip.label for clip in clips.clips)
    assert clips.labels.tolist() == [clip.label for clip in clips.clips]


def test_words_that_are_no_digits_are_left_out(digits, make_tree, tmp_path):
    make_tree("speechcommands-digits", tmp_path)
    words, origin = choose(digits, "speechcommands-digits", "all", tmp_path)
    some, wider = choose(digits, "speechcommands", "all", tmp_path)
    assert {(clip.stem, clip.label) for clip in some.clips} == {(clip.stem, clip.label) for clip in words.clips}
    assert all(digits.classes[clip.label] == clip.stem.parent.name for clip in some.clips)
    assert (origin.classes, wider.classes) == (10, 35) and wider.left_out == {"happy": 3} and not origin.left_out


def test_a_part_of_the_classes_is_counted(card_of, make_tree, tmp_path):
    tree = make_tree("esc50", tmp_path, folds=(1, 2))
    clips, origin = choose(card_of("esc10"), "esc50", "test", tree)
    assert [clips.classes[label] for label in clips.labels.tolist()] == ["dog", "rooster"]
    assert origin.left_out == {"cat": 1} and origin.classes == 50 and len(origin.matched) == 10
    clips, origin = choose(card_of("urbansound8k"), "esc50", "1", tree)
    assert [clips.classes[label] for label in clips.labels.tolist()] == ["dog_bark"]
    assert origin.left_out == {"rooster": 1, "cat": 1}


def test_what_it_was_trained_on_does_not_count(card_of, make_tree, tmp_path):
    """ESC-10 is a part of ESC-50: of all its clips those of the training folds are left out."""
    tree = make_tree("esc50", tmp_path, folds=(1, 2))
    clips, origin = choose(card_of("esc10"), "esc50", "all", tree)
    assert origin.folds == ("1",) and len(clips) == 2 and origin.heard == 2 and origin.left_out == {"cat": 2}
    with pytest.raises(FramiError, match="trained on all 2"):
        choose(card_of("esc10"), "esc50", "2", tree)
    chosen_by = card_of("esc10", {"train": ["3"], "validation": ["2"], "test": ["1"]})
    assert choose(chosen_by, "esc50", "all", tree)[1].heard == 2, "fold 2 chose its epoch"
    assert training_folds(chosen_by) == {"2", "3"}


def test_a_clip_of_a_heard_speaker_does_not_count(card_of, make_tree, tmp_path):
    """Another clip of a source recording that one of the training clips comes from."""
    tree = make_tree("esc50", tmp_path, folds=(1, 2))
    table = tree / "ESC-50" / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(",1001,", ",1002,"))
    clips, origin = choose(card_of("esc10"), "esc50", "1", tree)
    assert origin.heard == 1 and [clip.source for clip in clips.clips] == ["1011"]


def test_parts_that_are_not_here_are_passed_over(card_of, make_tree, tmp_path):
    make_tree("fsdd", tmp_path, speakers=("theo", "george"))
    folds = ["fsdd/theo", "speechcommands-digits/testing"]
    clips, origin = choose(card_of("digits", {"train": ["fsdd/george"], "test": folds}), None, "test", tmp_path)
    assert len(clips) == 10 and origin.folds == ("fsdd/theo",)
    with pytest.raises(FramiError, match="no clip of fold audiomnist/1"):
        choose(card_of("digits", {"train": ["fsdd/george"], "test": ["audiomnist/1"]}), None, "test", tmp_path)


def test_others_are_refused_with_both_lists(digits):
    with pytest.raises(FramiError, match=r"knows other classes than ESC-50.*zero, one.*ESC-50 has: dog, .* 40 more"):
        choose(digits, "esc50")


def test_a_data_set_by_two_paths(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    assert same("fsdd", "fsdd") and not same("fsdd", "esc10") and not same("fsdd", "")
    assert same(str(tmp_path / "link"), str(tmp_path / "mine")) and not same(str(tmp_path), str(tmp_path / "mine"))
