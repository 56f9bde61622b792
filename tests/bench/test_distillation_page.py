"""The page of distillations says what was measured."""

from pathlib import Path

from frami.bench import distillation_page
from frami.bench.distillation import PACE, ROWS, others
from frami.distill import Settings

FINGERPRINTS = {row.name: row.fingerprint for row in ROWS}


#: A part that says the same of each student as the held-out one, and less of agreement.
STRANGERS = {"kind": "strangers", "name": "elsewhere", "clips": 50, "agreement": 0.4, "teacher": 0.6}


def cells(
    dataset: str, rows: dict[str, list[float]], budget: float = 60.0, held: str = "1", strangers: bool = False
) -> list[dict]:
    shared = {
        "dataset": dataset, "held_out": held, "student": "tiny", "budget": budget, "length": f"{budget:g}s",
        "device": "CPU", "at_once": 8, "batch": 8, "weights": held, "pace": PACE, "group": "methods", "clips": 16,
        "steps": 100, "parameters": 7, "on": "reported", "measured_on": "", "settings": others(Settings()),
    }  # fmt: skip
    part = {"kind": "held out", "name": held, "clips": 50, "agreement": 0.5, "teacher": 0.9}
    return [
        shared
        | {"row": row, "seed": seed, "fingerprint": FINGERPRINTS[row]}
        | {"parts": [one | {"accuracy": value} for one in ([part, STRANGERS] if strangers else [part])]}
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]


def page(cells: list[dict], out: Path) -> list[str]:
    return distillation_page.page({str(number): cell for number, cell in enumerate(cells)}, out)


def test_data_sets_stand_beside_one_another_with_their_spread(tmp_path):
    measured = [
        *cells("esc10", {"frami + frami": [0.8, 0.7], "frami + logits": [0.5]}),
        *cells("fsdd", {"frami + frami": [0.9], "noise, logits": [0.1, 0.1]}, strangers=True),
        *cells("fsdd", {"frami + frami": [0.95]}, budget=600.0),
    ]
    lines = page(measured, tmp_path / "page.md")
    start = lines.index("## All together: `tiny`, 60 s on CPU")
    assert lines[start + 4 : start + 10] == [
        "| row | esc10: accuracy, held out | agreement | fsdd: accuracy, held out | agreement "
        "| fsdd: accuracy, strangers | agreement |",
        "|---|---|---|---|---|---|---|",
        "| *teacher* | 90.0 | – | 90.0 | – | 60.0 | – |",
        "| `frami + frami` | 75.0 ± 7.1 | 50.0 ± 0.0 | 90.0 | 50.0 | 90.0 | 40.0 |",
        "| `frami + logits` | 50.0 | 50.0 | – | – | – | – |",
        "| `noise, logits` | – | – | 10.0 ± 0.0 | 50.0 ± 0.0 | 10.0 ± 0.0 | 40.0 ± 0.0 |",
    ]
    assert "| `frami + frami` | 95.0 | 50.0 |" in lines[lines.index("## All together: `tiny`, 600 s on CPU") :]


def test_equal_clips_and_steps_stand_apart_from_equal_time(tmp_path):
    """And behind it."""
    counted = [cell | {"budget": 0.0, "length": "16x68"} for cell in cells("fsdd", {"frami + frami": [0.7]})]
    lines = page([*counted, *cells("fsdd", {"frami + frami": [0.9]})], tmp_path / "page.md")
    start = lines.index("## All together: `tiny`, 128 clips and 1,088 steps on CPU")
    assert "| `frami + frami` | 70.0 | 50.0 |" in lines[start : start + 8]
    assert lines.index("## All together: `tiny`, 60 s on CPU") < start
    assert any("`--rounds 16 --steps 68 --clips 8 --batch 8 --student tiny`" in line for line in lines)
    assert any("`--budget 60s --clips 8 --batch 8 --student tiny`" in line for line in lines)


def test_strangers_of_several_data_sets_count_by_their_clips(tmp_path):
    (cell,) = cells("fsdd", {"frami + frami": [0.8]}, strangers=True)
    cell["parts"].append({**STRANGERS, "name": "far", "clips": 150, "agreement": 0.8, "accuracy": 0.0, "teacher": 0.2})
    lines = page([cell], tmp_path / "page.md")
    assert "| `frami + frami` | 80.0 | 50.0 | 20.0 | 70.0 |" in lines, "all together"
    assert "| `frami + frami` | 80.0 | 50.0 | 80.0 | 40.0 | 0.0 | 80.0 | 16 | 100 | 7 | 1 |" in lines, "each part"
    assert "strangers (far): 150 clips, teacher 20.0%" in "\n".join(lines)


def test_a_verdict_counts_the_spread(tmp_path):
    rows = {
        "frami + frami": [0.80, 0.82, 0.81],
        "frami-flash + logits": [0.99, 0.99, 0.99],
        "cmi + frami": [0.70, 0.80, 0.75],
        "real clips, logits": [0.84, 0.84, 0.84],
    }
    text = "\n".join(page(cells("fsdd", rows), tmp_path / "page.md"))
    assert (
        "held out, accuracy: `frami + frami` 81.0; best published recipe `cmi + frami` 75.0 (+6.0, within the spread); "
        "`real clips, logits` 84.0 (-3.0, outside the spread); teacher 90.0 (-9.0)." in text
    ), "6.0 points are no more than 1 + 5"
    rows["cmi + frami"] = [0.70, 0.71, 0.72]
    assert "(+10.0, outside the spread)" in "\n".join(page(cells("fsdd", rows), tmp_path / "page.md"))
    rows["cmi + frami"] = [0.71]
    assert "one run: no spread yet" in "\n".join(page(cells("fsdd", rows), tmp_path / "page.md"))


def test_folds_held_out_in_turn_share_a_table(tmp_path):
    measured = [
        *cells("esc10", {"frami + frami": [0.8, 0.7], "cmi + frami": [0.5], "noise, logits": [0.1]}),
        *cells("esc10", {"frami + frami": [0.85], "cmi + frami": [0.65]}, held="2"),
        *cells("fsdd", {"frami + frami": [0.9]}),
    ]
    lines = page(measured, tmp_path / "page.md")
    start = lines.index("## esc10: 2 folds held out in turn, `tiny`, 60 s on CPU")
    assert lines[start + 4 : start + 13] == [
        "Accuracy, held out:",
        "",
        "| row | 1 | 2 | all |",
        "|---|---|---|---|",
        "| *teacher* | 90.0 | 90.0 | 90.0 ± 0.0 |",
        "| `frami + frami` | 75.0 | 85.0 | 80.0 ± 7.1 |",
        "| `cmi + frami` | 50.0 | 65.0 | 57.5 ± 10.6 |",
        "",
        "`frami + frami`, in points above the others, fold by fold: `cmi + frami` +22.5 ± 3.5; *teacher* -10.0 ± 7.1.",
    ]
    assert "Agreement, held out:" in lines[start:]
    assert "| `frami + frami` | 75.0 ± 7.1 | 50.0 ± 0.0 | 90.0 | 50.0 |" in lines, "the first alone beside others"
    assert "## esc10: 1 held out" in lines
    assert "## esc10: 2 held out" not in lines


def test_only_what_still_holds_is_shown(tmp_path):
    new = cells("fsdd", {"frami + frami": [0.9], "cmi + frami": [0.1]})
    old = [cell | {"fingerprint": "other"} for cell in cells("fsdd", {"frami + frami": [0.1], "cmi + frami": [0.3]})]
    otherwise = [cell | {"settings": "lr=0.9"} for cell in new]
    other = [cell | {"weights": "2"} for cell in new]
    earlier = [cell | {"pace": PACE - 1} for cell in new]
    lines = page([*old, *new], tmp_path / "page.md")
    assert "| `frami + frami` | 90.0 | 50.0 |" in lines, "not the mean with what another recipe of this name did"
    assert page([*earlier, *new], tmp_path / "page.md") == lines == page([*otherwise, *new], tmp_path / "page.md")
    alone = page([cell | {"pace": 4} for cell in new], tmp_path / "page.md")
    assert {*lines} < {*alone} and any("students that were not fitted" in line for line in alone), "said to be earlier"
    lines = page([*new, *other], tmp_path / "page.md")
    assert not any("held out in turn," in line for line in lines), "two teachers, the same speaker held out"
    assert lines.count("## fsdd: 1 held out") == 2
    assert len(set(tmp_path.glob("*.png"))) == 2


def test_a_student_without_clips_is_marked(tmp_path):
    measured = [cell | {"clips": 0} for cell in cells("fsdd", {"dfq + frami": [0.1]})]
    lines = page([*measured, *cells("fsdd", {"frami + frami": [0.9]})], tmp_path / "page.md")
    assert "| `dfq + frami` | 10.0 † | 50.0 † |" in lines and "| `frami + frami` | 90.0 | 50.0 |" in lines
    assert sum(line.startswith("† No clip") for line in lines) == 2
    seeds = cells("fsdd", {row.name: [0.9] * 3 for row in ROWS if row.name != "dfq + frami"})
    assert not any("Still open" in line for line in page([*measured, *seeds], tmp_path / "page.md")), "once is enough"
    mixed = [*measured, *cells("fsdd", {"dfq + frami": [0.3, 0.3]})[1:]]
    assert not any(line.startswith("†") for line in page(mixed, tmp_path / "page.md"))
    short = page([*measured, *seeds[1:-1]], tmp_path / "page.md")
    assert f"Still open: 2 of 3 seeds of `{ROWS[0].name}`, `{ROWS[-1].name}`." in short, "the others have all of theirs"


def test_what_hidden_states_are_worth_is_said_of_students_that_have_learnt(tmp_path):
    """One that saw no clip has gained nothing by its objective."""
    measured = cells("fsdd", {"cmi + frami": [0.8], "cmi + logits": [0.6], "dfq + frami": [0.2]}, strangers=True)
    measured[0]["parts"][1]["agreement"] = 0.6
    idle = [cell | {"clips": 0} for cell in cells("fsdd", {"dfq + logits": [0.1]}, strangers=True)]
    lines = page([*measured, *idle], tmp_path / "page.md")
    (gain,) = (line for line in lines if line.startswith("Objective `frami`"))
    assert gain.endswith("in points of agreement, strangers: `cmi` +20.0; mean +20.0.")
    (still,) = (line for line in lines if line.startswith("Still open"))
    banks = sum(row.source == "bank" for row in ROWS)
    assert still == f"Still open: no run yet of the other {len(ROWS) - banks - 4} rows; 1 of 3 seeds."
    full = {row.name: [0.5] * 3 for row in ROWS if row.source != "bank"}
    assert not any("Still open" in line for line in page(cells("fsdd", full), tmp_path / "page.md"))
    some = page(cells("fsdd", full | {"bank of cmi, frami": [0.5] * 3}), tmp_path / "page.md")
    assert any("no run yet of `bank of frami, logits`" in line for line in some), "where there are ready banks"
    assert "| `bank of cmi, frami` | 50.0 ± 0.0 | 50.0 ± 0.0 |" in some
