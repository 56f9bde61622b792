"""Where things are: the repository's own files, what the program writes, and the recordings."""

import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from frami.errors import FramiError

PACKAGE = Path(__file__).resolve().parent
#: Whether this is no clone, but an installed wheel, which has the checkpoints within the package and no assets.
INSTALLED = (PACKAGE / "checkpoints").is_dir()
_ROOT = PACKAGE if INSTALLED else PACKAGE.parent
BUNDLED = _ROOT / "checkpoints"
ASSETS = _ROOT / "assets"
#: Where libraries store what they compute or download, and the part of our folder that takes its place without a home.
_CACHES = {
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "HF_HUB_CACHE": "huggingface",
    "HF_XET_CACHE": "xet",
    "XDG_CACHE_HOME": "cache",
}


def home() -> Path:
    """Folder for all that the program writes: ``FRAMI_HOME``, or ``~/.cache/frami``. FramiError where this user has no
    home."""
    try:
        return Path(os.environ.get("FRAMI_HOME") or Path.home() / ".cache" / "frami").expanduser()
    except RuntimeError as error:
        raise FramiError("this user has no home folder; set FRAMI_HOME to a folder that can be written") from error


@cache
def settle(strict: bool = False) -> str | None:
    """Make sure, before libraries are loaded, that there is a folder to write to.

    Where ``home()`` cannot be written, a folder in the system's temporary one takes its place in this process and its
    children; so with the caches of libraries where ``~/.cache`` cannot be written. With ``strict``, a ``FRAMI_HOME``
    that was given stays, whatever it is. Returns what to tell the user; None where what is made lasts.
    """
    try:
        caches = Path.home() / ".cache"
    except RuntimeError:
        caches = None
    try:
        lasting = bool(strict and os.environ.get("FRAMI_HOME")) or _writable(home())
    except FramiError:
        lasting = False
    if not lasting:
        os.environ["FRAMI_HOME"] = str(_temporary())
    if caches is None or not _writable(caches):
        for name, folder in _CACHES.items():
            os.environ.setdefault(name, str(home() / "libraries" / folder))
    if caches is None:
        os.environ["HOME"] = str(home())
        os.environ.setdefault("LOGNAME", "frami")  # torch asks for it, and the system may not know this user
    if lasting:
        return None
    return (
        f"there is no home folder that can be written: what is made here goes to {home()}, and is lost when that is "
        "emptied; set FRAMI_HOME to a folder that lasts"
    )


def _temporary() -> Path:
    """This user's own folder in the temporary one, the same at each start; another one where somebody else has it."""
    folder = Path(tempfile.gettempdir()) / f"frami-{os.getuid() if hasattr(os, 'getuid') else 'home'}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return folder if mine and stat.S_ISDIR(found.st_mode) else Path(tempfile.mkdtemp(prefix="frami-"))


def _writable(folder: Path) -> bool:
    """Whether a folder can be written, or made; nothing is made."""
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def data_folder(given: str | Path | None = None) -> Path:
    """Folder that holds ``fsdd/``, ``ESC-50/``, …: the given one, ``FRAMI_DATA``, or ``data`` in ``home()``."""
    return Path(given or os.environ.get("FRAMI_DATA") or home() / "data").expanduser()


def made(kind: str, teacher: str) -> Path:
    """Folder of what was made of a teacher for the studio. kind : ``gallery`` or ``explore``.

    Below ``assets`` for a bundled teacher, and where it is there already; below ``home()`` for one's own, and for all
    where the package was installed.
    """
    bundled = ASSETS / kind / teacher
    ours = not INSTALLED and (BUNDLED / f"{teacher}.safetensors").is_file()
    return bundled if bundled.is_dir() or ours else home() / kind / teacher


def child_environment() -> dict[str, str]:
    """Environment for a Python process of our own, which finds this package wherever it is started from."""
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
