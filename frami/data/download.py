"""Downloads of the published data sets: archives that resume, are checked, and unpack into their published layout."""

import hashlib
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import soundfile

from frami.data.catalogue import DATASETS
from frami.data.dataset import Archive, DatasetInfo
from frami.errors import FramiError

WAITS = (1.0, 2.0, 4.0)  # seconds before each retry of a transfer that makes no progress
TICK = 0.1  # least seconds between two reports of progress
Progress = Callable[["DownloadProgress"], None] | None
Stop = Callable[[], bool] | None
_CHUNK, _TIMEOUT, _RETRY = 1 << 16, (15, 60), (408, 416, 429, 500, 502, 503, 504)
_TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class DownloadError(FramiError):
    """A data set that could not be downloaded; the message says what to do."""


class DownloadStopped(DownloadError):
    """Stopped by the caller; the next call continues from what was fetched."""


class _BadArchive(Exception):
    """An archive whose content is not the published one."""


@dataclass(frozen=True)
class DownloadProgress:
    """Progress of a download: ``done`` of ``total`` bytes of ``file``, seconds left; None where unknown."""

    stage: str  # already there, downloading, checking or unpacking
    file: str
    done: int = 0
    total: int | None = None
    seconds_left: float | None = None


@dataclass
class _Watch:
    progress: Progress
    stop: Stop
    last: float = 0.0

    def __call__(self, stage: str, file: str, done: int = 0, total: int | None = None, rate: float = 0.0) -> None:
        """Report (not too often), and stop on request; ``rate`` in bytes per second."""
        if self.progress and (not rate or done == total or time.monotonic() - self.last >= TICK):
            self.last = time.monotonic()
            left = max(0, total - done) / rate if total and rate else None
            self.progress(DownloadProgress(stage, file, done, total, left))
        if self.stop and self.stop():
            raise DownloadStopped(f"stopped while {stage} {file}; the next download goes on from what was fetched")


def download(
    name: str, data: str | Path, *, progress: Progress = None, stop: Stop = None, mirror: str | None = None
) -> Path:
    """Fetch data set ``name`` so that ``data/<folder>/`` has its published layout; return that folder.

    An existing folder is left unchanged; of a set of several, each part is fetched. ``mirror`` (or ``FRAMI_MIRROR``) is
    an address or a folder that holds the archives by ``Archive.file``. Partial archives lie in
    ``data/.<folder>.download``. Raises ``DownloadError``.
    """
    if name not in DATASETS:
        raise DownloadError(f"no data set named '{name}'; choose one of: {', '.join(DATASETS)}")
    info, watch, mirror = DATASETS[name], _Watch(progress, stop), mirror or os.environ.get("FRAMI_MIRROR")
    folder = Path(data).expanduser() / info.folder
    for part in info.parts:
        download(part, data, progress=progress, stop=stop, mirror=mirror)
    if info.parts:
        return Path(data).expanduser()
    if not info.archives:
        raise DownloadError(f"{info.title} has no published archive here; put its files in {folder} {info.homepage}")
    unpacked = (work := folder.with_name(f".{info.folder}.download")) / "unpacked"
    if folder.is_dir() and any(folder.iterdir()):
        _Watch(progress, None)("already there", info.folder)
        return folder
    try:
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)
        _check_space(info, work)
        for archive in info.archives:
            _unpack(_fetch(archive, folder, work, mirror, watch), unpacked, archive.unpacked, watch)
        inside = list(unpacked.iterdir())
        content = inside[0] if len(inside) == 1 and inside[0].is_dir() else unpacked
        _check_clips(info, content)
        if folder.exists():
            folder.rmdir()
        content.rename(folder)
        shutil.rmtree(work, ignore_errors=True)
    except (_BadArchive, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, soundfile.SoundFileError) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise DownloadError(f"{info.title}: broken archive, removed ({error}); try again or from a mirror") from error
    except OSError as error:
        raise DownloadError(f"{error}; free some space, or choose another folder than {folder.parent}") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return folder


def _check_space(info: DatasetInfo, work: Path) -> None:
    need = sum(archive.size + (archive.unpacked or archive.size * 6 // 5) for archive in info.archives)
    need -= sum(path.stat().st_size for path in work.iterdir() if path.is_file())
    if (free := shutil.disk_usage(work).free) < need:
        where = f"{work.parent} has {free / 1e9:.1f}; free some space or choose another folder"
        raise DownloadError(f"{info.title} needs {need / 1e9:.1f} GB to download and unpack, {where}")


def _fetch(archive: Archive, folder: Path, work: Path, mirror: str | None, watch: _Watch) -> Path:
    """The archive in ``work``, checked; what was fetched survives a crash at any point."""
    url = f"{mirror.rstrip('/')}/{archive.file}" if mirror else archive.url
    by_hand = f"set FRAMI_MIRROR to a folder or address that has {archive.file}, or unpack it as {folder} yourself"
    checked, part, parts = work / archive.file, work / f"{archive.file}.part", urlsplit(url)
    if checked.exists():
        return checked
    try:
        if parts.scheme in ("http", "https"):
            _transfer(url, part, archive, watch)
        else:
            shutil.copyfile(Path(url2pathname(parts.path) if parts.scheme == "file" else url).expanduser(), part)
    except (requests.RequestException, FileNotFoundError) as error:
        why = getattr(error.args[0] if error.args else error, "reason", error)
        raise DownloadError(f"cannot fetch {url} ({why}); check address and network, or {by_hand}") from error
    watch("checking", archive.file)
    algorithm, _, digest = (archive.checksum or "").partition(":")
    if digest and _digest(part, algorithm) != digest:
        part.unlink()
        anew = " (GitHub may have packed it anew)" if "//github.com/" in url else ""
        wrong = f"{url} does not have the checksum {archive.checksum} and was removed"
        raise DownloadError(f"{wrong}; try again, and if that stays so{anew}, {by_hand}")
    return part.replace(checked)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _transfer(url: str, part: Path, archive: Archive, watch: _Watch) -> None:
    """Bring ``part`` to its full size; retries that make progress are not counted."""
    part.touch()
    tries, most = 0, part.stat().st_size
    while True:
        try:
            return _attempt(url, part, archive, watch)
        except _TRANSIENT:
            size = part.stat().st_size
            tries, most = (0, size) if size > most else (tries + 1, most)
            if tries > len(WAITS):
                raise
            time.sleep(WAITS[max(0, tries - 1)])


def _attempt(url: str, part: Path, archive: Archive, watch: _Watch) -> None:
    """One request: from the end of ``part`` if the server can, else from the start."""
    done = part.stat().st_size
    watch("downloading", archive.file, done, archive.size or None)
    if done and done == archive.size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response, part.open("ab") as file:
        if response.status_code in (200, 416):  # no ranges here, or none behind this part of another file
            done = file.truncate(0)
        if response.status_code in _RETRY:
            raise requests.ConnectionError(f"the server answers {response.status_code} {response.reason}")
        response.raise_for_status()
        length = int(response.headers.get("Content-Length", 0))
        total = done + length if length else archive.size or None
        before, start = done, time.monotonic() - 1e-6
        for chunk in response.iter_content(_CHUNK):
            done += file.write(chunk)
            watch("downloading", archive.file, done, total, (done - before) / (time.monotonic() - start))
        if length and done != total:
            raise requests.ConnectionError(f"the connection ended after {done} of {total} bytes")


def _unpack(path: Path, target: Path, total: int, watch: _Watch) -> None:
    """Unpack member by member; nothing may lie outside ``target``."""
    with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else tarfile.open(path) as archive:
        zipped = isinstance(archive, zipfile.ZipFile)
        done, start = 0, time.monotonic() - 1e-6
        for member in archive.infolist() if zipped else archive:
            name = PureWindowsPath(member.filename if zipped else member.name)
            if name.anchor or ".." in name.parts:
                raise _BadArchive(f"'{name}' lies outside its folder")
            archive.extract(member, target, **({} if zipped else {"filter": "data"}))
            done += member.file_size if zipped else member.size
            watch("unpacking", path.name, done, max(done, total) if total else None, done / (time.monotonic() - start))


def _check_clips(info: DatasetInfo, content: Path) -> None:
    """As many clips as published; without a checksum, each also has a header that can be read."""
    clips = [p for p in content.rglob("[!.]*") if p.suffix.lower() in (".wav", ".ogg", ".flac")]
    if len(clips) < info.clips:
        raise _BadArchive(f"{len(clips)} clips instead of {info.clips}")
    for clip in clips if any(archive.checksum is None for archive in info.archives) else ():
        soundfile.info(clip)
