"""What README says is what the repository holds."""

import re
from pathlib import Path

from frami import checkpoints
from frami.cli import _parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_first_commands_are_demo_and_test():
    commands = re.findall(r"^(make \w+|frami [\w-]+)", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]


def test_the_teachers_table_is_that_of_the_cards():
    for card in checkpoints.bundled("teacher"):
        row = next(line for line in README.splitlines() if line.startswith(f"| `{card.name}`"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == card.title
        assert cells[2] == f"{card.parameters / 1e6:.2f} M"
        assert cells[3] == ", ".join(card.split["train"])
        assert cells[4] == ", ".join(card.split["test"])
        assert cells[5] == f"{card.accuracy:.1%} of {card.clips}"


def test_the_students_table_is_that_of_the_cards():
    """Each is there, made without data, and about as good as its teacher."""
    cards = {card.name: card for card in checkpoints.bundled("student")}
    teachers = {card.name: card for card in checkpoints.bundled("teacher")}
    assert {card.teacher for card in cards.values()} == set(teachers)
    for name, card in cards.items():
        row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        own = teachers[card.teacher]
        assert card.training["source"] == "made" and card.parameters * 7 < own.parameters
        assert cells[1] == f"{card.training['made_clips']:,}"
        assert cells[2] == f"{card.accuracy:.1%} of {card.clips}"
        assert cells[3] == f"{own.accuracy:.1%}"
        assert card.accuracy > own.accuracy - 0.05


def test_every_command_of_the_readme_exists():
    parser = _parser()
    for line in re.findall(r"^frami (.+)$", README, re.MULTILINE):
        parser.parse_args(line.split())


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_space_front_matter_names_the_pinned_gradio():
    version = re.search(r"sdk_version: (\S+)", README)[1]
    assert f"gradio=={version}\n" in (ROOT / "requirements.txt").read_text()
    assert (ROOT / re.search(r"app_file: (\S+)", README)[1]).exists()


def test_repository_stays_small():
    files = [p for folder in ("checkpoints", "assets") for p in (ROOT / folder).rglob("*") if p.is_file()]
    sizes = [p.stat().st_size for p in files]
    assert max(sizes) < 10e6 and sum(sizes) < 60e6
