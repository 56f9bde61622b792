"""How near a vocoder's sound comes to a recording: copy-synthesis of real and of made clips, and the page of it.

Vocoders are named with their setting: ``frami:32`` (rounds of matching), ``griffin-lim:100``, ``librosa:32``,
``torchaudio:32`` (iterations), and ``matching:32``, Griffin-Lim's sound of 32 iterations matched to the spectrogram by
as many rounds as the network's is: what the network itself is worth.
"""

import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from frami import audio, banks, checkpoints, data
from frami.audio import MelSpec
from frami.bench.pages import heading, intro, table
from frami.bench.results import Context, Report, silent
from frami.checkpoints import Checkpoint
from frami.device import threads
from frami.paths import ASSETS
from frami.vocoder import GriffinLim, Neural, VocoderError, get, neural
from frami.vocoder.losses import QUIET
from frami.vocoder.recordings import DATASETS, folds

#: The table's rows.
VOCODERS = (
    "frami:8", "frami:16", "frami:32", "matching:32", "griffin-lim:32", "griffin-lim:100",
    "librosa:32", "librosa:100", "torchaudio:32", "torchaudio:100",
)  # fmt: skip
#: Window, hop and transform length of the STFTs compared: those of Yamamoto et al. (ICASSP 2020).
RESOLUTIONS = ((240, 50, 512), (600, 120, 1024), (1200, 240, 2048))

Vocode = Callable[[Tensor], Tensor]  # log-Mel Tensor[F, T] to sound Tensor[T * hop_length]


@dataclass(frozen=True)
class Real:
    """Recordings: sounds, each Tensor[T * hop_length], and the teacher that was trained on that data set."""

    dataset: str
    folds: tuple[str, ...]
    sounds: list[Tensor]
    teacher: Checkpoint


def read(dataset: str, split: str, clips: int, seconds: float, folder: str | Path | None = None) -> Real:
    """A fixed random choice of a data set's clips, without their constant part. split : ``test``, or ``train``: the
    folds that the bundled vocoder was trained on. Raises DataError or CheckpointError."""
    spec = MelSpec()
    listed = data.index(dataset, folder)
    chosen = folds(dataset, listed) if split == "train" else data.folds_of(dataset, split)
    found = data.find(data.select(listed, chosen, dataset))
    random.Random(0).shuffle(found)
    sounds: list[Tensor] = []
    for path in found:
        sound = audio.load(path, spec.sample_rate)[: round(seconds * spec.sample_rate)]
        sound = sound[: len(sound) // spec.hop_length * spec.hop_length]
        if len(sound) >= spec.shortest and sound.abs().max() > 1e-3:
            sounds.append(sound - sound.mean())
        if len(sounds) == clips:
            break
    return Real(dataset, chosen, sounds, checkpoints.load(dataset))


def compare(
    names: Sequence[str] | None, datasets: Sequence[str] | None, here: Context, *,
    split: str, clips: int, seconds: float, made: int,
) -> dict:  # fmt: skip
    """Measure vocoders (default: ``VOCODERS``) on one CPU thread: on ``clips`` recordings of each data set (default:
    those of the bundled vocoder), and on the first ``made`` clips of each bundled gallery. Returns plain numbers
    ``{"rows", "made", "processor"}``. Raises FramiError subclasses."""
    vocoders = {name: named(name) for name in names or VOCODERS}
    rows, again = [], []
    with threads(1):
        for dataset in datasets or DATASETS:
            real = read(dataset, split, clips, seconds, here.data_folder)
            gallery = ASSETS / "gallery" / dataset
            bank = banks.load(gallery) if made and (gallery / banks.MANIFEST).exists() else None
            about = {"dataset": dataset, "folds": list(real.folds), "clips": len(real.sounds)}
            for name, vocode in vocoders.items():
                vocode(real.sounds[0].new_full((80, 8), -3.0))  # libraries are imported, weights are read
                with here.progress("clip", f"{dataset}: {name}") as report:
                    found = copy_synthesis(vocode, real, report)
                rows.append(about | {"vocoder": name} | {key: round(value, 4) for key, value in found.items()})
                if bank is not None:
                    again.append({"teacher": dataset, "vocoder": name} | made_clips(vocode, bank, real.teacher, made))
    return {"rows": rows, "made": again, "processor": platform.processor() or platform.machine()}


def copy_synthesis(vocode: Vocode, real: Real, report: Report = silent) -> dict[str, float]:
    """Means over the clips: ``mr_stft``, ``log_mel``, ``agreement`` (share of clips whose predicted class stays the
    same), ``rtf`` (processor seconds a second of sound, on one thread)."""
    spec, rows, spent = MelSpec(), [], 0.0
    for done, sound in enumerate(real.sounds, 1):
        log_mel = spec(sound)
        begun = time.process_time()
        made = vocode(log_mel)
        spent += time.process_time() - begun
        again = spec(made)
        same = predicted(real.teacher, log_mel) == predicted(real.teacher, again)
        rows.append((stft_distance(made, sound), float((again - log_mel).abs().mean()), float(same)))
        report(done, len(real.sounds))
    mr_stft, log_mel, agreement = torch.tensor(rows).mean(0).tolist()
    seconds = sum(map(len, real.sounds)) / spec.sample_rate
    return {"mr_stft": mr_stft, "log_mel": log_mel, "agreement": agreement, "rtf": spent / seconds}


def made_clips(vocode: Vocode, bank: banks.Bank, teacher: Checkpoint, most: int) -> dict[str, float]:
    """Of the first clips of a bank after log-Mel → sound → log-Mel: target accuracy, and the log-Mel distance."""
    spec, right, distance = bank.spec, 0, 0.0
    count = min(most, len(bank))
    for i in range(count):
        mel = bank.batch([i])[0][0, 0]
        again = spec(vocode(mel))
        right += predicted(teacher, again) == int(bank.target[i])
        distance += float((again - mel.clamp(min=spec.floor)).abs().mean())
    return {"clips": count, "target_accuracy": right / count, "log_mel": distance / count}


def stft_distance(made: Tensor, real: Tensor) -> float:
    """Spectral convergence plus mean difference of log magnitudes, mean over three resolutions; sounds are Tensor[N].

    Magnitudes below what a log-Mel-spectrogram can show count as the least that it can.
    """
    total = 0.0
    for window, hop, n in RESOLUTIONS:
        shape = torch.hann_window(window)
        a, b = (torch.stft(x, n, hop, window, shape, return_complex=True).abs() for x in (made, real))
        least = QUIET * (window / 1024) ** 0.5
        total += float((a - b).norm() / b.norm().clamp(min=1e-3))
        total += float((a.clamp(min=least).log() - b.clamp(min=least).log()).abs().mean())
    return total / len(RESOLUTIONS)


@torch.inference_mode()
def predicted(teacher: Checkpoint, log_mel: Tensor) -> int:
    """Class that a teacher predicts for Tensor[F, T]."""
    return int(teacher.model(log_mel[None, None]).logits.argmax())


#: Name, digits and best value of each measure.
_MEASURES = {
    "mr_stft": ("STFT", 3, min),
    "log_mel": ("log-Mel", 3, min),
    "agreement": ("agreement", 2, max),
    "rtf": ("RTF", 3, min),
}


def page(value: dict, command: str) -> list[str]:
    """Lines of the page of what ``compare`` returned, made by ``command``."""
    tables: dict[str, dict[str, dict]] = {}
    for row in value["rows"]:
        tables.setdefault(row["dataset"], {})[row["vocoder"]] = row
    lines = intro("vocoder", command=command)
    for dataset, rows in tables.items():
        first = next(iter(rows.values()))
        best = {key: pick(row[key] for row in rows.values()) for key, (*_, pick) in _MEASURES.items()}
        cells = [[f"`{name}`", *(_cell(key, row[key], best[key]) for key in _MEASURES)] for name, row in rows.items()]
        lines += heading(f"{dataset}: {first['clips']} clips of {', '.join(first['folds'])}")
        lines += table(["vocoder", *(title for title, *_ in _MEASURES.values())], cells)
    return [*lines, *_made(value["made"]), *_verdict(tables)]


def _cell(key: str, value: float, best: float) -> str:
    text = f"{value:.{_MEASURES[key][1]}f}"
    return f"**{text}**" if value == best else text


def _made(made: list[dict]) -> list[str]:
    """Table of the gallery's clips: target accuracy after log-Mel → sound → log-Mel, and the log-Mel distance."""
    if not made:
        return []
    clips = {row["teacher"]: row["clips"] for row in made}
    found = {(row["vocoder"], row["teacher"]): f"{row['target_accuracy']:.0%}, {row['log_mel']:.3f}" for row in made}
    names = dict.fromkeys(row["vocoder"] for row in made)
    counts = ", ".join(f"{count} of {teacher}" for teacher, count in clips.items())
    about = "Target accuracy after spectrogram → sound → spectrogram; log-Mel distance."
    return [
        *heading(f"Made clips of the bundled gallery: {counts}", about),
        *table(["vocoder", *clips], [[f"`{name}`", *(found[name, teacher] for teacher in clips)] for name in names]),
    ]


def _verdict(tables: dict[str, dict[str, dict]]) -> list[str]:
    """Where the usual vocoder is behind another row, in each table; nothing when it was not measured."""
    usual = f"frami:{neural.read_card(neural.FOLDER / 'frami').rounds}"
    measured = {dataset: rows for dataset, rows in tables.items() if usual in rows}
    lines = []
    for (dataset, rows), (key, (title, _, pick)) in product(measured.items(), _MEASURES.items()):
        own = rows[usual][key]
        ahead = [f"`{name}`" for name, row in rows.items() if pick(row[key], own) != own]
        if ahead:
            lines.append(f"- {dataset}, {title}: {', '.join(ahead)}")
    title = f"Where `{usual}`, the usual vocoder, is not the best"
    return [*heading(title), "", *(lines or ["In no measure of these tables."])] if measured else []


def named(name: str) -> Vocode:
    """The vocoder of a row: ``NAME:NUMBER``, or any name that ``frami.vocoder.get`` knows. Raises VocoderError."""
    kind, colon, number = name.partition(":")
    if colon and kind in _KINDS and number.isdecimal():
        return _KINDS[kind](int(number))
    if colon and not name.endswith(".safetensors"):
        raise VocoderError(f"there is no vocoder {name!r} to measure; settings have: {', '.join(_KINDS)}, as frami:32")
    return _own(get(name, MelSpec()))


def _own(vocoder) -> Vocode:
    return lambda log_mel: vocoder(log_mel[None, None])[0]


class _Matching(Neural):
    """Griffin-Lim's sound, matched as the network's is."""

    def synthesize(self, log_mel: Tensor) -> Tensor:
        network, mel = self._network(log_mel.device), log_mel.clamp(min=self.mel_spec.floor)
        return network.match(GriffinLim(self.mel_spec, 32).synthesize(mel), mel, self.rounds)


def _librosa(iterations: int) -> Vocode:
    """``librosa.feature.inverse.mel_to_audio``: non-negative least squares, then fast Griffin-Lim."""
    import librosa

    spec = MelSpec()

    def vocode(log_mel: Tensor) -> Tensor:
        sound = librosa.feature.inverse.mel_to_audio(
            _edged(log_mel).exp().numpy(), sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop_length, power=1.0,
            n_iter=iterations, fmin=spec.f_min, fmax=spec.f_max,
        )  # fmt: skip
        return _moved(torch.from_numpy(sound), log_mel.shape[-1])

    return vocode


def _torchaudio(iterations: int) -> Vocode:
    """``InverseMelScale`` (least squares, clipped), then ``GriffinLim``, as torchaudio has them."""
    from torchaudio.transforms import GriffinLim as Phase
    from torchaudio.transforms import InverseMelScale

    spec = MelSpec()
    bands = InverseMelScale(
        spec.n_fft // 2 + 1, spec.n_mels, spec.sample_rate, spec.f_min, spec.f_max, norm="slaney", mel_scale="slaney",
        driver="gelsd",
    )  # fmt: skip
    phase = Phase(spec.n_fft, iterations, hop_length=spec.hop_length, power=1.0)

    def vocode(log_mel: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _moved(phase(bands(_edged(log_mel).exp())), log_mel.shape[-1])

    return vocode


def _edged(log_mel: Tensor) -> Tensor:
    """With its first and last frame twice: frames of other libraries are centred half a hop earlier than ours."""
    return torch.cat([log_mel[:, :1], log_mel, log_mel[:, -1:]], dim=1)


def _moved(sound: Tensor, frames: int) -> Tensor:
    """Sound of ``_edged`` frames to where ``MelSpec`` has them, within full scale as in a file."""
    hop = MelSpec().hop_length
    return sound[hop // 2 : hop // 2 + frames * hop].float().clamp(-1, 1)


_KINDS: dict[str, Callable[[int], Vocode]] = {
    "frami": lambda number: _own(Neural(neural.FOLDER / "frami", "frami", rounds=number)),
    "matching": lambda number: _own(_Matching(neural.FOLDER / "frami", "matching", rounds=number)),
    "griffin-lim": lambda number: _own(GriffinLim(MelSpec(), number)),
    "librosa": _librosa,
    "torchaudio": _torchaudio,
}
