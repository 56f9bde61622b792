"""Measures against brute force and closed forms; intervals against a simulation."""

import math

import numpy as np
import pytest
import torch

from frami.errors import FramiError
from frami.features import distances
from frami.features import diversity as measures
from frami.features.diversity import (
    coverage_density,
    frechet,
    in_turns,
    judged,
    kernel_distance,
    measure,
    vendi,
    within_class,
)
from tests.helpers.features import clips, normal, rotation

# --- coverage and density --------------------------------------------------------------------------------------------


def brute_coverage_density(real, made, k):
    covered, inside = 0, 0
    for i, centre in enumerate(real):
        radius = sorted(float((centre - other).norm()) for j, other in enumerate(real) if j != i)[k - 1]
        hits = sum(float((centre - one).norm()) <= radius for one in made)
        covered += hits > 0
        inside += hits
    return covered / len(real), inside / (k * len(made))


@pytest.mark.parametrize(("m", "n", "d", "k"), [(20, 15, 3, 5), (12, 30, 40, 1), (6, 1, 2, 5), (30, 7, 1, 3)])
def test_coverage_and_density_are_those_of_the_definition(m, n, d, k):
    real, made = normal(m, d), 0.8 * normal(n, d, seed=1) + 0.3
    assert coverage_density(real.float(), made.float(), k) == pytest.approx(
        brute_coverage_density(real.float(), made.float(), k)
    )


def test_one_distribution_has_density_one():
    """And coverage 1 − 2^−k for equally many: of 2k neighbours, the k nearest are then all real with that chance."""
    found = [coverage_density(normal(300, 6, seed=2 * i), normal(300, 6, seed=2 * i + 1)) for i in range(8)]
    coverage, density = np.mean(found, axis=0)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.012) and density == pytest.approx(1, abs=0.03)
    real = normal(50, 6)
    assert coverage_density(real, real)[0] == 1
    assert coverage_density(real, real)[1] == pytest.approx(6 / 5), "each ball holds its centre and k others"


def test_a_collapsed_bank_covers_little():
    real = normal(200, 5)
    full, collapsed = normal(200, 5, seed=1), normal(1, 5, seed=1).expand(200, 5)
    assert coverage_density(real, full)[0] > 0.9
    assert coverage_density(real, collapsed)[0] < 0.1
    assert coverage_density(real, real + 100) == (0, 0)


def test_balls_are_closed_and_hold_copies():
    """Real clips that are copies have balls of radius 0; a made copy is in them, also far from the origin."""
    real = torch.tensor([[1e3, 0.1]]).expand(8, 2)
    assert coverage_density(real, real[:3]) == (1, 8 / 5)
    line = torch.arange(8.0)[:, None] + 1000
    assert coverage_density(line, line[:1] - 1, k=1) == (1 / 8, 1 / 1)


def test_coverage_is_the_same_wherever_features_lie():
    real, made = normal(60, 8), 0.7 * normal(40, 8, seed=1)
    first = coverage_density(real, made)
    turned, order = rotation(8), torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert coverage_density(3 * real @ turned + 50, 3 * made @ turned + 50) == first
    assert coverage_density(real[order], made.flip(0)) == first


def test_chunks_change_nothing_and_hold_little(monkeypatch):
    real, made, labels = normal(50, 4), normal(400, 4, seed=1), torch.arange(400) % 3
    before = coverage_density(real, made), within_class(made, labels), kernel_distance(real, made)
    sizes, squares = [], distances.squares

    def counted(a, b):
        sizes.append(len(a) * len(b))
        return squares(a, b)

    monkeypatch.setattr(distances, "_HELD", 1000)
    monkeypatch.setattr(distances, "squares", counted)
    monkeypatch.setattr(measures, "squares", counted)
    after = coverage_density(real, made), within_class(made, labels), kernel_distance(real, made)
    assert np.allclose([*before[0], *before[1:]], [*after[0], *after[1:]], rtol=1e-12, atol=0)
    assert max(sizes) <= 1000 and len(sizes) > 20


@pytest.mark.parametrize(
    ("real", "made", "k", "word"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 3), 5, "at least 6"),
        (torch.zeros(5, 3), torch.zeros(5, 3), 0, "k = 0"),
        (torch.zeros(9, 3), torch.zeros(5, 4), 5, "3 and of 4"),
        (torch.zeros(9, 3), torch.zeros(0, 3), 5, "at least one clip"),
        (torch.zeros(9), torch.zeros(5), 5, "shape"),
        (torch.full((9, 3), math.nan), torch.zeros(5, 3), 5, "not finite"),
        (torch.zeros(9, 3), torch.full((9, 3), math.inf), 5, "not finite"),
    ],
)
def test_bad_features_are_named(real, made, k, word):
    with pytest.raises(FramiError, match=word):
        coverage_density(real, made, k)


# --- kernel distance -------------------------------------------------------------------------------------------------


def brute_kernel_distance(real, made):
    """The definition, pair by pair, in plain numbers."""
    real, made = [[row.tolist() for row in part.double()] for part in (real, made)]
    apart = sorted(math.dist(a, b) for i, a in enumerate(real) for b in real[:i])
    half = len(apart) // 2
    width = apart[half] if len(apart) % 2 else (apart[half - 1] + apart[half]) / 2

    def kernel(a, b):
        return math.exp(-(math.dist(a, b) ** 2) / (2 * width**2))

    total = 0.0
    for part in (real, made):
        pairs = [kernel(a, b) for i, a in enumerate(part) for j, b in enumerate(part) if i != j]
        total += sum(pairs) / len(pairs)
    across = [kernel(a, b) for a in real for b in made]
    return 100 * (total - 2 * sum(across) / len(across))


@pytest.mark.parametrize(("m", "n", "d"), [(20, 15, 3), (7, 30, 40), (2, 2, 1), (31, 8, 6)])
def test_kernel_distance_is_that_of_the_definition(m, n, d):
    real, made = normal(m, d), 0.8 * normal(n, d, seed=1) + 0.3
    assert kernel_distance(real.float(), made.float()) == pytest.approx(
        brute_kernel_distance(real.float(), made.float()), rel=1e-9, abs=1e-9
    )


def test_kernel_distance_is_zero_on_average_of_one_distribution_and_grows_with_distance():
    """Unbiased: also of few clips, where it is below zero about as often as above."""
    found = [kernel_distance(normal(12, 4, seed=2 * i), normal(12, 4, seed=2 * i + 1)) for i in range(300)]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error and min(found) < 0 < max(found)
    real = normal(60, 4)
    apart = [kernel_distance(real, normal(60, 4, seed=1) + shift) for shift in (0, 0.3, 1, 30)]
    assert apart == sorted(apart) and apart[-1] > 30
    collapsed = normal(1, 4, seed=1).expand(60, 4)
    assert kernel_distance(real, collapsed) > kernel_distance(real, normal(60, 4, seed=1)) + 10


def test_kernel_distance_does_not_depend_on_units_and_takes_copies():
    real, made = normal(40, 6), 0.5 * normal(30, 6, seed=1)
    moved = [3 * x @ rotation(6) + 50 for x in (real, made)]
    assert kernel_distance(*moved) == pytest.approx(kernel_distance(real, made), rel=1e-9)
    copies = torch.full((8, 3), 1000.1)
    assert kernel_distance(copies, copies[:4]) == pytest.approx(0) and kernel_distance(copies, copies + 1) > 199
    with pytest.raises(FramiError, match="at least 2"):
        kernel_distance(real, made[:1])


def test_what_a_judge_makes_of_clips():
    made, target = clips(60, 0)
    real, labels = clips(50, 1)
    predicted = target.clone()
    predicted[:15] = -1
    found = judged(made, target, predicted, real, labels, resamples=20)
    assert found["judge_accuracy"] == 0.75
    assert found["judge_coverage"] == coverage_density(real, made)[0]
    assert found["judge_kad"] == kernel_distance(real, made)
    assert set(found["intervals"]) == set(measures.JUDGED) == set(found) - {"intervals"}
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high and low < high, name
    assert found["intervals"]["judge_kad"][0] < 0, "what is unbiased may be below zero"
    alone = judged(made, target, predicted)
    assert alone["judge_accuracy"] == 0.75 and alone["judge_kad"] is alone["intervals"]["judge_coverage"] is None
    assert judged(made, target, predicted, real[:5])["judge_coverage"] is None, "too few recordings"


# --- Fréchet ---------------------------------------------------------------------------------------------------------


def with_moments(mean, covariance, count=40, seed=0):
    """Clips whose sample mean and covariance are exactly these."""
    x = normal(count, len(mean), seed=seed)
    x = torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(count - 1)
    return x @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_of_known_gaussians():
    mean, other = torch.tensor([1.0, 2.0, 0.0]).double(), torch.tensor([0.0, 2.0, 2.0]).double()
    a = with_moments(mean, torch.diag(torch.tensor([1.0, 4.0, 9.0])).double())
    b = with_moments(other, torch.diag(torch.tensor([4.0, 4.0, 1.0])).double(), 25, seed=1)
    assert frechet(a, b) == pytest.approx(5 + 1 + 0 + 4)
    assert frechet(a, a + 2) == pytest.approx(12)


def test_frechet_where_covariances_do_not_commute():
    """In two dimensions tr √M = √(tr M + 2 √det M)."""
    one = torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double()
    two = torch.tensor([[1.0, -0.7], [-0.7, 3.0]]).double()
    a, b = with_moments(torch.zeros(2).double(), one), with_moments(torch.zeros(2).double(), two, 33, seed=1)
    product = one @ two
    root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    assert frechet(a, b) == pytest.approx(float(one.trace() + two.trace()) - 2 * root)


@pytest.mark.parametrize(("n", "m"), [(5, 7), (5, 100), (100, 5), (2, 2), (30, 31)])
def test_frechet_with_fewer_clips_than_dimensions(n, m):
    a, b = normal(n, 30), 2 * normal(m, 30, seed=1) + 1
    sa, sb = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(sa)
    half = vectors * values.clamp(min=0).sqrt() @ vectors.T
    root = torch.linalg.eigvalsh(half @ sb @ half).clamp(min=0).sqrt().sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + sa.trace() + sb.trace() - 2 * root
    assert frechet(a, b) == pytest.approx(float(expected), rel=1e-5)
    assert frechet(a, b) == pytest.approx(frechet(b, a))
    assert 0 <= frechet(a, a) < 1e-9


def test_frechet_of_features_that_barely_vary():
    """A huge offset, constant columns and copies: a number that is finite and not negative."""
    a = 1e4 + 1e-3 * normal(10, 20)
    a[:, :15] = 7
    copies = a[:1].expand(10, 20)
    for one, other in ((a, copies), (copies, copies), (a.float(), a.float())):
        value = frechet(one, other)
        assert math.isfinite(value) and value >= 0
    assert frechet(copies, copies) == 0
    turned = rotation(6)
    x, y = normal(50, 6), normal(40, 6, seed=1) + 1
    assert frechet(2 * x @ turned + 5, 2 * y @ turned + 5) == pytest.approx(4 * frechet(x, y))
    with pytest.raises(FramiError, match="at least 2"):
        frechet(a[:1], a)


# --- Vendi -----------------------------------------------------------------------------------------------------------


def test_vendi_counts_different_clips():
    assert vendi(normal(1, 7).expand(20, 7)) == pytest.approx(1)
    assert vendi(normal(1, 7)) == pytest.approx(1)
    assert vendi(rotation(9) * 3) == pytest.approx(9)
    groups = torch.eye(3).repeat_interleave(torch.tensor([2, 2, 4]), 0)
    entropy = -(2 * 0.25 * math.log(0.25) + 0.5 * math.log(0.5))
    assert vendi(groups) == pytest.approx(math.exp(entropy))
    assert vendi(torch.zeros(4, 3)) == pytest.approx(1)


@pytest.mark.parametrize(("n", "d"), [(5, 40), (40, 5), (12, 12)])
def test_vendi_through_either_matrix(n, d):
    x = normal(n, d).abs()
    unit = x / x.norm(dim=1, keepdim=True)
    shares = torch.linalg.eigvalsh(unit @ unit.T / n)
    shares = shares[shares > 1e-15]
    expected = float((-(shares * shares.log()).sum()).exp())
    assert vendi(x) == pytest.approx(expected)
    assert vendi(x * torch.arange(1, n + 1)[:, None]) == pytest.approx(expected), "levels do not matter"
    assert vendi(x.repeat(3, 1)) == pytest.approx(expected), "copies add nothing"
    assert 1 <= expected <= min(n, d)


# --- within a class --------------------------------------------------------------------------------------------------


def test_within_class_is_the_mean_over_classes():
    x = torch.tensor([[0.0, 0], [3, 4], [0, 0], [1, 0], [0, 1], [9, 9]])
    labels = torch.tensor([4, 4, 2, 2, 2, 0])
    assert within_class(x, labels) == pytest.approx((5 + (1 + 1 + math.sqrt(2)) / 3) / 2)
    assert within_class(x[:1], labels[:1]) is None
    assert within_class(x, torch.arange(6)) is None
    assert within_class(x[:1].expand(4, 2) + 1e4, torch.zeros(4)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(FramiError, match="6 clips"):
        within_class(x, labels[:5])


# --- all with intervals ----------------------------------------------------------------------------------------------


def test_all_measures_at_once():
    (made, target), (real, labels) = clips(40, 0, 0.8), clips(80, 1)
    made = made + 0.5
    predicted = target.clone()
    predicted[:6] = 9
    found = measure(made.float(), target, predicted, real.float(), real_labels=labels, resamples=40)
    coverage, density = coverage_density(real.float(), made.float())
    assert (found.coverage, found.density) == (coverage, density)
    assert found.frechet == pytest.approx(frechet(made, real), rel=1e-4)
    assert found.vendi == pytest.approx(vendi(made), rel=1e-5)
    assert found.within_class == pytest.approx(within_class(made, target), rel=1e-5)
    assert found.target_accuracy == 0.85
    assert set(found.intervals) == set(measures.MEASURES)
    for name, (low, high) in found.intervals.items():
        assert isinstance(low, float) and isinstance(high, float)
        assert 0 <= low < getattr(found, name) < high, name
    assert found.intervals["coverage"][1] <= 1
    again = measure(made.float(), target, predicted, real.float(), real_labels=labels, resamples=40)
    other = measure(made.float(), target, predicted, real.float(), real_labels=labels, resamples=40, seed=1)
    assert again == found and other.intervals != found.intervals


def test_without_real_clips_their_measures_are_none():
    made, target = clips(20, 0)
    found = measure(made, target, target, resamples=10)
    for name in ("coverage", "density", "frechet"):
        assert getattr(found, name) is None and found.intervals[name] is None
    assert found.vendi > 1 and found.within_class > 0 and found.intervals["vendi"] and found.target_accuracy == 1
    low, high = found.intervals["target_accuracy"]
    assert (low, high) == (pytest.approx(20 / (20 + 1.959964**2)), 1), "Wilson's interval has a width also at 1"


def test_tiny_sets_have_fewer_intervals():
    real = normal(6, 3, seed=5)
    found = measure(normal(2, 3), torch.tensor([0, 1]), torch.tensor([0, 1]), real, resamples=10)
    assert found.within_class is None and found.coverage is not None
    for name in ("within_class", "coverage", "frechet", "vendi"):
        assert found.intervals[name] is None, name
    assert found.intervals["target_accuracy"]
    pairs = measure(normal(4, 3), torch.tensor([0, 0, 1, 1]), torch.zeros(4), resamples=10)
    assert pairs.intervals["within_class"] and pairs.target_accuracy == 0.5
    one = measure(normal(2, 3), torch.tensor([3, 3]), torch.zeros(2), resamples=10)
    assert one.within_class > 0 and one.intervals["within_class"] is None


def test_copies_and_far_away_sets_have_sound_intervals():
    real = normal(40, 5)
    copies = normal(1, 5).expand(30, 5)
    found = measure(copies, torch.zeros(30), torch.zeros(30), real + 100, resamples=20)
    assert found.coverage == found.density == 0 and found.vendi == pytest.approx(1)
    assert found.intervals["coverage"][0] == 0 < found.intervals["coverage"][1] < 0.1
    values = [end for ends in found.intervals.values() if ends for end in ends]
    assert all(math.isfinite(value) for value in values)
    same = measure(real, torch.zeros(40), torch.zeros(40), real, resamples=20)
    assert same.frechet == pytest.approx(0, abs=1e-9) and same.intervals["frechet"][1] < 1e-6


def test_within_class_interval_is_the_jackknifes():
    x, labels = clips(23, 0, classes=3)
    variance = 0.0
    for label in range(3):
        own = x[labels == label]
        left = [
            within_class(own[[j for j in range(len(own)) if j != i]], torch.zeros(len(own) - 1))
            for i in range(len(own))
        ]
        variance += (len(own) - 1) / len(own) * float(np.square(np.array(left) - np.mean(left)).sum())
    value = within_class(x, labels)
    half = 1.959964 * math.sqrt(variance) / 3
    assert measure(x, labels, labels, resamples=4).intervals["within_class"] == pytest.approx(
        (value - half, value + half)
    )


def test_classes_are_drawn_in_proportion():
    """Half of the draws would else differ in their classes, which a bank made in turns never does."""
    labels = torch.arange(3).repeat_interleave(8)
    rng = np.random.default_rng(0)
    seen = torch.zeros(24)
    for _ in range(400):
        rows = measures._rows(labels, 18, rng)
        assert len(set(rows.tolist())) == 18 and labels[rows].bincount().tolist() == [6, 6, 6]
        seen[rows] += 1
    assert seen.min() > 0.6 * 400 and seen.max() < 0.9 * 400


@pytest.mark.parametrize(("made_count", "real_count", "spread"), [(60, 100, 0.8), (100, 60, 1.0)])
def test_intervals_hold_the_truth(made_count, real_count, spread):
    """Of 60 draws of made and real clips about 95 % of the intervals hold the measure's mean over all draws."""
    draws = [(*clips(made_count, 2 * i, spread), *clips(real_count, 2 * i + 1)) for i in range(200)]
    found = []
    for made, target, real, labels in draws[:60]:
        found.append(measure(made, target, target, real, real_labels=labels, resamples=60))
    values = {
        "coverage": [coverage_density(real, made)[0] for made, _, real, _ in draws],
        "density": [coverage_density(real, made)[1] for made, _, real, _ in draws],
        "frechet": [frechet(made, real) for made, _, real, _ in draws],
        "vendi": [vendi(made) for made, *_ in draws],
        "within_class": [within_class(made, target) for made, target, *_ in draws],
    }
    for name, drawn in values.items():
        truth, ends = np.mean(drawn), np.array([one.intervals[name] for one in found])
        hits = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
        assert hits >= 0.85, f"{name}: {hits:.0%}"
        width = np.mean(ends[:, 1] - ends[:, 0]) / (2 * 1.96 * np.std(drawn))
        assert 0.8 < width < 2.5, f"{name}: {width:.2f} times the true width"


def test_large_sets_are_measured_by_smaller_draws(monkeypatch):
    """Draws stay small, so that 50,000 clips take not much longer than 1,000."""
    drawn, resampled = [], measures._resampled

    def counted(sides, k, spectra=True):
        drawn.append([len(side) for side in sides])
        return resampled(sides, k, spectra) if len(sides[0]) < 2000 else dict.fromkeys(measures.MEASURES[:4], 1.0)

    monkeypatch.setattr(measures, "_resampled", counted)
    measure(normal(5000, 4), torch.arange(5000) % 10, torch.zeros(5000), normal(300, 4), resamples=3)
    assert drawn == [[5000, 300], *[[1066, 64]] * 3]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"target": torch.zeros(3)}, "4 clips"),
        ({"predicted": torch.zeros(4, 1)}, "4 clips"),
        ({"pooled": torch.zeros(1, 2), "target": torch.zeros(1), "predicted": torch.zeros(1)}, "at least 2 clips"),
        ({"resamples": 1}, "at least 2 resamples"),
        ({"real": torch.zeros(5, 2)}, "at least 6 real clips"),
        ({"real": torch.zeros(8, 3)}, "cannot be compared"),
        ({"real": torch.zeros(8, 2), "real_labels": torch.zeros(7)}, "8 clips"),
        ({"pooled": torch.full((4, 2), math.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_measured_is_named(arguments, word):
    given = {"pooled": normal(4, 2), "target": torch.zeros(4), "predicted": torch.zeros(4)}
    with pytest.raises(FramiError, match=word):
        measure(**(given | arguments))


def test_classes_take_turns():
    labels = torch.tensor([0] * 10 + [1] * 3 + [5] * 6)
    chosen = in_turns(labels, 9)
    assert labels[chosen].tolist() == [0, 1, 5] * 3 and len(set(chosen.tolist())) == 9
    assert torch.equal(chosen, in_turns(labels, 9)) and not torch.equal(chosen, in_turns(labels, 9, seed=1))
    every = in_turns(labels, 19)
    assert sorted(every.tolist()) == list(range(19)) and labels[every][-4:].tolist() == [0] * 4
    with pytest.raises(FramiError, match="20 of 19"):
        in_turns(labels, 20)
