"""The command line: ``frami COMMAND``, one file here for the commands of a part.

Every command takes ``--json`` (one value on standard output, nothing else there), shows its progress on a terminal and
reports bad input in one line, with exit status 2.
"""

import errno
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from typing import TextIO

# Idle OpenMP threads that spin for long starve their neighbours on a shared machine, those that sleep at once halve the
# speed of small operations; must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from frami import __version__, extras, paths, process
from frami.cli.arguments import Parser
from frami.errors import FramiError
from frami.files import AGAIN

STOPPED = 130
_MEMORY = "can't allocate memory"  # what torch says
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: Commands: the module of this package that has it, imported when the command is given, and its help.
COMMANDS = {
    "data": ("data", "data sets: what is where, download"),
    "teachers": ("teachers", "The teachers that are here."),
    "students": ("teachers", "The students that are here."),
    "train-teacher": ("teachers", "Train a teacher; goes on where it was stopped."),
    "import": ("importing", "A network that was trained elsewhere, as a teacher."),
    "curve": ("teachers", "The learning curve of a teacher's training, as a table or drawn."),
    "evaluate": ("evaluation", "Accuracy of a checkpoint on real recordings, and its cost."),
    "synthesize": ("synthesis", "Make clips from a teacher's weights alone."),
    "recordings": ("recordings", "Make the held-out recordings that ship with the project again."),
    "gallery": ("synthesis", "Make the studio's gallery: a bank a teacher, every class."),
    "distill": ("distillation", "Train a student from made clips alone; goes on where it was stopped."),
    "diversity": ("diversity", "How rich the clips of banks are, also beside real recordings."),
    "bench": ("bench", "measurements side by side: inversion, diversity, distillation, vocoder, …"),
    "train-vocoder": ("vocoder", "Train a vocoder; goes on where it was stopped."),
    "export": ("export", "A teacher or a student as ONNX, as a page for browsers, or its weights and card."),
    "listen": ("listen", "What a student hears in a long sound, a pipe or a microphone, as it goes by."),
    "card": ("card", "What whoever deploys a network asks: data-free or not, licences, accuracy, latency, failures."),
    "push": ("hub", "A teacher or a student to a repository of the Hugging Face Hub."),
    "publish": ("publish", "The studio as a Space of the Hugging Face Hub."),
    "runs": ("runs", "what has been run: settings, curves, results"),
}


#: Commands that several processes of a launcher do together (``frami.distributed``).
TOGETHER = ("train-teacher", "distill")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0, 1 where it found that something does not hold, 2 for bad input, 130
    when stopped by the keyboard)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in TOGETHER and process.launched()[0] > 0:
        return _follow(arguments)
    for stream in (sys.stdout, sys.stderr):
        _print_everything(stream)
    if notice := paths.settle(strict=True):
        print(f"frami: {notice}", file=sys.stderr)
    try:
        options = _parser(arguments).parse_args(arguments)
    except ModuleNotFoundError as error:
        return _lacking(arguments[0], error)
    try:
        value, lines, *failed = options.run(options)
        if value is not None:  # else it is printed already
            print(json.dumps(value) if options.json else "\n".join(lines), flush=True)
        return int(any(failed))
    except ModuleNotFoundError as error:
        return _lacking(options.command, error)
    except FramiError as error:
        print(f"frami {options.command}: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nframi {options.command}: stopped; what was finished is saved", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and _MEMORY not in str(error):
            raise
        print(f"frami {options.command}: not enough memory for this; close other programs, or ask for less at once "
              "(--batch, --samples)", file=sys.stderr)  # fmt: skip
        return 2
    except OSError as error:
        full = f"; make room and {AGAIN}"
        print(f"frami {options.command}: {error}{full * (error.errno in _FULL)}", file=sys.stderr)
        return 2
    return 0


def _follow(arguments: Sequence[str]) -> int:
    """Do a command's part in one of several processes that is not the main one; the exit status. It writes nothing but
    errors of its own, and leaves it to the main process to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        try:
            options = _parser(arguments).parse_args(arguments)
            options.run(options)
            return 0
        except SystemExit as bad:  # the main process says the same
            return int(bad.code or 0)
        except (FramiError, ModuleNotFoundError) as error:
            problem = error
    from frami.distributed import told_by_main

    if not told_by_main(problem):
        print(f"frami {arguments[0]}: process {os.environ['RANK']}: {problem}".replace("\n", " "), file=sys.stderr)
    return 2


def _lacking(command: str, error: ModuleNotFoundError) -> int:
    """Say what to install where a library is not here; the exit status."""
    name = (error.name or "").partition(".")[0]
    if name in ("", "frami"):
        raise error
    print(f"frami {command}: {extras.lacking(name)}", file=sys.stderr)
    return 2


def _print_everything(stream: TextIO) -> None:
    """A terminal or a file of another encoding shows escapes for the signs that it lacks, as ``\\u2192``."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _parser(arguments: Sequence[str]) -> Parser:
    """All commands, with the arguments of the one that is given."""
    parser = Parser(prog="frami", description="Hear what a sound classifier remembers; distil it without data.")
    parser.add_argument("--version", action="version", version=f"frami {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (_, about) in COMMANDS.items():
        commands.add_parser(name, help=about, description=about)
    if arguments and arguments[0] in COMMANDS:
        import_module(f"frami.cli.{COMMANDS[arguments[0]][0]}").add(commands)
    return parser
