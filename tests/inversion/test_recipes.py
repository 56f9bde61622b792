"""Each method as a row of data: it runs, minimises the terms that it should, and makes what its teacher recognises."""

import math
from dataclasses import fields, replace

import pytest
import torch

from frami.errors import FramiError
from frami.inversion import RECIPES, TERMS, invert, losses, make_clips, recipe
from frami.inversion.generator import Generator
from frami.inversion.recipes import fingerprint
from frami.inversion.step import LOSSES
from frami.models import build

#: Recipes that decide themselves which classes they make.
OWN = [name for name, row in RECIPES.items() if row.labels == "own"]
TARGETED = [name for name in RECIPES if name not in OWN]


def short(name, warmup=1, student_steps=1):
    """A recipe with little of what takes long."""
    row = RECIPES[name]
    return replace(row, warmup=min(row.warmup, warmup), student_steps=min(row.student_steps, student_steps))


# --- the rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_row_is_complete(name):
    row = RECIPES[name]
    assert row.name == name and recipe(name) is row and row.title and row.about and row.source
    assert any(row.weights.values())
    assert 0 < row.durations[0] <= row.durations[1] and 0 <= row.past < 1 and row.steps >= 1 and row.lr > 0
    assert row.lr_latent > 0 or row.parameter == "generator", "something is learnt"


def test_an_ablation_changes_one_thing():
    """Of the row that its name begins with; weights are one thing."""
    for row in RECIPES.values():
        if row.ablation:
            whole = RECIPES[max((n for n in RECIPES if row.name.startswith(f"{n}-")), key=len)]
            changed = {f.name for f in fields(row) if getattr(row, f.name) != getattr(whole, f.name)}
            if row.name == "frami-view":  # what a second view is contrasted by, and its weight, belong to it
                changed -= {"weights", "feature"}
            changed = {"weights" if name == "first_norm" else name for name in changed}
            assert len(changed - {"name", "title", "about", "source", "ablation"}) == 1 and not whole.ablation, row.name


FINGERPRINTS = {
    "frami": "d755c030", "frami-fine": "1cc09d8c", "frami-fast": "ec23fd31", "frami-flash": "53464074",
    "frami-warm": "adcb892e",
    "cmi": "76c097a8", "deepinversion": "3ada53bc", "dafl": "08f23e9d", "dfq": "43fd8b30", "zskt": "0cd5074d",
    "fast": "d6432380", "nayer": "39959d03", "mad": "6848faa8", "spaceshipnet": "06906a3d", "ssd-kd": "2f78d6ac",
    "frami-view": "61090a38", "frami-segments": "01e8062a", "frami-same": "241f2cfa",
    "frami-fine-no-contrast": "b51fd56b", "frami-fine-image-views": "77c3214c", "frami-fine-pooled": "cffff6f6",
    "frami-fine-means": "2f3202ba", "frami-fine-fixed": "afb71838", "frami-fine-batch": "99d8268b",
    "deepinversion-cifar": "a7dee45e",
}  # fmt: skip


def test_fingerprints_under_which_results_are_stored():
    """Results in docs/results are found by them: a new field of a recipe must not change those of the rows."""
    assert {name: fingerprint(row) for name, row in RECIPES.items()} == FINGERPRINTS


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": "resett"}, "'keep'.*reset, kept, warm, meta.*'resett'"),
        ({"divergence": "KL"}, "'divergence'.*agreeing, kl, js.*'KL'"),
        ({"labels": None}, "'labels'.*target, own"),
        ({"given": "class"}, "'given'.*noise, sum, noisy_layer.*'class'"),
        ({"average": 1.0}, "'average' lies below 1"),
        ({"warmup_steps": -1}, "'warmup_steps' are not negative"),
        ({"alone": 1.1}, "'alone' lies between 0 and 1"),
        ({"best": True, "exchange": 0.5}, "'best' clips"),
        ({"parameter": "clip", "given": "sum"}, "no generator"),
        ({"weights": {"contrats": 1.0}}, "'contrats'.*contrast"),
    ],
)
def test_a_typo_in_a_recipe_is_refused_at_once(wrong, message):
    with pytest.raises(FramiError, match=message):
        replace(RECIPES["frami"], **wrong)


def test_every_term_is_computed_in_the_step():
    assert list(LOSSES) == list(TERMS) and all(term.about and 0 < term.step < term.most for term in TERMS.values())


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(FramiError, match=r"frami.*zskt"):
        recipe("best")


# --- a few steps of each ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_with_its_terms(teacher, name):
    """Two batches: every term that has a weight is there and finite, and finished clips are left alone."""
    row = short(name)
    states = list(invert(teacher, row, samples=4, batch=2, seconds=(0.2, 0.3), steps=2, every=1))
    expected = {term for term, weight in row.weights.items() if weight}
    if not row.student_steps:
        expected -= {"adversarial"}
    assert all(set(state.losses) == expected for state in states)
    assert all(math.isfinite(value) for state in states for value in state.losses.values())
    first, second = (state.clips for state in states if state.finished)
    frames = teacher.spec.frames(0.3)
    for clips in (first, second):
        assert clips.mels.shape == (2, 1, 80, frames) and clips.mels.isfinite().all()
        assert clips.mels.min() >= teacher.spec.floor and clips.mels.max() <= teacher.spec.ceiling
        with torch.no_grad():
            alone = teacher.model(clips.mels, clips.lengths)
        torch.testing.assert_close(clips.logits, alone.logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(clips.pooled, alone.pooled, rtol=1e-3, atol=1e-3)
        assert torch.equal(clips.predicted, clips.logits.argmax(1))
    assert not torch.equal(first.mels, second.mels)


@pytest.mark.parametrize("name", [n for n, r in RECIPES.items() if r.weights.get("adversarial") and not r.ablation])
def test_a_student_switches_the_adversarial_term_on(teacher, name):
    torch.manual_seed(0)
    student = build("nano", 10)
    *_, last = invert(teacher, short(name), samples=2, seconds=0.2, steps=2, student=student)
    assert last.losses["adversarial"] <= 0 and math.isfinite(last.losses["adversarial"])


@pytest.mark.parametrize("choices", [{"head": "plain"}, {"negatives": "same"}, {"head": "plain", "negatives": "same"}])
def test_other_ways_to_contrast(teacher, choices):
    """They run, with a bank and without, down to a last batch of one clip."""
    row = replace(RECIPES["frami-fine"], **choices)
    states = list(invert(teacher, row, samples=7, batch=3, seconds=0.2, steps=2, every=1))
    assert [len(state.clips) for state in states] == [3] * 4 + [1] * 2
    assert all(math.isfinite(state.losses["contrast"]) for state in states)
    *_, alone = invert(teacher, row, samples=1, seconds=0.2, steps=2)
    assert alone.losses["contrast"] == 0 and alone.clips.mels.isfinite().all()


@pytest.mark.parametrize("name", ["ssd-kd", "fast"])
def test_classes_that_a_student_knows_weigh_less(teacher, name, monkeypatch):
    """With ``modulate``: the class term's weights come from the student, without one from the teacher."""
    given = []
    plain = losses.class_loss
    monkeypatch.setattr(losses, "class_loss", lambda *args: given.append(args) or plain(*args))
    torch.manual_seed(0)
    for student in (None, build("nano", 10).eval()):
        given.clear()
        *_, last = invert(teacher, short(name, warmup=0), samples=4, seconds=0.2, steps=2, student=student)
        logits, labels, _, weights, _ = given[-1]
        if name == "fast":
            assert weights is None
        else:
            own = losses.difficulty(logits, labels, 1.0)
            assert not weights.requires_grad and abs(float(weights.mean()) - 1) < 1e-5
            assert torch.allclose(weights, own) == (student is None)
        assert math.isfinite(last.losses["class"])


def test_half_of_a_batch_is_drawn_from_the_generators_average(teacher):
    """The rest as without it: the average changes nothing of what is learnt."""
    settings = {"samples": 5, "seconds": 0.2, "steps": 3}
    row = replace(short("mad"), warmup=0)
    clips, without = (make_clips(teacher, r, **settings).mels for r in (row, replace(row, average=0.0)))
    same = [torch.equal(a, b) for a, b in zip(clips, without, strict=True)]
    assert same == [True] * 3 + [False] * 2
    slower = make_clips(teacher, replace(row, average=0.999), **settings).mels
    start = make_clips(teacher, replace(row, average=0.999, lr=1e-9), **settings).mels
    assert (slower - start)[3:].abs().max() < 0.2 * (clips - start)[3:].abs().max()


def test_a_share_of_the_finished_clips_is_crossed(teacher):
    """The others are those that the same steps give without it, but for the generator's statistics of the batch;
    crossed ones have one of two target classes."""
    settings = {"samples": 10, "seconds": 0.2, "steps": 2}
    row = RECIPES["spaceshipnet"]
    clips, without = (make_clips(teacher, r, **settings) for r in (row, replace(row, exchange=0.0)))
    moved = (clips.mels - without.mels).abs().mean((1, 2, 3))
    same = [bool(it < 0.02) for it in moved]
    assert sum(same) == 3 and moved.sort().values[3] > 0.08 and without.target.tolist() == list(range(10))
    assert all(a == b for a, b, kept in zip(clips.target, without.target, same, strict=True) if kept)
    own = clips.logits.gather(1, without.target[:, None])
    assert (clips.logits.gather(1, clips.target[:, None]) >= own).all()


# --- what comes out --------------------------------------------------------------------------------------------------

#: The published weight of their batch-norm term is so large beside the class term's that the class comes much later,
#: if at all, than a test can wait.
LIGHTER = {
    "cmi": 30, "deepinversion-cifar": 25, "fast": 10, "ssd-kd": 10, "nayer": 40, "mad": 30, "spaceshipnet": 40,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETED)
def test_a_recipe_reaches_its_target_classes(teacher, name):
    """Chance is 10 %."""
    choices = {"steps": LIGHTER.get(name, 25 if name in ("deepinversion", "frami-same") else 10)}
    choices |= {"weights": {"batch_norm": 0.05}} if name in LIGHTER else {}
    clips = make_clips(teacher, short(name, warmup=2), samples=20, batch=20, seconds=0.3, **choices)
    assert clips.target_accuracy >= 0.6
    assert clips.confidence.mean() > 0.5


@pytest.mark.parametrize("name", OWN)
def test_a_recipe_without_target_classes_makes_what_is_recognised(teacher, name):
    """Its teacher's confidence is above that of what the generator draws at first; the classes are in better balance
    where that is a term."""
    with torch.no_grad():
        torch.manual_seed(0)
        source, frames = Generator(teacher.spec), teacher.spec.frames(0.3)
        start = source(source.noise(100, frames, torch.Generator().manual_seed(0)), frames)
        before = teacher.model(start).logits.softmax(1)
    clips = make_clips(teacher, short(name), samples=20, batch=20, seconds=0.3, steps=15)
    after = clips.logits.softmax(1)
    assert after.max(1).values.mean() > before.max(1).values.mean() + 0.08
    if RECIPES[name].weights.get("balance"):
        entropies = [-(p.mean(0) * p.mean(0).log()).sum() for p in (before, after)]
        assert entropies[1] > entropies[0] + 0.05


@pytest.mark.parametrize("name", LIGHTER)
def test_published_weights_match_the_statistics(teacher, name):
    """Their largest term: half of the way within a few steps."""
    row = short(name, warmup=2)
    first, *_, last = invert(teacher, row, samples=4, seconds=0.2, steps=min(row.steps, 30), every=1)
    assert last.losses["batch_norm"] < 0.5 * first.losses["batch_norm"]
