"""The command line: ``frami COMMAND``, one file here for the commands of a part.

Every command takes ``--json`` (one value on standard output, nothing else there), shows its progress on a terminal and
reports bad input in one line, with exit status 2.
"""

import json
import os
import sys
from collections.abc import Sequence

# Idle OpenMP threads that spin for long starve their neighbours on a shared machine, those that sleep at once halve the
# speed of small operations; must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from frami import __version__
from frami.cli import bench, data, distillation, diversity, export, runs, synthesis, teachers, vocoder
from frami.cli.arguments import Parser
from frami.errors import FramiError

STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0, 2 for bad input, 130 when stopped by the keyboard)."""
    options = _parser().parse_args(arguments)
    try:
        value, lines = options.run(options)
        print(json.dumps(value) if options.json else "\n".join(lines), flush=True)
    except FramiError as error:
        print(f"frami {options.command}: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nframi {options.command}: stopped; what was finished is saved", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"frami {options.command}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> Parser:
    parser = Parser(prog="frami", description="Hear what a sound classifier remembers; distil it without data.")
    parser.add_argument("--version", action="version", version=f"frami {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for part in (data, teachers, synthesis, distillation, diversity, bench, vocoder, export, runs):
        part.add(commands)
    return parser
