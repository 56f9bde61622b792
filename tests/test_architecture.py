"""Imports flow one way, heavy libraries come when they are needed, and files stay short."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "frami"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
BELOW_STUDIO = [path for path in FILES if "studio" not in path.relative_to(PACKAGE).parts]

#: What these modules may import of frami, at most; where a module does not exist (yet), nothing is asked.
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "paths": set(),
    "data.catalogue": set(),
    "device": {"errors"},
    "audio": {"errors"},
    "models": {"errors", "audio"},
    "data.download": {"errors", "paths", "data.catalogue"},
    "data.recordings": {"errors", "paths", "data.catalogue", "audio"},
    "checkpoints": {"errors", "paths", "audio", "models"},
    "train": {"errors", "device", "audio", "data", "models"},
    "vocoder": {"audio", "vocoder.base", "vocoder.griffin_lim", "vocoder.neural", "vocoder.plugins"},
    "vocoder.plugins": {"audio", "vocoder.base", "vocoder.griffin_lim"},
    "vocoder.base": {"errors", "audio"},
    "vocoder.griffin_lim": {"audio", "vocoder.base"},
    "vocoder.network": {"audio"},
    "vocoder.neural": {"paths", "audio", "vocoder.base", "vocoder.network"},
    "vocoder.losses": {"audio"},
    "vocoder.discriminators": set(),
    "bench.vocoder": {
        "audio",
        "banks",
        "checkpoints",
        "data",
        "vocoder",
        "vocoder.neural",
        "vocoder.losses",
        "vocoder.recordings",
    },
    "distill.objectives": {"models"},
    "distill.augment": {"audio", "models", "inversion.augment"},
    "distill.student": {"errors", "checkpoints", "models", "distill.objectives"},
    "audio_input": {"errors", "audio", "checkpoints"},
    "runs.child": set(),
    "inversion.bn_statistics": {"models"},
    "inversion.losses": {"inversion.bn_statistics"},
    "inversion.augment": {"models"},
    "inversion.feature_bank": set(),
    "inversion.recipes": {"inversion.augment", "errors"},
    "inversion.clips": set(),
    "inversion.generator": {"audio"},
    "adapter": {"errors", "audio", "models", "checkpoints"},
    "features.maps": {
        "files",
        "errors",
        "paths",
        "audio",
        "features.diversity",
        "banks",
        "checkpoints",
        "data",
        "inversion",
        "features.embeddings",
    },
    "features.diversity": {"errors"},
    "runs.store": {"errors", "paths"},
    "evaluation": {"checkpoints", "data", "device", "models", "features.embeddings"},
    "export": {"errors", "paths", "audio", "checkpoints"},
}

#: Libraries that take seconds to import or belong to the interface or the tests.
HEAVY = ("gradio", "librosa", "umap", "matplotlib")


def module(path: Path) -> str:
    """Dotted name below ``frami``; the package itself is ``""``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imported(path: Path) -> frozenset[str]:
    """Dotted names that a file imports, anywhere in it (``from a import b`` is ``a.b``)."""
    names = set()
    here = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(names)


def imports(path: Path, name: str) -> bool:
    """Whether a file imports this module or something of it."""
    return any(f"{other}.".startswith(f"{name}.") for other in imported(path))


def siblings(path: Path) -> set[str]:
    """Modules of frami that a file imports: of each name the longest part that is a module."""
    found = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "frami":
            ends = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
            found |= {next((end for end in ends if end in MODULES), "")}
    return found - {""}


def test_the_parser_sees_imports(tmp_path):
    """A test that sees no import would pass for ever."""
    assert {"errors"} == siblings(MODULES["audio"])
    assert {"audio", "data.catalogue", "errors", "paths"} == siblings(MODULES["data.recordings"])
    assert imports(MODULES["models"], "torch") and not imports(MODULES["models"], "tor")
    assert imports(MODULES["models"], "torch.utils.flop_counter"), "imports within functions count"


@pytest.mark.parametrize("name", [name for name in MAY_IMPORT if name in MODULES])
def test_a_part_imports_only_what_it_needs(name):
    assert siblings(MODULES[name]) <= MAY_IMPORT[name]


def test_imports_have_no_circle():
    open_, done = [], set()

    def visit(name: str) -> None:
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name not in done:
            open_.append(name)
            for other in sorted(siblings(MODULES[name])):
                visit(other)
            done.add(open_.pop())

    for name in MODULES:
        visit(name)


def test_only_the_studio_imports_gradio():
    for path in BELOW_STUDIO:
        assert not imports(path, "gradio"), path
        assert not imports(path, "frami.studio"), path


def test_the_studio_does_no_mathematics():
    for path in set(FILES) - set(BELOW_STUDIO):
        assert not imports(path, "torch.nn") and not imports(path, "torch.optim"), path


def fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["cli", "data,train,teachers,features.embeddings,checkpoints,vocoder,inversion"])
def test_heavy_libraries_come_when_they_are_needed(name):
    names = ", ".join(f"frami.{part}" for part in name.split(","))
    assert fresh_python(f"import {names}, sys; print(*[m for m in {HEAVY!r} if m in sys.modules])") == ""


def test_importing_the_package_does_nothing():
    """Importing every part below the studio makes no folder, prints nothing and loads no interface."""
    names = [f"frami.{name}" for name in MODULES if name and "studio" not in name and name != "__main__"]
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint('gradio' in sys.modules)"
    )
    assert fresh_python(code) == "False"


def calls(path: Path):
    """(dotted name of the function, call) of each call in a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_reading_a_file_runs_no_code():
    """``torch.load`` takes weights only; nothing else that unpickles or evaluates is used."""
    for path in FILES:
        assert not any(imports(path, name) for name in ("pickle", "dill", "cloudpickle", "joblib", "shelve")), path
        for name, call in calls(path):
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
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
