"""Recordings that ship for a teacher, as the page draws and plays them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from frami import answers, audio, sound_files
from frami.checkpoints import Checkpoint
from frami.data import shipped
from frami.data.catalogue import DATASETS, fold_kind
from frami.data.dataset import Clip
from frami.data.shipped import Recording
from frami.errors import FramiError
from frami.features import maps, stored_recordings
from frami.features.recordings import held_out
from frami.paths import home
from frami.studio.services import clip_ids, clips, page_values
from frami.workers.pool import on_file, shared

#: Recordings whose pictures the page may ask for at a time.
A_REQUEST = 48


@dataclass(frozen=True)
class _Known:
    """A teacher's recordings: rows of the table, classes, frames of each, and logits Tensor[N, K]."""

    rows: list[Recording]
    labels: list[int]
    frames: list[int]
    logits: Tensor


@dataclass(frozen=True)
class Recordings:
    """Recordings that ship for each of these ``teachers`` (names); what a teacher makes of them stands beside its map,
    below ``explore`` or in ``FRAMI_HOME``, or a worker computes it."""

    explore: Path
    load_teacher: Callable[[str], Checkpoint]
    teachers: Sequence[str]
    _known_at: Callable[[str, tuple], _Known | None] = field(init=False, repr=False)
    _picture: Callable[[Path, str], Tensor] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_known_at", lru_cache(maxsize=8)(self._read))
        object.__setattr__(self, "_picture", lru_cache(maxsize=256)(self._log_mel))

    def folder(self, name: str) -> Path:
        """Where a teacher's map is."""
        bundled = self.explore / name
        return bundled if bundled.is_dir() else home() / "explore" / name

    def value(self, name: str, pictures: bool = True) -> dict:
        """``{"teacher", "clips", "axis"}``: rows as of ``page_values.clip``, each with ``label`` (its class's number),
        ``real`` and ``credit``; no rows where no recording ships.

        Without ``pictures`` rows have neither ``mel`` nor ``top``: those of a hundred clips of 5 s are 5 MB. The page
        asks for them by ``pictures`` when they are looked at.
        """
        known = self._known(name)
        rows = [self._row(name, known, i, pictures) for i in range(len(known.rows))] if known else []
        return {"teacher": name, "clips": rows, "axis": page_values.axis(self.load_teacher(name).spec)}

    def pictures(self, ids: Sequence[str]) -> list[dict]:
        """These recordings whole. FramiError for other ids, or too many."""
        if not isinstance(ids, list) or len(ids) > A_REQUEST:
            raise FramiError(f"at most {A_REQUEST} clips at a time")
        return [self.clip(id) for id in ids]

    def clip(self, id: str) -> dict:
        """A recording as the page shows it. FramiError for another id."""
        clip, known = self._found(id)
        return self._row(clip.owner, known, clip.index, True)

    def sound(self, id: str) -> bytes:
        """A recording as a WAV file, at the rate that it is stored in. FramiError for another id."""
        sound = sound_files.read(self.path(id))
        return clips.wav_file(torch.from_numpy(sound.samples), sound.rate)

    def path(self, id: str) -> Path:
        """A recording's file. FramiError for another id."""
        clip, known = self._found(id)
        return self.file(known.rows[clip.index])

    def file(self, row: Recording) -> Path:
        """The file of a row of the table."""
        return shipped.FOLDER / row.file

    def log_mel(self, path: Path, name: str) -> Tensor:
        """Log-Mel of a recording as this teacher takes it, Tensor[F, T]."""
        return self._picture(path, name)

    def some(self, name: str) -> bool:
        """Whether recordings ship for a teacher."""
        return bool(self.rows(name))

    def row(self, id: str) -> Recording:
        """A recording's row in the table. FramiError for another id."""
        clip, known = self._found(id)
        return known.rows[clip.index]

    def _found(self, id: str) -> tuple[clip_ids.ClipId, _Known]:
        clip = clip_ids.parse(id)
        known = self._known(clip.owner) if clip.kind == "recording" and clip.owner in self.teachers else None
        if known is None or clip.state is not None or clip.vocoder is not None or clip.index >= len(known.rows):
            raise FramiError("no such recording")
        return clip, known

    # ------------------------------------------------------------------------------------- what is known of them

    def rows(self, name: str) -> tuple[Recording, ...]:
        """The table's rows of a teacher's recordings, by the numbers in their ids."""
        card = self.load_teacher(name).card if name in self.teachers else None
        if card is None or card.dataset not in DATASETS:
            return ()
        return tuple(row for row in shipped.listed(card.dataset, held_out(card)) if row.label in card.classes)

    def _known(self, name: str) -> _Known | None:
        rows = self.rows(name)
        return self._known_at(name, rows) if rows else None

    def _read(self, name: str, rows: tuple[Recording, ...]) -> _Known | None:
        """What a teacher makes of these: as it is stored, else as a worker finds it."""
        teacher = self.load_teacher(name)
        found = stored_recordings.load(self.folder(name), teacher)
        if found is not None and found.names == [Path(row.file).stem for row in rows]:
            return _Known(list(rows), found.layer.target.tolist(), found.frames.tolist(), found.logits)
        shared().run("map-shipped", on_file(teacher))
        here = maps.shipped(teacher)  # from where the worker stored it
        if here is None:
            return None
        by_file = {row.file: row for row in rows}
        files = [_file(here.clips.clips[i]) for i in here.rows]
        frames = [len(here.clips.frames[i]) for i in here.rows]
        return _Known([by_file[file] for file in files], here.layer.target.tolist(), frames, here.logits)

    def _row(self, name: str, known: _Known, i: int, picture: bool) -> dict:
        teacher, row, logits, label = self.load_teacher(name), known.rows[i], known.logits[i], known.labels[i]
        predicted = int(answers.heard(logits[None], torch.tensor([label]), teacher.multilabel)[0])
        about = {
            "label": label,
            "real": True,
            "credit": row.credit,
            "origin": origin(row, teacher),
            "untargeted": False,
        }
        if picture:
            mel, more = self.log_mel(self.file(row), name), {"multilabel": teacher.multilabel} | about
            args = mel, logits, label, predicted, teacher.classes, teacher.spec
            return page_values.clip(f"{clip_ids.prefix('recording', name)}/{i}", *args, **more)
        probabilities = answers.probabilities(logits, teacher.multilabel)
        return {
            "id": f"{clip_ids.prefix('recording', name)}/{i}",
            "target": page_values.name(teacher.classes[label]),
            "predicted": page_values.name(teacher.classes[predicted]),
            "confidence": round(float(probabilities[label]), 3),
            "frames": known.frames[i],
        } | about

    def _log_mel(self, path: Path, name: str) -> Tensor:
        """A recording's log-Mel, Tensor[F, T]."""
        spec = self.load_teacher(name).spec
        return spec(audio.load(path, spec.sample_rate))


def _file(clip: Clip) -> str:
    return clip.file.relative_to(shipped.FOLDER).as_posix()


def origin(row: Recording, teacher: Checkpoint) -> str:
    """Where a recording comes from, in words."""
    dataset = teacher.card.dataset
    part = next((name for name in DATASETS[dataset].parts if name in row.datasets), dataset)
    return f"{DATASETS[part].title}, {fold_kind(part)} {row.fold} (held out)"
