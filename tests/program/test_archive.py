"""Programs are read as data: the same numbers as the module gives, and nothing of a file is run."""

import io
import json
import zipfile
from collections.abc import Callable

import pytest
import torch

from frami.program import archive
from frami.program.program import Graph, Node, Program, ProgramError
from tests.helpers.networks import KINDS, clip, network

RELU = b"torch.ops.aten.relu_.default"
nn_norm = torch.nn.modules.batchnorm._BatchNorm


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {kind: archive.exported(network(kind), clip(kind, 2)) for kind in KINDS}


@pytest.fixture(scope="module")
def written() -> bytes:
    """A .pt2 file."""
    content = io.BytesIO()
    torch.export.save(torch.export.export(network("bands"), (clip("bands", 2),)), content)
    return content.getvalue()


def changed(content: bytes, ending: str, change: Callable[[bytes], bytes]) -> bytes:
    """A .pt2 file with one of its entries changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        found = [name for name in old.namelist() if name.endswith(ending)]
        assert len(found) == 1, old.namelist()
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == found[0] else old.read(name))
    return made.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_computes_what_the_module_does(programs, kind):
    module, graph = network(kind), Graph(programs[kind])
    for clips, frames in [(2, 64)] if kind in ("flat", "patches") else [(2, 64), (3, 50), (1, 97)]:
        x = clip(kind, clips, frames, seed=1)
        found, expected = graph(x.clone()), module(x.clone())
        found, expected = (y if isinstance(y, dict) else {"": y} for y in (found, expected))
        assert list(found) == list(expected)
        for key in expected:
            torch.testing.assert_close(found[key], expected[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_is_text_and_tensors(programs, kind):
    program = programs[kind]
    text = json.dumps(program.to_dict())
    again = Program.from_dict(json.loads(text), Graph(program).tensors.state_dict())
    x = clip(kind, 2)
    first, second = (Graph(p)(x.clone()) for p in (program, again))
    first, second = (y if isinstance(y, dict) else {"": y} for y in (first, second))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("kind", ["bands", "attentive", "recurrent", "flat"])
def test_batch_norms_of_a_program_are_modules(programs, kind):
    norms = [type(m) for m in network(kind).modules() if isinstance(m, nn_norm)]
    found = [m for m in Graph(programs[kind]).modules() if isinstance(m, nn_norm)]
    assert len(found) == len(norms) > 0
    assert not [m for m in found if m.running_mean is None]


def test_text_of_a_file_is_never_evaluated(written, tmp_path):
    """torch's own loader evaluates the text of symbolic sizes; this one does not look at it."""
    trap = tmp_path / "trap"
    hostile = {"as_expr": {"expr_str": f"__import__('pathlib').Path({str(trap)!r}).touch()", "hint": {"as_int": 2}}}

    def change(content: bytes) -> bytes:
        values = json.loads(content)
        for about in values["graph_module"]["graph"]["tensor_values"].values():
            about["sizes"] = [hostile, *about["sizes"][1:]]
        return json.dumps(values).encode()

    program = archive.read(changed(written, "models/model.json", change))
    assert Graph(program)(clip("bands", 2)) and not trap.exists()


def test_pickled_entries_are_refused(written):
    def pickled(content: bytes) -> bytes:
        values = json.loads(content)
        next(iter(values["config"].values()))["use_pickle"] = True
        return json.dumps(values).encode()

    with pytest.raises(ProgramError, match="pickled"):
        archive.read(changed(written, "model_weights_config.json", pickled))


def test_sample_inputs_are_never_opened(written):
    assert archive.read(changed(written, "sample_inputs/model.pt", lambda _: b"not a file of torch's"))


@pytest.mark.parametrize(
    ("ending", "change", "said"),
    [
        ("weights/weight_0", lambda content: content[:16], "fewer numbers"),
        ("models/model.json", lambda _: b"{}", "KeyError"),
        ("models/model.json", lambda _: b"{", "JSON"),
        ("models/model.json", lambda content: content.replace(RELU, b"torch.ops.aten.from_file.default"), "from_file"),
        ("models/model.json", lambda content: content.replace(RELU, b"os.system"), "os.system"),
    ],
    ids=["short weight", "empty graph", "cut graph", "reads a file", "runs a command"],
)  # fmt: skip
def test_damaged_files_are_refused(written, ending, change, said):
    with pytest.raises(ProgramError, match=said):
        Graph(archive.read(changed(written, ending, change)))


def test_what_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "some.pt2"
    with pytest.raises(ProgramError, match=r"some\.pt2"):
        archive.read(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ProgramError, match=r"torch\.export\.save"):
        archive.read(path)


@pytest.mark.parametrize(
    "node",
    [
        Node("aten.zeros.default", {"size": [10**6, 10**6]}, "y"),
        Node("aten.repeat.default", {"self": {"ref": "x"}, "repeats": [10**6, 10**6]}, "y"),
        Node("aten.arange.default", {"end": 10**12}, "y"),
    ],
    ids=lambda node: node.operation,
)
def test_no_program_makes_huge_tensors(node):
    with pytest.raises(ProgramError, match="larger"):
        Graph(Program("x", [node], {"": "y"}, {}, {}))(torch.zeros(2, 2))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"input": "x", "nodes": [["aten.relu.default", {"self": {"ref": "z"}}, "y"]], "outputs": {}, "names": {}},
        {"input": "x", "nodes": [], "outputs": {"": "y"}, "names": {}},
        {"input": "x", "nodes": [["aten.relu.default", [], "y"]], "outputs": {"": "y"}, "names": {"p": "missing"}},
        {"input": "x", "nodes": [["builtins.eval", {"0": "1"}, "y"]], "outputs": {"": "y"}, "names": {}},
        {"input": "x", "nodes": "aten", "outputs": [], "names": 3},
    ],
)  # fmt: skip
def test_stored_programs_are_checked(values):
    with pytest.raises(ProgramError):
        Program.from_dict(values, {})
