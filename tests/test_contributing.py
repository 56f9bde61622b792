"""The examples of CONTRIBUTING work: each is followed to the letter in a copy of the package, its commands are run."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^### Adding an? (.+?)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))

#: What is to be seen of each afterwards, without naming it anywhere else.
SEEN = {
    "recipe": """
from frami.studio.services import offers
assert ("Toy", "toy") in offers.choices()
""",
    "objective": """
from frami.runs import Runs
from frami.studio.services import distillations
assert ("Toy", "toy") in distillations.objectives()
(run,) = Runs().list()
assert run.settings["objective"] == "toy" and "squared" in Runs().metrics(run.id)
""",
    "data set": """
from frami import checkpoints
card = checkpoints.load("toy-teacher").card
assert (card.title, card.classes, card.training["epochs"]) == ("Toy", ("low", "high"), 8) and card.accuracy > 0.7
""",
    "teacher architecture": """
from frami import checkpoints
assert checkpoints.load("toy-teacher").card.model == {"architecture": "toy", "classes": 10, "n_mels": 80, "width": 8}
assert checkpoints.load("toy-student/student").card.model["architecture"] == "toy"
""",
    "tab": """
from frami.studio import build
demo = build()
parts = {part["props"].get("elem_id"): part["id"] for part in demo.config["components"]}
assert "toy-tab" in parts and "It knows zero, one" in demo.blocks[parts["toy-classes"]].value
assert any(parts["toy-classes"] in event["outputs"] for event in demo.config["dependencies"]), "follows the teacher"
demo.end_runs()
import gradio.component_meta
from frami.studio import stubs
assert gradio.component_meta.create_or_modify_pyi is stubs.write_nothing, "the studio starts without files for editors"
""",
    "vocoder": """
import soundfile
from frami import banks
from frami.studio.services import offers
bank = banks.load("toy-clips")
assert bank.manifest["vocoder"] == "toy" and "toy" in offers.VOCODERS
assert all(abs(soundfile.read(bank.sound(k))[0]).max() > 0.01 for k in range(4))
""",
}

#: Runs the commands of a file in one process, which saves the time to load torch, then looks at what came of them.
RUN = """
import runpy, shlex, sys
from frami.cli import main
for line in open("commands"):
    program, *words = shlex.split(line)
    if program == "python":
        runpy.run_path(words[0])
    else:
        assert main(words) == 0, line
exec(open("seen").read())
"""


def test_all_examples_are_here():
    assert set(SECTIONS) == set(SEEN)


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_an_example_works_as_it_stands(name, tmp_path, make_tree):
    folder = tmp_path / "frami-studio"
    shutil.copytree(ROOT / "frami", folder / "frami", ignore=shutil.ignore_patterns("__pycache__"))
    for other in ("app.py", "assets", "checkpoints", "pyproject.toml"):
        (folder / other).symlink_to(ROOT / other)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", SECTIONS[name], re.MULTILINE | re.DOTALL)
    for language, code in blocks:
        if language == "python":
            put(folder, *code.split("\n", 1))
    recordings = make_tree("fsdd", tmp_path / "recordings")
    commands = [line for language, code in blocks if language == "bash" for line in code.splitlines()]
    commands = [line.replace("FOLDER", str(recordings)) for line in commands if line != "make demo"]
    (folder / "commands").write_text("\n".join(commands))
    (folder / "seen").write_text(SEEN[name])
    place = {"PYTHONPATH": str(folder), "FRAMI_HOME": str(tmp_path / "home"), "FRAMI_DATA": ""}
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=folder, env=os.environ | place, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def put(folder: Path, where: str, code: str) -> None:
    """Write a block of code where its first line says."""
    new = re.fullmatch(r"# New file: (\S+)", where)
    if new:
        assert not (folder / new[1]).exists()
        (folder / new[1]).write_text(code)
        return
    file, place = re.fullmatch(r"# (\S+), (above \w+|a row of \w+|among the imports)", where).groups()
    text = (folder / file).read_text()
    parts = ast.parse(text).body
    if place == "among the imports":
        at = start(text, next(part for part in parts if isinstance(part, ast.ImportFrom)))
    else:
        variable = place.split()[-1]
        (part,) = (part for part in parts if variable in assigned(part))
        at = start(text, part) if place.startswith("above") else end(text, rows(part.value)) - 1
        if place.startswith("above"):
            code += "\n\n"
        else:
            code = f"{'' if text[:at].rstrip().endswith((',', '(', '{')) else ','}\n{code.rstrip()},\n"
    (folder / file).write_text(text[:at] + code + text[at:])


def assigned(part: ast.stmt) -> list[str]:
    """Names that a statement of a module assigns to."""
    targets = part.targets if isinstance(part, ast.Assign) else [part.target] if isinstance(part, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def rows(value: ast.expr) -> ast.expr:
    """The literal that holds the rows of a table."""
    return value.generators[0].iter if isinstance(value, ast.DictComp) else value


def start(text: str, part: ast.AST) -> int:
    """Offset of the line on which a part begins, its comments included."""
    lines = text.splitlines(keepends=True)
    line = part.lineno - 1
    while lines[line - 1].startswith("#"):
        line -= 1
    return len("".join(lines[:line]))


def end(text: str, part: ast.AST) -> int:
    """Offset behind a part."""
    lines = text.splitlines(keepends=True)
    return len("".join(lines[: part.end_lineno - 1])) + len(
        lines[part.end_lineno - 1].encode()[: part.end_col_offset].decode()
    )
