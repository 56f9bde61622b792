"""``frami distill``: what is refused, how a student starts, and times."""

import pytest
import torch

from frami import checkpoints
from frami.cli.distillation import seconds as read_seconds
from frami.runs import Runs
from tests.helpers.cli import run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name a teacher"),
        (["--teacher", "nobody"], "no checkpoint"),
        (["--teacher", "fsdd", "--student", "giant"], "no size"),
        (["--teacher", "fsdd", "--start", "teacher", "--student", "micro"], "start it new"),
        (["--teacher", "fsdd", "--start", "teacher", "--architecture", "tc-resnet"], "start it new"),
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
        (["--resume", "ffffffffffff", "--dataset", "x", "--skip-bad"], "leave out --dataset, --skip-bad"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, fresh_home, options, message):
    status, out, err = run(capsys, "distill", *options)
    assert status == 2 and message in err and len(err.strip().splitlines()) == 1 and not out
    assert not Runs().list(), "nothing is noted of what cannot begin"


def test_times_are_read():
    assert [read_seconds(t) for t in ("120", "120s", "2m", "1.5h")] == [120, 120, 120, 5400]


def test_a_student_starts_from_its_teachers_weights(capsys, fresh_home, tmp_path, monkeypatch):
    """After one step at a rate that changes next to nothing it still has them; a stored run says so."""
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    options = ["--source", "noise", "--rounds", "1", "--batch", "8", "--steps", "1", "--lr", "1e-6"]
    out = ["--teacher", "fsdd", "--start", "teacher", "--out", str(tmp_path / "it")]
    assert run(capsys, "distill", *out, *options)[0] == 0
    (stored,) = Runs().list()
    assert stored.settings["start"] == "teacher"
    student, teacher = (checkpoints.load(name).model.backbone for name in (tmp_path / "it" / "student", "fsdd"))
    assert torch.equal(student.bands.running_mean.sign(), teacher.bands.running_mean.sign())
    kept = [abs(teacher.stem.weight - one).amax((1, 2, 3)).min() for one in student.stem.weight]
    assert max(kept) < 1e-4
