"""Which device computes, in which precision, on how many threads, and how a step is recorded there."""

import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
    """Name of a device, to be shown."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    names = {"cpu": f"CPU, {threads} thread{'s' * (threads > 1)}", "mps": "Apple GPU"}
    return names.get(device.type, str(device))


def processor() -> str:
    """Model of this machine's processor, as it names itself."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [value.strip() for name, _, value in (line.partition(":") for line in lines) if "model name" in name]
        if names and names[0]:
            return " ".join(names[0].split())
    return platform.processor() or platform.machine() or "unknown processor"


def precision(device: torch.device) -> str:
    """In which the engine computes there: ``bfloat16`` or ``float32``."""
    return "bfloat16" if fast_bf16(device) else "float32"


def machine(device: torch.device) -> str:
    """What decides how fast the engine is: the device, of a CPU the processor's model, and the precision."""
    name = f"{processor()}, {describe(device).removeprefix('CPU, ')}" if device.type == "cpu" else describe(device)
    return f"{name}, {precision(device)}"


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native, so that autocast pays; not with FRAMI_PRECISION=float32."""
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


_SEEDING = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A seed for new weights (on the CPU); the random state, which all threads share, is afterwards what it was before.
    One thread at a time."""
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many CPU threads inside, afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Threads:
    """Calls a function on as many CPU threads as make it fastest.

    The steps of small networks are hundreds of operations of a fraction of a millisecond. On a quiet machine two cores
    do them in half the time; on a busy one, threads that wait for one another make them several times slower than one
    thread alone. So each count is tried three times at the start and every ten seconds, and the fastest one (least
    time per ``work``) is used in between. ``OMP_NUM_THREADS=1`` leaves nothing to choose: then the same seed gives the
    same bits.
    """

    TRIES, AGAIN = 3, 10.0

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._trial: list[int] = []
        self._found: dict[int, float] = {}
        self._until = -math.inf
        self.count = 1

    def __call__(self, function: Callable[[], None], work: float = 1.0) -> None:
        most = torch.get_num_threads()
        if most > 1 and not self._trial and self._clock() >= self._until:
            self._found.clear()
            self._trial = self._counts(most) * self.TRIES
        trying = bool(self._trial)
        count = self._trial.pop() if trying else min(self.count, most)
        start = self._clock()
        with threads(count):
            function()
        if trying:
            spent = (self._clock() - start) / work
            self._found[count] = min(spent, self._found.get(count, math.inf))
            if not self._trial:
                self.count = min(self._found, key=self._found.get)
                self._until = self._clock() + self.AGAIN

    @staticmethod
    def _counts(most: int) -> list[int]:
        """1, 4, 16, … and all of them."""
        return [*(4**k for k in range(8) if 4**k < most), most]


class RecordedStep:
    """A function without arguments, to be called many times: on CUDA recorded as a graph at its fourth call and
    replayed from then on, on the CPU run on as many threads as pay."""

    def __init__(self, function: Callable[[], None], device: torch.device):
        self._function, self._device = function, device
        self._threads = Threads()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0

    def __call__(self, work: float = 1.0) -> None:
        """Call it; ``work`` : how much there is to do, in any unit, where calls differ (compares thread counts)."""
        if self._device.type == "cpu":
            return self._threads(self._function, work)
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
