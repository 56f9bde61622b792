"""A student out of its teacher's weights computes what the kept channels computed."""

import pytest
import torch
from torch import nn

from frami import models
from frami.errors import FramiError
from frami.models import MaskedBatchNorm2d, build, slice_weights

#: A teacher's size, and those of students with half of its channels or its blocks, of each architecture.
SIZES = {"residual": ("base", "tiny"), "tc-resnet": ("base", "small")}


def trained_like(size: str, architecture: str) -> models.Classifier:
    torch.manual_seed(1)
    model = build(size, 5, architecture=architecture)
    for norm in (m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return model.eval()


def silence(norm: nn.BatchNorm2d, alive: torch.Tensor) -> None:
    """Let it give zeros but for these channels."""
    for values in (norm.weight, norm.bias):
        values.data = values.data * torch.zeros(len(values)).index_fill(0, alive, 1)


def spread(channels: int, count: int) -> torch.Tensor:
    return torch.randperm(channels)[:count].sort().values


def with_a_student_inside(architecture: str) -> tuple[models.Classifier, torch.Tensor]:
    """A teacher of which half of the channels, at random places, and all but the first block of each stage do nothing;
    the last layer's channels that do something."""
    size, small = SIZES[architecture]
    teacher, student = trained_like(size, architecture), build(small, 5, architecture=architecture)
    trunk = spread(teacher.backbone.stem.out_channels, student.backbone.stem.out_channels)
    silence(teacher.backbone.stem_norm, trunk)
    for number, block in enumerate(teacher.backbone.blocks):
        stage, place = divmod(number, teacher.config.depth)
        kept = student.backbone.blocks[stage * student.config.depth]
        silence(block.norm1, spread(block.conv1.out_channels, kept.conv1.out_channels))
        if block.shortcut is not None:
            trunk = spread(block.conv2.out_channels, kept.conv2.out_channels)
            silence(block.shortcut_norm, trunk)
        silence(block.norm2, torch.zeros(0, dtype=torch.long) if place else trunk)
    return teacher, trunk


def sounds() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 1, 80, 64, generator=torch.Generator().manual_seed(0)) * 2 - 6, torch.tensor([64, 50, 33, 64])


@pytest.mark.parametrize("architecture", SIZES)
def test_a_student_of_the_same_size_is_the_teacher(architecture):
    teacher = trained_like(SIZES[architecture][0], architecture)
    student = build(SIZES[architecture][0], 5, architecture=architecture).eval()
    x, lengths = sounds()
    with torch.no_grad():
        assert not torch.allclose(student(x, lengths).logits, teacher(x, lengths).logits)
        slice_weights(student, teacher)
        assert torch.equal(student(x, lengths).logits, teacher(x, lengths).logits)


@pytest.mark.parametrize("architecture", SIZES)
def test_channels_and_blocks_that_do_nothing_are_left_out(architecture):
    """Then the student computes what its teacher does: the same channels are kept wherever layers are joined."""
    teacher, trunk = with_a_student_inside(architecture)
    student = build(SIZES[architecture][1], 5, architecture=architecture).eval()
    slice_weights(student, teacher)
    x, lengths = sounds()
    with torch.no_grad():
        mine, own = student(x, lengths), teacher(x, lengths)
    torch.testing.assert_close(mine.frames, own.frames[:, trunk], rtol=1e-4, atol=1e-4)
    if architecture == "residual":  # attention and deviations of silent channels are constant, but not zero
        shift = own.logits - mine.logits
        torch.testing.assert_close(shift, shift[:1].expand_as(shift), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bottleneck", [0, 64])
@pytest.mark.parametrize("architecture", SIZES)
def test_a_projector_puts_the_kept_channels_in_their_places(architecture, bottleneck):
    """A dropped channel that does nothing comes out as nothing, too."""
    teacher, trunk = with_a_student_inside(architecture)
    wide = {"projected": teacher.backbone.channels, "bottleneck": bottleneck and max(64, len(trunk))}
    student = build(SIZES[architecture][1], 5, architecture=architecture, head=teacher, **wide).eval()
    slice_weights(student, teacher)
    x, lengths = sounds()
    with torch.no_grad():
        mine, own = student(x, lengths), teacher(x, lengths)
    torch.testing.assert_close(mine.frames, own.frames, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mine.logits, own.logits, rtol=1e-3, atol=1e-3)


def test_a_narrow_bottleneck_carries_what_it_can():
    teacher = trained_like("base", "residual")
    student = build("small", 5, head=teacher, projected=128, bottleneck=16).eval()
    slice_weights(student, teacher)
    x, lengths = sounds()
    with torch.no_grad():
        own = student.backbone(x, lengths)[0]
        after = student(x, lengths).frames
    alike = [i for i in range(128) if torch.allclose(after[:, i], own[:, i], rtol=1e-3, atol=1e-3)]
    assert 16 <= len(alike) < 128


@torch.no_grad()
def test_a_projectors_channels_have_the_mean_and_spread_of_a_rectified_sum():
    """In training its batch norms take the batch's statistics, and put these behind them."""
    teacher, trunk = with_a_student_inside("residual")
    student = build("tiny", 5, head=teacher, projected=128)
    slice_weights(student, teacher)
    norm, block, channel = student.projector.norms[0], teacher.backbone.blocks[-2], trunk[0]
    terms = [torch.randn(200_000) * n.weight[channel] + n.bias[channel] for n in (block.norm2, block.shortcut_norm)]
    drawn = (terms[0] + terms[1]).relu()
    assert abs(float(norm.bias[channel] - drawn.mean())) < 0.02
    assert abs(float(norm.weight[channel] - drawn.std())) < 0.02


def test_weights_are_copies():
    teacher = trained_like("base", "residual")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = build("tiny", 5)
    slice_weights(student, teacher)
    student.train()(*sounds())
    for parameter in student.parameters():
        parameter.data += 1
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (("tiny", "tc-resnet"), ("base", "residual"), "architecture is 'tc-resnet'"),
        (("micro", "residual"), ("base", "residual"), "not residual ones"),
        (("large", "residual"), ("base", "residual"), "more channels or blocks"),
        (("base", "residual"), ("small", "residual"), "more channels or blocks"),
    ],
)
def test_what_does_not_fit_is_refused(student, teacher, message):
    networks = [build(size, 5, architecture=name) for size, name in (student, teacher)]
    with pytest.raises(FramiError, match=f"{message}.*start it new"):
        slice_weights(*networks)


def test_other_teachers_are_refused():
    student, base = build("tiny", 5), build("base", 5)
    for other in (nn.Linear(2, 2), build("base", 5, head=base, projected=128)):
        with pytest.raises(FramiError, match="none of the classifiers"):
            slice_weights(student, other)
    mean = nn.Identity()
    student.pooling = base.pooling = mean
    with pytest.raises(FramiError, match="not a mean and a deviation"):
        slice_weights(student, base)
    student = build("tiny", 5)
    with pytest.raises(FramiError, match="pools by 'statistics'"):
        slice_weights(student, build("base", 5, pooling="attentive"))
