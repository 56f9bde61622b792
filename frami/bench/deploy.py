"""What a network is worth as a file in half precision and in eight bits, by what it was calibrated on."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from frami import checkpoints, export
from frami.bench import parts
from frami.bench.parts import Part
from frami.bench.results import Context, Results
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.quantisation import calibration, lowering
from frami.quantisation.calibration import Calibration
from frami.quantisation.lowering import METHOD, Network

#: Rounds of the measurement of latency, in each of which every file computes one clip.
ROUNDS = 200
#: Seed that draws clips of a part where it has more than are wanted.
SEED = 7
#: A process that loads a file and computes: prints by how many bytes that made it larger.
_CHILD = """
import sys
import numpy, onnxruntime, psutil
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
clip = numpy.zeros([int(n) for n in sys.argv[2:]], numpy.float32)
before = psutil.Process().memory_info().rss
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for _ in range(5):
    session.run(None, {"mel": clip})
print(psutil.Process().memory_info().rss - before)
"""


@dataclass(frozen=True)
class Variant:
    """A kind of file; ``kind``, ``each`` and ``method`` : of the calibration of int8."""

    precision: str
    kind: str = ""
    each: int = 0
    method: str = METHOD

    @property
    def name(self) -> str:
        return f"int8 {self.kind} {self.each} {self.method}" if self.precision == "int8" else self.precision


#: The file in eight bits that ``frami export --precision int8`` writes.
USUAL = Variant("int8", "made", calibration.CLIPS)
#: Kinds of clips to calibrate on, and how many of each class.
CALIBRATIONS = (
    *(("made", n) for n in (1, 10, 100)), *(("recordings", n) for n in (1, 10, 100)), *(("noise", n) for n in (1, 10)),
)  # fmt: skip


def variants(methods: Sequence[str] = (METHOD,)) -> list[Variant]:
    lowered = [Variant("int8", kind, each, method) for kind, each in CALIBRATIONS for method in methods]
    return [Variant("float32"), Variant("fp16"), *lowered]


def networks() -> list[str]:
    """Names of the bundled students and teachers, a student behind its teacher."""
    students = checkpoints.bundled("student")
    teachers = checkpoints.bundled("teacher")
    return [c.name for one in teachers for c in (one, *(s for s in students if s.teacher == one.name))]


def fill(
    names: Sequence[str], wanted: Sequence[Variant], results: Results, here: Context, on: str = "reported",
    clips: int | None = None,
) -> None:  # fmt: skip
    """Measure what is missing. clips : of each part at most. Raises FramiError."""
    for name in names:
        network = checkpoints.load(name)
        keys = {_key(network, one, on, clips): one for one in wanted}
        speed = _key(network, None, on, None)
        if all(map(results.get, [*keys, speed])):
            continue
        with tempfile.TemporaryDirectory(prefix="frami-deploy-") as folder:
            bench = _Files(network, Path(folder), here)
            if not all(map(results.get, keys)):
                judged_on = [_drawn(part, clips) for part in parts.ON[on](network, here)]
                plain = [_logits(bench.plain, part) for part in judged_on]
                for key in results.still_open(keys, lambda key: results.get(key) is None):
                    results.put(key, bench.measure(keys[key], judged_on, plain, on))
            if results.get(speed) is None:
                results.put(speed, bench.speed())


def _key(network: Checkpoint, variant: Variant | None, on: str, clips: int | None) -> str:
    """What makes a measurement another one: the weights, the file, the clips."""
    which = "speed" if variant is None else f"{variant.name}, {on}{'' if clips is None else f' {clips}'}"
    return f"{network.card.name} {network.card.sha256[:8]}, {which}"


def _drawn(part: Part, count: int | None) -> Part:
    if count is None or len(part.clips) <= count:
        return part
    drawn = torch.randperm(len(part.clips), generator=torch.Generator().manual_seed(SEED))[:count]
    return replace(part, clips=part.clips.take(sorted(drawn.tolist())))


def _logits(path: Path, part: Part) -> np.ndarray:
    return np.stack(list(Network(path).logits(part.clips.clip(i) for i in range(len(part.clips)))))


class _Files:
    """The files of one network, in a folder of their own."""

    def __init__(self, network: Checkpoint, folder: Path, here: Context):
        self.network, self.folder, self.here = network, folder, here
        self.plain = folder / "float32.onnx"
        self._found: dict[tuple[str, int], Calibration] = {}
        export.onnx(network, self.plain)

    def measure(self, variant: Variant, judged_on: Iterable[Part], plain: Iterable[np.ndarray], on: str) -> dict:
        path = self.of(variant)
        rows = [_judged(path, part, wanted) for part, wanted in zip(judged_on, plain, strict=True)]
        used = self.calibration(variant).facts() if variant.precision == "int8" else {}
        return {
            "checkpoint": self.network.card.name, "kind": self.network.card.kind, "variant": variant.name,
            "precision": variant.precision, "method": variant.method if used else "", "on": on,
            "each": variant.each, **used, "bytes": path.stat().st_size, "parts": rows,
        }  # fmt: skip

    def of(self, variant: Variant) -> Path:
        """The file of a variant, made where it is not there yet."""
        path = self.folder / f"{variant.name.replace(' ', '-')}.onnx"
        if path.exists():
            return path
        if variant.precision == "fp16":
            lowering.half_weights(self.plain, path)
        else:
            with self.here.progress("file", f"{self.network.card.name}: {variant.name}"):
                lowering.eight_bits(self.plain, path, self.calibration(variant).clips, variant.method)
        return path

    def calibration(self, variant: Variant) -> Calibration:
        """Clips of a kind, so many of each class."""
        key = variant.kind, variant.each
        if key not in self._found:
            self._found[key] = self._gathered(*key)
        return self._found[key]

    def _gathered(self, kind: str, each: int) -> Calibration:
        network = self.network
        if kind == "noise":
            return calibration.noisy(network, each)
        if kind == "recordings":
            return calibration.recorded(network, each, self.here.data_folder)
        with self.here.progress("step", f"{network.card.name}: made clips") as report:
            return calibration.made(network, each, report=report)[0]

    def speed(self) -> dict:
        """Milliseconds of one processor core for a clip of the usual duration, and bytes of memory, of each precision.

        The files take turns, so that whatever slows the machine slows all of them. Time is that of the thread, which
        other processes do not lengthen.
        """
        listed = [Variant("float32"), Variant("fp16"), USUAL]
        clip = lowering.given(calibration.noise(self.network.spec, 1, self.network.card.seconds)[0])
        nets = {one.precision: Network(self.of(one)) for one in listed}
        taken: dict[str, list[float]] = {name: [] for name in nets}
        for _ in range(ROUNDS):
            for name, net in nets.items():
                start = time.thread_time()
                net(clip)
                taken[name].append(time.thread_time() - start)
        return {
            "checkpoint": self.network.card.name, "seconds": self.network.card.seconds, "speed": True,
            "milliseconds": {name: round(1e3 * median(times[ROUNDS // 10 :]), 4) for name, times in taken.items()},
            "memory": {one.precision: _memory(self.of(one), clip.shape) for one in listed},
        }  # fmt: skip


def _judged(path: Path, part: Part, wanted: np.ndarray) -> dict:
    predicted, labels = _logits(path, part).argmax(1), part.clips.labels.numpy()
    return {
        "kind": part.kind, "name": part.name, "clips": len(labels),
        "accuracy": round(float((predicted == labels).mean()), 5),
        "float_accuracy": round(float((wanted.argmax(1) == labels).mean()), 5),
        "agreement": round(float((predicted == wanted.argmax(1)).mean()), 5),
    }  # fmt: skip


def _memory(path: Path, shape: Sequence[int]) -> int:
    """Bytes by which a process grows that loads a file and computes a clip."""
    command = [sys.executable, "-c", _CHILD, str(path), *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise FramiError(f"memory of {path.name} cannot be measured: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)
