"""Measures of a classifier against figures by hand; teachers and students on recordings; what the command prints."""

import json
from pathlib import Path

import pytest
import torch

from frami import checkpoints, cost, evaluation, models, train
from frami.audio import MelSpec
from frami.cli import main
from frami.errors import FramiError
from frami.features import embeddings
from frami.intervals import wilson
from frami.models import MaskedBatchNorm2d


@pytest.fixture(scope="module")
def tree(make_tree, tmp_path_factory):
    return make_tree("fsdd", tmp_path_factory.mktemp("data"), speakers=("george", "theo"), takes=2)


@pytest.fixture
def make_checkpoint(tmp_path, monkeypatch, make_card):
    """``make_checkpoint(name, seed, **card)``: a nano classifier of digits in ``FRAMI_HOME/checkpoints``."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))

    def make(name: str, seed: int = 0, spec: MelSpec = MelSpec(), size: str = "nano", **fields) -> Path:  # noqa: B008
        torch.manual_seed(seed)
        model = models.build(size, 10, spec.n_mels).eval()
        for norm in (m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        card = make_card(
            model, name, dataset="fsdd", classes=checkpoints.load("fsdd").card.classes, mel_spec=spec.to_dict(),
            split={"train": ["george"], "test": ["theo"]}, **fields,
        )  # fmt: skip
        path = tmp_path / "home" / "checkpoints" / name
        checkpoints.save(path, model, card)
        return path

    return make


# --- measures --------------------------------------------------------------------------------------------------------


def test_scores_are_those_by_hand():
    predicted = torch.tensor([0, 0, 1, 2, 1, 0])
    labels = torch.tensor([0, 1, 1, 2, 1, 2])
    logits = torch.nn.functional.one_hot(predicted, 4) * 50.0
    found = evaluation.scores(logits, labels)
    assert found["accuracy"] == pytest.approx(4 / 6) and found["clips"] == 6
    assert found["interval"] == wilson(4, 6)
    assert found["confusion"].tolist() == [[1, 0, 0, 0], [1, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert found["ece"] == pytest.approx(2 / 6, abs=1e-5), "sure of everything, right in two thirds"


def test_balanced_accuracy_is_over_the_classes_that_have_clips():
    """Of 100 clips of one class all are right, the one clip of another is wrong; the third has none."""
    labels = torch.tensor([0] * 100 + [1])
    logits = torch.nn.functional.one_hot(torch.zeros(101, dtype=torch.long), 3) * 9.0
    found = evaluation.scores(logits, labels)
    assert found["accuracy"] == pytest.approx(100 / 101) and found["balanced_accuracy"] == pytest.approx(0.5)
    shares = evaluation.recall(found["confusion"])
    assert shares[:2].tolist() == [1, 0] and shares[2].isnan()


@pytest.mark.parametrize(("right", "accuracy"), [(True, 1.0), (False, 0.0)])
def test_scores_of_a_single_clip(right, accuracy):
    found = evaluation.scores(torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([0 if right else 2]))
    assert found["accuracy"] == found["balanced_accuracy"] == accuracy and found["clips"] == 1
    assert found["interval"] == wilson(int(right), 1) and 0 <= found["ece"] <= 1


def test_calibration_of_a_modest_classifier():
    """Always 60 % sure and right in 6 of 10: no error; right in all: 40 %."""
    logits = torch.tensor([[0.6, 0.4]]).log().expand(10, 2)
    some = torch.tensor([0] * 6 + [1] * 4)
    assert evaluation.scores(logits, some)["ece"] == pytest.approx(0, abs=1e-5)
    assert evaluation.scores(logits, torch.zeros(10, dtype=torch.long))["ece"] == pytest.approx(0.4, abs=1e-5)


def test_latency_is_on_one_thread_and_leaves_the_rest_alone():
    model = models.build("nano", 3).train()
    seen = []
    model.register_forward_hook(lambda *a: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    statistics = model.backbone.stem_norm.running_mean.clone()
    assert 0 < cost.latency(model, torch.zeros(1, 1, 80, 40), passes=12) < 1000
    given_back = torch.get_num_threads()
    torch.set_num_threads(before)
    assert given_back == 2 and set(seen) == {1} and len(seen) == 17
    assert model.training and torch.equal(statistics, model.backbone.stem_norm.running_mean)


# --- checkpoints on recordings ---------------------------------------------------------------------------------------


def test_a_teacher(make_checkpoint, tree):
    path = make_checkpoint("teach")
    counted = []
    found = evaluation.evaluate("teach", data_folder=tree, progress=lambda *at: counted.append(at))
    teacher = checkpoints.load(path)
    plain = train.evaluate(teacher.model, embeddings.recordings(teacher, data_folder=tree))
    assert (found.accuracy, found.clips) == (pytest.approx(plain.accuracy), 20) and counted[-1] == (20, 20)
    assert torch.equal(found.confusion, plain.confusion)
    assert found.agreement is None and 0 <= found.ece <= 1
    low, high = found.interval
    assert low < found.accuracy < high or found.accuracy in (low, high)
    assert found.cost.parameters == 20_310 and found.cost.frames == MelSpec().frames(0.37)
    assert found.cost.macs == cost.macs(teacher.model, torch.zeros(1, 1, 80, found.cost.frames))
    assert found.bytes == path.with_suffix(".safetensors").stat().st_size and found.cost.latency_ms > 0


def test_a_student_and_its_teacher(make_checkpoint, tree):
    teacher = make_checkpoint("teach", seed=1)
    make_checkpoint("same", seed=1, kind="student", teacher="teach")
    make_checkpoint("other", seed=2, kind="student", teacher="teach")
    assert evaluation.evaluate("same", data_folder=tree).agreement == 1.0
    both = [checkpoints.load(name) for name in (teacher, "other")]
    predicted = [embeddings.embed(one, embeddings.recordings(one, data_folder=tree)).predicted for one in both]
    found = evaluation.evaluate("other", data_folder=tree).agreement
    assert found == pytest.approx(float((predicted[0] == predicted[1]).float().mean()))


def test_a_teacher_with_another_front_end(make_checkpoint, tree):
    spec = MelSpec(16_000, 512, 160, 40, 0.0, 8_000.0)
    make_checkpoint("teach", seed=1, spec=spec)
    make_checkpoint("child", seed=1, kind="student", teacher="teach")
    assert 0 <= evaluation.evaluate("child", data_folder=tree).agreement <= 1


def test_a_teacher_that_is_not_here(make_checkpoint, tree, capsys):
    make_checkpoint("child", kind="student", teacher="gone")
    assert evaluation.evaluate("child", data_folder=tree).agreement is None
    assert main(["evaluate", "child", "--data", str(tree)]) == 0
    assert "gone is not here" in capsys.readouterr().out


def test_strangers_speak_digits(make_checkpoint, make_tree, tmp_path, capsys):
    """Another corpus, whose labels are in another order than the network's; its teacher hears the same clips."""
    spec = MelSpec(16_000, 512, 160, 40, 0.0, 8_000.0)
    make_checkpoint("teach", seed=1)
    make_checkpoint("child", seed=2, kind="student", teacher="teach")
    make_checkpoint("other", seed=2, spec=spec, kind="student", teacher="teach")
    tree = make_tree("speechcommands-digits", tmp_path / "data")
    found = evaluation.evaluate("child", "speechcommands", "all", tree)
    rows = found.confusion.sum(1)
    assert rows.nonzero().flatten().tolist() == [0, 1, 9] and found.origin.other and found.origin.sources == 3
    both = [checkpoints.load(name) for name in ("child", "teach")]
    ours, theirs = (
        embeddings.embed(one, embeddings.recordings(one, "speechcommands", "all", tree)).predicted for one in both
    )
    assert found.agreement == pytest.approx(float((ours == theirs).float().mean()))
    assert evaluation.evaluate("other", "speechcommands", "all", tree).agreement is not None
    assert main(["evaluate", "child", "--dataset", "speechcommands", "--data", str(tree)]) == 0
    text = capsys.readouterr().out
    assert "another corpus than it was trained on" in text and "without clips: two, three" in text
    line = next(line for line in text.splitlines() if "another corpus" in line)
    assert "10 of its 10 classes" in line and "left out (happy)" in line
    assert main(["evaluate", "child", "--dataset", "speechcommands", "--data", str(tree), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["other_corpus"] and value["left_out"] == {"happy": 1} and value["folds"] == ["testing"]
    assert value["per_class"]["two"] is value["per_class_interval"]["two"] is None
    assert value["per_class_clips"]["nine"] == 1 and len(value["per_class_interval"]["nine"]) == 2
    assert value["without_clips"] == ["two", "three", "four", "five", "six", "seven", "eight"]


def test_errors_are_those_of_its_parts(make_checkpoint, tree, tmp_path):
    make_checkpoint("teach")
    for arguments in (("nobody",), ("teach", "esc10"), ("teach", None, "nobody"), ("teach", None, "test", tmp_path)):
        with pytest.raises(FramiError):
            evaluation.evaluate(*arguments)


# --- commands --------------------------------------------------------------------------------------------------------


def test_evaluate_prints_all_of_it(make_checkpoint, tree, capsys):
    make_checkpoint("teach", seed=1)
    make_checkpoint("child", seed=2, kind="student", teacher="teach")
    assert main(["evaluate", "child", "--data", str(tree), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert {"checkpoint", "dataset", "split", "accuracy", "clips", "per_class", "confusion"} <= set(value)
    assert {"interval", "agreement", "ece", "parameters", "macs", "latency_ms", "frames", "bytes"} <= set(value)
    assert (value["checkpoint"], value["dataset"], value["split"], value["clips"]) == ("child", "fsdd", "test", 20)
    assert len(value["interval"]) == 2 and 0 <= value["agreement"] <= 1
    assert main(["evaluate", "child", "--data", str(tree), "--split", "george"]) == 0
    text = capsys.readouterr().out
    assert "95% interval" in text and "its teacher teach does" in text and "multiply-adds" in text


def test_many_classes_stay_readable():
    """Of 500 classes the worst and the best are printed; all of them are in the JSON."""
    from frami.cli.evaluation import _classes

    names = [f"class {i}" for i in range(500)]
    value = {
        "per_class": dict.fromkeys(names, 1.0) | {f"class {i}": i / 100 for i in range(30)} | {"class 70": None},
        "per_class_clips": dict.fromkeys(names, 7),
        "without_clips": ["class 70"],
    }
    lines = _classes(value)
    assert len(lines) < 20 and lines[0] == "the 10 worst of 499 classes (all: --json)"
    assert lines[1].split() == ["class", "0", "0.0%", "of", "7"] and "class 9 " in lines[10]
    assert lines[-1] == "without clips: class 70"


def test_evaluate_a_run(make_checkpoint, tree, tmp_path, capsys):
    from frami.runs import Runs

    path = make_checkpoint("child", kind="student")
    run = Runs().create("distill", "it", {})
    assert main(["evaluate", run.id, "--data", str(tree)]) == 2
    assert "no student yet" in capsys.readouterr().err
    for ending in (".safetensors", ".json"):
        (run.folder / f"student{ending}").write_bytes(path.with_suffix(ending).read_bytes())
    for text in (run.id, run.id[:9], str(run.folder)):
        assert main(["evaluate", text, "--data", str(tree), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["checkpoint"] == "child"
    assert main(["evaluate", "nobody", "--data", str(tree)]) == 2
    said = capsys.readouterr().err
    assert "nobody" in said and "frami runs list" in said and said.count("\n") == 1


def test_students_are_listed_as_teachers_are(make_checkpoint, capsys):
    make_checkpoint("child", kind="student", teacher="teach", agreement=0.75, accuracy=None)
    assert main(["students", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert main(["teachers", "--json"]) == 0
    teacher = json.loads(capsys.readouterr().out)[0]
    assert set(rows["child"]) == set(teacher) | {"teacher", "agreement"}
    assert rows["child"]["teacher"] == "teach" and rows["child"]["agreement"] == 0.75
    assert main(["students"]) == 0
    assert "not measured on theo" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", [card.name for card in checkpoints.bundled("student")])
def test_a_bundled_student_keeps_its_promise(name, real_data):
    """The card's accuracy, to half a percent, and what docs/results.md says of its agreement with its teacher."""
    found = evaluation.evaluate(name, data_folder=real_data)
    card = checkpoints.load(name).card
    assert found.clips == card.clips and found.accuracy == pytest.approx(card.accuracy, abs=0.005)
    page = (Path(__file__).parents[1] / "docs" / "results.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
    assert found.agreement == pytest.approx(float(row.strip("| ").split("|")[-1].strip(" %")) / 100, abs=0.005)


def test_the_bundled_teacher_of_digits(real_data):
    found = evaluation.evaluate("fsdd", data_folder=real_data)
    assert found.accuracy == pytest.approx(checkpoints.load("fsdd").card.accuracy, abs=1e-4)
    assert found.interval == pytest.approx((0.923, 0.963), abs=2e-3) and 0 < found.ece < 0.2
