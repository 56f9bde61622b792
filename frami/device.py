"""Which device computes, in which precision, and how a step is recorded there."""

import os
from collections.abc import Callable

import torch

from frami.errors import FramiError


def pick(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA, else MPS, else the CPU; another name is taken as it is (``FramiError`` if not here)."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise FramiError(f"device '{name}' is not usable here; choose auto, cpu, cuda or mps") from error
    return device


def describe(device: torch.device) -> str:
    """Name of a device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": f"CPU, {torch.get_num_threads()} threads", "mps": "Apple GPU"}.get(device.type, str(device))


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native, so that autocast pays; FRAMI_PRECISION=float32 says no."""
    if os.environ.get("FRAMI_PRECISION") == "float32":
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def autocast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """bfloat16 autocast where it is native, else a context that does nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and fast_bf16(device))


def memory_format(device: torch.device) -> torch.memory_format:
    """Layout for convolutions: channels-last on CUDA, where it pays.

    Not on the CPU: the weight gradient of torch 2.11 corrupts the heap there for channels-last convolutions whose
    channels are no multiple of 16 (seen with 4, 8 and 12 channels on AVX-512).
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


class Replay:
    """A function without arguments; on CUDA recorded as a graph at its fourth call, and replayed from then on."""

    def __init__(self, function: Callable[[], None], device: torch.device):
        self._function, self._device = function, device
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0

    def __call__(self) -> None:
        if self._device.type != "cuda":
            return self._function()
        if self._graph is None and self._calls < 3:
            self._calls += 1
            side = torch.cuda.Stream(self._device)
            side.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(side):
                self._function()
            return torch.cuda.current_stream(self._device).wait_stream(side)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):  # others may use the device
                self._function()
        return self._graph.replay()
