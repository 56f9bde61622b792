"""README is short, and what it says is what the repository holds."""

import json
import re
from pathlib import Path

from frami.bench import strangers

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def test_the_first_commands_are_demo_and_test():
    commands = re.findall(r"^(make \w+|frami [\w-]+)", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]


def test_it_is_read_in_three_minutes():
    """At a usual reading speed of prose, its code and links included."""
    assert len(README.splitlines()) <= 160 and len(README.split()) <= 1200
    assert len(re.findall(r"^\|(?:---\|)+$", README, re.MULTILINE)) == 3, "two of results, one of where things are"


def test_its_results_are_those_of_the_page():
    """The row of each method, as measured at two minutes of one core."""
    page = (ROOT / "docs" / "results" / "distillation.md").read_text()
    sections = re.split(r"^## (\w+): .+ held out$", page, flags=re.MULTILINE)
    found = {
        name: {c[0]: c[1] for c in map(cells, re.findall(r"^\| `.+$", text, re.MULTILINE))}
        | {"*teacher*": re.search(r"Teacher ([\d.]+)%", text)[1]}
        for name, text in zip(sections[1::2], sections[2::2], strict=True)
        if "120 s a run" in text
    }
    shown = README[README.index("| row |") :]
    rows = [cells(row) for row in shown[: shown.index("\n\n")].splitlines()[2:]]
    assert len(rows) == 7
    for name, *figures in rows:
        assert figures == [found[data][name] for data in ("fsdd", "esc10", "urbansound8k")], name


def test_what_strangers_get_is_that_of_the_page():
    """Every digits' network on every corpus, as measured last; the bundled ones are all there."""
    measured = json.loads((ROOT / "docs" / "results" / "strangers.json").read_text())
    cells = {(cell["checkpoint"], cell["dataset"]): cell for cell in measured["cells"]}
    shown = re.findall(r"^\| `([\w-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", README, re.MULTILINE)
    rows = {name: columns for name, *columns in shown if (name, "fsdd") in cells}
    assert list(rows) == [row["name"] for row in measured["networks"]] == strangers.networks()
    for name, columns in rows.items():
        for dataset, text in zip(("fsdd", "audiomnist", "speechcommands-digits"), columns, strict=True):
            cell = cells[name, dataset]
            assert text == f"{cell['accuracy']:.1%} of {cell['clips']}, {cell['speakers']}", (name, dataset)


def test_space_front_matter_names_the_pinned_gradio():
    version = re.search(r"sdk_version: (\S+)", README)[1]
    assert README.startswith("---\n") and f"gradio=={version}\n" in (ROOT / "requirements.txt").read_text()
    assert (ROOT / re.search(r"app_file: (\S+)", README)[1]).exists()


def test_repository_stays_small():
    files = [p for folder in ("checkpoints", "assets") for p in (ROOT / folder).rglob("*") if p.is_file()]
    sizes = [p.stat().st_size for p in files]
    assert max(sizes) < 10e6 and sum(sizes) < 80e6
