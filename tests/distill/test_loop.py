"""The loop: made clips are learnt from within a budget or by rounds, the same seed gives the same student."""

import threading

import pytest
import torch

from frami import checkpoints
from frami.device import threads
from frami.distill import OBJECTIVES, Settings, distill, learner, loop, making, new_student, pace
from frami.distill.augment import AugmentConfig
from frami.distill.loop import BudgetError
from frami.distill.objectives import objective
from frami.distill.pace import Clock, Pace
from frami.errors import FramiError
from frami.inversion import Clips, make_clips
from frami.inversion.settings import MOST_SEED
from frami.train import evaluate
from tests.helpers.clock import ticking
from tests.helpers.distillation import QUICK

NAMES = ("mels", "lengths", "target")


@pytest.mark.slow
def test_a_student_learns_from_made_clips_alone(tiny, make_mels):
    """Far above chance on clips of the classes that neither network was shown."""
    wanted = Settings(student="tiny", budget=None, rounds=8, clips=16, steps=30, batch=16)
    states = list(distill(tiny, wanted, every=0.2))
    last = states[-1]
    assert last.finished and last.steps == 240 and last.clips == 128 and last.share == 1 and last.left == 0
    assert [s.share for s in states] == sorted(s.share for s in states)
    assert sum(len(s.made.clips) for s in states if s.made is not None) == 128
    assert evaluate(last.student, make_mels(seed=3)).accuracy > 0.6


def test_the_same_seed_gives_the_same_student(tiny):
    def weights(seed):
        *_, last = distill(tiny, Settings(**(QUICK | {"seed": seed})))
        return torch.cat([p.flatten() for p in last.student.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.slow
def test_the_budget_is_shared_and_not_exceeded(tiny):
    wanted = Settings(student="nano", budget=1.0, clips=8, batch=8, share=0.5)
    with threads(1):
        *_, last = distill(tiny, wanted, every=0.2, now=ticking(0.005))
    assert 1.0 <= last.seconds < 1.1
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


def test_all_clips_are_made_before_the_first_step(tiny):
    states = list(distill(tiny, Settings(**QUICK), every=0))
    last_made = max(i for i, state in enumerate(states) if state.made is not None)
    assert all(state.steps == 0 for state in states[:last_made]) and states[last_made].clips == states[-1].clips == 16
    assert states[-1].steps == 6


def test_in_turns_each_block_of_clips_is_learnt_from(tiny):
    wanted = Settings(**(QUICK | {"rounds": 4, "turns": 2, "steps": 5}))
    seen = [(state.steps, state.clips) for state in distill(tiny, wanted, every=0)]
    assert {clips for steps, clips in seen if 0 < steps <= 9} == {16} and seen[-1] == (20, 32)
    assert {clips for steps, clips in seen if steps > 10} == {32}


def test_making_ends_when_its_share_is_used_up():
    clock = Clock(10.0)
    pace = Pace(Settings(budget=100, share=0.3), clock)
    assert pace.wants_clips, "without a clip there is nothing to learn from"
    pace.made(9.0, 32, 1)
    assert pace.wants_clips and pace.learnt < 0.02
    clock._spent = 19.0
    pace.made(9.0, 32, 1)
    assert pace.wants_clips, "a batch may end as much after the share as it would have ended before"
    pace.made(9.0, 32, 1)
    assert not pace.wants_clips and not pace.over
    clock._spent = 63.5
    assert pace.learnt == pytest.approx(0.5)
    clock._spent = 100.0
    assert pace.over and pace.learnt == pace.share == 1


def test_a_turn_that_other_work_slowed_down_ends_no_making():
    quiet, busy = (Pace(Settings(budget=120), Clock(0.0), of_step=0.3) for _ in range(2))
    for one, second in ((quiet, 6.4), (busy, 19.2)):
        one.made(6.4, 32, 1)
        one.made(second, 32, 1)
    assert busy.each == quiet.each == 0.2 and busy.planned == quiet.planned > busy.making


def test_what_measuring_takes_costs_no_clips():
    """It is paid by clips and steps together: the number of clips follows what is left, not what is gone."""
    plain, later = (Pace(Settings(budget=120), Clock(0.0), of_step=0.3, beside=beside) for beside in (0.0, 6.0))
    for one in (plain, later):
        while one.wants_clips:
            one.made(12.8, 32, 1)
            one.clock._spent = one.making + one.beside
    assert plain.batches == later.batches == 3 and plain.learnt == later.learnt == 0
    later.clock._spent = 120.0
    assert later.learnt == 1


def test_a_turn_that_is_recorded_says_nothing_of_the_next_ones():
    """On a GPU the first turn takes seconds, the others tenths: there is a second one, and it counts."""
    one = Pace(Settings(budget=20), Clock(9.0), of_step=0.01)
    one.made(9.0, 32, 1, typical=False)
    assert one.wants_clips and one.planned == 9.0
    one.made(0.1, 32, 1)
    assert one.each == pytest.approx(0.1 / 32) and one.planned > 0.5 and not one.wants_clips, "half of the time is used"
    long = Pace(Settings(budget=120), Clock(9.1), of_step=0.01)
    for seconds, typical in ((9.0, False), (0.1, True)):
        long.made(seconds, 32, 1, typical)
    count = 2
    while long.wants_clips:
        long.made(0.1, 32, 1)
        count += 1
    assert count > 10, "as many as the speed of the later ones allows"
    late = Pace(Settings(budget=20), Clock(11.0), of_step=0.01)
    late.made(11.0, 32, 1, typical=False)
    assert not late.wants_clips, "more than half of the time is used"


def test_a_gpus_first_turn_and_step_are_no_measure(tiny, monkeypatch):
    """As on a GPU, where both are recorded: the second turn tells how long the next ones take, and a step that is
    not measured comes before those that are."""
    monkeypatch.setattr(loop._Course, "_records", True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    told, real = [], Pace.made
    monkeypatch.setattr(Pace, "made", lambda pace, *given: told.append(given[3]) or real(pace, *given))
    calls, learn = [], loop.learn
    monkeypatch.setattr(loop, "learn", lambda *given: calls.append(given[-1]) or learn(*given))
    for state in distill(tiny, Settings(student="nano", budget=30.0, clips=8, batch=8, share=0.3), every=0.0):
        if state.steps:
            break
    assert told[:2] == [False, True] and all(told[1:])
    assert 2 <= calls.count(0.0) <= loop.PROBES + 1


def test_the_warm_up_of_a_recipe_is_no_price_of_later_batches():
    for warmup, wants in ((20 / 21, True), (0.0, False)):
        pace = Pace(Settings(budget=100, share=0.3), Clock(30.0))
        pace.made(29.0, 32, 1, warmup=warmup)
        assert pace.wants_clips == wants


def test_the_price_of_the_next_turn_is_that_of_its_clips():
    """And where there are the poor clips of a first batch alone, another batch is made if not as many as a turn has."""
    pace = Pace(Settings(budget=100, share=0.16), Clock(10.0))
    pace.made(10.0, 32, 1, coming=64)
    assert pace.one == 20 and pace.wanted == 1
    pace.made(10.0, 32, 1, coming=64)
    assert pace.wanted == 0
    pace = Pace(Settings(budget=100, share=0.2), Clock(10.0))
    pace.made(10.0, 32, 1, coming=64)
    assert pace.wanted is None


@pytest.mark.parametrize("cores", [1, 2])
def test_what_a_warm_up_takes_is_measured(tiny, cores):
    """As a share of the first turn."""
    shares = {}
    for recipe in ("frami-warm", "frami"):
        maker = making.Maker(tiny, Settings(**(QUICK | {"recipe": recipe})))
        with threads(cores):
            (turn,) = [made for made in maker.turn() if made is not None]
        maker.close()
        shares[recipe] = turn.warmup / turn.seconds
    assert 0.2 < shares["frami-warm"] < 0.9 and shares["frami"] == 0


@pytest.mark.parametrize(("a_clip", "a_step"), [(0.03, 0.04), (0.3, 0.04), (0.03, 0.4)])
def test_the_best_number_of_clips_is_where_the_fitted_loss_is_lowest(a_clip, a_step):
    def loss(clips, seconds=120):
        steps = (seconds - clips * a_clip) / a_step
        return pace.CLIPS * clips**-pace.A + steps**-pace.B

    found = pace.best_clips(120, a_clip, a_step)
    assert 0 < found * a_clip < 120 and loss(found) <= min(loss(0.98 * found), loss(1.02 * found))
    assert pace.best_clips(240, a_clip, a_step) > found


def test_the_budget_is_divided_by_the_speed_of_making_and_learning():
    shares = {}
    for each, step in ((0.01, 0.05), (0.1, 0.05)):
        one = Pace(Settings(budget=100), Clock(0.0), one=64 * each, each=each, of_step=step, batches=2)
        shares[each] = one.planned / one.each
    assert shares[0.01] > shares[0.1], "where clips are dear there are fewer"


def test_measuring_a_step_leaves_the_student_as_it_was(tiny):
    """The same clips and steps with and without the measurement before them."""

    def trained(probe):
        settings = Settings(**(QUICK | {"budget": 1e9}))
        student = new_student(tiny, "nano", objective("frami"))
        course = loop._Course(tiny, settings, student, AugmentConfig(), None, Clock(now=ticking(0.01)), 40, None)
        course.clock.start()
        course.add(*(make_clips(tiny, "frami-flash", samples=8, batch=8, seconds=0.4).__dict__[k] for k in NAMES))
        if probe:
            course._probe()
            assert course.pace.of_step > 0 and course.pace.beside > 0 == course.pace.making == course.learner.steps
        for _ in range(3):
            course.learn()
        return torch.cat([value.flatten().double() for value in student.state_dict().values()])

    assert torch.equal(trained(False), trained(True))


def test_a_budget_that_the_first_clips_take_is_reported(tiny):
    with pytest.raises(FramiError, match="larger --budget"):
        list(distill(tiny, Settings(**(QUICK | {"budget": 0.01}))))


def test_reading_ready_clips_is_no_part_of_the_budget(tiny, make_mels, monkeypatch):
    """On a busy machine it took all of a short one, and the run failed without having learnt."""
    passed, fill, now = [0.0], loop._Course.fill, ticking(0.05)

    def slowly(*given):
        fill(*given)
        passed[0] += 100

    monkeypatch.setattr(loop._Course, "fill", slowly)
    wanted = Settings(**(QUICK | {"source": "real", "objective": "frami", "budget": 2.0}))
    *_, last = distill(tiny, wanted, make_mels(), now=lambda: passed[0] + now())
    assert last.finished and last.steps > 2 and last.seconds < 3


@pytest.mark.slow
def test_a_batch_that_was_cut_off_is_no_part_of_what_was_spent(tiny):
    """A run that is stopped again and again while it makes its first clips still has its whole budget."""
    now = ticking(0.05)
    settings = Settings(**(QUICK | {"recipe": "frami-fine", "budget": 8.0, "rounds": 1}))
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
    for source, learnt in (("real", "labels"), ("real", "frami"), ("noise", "logits")):
        wanted = Settings(**(QUICK | {"source": source, "objective": learnt, "rounds": 1}))
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
    wanted = Settings(student="tiny", objective=objective, budget=None, rounds=8, clips=16, steps=30, batch=16)
    *_, last = distill(checkpoints.load(tiny_teacher, "cuda"), wanted)
    assert last.finished and last.steps == 240
    assert evaluate(last.student, make_mels(seed=3)).accuracy > 0.6


@pytest.mark.parametrize(("recipe", "turns", "sees"), [("frami", 1, False), ("frami", 2, True), ("zskt", 2, False)])
def test_clips_are_made_for_the_student_where_it_can_answer(tiny, monkeypatch, recipe, turns, sees):
    """In later turns only, and not for a recipe that brings a companion of its own."""
    looked_at, real = [], making.invert

    def watched(*arguments, student, **options):
        looked_at.append(student)
        return real(*arguments, student=student, **options)

    monkeypatch.setattr(making, "invert", watched)
    student = new_student(tiny, "nano", objective("frami"))
    maker = making.Maker(tiny, Settings(**(QUICK | {"recipe": recipe, "turns": turns})), student if turns > 1 else None)
    if recipe != "zskt":
        list(maker.turn())  # behind the first batch the second chain begins
    assert len(looked_at) == (1 if recipe == "zskt" else making.CHAINS)
    assert all((one is student) == sees for one in looked_at)
    maker.close()


# --- two threads -----------------------------------------------------------------------------------------------------


def a_turn(maker, most=None):
    """The clips of a maker's next turn."""
    return [found for found in maker.turn(most) if found is not None][-1].clips


@pytest.mark.slow
def test_chains_side_by_side_make_the_clips_that_they_make_in_turn(tiny):
    """The first batch is made alone; from it both go on. Every class has its turn."""

    def made(cores, turns):
        maker = making.Maker(tiny, Settings(**(QUICK | {"recipe": "frami-flash", "clips": 3})))
        with threads(1):  # on two the sums of one batch have another order
            found = [a_turn(maker)]
        with threads(cores):
            found += [a_turn(maker, most) for most in turns]
        maker.close()
        return [len(clips.target) for clips in found], Clips.join(found), maker.memory()

    (one, alone, memory), (two, beside, other) = made(1, [None] * 5), made(2, [None, None, 1])
    assert one == [3] * 6 and two == [3, 6, 6, 3] and (memory["batches"], other["batches"]) == (6, 4)
    assert [[chain["batches"] for chain in state["streams"]] for state in (memory, other)] == [[6, 7]] * 2
    assert alone.target.tolist() == [i % 4 for i in range(18)]
    assert torch.equal(alone.target, beside.target) and torch.equal(alone.mels[:15], beside.mels[:15])
    assert torch.allclose(alone.mels[15:], beside.mels[15:], atol=1e-3), "one batch by itself has both threads"
    assert not torch.allclose(alone.mels[3:6], alone.mels[15:18], atol=0.5), "batches have seeds of their own"


def test_within_a_budget_one_thread_has_one_chain(tiny):
    counts = {}
    for cores in (1, 2):
        for given in ({}, {"budget": 60, "rounds": 1}):
            with threads(cores):
                maker = making.Maker(tiny, Settings(**(QUICK | given)))
                a_turn(maker)
            counts[cores, bool(given)] = len(maker.memory()["streams"])
    assert counts == {(1, False): 2, (1, True): 1, (2, False): 2, (2, True): 2}


@pytest.mark.parametrize("before", [1, 2, 3, 4])
def test_a_maker_goes_on_from_its_memory(tiny, before):
    settings = Settings(**(QUICK | {"recipe": "frami-flash"}))
    with threads(1):
        whole = making.Maker(tiny, settings)
        for _ in range(before):
            a_turn(whole)
        later = making.Maker(tiny, settings, None, whole.memory())
        for _ in range(2):
            assert torch.equal(a_turn(whole).mels, a_turn(later).mels)
        assert later.turns == before + 2


def test_a_maker_goes_on_from_what_an_earlier_version_left(tiny):
    """Its two chains each counted from 0, and one may have made nothing; still earlier there was one."""
    settings = Settings(**(QUICK | {"recipe": "frami-flash", "clips": 3}))
    with threads(1):
        maker = making.Maker(tiny, settings)
        for _ in range(3):
            a_turn(maker)
        one, other = (memory | {"batches": 2} for memory in maker.memory()["streams"])
        for old, begins in (([one, other], 4), ([one, None], 2), ([one], 2), (None, 2)):
            memory = {"batches": 2} | ({"streams": old} if old else one)
            later = making.Maker(tiny, settings, None, memory)
            made = [a_turn(later) for _ in range(3)]
            numbers = range(begins, begins + 3)
            assert [clips.target.tolist() for clips in made] == [
                [i % 4 for i in range(3 * n, 3 * n + 3)] for n in numbers
            ]
            if old == [one, other]:
                alike = making.Maker(tiny, settings, None, memory | {"streams": [one, one]})
                again = [a_turn(alike) for _ in range(2)]
                same = [torch.equal(x.mels, y.mels) for x, y in zip(made, again, strict=False)]
                assert same == [True, False], "each goes on from its own"


def test_later_batches_go_on_from_the_first_one(tiny):
    """A generator that has learnt nothing makes poor clips: of all batches the first one alone has to."""
    with threads(1):
        maker = making.Maker(tiny, Settings(**(QUICK | {"clips": 16})))
        first, *later = [float(a_turn(maker).confidence.mean()) for _ in range(3)]
    assert min(later) > first + 0.05


def test_who_is_interrupted_behind_the_first_batch_has_its_memory(tiny, monkeypatch):
    """Else a run would store clips whose inversion it does not know, and could not go on."""

    def interrupted(*_):
        raise KeyboardInterrupt

    states = distill(tiny, Settings(**QUICK), every=0)
    before = next(states)
    monkeypatch.setattr(loop._Course, "add_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(states)
    assert before.memory()["inversion"]["batches"] == 1


def test_a_batch_prepared_beside_the_step_changes_nothing(tiny, make_mels):
    """On the same clips: what is made on two threads differs by the order of sums."""

    def trained(cores):
        with threads(cores):
            *_, last = distill(tiny, Settings(**(QUICK | {"steps": 6, "source": "real"})), make_mels(seed=3))
        return torch.cat([p.flatten() for p in last.student.parameters()])

    assert torch.allclose(trained(1), trained(2), atol=1e-2)


def test_threads_end_with_the_run(tiny):
    """Whether it comes to its end or is left."""

    def own():
        return [t.name for t in threading.enumerate() if t.name.startswith(("maker", "teacher"))]

    with threads(2):
        list(distill(tiny, Settings(**(QUICK | {"rounds": 3}))))
        assert not own()
        states = distill(tiny, Settings(**(QUICK | {"rounds": 8})), every=0)
        while next(states).made is None:
            pass
        next(states)
        assert [name for name in own() if name.startswith("maker")], "two batches are being made side by side"
        states.close()
    assert not own()


def test_threads_end_where_a_batch_cannot_be_prepared(tiny, monkeypatch):
    """The error is told, and nothing stays behind."""
    calls = []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise RuntimeError("out of memory")
        return real(*arguments)

    real = learner.augment
    monkeypatch.setattr(learner, "augment", failing)
    with threads(2), pytest.raises(RuntimeError, match="out of memory"):
        list(distill(tiny, Settings(**(QUICK | {"steps": 9}))))
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("maker", "teacher"))]


def test_the_largest_seed_is_a_seed_of_its_own(tiny):
    with threads(1):
        zero, largest = (a_turn(making.Maker(tiny, Settings(**(QUICK | {"seed": seed})))) for seed in (0, MOST_SEED))
    assert not torch.allclose(zero.mels, largest.mels, atol=0.5)
