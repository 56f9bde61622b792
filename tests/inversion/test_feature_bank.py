"""The feature bank holds the newest rows, whole, and gives them all back."""

import pytest
import torch

from frami.inversion.feature_bank import FeatureBank


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.float32)[:, None], torch.tensor([int(n) % 3 for n in numbers])


def held(bank):
    return sorted(bank.rows()[:, 0].tolist())


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_newest_rows_are_kept():
    bank = FeatureBank(capacity=4)
    assert bank.rows() is bank.labels() is bank.sample(3, rng()) is None and len(bank) == 0
    bank.push(*rows(0, 1, 2))
    assert held(bank) == [0, 1, 2]
    bank.push(*rows(3, 4, 5))
    assert held(bank) == [2, 3, 4, 5]
    bank.push(*rows(*range(10, 17)))
    assert held(bank) == [13, 14, 15, 16]
    assert len(bank) == 4, "an exactly full bank still gives all its rows"
    assert [int(n) % 3 for n in bank.rows()[:, 0]] == bank.labels().tolist()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17])
def test_there_are_always_negatives(count):
    """Nearly full, exactly full, wrapped around, and larger than the sample: never none, never one twice."""
    bank = FeatureBank(capacity=8)
    for number in range(count):
        bank.push(*rows(number))
        there = min(number + 1, 8)
        for most in (1, 3, there - 1, there, 8, 20):
            if most < 1:
                continue
            drawn, labels = bank.sample(most, rng(number))
            assert drawn.shape == (min(most, there), 1) and len(labels) == len(drawn)
            assert len(set(drawn[:, 0].tolist())) == len(drawn) and set(drawn[:, 0].tolist()) <= set(held(bank))
            assert [int(n) % 3 for n in drawn[:, 0]] == labels.tolist()


def test_samples_are_of_their_seed():
    bank = FeatureBank(capacity=100)
    bank.push(*rows(*range(100)))
    assert torch.equal(bank.sample(10, rng())[0], bank.sample(10, rng())[0])
    assert not torch.equal(bank.sample(10, rng())[0], bank.sample(10, rng(1))[0])


def test_rows_carry_no_gradients_and_are_copies():
    bank = FeatureBank(capacity=4)
    x, labels = rows(1, 2)
    x.requires_grad_()
    bank.push(x, labels)
    with torch.no_grad():
        x.mul_(10)
    assert not bank.rows().requires_grad and held(bank) == [1, 2]
    bank.push(torch.ones(1, 1, dtype=torch.bfloat16), labels[:1])
    assert bank.rows().dtype == torch.float32


@pytest.mark.parametrize("count", [0, 3, 8, 9, 13, 16])
def test_a_state_gives_the_same_bank(count):
    """What is pushed and drawn later is the same from both."""
    bank, twin = FeatureBank(capacity=8), FeatureBank(capacity=8)
    for number in range(count):
        bank.push(*rows(number))
    twin.push(*rows(90, 91))  # what was there before is gone
    state = bank.state_dict()
    twin.load_state_dict(state, torch.device("cpu"))
    for number in range(100, 106):
        assert len(bank) == len(twin)
        if len(bank):
            assert torch.equal(bank.rows(), twin.rows()) and torch.equal(bank.labels(), twin.labels())
            assert torch.equal(bank.sample(5, rng(number))[0], twin.sample(5, rng(number))[0])
        bank.push(*rows(number))
        twin.push(*rows(number))
    assert held(bank) == held(twin) and len(bank) == min(8, count + 6)
