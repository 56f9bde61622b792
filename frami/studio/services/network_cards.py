"""Teachers, their students and their judges as the page's cards show them: what is said comes from checked cards."""

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

from frami import checkpoints
from frami.checkpoints import Card
from frami.data.catalogue import in_words
from frami.data.own import label
from frami.errors import FramiError
from frami.features import judges
from frami.mel import MelSpec
from frami.models import ARCHITECTURES, DEFAULT
from frami.paths import BUNDLED, made
from frami.studio.services import page_values

#: Classes that a card names; the others are counted.
_NAMED = 12


def rows(teachers: Mapping[str, Card]) -> list[dict]:
    """A row for each teacher, in their order: its facts, whether it has a gallery, its students and its judge."""
    students = checkpoints.bundled("student")
    return [
        _facts(card)
        | {
            "gallery": made("gallery", name).is_dir(),
            "students": [_facts(one) for one in students if one.teacher == name],
            "judge": _judge(name),
        }
        for name, card in teachers.items()
    ]


def _facts(card: Card) -> dict:
    """What a card says, in values and words of the page."""
    held = card.split.get("test")
    interval = card.measured.get("interval") or None
    return {
        "name": card.name,
        "title": card.title,
        "bundled": (BUNDLED / f"{card.name}.safetensors").is_file(),
        "classes": [page_values.name(one) for one in card.classes[:_NAMED]],
        "count": len(card.classes),
        "several": card.multilabel,
        "parameters": card.parameters,
        "accuracy": _share(card.accuracy),
        "agreement": _share(card.agreement),
        "on": in_words(card.dataset, held) if held else "",
        "clips": card.clips,
        "interval": [_share(end) for end in interval] if interval else None,
        "licence": card.licence,
        "data_licence": card.data_licence,
        "dataset": label(card.dataset),
        "architecture": _architecture(card),
        "front_end": _front_end(card),
        "seconds": card.seconds,
        "command": card.evaluation if (BUNDLED / f"{card.name}.safetensors").is_file() else "",
    }


def _share(value: float | None) -> str | None:
    """A share in words, rounded as everywhere; None for none."""
    return None if value is None else f"{value:.1%}"


def _architecture(card: Card) -> str:
    """The network in a few words."""
    name = card.model.get("architecture", DEFAULT)
    if name == "program":
        return "imported program"
    return ARCHITECTURES[name].about if name in ARCHITECTURES else name


def _front_end(card: Card) -> str:
    """The spectrogram that it takes, in a few words."""
    with suppress(FramiError, ValueError, TypeError):
        spec = MelSpec.from_dict(card.mel_spec)
        frame = 1000 * spec.hop_length / spec.sample_rate
        return f"{spec.n_mels} Mel bands, {spec.sample_rate:,} Hz, {frame:.1f} ms a frame"
    return "not stated"


@lru_cache(maxsize=16)
def _judge(name: str) -> dict | None:
    """The network that judges the teacher's clips; None where there is none."""
    if name not in judges.JUDGES:
        return None
    with suppress(FramiError):
        return _facts(checkpoints.read_card(judges.FOLDER / judges.JUDGES[name]))
    return None
