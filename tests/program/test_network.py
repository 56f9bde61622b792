"""Hidden states of other people's networks: found, cut, reused by students, stored."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from frami import checkpoints
from frami.adapter import adapt, as_program, importing, save
from frami.audio import MelSpec
from frami.checkpoints import CheckpointError
from frami.distill import Settings, distill
from frami.errors import FramiError
from frami.inversion import make_clips
from frami.models import Teacher
from frami.program import storing
from tests.helpers.networks import BANDS, CLASSES, KINDS, clip, network

SPEC = MelSpec(n_mels=BANDS)


@pytest.fixture(scope="module")
def imported() -> dict:
    """Each kind as a teacher, with what its import found."""
    made = {}
    for kind, (_, channel, time_first) in KINDS.items():
        seconds = SPEC.seconds(64) if kind == "flat" else 0.9
        made[kind] = importing.from_module(
            network(kind), SPEC, CLASSES, channel=channel, time_first=time_first, seconds=seconds, name=kind
        )
    return made


def mels(clips: int = 2, frames: int = 64) -> torch.Tensor:
    return torch.randn(clips, 1, BANDS, frames, generator=torch.Generator().manual_seed(3)) * 2 - 5


@pytest.mark.parametrize(
    ("kind", "channels", "several", "size"),
    [("bands", 16, True, 24), ("attentive", 16, True, 12), ("recurrent", 24, True, 4), ("patches", 16, False, 16),
     ("flat", 8, True, 128)],
)  # fmt: skip
def test_states_before_and_after_the_pooling_are_found(imported, kind, channels, several, size):
    """Not inside the attention of the pooling, not the classes of each frame, not one token among many."""
    teacher, found = imported[kind]
    out = teacher.model(mels())
    assert out.frames.shape[:2] == (2, channels) and (out.frames.shape[3] > 1) == several
    assert out.pooled.shape == (2, size) and out.logits.shape == (2, 4)
    assert found.reusable and isinstance(teacher.model, Teacher), found.why


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_behind_the_frames_gives_the_network_s_own_logits(imported, kind):
    teacher, _ = imported[kind]
    module = network(kind)
    _, channel, time_first = KINDS[kind]
    x = mels()
    given = x.transpose(2, 3) if time_first else x
    answer = module(given if channel else given[:, 0])
    answer = torch.logit(answer["clipwise_output"]) if isinstance(answer, dict) else answer
    out = teacher.model(x)
    torch.testing.assert_close(out.logits, answer, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(teacher.model.head(out.frames, out.lengths).logits, out.logits, rtol=1e-4, atol=1e-4)


def test_a_network_that_removes_the_mean_has_a_front_end_that_does(imported):
    """Otherwise its clips would have any spectrum, and its students would hear it."""
    for kind, (teacher, found) in imported.items():
        assert found.centres == teacher.spec.remove_mean == (kind == "attentive"), kind
    clips = make_clips(imported["attentive"][0], "frami", samples=2, steps=2, seconds=0.5)
    assert clips.mels.mean(3).abs().max() < 0.05


def test_a_clip_s_answer_does_not_depend_on_its_batch(imported):
    teacher, _ = imported["bands"]
    x = mels(3, 64)
    lengths = torch.tensor([64, 40, 30])
    together = teacher.model(x, lengths).logits
    for k, length in enumerate(lengths):
        alone = teacher.model(x[k : k + 1, ..., :length].repeat(1, 1, 1, 3)[..., :64]).logits
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-3, atol=1e-3)


def test_lengths_that_a_network_takes_are_found(imported):
    assert (imported["flat"][1].shortest, imported["flat"][1].longest) == (63, 66)
    assert imported["patches"][1].longest == 64, "longer clips are cut"
    assert imported["bands"][1].longest is None and imported["bands"][1].shortest == 4
    assert imported["recurrent"][1].shortest == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_and_its_student_are_stored(imported, kind, tmp_path):
    teacher, _ = imported[kind]
    checkpoints.save(tmp_path / "teacher", teacher.model, teacher.card)
    again = checkpoints.load(tmp_path / "teacher")
    assert torch.equal(again.model(mels()).logits, teacher.model(mels()).logits)
    assert again.card.classes == CLASSES and isinstance(again.model, Teacher)

    settings = Settings(budget=None, rounds=1, clips=8, steps=3, batch=4, student="nano")
    state = list(distill(again, settings, every=1e9))[-1]
    assert set(state.losses) == {"kd", "before", "after"} and all(v == v for v in state.losses.values())
    card = replace(teacher.card, kind="student", model=state.student.config.to_dict())
    checkpoints.save(tmp_path / "student", state.student, card)
    student = checkpoints.load(tmp_path / "student").model
    whole = sum(p.numel() for p in teacher.model.graph.parameters())
    assert kind in ("flat", "patches") or sum(p.numel() for p in state.student.pooling.parameters()) < whole
    assert state.student.pooling.graph._shared is None, "a student carries no copy of its teacher"
    assert torch.equal(student(mels()).logits, state.student.eval()(mels()).logits)


def test_an_adapted_teacher_is_saved_and_its_states_are_reused(tmp_path):
    plain = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    teacher = adapt(plain, SPEC, CLASSES, name="own")
    assert not isinstance(teacher.model, Teacher)
    state = list(distill(teacher, Settings(budget=None, rounds=1, clips=8, steps=3, batch=4), every=1e9))[-1]
    assert set(state.losses) == {"kd", "before", "after"}
    save(teacher, tmp_path / "saved")
    again = checkpoints.load(tmp_path / "saved")
    torch.testing.assert_close(again.model(mels()).logits, teacher.model(mels()).logits)
    assert len([m for m in again.model.graph.tensors.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]) == 1
    assert as_program(again) is again


def test_a_program_is_inverted_as_the_module_is(imported):
    """The same batch norms are matched."""
    adapted = adapt(network("bands"), SPEC, CLASSES, time_first=True)
    sums = []
    for teacher in (adapted, imported["bands"][0]):
        clips = make_clips(teacher, "deepinversion", samples=4, steps=5, seconds=0.5, seed=1)
        sums.append(clips.mels)
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("key", ["frami_program", "frami_head"])
def test_damaged_programs_are_refused(imported, tmp_path, key):
    from safetensors.torch import load_file, save_file

    teacher, _ = imported["bands"]
    if key == "frami_head":
        settings = Settings(budget=None, rounds=1, clips=8, steps=1, batch=4, student="nano")
        model = list(distill(teacher, settings, every=1e9))[-1].student
        card = replace(teacher.card, model=model.config.to_dict())
    else:
        model, card = teacher.model, teacher.card
    path = tmp_path / "it"
    checkpoints.save(path, model, card)
    text = storing.state(model)[1][key]
    for other in ("{}", "[1]", "nothing", text.replace("aten.linear.default", "aten.from_file.default")):
        save_file(load_file(f"{path}.safetensors"), f"{path}.safetensors", {key: other})
        values = (tmp_path / "it.json").read_text()
        (tmp_path / "it.json").write_text(values.replace(checkpoints.read_card(path).sha256, ""))
        with pytest.raises(CheckpointError, match="do not fit"):
            checkpoints.load(path)


@pytest.mark.parametrize(
    ("spec", "classes", "said"),
    [(MelSpec(n_mels=48), CLASSES, "front-end"), (SPEC, ("a", "b", "c"), "are its classes all named"),
     (replace(SPEC, n_mels=41), CLASSES, "bands")],
)  # fmt: skip
def test_what_does_not_fit_is_said(spec, classes, said):
    from frami.program import archive

    program = archive.exported(network("bands"), clip("bands", 2))
    with pytest.raises(FramiError, match=said):
        importing.teacher(program, spec, classes)
