"""Generators that are told the target classes: what they draw depends on them, and how."""

import pytest
import torch
from torch import nn

from frami.audio import MelSpec
from frami.inversion.conditional import NoisyLayerGenerator, SumGenerator, class_codes
from tests.helpers.kinds import rng

SPEC, FRAMES = MelSpec(), 20


def noisy(classes=5):
    torch.manual_seed(0)
    return NoisyLayerGenerator(SPEC, class_codes(nn.Identity(), classes))


def drawn(generator, latents, labels):
    generator.aim(torch.tensor(labels))
    with torch.no_grad():
        return generator.eval()(latents, FRAMES)


def test_codes_are_the_classifiers_rows_in_another_basis():
    """Of unit length, as far from one another, about a mean of zero, and as long as a row on the average."""
    model = nn.Module()
    model.classifier = nn.Linear(12, 5)
    codes = class_codes(model, 5)
    rows = nn.functional.normalize(model.classifier.weight.detach(), dim=1)
    distances, own = torch.cdist(rows, rows), torch.cdist(codes, codes)
    assert codes.shape == (5, 4)
    torch.testing.assert_close(own / own.sum(), distances / distances.sum(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(codes.mean(0), torch.zeros(4), rtol=0, atol=1e-6)
    assert abs(float(codes.square().sum(1).mean()) - 1) < 1e-5


@pytest.mark.parametrize("model", [nn.Identity(), nn.Linear(3, 3)])
def test_a_model_without_such_rows_has_orthogonal_ones(model):
    if isinstance(model, nn.Linear):
        model.classifier = nn.Linear(7, 4)  # of other classes
    codes = class_codes(model, 3)
    between = torch.cdist(codes, codes) + 10 * torch.eye(3)
    assert codes.shape == (3, 2) and torch.allclose(between.amin(1), between.amin())
    assert class_codes(model, 1).tolist() == [[1.0]]


def test_a_sum_generator_draws_the_class_that_it_is_told():
    torch.manual_seed(0)
    generator = SumGenerator(SPEC, 5)
    latents = generator.noise(1, FRAMES, rng()).repeat(3, 1, 1)
    first, same, other = drawn(generator, latents, [1, 1, 2])
    assert first.shape == (1, 80, FRAMES) and torch.equal(first, same) and not torch.allclose(first, other, atol=1e-2)
    assert any(p is generator.embedding for p in generator.parameters()), "its embedding is learnt"


def test_clips_of_one_class_go_through_different_noisy_layers():
    """Those of different classes share one; and nothing but the layers is random."""
    generator = noisy()
    latents = generator.noise(4, FRAMES, rng())
    assert latents.shape[:2] == (4, 4) and latents.shape[2:] == (generator.latent, 3)
    clips = drawn(generator, latents, [1, 2, 1, 1])
    assert generator.layers.tolist() == [0, 0, 1, 2]
    assert not torch.allclose(clips[0], clips[2], atol=1e-2) and not torch.allclose(clips[0], clips[1], atol=1e-2)
    again = drawn(generator, latents, [2, 1, 0, 1])
    torch.testing.assert_close(again[[0, 1, 3]], clips[[1, 0, 2]])
    shuffled = latents.clone()
    shuffled[3] += 1  # of the fourth clip of a class, which there is none of
    assert torch.equal(drawn(generator, shuffled, [1, 2, 1, 1]), clips)


def test_layers_are_learnt_like_latents():
    generator = noisy()
    generator.aim(torch.tensor([0, 1, 0]))
    latents = generator.noise(3, FRAMES, rng()).requires_grad_()
    generator(latents, FRAMES).square().sum().backward()
    assert latents.grad[:2].abs().amin((1, 2, 3)).gt(0).all() and latents.grad[2].abs().sum() == 0
    assert "codes" not in generator.state_dict() and not any(p.requires_grad for p in generator.buffers())


@pytest.mark.parametrize("generator", [SumGenerator(SPEC, 5), noisy()])
def test_new_classes_are_written_into_the_same_memory(generator):
    generator.aim(torch.tensor([0, 1]))
    before = [b.data_ptr() for name, b in generator.named_buffers() if name in ("labels", "given", "layers")]
    generator.aim(torch.tensor([2, 2]))
    after = [b.data_ptr() for name, b in generator.named_buffers() if name in ("labels", "given", "layers")]
    assert before == after and before
