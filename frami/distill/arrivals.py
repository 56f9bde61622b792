"""What comes back from a run on a cluster, checked like any input and stored as the run's own."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from frami import banks, checkpoints, files, schema
from frami.banks import shards
from frami.banks.folder import read_manifest, shard_numbers, shard_path
from frami.checkpoints import Checkpoint
from frami.cluster.run_there import FILES, MANIFEST, STATE, STUDENT, News
from frami.distill.settings import RunSettings
from frami.errors import FramiError
from frami.runs import Runs
from frami.runs.rows import Run

#: At most: rows of curves in one answer; bytes of a file.
_POINTS, _BYTES = 10**6, 1 << 31
#: What curves may be called.
_CURVE = Field(pattern=r"^[a-z][a-z0-9_ -]{0,59}$")
_STATUSES = ("waiting", "running", "stopped", "finished", "failed")

_Row = tuple[
    Annotated[str, _CURVE],
    Annotated[int, schema.whole(-1)],
    Annotated[float, schema.number(0, schema.WORK)],
    Annotated[float, Field(strict=True)],
]
_Count = Annotated[int, schema.whole()]


class Arrived(BaseModel):
    """Types of ``News``, of which the files are checked one by one."""

    points: Annotated[tuple[_Row, ...], Field(max_length=_POINTS)]
    more: schema.Flag
    code: Annotated[int, schema.whole(-255, 255)] | None
    status: Literal[_STATUSES]
    error: schema.text(1 << 20) | None
    log: schema.text(1 << 16)


class Result(BaseModel):
    """Types of a finished run's result."""

    model_config = ConfigDict(extra="forbid")
    run: schema.Line
    accuracy: schema.MaybeShare
    accuracy_of: schema.Line | None
    agreement: schema.MaybeShare
    agreement_clips: _Count
    seconds: Annotated[float, schema.number(0, schema.WORK)]
    clips: _Count
    steps: _Count
    notes: Annotated[list[schema.Line], Field(max_length=10_000)]
    parameters: _Count
    macs: _Count
    latency_ms: Annotated[float, schema.number(0, schema.WORK)]
    bytes: _Count
    confusion: list[list[_Count]] | None
    confusion_of: Literal["real", "made"] | None


class Arrivals:
    """The store and the folder of a run that a cluster does. ``teacher`` : with the classes that its student learns.
    Raises FramiError for what cannot be of this run; nothing of it is stored."""

    def __init__(self, store: Runs, run: Run, request: RunSettings, teacher: Checkpoint):
        self.store, self.run, self.request, self.teacher = store, run, request, teacher
        self._begins = True

    def begin(self) -> None:
        """The run begins, from its last checkpoint or anew: points that come from now on take the place of those behind
        them."""
        self._begins = True

    def complete(self, news: News, take: Callable[[str, int], Iterable[bytes]]) -> News:
        """News with the contents of its large files, which ``take(name, size)`` gives in pieces."""
        if not isinstance(news, News) or not isinstance(news.files, dict):
            return news  # which ``take`` refuses
        found = dict(news.files)
        try:
            for name, size in schema.held(dict[str, _Count], news.large).items():
                self._named(name, size)
                found[name] = b"".join(take(name, size))
        except ValueError as error:
            raise self._damaged(error) from error
        return replace(news, files=found, large={})

    def take(self, news: News) -> Arrived:
        """Store what is new; returns it, checked."""
        try:
            values = {name: getattr(news, name, None) for name in Arrived.model_fields}
            found = Arrived(**values) if isinstance(news, News) else None
            if found is None or not isinstance(news.files, dict):
                raise ValueError("other values than a run has")
            self._files(news.files)
        except (ValueError, OSError) as error:
            if isinstance(error, FramiError):
                raise
            files.raise_full(self.run.folder, error)
            raise self._damaged(error) from error
        self._log(found.points)
        return found

    def result(self, news: News) -> dict:
        """The result of a run that is finished."""
        try:
            Result(**news.result)
        except (ValueError, TypeError) as error:
            raise self._damaged(error) from error
        result, count = news.result, len(self.teacher.classes)
        matrix = result["confusion"]
        if matrix is not None and (len(matrix) != count or any(len(row) != count for row in matrix)):
            raise self._damaged("its confusions are those of other classes")
        if result["run"] != self.run.id or not checkpoints.exists(self.run.folder / "student"):
            raise self._damaged("it is another run's, or has no student")
        return result

    def drop_surplus(self) -> None:
        """Remove clips behind the bank's end: of a worker that was lost before the run learnt from them."""
        folder = self.run.folder / "bank"
        if (self.run.folder / MANIFEST).is_file():
            for number in shard_numbers(folder)[read_manifest(folder)["shards"] :]:
                shard_path(folder, number).unlink()

    def _log(self, points: tuple) -> None:
        """Store points of the curves, step by step."""
        steps: dict[tuple[int, float], dict[str, float]] = {}
        for name, step, seconds, value in points:
            steps.setdefault((step, seconds), {})[name] = value
        for (step, seconds), values in steps.items():
            self.store.log(self.run.id, step, seconds, values, self._begins)
            self._begins = False

    def _files(self, contents: dict) -> None:
        """Store files, the state last."""
        for name, content in contents.items():
            if not isinstance(content, bytes):
                raise ValueError(f"no file of a run: {schema.shown(name)}")
            self._named(name, len(content))
        with tempfile.TemporaryDirectory() as made:
            scratch = Path(made)
            if any(name in contents for name in STUDENT):
                self._student([contents.get(name, b"") for name in STUDENT], scratch)
            for name in sorted(set(contents) - {*STUDENT, STATE}, key=lambda name: name == MANIFEST):
                self._clips(name, contents[name], scratch)
        if STATE in contents:  # read with weights_only by who goes on, which begins anew where it is none
            files.write(self.run.folder / STATE, contents[STATE])

    @staticmethod
    def _named(name: object, size: int) -> None:
        """ValueError for what no file of a run can be."""
        if not (isinstance(name, str) and FILES.fullmatch(name)):
            raise ValueError(f"no file of a run: {schema.shown(name)}")
        if size > _BYTES:
            raise ValueError(f"{name} has {size / 1e9:,.1f} GB, more than any")

    def _student(self, pair: list[bytes], scratch: Path) -> None:
        """Store the student, its card with this run's own settings."""
        for name, content in zip(STUDENT, pair, strict=True):
            (scratch / name).write_bytes(content)
        try:
            student = checkpoints.load(scratch / "student")
        except checkpoints.CheckpointError as error:
            raise ValueError(str(error).replace(f"{scratch}/", "")) from error
        card = student.card
        if card.kind != "student" or card.classes != self.teacher.classes or student.spec != self.teacher.spec:
            raise ValueError("the student is another teacher's")
        own = {name: value for name, value in self.request.to_dict().items() if name != "data"}
        named = {"teacher_sha256": self.teacher.card.sha256, "run": self.run.id}
        card = replace(card, training=card.training | own | named, evaluation=f"frami evaluate {self.run.id}")
        checkpoints.save(self.run.folder / "student", student.model, card)

    def _clips(self, name: str, content: bytes, scratch: Path) -> None:
        """Store a file of the run's bank."""
        file = scratch / os.path.basename(name)
        file.write_bytes(content)
        try:
            if name == MANIFEST:
                found = read_manifest(scratch)["classes"] == list(self.teacher.classes)
            else:
                shard, spec = shards.read(file), self.teacher.spec
                found = (shard.frames.shape[1], shard.logits.shape[1]) == (spec.n_mels, len(self.teacher.classes))
        except (banks.BankError, shards.Damaged) as error:
            raise ValueError(f"{name}: {str(error).replace(f'{scratch}/', '')}") from error
        if not found:
            raise ValueError(f"{name} belongs to another run")
        (self.run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write(self.run.folder / name, content)

    @staticmethod
    def _damaged(reason: object) -> FramiError:
        return FramiError(f"what came back from the cluster cannot be used ({schema.shown(reason, 200)})")
