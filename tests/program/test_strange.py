"""What people write, and what an attacker would: each is taken right, or refused in one line."""

import io
import json
import zipfile
from collections import namedtuple
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frami import checkpoints
from frami.adapter import importing
from frami.audio import MelSpec
from frami.checkpoints import CheckpointError
from frami.errors import FramiError
from frami.program import archive
from frami.program.program import Graph, Node, Program, ProgramError
from tests.helpers.networks import BANDS, CLASSES, clip, network

SPEC = MelSpec(n_mels=BANDS)
Answer = namedtuple("Answer", "logits embedding")


class Base(nn.Module):
    """A convolution over bands, and whatever ``answer`` does with its frames Tensor[B, 8, T]."""

    def __init__(self, answer):
        super().__init__()
        self.values = nn.Conv1d(BANDS, 8, 3, padding=1)  # a name that modules of ours have as well
        self.program, self.attention = nn.Conv1d(8, 4, 1), nn.Conv1d(8, 4, 1)
        self.norm, self.fc, self.answer = nn.BatchNorm1d(8), nn.Linear(8, 4), answer

    def forward(self, x):
        return self.answer(self, F.relu(self.norm(self.values(x))))


def events(self, x):
    """Sound event detection: classes of each frame, weighed by attention; probabilities of no layer's logits."""
    weights = torch.tanh(self.attention(x)).softmax(-1)
    return {"clipwise_output": (weights * torch.sigmoid(self.program(x))).sum(2), "frames": x}


#: What each gives, and the logits that it means.
ANSWERS = {
    "events": (events, lambda y: torch.logit(y["clipwise_output"])),
    "clamped": (lambda self, x: torch.sigmoid(self.fc(x.mean(2))).clamp(0, 1), torch.logit),
    "a softmax by hand": (
        lambda self, x: (z := self.fc(x.mean(2)).exp()) / z.sum(1, keepdim=True), lambda y: y.log(),
    ),
    "a named tuple": (lambda self, x: Answer(self.fc(x.mean(2)), x.mean(2)), lambda y: y.logits),
    "scaled": (lambda self, x: 3 * self.fc(x.mean(2)) - 1, lambda y: y),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_brought_to_logits(name):
    answer, logits = ANSWERS[name]
    torch.manual_seed(1)
    module = Base(answer).eval()
    teacher, found = importing.from_module(module, SPEC, CLASSES, channel=False)
    x = clip("attentive", 3, seed=4)
    expected, given = logits(module(x)), teacher.model(x[:, None]).logits
    if name == "a softmax by hand":  # logits are known up to a constant
        expected, given = expected.softmax(1), given.softmax(1)
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-3)
    assert found.reusable


class Changes(nn.Module):
    """Removes the mean of what it is given in place."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, x):
        x -= x.mean(3, keepdim=True)
        return self.fc(F.relu_(self.conv(x)).mean((2, 3)))


def test_input_that_a_network_changes_stays_as_it_was():
    teacher, found = importing.from_module(Changes(), SPEC, CLASSES)
    x = clip("bands", 2).transpose(2, 3)
    before = x.clone()
    first = teacher.model(x).logits
    assert torch.equal(x, before) and torch.equal(teacher.model(x).logits, first) and found.centres


class Skips(nn.Module):
    """The answer reads an early layer, too: most of the network lies behind what everything goes through."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 64, 3, 2, 1)
        self.fc = nn.Linear(72, 4)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.fc(torch.cat([x.mean((2, 3)), F.relu(self.second(x)).mean((2, 3))], 1))


def test_what_lies_behind_the_frames_is_said():
    assert importing.from_module(Skips(), SPEC, CLASSES)[1].behind > 0.9
    assert importing.from_module(network("bands"), SPEC, CLASSES, time_first=True)[1].behind < 0.5


# --- forged files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    teacher, _ = importing.from_module(network("attentive"), SPEC, CLASSES, channel=False)
    path = tmp_path_factory.mktemp("stored") / "it"
    checkpoints.save(path, teacher.model, teacher.card)
    return path


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("takes", "clips"), 0), (("takes", "clips"), 10**9), (("takes", "shortest"), 10**10),
        (("takes", "shortest"), "x"), (("takes", "longest"), -5), (("places", "axes"), [7, 7, 7]),
        (("places", "axes"), [1, 1, 2]), (("places", "frames"), "nothing"), (("places", "logits"), "linear"),
        (("shape",), [10**6, 10**6]), (("places", "output", "scale"), "x"), (("classes",), 5), (("n_mels",), 41),
    ],
    ids=lambda value: str(value),
)  # fmt: skip
def test_forged_cards_are_refused(stored, tmp_path, where, value):
    card = json.loads(stored.with_suffix(".json").read_text())
    inner = card["model"]
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    (tmp_path / "it.json").write_text(json.dumps(card))
    (tmp_path / "it.safetensors").write_bytes(stored.with_suffix(".safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"do not fit|not a checkpoint's card"):
        checkpoints.load(tmp_path / "it")


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("_operator.mul", {"0": "a", "1": 10**9}), ("_operator.mod", {"0": "%01000000d", "1": 1}),
        ("_operator.floordiv", {"0": 1, "1": 0}), ("_operator.mul", {"0": 2**40, "1": 2**40}),
        ("aten.arange.start_step", {"start": 0, "end": 1, "step": 1e-10}),
        ("aten.relu.default", {"self": {"x": "nope"}}), ("aten.relu.default", {"self": {"dtype": "manual_seed"}}),
        ("aten.upsample_nearest2d.default", {"input": {"ref": "x"}, "output_size": [10**6, 10**6]}),
    ],
)  # fmt: skip
def test_forged_operations_are_refused(operation, arguments):
    program = Program("x", [Node(operation, arguments, "y")], {"": "y"}, {}, {}, (2, 1, BANDS, None))
    with pytest.raises(FramiError):
        importing.teacher(program, SPEC, CLASSES)


def test_a_number_that_grows_is_stopped():
    nodes = [Node("_operator.add", {"0": 2, "1": 2}, "n0")]
    nodes += [Node("_operator.mul", {"0": {"ref": f"n{k}"}, "1": {"ref": f"n{k}"}}, f"n{k + 1}") for k in range(40)]
    with pytest.raises(ProgramError, match="number"):
        Graph(Program("x", nodes, {"": "n40"}, {}, {}))(torch.zeros(1))


@pytest.mark.parametrize("kind", ["compressed", "deep", "broadcast"])
def test_files_that_are_larger_than_they_look_are_refused(kind):
    content, made = io.BytesIO(), io.BytesIO()
    torch.export.save(torch.export.export(network("attentive"), (clip("attentive", 2),)), content)
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            data, how = old.read(name), zipfile.ZIP_STORED
            if kind == "compressed" and "/weights/weight_" in name:
                how = zipfile.ZIP_DEFLATED
            if kind == "deep" and name.endswith("models/model.json"):
                data = b"[" * 200_000
            if kind == "broadcast" and name.endswith("weights_config.json"):
                values = json.loads(data)
                meta = next(iter(values["config"].values()))["tensor_meta"]
                meta["sizes"], meta["strides"] = [{"as_int": 2**31}], [{"as_int": 0}]
                data = json.dumps(values).encode()
            new.writestr(name, data, how)
    with pytest.raises(ProgramError):
        archive.read(made.getvalue())


def test_a_card_says_what_its_program_is(stored):
    card = checkpoints.read_card(stored)
    assert card.model["architecture"] == "program" and asdict(replace(card, name="x"))["model"] == card.model
