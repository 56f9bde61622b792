"""The texts of the program's source, as a test reads them."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "frami"


def trees(*without: str) -> Iterator[tuple[str, ast.AST]]:
    """Name and syntax tree of each module of the package, but for these folders."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.partition("/")[0] not in without:
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def raised(tree: ast.AST) -> Iterator[str]:
    """Each text that is raised or returned as a reason; ``x`` stands for what is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args:
                yield from _texts(argument)


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)
