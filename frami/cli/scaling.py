"""``--on local|ray|ray://HOST:PORT``: options of the commands that several workers can share, and their engine."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

from frami import cluster
from frami.cli.arguments import Parser, number, whole
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
    """Where the options say that tasks run. Nothing of it runs behind the block, in which Ray's own remarks go to
    standard error: standard output is the command's. FramiError."""
    cluster.check(options.where, options.workers, options.gpus)
    with ExitStack() as stack:
        if options.where != cluster.LOCAL:
            stack.enter_context(redirect_stdout(sys.stderr))
        device = getattr(options, "device", "cpu")
        choices = {"workers": options.workers, "gpus": options.gpus, "device": device}
        yield stack.enter_context(cluster.opened(options.where, **choices))
