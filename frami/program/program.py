"""A network as data: a list of operations and the tensors that they use. It can be stored as text and safetensors, run,
and cut in two."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from frami.errors import FramiError
from frami.program.norms import Explicit
from frami.program.operations import base, known, resolved, too_large

#: Operations that are batch norms, and what their arguments are called.
NORMS = ("batch_norm", "_native_batch_norm_legit_no_training")
#: Operations and depth of the lists that a stored program may have at most.
_MOST, _DEEPEST = 20_000, 8
#: Numbers of a tensor, and size of a number, at most.
LARGEST_RESULT, LARGEST_NUMBER = 2**31, 2**53
_NUMBERS = (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)


class ProgramError(FramiError):
    """A program that cannot be read, built or cut."""


@dataclass
class Node:
    """One operation. ``arguments`` : by their names in ATen's signature, by their places ("0", "1") for functions of
    numbers; values as ``archive`` reads them. ``outputs`` : name of what it gives, or a list of names."""

    operation: str
    arguments: dict[str, Any]
    outputs: Any

    @property
    def reads(self) -> list[str]:
        """Names of the values that it is given."""
        return list(_references(self.arguments))

    @property
    def gives(self) -> list[str]:
        """Names of the values that it gives."""
        return [name for name in _flat(self.outputs) if name]


@dataclass
class Program:
    """``input`` : name of the tensor that is given; ``nodes`` : in the order in which they run; ``outputs`` : names of
    what is returned, by their keys; ``names`` : of the module's tensors by the names that nodes use; ``tensors`` : by
    their names in the module; ``shape`` : of the input when it was exported, None for a free axis."""

    input: str
    nodes: list[Node]
    outputs: dict[str, str]
    names: dict[str, str]
    tensors: dict[str, Tensor]
    shape: tuple[int | None, ...] = ()

    def to_dict(self) -> dict:
        """All but the tensors, as JSON can hold it."""
        return {
            "input": self.input,
            "nodes": [[node.operation, node.arguments, node.outputs] for node in self.nodes],
            "outputs": self.outputs,
            "names": self.names,
        }

    @classmethod
    def from_dict(cls, values: dict, tensors: dict[str, Tensor]) -> "Program":
        """Inverse of ``to_dict``. ProgramError for what it could not have made."""
        try:
            nodes = [Node(str(name), dict(arguments), outputs) for name, arguments, outputs in values["nodes"]]
            made = cls(
                str(values["input"]), nodes, {str(k): str(v) for k, v in values["outputs"].items()},
                {str(k): str(v) for k, v in values["names"].items()}, {},
            )  # fmt: skip
            made = replace(made, tensors={own: tensors[own] for own in dict.fromkeys(made.names.values())})
            made.check()
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ProgramError(f"not a program ({type(error).__name__}: {str(error)[:200]})") from error
        return made

    def check(self) -> None:
        """ProgramError where an operation is unknown, or reads what nothing gave."""
        if len(self.nodes) > _MOST:
            raise ProgramError(f"a program of {len(self.nodes)} operations; {_MOST} are read at most")
        unknown = sorted({node.operation for node in self.nodes if not known(node.operation)})
        if unknown:
            raise ProgramError(
                f"this program uses {', '.join(unknown[:5])}, which is not among the operations that are read here"
            )
        there = {self.input, *self.names}
        for node in self.nodes:
            missing = [name for name in node.reads if name not in there]
            if missing:
                raise ProgramError(f"'{node.operation}' reads '{missing[0]}', which nothing gives")
            there.update(node.gives)
        if missing := [name for name in self.outputs.values() if name not in there]:
            raise ProgramError(f"it returns '{missing[0]}', which nothing gives")

    def part(self, start: str, end: str, given: dict[str, Any] | None = None) -> "Program":
        """From the value ``start`` to the value ``end``; what of the rest it needs is computed from the input.

        ``given`` : values of numbers that are known by other means, as ``arguments`` have them.
        """
        given = given or {}
        wanted, kept = {end}, []
        for node in reversed(self.nodes):
            if wanted & set(node.gives) and start not in node.gives and not set(node.gives) <= set(given):
                kept.append(node)
                wanted |= set(node.reads)
        kept = [replace(node, arguments=_replaced(node.arguments, given)) for node in reversed(kept)]
        used = {name for node in kept for name in node.reads} | {end}
        names = {name: own for name, own in self.names.items() if name in used}
        return Program(start, kept, {"": end}, names, {own: self.tensors[own] for own in names.values()})

    def chosen(self, value: str, columns: Sequence[int]) -> tuple["Program", str]:
        """A program that also picks these columns of a value, Tensor[B, K], and the name of what it picked. It returns
        them wherever it returned the value."""
        name = f"chosen_of_{value}"
        picked = Node(
            "aten.index_select.default", {"self": {"ref": value}, "dim": 1, "index": {"ref": f"{name}_at"}}, name
        )
        return replace(
            self,
            nodes=[*self.nodes, picked],
            outputs={key: name if one == value else one for key, one in self.outputs.items()},
            names=self.names | {f"{name}_at": f"{name}_at"},
            tensors=self.tensors | {f"{name}_at": torch.tensor(list(columns))},
        ), name


class Graph(nn.Module):
    """A program as a module. Its tensors have the names that they had, and its batch norms are modules, so that hooks
    find them; their gradient is spelt out (``program.norms``). ``shared`` : a graph of the same names whose tensors it
    uses.

    ``forward(x)`` returns the output, or a dict of several; ``values(x)`` also yields everything on the way.
    """

    def __init__(self, program: Program, shared: nn.Module | None = None):
        super().__init__()
        program.check()
        self.program, self._shared = program, shared and (shared,)
        self.tensors = nn.Module()
        self._norms: dict[int, tuple[str, str]] = {}
        try:
            for own, tensor in program.tensors.items():
                self._keep(own, tensor)
            for place, node in enumerate(program.nodes):
                if base(node.operation) in NORMS:
                    self._norm(place, node)
        except (KeyError, AttributeError, TypeError, RuntimeError) as error:
            raise ProgramError(f"this program's tensors cannot be kept ({error})") from error
        self._shared = None  # a copy of this graph needs no copy of the other one
        self._changes = any(base(node.operation).endswith("_") for node in program.nodes)
        last = {name: place for place, node in enumerate(program.nodes) for name in node.reads}
        for name in program.outputs.values():
            last.pop(name, None)
        self._over: dict[int, list[str]] = {}
        for name, place in last.items():
            self._over.setdefault(place, []).append(name)

    def _keep(self, own: str, tensor: Tensor) -> None:
        folder, name = _folder(self.tensors, own)
        if self._shared:
            other, _ = _folder(self._shared[0].tensors, own)
            setattr(folder, name, getattr(other, name)) if name in other._parameters else folder.register_buffer(
                name, getattr(other, name)
            )
        elif tensor.is_floating_point() and not name.startswith("running_"):
            folder.register_parameter(name, nn.Parameter(tensor.clone(), requires_grad=False))
        else:
            folder.register_buffer(name, tensor.clone())

    def _norm(self, place: int, node: Node) -> None:
        """A module for the batch norm of this place, where its statistics are stored tensors."""
        given = node.arguments
        if given.get("training") or given.get("running_mean") is None or given.get("running_var") is None:
            return
        parts = {key: given.get(key) for key in ("weight", "bias", "running_mean", "running_var")}
        parts = {key: self.program.names.get(value["ref"]) for key, value in parts.items() if value is not None}
        if None in parts.values():
            return
        prefix = parts["running_mean"].rpartition(".")[0]
        if any(own != f"{prefix}.{key}" for key, own in parts.items()) or not prefix:
            return
        parent, name = _folder(self.tensors, prefix)
        here = getattr(parent, name)
        if not isinstance(here, Norm):
            norm = Norm(len(here.running_mean), eps=float(given.get("eps", 1e-5)), affine=False)
            norm.running_mean, norm.running_var = here.running_mean, here.running_var
            norm.weight, norm.bias = (getattr(here, key, None) for key in ("weight", "bias"))
            setattr(parent, name, norm.eval())
        self._norms[place] = (prefix, given["input"]["ref"])

    def forward(self, x: Tensor) -> Any:
        found = dict(self.values(x))
        outputs = {key: found[name] for key, name in self.program.outputs.items()}
        return outputs[""] if list(outputs) == [""] else outputs

    def values(self, x: Tensor, all: bool = False) -> Iterator[tuple[str, Any]]:
        """Outputs by the names of values, each as soon as it is there; with ``all`` every value."""
        x = x.clone() if self._changes else x  # some operations work in place
        program, there = self.program, {self.program.input: x}
        wanted = set(program.outputs.values())
        if program.input in wanted or all:
            yield program.input, x
        for name, own in program.names.items():
            folder, last = _folder(self.tensors, own)
            there[name] = getattr(folder, last)
        for place, node in enumerate(program.nodes):
            if place in self._norms:
                norm, given = self._norms[place]
                result = self.tensors.get_submodule(norm)(there[given])
                result = (result, None, None) if isinstance(node.outputs, list) else result
            else:
                result = _run(node, there, x)
            for name, value in _paired(node.outputs, result):
                there[name] = value
                if all or name in wanted:
                    yield name, value
            for name in self._over.get(place, ()):
                there.pop(name, None)

    def __deepcopy__(self, memo: dict) -> "Graph":
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        memo[id(self.program)] = self.program  # never changed
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


class Norm(Explicit, nn.modules.batchnorm._BatchNorm):
    """A batch norm of inputs of any number of axes."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass


def _run(node: Node, there: dict[str, Any], x: Tensor) -> Any:
    function: Callable = resolved(node.operation)
    values = {key: _given(value, there, x) for key, value in node.arguments.items()}
    if too_large(node.operation, values):
        raise ProgramError(f"'{node.operation}' would make a tensor larger than any classifier needs")
    if node.operation.startswith("aten."):
        found = function(**values)
        if any(isinstance(one, Tensor) and one.numel() > LARGEST_RESULT for one in _flat(_listed(found))):
            raise ProgramError(f"'{node.operation}' makes a tensor larger than any classifier needs")
        return found
    if not all(isinstance(value, _NUMBERS) for value in values.values()):
        raise ProgramError(f"'{node.operation}' is given something else than numbers")
    found = function(*values.values())
    if isinstance(found, int | float) and not abs(found) <= LARGEST_NUMBER:
        raise ProgramError(f"'{node.operation}' makes a number larger than any size")
    return found


def _listed(found: Any) -> Any:
    return list(found) if isinstance(found, tuple) else found


def _given(value: Any, there: dict[str, Any], x: Tensor) -> Any:
    """An argument as the operation takes it."""
    if isinstance(value, list):
        return [_given(one, there, x) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ProgramError("an argument of a program has several meanings")
    ((kind, what),) = value.items()
    if kind == "ref":
        return there[what]
    if kind == "device":
        return x.device
    if kind == "size":
        return x.shape[what]
    found = getattr(torch, str(what), None)
    if not isinstance(found, {"dtype": torch.dtype, "memory": torch.memory_format}.get(kind, ())):
        raise ProgramError(f"an argument '{kind}' of a program is no {what}")
    return found


def _paired(outputs: Any, result: Any) -> Iterator[tuple[str, Any]]:
    """Names of outputs with what they are."""
    if isinstance(outputs, list):
        for one, value in zip(outputs, result, strict=False):
            yield from _paired(one, value)
    elif outputs:
        yield outputs, result


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, list):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _references(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ProgramError("a program with lists in lists without end")
    if isinstance(value, dict):
        if isinstance(value.get("ref"), str):
            yield value["ref"]
        else:
            for one in value.values():
                yield from _references(one, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _references(one, depth + 1)


def _replaced(value: Any, given: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_replaced(one, given) for one in value]
    if isinstance(value, dict):
        if value.get("ref") in given:
            return given[value["ref"]]
        return {key: _replaced(one, given) for key, one in value.items()}
    return value


def _folder(module: nn.Module, own: str) -> tuple[nn.Module, str]:
    """The module in a module that holds a tensor of this name, made where there is none, and the last part of it."""
    *path, last = own.split(".")
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module._modules[part]
    return module, last
