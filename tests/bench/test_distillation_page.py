"""The page of distillations says what was measured."""

from pathlib import Path

from frami.bench import distillation_page
from frami.bench.distillation import ROWS


def cells(dataset: str, rows: dict[str, list[float]], budget: float = 60.0, held: str = "1") -> list[dict]:
    shared = {
        "dataset": dataset, "held_out": held, "student": "tiny", "budget": budget, "device": "CPU", "at_once": 8,
        "batch": 8, "weights": held, "pace": 2, "teacher": 0.9, "group": "methods", "agreement": 0.5, "clips": 16,
        "steps": 100, "parameters": 7,
    }  # fmt: skip
    fingerprints = {row.name: row.fingerprint for row in ROWS}
    return [
        shared | {"row": row, "seed": seed, "accuracy": value, "fingerprint": fingerprints[row]}
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]


def page(cells: list[dict], out: Path) -> list[str]:
    return distillation_page.page({str(number): cell for number, cell in enumerate(cells)}, out)


def test_data_sets_stand_beside_one_another_with_their_spread(tmp_path):
    measured = [
        *cells("esc10", {"frami + frami": [0.8, 0.7], "frami + logits": [0.5]}),
        *cells("fsdd", {"frami + frami": [0.9], "noise, logits": [0.1, 0.1]}),
        *cells("fsdd", {"frami + frami": [0.95]}, budget=600.0),
    ]
    lines = page(measured, tmp_path / "page.md")
    start = lines.index("## All together: `tiny`, 60 s on CPU")
    assert lines[start + 4 : start + 8] == [
        "| clips by | esc10, `logits` | esc10, `frami` | fsdd, `logits` | fsdd, `frami` |",
        "|---|---|---|---|---|",
        "| `frami` | 50.0 | 75.0 ± 7.1 | – | 90.0 |",
        "| *noise* | – | – | 10.0 ± 0.0 | – |",
    ]
    assert "| `frami` | – | 95.0 |" in lines[lines.index("## All together: `tiny`, 600 s on CPU") :]


def test_objectives_on_the_same_clips_stand_beside_one_another(tmp_path):
    measured = [
        *cells(
            "esc10", {"frami-flash + frami": [0.8], "frami-flash + logits": [0.5], "frami-flash + simkd": [0.6, 0.8]}
        ),
        *cells("fsdd", {"frami-flash + logits": [0.9], "frami + logits": [0.1]}),
    ]
    lines = page(measured, tmp_path / "page.md")
    start = lines.index("## Objectives on the clips of `frami-flash`: `tiny`, 60 s on CPU")
    assert lines[start + 2 : start + 7] == [
        "| objective | esc10 | fsdd |",
        "|---|---|---|",
        "| `frami` | 80.0 | – |",
        "| `logits` | 50.0 | 90.0 |",
        "| `simkd` | 70.0 ± 14.1 | – |",
    ]
    assert not any("clips of `frami`" in line for line in lines), "nothing to compare there"


def test_a_verdict_counts_the_spread(tmp_path):
    rows = {
        "frami + frami": [0.80, 0.82, 0.81],
        "frami-flash + logits": [0.99, 0.99, 0.99],
        "cmi + frami": [0.70, 0.80, 0.75],
        "real clips, logits": [0.84, 0.84, 0.84],
    }
    text = "\n".join(page(cells("fsdd", rows), tmp_path / "page.md"))
    assert (
        "`frami + frami` 81.0; best published recipe `cmi + frami` 75.0 (+6.0, within the spread); "
        "`real clips, logits` 84.0 (-3.0); teacher 90.0 (-9.0)." in text
    ), "6.0 points are no more than 1 + 5"
    rows["cmi + frami"] = [0.70, 0.71, 0.72]
    assert "(+10.0, outside the spread)" in "\n".join(page(cells("fsdd", rows), tmp_path / "page.md"))
    rows["cmi + frami"] = [0.71]
    assert "one run: no spread yet" in "\n".join(page(cells("fsdd", rows), tmp_path / "page.md"))


def test_parts_held_out_in_turn_share_a_table(tmp_path):
    measured = [
        *cells("esc10", {"frami + frami": [0.8, 0.7], "cmi + frami": [0.5], "noise, logits": [0.1]}),
        *cells("esc10", {"frami + frami": [0.85], "cmi + frami": [0.65]}, held="2"),
        *cells("fsdd", {"frami + frami": [0.9]}),
    ]
    lines = page(measured, tmp_path / "page.md")
    start = lines.index("## esc10: 2 parts held out in turn, `tiny`, 60 s on CPU")
    assert lines[start + 4 : start + 11] == [
        "| row | 1 | 2 | all |",
        "|---|---|---|---|",
        "| *teacher* | 90.0 | 90.0 | 90.0 ± 0.0 |",
        "| `frami + frami` | 75.0 | 85.0 | 80.0 ± 7.1 |",
        "| `cmi + frami` | 50.0 | 65.0 | 57.5 ± 10.6 |",
        "",
        "`frami + frami`, in points of accuracy above the others, part by part: `cmi + frami` +22.5 ± 3.5; "
        "`teacher` -10.0 ± 7.1.",
    ]
    assert "| `frami` | – | 75.0 ± 7.1 | – | 90.0 |" in lines, "the first part alone stands beside other data sets"
    assert "## esc10: 1 held out" in lines
    assert "## esc10: 2 held out" not in lines


def test_only_what_still_holds_is_shown(tmp_path):
    new = cells("fsdd", {"frami + frami": [0.9], "cmi + frami": [0.1]})
    old = [cell | {"fingerprint": "other", "accuracy": 0.2} for cell in new]
    other = [cell | {"weights": "2", "teacher": 0.8, "accuracy": 0.5} for cell in new]
    lines = page([*old, *new], tmp_path / "page.md")
    assert "| `frami` | – | 90.0 |" in lines, "not the mean with what another recipe of this name did"
    lines = page([*new, *other], tmp_path / "page.md")
    assert not any("in turn" in line for line in lines), "two teachers, the same speaker held out"
    assert lines.count("## fsdd: 1 held out") == 2
    assert len(set(tmp_path.glob("*.png"))) == 2


def test_cells_of_before_they_had_a_fingerprint_get_it_from_their_names(tmp_path):
    made = next(row for row in ROWS if row.name == "frami-flash + frami")
    for row, what in ((made.name, f"{made.name} {made.fingerprint}"), ("real clips, logits", "real clips, logits")):
        (cell,) = cells("fsdd", {row: [0.4]})
        del cell["fingerprint"]
        names = {f"fsdd theo 0 | 60s tiny | {what} | 0": True, f"fsdd theo 0 | 60s tiny | {row} 00000000 | 0": False}
        for name, shown in names.items():
            lines = distillation_page.page({name: cell}, tmp_path / "page.md")
            assert any(line.startswith(f"| `{row}` | 40.0 |") for line in lines) == shown


def test_a_student_without_clips_is_marked(tmp_path):
    measured = [cell | {"clips": 0} for cell in cells("fsdd", {"dfq + frami": [0.1]})]
    lines = page([*measured, *cells("fsdd", {"frami + frami": [0.9]})], tmp_path / "page.md")
    assert "| `dfq` | – | 10.0 † |" in lines and "| `frami` | – | 90.0 |" in lines
    assert sum(line.startswith("† No clip") for line in lines) == 2
    seeds = cells("fsdd", {row.name: [0.9] * 3 for row in ROWS if row.name != "dfq + frami"})
    assert not any("Still open" in line for line in page([*measured, *seeds], tmp_path / "page.md")), "once is enough"
    mixed = [*measured, *cells("fsdd", {"dfq + frami": [0.3, 0.3]})[1:]]
    assert not any(line.startswith("†") for line in page(mixed, tmp_path / "page.md"))
    short = page([*measured, *seeds[1:-1]], tmp_path / "page.md")
    assert f"Still open: 2 of 3 seeds of `{ROWS[0].name}`, `{ROWS[-1].name}`." in short, "the others have all of theirs"


def test_what_hidden_states_are_worth_is_said_of_students_that_have_learnt(tmp_path):
    """One that saw no clip has gained nothing by its objective."""
    measured = cells("fsdd", {"cmi + frami": [0.8], "cmi + logits": [0.6], "dfq + frami": [0.2]})
    idle = [cell | {"clips": 0} for cell in cells("fsdd", {"dfq + logits": [0.1]})]
    lines = page([*measured, *idle], tmp_path / "page.md")
    assert next(line for line in lines if line.startswith("Objective `frami`")).endswith("`cmi` +20.0; mean +20.0.")
    (still,) = (line for line in lines if line.startswith("Still open"))
    banks = sum(row.source == "bank" for row in ROWS)
    assert still == f"Still open: no run yet of the other {len(ROWS) - banks - 4} rows; 1 of 3 seeds."
    full = {row.name: [0.5] * 3 for row in ROWS if row.source != "bank"}
    assert not any("Still open" in line for line in page(cells("fsdd", full), tmp_path / "page.md"))
    some = page(cells("fsdd", full | {"bank of cmi, frami": [0.5] * 3}), tmp_path / "page.md")
    assert any("no run yet of `bank of frami, logits`" in line for line in some), "where there are ready banks"
    assert "| *ready bank of `cmi`* | – | 50.0 ± 0.0 |" in some
