"""A teacher from a repository of the Hugging Face Hub, or a folder like it: a checkpoint of frami's, as it is, or a
model of Transformers, by way of ``torch.export``."""

from collections.abc import Sequence
from dataclasses import replace

from frami import checkpoints, hub
from frami.adapter import importing, transformers
from frami.adapter.importing import Found
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.mel import MelSpec
from frami.program.network import ProgramNetwork, ReusableNetwork

#: Clips that a model is exported and tried with: it is large, and its operations fix no number of them.
_CLIPS = 2


def from_hub(
    source: hub.Source,
    spec: MelSpec | None = None,
    classes: Sequence[str] | None = None,
    *,
    seconds: float | None = None,
    name: str = "",
    licence: str = "unknown",
    data_licence: str = "unknown",
    **settings,
) -> tuple[Checkpoint, Found, dict]:
    """A teacher, what was found of it, and where it is from: ``source``, its ``kind``, and names of weights that are
    ``unused``.

    spec, classes, seconds : in place of what its files state; ``settings`` : ``frames``, ``output``, ``scale``,
    ``multilabel``, ``least`` and ``silent``, as of ``importing.teacher``. A checkpoint of frami's has all of these
    itself. FramiError says what does not fit.
    """
    if hub.own(source.folder) is not None:
        given = {"front-end": spec, "classes": classes, "seconds": seconds} | settings
        if stated := [what for what, value in given.items() if value is not None]:
            raise FramiError(
                f"{source.label} is a checkpoint of frami's, which has its own {' and '.join(stated)}; leave that out"
            )
        return _own(source, name, {"licence": licence, "data_licence": data_licence})
    loaded = transformers.load(source, classes, spec)
    if licence == "unknown":
        licence = source.licence or licence
    settings["scale"] = settings.get("scale") or "logits"
    if loaded.multilabel and settings.get("multilabel") is None:
        settings["multilabel"] = True
    made, found = importing.from_module(
        loaded.network, loaded.spec, loaded.classes, seconds=loaded.seconds, channel=False, time_first=True,
        clips=_CLIPS, name=name or source.name, licence=licence, data_licence=data_licence, **settings,
    )  # fmt: skip
    card = replace(made.card, seconds=seconds or round(loaded.seconds, 3), training={"imported": source.label})
    about = {"kind": loaded.kind, "unused": loaded.unused, "source": source.label}
    return Checkpoint(made.model, card, made.spec), found, about


def _own(source: hub.Source, name: str, licences: dict[str, str]) -> tuple[Checkpoint, Found, dict]:
    """A checkpoint of frami's, the same bit for bit, under this name, and with these licences where they are known."""
    made = checkpoints.load(checkpoints.pretrained(source))
    card = checkpoints.public(made.card)
    card = replace(card, name=name or card.name, **{k: v for k, v in licences.items() if v != "unknown"})
    about = {"kind": card.kind, "unused": [], "source": source.label}
    return Checkpoint(made.model, card, made.spec), _found(made), about


def _found(teacher: Checkpoint) -> Found:
    """What an import says of a network that was imported, or made, before."""
    model, multilabel = teacher.model, teacher.multilabel
    if not isinstance(model, ProgramNetwork):
        return importing.of_classifier(model, multilabel)
    takes, places = model.config.takes, model.config.places
    return Found(
        len(model.program.nodes), len(importing.norms(model)), takes.shortest, takes.longest, places.frames,
        places.pooled, importing.behind(model.program, places), isinstance(model, ReusableNetwork),
        "" if isinstance(model, ReusableNetwork) else "as when it was first imported",
        multilabel=multilabel,
    )  # fmt: skip
