"""Students: sizes, the teacher's head in them, teachers of another architecture and foreign ones."""

import pytest
import torch
from torch import nn

from frami import checkpoints, models
from frami.adapter import adapt
from frami.audio import MelSpec
from frami.cost import parameters
from frami.distill import OBJECTIVES, STUDENTS, RunSettings, Settings, distill, new_student
from frami.errors import FramiError
from frami.models.architectures import BLOCKS
from tests.helpers.distillation import QUICK, classified


def test_students_span_two_to_one_to_fifty_to_one(teacher):
    sizes = [parameters(new_student(teacher, size, OBJECTIVES["frami"])) for size in STUDENTS]
    assert len(sizes) >= 4 and sizes == sorted(sizes) and sizes[0] < 20_000 and 300_000 < sizes[-1] < 500_000
    large = parameters(teacher.model)
    assert large / sizes[0] > 40 and 2 < large / sizes[-1] < 3
    kinds = {type(block) for size in STUDENTS for block in models.build(size, 10).backbone.blocks}
    assert kinds == set(BLOCKS.values())


def test_a_reusing_student_ends_in_the_teachers_own_classifier(teacher):
    student = new_student(teacher, "nano", OBJECTIVES["frami"])
    for mine, own in zip(student.classifier.parameters(), teacher.model.classifier.parameters(), strict=True):
        assert torch.equal(mine, own) and not mine.requires_grad
    assert student.projector is not None
    assert new_student(teacher, "nano", OBJECTIVES["logits"]).projector is None
    assert len(new_student(teacher, "nano", OBJECTIVES["simkd"]).projector.convs) == 3


def test_a_students_card_names_the_pooling_that_it_took_over(temporal, tmp_path, make_card):
    student = new_student(temporal, "nano", OBJECTIVES["frami"]).eval()
    checkpoints.save(tmp_path / "it", student, make_card(student, "it"))
    again = checkpoints.load(tmp_path / "it")
    assert again.card.model["pooling"] == "attentive" and "architecture" not in again.card.model
    x, lengths, _ = classified(temporal)
    with torch.no_grad():
        torch.testing.assert_close(again.model(x, lengths).logits, student(x, lengths).logits, rtol=0, atol=0)
    own, teachers = student.pooling.attention[0].weight, temporal.model.pooling.attention[0].weight
    assert torch.equal(own, teachers) and not own.requires_grad


@pytest.mark.parametrize("size", STUDENTS)
@pytest.mark.parametrize("objective", ["frami", "simkd", "logits"])
def test_padding_never_changes_a_students_logits(teacher, size, objective):
    student = new_student(teacher, size, OBJECTIVES[objective]).eval()
    x, lengths, _ = classified(teacher)
    with torch.no_grad():
        together = student(x, lengths).logits
        alone = torch.cat([student(x[i : i + 1, ..., :n]).logits for i, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_student_starts_new_or_from_its_teachers_weights(teacher):
    for objective in (OBJECTIVES["frami"], OBJECTIVES["logits"], OBJECTIVES["simkd"]):
        new, other = (new_student(teacher, "tiny", objective, start=start) for start in ("new", "teacher"))
        assert not torch.equal(new.backbone.bands.running_mean, teacher.model.backbone.bands.running_mean)
        assert torch.equal(other.backbone.bands.running_mean, teacher.model.backbone.bands.running_mean)
        assert [p.requires_grad for p in new.parameters()] == [p.requires_grad for p in other.parameters()]
    with pytest.raises(FramiError, match="start it new"):
        new_student(teacher, "micro", OBJECTIVES["logits"], start="teacher")
    with pytest.raises(FramiError, match="fitting, sliced, new, teacher"):
        Settings(start="random")
    assert Settings().to_dict()["start"] == "fitting"


def test_a_student_starts_from_what_fits(teacher):
    fitting = new_student(teacher, "tiny", OBJECTIVES["frami"])
    sliced = new_student(teacher, "tiny", OBJECTIVES["frami"], start="teacher")
    assert torch.equal(fitting.backbone.stem.weight, sliced.backbone.stem.weight)
    other, new = (new_student(teacher, "micro", OBJECTIVES["frami"], start=start) for start in ("fitting", "new"))
    assert torch.equal(other.backbone.stem.weight, new.backbone.stem.weight)


FOREIGN = nn.Sequential(
    nn.Conv2d(1, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(16, 2),
)  # fmt: skip


class MeanPooling(nn.Module):
    """What ``FOREIGN`` computes between its frame-level features and its last layer."""

    def forward(self, frames, lengths):
        return frames.mean((2, 3))


def test_a_foreign_teacher_with_its_pooling_teaches_every_objective():
    teacher = adapt(FOREIGN, MelSpec(n_mels=64), ["rain", "wind"], pooling=MeanPooling())
    for objective in OBJECTIVES:
        *_, last = distill(teacher, Settings(**(QUICK | {"objective": objective, "rounds": 1})))
        assert last.finished and last.steps == 3
        assert isinstance(last.student.pooling, MeanPooling) == OBJECTIVES[objective].reuse


class Decides(nn.Sequential):
    """Does what its input says: torch.export cannot follow it."""

    def forward(self, x):
        return super().forward(x if float(x.mean()) < 1e6 else -x)


def test_a_foreign_teacher_without_its_pooling_teaches_the_other_objectives():
    teacher = adapt(Decides(*FOREIGN), MelSpec(n_mels=64), ["rain", "wind"])
    with pytest.raises(FramiError, match="choose one of: logits, fitnet, attention"):
        distill(teacher, Settings(**QUICK))
    for objective in ("logits", "fitnet", "attention"):
        *_, last = distill(teacher, Settings(**(QUICK | {"objective": objective, "rounds": 1})))
        assert last.finished and last.steps == 3


def test_settings_come_back_as_they_were_stored():
    """Nothing that was said, as that there is no budget, is lost on the way."""
    for settings in (Settings(), Settings(budget=None, rounds=3), Settings(share=0.4, turns=2, start="new")):
        assert Settings(**settings.to_dict()) == settings


def test_a_run_of_an_earlier_version_keeps_its_recipe():
    """Under the name that it has now."""
    before = {"teacher": "fsdd", "recipe": "frami", "budget": 60.0, "share": 0.25}
    assert RunSettings.from_dict(before).settings.recipe == "frami-fine"
    now = RunSettings("fsdd", Settings())
    assert RunSettings.from_dict(now.to_dict()) == now and now.settings.recipe == "frami"
