"""One training on several processes, each of which computes a part of every batch (data parallelism).

A launcher (``torchrun``, ``accelerate launch``) starts the processes and tells each its rank by environment variables;
Hugging Face's Accelerate joins them and gives each its device. The *main* process, of rank 0, decides, writes and
reports; the others follow it.
"""

import importlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from frami import extras, process
from frami.errors import FramiError
from frami.models import Classifier, MaskedBatchNorm2d

#: How long processes wait for the main one, which may judge or read recordings meanwhile. One that ends is noticed at
#: once.
_PATIENCE = timedelta(days=7)


class LostError(FramiError):
    """Another process of the training has ended."""


class Group:
    """The processes of a training; this class: one alone, for which nothing changes.

    ``rank``, ``size`` : of this process, and how many there are; ``device`` : the one that is this process's, None
    where it may choose.
    """

    rank, size = 0, 1
    device: torch.device | None = None

    @property
    def main(self) -> bool:
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Rows of a batch of ``count`` that are this process's."""
        return slice(count)

    def wrapped(self, model: Classifier) -> nn.Module:
        """The same network; a backward pass through it averages gradients over the processes."""
        return model

    def total(self, x: Tensor) -> Tensor:
        """The sum over the processes, in place; no gradient flows through it."""
        return x

    def sent(self, x: Tensor) -> Tensor:
        """The main process's values of a tensor that all have in this shape, in place."""
        return x

    def gathered(self, x: Tensor, count: int) -> Tensor:
        """What all processes have of a batch of ``count``, Tensor[count, …], where x is this one's part of it, to which
        alone gradients flow."""
        return x

    def shared(self, value: Any = None) -> Any:
        """The main process's value: tensors, numbers, strings, and lists and dicts of these. The others wait for it."""
        return value

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, kind, *_) -> None:
        """Leave the others, unless it is by an error: then they end, too."""

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A block that the main process has left before the others enter it: they find what it stored."""
        if not self.main:
            self.shared()
        yield
        if self.main:
            self.shared()

    @contextmanager
    def joint(self, *models: nn.Module) -> Iterator[None]:
        """For the block, batch norms in training take the statistics of all processes' parts together."""
        modules = [m for model in models for m in model.modules()] if self.size > 1 else []
        norms = [m for m in modules if isinstance(m, MaskedBatchNorm2d)]
        for norm in norms:
            norm.total = self.total
        try:
            yield
        finally:
            for norm in norms:
                norm.total = None


#: One process.
ALONE = Group()


class Joined(Group):
    """Several processes; ``cpu`` : they compute on the CPU, elsewise each on a GPU of its own."""

    def __init__(self, cpu: bool):
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs
        except ModuleNotFoundError as error:
            raise FramiError(extras.lacking(error.name or "accelerate")) from error
        here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        if not cpu and here > torch.cuda.device_count():
            raise FramiError(
                f"{here} processes were started here, where there are {torch.cuda.device_count()} GPUs; start as many, "
                "or add --device cpu"
            )
        # Its functions keep, as a default value, the group that there is when they are imported.
        importlib.import_module("torch.distributed.nn")
        # Stored statistics are the same everywhere already: see ``joint``.
        kinds = [DistributedDataParallelKwargs(broadcast_buffers=False)]
        try:
            self._accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=kinds)
            # What is shared goes from processor to processor, so that no GPU waits for it.
            self._control = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise FramiError(f"the processes do not find one another ({_first_line(error)})") from error
        self.rank, self.size = self._accelerator.process_index, self._accelerator.num_processes
        self.device = self._accelerator.device

    def __exit__(self, kind, error, _) -> None:
        if kind is None:
            # Where a thread of Gloo outlives the interpreter and still has a tensor, the process is aborted.
            self._accelerator.end_training()
            self._control = None
        with _noticing():
            if isinstance(error, RuntimeError):
                raise error

    def part(self, count: int) -> slice:
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def wrapped(self, model: Classifier) -> nn.Module:
        return self._accelerator.prepare_model(model)

    def total(self, x: Tensor) -> Tensor:
        with _noticing():
            torch.distributed.all_reduce(x)
        return x

    def sent(self, x: Tensor) -> Tensor:
        with _noticing():
            torch.distributed.broadcast(x, 0)
        return x

    def gathered(self, x: Tensor, count: int) -> Tensor:
        part = self.part(count)
        whole = x.new_zeros(count, *x.shape[1:])
        whole[part] = x.detach()
        self.total(whole)
        return torch.cat([whole[: part.start], x, whole[part.stop :]])

    def shared(self, value: Any = None) -> Any:
        content = io.BytesIO()
        if self.main:
            torch.save(value, content)
        sent = torch.frombuffer(content.getbuffer(), dtype=torch.uint8) if self.main else None
        size = torch.tensor([len(sent) if self.main else 0])
        with _noticing():
            torch.distributed.broadcast(size, 0, group=self._control)
            sent = torch.empty(int(size), dtype=torch.uint8) if sent is None else sent
            torch.distributed.broadcast(sent, 0, group=self._control)
        if self.main:
            return value
        return torch.load(io.BytesIO(sent.numpy().tobytes()), map_location="cpu", weights_only=True)


@contextmanager
def _noticing() -> Iterator[None]:
    """An error of the network becomes a LostError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        raise LostError(f"another process of it has ended ({_first_line(error)}); what was saved goes on") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def told_by_main(error: Exception) -> bool:
    """Whether the main process has said as much: that one of them ended, or what was found before they joined."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return isinstance(error, LostError) or (not there and os.environ.get("GROUP_RANK", "0") == "0")


def launched() -> int:
    """How many processes a launcher has started for this command, 1 without one."""
    return process.launched()[1]


def joined(device: str = "auto") -> Group:
    """The processes that a launcher has started, which this one joins; ``ALONE`` without one. device : as of
    ``device.pick``, without a number. FramiError where they cannot work together."""
    if launched() == 1:
        return ALONE
    if device not in ("auto", "cpu", "cuda"):
        raise FramiError(f"--device {device}: several processes work on cpu or cuda, where each takes its own GPU")
    return Joined(cpu=(device != "cuda" and not torch.cuda.is_available()) or device == "cpu")
