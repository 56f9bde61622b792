"""``frami distill``: a student from a teacher's weights alone."""

import argparse
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frami import checkpoints, files, locks
from frami.cli.arguments import (
    class_numbers,
    command,
    device_option,
    moved,
    number,
    progress_bar,
    recordings_option,
    seed,
    skipping,
    whole,
)
from frami.data import info as data_info
from frami.device import pick
from frami.distill import ARCHITECTURES, OBJECTIVES, STUDENTS, RunSettings, Settings, distill
from frami.distill import run as runs
from frami.distill.run import held_out
from frami.distill.settings import REPLAYS, STARTS
from frami.distributed import Group, joined
from frami.errors import FramiError
from frami.runs import Runs


def add(commands) -> None:
    sub = command(commands, "distill", _distill)
    sub.add_argument("--teacher", help="name of a bundled teacher, or path")
    sub.add_argument("--student", help=f"{', '.join(STUDENTS)}, … (default: tiny)")
    sub.add_argument("--architecture", help=f"the student's: {', '.join(ARCHITECTURES)}")
    sub.add_argument(
        "--start", choices=STARTS, help="first weights: fitting (teacher, else new; default), sliced, new, teacher"
    )
    sub.add_argument("--objective", help=f"{', '.join(OBJECTIVES)} (default: frami); labels (real clips only)")
    sub.add_argument("--recipe", help="how clips are made (default: frami); see frami synthesize --help")
    sub.add_argument("--bank", help="folder of a finished bank to learn from, instead of making clips")
    sub.add_argument(
        "--source", choices=["made", "real", "noise"], help="references: real training clips, or noise as input"
    )
    real = "recordings for --source real and for the accuracy (default: those that the teacher was trained on)"
    recordings_option(sub, real)
    sub.add_argument("--budget", type=seconds, help="time of making and learning together: 120s (default), 10m, 2h")
    sub.add_argument("--rounds", type=whole(1), help="batches of clips, as many times --steps (instead of --budget)")
    sub.add_argument("--clips", type=whole(1), help="clips of a round (default: 32)")
    sub.add_argument("--steps", type=whole(1), help="training steps of a round (default: 60)")
    sub.add_argument(
        "--share",
        type=number(0.01, 0.99),
        help="part of the budget for making (default: by the speed of both)",
    )
    turns = "of making and learning; later ones show a recipe's adversarial term the student (default: 1)"
    sub.add_argument("--turns", type=whole(1), help=turns)
    sub.add_argument("--batch", type=whole(2), help="clips of a training step (default: 32)")
    replay = "clips that a step takes: any (uniform, default), or rather those that the student gets wrong (priority)"
    sub.add_argument("--replay", choices=REPLAYS, help=replay)
    made_up = (
        "sounds made up without the teacher that are learnt from beside made clips, at most (default: 64; 0: none)"
    )
    sub.add_argument("--made-up", type=whole(0), help=made_up)
    sub.add_argument("--lr", type=number(1e-6, 1), help="highest learning rate (default: 0.012)")
    several = "that the student learns: names or numbers as of frami synthesize (default: all of the teacher's)"
    sub.add_argument("--classes", action="append", help=several)
    sub.add_argument("--seed", type=seed)
    sub.add_argument("--out", help="the run's folder (default: one below FRAMI_HOME/runs)")
    sub.add_argument(
        "--resume", nargs="?", const="", metavar="RUN", help="go on with a stopped run: its id, its folder, or --out's"
    )
    sub.add_argument("--run", dest="stored", metavar="ID", help="do the work of a stored run, or go on with it")
    sub.add_argument("--keep", type=number(0, 3600), help="seconds of work between checkpoints (default: 10)")
    device_option(sub, data=True)


def seconds(text: str) -> float:
    """``120``, ``120s``, ``2m`` or ``1.5h`` in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no time; give for example 120s, 10m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[found[2]]


#: Options that are fields of ``Settings``.
_CHOICES = (
    "student",
    "architecture",
    "start",
    "objective",
    "recipe",
    "clips",
    "steps",
    "share",
    "turns",
    "batch",
    "replay",
    "made_up",
    "lr",
    "seed",
)


def _distill(options) -> tuple[dict | None, list[str]]:
    with joined(options.device) as group:
        device = group.device or pick(options.device)
        if not group.main:
            runs.follow(group, device)
            return None, []
        found = _worked(options, group, device)
        group.shared({})  # the others' end
        return found


def _worked(options, group: Group, device) -> tuple[dict, list[str]]:
    store = Runs()
    id = _stored(options, store) or _new(options, store, group)
    with _stoppable(), progress_bar("%", store.get(id).name) as bar:

        def report(state, accuracy: float | None) -> None:
            values = {"clips": state.clips, "steps": state.steps}
            if state.steps and state.agreement == state.agreement:
                values["agreement"] = f"{state.agreement:.0%}"
            if accuracy is not None:
                values["accuracy"] = f"{accuracy:.1%}"
            bar.set_postfix(values, refresh=False)
            moved(bar)(int(100 * state.share), 100)

        every = runs.SAVE_EVERY if options.keep is None else options.keep
        value = runs.work(id, store, device, options.data, report, every, group)
    run = store.get(id)
    on = "not measured on real clips" if value["accuracy"] is None else f"accuracy {value['accuracy']:.1%}"
    same = "" if value["agreement"] is None else f", agrees with its teacher on {value['agreement']:.1%} of made clips"
    line = (
        f"{run.name}: {on}{same}; {value['parameters']:,} parameters, {value['clips']} clips, {value['steps']} steps, "
        f"{value['seconds']:.0f} s"
    )
    return value | {"folder": str(run.folder)}, [line, *value["notes"], f"run {id}: {run.folder}"]


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM is like Ctrl-C: what is finished is saved."""

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stored(options, store) -> str | None:
    """Id of the stored run that --run or --resume names; None without them."""
    target = options.stored or options.resume or (options.resume == "" and options.out)
    if options.resume == "" and not target:
        raise FramiError("--resume needs the run: its id, its folder, or --out with its folder")
    if not target:
        return None
    named = ("teacher", "bank", "dataset", "budget", "rounds", "source", "classes")
    given = [name for name in (*_CHOICES, *named) if getattr(options, name) is not None]
    given += ["skip_bad"] * options.skip_bad
    if given:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise FramiError(f"a stored run has its settings already; leave out {listed}")
    run = store.find(target)
    request = RunSettings.from_dict(run.settings)
    data = options.data or request.data
    if data is not None and run.status != "finished":  # a wrong folder is refused before the run is touched
        held_out(runs.of(request), data, request.dataset, _quietly if request.skip_bad else None)
    return run.id


def _quietly(line: str) -> None:
    """Of a file that is left out nothing is said: the run will."""


def _new(options, store, group: Group) -> str:
    """Id of a new run. Bad choices are refused before anything is written."""
    given = {name: getattr(options, name) for name in _CHOICES if getattr(options, name) is not None}
    if not options.teacher:
        raise FramiError("name a teacher with --teacher, or go on with a run: --resume RUN. See: frami teachers")
    if options.budget and options.rounds:
        raise FramiError("give --budget or --rounds, not both")
    if options.bank and options.source:
        raise FramiError("give --bank or --source, not both")
    source = "bank" if options.bank else options.source or "made"
    idle = [f"--{name}" for name in ("recipe", "clips", "share", "turns") if name in given]
    if source != "made" and idle:
        which = "--bank" if options.bank else f"--source {source}"
        raise FramiError(f"with {which} no clips are made; leave out {', '.join(idle)}")
    if source in ("real", "noise") and options.made_up:
        raise FramiError(f"--made-up sounds stand beside made clips; leave them out with --source {source}")
    if options.rounds:
        given |= {"budget": None, "rounds": options.rounds}
    elif options.budget:
        given["budget"] = options.budget
    by_path = checkpoints.exists(options.teacher)
    teacher, bank, data = (  # paths from the root, so that the run goes on from any folder
        path and (str(Path(path).resolve()) if is_path else path)
        for path, is_path in ((options.teacher, by_path), (options.bank, True), (options.data, True))
    )
    dataset = options.dataset and data_info(options.dataset).name
    if options.classes:
        names = checkpoints.read_card(checkpoints.resolve(teacher)).classes
        given["classes"] = tuple(names[k] for k in class_numbers(options.classes, names))
    request = RunSettings(teacher, Settings(source=source, **given), bank, data, dataset, options.skip_bad)
    out = Path(options.out) if options.out else None
    if out is not None and (left := locks.abandoned(out)) is not None:  # of a command that was killed
        with left:
            files.tidy(out)
    there = out is not None and out.exists() and (out.iterdir() if out.is_dir() else [out])
    if there and any(path.name != locks.NAME for path in there):
        known = runs.unfinished(out, store)
        hint = "add --resume to go on with the run there" if known else "choose another --out, or move it away"
        if out.is_dir() and (out / runs.RESULT).exists():
            hint = f"a finished run is there already; {hint}"
        raise FramiError(f"{out} is not empty; {hint}")
    loaded = runs.of(request)
    skip = skipping(options)
    distill(loaded, request.settings, runs.source(loaded, request, options.data, skip), group=group)
    if options.data is not None or dataset:
        runs.held_out(loaded, options.data, dataset, skip)
    return runs.begin(request, store, out)
