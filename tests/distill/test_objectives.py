"""What a student learns: a few steps lower each loss, whatever the scale, the length and the resolution."""

from dataclasses import replace

import pytest
import torch

from frami import models
from frami.distill import OBJECTIVES, new_student, objectives
from frami.distill.objectives import Batch
from frami.models import Features
from tests.helpers.distillation import classified


@pytest.mark.parametrize(
    ("kind", "architecture"), [("tiny", "residual"), ("temporal", "residual"), ("tiny", "tc-resnet")]
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_lower_every_term(request, name, kind, architecture):
    """Of each objective, each term, on clips that stay the same, between architectures too: sixty steps at most."""
    teacher = request.getfixturevalue(kind)
    x, lengths, target = classified(teacher)
    objective = OBJECTIVES[name]
    student = new_student(teacher, "nano", objective, architecture=architecture).train()
    hint = models.Projector(student.backbone.channels, target.frames.shape[1]) if objective.hint else None

    def terms():
        made = student(x, lengths)
        seen = hint and Features(hint(made.frames, made.lengths), made.pooled, made.logits, made.lengths)
        return objective.terms(Batch(target, made, seen))

    learning = [p for m in (student, hint) if m is not None for p in m.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learning, 1e-2)
    steps = []
    for _ in range(61):
        optimiser.zero_grad()
        found = terms()
        steps.append({k: v.item() for k, v in found.items()})
        first, last = steps[0], steps[-1]
        if all(last[k] < 0.85 * first[k] for k in first):
            break
        torch.stack(list(found.values())).sum().backward()
        optimiser.step()
    assert set(first) == set(last) and all(last[k] < 0.85 * first[k] for k in first), (first, last)


def test_the_objectives_are_what_they_say(tiny):
    x, lengths, target = classified(tiny)
    made = new_student(tiny, "nano", OBJECTIVES["frami"]).eval()(x, lengths)
    found = {name: set(row.terms(Batch(target, made, made))) for name, row in OBJECTIVES.items()}
    assert found == {
        "frami": {"kd", "before", "after"},
        "logits": {"kd"},
        "before": {"kd", "before"},
        "after": {"kd", "after"},
        "simkd": {"before"},
        "fitnet": {"kd", "before"},
        "attention": {"kd", "attention"},
    }
    assert all(row.title and row.about.endswith(".") for row in OBJECTIVES.values())


def test_features_are_compared_free_of_the_teachers_scale(tiny):
    _, _, target = classified(tiny)
    _, _, other = classified(tiny, seed=1)
    made = replace(target, frames=other.frames * (target.frames != 0), pooled=other.pooled)
    scaled = [replace(f, frames=f.frames * 7, pooled=f.pooled * 7) for f in (target, made)]
    for loss in (objectives.frames_loss, objectives.attention_loss):
        assert float(loss(target, made)) == pytest.approx(float(loss(*scaled)), rel=1e-4)
    plain = objectives.pooled_loss(target.pooled, made.pooled)
    assert float(plain) == pytest.approx(float(objectives.pooled_loss(scaled[0].pooled, scaled[1].pooled)), rel=1e-4)


def test_a_distance_of_one_is_that_of_the_mean(tiny):
    """0 for the same, 1 for a student that always gives the mean."""
    _, _, target = classified(tiny)
    mean = replace(target, pooled=target.pooled.mean(0).expand_as(target.pooled))
    assert float(objectives.pooled_loss(target.pooled, mean.pooled)) == pytest.approx(1, rel=1e-4)
    assert float(objectives.frames_loss(target, target)) == 0 == float(objectives.attention_loss(target, target))
    assert float(objectives.kd_loss(target.logits, target.logits)) == pytest.approx(0, abs=1e-6)


def test_what_lies_behind_a_clips_end_does_not_count(tiny):
    _, _, target = classified(tiny)
    inside = torch.arange(target.frames.shape[-1]) < target.lengths[:, None]
    noisy = replace(target, frames=torch.where(inside[:, None, None], target.frames, 99.0))
    assert float(objectives.frames_loss(target, noisy)) == 0


def test_frames_of_another_resolution_are_averaged():
    rng = torch.Generator().manual_seed(0)
    fine = torch.rand(2, 3, 4, 8, generator=rng)
    coarse = torch.nn.functional.adaptive_avg_pool2d(fine, (2, 4))
    lengths = torch.tensor([4, 4])
    pair = [Features(f, f, f, n) for f, n in ((coarse, lengths), (fine, 2 * lengths))]
    assert float(objectives.frames_loss(*pair)) == pytest.approx(0, abs=1e-9)
