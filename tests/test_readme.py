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
    """The table of students has the heads, and rows, of the first page that its paragraph names."""
    before, rest = README.split("\n| row |", 1)
    shown = ("| row |" + rest[: rest.index("\n\n")]).splitlines()
    named = re.findall(r"\]\((docs/results/[\w-]+\.md)\)", before[before.index("## What comes out") :])
    page = (ROOT / named[0]).read_text().splitlines()
    assert len(shown) >= 7 and [row for row in shown if row not in page] == []


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
    assert README.startswith("---\n") and f"gradio[mcp]=={version}\n" in (ROOT / "requirements.txt").read_text()
    assert (ROOT / re.search(r"app_file: (\S+)", README)[1]).exists()


def test_repository_stays_small():
    files = [p for folder in ("checkpoints", "assets") for p in (ROOT / folder).rglob("*") if p.is_file()]
    sizes = [p.stat().st_size for p in files]
    assert max(sizes) < 10e6 and sum(sizes) < 80e6
