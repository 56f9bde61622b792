"""On how many CPU threads a repeated step runs."""

from collections.abc import Iterator

import pytest
import torch

from frami import device
from frami.device import RecordedStep, Threads, describe, threads


@pytest.fixture
def four() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock, and a step that takes as long as the machine is busy: ``costs`` by number of threads."""

    def __init__(self, costs: dict[int, float]):
        self.now, self.costs, self.seen = 0.0, costs, []

    def clock(self) -> float:
        return self.now

    def step(self, work: float = 1.0) -> None:
        self.seen.append(torch.get_num_threads())
        self.now += work * self.costs[self.seen[-1]]


def test_a_step_takes_the_fastest_count_and_tries_again(four):
    machine = Machine({1: 0.08, 4: 0.05})
    threads = Threads(machine.clock)
    for _ in range(20):
        threads(machine.step)
    assert sorted(machine.seen[:6]) == [1, 1, 1, 4, 4, 4] and set(machine.seen[6:]) == {4}
    assert torch.get_num_threads() == 4, "others have all threads"
    machine.costs[4] = 0.3  # somebody else works now
    for _ in range(60):
        threads(machine.step)
    assert set(machine.seen[-10:]) == {1}
    machine.costs[4] = 0.05
    for _ in range(200):
        threads(machine.step)
    assert set(machine.seen[-10:]) == {4}


def test_calls_of_unlike_work_are_compared_by_the_work(four):
    """More threads get the long clips here, and are quicker for what they do."""
    machine = Machine({1: 0.08, 4: 0.05})
    threads = Threads(machine.clock)
    for turn in range(20):
        work = 8.0 if turn in (0, 2, 4) else 1.0  # the counts take turns, beginning with all
        threads(lambda work=work: machine.step(work), work)
    assert set(machine.seen[6:]) == {4}


def test_an_error_leaves_the_threads_as_they_were(four):
    with pytest.raises(ValueError), threads(1):
        assert torch.get_num_threads() == 1
        raise ValueError
    assert torch.get_num_threads() == 4


def test_one_thread_leaves_nothing_to_choose():
    torch.set_num_threads(1)
    seen = []
    step = RecordedStep(lambda: seen.append(torch.get_num_threads()), torch.device("cpu"))
    for _ in range(8):
        step(work=2.0)
    assert seen == [1] * 8


def test_a_device_says_its_threads(four):
    assert describe(torch.device("cpu")) == "CPU, 4 threads"
    torch.set_num_threads(1)
    assert describe(torch.device("cpu")) == "CPU, 1 thread"


def test_the_machine_is_named_with_its_processor_and_precision(monkeypatch, tmp_path):
    """As /proc/cpuinfo has it, elsewhere as Python does."""
    cpu, info = torch.device("cpu"), tmp_path / "cpuinfo"
    monkeypatch.setenv("FRAMI_PRECISION", "float32")
    monkeypatch.setattr(device, "Path", lambda path: info)
    info.write_text("processor\t: 0\nmodel name\t: Some  Chip 7\nprocessor\t: 1\nmodel name\t: Some  Chip 7\n")
    assert device.processor() == "Some Chip 7"
    threads = torch.get_num_threads()
    assert device.machine(cpu) == f"Some Chip 7, {threads} thread{'s' * (threads > 1)}, float32"
    monkeypatch.delenv("FRAMI_PRECISION")
    monkeypatch.setattr(device, "fast_bf16", lambda device: True)
    assert device.machine(cpu).endswith(", bfloat16")
    info.unlink()
    monkeypatch.setattr(device.platform, "processor", lambda: "")
    monkeypatch.setattr(device.platform, "machine", lambda: "riscv")
    assert device.processor() == "riscv"
