"""Imports flow one way, heavy libraries come when they are needed, and files stay short."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "frami"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
BELOW_STUDIO = [path for path in FILES if "studio" not in path.relative_to(PACKAGE).parts]

#: Libraries that take seconds to import or belong to the interface or the tests.
HEAVY = ("gradio", "librosa", "umap", "matplotlib")

#: For each contract of pyproject.toml a file of frami and a line in it that breaks the contract.
VIOLATIONS = {
    "Imports flow one way": ("audio.py", "from frami import checkpoints"),
    "Parts of a package have no circle": ("data/catalogue.py", "from . import recordings"),
    "Inversion needs no recordings": ("inversion/generator.py", "from ..data import load"),
    "Mathematics needs neither files nor devices": ("inversion/losses.py", "from frami import device"),
    "Only the pages of the studio know Gradio": ("cli/teachers.py", "import gradio as gr"),
    "Services of the studio know no page": (
        "studio/services/page_values.py",
        "from frami.studio.components import theme",
    ),
    "Reading a file runs no code": ("files.py", "from pickle import loads"),
}


def fresh_python(code: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """Code run by a Python of its own, in a folder whose packages come first."""
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def check_contracts(folder: Path) -> tuple[str, dict[str, str]]:
    """What import-linter reports, and KEPT or BROKEN for each contract of the pyproject.toml in this folder."""
    done = fresh_python("from importlinter.cli import lint_imports; lint_imports(no_cache=True, no_logo=True)", folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", done.stdout, re.M))


def test_the_contracts_of_imports_are_kept():
    report, contracts = check_contracts(ROOT)
    assert contracts == dict.fromkeys(VIOLATIONS, "KEPT"), report


def test_each_contract_sees_a_violation(tmp_path):
    """A contract that sees no import would be kept for ever; one within a function counts as well."""
    shutil.copytree(PACKAGE, tmp_path / "frami", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in VIOLATIONS.values():
        with (tmp_path / "frami" / file).open("a", encoding="utf-8") as source:
            source.write(f"\n\ndef seeded():\n    {line}\n")
    report, contracts = check_contracts(tmp_path)
    assert contracts == dict.fromkeys(VIOLATIONS, "BROKEN"), report


def test_each_contract_has_a_violation_to_see():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [contract["name"] for contract in contracts] == list(VIOLATIONS)


@pytest.mark.parametrize("name", ["cli", "data,train,teachers,features.embeddings,checkpoints,vocoder,inversion"])
def test_heavy_libraries_come_when_they_are_needed(name):
    names = ", ".join(f"frami.{part}" for part in name.split(","))
    done = fresh_python(f"import {names}, sys; print(*[m for m in {HEAVY!r} if m in sys.modules])")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_importing_the_package_does_nothing():
    """Importing every part below the studio makes no folder, prints nothing and loads no interface."""
    paths = [path.relative_to(ROOT).with_suffix("") for path in BELOW_STUDIO if path.stem != "__main__"]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    done = fresh_python(
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint('gradio' in sys.modules)"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imported(path: Path) -> frozenset[str]:
    """Names that a file imports, anywhere in it (``from a import b`` is ``a.b``); relative ones begin with a dot."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return frozenset(names)


def test_the_studio_does_no_mathematics():
    """Of another library import-linter sees the name only, not which part of it comes."""
    for path in set(FILES) - set(BELOW_STUDIO):
        assert not any(name.startswith(("torch.nn", "torch.optim")) for name in imported(path)), path


def test_weights_are_read_without_running_code():
    """``torch.load`` takes weights only; nothing else that unpickles or evaluates is called."""
    for path in FILES:
        for call in (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)):
            name, given = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
            if name == "torch.load":
                assert given.get("weights_only") == "True", f"{path}:{call.lineno}"
            assert given.get("allow_pickle", "False") == "False", f"{path}:{call.lineno}"
            assert name not in {"eval", "exec", "torch.hub.load", "torch.jit.load"}, f"{path}:{call.lineno}"
        assert "torch.load" not in imported(path), f"{path} imports torch.load by name: not seen here"


def test_no_star_imports():
    for path in FILES:
        assert not any(name.endswith(".*") for name in imported(path)), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_and_say_what_they_are(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450
    assert ast.get_docstring(tree(path)), "a file begins with a docstring"
