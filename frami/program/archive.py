"""A ``.pt2`` file of ``torch.export`` read as data: its graph and its weights, without torch's own loader.

That loader unpickles some entries and evaluates the text of symbolic sizes, so that a file could run code. Here the
graph is JSON whose operations are looked up in a list, and weights are plain numbers.
"""

import io
import json
import logging
import math
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from frami.program import outputs
from frami.program.operations import CHECKS, base
from frami.program.program import Node, Program, ProgramError

#: Types by the number that the format gives them; bytes of the largest graph that is read.
_TYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_MEMORY = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
_LARGEST_GRAPH = 2**26


def read(source: str | Path | bytes) -> Program:
    """The program of a ``.pt2`` file, or of its bytes. ProgramError says what is wrong with it."""
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            return _program(_Archive(archive))
    except Exception as error:  # whatever a damaged or forged file leads to
        what = "a program" if isinstance(source, bytes) else source
        raise ProgramError(
            f"{what}: not a .pt2 file that torch.export.save wrote ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def exported(model: torch.nn.Module, clip: Tensor, time: int = -1) -> Program:
    """The program of a module that takes ``clip``, with clips and frames, the axis ``time``, as free as its operations
    leave them.

    ProgramError where torch cannot export it.
    """
    auto, problem = torch.export.Dim.AUTO, None
    for free in ({0: auto, time % clip.dim(): auto}, {0: auto}, None):  # some code can be followed for one size only
        content = io.BytesIO()
        try:
            with torch.no_grad(), _quietly():
                model = _plain(model, clip)
                made = torch.export.export(model, (clip,), dynamic_shapes=(free,) if free else None)
            torch.export.save(made, content)
            return read(content.getvalue())
        except Exception as error:  # of many kinds, from every layer of the exporter
            problem = error
    why = " ".join(str(problem).split())[:200] or type(problem).__name__
    raise ProgramError(f"torch.export cannot write this module as a program ({why})") from problem


class _Plain(torch.nn.Module):
    """A module whose answers are in a dict, where they were in an object or a named tuple."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return dict(outputs.tensors(self.module(x)))


def _plain(model: torch.nn.Module, clip: Tensor) -> torch.nn.Module:
    """The module, its answers in a form that an export can hold."""
    return model if type(model(clip.clone())) in (Tensor, tuple, list, dict) else _Plain(model)


@contextmanager
def _quietly():
    """Without the exporter's warnings and log messages."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)


class _Archive:
    """The entries of a file, whatever the name of the folder that holds them."""

    def __init__(self, archive: zipfile.ZipFile):
        self.archive = archive
        names = archive.namelist()
        graphs = [name for name in names if name.endswith(".json") and "/models/" in f"/{name}"]
        if len(graphs) != 1:
            raise ValueError(f"it holds {len(graphs)} graphs, expected one")
        self.graph = graphs[0]
        self.model = Path(self.graph).stem
        self.root = self.graph[: -len(f"models/{self.model}.json")]

    def json(self, name: str) -> dict:
        if self.archive.getinfo(name).file_size > _LARGEST_GRAPH:
            raise ValueError(f"{name} is larger than any graph")
        return json.loads(self.archive.read(name))

    def tensors(self, kind: str) -> dict[str, Tensor]:
        """``weights`` or ``constants`` by their names in the module."""
        folder = f"{self.root}data/{kind}/"
        config = self.json(f"{folder}{self.model}_{kind}_config.json")["config"]
        return {name: self._tensor(folder, name, entry) for name, entry in config.items()}

    def _tensor(self, folder: str, name: str, entry: dict) -> Tensor:
        if entry.get("use_pickle") or not entry.get("tensor_meta"):
            raise ValueError(f"'{name}' is a pickled object, not plain numbers; export the module on a CPU, in float32")
        meta = entry["tensor_meta"]
        if meta["dtype"] not in _TYPES:
            raise ValueError(f"'{name}' is of a type of number that is not read here")
        kind = _TYPES[meta["dtype"]]
        sizes, strides = ([int(n["as_int"]) for n in meta[key]] for key in ("sizes", "strides"))
        offset = int(meta["storage_offset"]["as_int"])
        if min(sizes, default=0) < 0 or min(strides, default=0) < 0 or offset < 0:
            raise ValueError(f"'{name}' has no shape")
        if not math.prod(sizes):
            return torch.zeros(sizes, dtype=kind)
        info = self.archive.getinfo(f"{folder}{entry['path_name']}")
        if info.compress_type != zipfile.ZIP_STORED:  # so that nothing is larger than the file
            raise ValueError(f"'{name}' is compressed, as torch never does")
        content = self.archive.read(info)
        flat = torch.frombuffer(bytearray(content), dtype=kind)
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if last >= len(flat) or math.prod(sizes) > len(flat):
            raise ValueError(f"'{name}' has fewer numbers than its shape says")
        return flat.as_strided(sizes, strides, offset).clone()


def _program(archive: _Archive) -> Program:
    whole = archive.json(archive.graph)["graph_module"]
    graph, signature = whole["graph"], whole["signature"]
    weights, constants = archive.tensors("weights"), archive.tensors("constants")
    inputs, names, tensors = [], {}, {}
    for spec in signature["input_specs"]:
        ((kind, about),) = spec.items()
        if kind == "user_input":
            inputs.append(about["arg"]["as_tensor"]["name"])
            continue
        if kind not in ("parameter", "buffer", "tensor_constant"):
            raise ValueError(f"it takes a {kind.replace('_', ' ')}, which is no tensor")
        own = next(value for key, value in about.items() if key.endswith("_name"))
        names[about["arg"]["name"]] = own
        tensors[own] = weights[own] if own in weights else constants[own]
    if len(inputs) != 1:
        raise ValueError(f"it takes {len(inputs)} tensors, expected one, the log-Mels")
    returned = [
        about["arg"]["as_tensor"]["name"]
        for spec in signature["output_specs"]
        for kind, about in spec.items()
        if kind == "user_output" and "as_tensor" in about["arg"]
    ]
    nodes = [
        Node(_name(node["target"]), {given["name"]: _value(given["arg"]) for given in node["inputs"]}, _outputs(node))
        for node in graph["nodes"]
    ]
    for node in nodes:  # plain Python functions: their arguments go by their places
        if not node.operation.startswith("aten."):
            node.arguments = {str(k): value for k, value in enumerate(node.arguments.values())}
    keys = _keys(whole, len(returned))
    shape = tuple(size.get("as_int") for size in graph["tensor_values"][inputs[0]]["sizes"])
    nodes = [node for node in nodes if base(node.operation) not in CHECKS]
    return Program(inputs[0], nodes, dict(zip(keys, returned, strict=True)), names, tensors, shape)


def _name(target: str) -> str:
    return target.removeprefix("torch.ops.")


def _outputs(node: dict) -> list:
    """Names of what a node gives: one, or a list of them where it gives several; None for what nobody reads."""
    found = [_one(entry) for entry in node["outputs"]]
    return found[0] if len(found) == 1 else found


def _one(entry: dict):
    ((kind, value),) = entry.items()
    if kind == "as_tensors":
        return [tensor["name"] for tensor in value]
    if kind == "as_tensor":
        return value["name"]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return value.get("as_name")
    if kind == "as_none":
        return None
    raise ValueError(f"a result {kind} is not read here")


def _value(entry: dict):
    """An argument: a number, a word, None, a list, or {"ref": NAME}, {"dtype": NAME}, {"memory": NAME}."""
    ((kind, value),) = entry.items()
    if kind == "as_none":
        return None
    if kind in ("as_int", "as_bool", "as_string", "as_ints", "as_bools", "as_floats", "as_strings"):
        return value
    if kind == "as_float":
        return float(value)
    if kind == "as_tensor":
        return {"ref": value["name"]}
    if kind == "as_tensors":
        return [{"ref": tensor["name"]} for tensor in value]
    if kind == "as_optional_tensors":
        return [_value(one) for one in value]
    if kind == "as_optional_tensor":
        return _value(value)
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _symbol(value)
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_symbol(one) for one in value]
    if kind == "as_scalar_type":
        if value not in _TYPES:
            raise ValueError(f"a type of number ({value}) is not read here")
        return {"dtype": str(_TYPES[value]).removeprefix("torch.")}
    if kind == "as_memory_format":
        return {"memory": _MEMORY[value]}
    if kind in ("as_device", "as_layout"):
        return {"device": True} if kind == "as_device" else None
    if kind == "as_complex":
        raise ValueError("complex numbers are not read here")
    raise ValueError(f"an argument {kind} is not read here")


def _symbol(value: dict):
    ((kind, inner),) = value.items()
    return {"ref": inner} if kind == "as_name" else inner


def _keys(whole: dict, count: int) -> list[str]:
    """Names of several outputs: keys of a dict, else their places; empty for the only one."""
    try:
        spec = json.loads(whole["module_call_graph"][0]["signature"]["out_spec"])[1]
    except (KeyError, IndexError, TypeError, ValueError):
        spec = {}
    if not spec.get("type"):
        return [""] if count == 1 else [str(k) for k in range(count)]
    if spec["type"] == "builtins.dict" and len(spec["children_spec"]) == count:
        return [str(key) for key in json.loads(spec["context"])]
    return [str(k) for k in range(count)]
