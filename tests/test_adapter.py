"""Any teacher: a plain module becomes one by hooks alone, and an inversion runs on it, batch norm or not."""

import copy
import doctest
import threading
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frami import adapter
from frami.adapter import adapt
from frami.audio import MelSpec
from frami.device import fast_bf16
from frami.distill import Settings, distill
from frami.errors import FramiError
from frami.inversion import RECIPES, invert, make_clips
from frami.inversion.bn_statistics import recorded
from frami.inversion.loop import UNRECOGNISED
from frami.inversion.teacher import TeacherCopy, _FullPrecision, fast_copy
from frami.models import StatisticsPooling, Teacher

SPEC = MelSpec(n_mels=40)
CLASSES = ("rain", "wind", "sea", "fire")


class Bands(nn.Module):
    """Like PANNs (Kong et al. 2020): a norm for each band, two blocks, mean and maximum over time, two layers."""

    def __init__(self, classes: int = 4, n_mels: int = 40):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(n_mels)
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc1, self.fc_audioset = nn.Linear(16, 24), nn.Linear(24, classes)

    def forward(self, x):
        x = self.bn0(x.transpose(1, 2)).transpose(1, 2)
        x = F.avg_pool2d(F.relu_(self.bn1(self.conv1(x))), 2)
        x = F.relu_(self.bn2(self.conv2(x))).mean(2)
        return self.fc_audioset(F.relu_(self.fc1(x.max(2).values + x.mean(2))))


class NoNorm(nn.Sequential):
    """A stack without batch norm, which flattens with ``view`` as much code does."""

    def __init__(self, classes: int = 4):
        conv = nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        super().__init__(*conv, nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(32, classes))


class Views(nn.Module):
    """Folds frequency into channels with ``view``, which channels-last order does not allow."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 40, 4)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.fc(x.view(len(x), -1, x.shape[-1]).mean(2))


class Casts(nn.Module):
    """Computes its convolution in the precision that it wants, whatever autocast says."""

    def __init__(self, precision=torch.float32):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, 2), nn.BatchNorm1d(8)
        self.fc = nn.Linear(8, 4)
        self.to(precision)

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            x = self.conv(x.to(self.fc.weight.dtype))
            return self.fc(self.norm(x.mean((2, 3)))).float()


class Fragile(nn.Module):
    """Writes into a float32 buffer by index, which refuses what autocast makes of the convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(x)
        rows = torch.arange(len(x), device=x.device)
        return self.fc(self.norm(torch.zeros(x.shape, device=x.device).index_add(0, rows, x)).mean((2, 3)))


class Rows(nn.Module):
    """Hands each frame to a linear layer and its norm as a row of its own."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc1 = nn.Conv2d(1, 4, (40, 3)), nn.Linear(4, 6)
        self.norm, self.fc = nn.BatchNorm1d(6), nn.Linear(6, 4)

    def forward(self, x):
        x = self.conv(x).squeeze(2).transpose(1, 2)
        return self.fc(self.norm(self.fc1(x).flatten(0, 1)).relu().unflatten(0, x.shape[:2]).mean(1))


class Waves(nn.Module):
    """Takes Tensor[B, F, T]: one-dimensional convolutions and norms, one ReLU for all."""

    def __init__(self):
        super().__init__()
        self.norm0, self.act = nn.BatchNorm1d(40), nn.ReLU()
        self.conv, self.norm1 = nn.Conv1d(40, 16, 3, 2), nn.BatchNorm1d(16)
        self.fc1, self.norm2, self.fc2 = nn.Linear(16, 12), nn.BatchNorm1d(12), nn.Linear(12, 4)

    def forward(self, x):
        x = self.act(self.norm1(self.conv(self.norm0(x))))
        return self.fc2(self.act(self.norm2(self.fc1(x.mean(2)))))


def made(kind, seed: int = 0, **choices) -> nn.Module:
    """A module whose norms have seen something."""
    torch.manual_seed(seed)
    module = kind(**choices)
    for norm in (m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    if isinstance(module, Bands):
        module.bn0.running_mean.copy_(torch.linspace(-3, -8, len(module.bn0.running_mean)))
    return module


def mels(clips: int = 3, frames: int = 50, seed: int = 1):
    return torch.randn(clips, 1, 40, frames, generator=torch.Generator().manual_seed(seed)) - 5


MODULES = {
    "bands": (made(Bands), {}),
    "no norm": (made(NoNorm), {}),
    "views": (made(Views), {}),
    "casts": (made(Casts), {}),
    "double": (made(Casts, precision=torch.float64), {}),
    "fragile": (made(Fragile), {}),
    "rows": (made(Rows), {}),
    "waves": (made(Waves), {"channel": False}),
}


@pytest.fixture(params=MODULES)
def case(request):
    module, choices = MODULES[request.param]
    return request.param, module, adapt(module, SPEC, CLASSES, **choices)


def test_the_example_runs():
    result = doctest.testmod(adapter)
    assert result.attempted >= 6 and result.failed == 0


@torch.no_grad()
def test_features_are_those_of_the_module(case):
    _, module, teacher = case
    x = mels()
    out = teacher.model(x)
    expected = module.eval()(x if teacher.model.takes.channel else x[:, 0])
    torch.testing.assert_close(out.logits, expected)
    last = module.get_submodule(teacher.card.model["classifier"])
    torch.testing.assert_close(last(out.pooled).float(), expected)
    assert out.frames.dim() == 4 and len(out.frames) == 3 and out.frames.shape[-1] > 1
    assert out.lengths.tolist() == [out.frames.shape[-1]] * 3


def test_names_are_found(case):
    name, _, teacher = case
    expected = {
        "bands": ("bn2", "fc_audioset"), "no norm": ("3", "6"), "views": ("norm", "fc"), "casts": ("conv", "fc"),
        "double": ("conv", "fc"), "fragile": ("norm", "fc"), "rows": ("conv", "fc"), "waves": ("act", "fc2"),
    }  # fmt: skip
    assert (teacher.card.model["frames"], teacher.card.model["classifier"]) == expected[name]


def test_names_can_be_given():
    teacher = adapt(made(Bands), SPEC, CLASSES, frames="bn1", classifier="fc_audioset", name="mine", seconds=2.5)
    out = teacher.model(mels())
    assert out.frames.shape == (3, 8, 40, 50) and out.pooled.shape == (3, 24)
    card = teacher.card
    assert (card.name, card.kind, card.accuracy, card.dataset, card.seconds) == ("mine", "teacher", None, "", 2.5)
    assert card.licence == card.data_licence == "unknown" and card.classes == teacher.classes == CLASSES
    assert MelSpec.from_dict(card.mel_spec) == teacher.spec == SPEC
    assert card.parameters == sum(p.numel() for p in made(Bands).parameters())


def test_the_module_stays_as_it_is(case):
    name, module, _ = case
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    teacher = adapt(module, SPEC, CLASSES, **MODULES[name][1])
    make_clips(teacher, samples=2, seconds=0.3, steps=2)
    assert module.training and all(p.requires_grad and p.grad is None for p in module.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not any(p.requires_grad for p in teacher.model.parameters()) and not teacher.model.training


@torch.no_grad()
def test_the_pooling_can_be_given():
    """With what a module computes between its frames and its last layer, students can reuse both."""

    class Bins(nn.Module):
        def forward(self, frames, lengths):
            return F.adaptive_avg_pool2d(frames, (2, 1)).flatten(1)

    teacher = adapt(made(NoNorm), SPEC, CLASSES, pooling=Bins())
    out = teacher.model(mels())
    again = teacher.model.head(out.frames, out.lengths)
    torch.testing.assert_close((again.pooled, again.logits), (out.pooled, out.logits))
    assert isinstance(teacher.model, Teacher) and not isinstance(adapt(made(NoNorm), SPEC, CLASSES).model, Teacher)
    assert not any(m._forward_pre_hooks for m in copy.deepcopy(teacher.model.classifier).modules())
    for pooling, message in ((nn.Flatten(), "does not take"), (StatisticsPooling(16), "logits differ by")):
        with pytest.raises(FramiError, match=message):
            adapt(made(NoNorm), SPEC, CLASSES, pooling=pooling)


@torch.no_grad()
def test_a_deep_copy_is_on_its_own():
    teacher = adapt(made(Bands), SPEC, CLASSES)
    x = mels()
    before = teacher.model(x)
    twin = copy.deepcopy(teacher.model).to(torch.device("cpu"))
    twin.module.bn2.bias.add_(1.0)
    ahead, behind = twin(x), teacher.model(x)
    torch.testing.assert_close((behind.frames, behind.pooled), (before.frames, before.pooled), rtol=0, atol=0)
    assert (ahead.frames - behind.frames).abs().max() > 0.1 and (ahead.pooled - behind.pooled).abs().max() > 0.01
    teacher.model.module(x[:1])  # the module alone is still a module
    again = copy.deepcopy(twin)
    assert torch.equal(again(x).frames, ahead.frames)
    with pytest.raises(RuntimeError):
        twin(x[:, :, :7])
    assert copy.deepcopy(twin)._seen == {}


@torch.no_grad()
def test_threads_do_not_mix_their_clips():
    teacher = adapt(made(NoNorm), SPEC, CLASSES)
    inputs = [mels(2, 64, seed) for seed in range(2)]
    expected = [teacher.model(x).frames for x in inputs]
    wrong = []

    def run(x, frames):
        for _ in range(100):
            if not torch.equal(teacher.model(x).frames, frames):
                wrong.append(x)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(inputs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- lengths ---------------------------------------------------------------------------------------------------------


def test_a_clip_begins_again_behind_its_end(case):
    """What lies there has no effect: the same as the module on clips repeated by hand."""
    _, module, teacher = case
    x, lengths = mels(frames=50), torch.tensor([50, 20, 1])
    for row, length in zip(x, lengths.tolist(), strict=True):
        row[..., length:] = 1e4
    x.requires_grad_()
    out = teacher.model(x, lengths)
    repeated = torch.stack([row[..., :n].repeat(1, 1, 50)[..., :50] for row, n in zip(x, lengths, strict=True)])
    module.eval()
    torch.testing.assert_close(out.logits, module(repeated if teacher.model.takes.channel else repeated[:, 0]))
    out.logits.sum().backward()
    behind = torch.arange(50) >= lengths[:, None]
    assert x.grad[:, 0].transpose(1, 2)[behind].eq(0).all()
    assert x.grad[:, 0].transpose(1, 2)[~behind].ne(0).any(1).float().mean() > 0.9


def test_lengths_count_the_frame_level_features():
    teacher = adapt(made(Bands), SPEC, CLASSES)
    out = teacher.model(mels(4, 50), torch.tensor([50, 49, 3, 1]))
    assert out.frames.shape[-1] == 25 and out.lengths.tolist() == [25, 25, 2, 1]


# --- what does not fit -----------------------------------------------------------------------------------------------


class Returns(nn.Module):
    """Calls another module and returns something else of it."""

    def __init__(self, module, turned):
        super().__init__()
        self.module, self.turned = module, turned

    def forward(self, x):
        return self.turned(self.module(x))


@pytest.mark.parametrize(
    ("module", "choices", "said"),
    [
        (made(Bands, classes=5), {}, "logits of 4 classes"),
        (made(Bands, n_mels=64), {}, "does not take log-Mels"),
        (made(Waves), {}, "does not take log-Mels"),
        (made(Bands), {"channel": False}, "does not take log-Mels"),
        (made(Bands), {"frames": "layer4"}, "'layer4'.*bn0, conv1, bn1, conv2, bn2"),
        (made(Bands), {"frames": "fc1"}, "'fc1'"),
        (made(Bands), {"classifier": "head"}, "'head'.*fc_audioset"),
        (made(Bands), {"classifier": "fc1"}, "'fc1'.*fc_audioset"),
        (nn.Sequential(nn.Conv2d(1, 4, 40), nn.AdaptiveAvgPool2d(1), nn.Flatten()), {}, "nn.Linear.*none"),
        (nn.Sequential(nn.Flatten(), nn.Linear(40 * 86, 4)), {}, "features.*none"),
        (Returns(made(Bands), lambda y: {"clipwise": y[:, :3]}), {}, r"but a dict: clipwise Tensor\[2, 3\]"),
        (Returns(made(Bands), lambda y: None), {}, "but a NoneType: no tensor"),
        (Returns(made(Bands), lambda y: {"a": 2 * y, "b": 3 * y}), {}, "several answers.*output=: a, b"),
        (Returns(made(Bands), lambda y: {"a": y}), {"output": "b"}, r"output 'b'.*returns: a Tensor\[2, 4\]"),
        (made(Bands), {"scale": "decibel"}, "scale is one of logits, softmax, log-softmax, sigmoid"),
        (Returns(made(Bands), lambda y: y / 0), {}, "NaN or infinite"),
        (Returns(made(Bands), lambda y: y.detach()), {}, "gradient"),
        (Returns(made(Bands), lambda y: y.T), {}, "logits of 4 classes"),
    ],
)
def test_what_does_not_fit_is_said(module, choices, said):
    with pytest.raises(FramiError, match=said):
        adapt(module, SPEC, CLASSES, **choices)


def test_a_module_of_one_duration():
    """Without a pooling of its own a module takes clips of one length only: shorter ones begin again, longer ones are
    not made."""
    frames = SPEC.frames(0.5)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 20 * -(-frames // 2), 4))
    with pytest.raises(FramiError, match="does not take log-Mels"):
        adapt(module, SPEC, CLASSES)
    teacher = adapt(module, SPEC, CLASSES, seconds=0.5)
    assert (teacher.model.takes.shortest, teacher.model.longest) == (frames, frames + 1)
    clips = make_clips(teacher, RECIPES["frami-fine-fixed"], seconds=None, samples=2, steps=2)
    assert clips.mels.shape == (2, 1, 40, frames)
    with pytest.raises(FramiError, match=r"at most, 0\.8 seconds have"):
        invert(teacher, seconds=0.8)


# --- the engine ------------------------------------------------------------------------------------------------------


def states_notes(kind: str) -> tuple[str, ...]:
    """What a run says of a module of this kind."""
    held = "this teacher has no batch norm: nothing tells how its training data sounded; expect little of students"
    return (held,) if kind == "no norm" else ()


@pytest.mark.parametrize("name", ["frami", "cmi", "deepinversion", "dfq"])
def test_recipes_run_on_any_module(case, name):
    kind, _, teacher = case
    recipe = replace(RECIPES[name], warmup=0, student_steps=min(RECIPES[name].student_steps, 1))
    *_, last = invert(teacher, recipe, samples=3, seconds=(0.2, 0.4), steps=2)
    terms = {term for term, weight in recipe.weights.items() if weight} - {"adversarial", "batch_norm"}
    terms |= {"batch_norm"} if kind != "no norm" else set()
    terms |= {"adversarial"} if recipe.student_steps else set()
    assert set(last.losses) == terms and all(value == value for value in last.losses.values())
    assert [note for note in last.notes if note != UNRECOGNISED] == list(states_notes(kind))
    clips = last.clips
    assert clips.mels.isfinite().all() and clips.mels.min() >= SPEC.floor and clips.mels.max() <= SPEC.ceiling
    with torch.no_grad():
        alone = teacher.model(clips.mels, clips.lengths)
    torch.testing.assert_close(clips.logits, alone.logits, rtol=1e-4, atol=1e-4)


# --- what other people's modules do ----------------------------------------------------------------------------------


def answering(turned) -> nn.Module:
    return Returns(made(Bands), turned)


Named = namedtuple("Named", "embedding logits")


@pytest.mark.parametrize(
    ("turned", "name", "scale"),
    [
        (lambda y: (y, torch.ones(len(y), 9)), "0", "logits"),
        (lambda y: {"embedding": torch.ones(len(y), 9), "clipwise_output": y.sigmoid()}, "clipwise_output", "sigmoid"),
        (lambda y: {"clipwise_output": y.softmax(1), "logits": y}, "logits", "logits"),
        (lambda y: SimpleNamespace(loss=None, logits=y), "logits", "logits"),
        (lambda y: Named(torch.ones(len(y), 9), y), "logits", "logits"),
        (lambda y: y.softmax(1), "", "softmax"),
        (lambda y: y.log_softmax(1), "", "log-softmax"),
        (lambda y: y.sigmoid(), "", "sigmoid"),
    ],
)
@torch.no_grad()
def test_logits_come_out_of_whatever_is_returned(turned, name, scale):
    x, teacher = mels(), adapt(answering(turned), SPEC, CLASSES)
    torch.testing.assert_close(teacher.model(x).logits, made(Bands).eval()(x))
    card = teacher.card.model
    assert (card.get("output", ""), card.get("scale", "logits")) == (name, scale) and teacher.model.output.linear


@torch.no_grad()
def test_logits_are_computed_back_where_the_last_layer_is_not_the_answer():
    """Logits of another temperature behind the last layer: from what they became, up to what a scale does not keep."""
    x, plain = mels(), 3 * made(Bands).eval()(mels())
    for turned, scale in ((torch.softmax, "softmax"), (torch.log_softmax, "log-softmax")):
        teacher = adapt(answering(lambda y, turned=turned: turned(3 * y, 1)), SPEC, CLASSES)
        assert (teacher.model.output.scale, teacher.model.output.linear) == (scale, False)
        torch.testing.assert_close(teacher.model(x).logits, plain.log_softmax(1), rtol=1e-3, atol=1e-3)
    teacher = adapt(answering(lambda y: torch.sigmoid(3 * y)), SPEC, CLASSES)
    assert teacher.model.output.scale == "sigmoid"
    torch.testing.assert_close(teacher.model(x).logits, plain, rtol=1e-3, atol=1e-3)
    teacher = adapt(answering(lambda y: 0.5 + 0.01 * y), SPEC, CLASSES, scale="logits")
    torch.testing.assert_close(teacher.model(x).logits, 0.5 + plain / 300)


class Habits(Bands):
    """Does what people's modules do."""

    def __init__(self, habit: str):
        super().__init__()
        self.habit, self.kept = habit, {}

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.habit == "pools":
            x = F.avg_pool2d(x, (1, 16))
        if self.habit == "keeps":
            self.kept = {"maps": [x.mean(1)]}
        x = F.relu(self.bn2(self.conv2(x))).mean(2).mean(2)
        if self.habit == "squeezes":
            x = x.squeeze()
        return self.fc_audioset(F.relu(self.fc1(x)))


@pytest.mark.parametrize("habit", ["squeezes", "keeps", "pools"])
def test_peoples_habits(habit):
    """``.squeeze()`` of a batch of one, a tensor kept of the last pass, a least length: all the way to a student."""
    teacher = adapt(made(Habits, habit=habit), SPEC, CLASSES, seconds=0.5)
    assert teacher.model.takes.clips == (2 if habit == "squeezes" else 1)
    assert teacher.model.takes.shortest == (16 if habit == "pools" else 1)
    assert len(make_clips(teacher, samples=5, batch=4, seconds=0.1, steps=2)) == 5
    settings = Settings(objective="logits", student="nano", budget=None, rounds=2, clips=4, steps=2, batch=4)
    *_, last = distill(teacher, settings)
    assert last.finished and last.steps == 4


class Cnn6(Bands):
    """With the form of PANNs' Cnn6: (B, 1, T, F) in, a dict with sigmoids out."""

    def forward(self, x):
        return {"clipwise_output": super().forward(x.transpose(2, 3)).sigmoid(), "embedding": x.mean((1, 2))}


class Patches(nn.Module):
    """With the form of AST: (B, T, F) in, patches with places of their own, so that it takes one length."""

    def __init__(self, bands: int, frames: int):
        super().__init__()
        self.proj = nn.Conv2d(1, 8, 16, 10)
        self.places = nn.Parameter(0.02 * torch.randn(1, 8, (bands - 6) // 10 * ((frames - 6) // 10)))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.proj(x.transpose(1, 2)[:, None]).flatten(2) + self.places
        return SimpleNamespace(logits=self.head(self.norm(x.mean(2))))


@pytest.mark.parametrize("front_end", ["panns", "ast"])
def test_networks_of_other_front_ends_teach(front_end):
    """As they are published, from making clips to a student; a network of one length too."""
    spec = MelSpec.preset(front_end)
    if front_end == "panns":
        teacher = adapt(made(Cnn6, n_mels=64), spec, CLASSES, time_first=True, seconds=0.5)
        assert (teacher.model.output.name, teacher.model.output.scale) == ("clipwise_output", "sigmoid")
    else:
        teacher = adapt(Patches(128, spec.frames(1)), spec, CLASSES, channel=False, time_first=True, seconds=1.0)
        assert (teacher.model.takes.shortest, teacher.model.longest) == (96, 105), "one more patch, or one less"
    settings = Settings(objective="logits", student="nano", budget=None, rounds=2, clips=4, steps=2, batch=4)
    *_, made_ = invert(teacher, "frami", samples=4, seconds=None, steps=2)
    mels_ = made_.clips.mels
    assert mels_.min() >= spec.floor - 1e-3 and mels_.max() <= spec.ceiling + 1e-3
    *_, last = distill(teacher, settings)
    assert last.finished and last.clips == 8


def test_a_module_that_cannot_be_copied_is_refused():
    module = made(Bands)
    module.lock = threading.Lock()
    with pytest.raises(FramiError, match="cannot be copied"):
        adapt(module, SPEC, CLASSES)


@torch.no_grad()
def test_a_short_clip_is_repeated_and_its_frames_are_its_own():
    teacher = adapt(made(Habits, habit="pools"), SPEC, CLASSES, seconds=0.5)
    x = mels(2, 10)
    out, whole = teacher.model(x), teacher.model(x.repeat(1, 1, 1, 2)[..., :16])
    torch.testing.assert_close((out.logits, out.pooled), (whole.logits, whole.pooled))
    assert out.lengths.tolist() == [1, 1] and out.frames.shape[-1] == 1


@pytest.mark.parametrize("name", ["conv2.weight", "bn1.running_var", "bn2.running_mean"])
def test_numbers_that_are_none_are_refused_by_name(name):
    module = made(Bands)
    module.state_dict()[name].view(-1)[0] = float("nan")
    with pytest.raises(FramiError, match=f"'{name}'.*NaN"):
        adapt(module, SPEC, CLASSES)
    masked = made(Bands)
    masked.register_buffer("mask", torch.full((2, 2), -torch.inf))
    adapt(masked, SPEC, CLASSES)
    if name == "bn1.running_var":
        module.state_dict()[name].view(-1)[0] = -1
        with pytest.raises(FramiError, match="variances of 'bn1' are negative"):
            adapt(module, SPEC, CLASSES)


class Panns(nn.Module):
    """A norm of the bands behind two transposes: torch 2.11 computes a wrong gradient of it on a CPU."""

    def __init__(self):
        super().__init__()
        self.bn0, self.c1, self.b1 = nn.BatchNorm2d(40), nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.bn0(x.transpose(2, 3).transpose(1, 3)).transpose(1, 3)
        return self.fc(F.relu(self.b1(self.c1(x))).mean((2, 3)))


def test_the_gradient_of_a_batch_norm_is_right_in_every_layout():
    """That of the module itself may be off by as much as itself; that of the teacher is the slope."""
    module = made(Panns)
    teacher = adapt(module, SPEC, CLASSES)
    model, x = copy.deepcopy(teacher.model).double(), mels().double().requires_grad_()
    torch.testing.assert_close(teacher.model(mels()).logits, module.eval()(mels()))
    along = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    (slope,) = torch.autograd.grad(model(x).logits[:, 0].sum(), x)
    with torch.no_grad():
        ahead, behind = (model(x + sign * 1e-6 * along).logits[:, 0].sum() for sign in (1, -1))
    assert float((slope * along).sum()) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-4)


class Straight(torch.autograd.Function):
    """Answers with one thing and gives the gradient of another."""

    @staticmethod
    def forward(ctx, x):
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad


def test_a_wrong_gradient_is_refused():
    class Wrong(Bands):
        def forward(self, x):
            return super().forward(Straight.apply(x))

    with pytest.raises(FramiError, match="wrong gradient"):
        adapt(made(Wrong), SPEC, CLASSES)


class Attentive(nn.Module):
    """Pools by an attention whose layers put out frames of their own."""

    class Pooling(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Conv1d(16, 6, 1), nn.Tanh(), nn.Conv1d(6, 16, 1))

        def forward(self, x):
            return (x * self.a(x).softmax(2)).sum(2)

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(40, 16, 3, padding=1), nn.BatchNorm1d(16)
        self.asp, self.fc = self.Pooling(), nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.asp(F.relu(self.norm(self.conv(x)))))


def test_the_state_before_the_pooling_is_outside_of_it():
    teacher = adapt(made(Attentive), SPEC, CLASSES, channel=False)
    assert teacher.card.model["frames"] == "norm"
    assert adapt(made(Attentive), SPEC, CLASSES, channel=False, frames="asp.a.0").card.model["frames"] == "asp.a.0"


def test_a_run_says_when_its_clips_are_not_recognised():
    """Whose are, says nothing."""
    teacher = adapt(made(Bands), SPEC, CLASSES)
    for name, recognised in (("class", True), ("contrast", False)):
        weights = dict.fromkeys(RECIPES["frami-fine"].weights, 0.0) | {name: 1.0}
        recipe = replace(RECIPES["frami-fine"], weights=weights)
        *_, last = invert(teacher, recipe, samples=8, seconds=0.3, steps=60)
        assert (UNRECOGNISED in last.notes) != recognised, last.clips.target_accuracy


def test_the_norm_of_the_bands_is_found():
    found = {}
    for name, (module, choices) in MODULES.items():
        copy = TeacherCopy(adapt(module, SPEC, CLASSES, **choices), (0.3, 0.3))
        found[name] = copy.norms
        bands = {"bands": lambda m: m.module.bn0, "waves": lambda m: m.module.norm0}.get(name)
        assert (copy.bands is None) == (bands is None), name
        assert bands is None or torch.equal(copy.bands[0], bands(copy.exact).running_mean), name
    assert found == {
        "bands": [40, 8, 16], "no norm": [], "views": [8], "casts": [8], "double": [8], "fragile": [8], "rows": [6],
        "waves": [40, 16, 12],
    }  # fmt: skip


def test_clips_start_at_the_stored_spectrum():
    teacher = adapt(made(Bands), SPEC, CLASSES)
    first = next(invert(teacher, samples=8, seconds=0.5, steps=2, every=1))
    assert (first.clips.mels.mean((0, 1, 3)) - teacher.model.module.bn0.running_mean).abs().mean() < 0.5


def test_fast_copies_compute_what_the_module_does(case):
    """In the fast form as far as a module takes it, and with gradients; else as it is."""
    name, _, teacher = case
    model = fast_copy(teacher.model, SPEC, 40)
    slow = isinstance(model, _FullPrecision)
    precisions = {m.weight.dtype for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d)}
    if native := fast_bf16(torch.device("cpu")):
        own = {"casts": torch.float32, "fragile": torch.float32, "double": torch.float64}
        assert precisions == {own.get(name, torch.bfloat16)} and slow == (name == "fragile")
    x = mels(4, 40).requires_grad_()
    # Where bfloat16 is not native nothing is cast, and the module that refuses it is left as it is.
    with torch.autocast("cpu", torch.bfloat16, enabled=native or name != "fragile"), recorded(model, 2, 4) as seen:
        out = model(x, torch.tensor([40, 30, 20, 10]))
    exact = teacher.model(x, torch.tensor([40, 30, 20, 10]))
    error = (out.logits.float() - exact.logits).norm() / exact.logits.norm()
    assert error < 0.05
    (out.logits.float().sum() + sum(e.var.sum() for e in seen)).backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_rows_of_frames_count_for_their_clips():
    """A norm that sees (clips x frames) rows: the same statistics as if the frames lay along an axis of their own."""
    teacher = adapt(made(Rows), SPEC, CLASSES)
    x = mels(4, 20)
    given = []
    handle = teacher.model.module.norm.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with recorded(teacher.model, plain=3, clips=4) as seen, torch.no_grad():
        teacher.model(x)
    handle.remove()
    rows = given[0].unflatten(0, (4, 18))
    (entry,) = seen
    torch.testing.assert_close(entry.means, rows.mean(1))
    torch.testing.assert_close(entry.mean, rows[:3].mean((0, 1)))
    torch.testing.assert_close(entry.var, rows[:3].var((0, 1), correction=0))


def test_without_batch_norm_the_other_terms_remain():
    teacher = adapt(made(NoNorm), SPEC, CLASSES)
    states = list(invert(teacher, samples=4, seconds=0.3, steps=30, every=1))
    assert "no batch norm" in states[0].notes[0] and set(states[0].losses) == {"class", "contrast"}
    assert states[-1].losses["class"] < states[0].losses["class"]
    states = list(invert(teacher, RECIPES["deepinversion"], samples=4, seconds=0.3, steps=30, every=1))
    assert set(states[0].losses) == {"class", "variation"} and states[-1].losses["class"] < states[0].losses["class"]
    only = replace(RECIPES["frami"], weights={"batch_norm": 1.0})
    with pytest.raises(FramiError, match="nothing would be learnt"):
        invert(teacher, only)
    for feature in ("means", "both", "pooled"):
        *_, last = invert(teacher, replace(RECIPES["frami-fine"], feature=feature), samples=3, seconds=0.2, steps=1)
        assert last.losses["contrast"] > 0


def test_a_trained_module_is_inverted(make_mels):
    """Trained on four classes, it gives them back: classified as their target, as loud as its training data."""
    torch.manual_seed(0)
    data = make_mels(each=16)
    module = Bands(n_mels=80)
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    x, lengths, labels = data.batch(range(len(data)))
    x = x[..., : int(lengths.min())]
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(module(x), labels).backward()
        optimiser.step()
    teacher = adapt(module, data.spec, data.classes, seconds=0.4)
    assert (teacher.model(x).logits.argmax(1) == labels).float().mean() > 0.9
    clips = make_clips(teacher, samples=8, seconds=0.3, steps=40)
    assert clips.target_accuracy >= 0.75
    spectra = [mels[:, 0].transpose(1, 2).flatten(0, 1).mean(0) for mels in (clips.mels, x)]
    assert torch.corrcoef(torch.stack(spectra))[0, 1] > 0.7, "a spectrum like that of the training data"
