"""Judges: which clips they hear as what, whatever their classes are called; and that they are no teachers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frami import checkpoints, evaluation, models
from frami.audio import MelSpec
from frami.errors import FramiError
from frami.features import diversity, judges
from frami.features.embeddings import embed
from frami.inversion import Clips
from tests.helpers.teachers import make_mels

BANDS = ("band 0", "band 1", "band 2", "band 3")
BUNDLED = sorted({path.stem for path in judges.FOLDER.glob("*.json")})


@pytest.fixture(scope="module")
def tiny(tiny_teacher):
    return checkpoints.load(tiny_teacher)


@pytest.fixture
def judge_of(temporal_teacher, tmp_path, make_card):
    """``judge_of(names)``: path of the second architecture's network, its classes called and ordered otherwise."""

    def saved(names: tuple[str, ...], order: list[int] | None = None, **fields) -> Path:
        model = checkpoints.load(temporal_teacher).model
        order = torch.tensor(order or range(4))
        model.classifier.weight.data = model.classifier.weight.data[order]
        model.classifier.bias.data = model.classifier.bias.data[order]
        checkpoints.save(tmp_path / "judge", model, make_card(model, "judge", classes=names, **fields))
        return tmp_path / "judge"

    return saved


def as_made(count: int = 24) -> Clips:
    """Clips that are easy to tell apart, as if they had been made; a teacher's part in them is left out."""
    found = make_mels(each=count // 4, seed=3)
    mels, lengths, labels = found.batch(range(count))
    nothing = torch.zeros(count)
    return Clips(mels, lengths, labels, labels, nothing, nothing[:, None], nothing[:, None])


def test_a_judge_recognises_what_is_there_whatever_its_classes_are_called(tiny, judge_of):
    clips = as_made()
    plain = judges.measures(judges.load(judge_of(BANDS), tiny), clips)
    assert plain["judge_accuracy"] == 1 and plain["judge_coverage"] is plain["judge_kad"] is None
    turned = judges.load(judge_of(("Band-two", "BAND_3", "band 0", "band 1"), [2, 3, 0, 1]), tiny)
    assert turned.classes.tolist() == [2, 3, 0, 1]
    assert judges.measures(turned, clips)["judge_accuracy"] == 1
    wrong = replace(clips, target=(clips.target + 1) % 4)
    assert judges.measures(turned, wrong)["judge_accuracy"] == 0


def test_clips_of_classes_that_a_judge_does_not_know_do_not_count(tiny, judge_of):
    judge = judges.load(judge_of(("band 0", "rain", "band 2", "wind")), tiny)
    assert judge.classes.tolist() == [0, -1, 2, -1]
    clips = as_made()
    assert judges.measures(judge, clips)["judge_accuracy"] == 1, "of two classes"
    none = replace(clips, target=torch.ones_like(clips.target))
    found = judges.measures(judge, none)
    assert all(found[name] is None and found["intervals"][name] is None for name in diversity.JUDGED)


def test_measures_are_taken_in_the_judges_space_and_beside_clips_whose_classes_it_knows(tiny, judge_of):
    judge, clips = judges.load(judge_of(("band 0", "rain", "band 2", "wind")), tiny), as_made()
    real = embed(judge.network, make_mels(each=8, seed=5))
    found = judges.measures(judge, clips, real)
    own, beside = clips.target % 2 == 0, real.labels % 2 == 0
    heard = judges.hear(judge, clips, batch=5)
    assert heard.pooled.shape == (24, judge.network.model.classifier.in_features)
    assert found["judge_coverage"] == diversity.coverage_density(real.pooled[beside], heard.pooled[own])[0]
    assert found["judge_kad"] == pytest.approx(diversity.kernel_distance(real.pooled[beside], heard.pooled[own]))
    whole = judges.hear(judge, clips, batch=24)
    assert torch.allclose(whole.pooled, heard.pooled, atol=1e-4), "padding and batches change nothing"


def test_real_clips_are_judged_alike(tiny, judge_of):
    judge = judges.load(judge_of(BANDS), tiny)
    mels = make_mels(each=8, seed=5)
    real = embed(judge.network, mels)
    found = judges.of_real(judge, mels, list(range(12)), real)
    assert found["samples"] == 12 and found["judge_accuracy"] == 1 and found["judge_coverage"] > 0.5
    row = judges.added({"vendi": 2.0, "intervals": {"vendi": [1, 3]}}, found)
    assert row["judge_accuracy"] == 1 and set(row["intervals"]) == {"vendi", *diversity.JUDGED}
    assert json.loads(json.dumps(row)) == row, "plain numbers"
    without = judges.added({"vendi": 2.0}, None)
    assert without["judge_kad"] is without["intervals"]["judge_kad"] is None


def test_what_is_no_judge_is_refused(tiny, tiny_teacher, judge_of, tmp_path, make_card):
    with pytest.raises(FramiError, match="itself"):
        judges.load(tiny_teacher, tiny)
    with pytest.raises(FramiError, match="at least two"):
        judges.load(judge_of(("rain", "wind", "snow", "band 1")), tiny)
    with pytest.raises(FramiError, match="front-end"):
        judges.load(judge_of(BANDS, mel_spec=MelSpec(hop_length=512).to_dict()), tiny)
    with pytest.raises(FramiError, match="no checkpoint"):
        judges.load(tmp_path / "nowhere", tiny)
    assert judges.of(tiny) is None, "a teacher of one's own has none"
    model = models.build("nano", 4)
    checkpoints.save(tmp_path / "fsdd", model.eval(), make_card(model, "fsdd"))
    with pytest.raises(FramiError, match="at least two"):
        judges.of(checkpoints.load(tmp_path / "fsdd"))


def test_what_a_judge_heard_is_known_across_data_sets(make_tree, tmp_path):
    """By the files: the digits' judge learnt from theo, whom the data set of digits and FSDD both have."""
    from frami import data

    root = make_tree("fsdd", tmp_path, speakers=("theo", "george"))
    card = checkpoints.read_card(judges.FOLDER / "digits")
    judge = judges.of(checkpoints.load("fsdd"))
    assert "fsdd/theo" in card.split["train"] and "fsdd/george" in card.split["test"]
    clips = data.load("fsdd", "all", root)
    free = judges.unheard(judge, clips, "fsdd", root)
    assert {clips.clips[i].source for i in free} == {"george"} and len(free) == 10


# --- bundled judges --------------------------------------------------------------------------------------------------


def test_every_bundled_teacher_has_a_judge_that_is_another_network():
    for card in checkpoints.bundled("teacher"):
        if card.name not in judges.JUDGES:
            continue
        teacher = checkpoints.load(card.name)
        judge = judges.of(teacher)
        other = judge.network.card
        assert sorted(judge.classes.tolist()) == list(range(len(teacher.classes)))
        assert other.model["architecture"] != teacher.card.model.get("architecture", "residual")
        assert other.accuracy > 3 / len(other.classes) and f"{other.accuracy:.1%}" in judge.says()
    assert {judges.JUDGES[name] for name in judges.JUDGES} == set(BUNDLED)


def test_judges_are_small_and_no_teachers():
    sizes = [(judges.FOLDER / f"{name}.safetensors").stat().st_size for name in BUNDLED]
    assert max(sizes) < 0.7e6 and sum(sizes) < 3e6
    listed = {card.sha256 for kind in ("teacher", "student") for card in checkpoints.bundled(kind)}
    for name in BUNDLED:
        card = checkpoints.read_card(judges.FOLDER / name)
        assert card.sha256 not in listed
        assert checkpoints.resolve(name).parent != judges.FOLDER, "its name leads to the teacher"


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_judge_keeps_its_promise(name, real_data):
    card = checkpoints.read_card(judges.FOLDER / name)
    assert not set(card.split["train"]) & set(card.split["test"])
    found = evaluation.evaluate(judges.FOLDER / name, data_folder=real_data)
    assert found.clips == card.clips and found.accuracy == pytest.approx(card.accuracy, abs=0.005)
