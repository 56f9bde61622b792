"""The benchmark of teachers that are not ours: every network comes by its own way, and a refusal is a row."""

import json
from dataclasses import replace

import pytest
import torch

from frami.bench import distillation, strange_training, teachers, teachers_page
from frami.bench.strange_training import STRANGERS
from frami.errors import FramiError
from tests.helpers.cli import run

BY_NAME = {row.name: row for row in STRANGERS}
#: How each network is brought: a row that lost its way would prove another one twice.
WAYS = {
    "cnn6": "--architecture panns:Cnn6", "resnet18": "--architecture torchvision:resnet18",
    "mobilenet": "--architecture torchvision:mobilenet_v2", "ecapa": "--program", "ast": "--program",
    "crnn": "--program", "tagger": "--program",
}  # fmt: skip
QUICK = ("--student", "nano", "--budget", "0.5", "--device", "cpu", "--json")


@pytest.fixture
def quickly(monkeypatch):
    """Trainings of two steps, no warming up."""
    short = tuple(replace(row, steps=2, batch=4) for row in STRANGERS)
    monkeypatch.setattr(teachers, "STRANGERS", short)
    monkeypatch.setattr(teachers_page, "STRANGERS", short)
    monkeypatch.setattr(distillation, "warm", lambda *_: None)


def test_each_network_has_a_way_of_its_own():
    assert {row.name: teachers.way(row) for row in STRANGERS} == WAYS
    assert len({row.fingerprint for row in STRANGERS}) == len(STRANGERS)
    assert {row.dataset for row in STRANGERS} == {"fsdd", "esc10"}
    assert [row.name for row in teachers.chosen(["ast", "cnn6", "ast"])] == ["ast", "cnn6"]
    with pytest.raises(FramiError, match=r"no network 'magic'; there are: cnn6, resnet18"):
        teachers.chosen(["cnn6", "magic"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn6", "ecapa", "tagger"])
def test_a_network_is_trained_imported_and_distilled(capsys, tmp_path, fresh_home, make_tree, quickly, name):
    make_tree("fsdd", tmp_path)
    out = tmp_path / "page.md"
    options = ["bench", "teachers", "--only", name, "--data", tmp_path, "--out", out, *QUICK]
    status, text, err = run(capsys, *options)
    assert status == 0, err
    cells = json.loads(text)["cells"]
    assert {cell["source"] for cell in cells.values()} == {"made", "real"}
    for cell in cells.values():
        assert "refused" not in cell and cell["way"] == WAYS[name], cell
        assert cell["import"]["norms"] == cell["own"]["norms"].get("BatchNorm2d", 0) + cell["own"]["norms"].get(
            "BatchNorm1d", 0
        )
        assert cell["import"]["reusable"] and 0 <= cell["parts"][0]["agreement"] <= 1
        assert ("precision" in cell) == (name == "tagger")
        assert cell["onnx"]["takes"] == "waveform" and cell["onnx"]["same"] == cell["onnx"]["of"] == 10
    page = out.read_text()
    assert f"| `{name}` |" in page and f"`{WAYS[name]}`" in page and "10 of 10" in page
    assert ("## Several at once" in page) == (name == "tagger")
    folder = next((tmp_path / "home" / "strangers").iterdir())
    before = (folder / "about.json").stat().st_mtime_ns
    assert run(capsys, *options)[0] == 0
    assert run(capsys, *options, "--seeds", 2, "--page")[0] == 0 and out.read_text() == page
    assert (folder / "about.json").stat().st_mtime_ns == before, "it is trained once"


def test_a_refusal_is_a_row_that_is_tried_again(capsys, tmp_path, fresh_home, make_tree, quickly, monkeypatch):
    make_tree("fsdd", tmp_path)
    given = []

    def refuse(row, *_):
        given.append(row.name)
        raise FramiError("its weights are no numbers") if row.name == "cnn6" else ValueError("of another kind")

    monkeypatch.setattr(teachers, "brought", refuse)
    out = tmp_path / "page.md"
    options = ["bench", "teachers", "--only", "cnn6,ast", "--data", tmp_path, "--out", out, *QUICK]
    for turn in (1, 2):
        status, text, err = run(capsys, *options)
        assert status == 0 and len(given) == 2 * turn, err
    assert {cell["refused"] for cell in json.loads(text)["cells"].values()} == {
        "its weights are no numbers", "ValueError: of another kind"
    }  # fmt: skip
    page = out.read_text()
    assert "0 of 2 networks were imported" in page and "refused at its training: its weights are no numbers" in page


def test_without_recordings_nothing_is_written(capsys, tmp_path, fresh_home):
    out = tmp_path / "page.md"
    status, _, err = run(capsys, "bench", "teachers", "--only", "cnn6", "--data", tmp_path, "--out", out, *QUICK)
    assert status == 2 and "Free Spoken Digit Dataset is not in" in err and not out.exists()


def test_the_owners_training_is_the_same_each_time(make_mels):
    """And learns: tones are told apart after some steps."""
    row = replace(BY_NAME["crnn"], steps=40, batch=8, seconds=0.3, frontend={"n_mels": 80})
    row = replace(row, build=lambda k: strange_training.networks.Crnn(k, bands=80, width=4, hidden=8), rate=1e-2)
    clips = make_mels(each=8)
    first, second = (strange_training.trained(row, clips, lambda *_: None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert strange_training.accuracy(row, first, clips) > 0.5


def test_short_clips_begin_again_or_end_in_silence():
    mel = torch.arange(5.0).expand(64, 5)
    again, silent = (replace(BY_NAME["crnn"], short=short).cut(mel) for short in ("again", "silence"))
    frames = BY_NAME["crnn"].spec.frames(2.0)
    assert again.shape == silent.shape == (64, frames)
    assert again[0, :7].tolist() == [0, 1, 2, 3, 4, 0, 1] and silent[0, :7].tolist() == [0, 1, 2, 3, 4, 0, 0]


def test_two_at_once_have_both_labels():
    mels, labels = torch.zeros(4, 3, 2), torch.arange(4)
    mixed, answers = strange_training.both(mels, labels, 4, torch.Generator().manual_seed(1))
    assert answers.sum(1).tolist()[1::2] == [1, 1] and (answers[labels, labels] == 1).all()
    assert mixed[1::2].eq(0).all() and torch.allclose(mixed[::2], torch.tensor(3.0103))
