"""``--on local|ray|ray://HOST:PORT``: options of the commands that several workers can share, and their engine."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

from frami import cluster
from frami.bench import scale
from frami.cli.arguments import Parser, command, number, progress, whole
from frami.cluster import Engine

WHERE = "local: in this process (default); ray: worker processes of this machine; ray://HOST:PORT: a Ray cluster"


def add(sub: Parser, task: str, on: bool = True) -> None:
    """task : what one worker makes at a time, in words; on : False where the command has an ``--on`` that knows
    ``where``."""
    if on:
        sub.add_argument("--on", dest="where", default=cluster.LOCAL, metavar="WHERE", help=WHERE)
    many = "workers at once, each with {} of its own (default: as many as there are processors or GPUs for)"
    sub.add_argument("--workers", type=whole(1, 100_000), metavar="N", help=many.format(task))
    share = "with --on ray: GPUs of a worker, 0.25 for a quarter of one (default: 1 where there are GPUs)"
    sub.add_argument("--gpus", type=number(0, 64), metavar="N", help=share)


@contextmanager
def engine(options) -> Iterator[Engine]:
    """Where the options say that tasks run, from the first task on. Nothing of it runs behind the block, in which
    Ray's own remarks go to standard error: standard output is the command's. FramiError."""
    with ExitStack() as stack:
        if options.where != cluster.LOCAL:
            stack.enter_context(redirect_stdout(sys.stderr))
        device = getattr(options, "device", "cpu")
        choices = {"workers": options.workers, "gpus": options.gpus, "device": device}
        yield stack.enter_context(cluster.later(options.where, **choices))


def add_bench(bench) -> None:
    """``frami bench scale``."""
    about = "What several workers are worth beside one, by tasks that sleep or that make clips."
    sub, usual = command(bench, "scale", _scale, about), scale.Plan()
    add(sub, "a task")
    kinds = f"sleep: the engine alone is measured (default); clips: batches of {usual.clips} clips of the teacher fsdd"
    sub.add_argument("--tasks", choices=(scale.SLEEP, scale.CLIPS), default=scale.SLEEP, help=kinds)
    sub.add_argument("--each", type=whole(1), default=usual.each, help=f"tasks a worker (default: {usual.each})")
    sub.add_argument(
        "--seconds", type=number(0.01, 60), default=usual.seconds, help="of a task that sleeps (default: 1)"
    )


def _scale(options) -> tuple[dict, list[str]]:
    plan = scale.Plan(options.tasks, options.each, options.seconds)
    with engine(options) as opened:
        value = scale.run(plan, opened, progress) | {"on": options.where}
    line = (
        f"{value['tasks']} tasks of {value['task_seconds']:.2f} s on {value['workers']} workers ({value['processes']} "
        f"processes) in {value['seconds']:.2f} s: efficiency {value['efficiency']:.1%}"
    )
    return value, [line]
