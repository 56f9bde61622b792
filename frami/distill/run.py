"""A distillation as a run: its folder, checkpoints, curves and result; killed at any moment, it goes on.

The folder holds ``settings.json``; ``state.pt``, what the run needs to go on; ``bank/``, the clips that it made;
``student.safetensors`` beside its card, the student as it is; and at the end ``result.json``.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from frami import banks, checkpoints, cost, files, models, train
from frami.banks import Bank
from frami.banks.folder import shard_numbers, shard_path
from frami.checkpoints import Card, Checkpoint
from frami.data import LogMels
from frami.distill.loop import Settings, State, distill
from frami.errors import FramiError
from frami.features.embeddings import recordings
from frami.runs import Runs

#: Seconds of work between two checkpoints, and between two rows of the curves.
KEEP, TELL = 10.0, 2.0
STUDENT, STATE, RESULT, SETTINGS, BANK = "student", "state.pt", "result.json", "settings.json", "bank"


@dataclass(frozen=True)
class RunSettings:
    """What a run's settings name beside those of the distillation itself: ``teacher`` by name or path, ``bank`` a
    folder of made clips, ``data`` the folder of recordings that was named, or None."""

    teacher: str
    settings: Settings
    bank: str | None = None
    data: str | None = None

    @classmethod
    def read(cls, values: dict) -> "RunSettings":
        """From the settings of a stored run; fields that are not given keep their defaults. Raises FramiError."""
        known = {field.name for field in fields(Settings)}
        foreign = set(values) - known - {"teacher", "bank", "data"}
        if foreign or not isinstance(values.get("teacher"), str):
            what = f"unknown: {', '.join(sorted(foreign))}" if foreign else "no teacher is named"
            raise FramiError(f"these are not the settings of a distillation ({what})")
        settings = Settings(**{k: v for k, v in values.items() if k in known})
        return cls(values["teacher"], settings, values.get("bank"), values.get("data"))

    def to_dict(self) -> dict:
        """As stored; without what only says how clips are made where none are."""
        named = {name: getattr(self, name) for name in ("bank", "data") if getattr(self, name)}
        values = {"teacher": self.teacher, **self.settings.to_dict()} | named
        making = () if self.settings.source == "made" else ("recipe", "clips", "share")
        return {name: value for name, value in values.items() if name not in making}

    @property
    def name(self) -> str:
        """Short name of the run."""
        s = self.settings
        source = {"made": s.recipe, "bank": Path(self.bank or "").name}.get(s.source, s.source)
        return f"{Path(self.teacher).name} {s.student} {s.objective} {source}"


def begin(request: RunSettings, store: Runs, folder: Path | None = None) -> str:
    """Note a new run in the store, and its settings in its folder; returns its id. Raises FramiError."""
    run = store.create("distill", request.name, request.to_dict(), None if folder is None else folder.resolve())
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(run.folder / SETTINGS, {"run": run.id} | request.to_dict())
    except OSError as error:
        store.fail(run.id, f"{run.folder} cannot be written ({error.strerror})")
        raise FramiError(f"{run.folder} cannot be written ({error.strerror}); choose another --out") from error
    return run.id


def work(
    id: str,
    store: Runs,
    device: torch.device | str = "cpu",
    data_folder: str | Path | None = None,
    report: Callable[[State, float | None], None] | None = None,
    keep: float = KEEP,
) -> dict:
    """Do the work of a stored run, from the beginning or from its last checkpoint; returns its result.

    keep : seconds of work between two checkpoints. ``report(state, accuracy)`` is called as it goes on; accuracy on
    held-out real clips, None where they are not at hand. KeyboardInterrupt saves and marks the run as stopped. Raises
    FramiError.
    """
    run = store.get(id)
    if run.status == "finished":
        return run.result
    store.start(id)
    again = store.get(id)
    if again.result:  # another process finished it in between
        store.finish(id, again.result)
        return again.result
    try:
        request = RunSettings.read(run.settings)
        teacher = checkpoints.load(request.teacher, device)
        return _Run(id, store, run.folder, request, teacher, data_folder or request.data, report, keep).whole()
    except KeyboardInterrupt:
        store.stop(id)
        raise
    except Exception as error:
        store.fail(id, str(error) if isinstance(error, FramiError) else f"{type(error).__name__}: {error}")
        raise


class _Run:
    """The run at work."""

    def __init__(
        self, id: str, store: Runs, folder: Path, request: RunSettings, teacher: Checkpoint, data_folder, report, keep
    ):
        self.id, self.store, self.folder, self.request, self.teacher = id, store, folder, request, teacher
        self.data_folder, self.report = data_folder, report
        self.test = held_out(teacher, data_folder)
        self.saved = _saved(folder / STATE)
        self.writer: banks.Writer | None = None
        self.accuracy: float | None = None
        self.keep = keep
        self.notes: tuple[str, ...] = ()
        self.told = self.kept = self.tried = -math.inf
        self.effort = 0.0

    def whole(self) -> dict:
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        clips = source(self.teacher, self.request, self.data_folder)
        if isinstance(clips, Bank):
            self.notes = tuple(f"left out of the bank: {damaged}" for damaged in clips.damaged)
        earlier = None
        if self.request.settings.source == "made":
            if self.saved is not None:  # made after the last checkpoint: the run makes these anew
                for number in shard_numbers(folder / BANK):
                    if number >= self.saved["batches"]:
                        shard_path(folder / BANK, number).unlink()
            self.writer = self._writer()
            if self.saved is not None:
                earlier = self._earlier()
        self.store.cut(self.id, self.saved["steps"] if self.saved is not None else -1)
        states = distill(
            self.teacher, self.request.settings, clips, every=0.5,
            memory=self.saved and self.saved["memory"], earlier=earlier,
        )  # fmt: skip
        state = None
        try:
            for state in states:
                if state.made is not None:
                    self.writer.append(state.made.clips, seconds=state.made.seconds)
                self._tell(state)
                if state.finished or state.seconds - self.kept >= self.keep:
                    self._keep(state)
        except KeyboardInterrupt:
            if state is not None:
                self._keep(state)
            raise
        finally:
            states.close()
        return self._end(state)

    def _writer(self) -> banks.Writer:
        teacher, s = self.teacher, self.request.settings
        settings = {
            "teacher": teacher.card.name, "teacher_sha256": teacher.card.sha256, "recipe": s.recipe, "run": self.id,
            "batch": s.clips, "seed": s.seed,
        }  # fmt: skip
        new = self.saved is None
        return banks.create(self.folder / BANK, settings, teacher.classes, teacher.spec, overwrite=new)

    def _earlier(self):
        """The clips that the last checkpoint knew."""
        if not self.saved["clips"]:
            return None
        bank = banks.load(self.folder / BANK)
        return bank.clips(range(min(len(bank), self.saved["clips"])))

    def _tell(self, state: State) -> None:
        if not state.finished and state.seconds - self.told < TELL:
            return
        self.told = state.seconds
        values = dict(state.losses) | {"clips": state.clips, "share": state.share, "left": state.left}
        if state.steps:
            values["agreement"] = state.agreement
        if self.test is not None and state.steps and (state.finished or self._may_try(state)):
            begin = time.perf_counter()
            self.accuracy = train.evaluate(state.student, self.test).accuracy
            self.tried, self.effort = state.seconds, time.perf_counter() - begin
            values["accuracy"] = self.accuracy
        self.store.log(self.id, state.steps, state.seconds, values)
        if self.report:
            self.report(state, self.accuracy)

    def _may_try(self, state: State) -> bool:
        """Whether it is time to listen to real clips again: that takes a tenth of the whole at most."""
        return state.seconds - self.tried >= 9 * self.effort

    def _keep(self, state: State) -> None:
        """Write the checkpoint: first the student, then what says how far the run is."""
        memory = state.memory()
        if self.writer is not None and self._batches(memory) != self.writer.batches:
            return  # cut off between a batch and its shard: the checkpoint before stands
        self.kept = state.seconds
        checkpoints.save(self.folder / STUDENT, state.student, self._card(state))
        values = {"memory": memory, "clips": memory["clips"], "steps": memory["learner"]["steps"]}
        with files.replacing(self.folder / STATE) as temporary, temporary.open("wb") as file:
            torch.save(values | {"seconds": memory["seconds"], "batches": self._batches(memory)}, file)

    @staticmethod
    def _batches(memory: dict) -> int:
        return memory["inversion"]["batches"] if memory["inversion"] else 0

    def _card(self, state: State) -> Card:
        card, s = self.teacher.card, self.request.settings
        known = not math.isnan(state.agreement)
        return Card(
            name=f"{card.name}-{s.student}",
            kind="student",
            dataset=card.dataset,
            title=card.title,
            classes=card.classes,
            mel_spec=card.mel_spec,
            model=state.student.config.to_dict(),
            parameters=cost.parameters(state.student),
            split=card.split,
            accuracy=None if self.accuracy is None else round(self.accuracy, 4),
            clips=0 if self.test is None else len(self.test),
            licence=card.licence,
            data_licence=card.data_licence,
            training={name: value for name, value in self.request.to_dict().items() if name != "data"}
            | {"teacher_sha256": card.sha256, "run": self.id}
            | {"made_clips" if s.source in ("made", "bank") else "clips": state.clips, "steps_done": state.steps},
            evaluation=f"frami evaluate {self.id}",
            seconds=card.seconds,
            teacher=card.name,
            agreement=round(state.agreement, 4) if known else None,
        )

    def _end(self, state: State) -> dict:
        if self.writer is not None and not self.writer.complete and self.writer.made:
            self.writer.finish()
        result = {
            "run": self.id,
            "accuracy": self.accuracy,
            "agreement": None if math.isnan(state.agreement) else state.agreement,
            "seconds": round(state.seconds, 1),
            "clips": state.clips,
            "steps": state.steps,
            "notes": [*self.notes, *state.notes],
        } | measured(self.teacher, state.student, self.folder, self.test)
        files.write_json(self.folder / RESULT, result)
        self.store.finish(self.id, result)
        (self.folder / STATE).unlink(missing_ok=True)
        return result


def held_out(teacher: Checkpoint, data_folder: str | Path | None) -> LogMels | None:
    """Real clips that the teacher never heard in training; None for a teacher of no data set, and where no folder was
    named and none are at hand. Raises DataError for a named folder without them."""
    if not teacher.card.dataset:
        return None
    try:
        return recordings(teacher, None, "test", data_folder)
    except FramiError:
        if data_folder is not None:
            raise
        return None


def source(teacher: Checkpoint, request: RunSettings, data_folder: str | Path | None) -> Bank | LogMels | None:
    """The clips that a run learns from, where it does not make them itself. Raises FramiError."""
    if request.settings.source == "bank":
        if not request.bank:
            raise FramiError("source 'bank' needs a bank; name its folder with --bank")
        return banks.load(request.bank)
    return recordings(teacher, None, "train", data_folder) if request.settings.source == "real" else None


def measured(teacher: Checkpoint, student: models.Classifier, folder: Path, test: LogMels | None) -> dict:
    """What a finished student is: size, arithmetic, latency, and its confusions on real clips or, where none are at
    hand, on clips of the run's own bank, against the teacher's answers."""
    student.eval()
    found = cost.measure(student, teacher.spec, teacher.card.seconds)
    value = {
        "parameters": found.parameters,
        "macs": found.macs,
        "latency_ms": round(found.latency_ms, 3),
        "bytes": (folder / f"{STUDENT}.safetensors").stat().st_size,
        "confusion": None,
        "confusion_of": None,
    }
    if test is not None:
        return value | {"confusion": train.evaluate(student, test).confusion.tolist(), "confusion_of": "real"}
    if (folder / BANK / banks.MANIFEST).exists():
        bank = banks.load(folder / BANK)
        kinds = len(teacher.classes)
        with torch.no_grad():
            predicted = torch.cat([_predicted(student, bank, rows) for rows in torch.arange(len(bank)).split(64)])
        pairs = torch.bincount(bank.predicted * kinds + predicted, minlength=kinds**2).reshape(kinds, kinds)
        return value | {"confusion": pairs.tolist(), "confusion_of": "made"}
    return value


def _predicted(student: models.Classifier, bank: Bank, rows: torch.Tensor) -> torch.Tensor:
    device = next(student.parameters()).device
    mels, lengths, _ = bank.batch(rows)
    return student(mels.to(device), lengths.to(device)).logits.argmax(1).cpu()


def _saved(path: Path) -> dict | None:
    """The last checkpoint, None where there is none or it is damaged."""
    try:
        return torch.load(path, weights_only=True)
    except Exception:  # a damaged file may raise anything; the run then begins anew
        return None


def unfinished(folder: Path, store: Runs) -> bool:
    """Whether this is the folder of a stored run that has not come to its end."""
    there = (folder / SETTINGS).exists() and not (folder / RESULT).exists()
    return there and any(run.folder == folder.resolve() for run in store.list())
