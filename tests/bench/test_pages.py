"""The pages of docs/results are what the figures beside them make."""

import shutil
from pathlib import Path

import pytest

from frami import files
from frami.bench import pages, strangers, vocoder
from tests.helpers.cli import run

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("command", "page"),
    [
        (["distillation"], "distillation"),
        (["distillation"], "distillation-fitted"),
        (["distillation"], "distillation-unfitted"),
        (["distillation"], "distillation-warm"),
        (["time-to-agreement"], "time-to-agreement"),
        (["time-to-agreement"], "time-to-agreement-unfitted"),
        (["diversity", "--batch", 64], "diversity"),
    ],
)
def test_a_page_is_made_of_its_figures(capsys, tmp_path, command, page):
    shutil.copy(DOCS / "results" / f"{page}.json", tmp_path)
    out = tmp_path / f"{page}.md"
    assert run(capsys, "bench", *command, "--page", "--out", out)[0] == 0
    assert out.read_text() == (DOCS / "results" / out.name).read_text()
    assert all((DOCS / "results" / picture.name).exists() for picture in tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", ["vocoder", "vocoder-rounds"])
def test_a_page_of_vocoders_is_made_of_its_figures(name):
    path = DOCS / "results" / f"{name}.md"
    command = next(line.strip() for line in path.read_text().splitlines() if line.startswith("    frami"))
    assert path.read_text().splitlines() == vocoder.page(files.read_json(path.with_suffix(".json")), command)


def test_the_page_of_strangers_is_made_of_its_figures():
    path = DOCS / "results" / "strangers.md"
    command = next(line.strip() for line in path.read_text().splitlines() if line.startswith("    frami"))
    assert path.read_text().splitlines() == strangers.page(files.read_json(path.with_suffix(".json")), command)


def test_tables_elsewhere_are_those_of_the_page():
    """Tables of students that the results show are on the pages, whole."""
    pages_of = [path.read_text() for path in (DOCS / "results").glob("distillation*.md")]
    shown = (DOCS / "results.md").read_text().splitlines()
    starts = [k for k, line in enumerate(shown) if line.startswith("| row |")]
    assert len(starts) >= 3
    for start in starts:
        table = "\n".join(shown[start : shown.index("", start)])
        assert any(f"{table}\n\n" in text for text in pages_of), table


def test_a_name_does_not_end_its_cell():
    assert pages.table(["fold"], [["a|b\nc"], ["plain"]])[-2:] == ["| a\\|b c |", "| plain |"]
