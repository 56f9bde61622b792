"""The pages of docs say what the program does: commands exist, links lead somewhere, tables are those of the code, and
figures those of the measurements."""

import argparse
import functools
import importlib.util
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import frami
from frami import checkpoints, distill, inversion, teachers
from frami.cli import COMMANDS, _parser
from frami.data.catalogue import DATASETS
from frami.distill import OBJECTIVES
from frami.files import FORMER_KEYS, read_json
from frami.inversion import RECIPES, TERMS
from frami.mel import MelSpec
from frami.models import ARCHITECTURES
from frami.presets import PRESETS
from frami.runs.store import FORMER_CURVES
from frami.vocoder import VOCODERS
from tests.helpers.own import make_folder

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [page for page in PAGES if page.exists()] + sorted((ROOT / "docs").glob("*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def table(text: str, head: str) -> dict[str, list[str]]:
    """Rows of the table that begins with this line, by their first cell without its marks."""
    lines = text[text.index(head) :].splitlines()
    end = next((k for k, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return {row[0].strip("*`"): row[1:] for row in map(cells, lines[2:end])}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


# --- commands --------------------------------------------------------------------------------------------------------


def leaves(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> list[str]:
    """All commands below one, as ``runs list``."""
    groups = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    below = groups[0].items() if groups else ()
    return [leaf for name, sub in below for leaf in leaves(sub, (*path, name))] or [" ".join(path)]


LEAVES = [
    leaf for name in COMMANDS for leaf in leaves(_parser([name])._subparsers._group_actions[0].choices[name], (name,))
]


@each_page
def test_every_command_exists(page):
    text = page.read_text()
    lines = re.findall(r"^frami (.+)$", "\n".join(blocks(text, "bash")), re.MULTILINE)
    lines += [line for line in re.findall(r"`frami ([^`]+)`", text) if " --" in line]
    for line in lines:
        if "--help" not in line:
            words = shlex.split(line, comments=True)
            _parser(words).parse_args(words)
    for name in re.findall(r"`frami ([a-z -]+)`", text):
        assert any(f"{one} ".startswith(f"{two} ") for c in LEAVES for one, two in ((c, name), (name, c))), name


def test_every_command_has_an_example():
    shown = "\n".join(blocks(text_of("command-line.md"), "bash"))
    for name in LEAVES:
        assert re.search(rf"^frami {name}( |$)", shown, re.MULTILINE), name


# --- links and code --------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@each_page
def test_python_code_compiles(page):
    for code in blocks(page.read_text(), "python"):
        row = " a row of " in code.splitlines()[0]
        compile(f"{{{code}\n}}" if row else code, page.name, "exec")


@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md", "docs/teachers.md"])
def test_python_examples_run(page, monkeypatch, tmp_path):
    """As they stand but for the numbers of clips and steps, beside a folder of made sounds and the page's front-end."""
    few = {"samples": 2, "steps": 2, "every": 1}
    for text in blocks((ROOT / page).read_text(), "json"):
        (tmp_path / "my-front-end.json").write_text(text)
    make_folder(tmp_path / "my-sounds", {"low": 5, "high": 5})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(teachers, "train_teacher", functools.partial(teachers.train_teacher, size="nano", epochs=1))
    monkeypatch.setattr(inversion, "invert", quick(inversion.invert, few))
    monkeypatch.setattr(distill, "distill", quick(distill.distill, {}))
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    names = {"my_network": network, "model": network, "log_mels": torch.zeros(2, 1, 80, 50)}
    codes = [code for code in blocks((ROOT / page).read_text(), "python") if "onnxruntime" not in code]
    assert codes
    for code in codes:
        exec(code, names)
    assert len(names["state"].clips.mels) == 2 if page != "docs/teachers.md" else names["state"].finished


def quick(work, few: dict):
    """``invert`` or ``distill`` with less to do."""

    @functools.wraps(work)
    def less(teacher, *args, **given):
        args = [
            replace(arg, budget=None, rounds=1, clips=4, steps=2, batch=2) if isinstance(arg, distill.Settings) else arg
            for arg in args
        ]
        return work(teacher, *args, **(given | few))

    return less


# --- tables of the code ----------------------------------------------------------------------------------------------


def test_method_lists_every_recipe():
    text = text_of("method.md")
    rows = table(text, "| recipe | from | steps | weights |")
    assert list(rows) == [name for name, row in RECIPES.items() if not row.ablation]
    for name, (_, steps, weights) in rows.items():
        shown = {term: float(value) for term, value in (pair.split() for pair in weights.split(", "))}
        assert (int(steps.replace(",", "")), shown) == (RECIPES[name].steps, RECIPES[name].weights), name
    assert all(f"`{name}`" in text for name in RECIPES)
    assert list(table(text, "| term | what it asks for |")) == list(TERMS)


def test_method_lists_every_objective():
    rows = table(text_of("method.md"), "| objective | KD loss")
    assert set(rows) == set(OBJECTIVES)
    for name, row in OBJECTIVES.items():
        marked = {loss for loss, mark in zip(("kd", "before", "after"), rows[name], strict=False) if mark}
        assert marked == set(row.losses) - {"attention"} and ("reused" in rows[name][-1]) == row.reuse, name


def test_data_sets_and_vocoders_are_those_of_the_code():
    rows = table(text_of("teachers.md"), "| data set | title |")
    assert {name: (row[0], row[2]) for name, row in rows.items()} == {
        name: (info.title, info.licence) for name, info in DATASETS.items()
    }
    assert set(VOCODERS) == {name.split("`")[0] for name in table(text_of("vocoder.md"), "| `--vocoder` |")} - {
        "a path of "
    }


def test_front_ends_are_those_of_the_code():
    rows = table(text_of("teachers.md"), "| `MelSpec.preset` |")
    assert list(rows) == list(PRESETS)
    for name, (_, rate, bands, sizes, _) in rows.items():
        spec = MelSpec.preset(name)
        window, hop, fft = (int(size.split()[0]) for size in sizes.split(","))
        assert rate == f"{spec.sample_rate:,} Hz" and (window, hop, fft) == (spec.length, spec.hop_length, spec.n_fft)
        kind, span = bands.split(", ", 1)
        assert (
            kind.lower() == f"{spec.n_mels} {spec.mel_scale}" and span == f"{spec.f_min:,.0f} to {spec.f_max:,.0f} Hz"
        )


def test_architectures_are_those_of_the_code():
    rows = table(text_of("teachers.md"), "| `--architecture` |")
    assert {name.split("`")[0]: row[-1] for name, row in rows.items()} == {
        name: ", ".join(f"`{size}`" for size in row.sizes) for name, row in ARCHITECTURES.items()
    }


def test_changelog_names_every_former_key():
    rows = [cells(row) for row in re.findall(r"^\| `.+$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)]
    listed = dict(
        pair for old, new, *_ in rows for pair in zip(*(re.findall(r"`([^`]+)`", c) for c in (old, new)), strict=False)
    )
    renamed = FORMER_KEYS | FORMER_CURVES
    assert {old: listed.get(old) for old in renamed} == renamed


def test_every_test_that_holds_a_promise_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text_of("reliability.md"))
    assert len(named) > 10
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


# --- figures ---------------------------------------------------------------------------------------------------------


def test_the_teachers_table_is_that_of_the_cards():
    rows = table(text_of("results.md"), "| name | data |")
    assert set(rows) == {card.name for card in checkpoints.bundled("teacher")}
    for card in checkpoints.bundled("teacher"):
        assert rows[card.name] == [
            card.title,
            f"{card.parameters / 1e6:.2f} M",
            ", ".join(card.split["train"]),
            ", ".join(card.split["test"]),
            f"{card.accuracy:.1%} of {card.clips}",
        ]


def test_the_students_table_is_that_of_the_cards():
    """Each is there, made without data, and about as good as its teacher."""
    rows = table(text_of("results.md"), "| student | made clips |")
    cards = {card.name: card for card in checkpoints.bundled("student")}
    teachers = {card.name: card for card in checkpoints.bundled("teacher")}
    assert {card.teacher for card in cards.values()} == set(teachers) and set(rows) == set(cards)
    for name, card in cards.items():
        own = teachers[card.teacher]
        assert card.training["source"] in ("made", "bank") and card.parameters * 7 < own.parameters
        shown = [f"{card.training['made_clips']:,}", f"{card.accuracy:.1%} of {card.clips}", f"{own.accuracy:.1%}"]
        assert rows[name][:3] == shown and card.accuracy > own.accuracy - 0.05


def test_the_table_of_diversity_is_that_of_the_page():
    page, own = text_of("results/diversity.md"), table(text_of("results.md"), "| recipe | digits: coverage")
    assert len(own) == 11
    for place, name in enumerate(("fsdd", "esc10", "urbansound8k")):
        measured = table(page[page.index(f"## {name}") :], "| recipe | coverage")
        for row, shown in own.items():
            values = measured[row.removeprefix("as many ")]
            assert shown[place] == f"{values[0].split()[0]}, {values[3].split()[0]}", (name, row)


def test_the_table_of_judges_is_that_of_the_maps():
    own = table(text_of("results.md"), "| clips by |")
    head = next(line for line in text_of("results.md").splitlines() if line.startswith("| clips by |"))
    keys = {"frami-fine": "frami", "cmi": "cmi", "dafl": "dafl", "real training clips": "real"}
    assert set(own) == set(keys)
    for place, name in enumerate(cell.strip("`") for cell in cells(head)[1:]):
        found = read_json(ROOT / "assets" / "explore" / name / "map.json")["measures"]
        rows = {row["key"]: row for row in (*found["rows"], found["reference"])}
        for title, shown in own.items():
            row = rows[keys[title]]
            figures = f"{100 * row['judge_accuracy']:.0f}%, {row['judge_coverage']:.2f}, {row['judge_kad']:.1f}"
            assert shown[place] == figures, (name, title)


def test_the_table_of_vocoders_is_that_of_the_page():
    page, own = text_of("results/vocoder.md"), table(text_of("results.md"), "| vocoder | digits")
    measured = [
        table(page[page.index(f"## {name}") :], "| vocoder | STFT") for name in ("fsdd", "esc10", "urbansound8k")
    ]
    assert len(own) == 5
    for row, shown in own.items():
        kind, rounds = re.match(r"([\w-]+)\D*(\d*)", row).groups()
        values = [rows[f"{kind}:{rounds or 32}"] for rows in measured]
        assert [cell.replace("*", "") for cell in shown[:3]] == [f"{v[0]}, {v[1]}".replace("*", "") for v in values], (
            row
        )
        times = sorted({f"{float(v[3].strip('*')):.2f}" for v in values})
        assert shown[3] == "–".join(dict.fromkeys((times[0], times[-1]))) + " s", row


# --- the reference of modules ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_reference_is_of_all_modules(tmp_path, recwarn):
    spec = importlib.util.spec_from_file_location("docs_api", ROOT / "docs" / "api.py")
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    modules = api.write(tmp_path)
    assert not [str(w.message) for w in recwarn if "pdoc" in w.filename]
    files = (ROOT / "frami").rglob("*.py")
    assert len(modules) == len([file for file in files if file.name != "__main__.py"])
    for name in modules[1:]:
        above = tmp_path / f"{name.rpartition('.')[0].replace('.', '/')}.html"
        assert f"{name.rpartition('.')[2]}.html" in above.read_text(), f"{name} is not to be found from the page above"
    page = (tmp_path / "frami" / "models.html").read_text()
    assert "<br" in page[page.index("What a classifier computes") :][:400], "a line for each field"


# --- citation --------------------------------------------------------------------------------------------------------


def test_citation_is_of_this_version():
    """``cffconvert --validate`` holds the rest."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited) and cited["version"] == frami.__version__
    paper = cited["references"][0]
    names = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    readme = (ROOT / "README.md").read_text()
    assert names in readme and paper["title"] in readme and cited["license"] == "Apache-2.0"
