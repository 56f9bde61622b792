"""What workers do for the page. Arguments and results are such as ``messages`` takes; checkpoints and banks are given
by their paths.

Short jobs, for which a visitor waits, are computed on one thread: where all cores are busy, two threads that wait for
one another are many times slower than one.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from frami import audio_input, checkpoints, cost, saliency, vocoder
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.device import threads
from frami.errors import FramiError
from frami.features import diversity, judges, maps
from frami.inversion import Clips
from frami.inversion.change import change
from frami.workers import exports, synthesis, teachers
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


def shipped(teller: Teller, *, teacher: str, device: str) -> dict:
    """The same of the recordings that ship for a teacher; how many they are."""
    found = maps.shipped(network(teacher, device), teller.progress)
    return {"clips": len(found.layer) if found else 0}


def measures(
    teller: Teller, *, teacher: str, device: str, layer: maps.Layer, clips: Clips | None, real: maps.Layer | None
) -> dict:
    """The row of a layer in the table of measures, with a judge's where the teacher has one."""
    judge = judges.of(network(teacher, device))
    heard = judges.measures(judge, clips) if judge and clips else None
    return judges.added(maps.measures(layer, real), heard)


def variety(teller: Teller, *, features: Tensor) -> list[float]:
    """Vendi score and mean distance of embeddings, Tensor[N, D]."""
    with threads(1):
        return [diversity.vendi(features), diversity.mean_distance(features)]


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


@torch.inference_mode()
def students(teller: Teller, *, student: str, mels: Sequence[Tensor]) -> Tensor:
    """The class that a network predicts for each log-Mel Tensor[F, T]: Tensor[N]."""
    found, predicted = network(student), torch.zeros(len(mels), dtype=torch.long)
    order = sorted(range(len(mels)), key=lambda i: mels[i].shape[-1])
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        lengths = torch.tensor([mels[i].shape[-1] for i in rows])
        padded = torch.full((len(rows), 1, mels[rows[0]].shape[0], int(lengths.max())), found.spec.floor)
        for k, i in enumerate(rows):
            padded[k, 0, :, : lengths[k]] = mels[i]
        predicted[rows] = found.model(padded, lengths).logits.argmax(1)
        teller.progress(start + len(rows), len(order))
    return predicted


def embed(teller: Teller, *, path: str, teacher: str, device: str) -> dict:
    """A sound file in a teacher's feature space: ``pooled`` Tensor[D], ``logits`` Tensor[K], ``mel`` Tensor[F, T] and
    ``samples`` Tensor[N] as the teacher heard them; ``{"refused": why}`` for one that cannot be heard."""
    found = network(teacher, device)
    with threads(1), torch.inference_mode():
        try:
            sound = audio_input.read(path, found.spec)
        except audio_input.AudioInputError as error:
            return {"refused": str(error)}
        mel = found.spec(sound.samples)
        out = found.model(mel[None, None].to(found.device))
        pooled, logits = out.pooled[0].float().cpu(), out.logits[0].float().cpu()
        return {"pooled": pooled, "logits": logits, "mel": mel, "samples": sound.samples}


def recognise(teller: Teller, *, path: str, teacher: str, students: Sequence[str], device: str) -> dict:
    """A sound file as a teacher and students hear it: ``notes``, ``cautions``, ``seconds``, ``mels`` Tensor[F, T] of
    each front-end, and ``found``, for the teacher and each student the probabilities Tensor[K], milliseconds and the
    number of the mel, None for a student that is not there any more. ``{"refused": why}`` for a sound that cannot be
    classified."""
    with threads(1):
        first = network(teacher, device)
        try:
            sound = audio_input.read(path, first.spec)
        except audio_input.AudioInputError as error:
            return {"refused": str(error)}
        cautions = [*sound.cautions, *filter(None, [audio_input.duration_note(sound, first)])]
        told = {"notes": [*sound.notes], "cautions": cautions, "seconds": sound.seconds}
        return told | _recognised(sound, path, [teacher, *students], device)


def live(teller: Teller, *, samples: Tensor, rate: int, teacher: str, students: Sequence[str], device: str) -> dict:
    """The same of samples Tensor[N] of a microphone."""
    with threads(1):
        try:
            sound = audio_input.prepared(samples, rate, network(teacher, device).spec)
        except audio_input.AudioInputError as error:
            return {"refused": str(error)}
        return _recognised(sound, None, [teacher, *students], device, passes=1)


def _recognised(
    sound: audio_input.AudioInput, path: str | None, networks: Sequence[str], device: str, passes: int | None = None
) -> dict:
    mels: dict[MelSpec, Tensor] = {}
    found: list = []
    for place, one in enumerate(networks):
        try:
            heard = network(one, device)
            if heard.spec not in mels:
                mels[heard.spec] = audio_input.mel(sound, heard.spec, path)
            answer = audio_input.predict(heard, mels[heard.spec], passes)
            found.append((answer.probabilities, answer.milliseconds, list(mels).index(heard.spec)))
        except FramiError:
            if not place:
                raise
            found.append(None)
    return {"mels": list(mels.values()), "found": found}


def given(teller: Teller, *, path: str) -> tuple[Tensor, int]:
    """A sound file's first seconds as they are, Tensor[N] and Hz, to be heard."""
    return audio_input.heard(path)


def decide(teller: Teller, *, path: str, teacher: str, device: str, label: int) -> dict:
    """What decided for a class, or against it: ``saliency`` Tensor[F, T], the ``mel`` Tensor[F, T], ``samples``
    Tensor[N] of what decided alone, and the probability of the class ``before`` and ``after``."""
    with threads(1):
        found = network(teacher, device)
        try:
            sound = audio_input.read(path, found.spec)
        except audio_input.AudioInputError as error:
            raise FramiError(str(error)) from error
        mel = found.spec(sound.samples)
        if not 0 <= label < len(found.classes):
            raise FramiError("this network knows no such class")
        values = saliency.saliency(found, mel, label)
        kept = saliency.mask(values)
        samples = saliency.alone(sound.samples, found.spec, kept)
        before, after = (float(saliency.probability(found, one[None], label)) for one in (mel, found.spec(samples)))
        told = {"mel": mel, "saliency": values, "kept": kept, "samples": samples}
        return told | {"before": before, "after": after, "share": float((kept > 0.5).float().mean())}


def change_sound(teller: Teller, *, path: str, teacher: str, device: str, target: int) -> None:
    """The states of a sound's change (``inversion.change``), told one by one, as values."""
    found = network(teacher, device)
    try:
        sound = audio_input.read(path, found.spec)
    except audio_input.AudioInputError as error:
        raise FramiError(str(error)) from error
    with threads(1):
        for state in change(found, found.spec(sound.samples), target):
            teller.send(dict(vars(state)))
            if teller.stopped:
                return


#: What a worker can do, by name; the first part of a name is the kind of work, which has limits (``limits.LIMITS``).
JOBS: dict[str, Callable] = {
    "clips-make": synthesize,
    "clips-change": change_sound,
    "map-umap": umap,
    "map-recordings": recordings,
    "map-shipped": shipped,
    "map-measures": measures,
    "map-cost": measure_cost,
    "map-students": students,
    "sound-variety": variety,
    "sound-vocode": vocode,
    "sound-classify": classify,
    "sound-recognise": recognise,
    "sound-embed": embed,
    "sound-live": live,
    "sound-given": given,
    "sound-decide": decide,
    "export-onnx": exports.export_onnx,
    "export-int8": exports.export_int8,
    "export-web": exports.export_web,
    "data-download": teachers.download_data,
    "data-unpack": teachers.unpack_data,
    "train-teacher": teachers.train_teacher,
    "import-teacher": teachers.import_teacher,
    "gallery-make": teachers.make_gallery,
}
