"""What workers do for the page. Arguments and results are such as ``messages`` takes; checkpoints and banks are given
by their paths.

Short jobs, for which a visitor waits, are computed on one thread: where all cores are busy, two threads that wait for
one another are many times slower than one.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from frami import audio_input, checkpoints, cost, export, vocoder
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.device import threads
from frami.errors import FramiError
from frami.features import judges, maps
from frami.inversion import Clips
from frami.workers import synthesis, teachers
from frami.workers.teller import Teller


def network(path: str, device: str = "cpu") -> Checkpoint:
    """A checkpoint, read again when its weights have changed."""
    return _loaded(path, device, checkpoints.read_card(path).sha256)


@lru_cache(maxsize=8)
def _loaded(path: str, device: str, sha256: str) -> Checkpoint:
    return checkpoints.load(path, device)


def synthesize(teller: Teller, *, teacher: str, device: str, **settings) -> None:
    """``synthesis.states`` of a folder, told one by one."""
    for state in synthesis.states(network(teacher, device), lambda: teller.stopped, **settings):
        teller.send(state)


def umap(teller: Teller, *, layers: Sequence[maps.Layer]) -> Tensor:
    """Tensor[N, 2], as of ``maps.umap``."""
    return maps.umap(layers)


def recordings(teller: Teller, *, teacher: str, device: str, most: int) -> dict:
    """Embeddings of at most so many real clips, which are then stored in ``FRAMI_HOME``; how many they are."""
    found = maps.recorded(network(teacher, device), most=most, progress=teller.progress)
    return {"clips": len(found.layer)}


def measures(
    teller: Teller, *, teacher: str, device: str, layer: maps.Layer, clips: Clips | None, real: maps.Layer | None
) -> dict:
    """The row of a layer in the table of measures, with a judge's where the teacher has one."""
    judge = judges.of(network(teacher, device))
    heard = judges.measures(judge, clips) if judge and clips else None
    return judges.added(maps.measures(layer, real), heard)


def measure_cost(teller: Teller, *, teacher: str) -> dict:
    """Arithmetic and latency of a checkpoint's network."""
    found = network(teacher)
    value = cost.measure(found.model, found.spec, found.card.seconds)
    return {"macs": value.macs, "latency_ms": value.latency_ms}


def vocode(teller: Teller, *, mels: Tensor, lengths: Tensor, spec: dict, name: str | None) -> Tensor:
    """Samples, Tensor[N], of one clip, Tensor[1, 1, F, T], by a vocoder."""
    mel_spec = MelSpec.from_dict(spec)
    with threads(1):
        return _vocoder(name, mel_spec)(mels, lengths)[0]


@lru_cache(maxsize=4)
def _vocoder(name: str | None, spec: MelSpec) -> vocoder.Vocoder:
    return vocoder.get(name, spec)


@torch.inference_mode()
def classify(teller: Teller, *, teacher: str, device: str, mels: Tensor) -> Tensor:
    """A teacher's logits, Tensor[N, K], for log-Mels Tensor[N, 1, F, T]."""
    found = network(teacher, device)
    with threads(1):
        return found.model(mels.to(found.device)).logits.float().cpu()


def recognise(teller: Teller, *, path: str, teacher: str, students: Sequence[str], device: str) -> dict:
    """A sound file as a teacher and students hear it: ``notes``, ``mel`` Tensor[F, T], and ``found``, for the teacher
    and each student the probabilities Tensor[K] and milliseconds, None for a student that is not there any more.
    ``{"refused": why}`` for a sound that cannot be classified."""
    with threads(1):
        return _recognised(path, teacher, students, device)


def _recognised(path: str, teacher: str, students: Sequence[str], device: str) -> dict:
    first = network(teacher, device)
    try:
        sound = audio_input.read(path, first.spec)
    except audio_input.AudioInputError as error:
        return {"refused": str(error)}
    mel, found = first.spec(sound.samples), []
    for place, one in enumerate([teacher, *students]):
        try:
            heard = audio_input.predict(network(one, device), mel)
            found.append((heard.probabilities, heard.milliseconds))
        except FramiError:
            if not place:
                raise
            found.append(None)
    notes = [*sound.notes, *filter(None, [audio_input.duration_note(sound, first)])]
    return {"notes": notes, "mel": mel, "found": found}


def export_onnx(teller: Teller, *, source: str, input: str) -> bytes:
    """Content of a checkpoint's ONNX file. input : as of ``export.onnx``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        export.onnx(checkpoints.load(source), path, input=input)
        return path.read_bytes()


#: What a worker can do, by name; the first part of a name is the kind of work, which has limits (``limits.LIMITS``).
JOBS: dict[str, Callable] = {
    "clips-make": synthesize,
    "map-umap": umap,
    "map-recordings": recordings,
    "map-measures": measures,
    "map-cost": measure_cost,
    "sound-vocode": vocode,
    "sound-classify": classify,
    "sound-recognise": recognise,
    "export-onnx": export_onnx,
    "data-download": teachers.download_data,
    "data-unpack": teachers.unpack_data,
    "train-teacher": teachers.train_teacher,
    "import-teacher": teachers.import_teacher,
    "gallery-make": teachers.make_gallery,
}
