"""Which real clips judge a student: held-out ones, strangers, and those on which choices are made."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frami import checkpoints
from frami.bench import parts, spoken
from frami.bench.results import Context, silent
from frami.data.catalogue import DATASETS


@pytest.fixture(scope="module")
def folder(make_tree, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    make_tree("fsdd", root, speakers=("george", "lucas", "theo"))
    make_tree("audiomnist", root, speakers=(1, 26))
    make_tree("urbansound8k", root)
    return make_tree("esc50", root, folds=(1, 2))


@pytest.fixture
def here(folder, fresh_home):
    return Context(torch.device("cpu"), str(folder), lambda unit, label: nullcontext(silent))


@pytest.fixture
def of(make_card):
    """``of(dataset, **split)``: the digits' teacher, or an untrained one, with a card of this data set and split."""

    def make(dataset, **split):
        found = checkpoints.load("fsdd")
        known = DATASETS[dataset]
        if known.classes != found.classes:
            found = checkpoints.load(dataset)
        return replace(found, card=replace(found.card, dataset=dataset, classes=known.classes, split=split))

    return make


def listed(found) -> list[tuple[str, str, int]]:
    return [(part.kind, part.name, len(part.clips)) for part in found]


def test_strangers_are_other_data_sets_and_speakers_whom_the_card_does_not_name(here, of):
    assert listed(parts.reported(of("fsdd", train=["george"], test=["theo"]), here)) == [
        ("held out", "theo", 10), ("strangers", "fsdd lucas", 10), ("strangers", "audiomnist", 20),
    ]  # fmt: skip
    assert listed(parts.reported(of("fsdd", train=["george", "lucas"], test=["theo"]), here)) == [
        ("held out", "theo", 10), ("strangers", "audiomnist", 20),
    ]  # fmt: skip


def test_clips_of_its_own_data_set_under_another_name_are_no_strangers(here, of):
    """ESC-10 is a part of ESC-50; UrbanSound8K's dog is one, ESC-50's cat has no class there."""
    found = parts.reported(of("esc50", train=["2"], test=["1"]), here)
    assert listed(found)[0] == ("held out", "1", 3)
    assert not any("esc10" in part.name for part in found)


def test_the_members_of_a_set_of_several_are_apart(here, of):
    teacher = of("digits", train=["fsdd/george", "audiomnist/1"], test=["fsdd/theo", "audiomnist/2"])
    assert listed(parts.reported(teacher, here)) == [
        ("held out", "fsdd/theo", 10), ("held out", "audiomnist/2", 10), ("strangers", "digits fsdd/lucas", 10),
    ]  # fmt: skip


def test_choices_are_made_on_other_clips(here, of, monkeypatch, tmp_path):
    """Of the training speaker, the same re-recorded, and of a synthesizer; none of them is reported."""
    teacher = of("fsdd", train=["george"], test=["theo"])
    monkeypatch.setattr(spoken, "speech", lambda *_: torch.sin(torch.arange(8000) * 0.3))
    monkeypatch.setattr(spoken, "voices", lambda *_: iter([spoken.Voice("en-us+m1", 150, 40)]))
    found = parts.development(teacher, here)
    assert listed(found) == [("training clips", "", 10), ("re-recorded", "", 10), ("machine-spoken", "espeak-ng", 10)]
    assert {clip.fold for part in found[:2] for clip in part.clips.clips} == {"george"}
    assert found[2].clips.labels.sort().values.tolist() == list(range(10))
    plain, changed, _ = found
    assert any(len(a) != len(b) for a, b in zip(plain.clips.frames, changed.clips.frames, strict=True))
    reported = {clip.key for part in parts.reported(teacher, here) for clip in part.clips.clips}
    assert reported.isdisjoint(clip.key for part in found for clip in part.clips.clips)


def test_sounds_are_not_spoken(here, of, monkeypatch):
    monkeypatch.setattr(spoken, "speech", lambda *_: pytest.fail("no word"))
    found = parts.development(of("esc10", train=["2"], test=["1"]), here)
    assert [part.kind for part in found] == ["training clips", "re-recorded"]


def test_what_a_teacher_holds_out_is_for_choices_where_all_bundled_ones_learnt_from_it(here, of):
    """Fold 2 of ESC-10 is in the training of the teacher that comes with the studio, fold 1 is what it is judged by."""
    found = parts.development(of("esc10", train=["1"], test=["2"]), here)
    assert [(part.kind, part.name) for part in found][2:] == [("held out", "2")]
    assert {clip.fold for clip in found[2].clips.clips} == {"2"}
    for split in ({"train": ["2"], "test": ["1", "2"]}, {"train": ["1", "2"], "test": ["2"]}, {"train": ["1", "2"]}):
        assert len(parts.development(of("esc10", **split), here)) == 2


def test_what_a_part_says_of_a_student(make_mels, tiny_teacher):
    """The teacher agrees with itself; one that predicts a single class agrees where the teacher predicts it too."""
    teacher, clips = checkpoints.load(tiny_teacher), make_mels(seed=3)
    part = parts.Part(parts.STRANGERS, "made", clips).heard(teacher)
    found = part.judge(teacher.model)
    assert found["agreement"] == 1 and found["accuracy"] == found["teacher"] > 0.5 and found["clips"] == len(clips)
    student = checkpoints.load(tiny_teacher).model
    with torch.no_grad():
        student.classifier.weight.zero_()
        student.classifier.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    other = part.judge(student)
    assert other["accuracy"] == 0.25 and other["teacher"] == found["teacher"]
    assert other["agreement"] == pytest.approx(float((part.teacher == 1).float().mean()), abs=1e-4)


def test_parts_are_told_apart_by_their_clips_wherever_they_lie(make_mels):
    clips = make_mels(each=2)
    one = [parts.Part("strangers", "a", clips)]
    moved = replace(clips, clips=[replace(clip, stem=Path("/elsewhere") / clip.stem) for clip in clips.clips])
    assert parts.fingerprint(one) == parts.fingerprint([parts.Part("strangers", "a", moved)])
    others = [
        [parts.Part("strangers", "a", clips.take([0, 1, 2]))],
        [parts.Part("held out", "a", clips)],
        [*one, parts.Part("strangers", "b", clips)],
    ]
    assert len({parts.fingerprint(some) for some in [one, *others]}) == 4


def test_shares_are_pooled_over_clips():
    judged = [
        {"kind": "held out", "name": "theo", "clips": 10, "accuracy": 1.0, "agreement": 1.0, "teacher": 1.0},
        {"kind": "strangers", "name": "a", "clips": 30, "accuracy": 0.5, "agreement": 0.6, "teacher": 0.7},
        {"kind": "strangers", "name": "b", "clips": 10, "accuracy": 0.9, "agreement": 1.0, "teacher": 0.9},
    ]
    found = parts.pooled(judged, "strangers")
    assert found == {"clips": 40, "accuracy": 0.6, "agreement": pytest.approx(0.7), "teacher": 0.75}
    assert parts.pooled(judged[:1], "strangers") is None and parts.pooled(judged)["clips"] == 50
    assert parts.hardest(judged) == "strangers" and parts.hardest(judged[:1]) == "held out"


@pytest.mark.slow
def test_real_strangers_of_the_digits(real_data, own_home):
    here = Context(torch.device("cpu"), str(real_data), lambda unit, label: nullcontext(silent))
    found = parts.reported(checkpoints.load("fsdd"), here)
    assert [part.kind for part in found] == ["held out", "strangers", "strangers"]
    assert min(len(part.clips) for part in found) > 300
