"""Each term of the loss: a few steps lower it, and its value is that of the formula."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from frami.inversion import losses
from frami.inversion.bn_statistics import NormInput, recorded
from frami.models import StatisticsPooling, build, length_mask


def optimised(loss_of, x, steps=8, lr=0.1):
    """Loss before and after a few Adam steps on x."""
    x = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], lr=lr)
    first = float(loss_of(x).detach())
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(x).backward()
        optimiser.step()
    return first, float(loss_of(x).detach())


def noise(clips=4, frames=40, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(clips, 1, 80, frames, generator=rng) * 2 - 5


def seen(mean, var, stored_mean, stored_var) -> NormInput:
    norm = SimpleNamespace(running_mean=torch.tensor(stored_mean), running_var=torch.tensor(stored_var), eps=0.0)
    return NormInput(norm, torch.tensor(mean), torch.tensor(var), torch.tensor([mean]))


# --- class -----------------------------------------------------------------------------------------------------------


def test_class_loss_falls(teacher):
    labels = torch.tensor([0, 3, 5, 9])
    before, after = optimised(lambda x: losses.class_loss(teacher.model(x).logits, labels), noise())
    assert after < 0.5 * before


def test_class_loss_is_the_surprise():
    labels = torch.tensor([1, 2])
    assert float(losses.class_loss(torch.zeros(2, 8), labels)) == pytest.approx(math.log(8))
    shares = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    assert float(losses.class_loss(shares.log(), labels)) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


def test_class_loss_counts_clips_by_their_weights():
    shares = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    value = losses.class_loss(shares.log(), torch.tensor([0, 0]), 1.0, torch.tensor([1.5, 0.5]))
    assert float(value) == pytest.approx(-(1.5 * math.log(0.2) + 0.5 * math.log(0.5)) / 2)


def test_difficulty_is_what_a_network_lacks_of_the_class():
    """Of probabilities 0.2, 0.6 and 1; a mean of one, whatever the exponent."""
    logits, labels = torch.tensor([[0.2, 0.8], [0.6, 0.4], [1.0, 0.0]]).log().clamp(min=-50), torch.tensor([0, 0, 0])
    torch.testing.assert_close(losses.difficulty(logits, labels, 1.0), torch.tensor([2.0, 1.0, 0.0]), rtol=0, atol=1e-4)
    squared = losses.difficulty(logits, labels, 2.0)
    torch.testing.assert_close(squared, torch.tensor([2.4, 0.6, 0.0]), rtol=0, atol=1e-4)
    assert losses.difficulty(logits, labels, 0.0).tolist() == [1, 1, 1]


def test_a_clip_that_is_certain_enough_is_left_in_peace():
    shares = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    logits = shares.log().requires_grad_()
    value = losses.class_loss(logits, torch.tensor([0, 0]), certainty=0.8)
    assert float(value.detach()) == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)
    value.backward()
    assert logits.grad[0].abs().max() == 0 and logits.grad[1].abs().max() > 0.1
    whole = losses.class_loss(logits, torch.tensor([0, 0]))
    assert float(whole.detach()) == pytest.approx(-(math.log(0.9) + math.log(0.5)) / 2)


# --- batch norm ------------------------------------------------------------------------------------------------------


def test_batch_norm_loss_falls(teacher):
    def loss(x):
        with recorded(teacher.model) as norms:
            teacher.model(x)
        return losses.batch_norm_loss(norms)

    before, after = optimised(loss, noise())
    assert after < 0.8 * before


def test_batch_norm_loss_is_the_distance_of_means_and_variances():
    entries = [seen([3.0, 4.0], [1.0, 1.0], [0.0, 0.0], [1.0, 13.0]), seen([1.0], [2.0], [1.0], [5.0])]
    assert float(losses.batch_norm_loss(entries)) == pytest.approx(5 + 12 + 0 + 3)
    assert float(losses.batch_norm_loss(entries, first=10.0)) == pytest.approx(10 * (5 + 12) + 0 + 3)
    assert float(losses.batch_norm_loss(entries[:1], first=0.0)) == 0


def test_earlier_batches_count_for_their_share():
    entries = [seen([4.0], [2.0], [1.0], [5.0]), seen([0.0], [1.0], [0.0], [1.0])]
    past = [torch.tensor([[0.0], [6.0]]), torch.tensor([[2.0], [1.0]])]
    for share, expected in ((0.0, 3 + 3), (1.0, 1 + 1 + 2), (0.75, 0 + 0 + 1.5), (0.5, 1 + 1 + 1)):
        value = losses.batch_norm_loss(entries, past, torch.tensor(share))
        assert float(value) == pytest.approx(expected), share
    for entry in entries:
        entry.mean.requires_grad_()
    losses.batch_norm_loss(entries, past, torch.tensor(0.5)).backward()
    assert float(entries[0].mean.grad) == pytest.approx(0.5) and float(entries[1].mean.grad) == pytest.approx(0.5)


def test_batch_norm_loss_is_zero_for_matching_statistics():
    """A classifier that has just seen a batch in full (momentum 1) deviates from it only by Bessel's correction."""
    torch.manual_seed(0)
    model = build("nano", 3).train()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.momentum = 1.0
    x = torch.randn(8, 1, 80, 64)
    with torch.no_grad():
        model(x)
        model.eval()

        def inputs(x):
            with recorded(model) as norms:
                model(x)
            return norms

        assert float(losses.batch_norm_loss(inputs(x))) < 0.2
        assert float(losses.batch_norm_loss(inputs(x + 3))) > 1
        first = inputs(x.mean() + 1.5 * (x - x.mean()))[:1]
        assert float((first[0].mean - first[0].norm.running_mean).norm()) < 0.2
        assert float(losses.batch_norm_loss(first)) > 5, "the variance alone counts too"


# --- adversarial -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", ["agreeing", "kl", "js"])
def test_adversarial_loss_falls(teacher, divergence):
    """Disagreement grows, from clips that a student predicts like its teacher (one that always predicts that class)."""
    x = noise(clips=1)
    student = build("nano", 10).eval().requires_grad_(False)
    student.classifier.weight.zero_()
    student.classifier.bias.copy_(F.one_hot(teacher.model(x).logits.argmax(1), 10)[0].float())

    def loss(x):
        return losses.adversarial_loss(teacher.model(x).logits, student(x).logits, divergence)

    before, after = optimised(loss, x, steps=4, lr=0.01)
    assert after < before < 0


def test_adversarial_loss_is_minus_the_divergence():
    teacher = torch.tensor([[0.75, 0.25], [0.4, 0.6]]).log()
    student = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).log()
    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    second = 0.4 * math.log(0.5) + 0.6 * math.log(3)
    assert float(losses.adversarial_loss(teacher, student, "kl")) == pytest.approx(-(first + second) / 2)
    # A tie names the first class, as the teacher of the first clip does; the second's are of two minds.
    assert float(losses.adversarial_loss(teacher, student, "agreeing")) == pytest.approx(-first / 2)
    assert float(losses.adversarial_loss(teacher, student)) == pytest.approx(-first / 2)
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.2, 0.8])
    middle = (p + q) / 2
    js = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    value = losses.adversarial_loss(3 * p.log()[None], 3 * q.log()[None], "js")
    assert float(value) == pytest.approx(-float(js), rel=1e-5)
    assert float(losses.adversarial_loss(3 * q.log()[None], 3 * p.log()[None], "js")) == pytest.approx(float(value))


@pytest.mark.parametrize("divergence", ["agreeing", "kl", "js"])
def test_adversarial_loss_of_equal_and_of_extreme_answers(divergence):
    logits = torch.tensor([[3.0, -1.0, 0.5]])
    assert float(losses.adversarial_loss(logits, logits, divergence)) == pytest.approx(0, abs=1e-6)
    far = torch.tensor([[5e3, 0.0, -5e3]], requires_grad=True)
    value = losses.adversarial_loss(far, torch.tensor([[1.0, 0.0, 5e3]]), divergence)
    value.backward()
    assert value.isfinite() and far.grad.isfinite().all()
    if divergence == "js":
        assert float(value.detach()) == pytest.approx(-math.log(2), rel=1e-4), "as far apart as predictions can be"


# --- balance, activation, variation ----------------------------------------------------------------------------------


def test_balance_loss_falls(teacher):
    before, after = optimised(lambda x: losses.balance_loss(teacher.model(x).logits), noise(8), steps=12)
    assert after < -2.28 < -2.2 < before


def test_balance_loss_is_minus_the_entropy_of_the_mean():
    assert float(losses.balance_loss(torch.eye(5) * 1e3)) == pytest.approx(-math.log(5), abs=1e-4)
    assert float(losses.balance_loss(torch.zeros(3, 5))) == pytest.approx(-math.log(5), abs=1e-4)
    assert float(losses.balance_loss(torch.eye(5)[[2, 2]] * 1e3)) == pytest.approx(0, abs=1e-4)
    halves = torch.tensor([[1e3, 0, 0, 0], [0, 1e3, 0, 0]]).requires_grad_()
    value = losses.balance_loss(halves)
    value.backward()
    assert float(value.detach()) == pytest.approx(-math.log(2), abs=1e-4) and halves.grad.isfinite().all()


def test_activation_loss_falls(teacher):
    before, after = optimised(lambda x: losses.activation_loss(teacher.model(x).pooled), noise(), steps=4)
    assert after < 1.05 * before < 0


def test_activation_loss_is_minus_the_mean_size():
    assert float(losses.activation_loss(torch.tensor([[1.0, -3.0], [0.0, 2.0]]))) == -1.5


def test_variation_loss_falls():
    lengths = torch.tensor([40, 30, 20, 40])
    before, after = optimised(lambda x: losses.variation_loss(x, lengths), noise())
    assert after < 0.8 * before


def test_variation_loss_is_the_mean_step_within_each_clip():
    x = torch.arange(5.0).expand(1, 1, 4, 5)
    assert float(losses.variation_loss(x, torch.tensor([5]))) == pytest.approx(4 * 4 / 20)
    assert float(losses.variation_loss(2 * x.transpose(2, 3), torch.tensor([4]))) == pytest.approx(2 * 16 / 20)
    padded = torch.cat([x, torch.full((1, 1, 4, 3), 99.0)], 3).requires_grad_()
    value = losses.variation_loss(padded, torch.tensor([5]))
    value.backward()
    assert float(value.detach()) == pytest.approx(4 * 4 / 20)
    assert padded.grad[..., 5:].eq(0).all()
    assert float(losses.variation_loss(torch.full((2, 1, 4, 5), -3.0), torch.tensor([5, 2]))) == 0


# --- contrast --------------------------------------------------------------------------------------------------------


def rows(count, size=16, seed=0):
    return F.normalize(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_contrastive_loss_falls_and_knows_its_own_clip():
    positives, negatives = rows(6, seed=1), rows(20, seed=2)

    def loss(x):
        return losses.contrastive_loss(F.normalize(x, dim=1), positives, negatives, 0.1)

    before, after = optimised(loss, rows(6, seed=3))
    assert after < 0.5 * before
    assert float(loss(positives)) < float(loss(positives.roll(1, 0)))
    assert float(loss(positives)) < float(losses.contrastive_loss(positives, positives, positives, 0.1))


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_contrastive_loss_is_the_surprise_at_the_own_clip(temperature):
    """Rows at right angles: one likeness of 1 among B + N, all others 0."""
    basis = torch.eye(7)
    for negatives, count in ((None, 4), (basis[:0], 4), (basis[4:], 7)):
        value = losses.contrastive_loss(basis[:4], basis[:4], negatives, temperature)
        own = math.exp(1 / temperature)
        assert float(value) == pytest.approx(-math.log(own / (own + count - 1)), rel=1e-4, abs=1e-6)


def test_contrastive_loss_of_one_clip_without_bank_is_zero():
    one = rows(1, 8).requires_grad_()
    for negatives in (None, one.detach()[:0]):
        value = losses.contrastive_loss(one, one.detach(), negatives, 0.1)
        value.backward()
        assert float(value.detach()) == 0 and one.grad.eq(0).all()


def test_only_allowed_pairs_count():
    anchors, positives, negatives = rows(3, seed=1), rows(3, seed=2), rows(5, seed=3)
    allowed = torch.rand(3, 8, generator=torch.Generator().manual_seed(4)) < 0.5
    value = float(losses.contrastive_loss(anchors, positives, negatives, 0.2, allowed))
    expected = []
    for i in range(3):
        others = torch.cat([positives, negatives])
        likeness = (others @ anchors[i] / 0.2).exp()
        counts = allowed[i].clone()
        counts[i] = True
        expected.append(-math.log(float(likeness[i] / likeness[counts].sum())))
    assert value == pytest.approx(sum(expected) / 3, rel=1e-4)
    everything = torch.ones(3, 8, dtype=torch.bool)
    whole = losses.contrastive_loss(anchors, positives, negatives, 0.2)
    assert torch.equal(losses.contrastive_loss(anchors, positives, negatives, 0.2, everything), whole)


def test_a_clip_with_nothing_but_its_own_is_content():
    anchors, positives, negatives = rows(3, seed=1).requires_grad_(), rows(3, seed=2), rows(5, seed=3)
    allowed = torch.zeros(3, 8, dtype=torch.bool)
    allowed[1, 4] = True
    value = losses.contrastive_loss(anchors, positives, negatives, 0.2, allowed)
    value.backward()
    assert value.isfinite() and float(value.detach()) > 0
    assert anchors.grad[[0, 2]].abs().max() == 0 and anchors.grad[1].abs().max() > 0


# --- repulsion within the batch, segments of one pass ----------------------------------------------------------------


def test_repulsion_is_the_log_mean_of_the_other_rows():
    rows = F.normalize(torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = []
    for i in range(5):
        others = [math.exp(float(rows[i] @ rows[j]) / 0.3) for j in range(5) if j != i]
        expected.append(math.log(sum(others) / len(others)))
    assert losses.repulsion_loss(rows, 0.3).item() == pytest.approx(sum(expected) / 5, rel=1e-5)


def test_repulsion_counts_allowed_pairs_only_and_nothing_alone():
    rows = F.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), dim=1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 2])
    found = losses.repulsion_loss(rows, 0.5, labels[:, None] == labels)
    assert found.item() == pytest.approx(float((rows[0] @ rows[1]).detach()) / 0.5, rel=1e-5)
    found.backward()
    assert rows.grad[:2].abs().sum() > 0 and rows.grad[2:].abs().sum() == 0 and rows.grad.isfinite().all()
    assert losses.repulsion_loss(rows[:1], 0.5).item() == 0


def test_a_segment_as_long_as_the_clip_is_its_statistics_pooling():
    frames = torch.randn(3, 4, 5, 8, generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([8, 3, 1])
    frames = frames * length_mask(lengths, 8)
    whole = losses.segment_means(frames, lengths, torch.tensor([1.0, 0.3]).expand(3, 2))
    assert torch.allclose(whole, StatisticsPooling(4)(frames, lengths), atol=1e-5)


def test_segments_lie_within_the_clip_and_differ():
    """Ramps: the mean of a segment tells its place."""
    lengths = torch.tensor([10, 4])
    frames = (torch.arange(10.0) * length_mask(lengths, 10)).expand(2, 1, 3, 10)
    numbers = torch.rand(500, 2, generator=torch.Generator().manual_seed(3))
    for row, frame in zip(lengths, frames, strict=True):
        many = losses.segment_means(frame.expand(500, -1, -1, -1), row.expand(500), numbers)[:, 0]
        middle = (float(row) - 1) / 2
        assert many.min() >= 0.15 * row - 0.5 and many.max() <= 0.85 * row and (many - middle).abs().max() > 0.2 * row
