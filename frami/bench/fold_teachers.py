"""Teachers for which a fold was held out: each is a task, which workers can share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from frami import checkpoints
from frami.bench.results import Context
from frami.cluster import Engine, Failures, Local, Task
from frami.cluster.tasks import Report
from frami.device import pick
from frami.errors import FramiError
from frami.teachers import train_teacher


@dataclass(frozen=True)
class FoldTeacher:
    """A teacher that is to lie at ``path``. about : for people; settings : arguments of ``train_teacher``; skip_bad :
    whether it learns without the files that cannot be used."""

    about: str
    path: Path
    dataset: str
    settings: Mapping[str, object]
    skip_bad: bool = False


def ready(teachers: Sequence[FoldTeacher], here: Context, engine: Engine | None = None) -> None:
    """Train those that are not there, each a task of ``engine`` (None: in this process); one that was stopped goes on
    with the epoch where it was. FramiError where one could not be trained, once the others are, and where a worker
    wrote it into a folder that this machine does not share."""
    engine, failures = engine or Local(), Failures("teachers")
    missing = [replace(one, path=one.path.absolute()) for one in teachers if not checkpoints.exists(one.path)]
    folder = here.data_folder and str(Path(here.data_folder).absolute())
    device = here.device_name if engine.remote else str(here.device)
    tasks = [Task(one.about, trained, (one, folder, device)) for one in missing]
    unit = "teacher" if engine.remote else "epoch"
    for ended in engine.run(tasks, here.progress, unit=unit, label="teachers", total=len(tasks)):
        teacher = ended.task.arguments[0]
        if not failures.note(ended) and not checkpoints.exists(teacher.path):
            raise FramiError(
                f"{teacher.path} was written on {ended.where} and is not here: workers of several machines need "
                "FRAMI_HOME (or --keep) and --data in folders that all of them share"
            )
    failures.tell()


def trained(teacher: FoldTeacher, data_folder: str | None, device_name: str, *, report: Report) -> None:
    """Train a teacher and save it, unless it is there. FramiError subclasses of ``train_teacher``."""
    teacher.path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(teacher.path.with_name(f".{teacher.path.name}.fold.lock")):  # another may train it at this moment
        if not checkpoints.exists(teacher.path):
            train_teacher(
                teacher.dataset, teacher.path, data_folder=data_folder, device=pick(device_name),
                on_epoch=lambda epoch: report(epoch.epoch, epoch.epochs),
                skip=_left_out if teacher.skip_bad else None, **teacher.settings,
            )  # fmt: skip


def _left_out(line: str) -> None:
    """Of a file that cannot be used; whoever measures names it."""
