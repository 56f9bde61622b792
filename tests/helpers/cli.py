"""Runs of the command line in this process."""

from frami.cli import main


def run(capsys, *arguments):
    """Run in this process: status, standard output, standard error."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    return status, out, err


def synthesize(out, *more):
    return ["synthesize", "--teacher", "fsdd", "--samples", 3, "--steps", 3, "--seconds", 0.3, "--out", out, *more]
