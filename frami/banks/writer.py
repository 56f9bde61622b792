"""Making a bank: finished batches are added one by one, and an interrupted run goes on behind the last of them."""

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from frami import files, locks, weights
from frami.audio import AudioError, MelSpec
from frami.banks import shards
from frami.banks.folder import (
    MANIFEST,
    NEW,
    RESUME,
    SHARDS,
    BankError,
    entries,
    finish_replacement,
    read_manifest,
    read_shards,
    shard_numbers,
    shard_path,
    write_manifest,
)
from frami.banks.saving import Predict, Saving, refused
from frami.inversion import Clips, Trajectory
from frami.vocoder import Vocoder

#: Clips up to which the manifest is written after every batch; from there on when the bank has grown by a tenth.
OFTEN = 1000


def create(
    folder: str | Path,
    settings: dict,
    classes: Sequence[str],
    spec: MelSpec,
    vocoder: Vocoder | None = None,
    *,
    ending: str = "wav",
    predict: Predict | None = None,
    overwrite: bool = False,
    multilabel: bool = False,
    kind: "type[Writer] | None" = None,
    before: Callable[[], None] | None = None,
) -> "Writer":
    """A writer for the bank of these settings, which goes on where an interrupted run of the same settings stopped.

    A finished bank of the same settings is left as it is (``writer.complete``). Another one stays unless ``overwrite``,
    and then until the first batch of the new one is saved. Without a vocoder no sounds are written; ``ending`` chooses
    their format; multilabel : as of the teacher's ``Card``. With ``predict`` a shard is stored in float32 where float16
    would change a prediction. kind : of the writer, where it is another one. before : called before the folder
    is changed, where clips are to be made. The folder is the writer's until it has finished, or is given up. Raises
    BankError, and InUseError where another process writes the bank.
    """
    folder = Path(folder)
    if vocoder is not None:
        vocoder.check(spec)
    head = {
        "format": shards.FORMAT,
        "settings": json.loads(json.dumps(settings)),
        "mel_spec": spec.to_dict(),
        "vocoder": vocoder.name if vocoder else None,
        "ending": ending if vocoder else None,
        "classes": list(classes),
    } | ({"multilabel": True} if multilabel else {})
    if folder.exists() and not folder.is_dir():
        raise BankError(f"{folder} is a file; choose a folder for the bank")
    if before is not None and (overwrite or not _is_finished(folder, head)):
        before()
    writer = (kind or Writer)(folder, head, vocoder, predict)
    try:
        writer._lock = locks.folder(folder)
        files.tidy(folder / SHARDS)
        finish_replacement(folder)
        if not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir()):
            writer._begin(folder)
        elif overwrite:
            writer._begin(folder / NEW)
        elif (folder / MANIFEST).exists():
            writer._go_on(read_manifest(folder))
        else:
            raise BankError(f"{folder} is not empty and holds no bank; choose another --out, or add --overwrite")
    except OSError as error:
        writer.close()
        files.raise_full(folder, error)
        raise BankError(f"{folder}: no bank can be written there ({error.strerror or error})") from error
    except BaseException:
        writer.close()
        raise
    return writer


class Writer:
    """Adds finished batches to a bank; ``create`` makes one.

    made : clips so far, those of damaged shards among them; batches : their number; state : what ``append`` was given
    with the last of them, or None; seconds : time that all took; complete : the run has finished; damaged : shards that
    are not whole any more, with the reason.
    """

    def __init__(self, folder: Path, head: dict, vocoder: Vocoder | None, predict: Predict | None):
        self.folder = folder
        self.made, self.batches, self.seconds = 0, 0, 0.0
        self.state: dict | None = None
        self.complete = False
        self.damaged: list[str] = []
        self._head, self._saving = head, Saving(head, vocoder, predict)
        self._entries: list[dict] = []
        self._at, self._before, self._listed = folder, 0.0, 0
        self._lock = locks.Held(None)

    def close(self) -> None:
        """Let other processes write the bank."""
        self._lock.release()

    @property
    def in_place(self) -> bool:
        """Whether the bank lies in its folder: no other, which it is to replace, is there any more."""
        return self._at == self.folder

    @property
    def manifest(self) -> dict:
        """The manifest as it would be written now."""
        predicted = sum(entry["target"] == entry["predicted"] for entry in self._entries)
        return self._head | {
            "seconds": round(self.seconds, 2),
            "target_accuracy": round(predicted / len(self._entries), 4) if self._entries else None,
            "complete": self.complete,
            "shards": self.batches,
            "clips": list(self._entries),
        }

    def append(
        self, clips: Clips, *, seconds: float, trajectory: Trajectory | None = None, state: dict | None = None
    ) -> None:
        """Save the clips of a finished batch as a new shard; no earlier shard or sound changes.

        seconds : time since this run began or went on; that of the runs before is added. trajectory : of these clips.
        state : nested dicts of tensors and numbers that the run gets back when it goes on. Raises BankError when the
        bank is complete, the disk refuses, or a clip is not finite, FullError when it is full; what was saved before
        stays.
        """
        if self.complete:
            raise BankError(f"{self.folder} is finished and takes no more clips")
        resume, spent = self._at / RESUME, self._before + seconds
        try:
            listed = self._saving.save(self._at, self.batches, self.made, clips, trajectory)
            if state is None:
                resume.unlink(missing_ok=True)
            else:
                weights.save_state(resume, {"batches": self.batches + 1, "seconds": spent, "state": state})
            self._entries += listed
            self.made, self.batches, self.state, self.seconds = self.made + len(clips), self.batches + 1, state, spent
            if self.made <= OFTEN or self.made >= 1.1 * self._listed:
                self._write_manifest()
            if self._at != self.folder:
                finish_replacement(self.folder)
                self._at = self.folder
        except (OSError, AudioError) as error:
            raise refused(self.folder, error) from error

    def finish(self) -> None:
        """Mark the run as finished. Raises BankError when it made nothing or the disk refuses."""
        if not self.made:
            raise BankError(f"{self.folder}: nothing was made, so there is nothing to finish")
        self.complete = True
        try:
            self._write_manifest()
            (self.folder / RESUME).unlink(missing_ok=True)
        except OSError as error:
            raise refused(self.folder, error) from error
        self.close()

    def _begin(self, at: Path) -> None:
        """Start an empty bank. One that is to replace another gets its manifest with its first clips."""
        shutil.rmtree(self.folder / NEW, ignore_errors=True)
        at.mkdir(parents=True, exist_ok=True)
        self._at = at
        if at == self.folder:
            self._write_manifest()

    def _go_on(self, manifest: dict) -> None:
        """Find out where the run stopped. Shards behind its saved state are removed: the run makes the same again."""
        _refuse_other(self.folder, self._head, manifest)
        if manifest["complete"]:
            self.complete, self.seconds = True, manifest["seconds"]
            self.made, self.batches = len(manifest["clips"]), manifest["shards"]
            self.close()
        else:
            self._find(manifest)

    def _find(self, manifest: dict) -> None:
        """What of an unfinished run is there."""
        whole, damaged = read_shards(self.folder, manifest)
        saved = saved_state(self.folder / RESUME)
        if saved is None or saved["batches"] - 1 not in whole:
            saved = {"batches": max(whole, default=-1) + 1, "seconds": manifest["seconds"], "state": None}
        self.batches, self.seconds, self.state = saved["batches"], saved["seconds"], saved["state"]
        for number in reversed(shard_numbers(self.folder)):
            if number >= self.batches:
                shard_path(self.folder, number).unlink()
        self._before = self.seconds
        self.damaged = [reason for number, reason in damaged.items() if number < self.batches]
        for shard in (shard for number, shard in whole.items() if number < self.batches):
            self._entries += entries(shard, shard.first, self._head)
            self.made = shard.first + len(shard)
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_manifest(self._at, self.manifest)
        self._listed = len(self._entries)


def _is_finished(folder: Path, head: dict) -> bool:
    """Whether a folder holds the finished bank of these settings. BankError where it holds another one."""
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_manifest(folder)
    _refuse_other(folder, head, manifest)
    return manifest["complete"]


def _refuse_other(folder: Path, head: dict, manifest: dict) -> None:
    """BankError where a folder's bank has other settings."""
    other = _differences(head, manifest)
    if other:
        raise BankError(
            f"{folder} holds a bank made with other settings ({', '.join(other)}); "
            "choose another --out, or add --overwrite"
        )


def _differences(head: dict, manifest: dict) -> list[str]:
    """Names of the settings in which two banks differ."""
    own, there = head["settings"], manifest["settings"]
    other = [key for key in own | there if own.get(key) != there.get(key)]
    keys = {**head, "multilabel": False}
    return other + [key for key in keys if key != "settings" and head.get(key, False) != manifest.get(key, False)]


def saved_state(path: Path) -> dict | None:
    """Content of a file as ``resume.pt``; None when it is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as file:  # torch.load does not check the sums that its format holds
            if file.testzip() is not None:
                return None
        saved = torch.load(path, weights_only=True)
        counts = isinstance(saved["batches"], int) and isinstance(saved["seconds"], int | float)
        return saved if counts and "state" in saved else None
    except Exception:  # a damaged file may raise anything; the run goes on without it
        return None
