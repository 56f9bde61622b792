"""Channels that are exchanged between clips: whose, how many, and what the clips are called."""

import torch

from frami.audio import MelSpec
from frami.inversion.exchange import LAYERS, Plan, draw_plan, exchanging, likelier
from frami.inversion.generator import Generator
from tests.helpers.kinds import rng


def test_a_plan_chooses_a_share_and_gives_each_clip_another():
    layers = set()
    for seed in range(20):
        plan = draw_plan(9, 0.7, rng(seed))
        assert int(plan.chosen.sum()) == 6
        assert (plan.partners != torch.arange(9)).all() and plan.partners.unique().numel() == 9
        layers.add(plan.layer)
    assert layers == set(range(LAYERS))
    assert not draw_plan(1, 1.0, rng()).chosen.any(), "alone there is no other"


def test_chosen_clips_get_half_of_the_channels_of_their_partners():
    """Seen by the convolution behind; the others stay as they are, and the hook comes off."""
    generator = Generator(MelSpec()).eval()
    latents = generator.noise(4, 20, rng())
    for layer, conv in enumerate((generator.conv1, generator.conv2, generator.conv3)):
        seen = []
        handle = conv.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        plan = Plan(torch.tensor([True, False, True, False]), torch.tensor([2, 3, 1, 0]), layer, rng())
        with torch.no_grad():
            plain = generator(latents, 20)
            handle.remove()  # and again behind the exchange's own
            with exchanging(generator, plan):
                handle = conv.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
                mixed = generator(latents, 20)
        handle.remove()
        before, after = seen
        foreign = (after != before).flatten(2).any(2)
        assert foreign.sum(1).tolist() == [before.shape[1] // 2, 0, before.shape[1] // 2, 0]
        for clip, partner in ((0, 2), (2, 1)):
            assert torch.equal(after[clip, foreign[clip]], before[partner, foreign[clip]])
        assert [torch.equal(a, b) for a, b in zip(plain, mixed, strict=True)] == [False, True, False, True]
        assert not torch.equal(foreign[0], foreign[2]), "each clip has channels of its own"
        with torch.no_grad():
            assert torch.equal(generator(latents, 20), plain)


def test_an_exchanged_clip_has_the_likelier_of_two_classes():
    plan = Plan(torch.tensor([True, True, False]), torch.tensor([1, 2, 0]), 0, rng())
    logits = torch.tensor([[0.0, 1.0, 9.0], [0.0, 3.0, 2.0], [5.0, 0.0, 0.0]])
    assert likelier(logits, torch.tensor([0, 1, 2]), plan).tolist() == [1, 1, 2]
