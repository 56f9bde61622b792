"""Made clips as plain values that the page draws. No Gradio, no mathematics beyond a change of units."""

import base64
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from frami.audio import MelSpec
from frami.checkpoints import Card
from frami.data.catalogue import fold_kind
from frami.inversion import Clips

_DECIBELS = 20 / math.log(10)


@lru_cache
def axis(spec: MelSpec) -> dict:
    """What the page needs to label a spectrogram: seconds a frame, bands of round frequencies, range in dB."""
    centres = spec.filterbank().argmax(0).float() * spec.sample_rate / spec.n_fft
    ticks = [kilohertz for kilohertz in (0.5, 1, 2, 4, 8) if kilohertz * 1000 < spec.f_max]
    return {
        "bands": spec.n_mels,
        "frame": spec.hop_length / spec.sample_rate,
        "ticks": [[f"{khz:g}", int((centres - khz * 1000).abs().argmin())] for khz in ticks],
        "low": round(spec.floor * _DECIBELS, 1),
        "high": round(spec.ceiling * _DECIBELS, 1),
    }


def picture(mel: Tensor, spec: MelSpec) -> str:
    """Log-Mel Tensor[F, T] as base64 of F × T bytes, 0 the floor and 255 the ceiling."""
    scaled = (mel.clamp(spec.floor, spec.ceiling) - spec.floor) / (spec.ceiling - spec.floor)
    return base64.b64encode((scaled * 255).round().to(torch.uint8).numpy().tobytes()).decode()


def clips(
    made: Clips,
    prefix: str,
    classes: tuple[str, ...],
    spec: MelSpec,
    origin: str,
    first: int = 0,
    untargeted: bool = False,
) -> list[dict]:
    """One dict a clip: id, classes asked for and heard, confidence, picture, the teacher's five likeliest classes.

    ``untargeted`` : no class could be asked for, so a clip goes by the name of the one that is heard.
    """
    made = as_predicted(made) if untargeted else made
    shares = made.logits.softmax(1)
    rows = []
    for i in range(len(made)):
        length = int(made.lengths[i])
        best = shares[i].topk(min(5, len(classes)))
        rows.append(
            {
                "id": f"{prefix}/{first + i}",
                "target": name(classes[int(made.target[i])]),
                "predicted": name(classes[int(made.predicted[i])]),
                "confidence": round(float(made.confidence[i]), 3),
                "frames": length,
                "mel": picture(made.mels[i, 0, :, :length], spec),
                "top": [
                    [name(classes[k]), round(p, 3)]
                    for k, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                ],
                "origin": origin,
                "untargeted": untargeted,
            }
        )
    return rows


def as_predicted(made: Clips) -> Clips:
    """Clips as if the classes heard in them had been asked for."""
    return replace(made, target=made.predicted, confidence=made.logits.softmax(1).amax(1))


def sureness(made: Clips, untargeted: bool) -> float:
    """How sure the teacher is on average, of the class asked for or of whichever it hears."""
    return float((as_predicted(made) if untargeted else made).confidence.mean())


def name(label: str) -> str:
    """A class name for people."""
    return label.replace("_", " ")


def facts(card: Card) -> list[list[str]]:
    """The teacher in a few pairs of words."""
    accuracy = "not measured" if card.accuracy is None else f"{card.accuracy:.1%}"
    return [
        ["classes", str(len(card.classes))],
        ["parameters", f"{card.parameters / 1e6:.2f} M"],
        [f"accuracy on {fold_kind(card.dataset)} {', '.join(card.split['test'])}, never heard in training", accuracy],
        ["data licence", card.data_licence],
    ]


def curve(values: list[float], most: int = 200) -> list[float]:
    """At most ``most`` points of a curve, evenly spaced, the last one always among them."""
    if len(values) <= most:
        return [round(v, 4) for v in values]
    keep = np.linspace(0, len(values) - 1, most).round().astype(int)
    return [round(values[i], 4) for i in keep]
