"""Distillation: objectives, students, replay, the loop, and runs that go on after a kill."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from frami import banks, checkpoints, models
from frami.adapter import adapt
from frami.audio import MelSpec
from frami.cli.distillation import seconds as read_seconds
from frami.cost import parameters
from frami.distill import OBJECTIVES, STUDENTS, RunSettings, Settings, distill, loop, new_student, objectives
from frami.distill import run as runs
from frami.distill.augment import NUMBERS, AugmentConfig, ReplayBuffer, augment, noise_clips, split, texture
from frami.distill.loop import BudgetError, Clock, Pace
from frami.distill.objectives import Batch
from frami.errors import FramiError
from frami.inversion import RECIPES
from frami.inversion.augment import ViewConfig
from frami.models import Features
from frami.models.architectures import BLOCKS
from frami.runs import Runs
from frami.runs.store import bundled
from frami.train import evaluate
from tests.helpers.cli import run
from tests.helpers.clock import ticking

ROOT = Path(__file__).parents[2]
QUICK = {"student": "nano", "budget": None, "rounds": 2, "clips": 8, "steps": 3, "batch": 8}


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    """No run is in the store."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))


@pytest.fixture
def tiny(tiny_teacher):
    return checkpoints.load(tiny_teacher)


@pytest.fixture
def temporal(temporal_teacher):
    return checkpoints.load(temporal_teacher)


@pytest.fixture
def short_warmup(monkeypatch):
    """DAFL throws away two batches at its start instead of twenty."""
    monkeypatch.setitem(RECIPES, "dafl", replace(RECIPES["dafl"], warmup=2))


def answered(teacher, seed=0, clips=6, frames=40):
    rng = torch.Generator().manual_seed(seed)
    x = torch.empty(clips, 1, 80, frames).uniform_(-11, 0, generator=rng)
    lengths = torch.randint(frames // 2, frames + 1, (clips,), generator=rng)
    with torch.no_grad():
        return x, lengths, teacher.model(x, lengths)


# --- objectives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "architecture"), [("tiny", "residual"), ("temporal", "residual"), ("tiny", "tc-resnet")]
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_lower_every_term(request, name, kind, architecture):
    """Of each objective, each term, on clips that stay the same, between architectures too."""
    teacher = request.getfixturevalue(kind)
    x, lengths, wanted = answered(teacher)
    objective = OBJECTIVES[name]
    student = new_student(teacher, "nano", objective, architecture=architecture).train()
    hint = models.Projector(student.backbone.channels, wanted.frames.shape[1]) if objective.hint else None

    def terms():
        made = student(x, lengths)
        seen = hint and Features(hint(made.frames, made.lengths), made.pooled, made.logits, made.lengths)
        return objective.terms(Batch(wanted, made, seen))

    learning = [p for m in (student, hint) if m is not None for p in m.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learning, 1e-2)
    first = {k: v.item() for k, v in terms().items()}
    for _ in range(60):
        optimiser.zero_grad()
        torch.stack(list(terms().values())).sum().backward()
        optimiser.step()
    last = {k: v.item() for k, v in terms().items()}
    assert set(first) == set(last) and all(last[k] < 0.85 * first[k] for k in first), (first, last)


def test_the_objectives_are_what_they_say(tiny):
    x, lengths, wanted = answered(tiny)
    made = new_student(tiny, "nano", OBJECTIVES["frami"]).eval()(x, lengths)
    found = {name: set(row.terms(Batch(wanted, made, made))) for name, row in OBJECTIVES.items()}
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


def test_hidden_states_are_compared_free_of_the_teachers_scale(tiny):
    _, _, wanted = answered(tiny)
    _, _, other = answered(tiny, seed=1)
    made = replace(wanted, frames=other.frames * (wanted.frames != 0), pooled=other.pooled)
    scaled = [replace(f, frames=f.frames * 7, pooled=f.pooled * 7) for f in (wanted, made)]
    for loss in (objectives.frames_loss, objectives.attention_loss):
        assert float(loss(wanted, made)) == pytest.approx(float(loss(*scaled)), rel=1e-4)
    plain = objectives.pooled_loss(wanted.pooled, made.pooled)
    assert float(plain) == pytest.approx(float(objectives.pooled_loss(scaled[0].pooled, scaled[1].pooled)), rel=1e-4)


def test_the_scale_of_a_distance_is_the_mean_as_an_answer(tiny):
    """0 for the same, 1 for a student that always gives the mean."""
    _, _, wanted = answered(tiny)
    mean = replace(wanted, pooled=wanted.pooled.mean(0).expand_as(wanted.pooled))
    assert float(objectives.pooled_loss(wanted.pooled, mean.pooled)) == pytest.approx(1, rel=1e-4)
    assert float(objectives.frames_loss(wanted, wanted)) == 0 == float(objectives.attention_loss(wanted, wanted))
    assert float(objectives.kd_loss(wanted.logits, wanted.logits)) == pytest.approx(0, abs=1e-6)


def test_what_lies_behind_a_clips_end_does_not_count(tiny):
    _, _, wanted = answered(tiny)
    inside = torch.arange(wanted.frames.shape[-1]) < wanted.lengths[:, None]
    noisy = replace(wanted, frames=torch.where(inside[:, None, None], wanted.frames, 99.0))
    assert float(objectives.frames_loss(wanted, noisy)) == 0


def test_frames_of_another_resolution_are_averaged():
    rng = torch.Generator().manual_seed(0)
    fine = torch.rand(2, 3, 4, 8, generator=rng)
    coarse = torch.nn.functional.adaptive_avg_pool2d(fine, (2, 4))
    lengths = torch.tensor([4, 4])
    pair = [Features(f, f, f, n) for f, n in ((coarse, lengths), (fine, 2 * lengths))]
    assert float(objectives.frames_loss(*pair)) == pytest.approx(0, abs=1e-9)


# --- students --------------------------------------------------------------------------------------------------------


def test_students_span_two_to_one_to_fifty_to_one(teacher):
    sizes = [parameters(new_student(teacher, size, OBJECTIVES["frami"])) for size in STUDENTS]
    assert len(sizes) >= 4 and sizes == sorted(sizes) and sizes[0] < 20_000 and 300_000 < sizes[-1] < 500_000
    large = parameters(teacher.model)
    assert large / sizes[0] > 40 and 2 < large / sizes[-1] < 3
    kinds = {type(block) for size in STUDENTS for block in models.build(size, 10).backbone.blocks}
    assert kinds == set(BLOCKS.values())


def test_a_reusing_student_ends_in_the_teachers_own_classifier(teacher):
    student = new_student(teacher, "nano", OBJECTIVES["frami"])
    for mine, own in zip(student.classifier.parameters(), teacher.model.classifier.parameters(), strict=True):
        assert torch.equal(mine, own) and not mine.requires_grad
    assert student.projector is not None
    assert new_student(teacher, "nano", OBJECTIVES["logits"]).projector is None
    assert len(new_student(teacher, "nano", OBJECTIVES["simkd"]).projector.convs) == 3


def test_a_students_card_names_the_pooling_that_it_took_over(temporal, tmp_path, make_card):
    student = new_student(temporal, "nano", OBJECTIVES["frami"]).eval()
    checkpoints.save(tmp_path / "it", student, make_card(student, "it"))
    again = checkpoints.load(tmp_path / "it")
    assert again.card.model["pooling"] == "attentive" and "architecture" not in again.card.model
    x, lengths, _ = answered(temporal)
    with torch.no_grad():
        torch.testing.assert_close(again.model(x, lengths).logits, student(x, lengths).logits, rtol=0, atol=0)
    own, teachers = student.pooling.attention[0].weight, temporal.model.pooling.attention[0].weight
    assert torch.equal(own, teachers) and not own.requires_grad


@pytest.mark.parametrize("size", STUDENTS)
@pytest.mark.parametrize("objective", ["frami", "simkd", "logits"])
def test_padding_never_changes_a_students_answer(teacher, size, objective):
    student = new_student(teacher, size, OBJECTIVES[objective]).eval()
    x, lengths, _ = answered(teacher)
    with torch.no_grad():
        together = student(x, lengths).logits
        alone = torch.cat([student(x[i : i + 1, ..., :n]).logits for i, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


FOREIGN = nn.Sequential(
    nn.Conv2d(1, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(16, 2),
)  # fmt: skip


class MeanPooling(nn.Module):
    """What ``FOREIGN`` computes between its frame-level features and its last layer."""

    def forward(self, frames, lengths):
        return frames.mean((2, 3))


def test_a_foreign_teacher_with_its_pooling_teaches_every_objective():
    teacher = adapt(FOREIGN, MelSpec(n_mels=64), ["rain", "wind"], pooling=MeanPooling())
    for objective in OBJECTIVES:
        *_, last = distill(teacher, Settings(**(QUICK | {"objective": objective, "rounds": 1})))
        assert last.finished and last.steps == 3
        assert isinstance(last.student.pooling, MeanPooling) == OBJECTIVES[objective].reuse


def test_a_foreign_teacher_without_its_pooling_teaches_the_other_objectives():
    teacher = adapt(FOREIGN, MelSpec(n_mels=64), ["rain", "wind"])
    with pytest.raises(FramiError, match="choose one of: logits, fitnet, attention"):
        distill(teacher, Settings(**QUICK))
    for objective in ("logits", "fitnet", "attention"):
        *_, last = distill(teacher, Settings(**(QUICK | {"objective": objective, "rounds": 1})))
        assert last.finished and last.steps == 3


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_store_grows_and_gives_back_what_it_got():
    spec = MelSpec()
    store = ReplayBuffer(spec, 20)
    rng = torch.Generator().manual_seed(0)
    parts = [torch.empty(n, 1, 80, t).uniform_(-9, 0, generator=rng) for n, t in ((3, 12), (300, 20), (2, 50))]
    for part in parts:
        store.add(part, torch.full((len(part),), part.shape[-1]), torch.arange(len(part)) % 4)
    assert len(store) == 305
    mels, lengths, labels = store.take(torch.tensor([1, 4, 304]), torch.tensor([0.0, 0.0, 1.0]))
    assert mels.shape == (3, 1, 80, 20) and lengths.tolist() == [12, 20, 20] and labels.tolist() == [1, 1, 1]
    torch.testing.assert_close(mels[0, :, :, :12], parts[0][1], atol=0.01, rtol=0)
    assert (mels[0, :, :, 12:] - spec.floor).abs().max() < 0.01
    torch.testing.assert_close(mels[2], parts[2][1][..., 30:], atol=0.01, rtol=0), "a random segment of a longer clip"


def test_replay_without_strength_changes_nothing_but_the_segment():
    spec = MelSpec()
    still = AugmentConfig(view=ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0), colour=0, noise=0, mix=0)
    x = torch.empty(4, 1, 80, 30).uniform_(-9, 0, generator=torch.Generator().manual_seed(0))
    lengths, labels = torch.tensor([30, 20, 30, 5]), torch.arange(4)
    numbers = torch.rand(4, NUMBERS, generator=torch.Generator().manual_seed(1))
    y, kept, _, share = augment(x, lengths, labels, spec, still, numbers, texture(spec, torch.device("cpu")))
    assert torch.equal(kept, lengths) and (share == 1).all()
    for i, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(y[i, ..., :n], x[i, ..., :n], rtol=0, atol=1e-5)
        assert (y[i, ..., n:] == spec.floor).all()


def test_replay_mixes_sounds_and_says_so():
    spec = MelSpec()
    both = AugmentConfig(view=ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0), colour=0, noise=0, mix=1)
    x = torch.full((2, 1, 80, 8), spec.floor)
    x[0, :, 10] = -1
    x[1, :, 50] = -1
    numbers = torch.full((2, NUMBERS), 0.5)
    y, lengths, partners, share = augment(
        x, torch.tensor([8, 4]), torch.tensor([0, 1]), spec, both, numbers, texture(spec, torch.device("cpu"))
    )
    assert partners.tolist() == [1, 0] and share.tolist() == [0.5, 0.5] and lengths.tolist() == [8, 8]
    assert (y[0, 0, [10, 50], 0] + 1 - torch.tensor(0.5).log()).abs().max() < 0.01, "half of each, as sounds add"


def test_some_made_clips_are_kept_aside():
    use, aside = split(40)
    classes = {(32 * batch + i) % 10 for batch in range(20) for i in split(32, 32 * batch)[1]}
    assert classes == set(range(10)), "every class has its turn"
    assert sorted([*use, *aside]) == list(range(40)) and len(aside) == 5
    mels, lengths = noise_clips(MelSpec(), 5, 10, 20, 0)
    assert mels.shape == (5, 1, 80, 20) and 10 <= lengths.min() <= lengths.max() <= 20


# --- the loop --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_student_learns_from_made_clips_alone(tiny, make_mels):
    """Far above chance on clips of the classes that neither network was shown."""
    wanted = Settings(student="tiny", budget=None, rounds=4, clips=16, steps=40, batch=16)
    states = list(distill(tiny, wanted, every=0.2))
    last = states[-1]
    assert last.finished and last.steps == 160 and last.clips == 64 and last.share == 1 and last.left == 0
    assert [s.share for s in states] == sorted(s.share for s in states)
    assert sum(s.made is not None for s in states) == 4
    assert evaluate(last.student, make_mels(seed=3)).accuracy > 0.6


def test_the_same_seed_gives_the_same_student(tiny):
    def weights(seed):
        *_, last = distill(tiny, Settings(**(QUICK | {"seed": seed})))
        return torch.cat([p.flatten() for p in last.student.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_the_budget_is_kept_and_shared(tiny):
    wanted = Settings(student="nano", budget=4.0, clips=8, batch=8, share=0.5)
    *_, last = distill(tiny, wanted, every=0.2, now=ticking(0.05))
    assert 4.0 <= last.seconds < 4.5
    assert last.clips >= 8 and last.steps > 5


def test_clips_that_take_longer_than_the_budget_are_left(tiny):
    """A thousand steps for the first clips: the run ends with its budget, not with them, and says what to do."""
    slow = Settings(student="nano", recipe="deepinversion", budget=0.5, clips=8, batch=8)
    seen = []
    with pytest.raises(BudgetError, match="larger --budget"):
        for state in distill(tiny, slow, every=0.0, now=ticking(0.01)):
            seen.append((state.seconds, state.steps))
    assert seen[-1][0] < 0.6 and seen[-1][1] == 0
    states = []
    with pytest.raises(BudgetError):  # over before the first sign of life: even so there is a state, a student
        for state in distill(tiny, slow, every=60, now=ticking(1.0)):
            states.append(state)
    assert [state.steps for state in states] == [0]


def test_what_happens_between_two_states_is_not_counted():
    clock = Clock(now=ticking(1.0))
    clock.start()
    clock.stop()
    assert [clock.seconds, clock.seconds] == [1.0, 1.0]
    clock.start()
    assert [clock.seconds, clock.seconds] == [2.0, 3.0]


def test_making_ends_when_its_share_is_used_up():
    clock = Clock(10.0)
    pace = Pace(Settings(budget=100, share=0.3), clock)
    assert pace.wants_clips, "without a clip there is nothing to learn from"
    pace.made(9.0)
    assert not pace.wants_clips, "first its time of learning"
    clock._spent = 40.0
    assert pace.wants_clips
    pace.made(20.0)
    assert not pace.wants_clips and not pace.over
    clock._spent = 100.0
    assert pace.over


def test_what_a_method_throws_away_at_its_start_is_no_price_of_later_batches():
    clock = Clock(30.0)
    pace = Pace(Settings(recipe="dafl", budget=100, share=0.3), clock)
    pace.made(21.0)  # twenty batches to learn from, and the first that is kept
    clock._spent = 90.0
    assert pace.wants_clips
    other = Pace(Settings(recipe="frami", budget=100, share=0.3), clock)
    other.made(21.0)
    assert not other.wants_clips


def test_a_budget_that_the_first_clips_take_is_said(tiny):
    with pytest.raises(FramiError, match="larger --budget"):
        list(distill(tiny, Settings(**(QUICK | {"budget": 0.01}))))


@pytest.mark.slow
def test_a_batch_that_was_cut_off_is_no_part_of_what_was_spent(tiny):
    """A run that is stopped again and again while it makes its first clips still has its whole budget."""
    now = ticking(0.05)
    settings = Settings(**(QUICK | {"recipe": "frami", "budget": 8.0, "rounds": 1}))
    states = distill(tiny, settings, every=0, now=now)
    state = next(state for state in states if state.seconds > 1)
    memory = state.memory()
    states.close()
    assert not state.clips and memory["seconds"] == 0
    states = distill(tiny, settings, every=0, now=now, memory=memory)
    state = next(state for state in states if state.steps > 2)
    assert 0 < state.memory()["seconds"] <= state.seconds, "whole steps count"
    *_, last = states
    assert last.finished and last.seconds >= 8


def test_references_learn_from_real_clips_or_noise(tiny, make_mels):
    data = make_mels()
    for source, objective in (("real", "labels"), ("real", "frami"), ("noise", "logits")):
        wanted = Settings(**(QUICK | {"source": source, "objective": objective, "rounds": 1}))
        *_, last = distill(tiny, wanted, data if source == "real" else None)
        assert last.finished and last.steps == 3 and last.made is None
        assert last.clips == (len(data) if source == "real" else 2048)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "magic"}, "choose one of: frami"),
        ({"objective": "labels"}, "real clips"),
        ({"student": "giant"}, "no size 'giant'"),
        ({"recipe": "magic"}, "no recipe"),
        ({"budget": 0.0}, "above 0"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"clips": 0}, "clips is at least 1"),
        ({"batch": 1}, "batch is at least 2"),
        ({"lr": 0.0}, "learning rate"),
        ({"source": "bank"}, "do not fit"),
        ({"source": "dreams"}, "no source"),
    ],
)
def test_bad_settings_are_refused_at_the_call(tiny, change, message):
    with pytest.raises(FramiError, match=message):
        distill(tiny, Settings(**(QUICK | change)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, where steps are replayed from a graph")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_gpu_replays_the_steps(tiny_teacher, make_mels, objective):
    wanted = Settings(student="tiny", objective=objective, budget=None, rounds=3, clips=16, steps=60, batch=16)
    *_, last = distill(checkpoints.load(tiny_teacher, "cuda"), wanted)
    assert last.finished and last.steps == 180
    assert evaluate(last.student, make_mels(seed=3)).accuracy > 0.6


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_from_the_command_line_to_a_student_that_runs_alone(capsys, tmp_path, fresh_home, tiny_teacher):
    out = tmp_path / "run"
    options = ["--student", "nano", "--rounds", 2, "--clips", 16, "--steps", 5, "--batch", 8, "--out", out]
    status, text, err = run(capsys, "distill", "--teacher", tiny_teacher, *options, "--json")
    assert status == 0, err
    value = json.loads(text)
    assert {"run", "accuracy", "agreement", "parameters", "seconds", "macs", "latency_ms", "bytes"} <= set(value)
    assert value["accuracy"] is None, "no recording of these classes is anywhere"
    assert value["clips"] == 32 and value["steps"] == 10 and value["confusion_of"] == "made"
    assert sum(map(sum, value["confusion"])) == 32

    student = checkpoints.load(out / "student")
    assert student.card.kind == "student" and student.card.teacher == "tiny"
    assert student.card.parameters == value["parameters"] == parameters(student.model)
    assert len(banks.load(out / "bank")) == 32
    stored = Runs().get(value["run"])
    assert stored.status == "finished" and stored.result["steps"] == 10
    curves = Runs().metrics(value["run"])
    assert {"kd", "before", "after", "agreement", "clips", "share"} <= set(curves)

    status, _, err = run(capsys, "distill", "--teacher", tiny_teacher, *options)
    assert status == 2 and "not empty" in err
    again = json.loads(run(capsys, "distill", "--resume", out, "--json")[1])
    assert again["run"] == value["run"], "a finished run is not done again"

    bank = ["--bank", out / "bank", "--student", "nano", "--rounds", 1, "--steps", 3, "--out", tmp_path / "second"]
    status, text, err = run(capsys, "distill", "--teacher", tiny_teacher, *bank, "--json")
    assert status == 0 and json.loads(text)["clips"] == 32, err


def test_a_run_with_a_teacher_and_a_student_of_another_architecture(capsys, tmp_path, fresh_home, temporal_teacher):
    options = ["--student", "nano", "--rounds", 1, "--clips", 8, "--steps", 2, "--batch", 8, "--json"]
    for kind in ("residual", "tc-resnet"):
        out = tmp_path / kind
        more = ["--architecture", kind, "--out", out]
        status, text, err = run(capsys, "distill", "--teacher", temporal_teacher, *options, *more)
        assert status == 0, err
        student = checkpoints.load(out / "student")
        assert student.model.config.architecture == kind and student.model.config.pooling == "attentive"
        assert student.card.training.get("architecture", "residual") == kind
        assert json.loads(text)["parameters"] == student.card.parameters
    status, _, err = run(capsys, "export", json.loads(text)["run"], "--out", tmp_path / "student.onnx")
    assert status == 0, err
    assert "residual, tc-resnet" in run(capsys, "distill", "--teacher", temporal_teacher, "--architecture", "x")[2]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_goes_on(tmp_path, fresh_home, tiny_teacher, kill):
    """Killed in the middle, resumed: as many clips and steps as asked for, none of the first part lost."""
    out = tmp_path / "run"
    options = ["--student", "nano", "--rounds", "8", "--clips", "8", "--steps", "6", "--batch", "8", "--out", str(out)]
    command = [sys.executable, "-m", "frami", "distill", "--teacher", str(tiny_teacher), *options]
    process = subprocess.Popen(
        [*command, "--keep", "0.5"], cwd=ROOT, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip
    for _ in range(600):
        time.sleep(0.1)
        if (out / "state.pt").exists() and torch.load(out / "state.pt", weights_only=True)["steps"]:
            break
    assert Runs().list()[0].status == "running"
    process.send_signal(kill)
    process.wait(60)
    stopped = Runs().list()[0]
    assert stopped.status == "stopped" and (out / "student.safetensors").exists()
    saved = torch.load(out / "state.pt", weights_only=True)
    assert 0 < saved["steps"] < 48
    value = runs.work(stopped.id, Runs())
    assert value["steps"] == 48 and value["clips"] == 64
    assert len(banks.load(out / "bank")) == 64, "no batch is lost, none is there twice"
    steps = [step for step, _, _ in Runs().metrics(stopped.id)["kd"]]
    assert steps == sorted(steps) and steps[-1] == 48
    assert not (out / "state.pt").exists()


def test_curves_of_earlier_versions_are_read_under_their_new_names(fresh_home):
    """The KD loss was called ``answer``; a run that goes on writes the new name."""
    store = Runs()
    id = store.create("distill", "it", {}).id
    for step, name in ((1, "answer"), (2, "answer"), (3, "kd")):
        store.log(id, step, 0.5 * step, {name: 1 / step, "before": 1.0})
    assert store.metrics(id)["kd"] == [(1, 0.5, 1.0), (2, 1.0, 0.5), (3, 1.5, 1 / 3)]
    assert set(store.metrics(id)) == {"kd", "before"}
    for path in (ROOT / "checkpoints" / "runs").glob("*.json"):
        _, curves = bundled(path.stem)
        assert "answer" not in curves and len(curves["kd"]) > 100


def test_a_wrong_folder_of_recordings_leaves_a_stopped_run_alone(capsys, tmp_path, fresh_home):
    store = Runs()
    id = runs.begin(RunSettings("fsdd", Settings(**QUICK)), store)
    status, _, err = run(capsys, "distill", "--resume", id, "--data", tmp_path / "nowhere")
    assert status == 2 and "nowhere" in err and len(err.strip().splitlines()) == 1
    assert store.get(id).status != "failed"


def test_a_run_keeps_the_folder_of_recordings_it_was_given(capsys, tmp_path, fresh_home, make_tree, monkeypatch):
    """Resumed without it, it is measured all the same; the card does not name the folder."""
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    make_tree("fsdd", tmp_path, speakers=("theo",))
    quick = ["--student", "nano", "--rounds", 1, "--clips", 4, "--steps", 2, "--batch", 4, "--out", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(runs, "work", lambda *_, **__: (_ for _ in ()).throw(FramiError("cut off")))
        assert run(capsys, "distill", "--teacher", "fsdd", *quick, "--data", tmp_path)[0] == 2
    status, out, err = run(capsys, "distill", "--resume", tmp_path / "run", "--json")
    assert status == 0 and json.loads(out)["accuracy"] is not None, err
    assert str(tmp_path) not in (tmp_path / "run" / "student.json").read_text()


def test_the_folder_of_a_forgotten_run_is_not_resumed(capsys, tmp_path, fresh_home):
    store = Runs()
    id = runs.begin(RunSettings("fsdd", Settings(**QUICK)), store, tmp_path / "run")
    again = ["distill", "--teacher", "fsdd", "--out", tmp_path / "run"]
    assert "--resume" in run(capsys, *again)[2]
    store.delete(id)
    status, _, err = run(capsys, *again)
    assert status == 2 and "--resume" not in err and "another --out" in err


@pytest.mark.parametrize("where", ["first state", "agreement"])
def test_a_run_interrupted_where_it_hurts_goes_on(fresh_home, tiny_teacher, short_warmup, where, monkeypatch):
    """Before the first clips are finished, and between a batch of clips and its shard: nothing is lost or twice."""
    store = Runs()
    request = RunSettings(str(tiny_teacher), Settings(**(QUICK | {"recipe": "dafl", "rounds": 3})))
    id = runs.begin(request, store)
    calls = []
    real = loop.agreement_on

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    def report(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "agreement":
            patch.setattr(loop, "agreement_on", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runs.work(id, store, report=report if where == "first state" else None, save_every=0.0)
    assert store.get(id).status == "stopped"
    value = runs.work(id, store)
    bank = banks.load(store.get(id).folder / "bank")
    assert value["clips"] == len(bank) == 24 and value["steps"] == 9
    assert sorted(bank.target.tolist()) == sorted(i % 4 for i in range(24))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["frami-flash", "dafl"])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(fresh_home, tiny_teacher, short_warmup, recipe, monkeypatch):
    """The same weights, bit for bit: moments, learning rates and chance go on where they were."""
    monkeypatch.setattr(runs, "REPORT_EVERY", 0.0)
    settings = Settings(**(QUICK | {"recipe": recipe, "rounds": 4, "steps": 8}))

    def student(stop_at: int | None) -> torch.Tensor:
        store = Runs()
        id = runs.begin(RunSettings(str(tiny_teacher), settings), store)

        def report(state, _) -> None:
            if state.steps >= stop_at:
                raise KeyboardInterrupt

        if stop_at:
            with pytest.raises(KeyboardInterrupt):
                runs.work(id, store, report=report, save_every=0.0)
            assert 16 <= torch.load(store.get(id).folder / "state.pt", weights_only=True)["steps"] < 32
        runs.work(id, store)
        model = checkpoints.load(store.get(id).folder / "student").model
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(student(16), student(None))


def test_what_makes_clips_looks_at_the_present_student(tiny, monkeypatch):
    """But for a recipe that brings a companion of its own."""
    looked_at = []
    real = loop.invert

    def watched(*arguments, student, **options):
        looked_at.append(student)
        return real(*arguments, student=student, **options)

    monkeypatch.setattr(loop, "invert", watched)
    *_, last = distill(tiny, Settings(**(QUICK | {"rounds": 1})))
    assert looked_at == [last.student]
    loop._maker(tiny, Settings(recipe="zskt"), last.student, None)
    assert looked_at[1] is None


@pytest.mark.slow
def test_two_runs_at_once_do_no_harm(tmp_path, fresh_home, tiny_teacher):
    outs = [tmp_path / "one", tmp_path / "two"]
    options = ["--student", "nano", "--rounds", "3", "--clips", "8", "--steps", "6", "--batch", "8", "--keep", "0.2"]
    command = [sys.executable, "-m", "frami", "distill", "--teacher", str(tiny_teacher), *options, "--json"]
    processes = [
        subprocess.Popen([*command, "--out", str(out)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for out in outs
    ]
    values = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert len({value["run"] for value in values}) == 2
    weights = []
    for out, value in zip(outs, values, strict=True):
        assert value["steps"] == 18 and value["clips"] == len(banks.load(out / "bank")) == 24
        assert Runs().get(value["run"]).status == "finished"
        assert [step for step, _, _ in Runs().metrics(value["run"])["kd"]][-1] == 18
        weights.append((out / "student.safetensors").read_bytes())
    assert weights[0] == weights[1], "the same settings and seed, undisturbed"


def test_a_run_says_which_teacher_and_only_what_it_used(capsys, tmp_path, fresh_home, tiny_teacher):
    """A student of one's own teacher is compared with that one, also where another has its name."""
    from frami.evaluation import teacher_path

    out = tmp_path / "run"
    quick = ["--student", "nano", "--steps", 3, "--batch", 8, "--rounds", 2]
    run(capsys, "distill", "--teacher", tiny_teacher, *quick, "--clips", 8, "--out", out, "--json")
    card = checkpoints.read_card(out / "student")
    own = checkpoints.read_card(tiny_teacher)
    assert teacher_path(card) == tiny_teacher and card.evaluation.split()[-1] == card.training["run"]
    assert card.training["recipe"] == "frami-flash" and card.training["made_clips"] == 16
    other = tmp_path / "home" / "checkpoints" / "tiny"
    checkpoints.save(other, models.build("nano", 4), replace(own, accuracy=0.1))
    assert teacher_path(card) == tiny_teacher
    assert teacher_path(replace(card, training=card.training | {"teacher": "/gone/tiny"})) is None, "not the other one"
    assert teacher_path(replace(card, training={})) == other, "a card that does not tell: by its name"

    second = tmp_path / "second"
    run(capsys, "distill", "--teacher", tiny_teacher, *quick, "--bank", out / "bank", "--out", second)
    told = checkpoints.read_card(second / "student").training
    assert told["source"] == "bank" and not {"recipe", "clips", "share"} & set(told)
    assert json.loads((second / "settings.json").read_text())["bank"] == str(out / "bank")
    shard = next((out / "bank" / "shards").glob("shard-00000*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    third = ["--bank", out / "bank", "--out", tmp_path / "third"]
    status, text, err = run(capsys, "distill", "--teacher", tiny_teacher, *quick, *third)
    assert status == 0 and f"left out of the bank: shards/{shard.name}" in text, err
    status, _, err = run(capsys, "distill", "--teacher", "fsdd", *quick, "--bank", out / "bank")
    assert status == 2 and "of other classes" in err


@pytest.mark.slow
def test_a_student_learns_what_real_recordings_are_from_made_ones(real_data, fresh_home):
    """Of a speaker that the teacher never heard, after a few rounds."""
    settings = Settings(budget=None, rounds=4, clips=24, steps=60, batch=24, lr=6e-3)
    store = Runs()
    value = runs.work(runs.begin(RunSettings("fsdd", settings), store), store, data_folder=real_data)
    assert value["accuracy"] > 0.5 and value["confusion_of"] == "real"
    assert sum(map(sum, value["confusion"])) == 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name a teacher"),
        (["--teacher", "nobody"], "no checkpoint"),
        (["--teacher", "fsdd", "--student", "giant"], "no size"),
        (["--teacher", "fsdd", "--objective", "magic"], "no objective"),
        (["--teacher", "fsdd", "--budget", "soon"], "no time"),
        (["--teacher", "fsdd", "--budget", "5s", "--rounds", "2"], "not both"),
        (["--teacher", "fsdd", "--bank", "nowhere"], "nowhere"),
        (["--resume", "ffffffffffff"], "no run"),
        (["--resume"], "needs the run"),
        (["--teacher", "fsdd", "--data", "nowhere"], "nowhere"),
        (["--teacher", "fsdd", "--source", "noise", "--recipe", "cmi"], "leave out --recipe"),
        (["--resume", "ffffffffffff", "--student", "tiny"], "leave out --student"),
        (["--resume", "ffffffffffff", "--budget", "9s"], "leave out --budget"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, fresh_home, options, message):
    status, out, err = run(capsys, "distill", *options)
    assert status == 2 and message in err and len(err.strip().splitlines()) == 1 and not out
    assert not Runs().list(), "nothing is noted of what cannot begin"


def test_times_are_read():
    assert [read_seconds(t) for t in ("120", "120s", "2m", "1.5h")] == [120, 120, 120, 5400]
