"""A distillation as a run: its folder, checkpoints, curves and result; killed at any moment, it goes on.

The folder holds ``settings.json``; ``state.pt``, what the run needs to go on; ``bank/``, the clips that it made;
``student.safetensors`` beside its card, the student as it is; and at the end ``result.json``.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from frami import banks, checkpoints, cost, files, locks, models, train, weights
from frami.adapter import chosen
from frami.banks import Bank
from frami.banks.folder import shard_numbers, shard_path
from frami.checkpoints import Card, Checkpoint
from frami.data import LogMels, Skip, label, shipped
from frami.data.catalogue import DATASETS
from frami.distill import learner
from frami.distill.augment import AugmentConfig
from frami.distill.loop import State, distill
from frami.distill.settings import RunSettings
from frami.distill.student import both
from frami.distill.unseen import shipped_clips
from frami.distributed import ALONE, Group
from frami.errors import FramiError
from frami.evaluation import confusion, shares
from frami.features.embeddings import recordings
from frami.features.recordings import measured_on, trained_on_these
from frami.files import FullError
from frami.inversion import Clips
from frami.runs import RunError, Runs

#: Seconds of work between two checkpoints, and between two points of the curves.
SAVE_EVERY, REPORT_EVERY = 10.0, 2.0
#: Recordings up to which a student is compared with its teacher on them, too: the teacher classifies them once.
COMPARED = 600
STUDENT, STATE, RESULT, SETTINGS, BANK = "student", "state.pt", "result.json", "settings.json", "bank"


def begin(request: RunSettings, store: Runs, folder: Path | None = None) -> str:
    """Enter a new run in the store, and its settings in its folder; returns its id. Raises FramiError."""
    if folder is None:
        return _entered(request, store, None)
    folder = folder.resolve()
    try:
        with locks.folder(folder):
            if (folder / SETTINGS).exists():
                raise FramiError(f"{folder} is another run's; choose another --out")
            return _entered(request, store, folder)
    except OSError as error:
        files.raise_full(folder, error)
        raise FramiError(f"{folder} cannot be written ({error.strerror}); choose another --out") from error


def _entered(request: RunSettings, store: Runs, folder: Path | None) -> str:
    run = store.create("distill", request.name, request.to_dict(), folder)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(run.folder / SETTINGS, {"run": run.id} | request.to_dict())
    except OSError as error:
        with suppress(FramiError):  # the same command begins it anew
            store.delete(run.id)
        files.raise_full(run.folder, error)
        raise FramiError(f"{run.folder} cannot be written ({error.strerror}); choose another --out") from error
    return run.id


def work(
    id: str,
    store: Runs,
    device: torch.device | str = "cpu",
    data_folder: str | Path | None = None,
    report: Callable[[State, float | None], None] | None = None,
    save_every: float = SAVE_EVERY,
    group: Group = ALONE,
) -> dict:
    """Do the work of a stored run, from the beginning or from its last checkpoint; returns its result.

    save_every : seconds of work between two checkpoints. ``report(state, accuracy)`` is called as it goes on; accuracy
    on held-out real clips, None where they are not at hand. KeyboardInterrupt saves the run and records it as stopped.
    group : processes that share its learning steps; all but the main one are in ``follow``. Raises FramiError.
    """
    run = store.get(id)
    if run.status == "finished":
        return run.result
    try:
        held = locks.folder(run.folder)
    except locks.InUseError:  # before anything is noted of it: the run is the other process's
        raise RunError(f"run {id} is at work in another process; stop it first, or wait until it ends") from None
    except OSError as error:
        try:
            files.raise_full(run.folder, error)
        except files.FullError as full:
            error = full
        _failed(id, store, error)
        raise error
    with held:
        store.start(id)
        run = store.get(id)
        if run.result:  # another process finished it in between
            store.finish(id, run.result)
            return run.result
        try:
            request = RunSettings.from_dict(run.settings)
            teacher, data = of(request, device), data_folder or request.data
            return _Run(id, store, run.folder, request, teacher, data, report, save_every, group).finish()
        except KeyboardInterrupt:
            with suppress(FullError):  # what was saved tells enough
                store.stop(id)
            raise
        except Exception as error:
            _failed(id, store, error)
            raise


def follow(group: Group, device: torch.device | str) -> None:
    """Share the learning steps of the run that the main process works on, until that sends an empty order. It makes no
    clips and needs none. FramiError where another teacher lies here."""
    if not (given := group.shared()):
        return
    request = RunSettings.from_dict(given["request"])
    teacher = of(request, device)
    if teacher.card.sha256 != given["teacher"]:
        raise FramiError(f"teacher {request.teacher} is another one here than the first process has")
    if frames := group.shared():
        teacher, student, _ = both(teacher, request.settings)
        learner.follow(learner.new_learner(teacher, student, request.settings, frames, AugmentConfig(), group))


def _failed(id: str, store: Runs, error: Exception) -> None:
    """Note why a run failed; where a disk is full, what to do is added to it."""
    if isinstance(error, FullError):
        error.advice = f"go on with: frami distill --resume {id}"
    with suppress(FullError):
        store.fail(id, str(error) if isinstance(error, FramiError) else f"{type(error).__name__}: {error}")


def of(request: RunSettings, device: torch.device | str = "cpu") -> Checkpoint:
    """The teacher of a run, with the classes that its student learns. Raises FramiError."""
    teacher, classes = checkpoints.load(request.teacher, device), request.settings.classes
    return teacher if classes is None else chosen(teacher, classes)


class _Run:
    """A run at work. ``elsewhere`` : whether it is measured on another data set than its teacher was; ``reported``,
    ``saved``, ``evaluated`` : seconds of work at the last of each; ``effort`` : seconds of the last evaluation;
    ``expected`` : classes that the teacher predicts of the recordings; ``compared`` : of the last point of agreement;
    ``state`` : the last checkpoint, None at the beginning; ``data`` : folder of recordings, or None."""

    def __init__(
        self, id: str, store: Runs, folder: Path, request: RunSettings, teacher: Checkpoint, data, report, every, group
    ):
        self.id, self.store, self.folder, self.request, self.teacher = id, store, folder, request, teacher
        self.report, self.every, self.group = report, every, group
        group.shared({"request": request.to_dict(), "teacher": teacher.card.sha256})
        bad: dict[str, None] = {}
        skip = (lambda line: bad.setdefault(line)) if request.skip_bad else None
        self.test = held_out(teacher, data, request.dataset, skip)
        self.elsewhere = bool(request.dataset) and not trained_on_these(teacher.card, request.dataset)
        self.clips = source(teacher, request, data, skip)
        damaged = self.clips.damaged if isinstance(self.clips, Bank) else ()
        ship = self.test is not None and shipped.are(self.test.clips)
        self.measured_on = self.test and measured_on(self.test, request.dataset or teacher.card.dataset)
        said = (f"accuracy is of {self.measured_on}; the whole test part is not at hand",) if ship else ()
        self.notes = (
            *said,
            *(f"left out of the bank: {part}" for part in damaged),
            *(f"left out: {line}" for line in bad),
        )
        self.state = _read(folder / STATE)
        self.writer: banks.Writer | None = None
        self.accuracy: float | None = None
        self.expected: torch.Tensor | None = None
        self.compared: torch.Tensor | None = None
        self.reported = self.saved = self.evaluated = -math.inf
        self.effort = 0.0

    def finish(self) -> dict:
        """Work until the end; returns the result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = self._open_bank() if self.request.settings.source == "made" else None
        self.store.cut(self.id, self.state["steps"] if self.state else -1)
        states = distill(
            self.teacher, self.request.settings, self.clips, every=0.5,
            memory=self.state and self.state["memory"], earlier=earlier, spare=self._spare(), group=self.group,
        )  # fmt: skip
        state = None
        try:
            for state in states:
                if state.made is not None:
                    self.writer.append(state.made.clips, seconds=state.made.seconds)
                if state.finished or state.seconds - self.reported >= REPORT_EVERY:
                    self._report(state)
                if state.finished or state.seconds - self.saved >= self.every:
                    self._save(state)
        except KeyboardInterrupt:
            if state is not None:
                self._save(state)
            raise
        finally:
            states.close()
        return self._end(state)

    def _spare(self) -> Bank | None:
        """Clips to measure agreement on that ship with the teacher, where it learns neither from recordings nor from
        some of the classes alone."""
        s = self.request.settings
        return shipped_clips(self.teacher, self.request.bank, s.recipe) if s.source in ("made", "bank") else None

    def _open_bank(self) -> Clips | None:
        """Open the run's own bank; returns the clips that the last checkpoint counts. Those made after it are made
        again."""
        teacher, s, folder = self.teacher, self.request.settings, self.folder / BANK
        if self.state:
            for number in shard_numbers(folder):
                if number >= self.state["batches"]:
                    shard_path(folder, number).unlink()
        settings = {
            "teacher": teacher.card.name, "teacher_sha256": teacher.card.sha256, "recipe": s.recipe, "run": self.id,
            "batch": s.clips, "seed": s.seed,
        }  # fmt: skip
        more = {"overwrite": self.state is None, "multilabel": teacher.multilabel}
        self.writer = banks.create(folder, settings, teacher.classes, teacher.spec, **more)
        if not self.state or not self.state["clips"]:
            return None
        bank = banks.load(folder)
        return bank.clips(range(min(len(bank), self.state["clips"])))

    def _report(self, state: State) -> None:
        """Add a point to the curves. Evaluation on real clips takes a tenth of the whole time at most."""
        self.reported = state.seconds
        values = dict(state.losses) | {"clips": state.clips, "share": state.share, "left": state.left}
        if state.steps and state.compared is not None and state.compared is not self.compared:
            self.compared = state.compared
            values |= {"agreement": state.agreement, "agreement_clips": int(state.compared.sum())}
        due = state.finished or state.seconds - self.evaluated >= 9 * self.effort
        if self.test is not None and state.steps and due:
            values |= self._evaluate(state)
        self.store.log(self.id, state.steps, state.seconds, values)
        if self.report:
            self.report(state, self.accuracy)

    def _evaluate(self, state: State) -> dict[str, float]:
        """What the student is worth on real clips, as points of curves."""
        if self.expected is None and len(self.test) <= COMPARED:
            self.expected = train.evaluate(self.teacher.model, self.test).predictions
        begin = time.perf_counter()
        predicted = train.evaluate(state.student, self.test).predictions
        counted = confusion(predicted, self.test, self.teacher.multilabel)
        self.accuracy = shares(counted)["accuracy"]
        self.evaluated, self.effort = state.seconds, time.perf_counter() - begin
        values = {"accuracy": self.accuracy, "accuracy_clips": int(counted.sum())}
        if self.expected is not None:
            values["real_agreement"] = float((predicted == self.expected).float().mean())
        return values

    def _save(self, state: State) -> None:
        """Write the checkpoint: first the student, then how far the run is."""
        memory = state.memory()
        batches = memory["inversion"]["batches"] if memory["inversion"] else 0
        if self.writer is not None and batches != self.writer.batches:
            return  # interrupted between a batch and its shard: the checkpoint before stays
        self.saved = state.seconds
        checkpoints.save(self.folder / STUDENT, state.student, self._card(state))
        values = {"memory": memory, "clips": memory["clips"], "steps": memory["learner"]["steps"]}
        weights.save_state(self.folder / STATE, values | {"seconds": memory["seconds"], "batches": batches})

    def _card(self, state: State) -> Card:
        """The student's: what the teacher's says of classes, spectrograms, data and licences holds for it as well."""
        card, s = self.teacher.card, self.request.settings
        clips = "made_clips" if s.source in ("made", "bank") else "clips"
        return replace(
            card,
            name=f"{card.name}-{s.student}",
            kind="student",
            model=state.student.config.to_dict(),
            parameters=cost.parameters(state.student),
            accuracy=None if self.accuracy is None or self.elsewhere else round(self.accuracy, 4),
            clips=0 if self.test is None or self.elsewhere else len(self.test),
            measured={},
            training=_learnt_of(card)
            | {name: value for name, value in self.request.to_dict().items() if name != "data"}
            | ({"dataset": label(self.request.dataset)} if self.request.dataset else {})
            | ({"measured_on": self.measured_on} if self.measured_on else {})
            | {"teacher_sha256": card.sha256, "run": self.id, clips: state.clips, "steps_done": state.steps},
            evaluation=f"frami evaluate {self.id}",
            teacher=card.name,
            agreement=None if math.isnan(state.agreement) else round(state.agreement, 4),
        )

    def _end(self, state: State) -> dict:
        if self.writer is not None and not self.writer.complete and self.writer.made:
            self.writer.finish()
        result = {
            "run": self.id,
            "accuracy": self.accuracy,
            "accuracy_of": self.measured_on,
            "agreement": None if math.isnan(state.agreement) else state.agreement,
            "agreement_clips": 0 if state.compared is None else int(state.compared.sum()),
            "seconds": round(state.seconds, 1),
            "clips": state.clips,
            "steps": state.steps,
            "notes": [*self.notes, *state.notes],
        } | measured(self.teacher, state.student, self.folder, self.test, state.compared)
        files.write_json(self.folder / RESULT, result)
        self.store.finish(self.id, result)
        (self.folder / STATE).unlink(missing_ok=True)
        return result


def _learnt_of(card: Card) -> dict:
    """What a student's card keeps of the recordings that its teacher was trained on, where these are one's own."""
    return {name: value for name, value in card.training.items() if name == "recordings"}


def held_out(
    teacher: Checkpoint, data_folder: str | Path | None, dataset: str | None = None, skip: Skip = None
) -> LogMels | None:
    """Real clips that the teacher was not trained on, of its data set or another one; where neither data set nor folder
    were named and its own is not at hand, those that ship. None for a teacher of no data set, and where none ship.
    Raises FramiError for a named one without them."""
    if not (dataset or teacher.card.dataset):
        return None
    try:
        return recordings(teacher, dataset, "test", data_folder, skip=skip, else_shipped=dataset is None)
    except FramiError:
        if dataset or (data_folder is not None and teacher.card.dataset in DATASETS):
            raise
        return None


def source(
    teacher: Checkpoint, request: RunSettings, data_folder: str | Path | None, skip: Skip = None
) -> Bank | LogMels | None:
    """The clips that a run learns from, where it does not make them itself. Raises FramiError."""
    if request.settings.source == "bank":
        if not request.bank:
            raise FramiError("source 'bank' needs a bank; name its folder with --bank")
        return banks.load(request.bank)
    if request.settings.source != "real":
        return None
    return recordings(teacher, request.dataset, "train", data_folder, skip=skip)


def measured(
    teacher: Checkpoint,
    student: models.Classifier,
    folder: Path,
    test: LogMels | None,
    compared: torch.Tensor | None = None,
) -> dict:
    """What a finished student is: its cost, and its confusions on real clips or, where none are at hand, on made clips
    that it did not learn from, against the teacher's predictions (``compared``)."""
    student.eval()
    found = cost.measure(student, teacher.spec, teacher.card.seconds)
    pairs, kind = compared, None if compared is None else "made"
    if test is not None:
        pairs, kind = _confusion(teacher, student, test), "real"
    return {
        "parameters": found.parameters,
        "macs": found.macs,
        "latency_ms": round(found.latency_ms, 3),
        "bytes": (folder / f"{STUDENT}.safetensors").stat().st_size,
        "confusion": None if pairs is None else pairs.tolist(),
        "confusion_of": kind,
    }


def _confusion(teacher: Checkpoint, student: models.Classifier, test: LogMels) -> torch.Tensor:
    """A student's confusions on real clips, Tensor[K, K], counted as ``frami evaluate`` does."""
    return confusion(train.evaluate(student, test).predictions, test, teacher.multilabel)


def _read(path: Path) -> dict | None:
    """The last checkpoint, None where there is none or it is damaged."""
    try:
        saved = torch.load(path, weights_only=True)
        counts = [saved[name] for name in ("clips", "steps", "batches")]
        return saved if isinstance(saved["memory"], dict) and all(isinstance(one, int) for one in counts) else None
    except Exception:  # a damaged file may raise anything; the run then begins anew
        return None


def unfinished(folder: Path, store: Runs) -> bool:
    """Whether this is the folder of a stored run that has not come to its end."""
    there = (folder / SETTINGS).exists() and not (folder / RESULT).exists()
    return there and any(run.folder == folder.resolve() for run in store.list())
