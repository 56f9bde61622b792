"""Where things are: the repository's own files, what the program writes, and the recordings."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
BUNDLED = PACKAGE.parent / "checkpoints"
ASSETS = PACKAGE.parent / "assets"


def home() -> Path:
    """Folder for all that the program writes: ``FRAMI_HOME``, or ``~/.cache/frami``."""
    return Path(os.environ.get("FRAMI_HOME") or Path.home() / ".cache" / "frami").expanduser()


def data_folder(given: str | Path | None = None) -> Path:
    """Folder that holds ``fsdd/``, ``ESC-50/``, …: the given one, ``FRAMI_DATA``, or ``data`` in ``home()``."""
    return Path(given or os.environ.get("FRAMI_DATA") or home() / "data").expanduser()


def made(kind: str, teacher: str) -> Path:
    """Folder of what was made of a teacher for the studio. kind : ``gallery`` or ``explore``.

    Below ``assets`` for a bundled teacher, and where it is there already; below ``home()`` for one's own.
    """
    bundled = ASSETS / kind / teacher
    return bundled if bundled.is_dir() or (BUNDLED / f"{teacher}.safetensors").is_file() else home() / kind / teacher


def child_environment() -> dict[str, str]:
    """Environment for a Python process of our own, which finds this package wherever it is started from."""
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
