"""Teachers of some of their classes, and multi-label ones, the whole way."""

import json
from dataclasses import replace

import pytest
import torch

from frami import answers, banks, checkpoints
from frami.adapter import adapt, chosen, importing
from frami.distill import Settings, distill, objectives
from frami.distill.objectives import kd_loss
from frami.errors import FramiError
from frami.evaluation import average_precision, scores_of_several
from frami.inversion import InversionSettings, invert, losses, make_clips
from frami.mel import MelSpec
from tests.helpers.cli import run
from tests.helpers.networks import BANDS, CLASSES, clip, network
from tests.helpers.own import make_table

SPEC = MelSpec(n_mels=BANDS)
SOME = ("wind", "fire")


def program(kind="bands", **settings):
    form = {"bands": {"time_first": True}, "attentive": {"channel": False}}[kind]
    return importing.from_module(network(kind), SPEC, CLASSES, seconds=0.6, **form, **settings)[0]


@pytest.fixture(scope="module")
def several():
    """A multi-label teacher."""
    return program()


def clips(count=5, frames=50):
    return torch.randn(count, 1, BANDS, frames, generator=torch.Generator().manual_seed(3)) * 2 - 5


# ---------------------------------------------------------------------------------------- answers


def test_probabilities_of_independent_classes_do_not_share_one():
    z = torch.tensor([[2.0, 2.0, -3.0]])
    assert answers.probabilities(z, True).tolist()[0] == pytest.approx([0.881, 0.881, 0.047], abs=1e-3)
    assert answers.probabilities(z).sum() == pytest.approx(1)
    labels = torch.tensor([1])
    assert answers.heard(z, labels, True).item() == 1 and answers.heard(z, labels).item() == 0
    assert answers.heard(z, torch.tensor([2]), True).item() == 0, "not heard: the likeliest"


def test_the_divergence_is_the_sum_of_bernoulli_ones():
    z, w = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).unbind()
    p, q = z.double().sigmoid(), w.double().sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1)
    found = answers.divergences(*(answers.log_probabilities(x, True) for x in (z, w)))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_what_sounds_beside_the_target_costs_little():
    """A dog that is an animal too is no worse than half as good as one that is not."""
    alone, both = torch.full((2, 1, 527), -8.0).unbind()
    alone[0, 0] = both[0, 0] = both[0, 1] = 3.0
    target = torch.tensor([0])
    apart = losses.class_loss(both, target, multilabel=True) - losses.class_loss(alone, target, multilabel=True)
    assert 0 < apart < 0.01
    nothing = torch.full((1, 527), -8.0)
    assert losses.class_loss(nothing, target, multilabel=True) > 7


def test_average_precision_of_labels_that_go_together():
    z = torch.tensor([[2.0, 1.0, -1.0], [1.0, -2.0, -1.0], [-1.0, 3.0, -1.0]])
    there = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0]])
    assert average_precision(z, there) == pytest.approx(1.0), "a class without clips has no part in it"
    assert average_precision(z[:, :2], 1 - there[:, :2]) < 0.7
    there[1, 2] = 1
    found = scores_of_several(z, there)
    assert found["accuracy"] == pytest.approx(2 / 3), "the likeliest class is one of a clip's own"
    assert found["confusion"].tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert found["average_precision"] == pytest.approx((1 + 1 + 1 / 3) / 3) and 0 <= found["ece"] < 1


# ---------------------------------------------------------------------------------------- multi-label teachers


def test_sigmoids_make_a_multi_label_teacher(several):
    assert several.multilabel and several.card.multilabel
    assert not program(multilabel=False).multilabel
    assert not program("attentive").multilabel
    assert adapt(network("bands"), SPEC, CLASSES, time_first=True, seconds=0.6).multilabel


def test_it_is_stored_and_read(several, tmp_path):
    checkpoints.save(tmp_path / "bands", several.model, several.card)
    assert checkpoints.load(tmp_path / "bands").multilabel
    values = json.loads((tmp_path / "bands.json").read_text())
    (tmp_path / "bands.json").write_text(json.dumps(values | {"multilabel": "yes"}))
    with pytest.raises(FramiError, match="multilabel is true or false"):
        checkpoints.load(tmp_path / "bands")


def test_its_clips_are_heard_where_the_target_is_likely(several, tmp_path):
    settings = InversionSettings.of(several, "frami-flash", samples=8, steps=60, seconds=0.5, batch=8)
    made = make_clips(several, settings)
    sigmoids = made.logits.sigmoid()
    own = sigmoids.gather(1, made.target[:, None])[:, 0]
    torch.testing.assert_close(made.confidence, own)
    heard = (own >= 0.5) | (sigmoids.argmax(1) == made.target)
    assert torch.equal(made.target == made.predicted, heard)
    assert made.target_accuracy > (sigmoids.argmax(1) == made.target).float().mean(), "two are as likely as not"
    writer = banks.create_for(several, settings, tmp_path / "bank")
    banks.fill(writer, invert(several, settings))
    bank = banks.load(tmp_path / "bank")
    assert bank.multilabel and bank.clips().multilabel and bank.target_accuracy == made.target_accuracy


def test_its_student_learns_each_probability(several):
    """A softmax does not see that all classes are less likely than they should be."""
    teacher, student = torch.tensor([[2.0, -1.0, 0.5, -3.0]]), torch.tensor([[-2.0, -5.0, -3.5, -7.0]])
    assert kd_loss(teacher, student) < 1e-6 < 1 < kd_loss(teacher, student, multilabel=True)
    seen = []

    def noted(*given, multilabel=False):
        seen.append(multilabel)
        return kd_loss(*given, multilabel=multilabel)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives, "kd_loss", noted)
        for one in (several, checkpoints.load("fsdd")):
            list(distill(one, Settings(budget=None, rounds=1, clips=8, steps=1, student="nano")))
    assert set(seen[: len(seen) // 2]) == {True} and set(seen[len(seen) // 2 :]) == {False}


def test_true_classes_of_a_mixture_both_sound():
    from frami.distill.objectives import labels_loss

    labels, partners, share = torch.tensor([0, 1]), torch.tensor([2, 2]), torch.tensor([0.6, 1.0])
    right = torch.tensor([[9.0, -9.0, 9.0], [-9.0, 9.0, -9.0]])
    assert labels_loss(right, labels, partners, share, True) < 0.01
    assert labels_loss(-right, labels, partners, share, True) > 20


# ---------------------------------------------------------------------------------------- some of the classes


@pytest.mark.parametrize("kind", ["bands", "attentive"])
def test_a_program_with_some_of_its_classes(kind, tmp_path):
    teacher = program(kind)
    part = chosen(teacher, SOME)
    x, at = clips(), [CLASSES.index(name) for name in SOME]
    with torch.no_grad():
        own, found = teacher.model(x), part.model(x)
        again = part.model.head(found.frames, found.lengths).logits
    torch.testing.assert_close(found.logits, own.logits[:, at])
    torch.testing.assert_close(again, found.logits, rtol=1e-4, atol=1e-4)
    assert part.classes == SOME and part.multilabel == teacher.multilabel
    checkpoints.save(tmp_path / "part", part.model, part.card)
    loaded = checkpoints.load(tmp_path / "part")
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(x).logits, found.logits)
    assert chosen(loaded, SOME) is loaded


def test_classes_of_our_own_teacher():
    teacher = checkpoints.load("fsdd")
    names = teacher.classes[7], teacher.classes[2]
    part = chosen(teacher, names)
    x = torch.full((2, 1, 80, 40), teacher.spec.floor) + torch.rand(2, 1, 80, 40)
    with torch.no_grad():
        torch.testing.assert_close(part.model(x).logits, teacher.model(x).logits[:, [2, 7]])
    assert part.classes == (teacher.classes[2], teacher.classes[7]), "in the teacher's order"
    assert len(teacher.classes) == teacher.model(x).logits.shape[1] == 10, "it stays as it was"


@pytest.mark.parametrize("names", [("wind",), ("wind", "wind"), ("wind", "thunder"), ()])
def test_other_choices_are_refused(names, several):
    with pytest.raises(FramiError, match=r"at least two|knows no class 'thunder'"):
        chosen(several, names)


@pytest.mark.parametrize("objective", ["frami", "logits"])
def test_a_student_of_some_classes(objective, several):
    settings = Settings(budget=None, rounds=1, clips=8, steps=4, objective=objective, classes=SOME)
    *_, last = distill(several, settings)
    assert last.student(clips()).logits.shape == (5, 2) and last.clips == 8


def test_of_a_whole_bank_the_clips_of_those_classes_count(several, tmp_path):
    settings = InversionSettings.of(several, "frami-flash", samples=8, steps=3, seconds=0.5, batch=8)
    banks.fill(banks.create_for(several, settings, tmp_path / "bank"), invert(several, settings))
    bank = banks.load(tmp_path / "bank")
    given = Settings(source="bank", budget=None, rounds=1, steps=2, classes=SOME)
    *_, last = distill(several, given, bank)
    assert last.clips == 4 and last.student(clips()).logits.shape == (5, 2)
    none = replace(bank, manifest=bank.manifest | {"classes": ["a", "b", "c", "d"]})
    with pytest.raises(FramiError, match="other classes than this teacher's"):
        distill(several, given, none)


def test_settings_of_a_stored_run_keep_the_classes():
    from frami.distill import RunSettings

    stored = json.loads(json.dumps(RunSettings("fsdd", Settings(classes=("1", "2"))).to_dict()))
    assert RunSettings.from_dict(stored).settings.classes == ("1", "2")
    assert "classes" not in Settings().to_dict()
    for wrong in ("12", [1, 2], 5):
        with pytest.raises(FramiError):
            RunSettings.from_dict(stored | {"classes": wrong})


# ---------------------------------------------------------------------------------------- from the command line


@pytest.mark.slow
def test_the_commands_take_a_multi_label_network_and_some_of_its_classes(capsys, fresh_home, tmp_path):
    """Sigmoids of a network become a student of two classes, measured on clips of several."""
    free = torch.export.Dim.AUTO
    made = torch.export.export(network("bands"), (clip("bands", 2),), dynamic_shapes=({0: free, 2: free},))
    torch.export.save(made, tmp_path / "tagger.pt2")
    names = ("rain", "wind", "sea", "fire, crackling")
    (tmp_path / "classes.txt").write_text("\n".join(names))
    (tmp_path / "mel.json").write_text(json.dumps({"n_mels": BANDS}))
    arguments = ["--classes", tmp_path / "classes.txt", "--frontend", tmp_path / "mel.json"]
    arguments = ["import", "--program", tmp_path / "tagger.pt2", *arguments, "--json"]
    status, out, err = run(capsys, *arguments, "--no-multi-label")
    assert status == 0 and json.loads(out)["multilabel"] is False, err
    status, out, err = run(capsys, *arguments, "--overwrite")
    assert status == 0 and json.loads(out)["multilabel"] is True, err

    student = tmp_path / "student"
    quick = ["--rounds", 1, "--clips", 4, "--steps", 2, "--student", "nano", "--out", student]
    status, _, err = run(capsys, "distill", "--teacher", "tagger", "--classes", "fire, crackling", *quick)
    assert status == 2 and "at least two classes" in err and not student.exists()
    some = ["--classes", "fire, crackling", "--classes", "0"]
    rows = [{"file": f"{k}.wav", "class": name} for k, name in enumerate(("rain", "fire, crackling") * 3)]
    both = {"file": "0.wav", "class": "fire, crackling"}
    table = make_table(tmp_path / "own" / "clips.csv", [*rows, both])
    on = ["--dataset", table, "--json"]
    status, out, err = run(capsys, "distill", "--teacher", "tagger", *some, *quick, *on)
    assert status == 0, err
    again = json.loads(run(capsys, "evaluate", student, "--dataset", table, "--json")[1])
    assert json.loads(out)["accuracy"] == again["accuracy"], "counted alike"
    card = checkpoints.read_card(student / "student")
    assert card.classes == ("rain", "fire, crackling") and card.multilabel

    status, out, err = run(capsys, "evaluate", student, "--dataset", table, "--split", "all", "--json")
    value = json.loads(out)
    assert status == 0, err
    assert value["clips"] == 6 and 0 < value["average_precision"] <= 1 and value["agreement"] is not None
    said = run(capsys, "evaluate", student, "--dataset", table, "--split", "all")[1]
    assert said.startswith("mean average precision 0.")
    status, _, err = run(capsys, "export", student, "--out", tmp_path / "student.onnx")
    assert status == 0, err
    import onnx

    metadata = {one.key: one.value for one in onnx.load(tmp_path / "student.onnx").metadata_props}
    assert metadata["multilabel"] == "true" and json.loads(metadata["classes"]) == ["rain", "fire, crackling"]


def test_clips_of_networks_of_other_make_get_a_texture(several, monkeypatch):
    """Made clips come out smooth; ours are learnt from as they are, and so are real clips."""
    from frami.distill import loop

    given = []
    monkeypatch.setattr(loop, "_run", lambda *arguments: given.append(arguments[4].texture) or iter(()))
    distill(several, Settings(budget=None))
    distill(checkpoints.load("fsdd"), Settings(budget=None))
    distill(several, Settings(budget=None, source="noise"))
    assert given == [loop.TEXTURE, 0, 0] and loop.TEXTURE > 0


class Fixed(torch.nn.Module):
    """A network whose code names the number of its clips."""

    def __init__(self, clips: int):
        super().__init__()
        self.inner, self.clips = network("bands"), clips

    def forward(self, x):
        return self.inner(x.reshape(self.clips, 1, -1, BANDS))


def test_a_network_of_a_fixed_number_of_clips_is_inverted_with_as_many():
    teacher = importing.from_module(Fixed(16), SPEC, CLASSES, seconds=0.6, time_first=True)[0]
    assert teacher.model.config.takes.clips == 16
    made = make_clips(teacher, "frami", samples=16, batch=16, seconds=0.5, steps=2)
    assert len(made) == 16 and made.mels.isfinite().all()
    warm = [len(state.clips) for state in invert(teacher, "frami-warm", samples=16, batch=16, seconds=0.5, every=1)]
    assert warm == [16] * 28, "its warm-up too"
    for samples, batch, recipe in ((8, 8, "frami"), (20, 16, "frami"), (16, 16, "cmi")):
        with pytest.raises(FramiError, match="exported for 16 clips at once"):
            make_clips(teacher, recipe, samples=samples, batch=batch, seconds=0.5, steps=2)
    *_, last = distill(teacher, Settings(budget=None, rounds=1, clips=16, steps=2))
    assert last.clips == 16
