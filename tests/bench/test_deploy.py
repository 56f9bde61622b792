"""Files in smaller numbers side by side: what is measured, what is missing, the page."""

import pytest

from frami.bench import deploy, deploy_page
from frami.quantisation import CLIPS
from tests.helpers.cli import run


def cell(precision, kind="", each=0, accuracy=0.9, on="reported", method="minmax"):
    part = {"kind": "held out", "name": "theo", "clips": 500, "accuracy": accuracy, "float_accuracy": 0.9}
    used = {"calibration": kind, "clips": 10 * each, "source": "clips"} if kind else {}
    return {
        "checkpoint": "it", "kind": "student", "variant": precision, "precision": precision, "on": on, "each": each,
        "method": method if kind else "", "bytes": 120_000, "parts": [part | {"agreement": 0.99}],
    } | used  # fmt: skip


def test_the_variants_are_all_kinds_of_clips():
    listed = deploy.variants(("minmax", "entropy"))
    assert len({one.name for one in listed}) == len(listed) == 2 + 2 * len(deploy.CALIBRATIONS)
    assert deploy.USUAL in listed and deploy.USUAL.each == CLIPS


def test_students_stand_behind_their_teachers():
    names = deploy.networks()
    assert names.index("fsdd-tiny") == names.index("fsdd") + 1 and {"digits", "esc50-mini"} <= set(names)


def test_the_page_says_what_was_lost():
    cells = [cell("float32"), cell("fp16"), cell("int8", "made", CLIPS, 0.895), cell("int8", "noise", CLIPS, 0.85)]
    speed = {
        "checkpoint": "it", "seconds": 0.5, "speed": True, "milliseconds": {"float32": 2.0, "fp16": 2.0, "int8": 1.0},
        "memory": {"float32": 2e6, "fp16": 2e6, "int8": 1e6},
    }  # fmt: skip
    text = "\n".join(deploy_page.page({str(k): one for k, one in enumerate([*cells, speed])}, "frami bench deploy"))
    assert "| `it` | 90.0% | -0.50 | – | -5.00 | – | 120 | 120 | 120 | 2.00 |" in text
    assert "How ranges are chosen" not in text and text.startswith("# Deployment\n")


def test_methods_are_compared_on_clips_of_development_alone():
    cells = {m: cell("int8", "made", 10, 0.91, "development", m) for m in ("minmax", "percentile")}
    text = "\n".join(deploy_page.page(cells, "frami bench deploy"))
    assert "| `it` | made, 10 a class | +1.00, 99.0% | +1.00, 99.0% |" in text and "## In short" not in text


@pytest.mark.parametrize(
    ("arguments", "word"), [(["--methods", "guess"], "minmax, percentile, entropy"), (["--each", "0"], "below 1")]
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, arguments, word):
    status, _, err = run(capsys, "bench", "deploy", "--out", tmp_path / "deploy.md", *arguments)
    assert status == 2 and err.count("\n") == 1 and word in err and not list(tmp_path.iterdir())
