"""Training learns, goes on where it was cut off, and leaves statistics of real sounds; evaluation counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frami import models, train
from frami.audio import MelSpec
from frami.augment import augmented
from frami.data import Clip, LogMels
from frami.errors import FramiError
from frami.train import TrainConfig, TrainingError, evaluate, recalibrate

CONFIG = TrainConfig(epochs=4, batch=16, mixup=0.5)


def fresh(classes: int = 4) -> models.Classifier:
    torch.manual_seed(0)
    return models.build("nano", classes)


@pytest.fixture(scope="module")
def easy(make_mels):
    return make_mels(each=10)


@pytest.fixture(scope="module")
def whole(easy):
    """A training that nobody interrupts: its model and epochs."""
    model = fresh()
    return model, [*train.train(model, easy, CONFIG)]


# --- training --------------------------------------------------------------------------------------------------------


def test_it_learns_what_is_easy(make_mels, plain_training):
    model = fresh()
    epochs = [*train.train(model, make_mels(each=16), plain_training(epochs=7, batch=16))]
    assert [e.epoch for e in epochs] == [1, 2, 3, 4, 5, 6, 7]
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    assert epochs[-1].accuracy > 0.9
    assert epochs[-1].seconds > epochs[0].seconds > 0
    assert not model.training
    assert evaluate(model, make_mels(seed=9)).accuracy > 0.95


def test_the_seed_decides(easy, whole):
    again, other = fresh(), fresh()
    epochs = [*train.train(again, easy, CONFIG)]
    assert [e.loss for e in epochs] == pytest.approx([e.loss for e in whole[1]], rel=1e-5)
    torch.testing.assert_close(again.state_dict(), whole[0].state_dict(), rtol=1e-5, atol=1e-6)
    for _ in train.train(other, easy, replace(CONFIG, seed=1)):
        pass
    assert (other.classifier.weight - again.classifier.weight).abs().max() > 1e-3


@pytest.mark.parametrize("done", [1, 3, 4])
def test_an_interrupted_training_ends_as_one_that_was_not(done, easy, whole, tmp_path):
    state = tmp_path / "deep" / "model.v1.training"
    for epoch in train.train(fresh(), easy, CONFIG, state):
        if epoch.epoch == done:
            break
    assert state.exists() and [*state.parent.iterdir()] == [state]
    torch.manual_seed(99)
    model = models.build("nano", 4)
    rest = [*train.train(model, easy, CONFIG, state)]
    assert [e.epoch for e in rest] == [e.epoch for e in whole[1][done:]]
    assert [e.loss for e in rest] == pytest.approx([e.loss for e in whole[1][done:]], rel=1e-5)
    torch.testing.assert_close(model.state_dict(), whole[0].state_dict(), rtol=1e-5, atol=1e-6)


def test_the_best_epoch_is_kept(make_mels, plain_training):
    """The weights of the epoch that recognised most validation clips, not those of the last one."""
    training, validation = make_mels(each=8), make_mels(each=4, seed=5)
    spoilt = replace(validation, labels=(validation.labels + 1) % 4)  # the better it learns, the worse it is here
    model = fresh()
    epochs = [*train.train(model, training, plain_training(epochs=6, batch=8), validation=spoilt)]
    assert all(epoch.validation is not None for epoch in epochs)
    best = max(epochs, key=lambda epoch: (epoch.validation, -epoch.validation_loss))
    assert [epoch.epoch for epoch in epochs if epoch.best][-1] == best.epoch < 6
    last = fresh()
    for _ in train.train(last, training, plain_training(epochs=6, batch=8)):
        pass
    assert evaluate(model, validation).accuracy < evaluate(last, validation).accuracy


def test_the_best_epoch_survives_an_interruption(easy, make_mels, tmp_path):
    validation, results = make_mels(each=3, seed=5), []
    for cut in (None, 2):
        state = tmp_path / f"{cut}.training"
        for epoch in train.train(fresh(), easy, CONFIG, state, validation):
            if epoch.epoch == cut:
                break
        model = fresh()
        rest = [*train.train(model, easy, CONFIG, state, validation)]
        assert len(rest) == (CONFIG.epochs - cut if cut else 0)
        results.append(model.state_dict())
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_other_versions_of_a_clip_are_drawn(easy):
    """With two versions, each clip is itself or one of them, about equally often."""
    config = replace(CONFIG, mixup=0, colour=0, gain=0, noise=0, time_mask=0, band_mask=0, warp=0, stretch=0, crop=9.0)
    marked = [replace(easy, frames=[np.full_like(frames, level) for frames in easy.frames]) for level in (-1, -2)]
    mels, _, _ = augmented(easy, range(40), config, np.random.default_rng(0), marked)
    first = mels[:, 0, 0, 0].round().tolist()
    assert 6 <= first.count(-1) <= 21 and 6 <= first.count(-2) <= 21 and first.count(-1) + first.count(-2) < 38


def test_clips_of_rare_classes_and_sources_are_drawn_more_often(easy):
    labels = [0] * 36 + [1] * 4
    clips = [replace(clip, label=label, source="s") for clip, label in zip(easy.clips, labels, strict=True)]
    weights = train._weights(replace(easy, clips=clips), 1.0)
    assert weights[:36].sum() == pytest.approx(0.5) and weights.sum() == pytest.approx(1)
    assert train._weights(easy, 0.0) is None
    drawn = np.concatenate(train._batches(easy, 8, np.random.default_rng(0), weights))
    assert len(drawn) == 40 and 10 <= (drawn >= 36).sum() <= 30


def test_the_bias_loses_what_rare_classes_lack(easy):
    """Where nothing else is known, as many rare clips are predicted as frequent ones."""
    labels = torch.tensor([0] * 30 + [1] * 9 + [3])
    data, model = replace(easy, labels=labels), fresh()
    before = model.classifier.bias.detach().clone()
    train.discount(model, data, 0.0)
    assert torch.equal(model.classifier.bias, before)
    train.discount(model, data, 1.0)
    shares = torch.tensor([30, 9, 0, 1]) / 40
    gained = (model.classifier.bias - before).exp() * shares
    assert gained[[0, 1, 3]].tolist() == pytest.approx([1 / 3] * 3, rel=1e-4)
    assert model.classifier.bias[2] == before[2], "a class without clips"
    weights = (1.0 / torch.bincount(labels)[labels]).double().numpy()
    there = model.classifier.bias.detach().clone()
    train.discount(model, data, 1.0, weights / weights.sum())
    torch.testing.assert_close(model.classifier.bias.detach(), there), "drawn equally often, there is nothing to lose"


def test_segments_hold_sound(plain_training):
    """Of a clip that is mostly silence, the segment has the sound in it."""
    spec = MelSpec()
    frames = np.full((400, spec.n_mels), spec.floor, np.float16)
    frames[20:30] = -2.0
    mels = LogMels([Clip(Path("it"), 0, "1", "it")], [frames], torch.zeros(1, dtype=torch.long), ("it",), spec)
    config = plain_training(crop=0.5)
    for seed in range(20):
        mel, lengths, _ = augmented(mels, [0], config, np.random.default_rng(seed))
        assert lengths.tolist() == [spec.frames(0.5)] and mel.max() == -2.0


def test_time_spent_before_counts(easy, tmp_path):
    state = tmp_path / "model.training"
    for epoch in train.train(fresh(), easy, CONFIG, state):
        if epoch.epoch == 2:
            break
    saved = torch.load(state, weights_only=True)
    torch.save(saved | {"seconds": 1000.0}, state)
    assert next(train.train(fresh(), easy, CONFIG, state)).seconds > 1000


@pytest.fixture
def state(easy, tmp_path) -> Path:
    """State of a training after its first epoch."""
    path = tmp_path / "model.training"
    next(train.train(fresh(), easy, CONFIG, path))
    return path


@pytest.mark.parametrize("other", [{"lr": 1e-3}, {"epochs": 5}, {"seed": 3}, {"batch": 8}])
def test_other_settings_are_refused(other, easy, state):
    with pytest.raises(TrainingError, match="other settings") as caught:
        next(train.train(fresh(), easy, replace(CONFIG, **other), state))
    assert str(state) in str(caught.value)


def test_another_model_or_other_clips_are_refused(easy, state, make_mels):
    with pytest.raises(TrainingError, match="other settings"):
        next(train.train(models.build("tiny", 4), easy, CONFIG, state))
    with pytest.raises(TrainingError, match="other settings"):
        next(train.train(fresh(), make_mels(each=9), CONFIG, state))
    moved = replace(easy, clips=[replace(clip, stem=Path("elsewhere") / clip.stem.name) for clip in easy.clips])
    assert next(train.train(fresh(), moved, CONFIG, state)).epoch == 2, "the same clips in another folder"
    folds = replace(easy, clips=[replace(clip, fold="another") for clip in easy.clips])
    with pytest.raises(TrainingError, match="other settings or clips"):  # as many clips, but of another fold
        next(train.train(fresh(), folds, CONFIG, state))


def test_a_state_that_does_not_name_its_clips_goes_on(easy, state):
    """As of an earlier version."""
    saved = torch.load(state, weights_only=True)
    del saved["settings"]["recordings"]
    torch.save(saved, state)
    assert next(train.train(fresh(), easy, CONFIG, state)).epoch == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "list", "no model", "other weights"])
def test_a_damaged_state_is_named(damage, easy, state):
    content = state.read_bytes()
    saved = torch.load(state, weights_only=True)
    match damage:
        case "empty":
            state.write_bytes(b"")
        case "cut":
            state.write_bytes(content[: len(content) // 2])
        case "noise":
            state.write_bytes(bytes(range(256)) * 9)
        case "list":
            torch.save([1, 2], state)
        case "no model":
            torch.save({k: v for k, v in saved.items() if k != "model"}, state)
        case "other weights":
            torch.save(saved | {"model": models.build("tiny", 4).state_dict()}, state)
    with pytest.raises(TrainingError, match="damaged") as caught:
        next(train.train(fresh(), easy, CONFIG, state))
    assert str(state) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_state_runs_no_code(easy, state):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (state.with_name("ran"),))

    torch.save({"settings": Trap()}, state)
    with pytest.raises(TrainingError):
        next(train.train(fresh(), easy, CONFIG, state))
    assert not state.with_name("ran").exists()


def test_its_errors_are_for_users():
    assert issubclass(TrainingError, FramiError)


# --- augmentation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_augmented_batches_are_sound(seed, make_mels):
    """Lengths within the batch and the crop, values from silence to a level that sound can have, chances of one."""
    easy = make_mels(each=4, shortest=1, longest=60)
    config = TrainConfig(crop=0.4, mixup=1.0 if seed % 2 else 0.0)
    mels, lengths, targets = augmented(easy, np.arange(16), config, np.random.default_rng(seed))
    frames = easy.spec.frames(config.crop)
    assert mels.shape == (16, 1, 80, lengths.max()) and mels.dtype == torch.float32
    assert lengths.min() >= 1 and lengths.max() <= frames
    assert mels.isfinite().all()
    assert mels.min() >= easy.spec.floor
    loudest = max(float(clip.max()) for clip in easy.frames)
    assert mels.max() <= loudest + config.gain + 6
    assert targets.shape == (16, 4) and targets.min() >= 0
    torch.testing.assert_close(targets.sum(1), torch.ones(16))
    mixed = (targets.max(1).values < 1).any()
    assert mixed == bool(seed % 2)
    if not mixed:
        assert targets.argmax(1).tolist() == easy.labels[:16].tolist()


def test_without_augmentation_it_is_the_clip(make_mels, plain_training):
    easy = make_mels(each=2)
    off = plain_training()
    mels, lengths, targets = augmented(easy, np.arange(8), off, np.random.default_rng(0))
    expected, true, labels = easy.batch(range(8))
    same = torch.isclose(mels, expected.clamp(min=easy.spec.floor), rtol=1e-5, atol=1e-4)
    assert same.float().mean() > 0.99
    assert lengths.tolist() == true.tolist()
    assert targets.argmax(1).tolist() == labels.tolist()


def test_a_mixed_clip_is_as_long_as_the_longer_one(make_mels, plain_training):
    easy = make_mels(each=8, shortest=4, longest=60)
    mels, lengths, targets = augmented(easy, np.arange(32), plain_training(mixup=1.0), np.random.default_rng(0))
    assert (targets.max(1).values < 1).any()
    assert (lengths >= torch.tensor([len(f) for f in easy.frames])).all()
    behind = torch.cat([mel[0, :, length:].flatten() for mel, length in zip(mels, lengths, strict=True)])
    assert (behind - easy.spec.floor).abs().mean() < 0.05


def test_a_crop_is_a_piece_of_the_clip(make_mels, plain_training):
    easy = make_mels(each=1, shortest=60, longest=60)
    starts = set()
    for seed in range(6):
        mels, lengths, _ = augmented(easy, np.array([0]), plain_training(crop=0.2), np.random.default_rng(seed))
        assert lengths.tolist() == [17]
        piece, clip = mels[0, 0], easy.clip(0).clamp(min=easy.spec.floor)
        # The start falls between two frames: the piece mixes two neighbouring pieces.
        errors = []
        for at in range(43):
            low, step = clip[:, at : at + 17], clip[:, at + 1 : at + 18] - clip[:, at : at + 17]
            share = float(((piece - low) * step).sum() / step.square().sum())
            errors.append(float((piece - low - share * step).abs().median()) if 0 <= share <= 1 else np.inf)
        assert min(errors) < 1e-2
        starts.add(int(np.argmin(errors)))
    assert len(starts) > 2


# --- statistics ------------------------------------------------------------------------------------------------------


def moments(data):
    joined = torch.cat([data.clip(i) for i in range(len(data))], 1)
    return joined.mean(1), joined.var(1)


def test_recalibrated_statistics_are_those_of_the_clips(make_mels):
    easy = make_mels(each=10, shortest=5)
    mean, var = moments(easy)
    model = fresh().train()
    recalibrate(model, easy, batch=len(easy))
    bands = model.backbone.bands
    torch.testing.assert_close(bands.running_mean, mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bands.running_var, var, rtol=1e-3, atol=1e-3)
    assert not model.training and bands.momentum == 0.1
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" not in k and "tracked" not in k}
    recalibrate(model, easy, batch=8)
    torch.testing.assert_close(bands.running_mean, mean, rtol=0.02, atol=0.1)
    torch.testing.assert_close(bands.running_var.sqrt(), var.sqrt(), rtol=0.15, atol=0.05)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())


def test_training_ends_recalibrated(easy, whole):
    mean, var = moments(easy)
    bands = whole[0].backbone.bands
    torch.testing.assert_close(bands.running_mean, mean, rtol=0.02, atol=0.1)
    torch.testing.assert_close(bands.running_var.sqrt(), var.sqrt(), rtol=0.15, atol=0.05)


# --- evaluation ------------------------------------------------------------------------------------------------------


def test_evaluation_counts(make_mels, whole):
    clips = make_mels(each=7, seed=3)
    clips.labels = clips.labels.clone()
    clips.labels[clips.labels == 3] = 2
    found = evaluate(whole[0], clips, batch=5)
    assert found.clips == 28 and found.confusion.shape == (4, 4) and found.confusion.sum() == 28
    assert found.confusion.sum(1).tolist() == [7, 7, 14, 0]
    assert found.confusion.sum(0).tolist() == torch.bincount(found.predictions, minlength=4).tolist()
    assert found.accuracy == pytest.approx(float(found.confusion.diagonal().sum()) / 28)
    for predicted, label in zip(found.predictions, clips.labels, strict=True):
        assert found.confusion[label, predicted] > 0


def test_evaluation_does_not_depend_on_the_batch(make_mels, whole):
    clips = make_mels(each=7, seed=4, shortest=1, longest=50)
    alone = evaluate(whole[0], clips, batch=1)
    together = evaluate(whole[0], clips, batch=28)
    assert alone.predictions.tolist() == together.predictions.tolist()
    with torch.no_grad():
        expected = [int(whole[0](clips.clip(i)[None, None]).logits.argmax()) for i in range(28)]
    assert together.predictions.tolist() == expected


def test_evaluation_leaves_the_statistics(make_mels, whole):
    before = {k: v.clone() for k, v in whole[0].state_dict().items()}
    evaluate(whole[0].train(), make_mels())
    torch.testing.assert_close(whole[0].state_dict(), before, rtol=0, atol=0)
    assert not whole[0].training
