"""A student whose layers are fitted computes what its teacher does, as far as its size allows, before it has learnt."""

import pytest
import torch

from frami import models
from frami.distill import Settings, distill, fitting, loop
from frami.distill.augment import AugmentConfig, ReplayBuffer, noise_clips, texture
from frami.distill.objectives import WEIGHTS, frames_loss, objective, total
from frami.distill.student import both
from frami.inversion.teacher import fast_copy
from tests.helpers.clock import ticking
from tests.helpers.distillation import QUICK

#: Sizes of a teacher and a student by architecture.
SIZES = {"residual": ("base", "tiny"), "tc-resnet": ("base", "small")}
#: Of a teacher that a student equals.
SAME = {"residual": "tiny", "tc-resnet": "small"}


def sounds(seed: int, clips: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(clips, 1, 80, 48, generator=rng).cumsum(3) / 3 - 6
    return x, torch.randint(20, 49, (clips,), generator=rng)


def teacher_of(architecture: str, size: str) -> models.Classifier:
    """With batch norms that know some sounds."""
    torch.manual_seed(1)
    model = models.build(size, 5, architecture=architecture).train()
    with torch.no_grad():
        for seed in range(100, 115):
            model(*sounds(seed))
    return model.eval()


def pair(architecture: str, head: str = "reused", large: str = "", small: str = "") -> tuple:
    """A teacher, a student with its weights, and what was kept."""
    teacher, fields = teacher_of(architecture, large or SIZES[architecture][0]), {}
    if head != "own":
        channels = teacher.backbone.channels
        fields = {"head": teacher, "projected": channels, "bottleneck": channels // 2 if head == "bottleneck" else 0}
    student = models.build(small or SIZES[architecture][1], 5, architecture=architecture, **fields)
    return teacher, student, models.slice_weights(student, teacher)


@torch.no_grad()
def off(teacher, student) -> tuple[float, float]:
    """How far a student is off on sounds that it was not fitted to: in frame-level features, where both have as many
    channels, and in logits, as shares of the variance."""
    x, lengths = sounds(7, 12)
    own, mine = teacher.eval()(x, lengths), student.eval()(x, lengths)
    logits = (mine.logits - own.logits).square().sum() / (own.logits - own.logits.mean(0)).square().sum()
    alike = own.frames.shape[1] == mine.frames.shape[1]
    return float(frames_loss(own, mine)) if alike else 0.0, float(logits)


@pytest.mark.parametrize("head", ["reused", "bottleneck", "own"])
@pytest.mark.parametrize("architecture", SIZES)
def test_a_fitted_student_is_nearer_to_its_teacher(architecture, head):
    teacher, student, kept = pair(architecture, head)
    before = off(teacher, student)
    missed = fitting.fit(student, teacher, kept, [sounds(seed, 12) for seed in range(6)])
    after = off(teacher, student)
    assert after[0] <= before[0] and after[1] < before[1] and after[0] < 0.9, (before, after)
    assert len(missed) == 2 * len(student.backbone.blocks) + 1 and all(0 <= one < 1 for one in missed)


@pytest.mark.parametrize("architecture", SIZES)
def test_one_of_its_teachers_size_computes_the_same(architecture):
    """Up to the ridge: the regression finds weights that leave nothing out."""
    teacher, student, kept = pair(architecture, "own", SAME[architecture], SAME[architecture])
    missed = fitting.fit(student, teacher, kept, [sounds(seed, 12) for seed in range(4)])
    assert max(missed) < 0.05 and off(teacher, student)[1] < 0.05


def test_its_norms_know_its_signals():
    """The statistics that they have stored are those of what they get, so that a student computes in training, where
    its batch's count, what it computes at rest. Weights have grown, which changes nothing of that."""
    teacher, student, kept = pair("residual")
    before = {name: p.detach().norm() for name, p in student.named_parameters()}
    some = [sounds(seed, 12) for seed in range(4)]
    fitting.fit(student, teacher, kept, some)
    given = {}
    for name, norm in student.backbone.blocks.named_modules():
        if isinstance(norm, models.MaskedBatchNorm2d):
            norm.register_forward_pre_hook(lambda norm, args, name=name: given.setdefault(name, []).append(args[:2]))
    with torch.no_grad():
        for x, lengths in some:
            student(x, lengths)
    for name, calls in given.items():
        norm = student.backbone.blocks.get_submodule(name)
        valid = [mask.expand(-1, 1, x.shape[2], -1)[:, 0] > 0 for x, mask in calls]
        flat = torch.cat([x.transpose(0, 1)[:, rows] for (x, _), rows in zip(calls, valid, strict=True)], 1)
        spread = flat.std(1)
        torch.testing.assert_close(norm.running_var.sqrt() / spread, torch.ones_like(spread), rtol=1e-2, atol=0)
        assert ((norm.running_mean - flat.mean(1)).abs() < 1e-2 * spread).all()
    assert len(given) == 2 * 4 + 3, "of each stage two norms, of three a shortcut's"
    grown = {name: float(p.detach().norm() / before[name]) for name, p in student.named_parameters() if p.dim() == 4}
    assert grown.pop("backbone.stem.weight") == 1
    assert list(grown.values()) == pytest.approx([fitting.GAIN] * len(grown))


def test_the_fast_copy_of_a_teacher_will_do(tiny):
    results = []
    for fast in (False, True):
        teacher, student, kept = pair("residual")
        asked = fast_copy(teacher, tiny.spec, 48) if fast else teacher
        fitting.fit(student, asked, kept, [sounds(seed) for seed in range(4)])
        results.append(off(teacher, student)[1])
    assert results[1] == pytest.approx(results[0], rel=0.2)


def test_it_holds_on_to_its_weights_where_clips_say_little():
    """Fitted to two clips a student is no further off than one that was not fitted: what does not serve the clips to
    which a layer was not fitted is left."""
    teacher, student, kept = pair("residual")
    before = off(teacher, student)
    fitting.fit(student, teacher, kept, [sounds(seed, 1) for seed in range(2)])
    after = off(teacher, student)
    assert after[0] < before[0] and after[1] < before[1]


def test_few_positions_are_enough(monkeypatch):
    """Layers with many positions are fitted to some of them: about as well."""
    teacher, student, kept = pair("residual")
    some = [sounds(seed, 12) for seed in range(6)]
    fitting.fit(student, teacher, kept, some)
    whole = off(teacher, student)[0]
    monkeypatch.setattr(fitting, "POSITIONS", 4000)
    teacher, student, kept = pair("residual")
    fitting.fit(student, teacher, kept, some)
    assert off(teacher, student)[0] < 1.3 * whole


def test_views_are_of_all_clips_and_of_like_length(tiny):
    spec = tiny.spec
    mels, lengths = noise_clips(spec, 30, 10, 60, seed=0)
    buffer = ReplayBuffer(spec, 60)
    buffer.add(mels, lengths, torch.zeros(30, dtype=torch.long))
    noise, augmentation = texture(spec, torch.device("cpu")), AugmentConfig()
    found = list(fitting.views(buffer, augmentation, noise, 32, seed=1))
    assert sum(len(x) for x, _ in found) == fitting.VIEWS
    assert all(x.shape[2] == spec.n_mels and int(n.max()) <= x.shape[3] for x, n in found)
    again = list(fitting.views(buffer, augmentation, noise, 32, seed=1))
    other = list(fitting.views(buffer, augmentation, noise, 32, seed=2))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(found, again, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for (a, _), (b, _) in zip(found, other, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_views_of_few_clips(tiny, count):
    mels, lengths = noise_clips(tiny.spec, count, 10, 60, seed=0)
    buffer = ReplayBuffer(tiny.spec, 60)
    buffer.add(mels, lengths, torch.zeros(count, dtype=torch.long))
    noise = texture(tiny.spec, torch.device("cpu"))
    found = list(fitting.views(buffer, AugmentConfig(), noise, 32, seed=1))
    assert sum(len(x) for x, _ in found) == fitting.VIEWS


def test_silence_is_no_reason_to_fail():
    """Of clips that are all alike, a layer's inputs do not vary: it stays near what it was."""
    teacher, student, kept = pair("residual")
    quiet = torch.full((4, 1, 80, 48), -11.5), torch.full((4,), 48)
    fitting.fit(student, teacher, kept, [quiet, quiet])
    assert all(torch.isfinite(p).all() for p in student.state_dict().values())


@pytest.fixture
def fits(monkeypatch):
    """The students that were fitted."""
    found, real = [], loop.fit

    def noted(student, *rest):
        found.append(student)
        return real(student, *rest)

    monkeypatch.setattr(loop, "fit", noted)
    return found


@pytest.mark.parametrize(("start", "times"), [("fitting", 1), ("teacher", 1), ("sliced", 0), ("new", 0)])
def test_a_distillation_begins_with_it(tiny, fits, start, times):
    *_, last = distill(tiny, Settings(**(QUICK | {"start": start})))
    assert last.finished and len(fits) == times


@pytest.mark.parametrize(("budget", "times"), [(loop.SHORTEST - 0.1, 0), (loop.SHORTEST, 1)])
def test_the_shortest_budgets_are_for_learning(tiny, fits, budget, times):
    clock = ticking(budget / 60)
    *_, last = distill(tiny, Settings(**(QUICK | {"budget": budget, "share": 0.3})), now=clock)
    assert last.finished and last.steps > 1 and len(fits) == times


def test_who_goes_on_is_not_fitted_again(tiny, fits):
    settings = Settings(**(QUICK | {"steps": 6}))
    clips, memory = None, None
    for state in distill(tiny, settings, every=0.0):
        clips = state.made.clips if state.made is not None and clips is None else clips
        if state.steps >= 2:
            memory = state.memory()
            break
    count = len(fits)
    *_, last = distill(tiny, settings, memory=memory, earlier=clips)
    assert last.finished and len(fits) == count


def test_it_takes_a_small_part_of_a_budget(tiny, monkeypatch):
    """Batches that a slow machine has no time for are left out, but for one; the rest of the time is for learning."""
    seen = []

    def fit(student, teacher, kept, batches):
        for x, _ in batches:
            seen.append(len(x))
            course.clock._spent += 0.02 * 100

    monkeypatch.setattr(loop, "fit", fit)
    settings = Settings(**(QUICK | {"budget": 100.0}))
    teacher, student, kept = both(tiny, settings)
    clock = loop.Clock(now=lambda: 0.0)
    course = loop._Course(teacher, settings, student, AugmentConfig(), None, clock, 40, None, kept=kept)
    mels, lengths = noise_clips(tiny.spec, 8, 30, 40, seed=0)
    course.add(mels, lengths, torch.zeros(8, dtype=torch.long))
    clock.start()
    course.fit()
    assert len(seen) == 2 and course.kept is None and course.pace.beside == pytest.approx(4.0)


def test_terms_are_summed_with_their_weights():
    terms = {"kd": torch.tensor(1.0), "before": torch.tensor(0.5)}
    assert set(objective("frami").losses) > set(terms)
    assert float(total(terms)) == pytest.approx(1 + 0.5 * WEIGHTS["before"]) and WEIGHTS["before"] != 1
