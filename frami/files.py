"""Files: written whole or not at all, and JSON whose keys had other names in earlier versions."""

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from frami.errors import FramiError

#: What keys of JSON files were called before, and what they are called now.
FORMER_KEYS = {
    "asked": "target",
    "asked_name": "target_name",
    "heard": "predicted",
    "heard_name": "predicted_name",
    "as_asked": "target_accuracy",
    "numbers": "fingerprint",
    "judges": "discriminators",
    "judges_from": "discriminators_from",
    "judges_lr": "discriminators_lr",
    "judges_optimiser": "discriminators_optimiser",
}


#: Errors of a disk, or of one's share of it, that takes no more; bytes below which one is full.
_FULL, _LEFT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), 1 << 16
#: Beginning of the names of folders that are being removed.
_REMOVED = ".deleted-"
#: Bytes of a JSON file, and how deep its values are nested, at most.
LARGEST, DEEPEST = 2**24, 64


#: What a full disk is called, and what is to be done once there is room.
NO_ROOM = "No space left on the disk"
AGAIN = "give the same command again: what was finished is saved"


class FullError(FramiError, OSError):
    """A file that the disk has no room for. ``advice`` : what to do once there is; who knows better says it."""

    def __init__(self, path: str | Path, advice: str = AGAIN):
        OSError.__init__(self, errno.ENOSPC, NO_ROOM)
        self.path, self.advice = path, advice

    def __str__(self) -> str:
        return f"{self.path}: {NO_ROOM}; make room and {self.advice}"


@contextmanager
def replacing(path: str | Path, long: bool = False) -> Iterator[Path]:
    """A path beside ``path``, of the same ending and its own at each call, to write to.

    It takes the place of ``path`` when the block ends, once its content is on the disk, and is removed when the block
    fails. The folder is made where it is missing. long : it takes so long to write that a process may be killed
    meanwhile, and no lock of ``locks`` is held: what such processes left is removed first. OSError when the disk
    refuses, FullError (one too) when it is full, whatever the library that wrote made of it.
    """
    path, held = Path(path), None
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if long:
            clear_dead(path.parent, path.name)
            held = os.open(temporary, os.O_CREAT | os.O_RDWR, 0o666)
            _locked(held)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except FullError:
        raise
    except Exception as error:
        if is_full(path.parent, error):
            raise FullError(path) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if held is not None:
            os.close(held)


def clear_dead(folder: Path, name: str = "", ending: str = "") -> None:
    """Remove what ``replacing`` of a ``long`` write left of this file, or of all with this ending, whose process holds
    it no longer. Only long writes hold theirs: others' files must be named otherwise."""
    mark = re.compile(rf"\.[0-9a-f]{{8}}\.{re.escape(name) or f'.*{re.escape(ending)}'}", re.DOTALL)
    found = []
    with suppress(OSError):
        found = [one for one in folder.iterdir() if mark.fullmatch(one.name)]
    for one in found:
        with suppress(OSError):
            file = os.open(one, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _locked(file):
                    one.unlink()
            finally:
                os.close(file)


def _locked(file: int) -> bool:
    """Take a lock of an open file until it is closed; False where another one has it, or the filesystem knows none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def raise_full(path: str | Path, error: Exception) -> None:
    """FullError in place of an error in writing there that comes of a full disk; else nothing."""
    try:
        if isinstance(error, FullError):
            raise error
        if isinstance(error, OSError) and error.errno in _FULL:
            raise FullError(path) from error
    finally:
        del error  # it knows this frame, which would keep it, and with it the locks of the frames above


def is_full(folder: Path, error: Exception) -> bool:
    """Whether an error in writing to a folder comes of a full disk. Libraries hide it: safetensors in words, PyTorch,
    SQLite and libsndfile entirely."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    if isinstance(error, FramiError) and error.__cause__ is None:
        return False
    if f"os error {errno.ENOSPC}" in str(error):
        return True
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _LEFT
    return False


def tidy(folder: Path, name: str = "", spared: tuple[str, ...] = ()) -> None:
    """Remove what ``replacing`` of a process that was killed left of files whose names begin so. For those who know
    that no other process writes there, but for files whose names end as the ``spared``."""
    mark = re.compile(rf"\.[0-9a-f]{{8}}\.{re.escape(name)}.*", re.DOTALL)
    with suppress(OSError):
        for path in folder.iterdir():
            if mark.fullmatch(path.name) and not path.name.endswith(spared):
                path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it: at once for those who look for it, whenever this process is killed (then
    ``clear_removed`` removes the rest). OSError where it cannot be removed."""
    shutil.rmtree(put_aside(folder), ignore_errors=True)


def put_aside(folder: Path) -> Path:
    """Give a folder that is to be removed a name by which nobody finds it; returns that. OSError where it cannot be
    renamed."""
    return folder.rename(folder.with_name(f"{_REMOVED}{secrets.token_hex(4)}-{folder.name}"))


def folders(parent: Path) -> list[Path]:
    """Folders in a folder, without links; none where it is not there."""
    with suppress(OSError):
        return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
    return []


def clear_removed(parent: Path) -> None:
    """Remove what is left of folders that were to be removed."""
    for path in folders(parent):
        if path.name.startswith(_REMOVED):
            shutil.rmtree(path, ignore_errors=True)


def write(path: str | Path, content: bytes | memoryview | str) -> None:
    """Write a file (text as UTF-8) so that it is there as a whole or not at all. OSError when the disk refuses."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def try_writing(path: str | Path) -> None:
    """OSError where ``write`` would refuse; to know that before long work. The folder is made."""
    with suppress(_Tried), replacing(path) as temporary:
        temporary.touch()
        raise _Tried


class _Tried(Exception):
    """The end of a try."""


def write_json(path: str | Path, value, indent: int | None = 1) -> None:
    """``write`` a value as JSON."""
    write(path, as_json(value, indent))


def as_json(value, indent: int | None = 1) -> str:
    """A value as a line or lines of JSON, with signs of all scripts; in ASCII where a name in it is no UTF-8."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    encodable = text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)
    return (text if encodable else json.dumps(value, indent=indent)) + "\n"


def read_json(path: str | Path, largest: int = LARGEST):
    """Value of a JSON file, its keys under their present names. OSError or ValueError where there is none, or one of
    more than ``largest`` bytes."""
    return present_keys(as_value(read_text(path, largest)))


def read_text(path: str | Path, largest: int = LARGEST, encoding: str = "utf-8") -> str:
    """Text of a file. OSError where there is none; ValueError where it is no plain file, of more than ``largest`` bytes
    or of another encoding."""
    with open(path, "rb", opener=_unblocked) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a file, but a pipe or a device")
        if about.st_size > largest:
            raise ValueError(f"{about.st_size / 1e6:,.0f} MB, more than the {largest / 1e6:,.0f} that are read")
        return file.read(largest).decode(encoding)


def _unblocked(path: str, flags: int) -> int:
    """Opens a file without waiting for another process, as for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def as_value(text: str):
    """Value of a text of JSON. ValueError where it is none, or nested deeper than any."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [one for some in inner for one in some]
    if level:
        raise ValueError("nested too deep")
    return value


def present_keys(value):
    """The value, all dicts in it with their keys' present names."""
    if isinstance(value, dict):
        return {FORMER_KEYS.get(key, key): present_keys(item) for key, item in value.items()}
    return [present_keys(item) for item in value] if isinstance(value, list) else value
