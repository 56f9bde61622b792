"""Archives are fetched, resumed, checked and unpacked; a server in this process stands in for the network."""

import dataclasses
import hashlib
import io
import re
import shutil
import socket
import tarfile
import wave
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from frami.data import download as module
from frami.data.catalogue import DATASETS, Archive
from frami.data.download import DownloadError, DownloadStopped, download
from tests.helpers.servers import serving

LAYOUTS = {
    "fsdd": ("free-spoken-digit-dataset-1.0.10", ["recordings/0_theo_0.wav", "recordings/1_lucas_0.wav", "README.md"]),
    "audiomnist": ("AudioMNIST-630d7da", ["data/01/0_01_0.wav", "data/60/9_60_49.wav", "data/audioMNIST_meta.txt"]),
    "speechcommands-digits": (".", ["zero/a_nohash_0.wav", "_background_noise_/hum.wav", "testing_list.txt"]),
    "speechcommands": (".", ["wow/a_nohash_0.wav", "zero/a_nohash_0.wav", "validation_list.txt"]),
    "esc10": ("ESC-50-33c8ce9", ["audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "meta/esc50.csv"]),
    "esc50": ("ESC-50-33c8ce9", ["audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "meta/esc50.csv"]),
    "urbansound8k": ("UrbanSound8K", ["audio/fold1/1-3-0-0.wav", "audio/fold10/2-1-0-0.wav", "metadata/U.csv"]),
}


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``cuts`` are the bytes after which it breaks off the next replies."""

    daemon_threads = True

    def __init__(self, ranges: bool):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges, self.files, self.cuts, self.requested, self.sent = ranges, {}, [], [], 0
        self.errors = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requested.append(wanted)
        body = server.files.get(self.path.partition("?")[0].lstrip("/"))
        if server.errors or body is None:
            return self.send_error(server.errors.pop(0) if server.errors else 404)
        first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        if first >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            return self.end_headers()
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        part = body[first : first + server.cuts.pop(0) if server.cuts else None]
        server.sent += len(part)
        self.wfile.write(part)
        self.close_connection = True
        return None

    def log_message(self, *_):
        pass


@pytest.fixture(params=[True], ids=["ranges"])
def server(request):
    with serving(Server(request.param)) as running:
        yield running


without_ranges = pytest.mark.parametrize("server", [False], indirect=True, ids=["no ranges"])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(module, "TICK", 0.0)
    monkeypatch.setattr(module, "_CHUNK", 1 << 14)
    monkeypatch.delenv("FRAMI_MIRROR", raising=False)


def sound(frames: int = 40_000, seed: int = 0) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(hashlib.shake_256(bytes([seed])).digest(2 * frames))
    return out.getvalue()


def pack(members: dict[str, bytes], kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            if all(name.startswith("./") for name in members):  # as ``tar czf`` of the current folder
                member = tarfile.TarInfo("./")
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def serve(monkeypatch, server, name="fsdd", body=None, checksum="right", **changes) -> bytes:
    """Put a small archive of this set's layout on the server and into the catalogue."""
    known = DATASETS[name].archives[0]
    top, paths = LAYOUTS[name]
    kind = "zip" if known.file.endswith("zip") else "tar.gz"
    body = body or pack({f"{top}/{path}": sound(seed=i) for i, path in enumerate(paths)}, kind)
    if checksum == "right":
        checksum = f"sha256:{hashlib.sha256(body).hexdigest()}"
    archive = Archive(f"{server.url}/{known.file}?download=1", checksum, len(body), known.file)
    fields = {"clips": 2, "archives": (archive,)} | changes
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], **fields))
    server.files[known.file] = body
    return body


def files(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_set_lands_in_its_published_layout(name, server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server, name)
    seen = []
    folder = download(name, tmp_path / "data", progress=seen.append)
    assert folder == tmp_path / "data" / DATASETS[name].folder
    assert files(folder) == sorted(LAYOUTS[name][1])
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    fetched = [step for step in seen if step.stage == "downloading"]
    assert [step.done for step in fetched] == sorted(step.done for step in fetched)
    assert fetched[0].done == 0 and fetched[-1].done == fetched[-1].total == len(body) and len(fetched) > 4
    assert fetched[-1].seconds_left == 0 and all(step.seconds_left >= 0 for step in fetched[1:])
    assert list(dict.fromkeys(step.stage for step in seen)) == ["downloading", "checking", "unpacking"]


def test_what_is_there_stays(server, monkeypatch, tmp_path):
    serve(monkeypatch, server)
    (tmp_path / "fsdd").mkdir()
    (tmp_path / "fsdd" / "mine.txt").write_text("kept")
    seen = []
    assert download("fsdd", tmp_path, progress=seen.append) == tmp_path / "fsdd"
    assert [step.stage for step in seen] == ["already there"]
    assert files(tmp_path) == ["fsdd/mine.txt"] and not server.requested


def test_a_set_of_several_is_fetched_part_by_part(server, monkeypatch, tmp_path):
    for name in DATASETS["digits"].parts:
        serve(monkeypatch, server, name)
    assert download("digits", tmp_path) == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"fsdd", "AudioMNIST", "SpeechCommands"}


def test_an_empty_folder_is_not_a_data_set(server, monkeypatch, tmp_path):
    serve(monkeypatch, server)
    (tmp_path / "fsdd").mkdir()
    assert len(files(download("fsdd", tmp_path))) == 3


def test_a_cut_connection_is_resumed(server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server)
    server.cuts = [100_000, 50_000]
    download("fsdd", tmp_path)
    assert server.requested[0] is None
    starts = [int(target.removeprefix("bytes=").rstrip("-")) for target in server.requested[1:]]
    assert len(starts) == 2 and 0 < starts[0] <= 100_000 and starts[0] < starts[1] <= 150_000
    assert len(body) <= server.sent <= len(body) + 2 * module._CHUNK


def test_a_crash_leaves_the_part_for_the_next_call(server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server)
    work = tmp_path / ".fsdd.download"
    (work / "unpacked" / "half").mkdir(parents=True)
    (work / f"{DATASETS['fsdd'].archives[0].file}.part").write_bytes(body[:70_000])
    download("fsdd", tmp_path)
    assert server.requested == ["bytes=70000-"] and server.sent == len(body) - 70_000
    assert not work.exists() and not (tmp_path / "fsdd" / "half").exists()


def test_a_whole_part_is_not_fetched_again(server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server)
    (tmp_path / ".fsdd.download").mkdir()
    (tmp_path / ".fsdd.download" / f"{DATASETS['fsdd'].archives[0].file}.part").write_bytes(body)
    assert len(files(download("fsdd", tmp_path))) == 3 and not server.requested


def test_a_part_longer_than_the_file_starts_over(server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server)
    (tmp_path / ".fsdd.download").mkdir()
    (tmp_path / ".fsdd.download" / f"{DATASETS['fsdd'].archives[0].file}.part").write_bytes(bytes(len(body) + 9))
    download("fsdd", tmp_path)
    assert server.requested == [f"bytes={len(body) + 9}-", None]


@without_ranges
def test_a_server_without_ranges_sends_it_all_again(server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server)
    server.cuts = [100_000]
    seen = []
    assert len(files(download("fsdd", tmp_path, progress=seen.append))) == 3
    assert server.requested[0] is None and server.requested[1].startswith("bytes=")
    assert server.sent == 100_000 + len(body)
    assert max(step.done for step in seen if step.stage == "downloading") == len(body)


def test_a_connection_that_gets_nowhere_is_given_up(server, monkeypatch, tmp_path):
    serve(monkeypatch, server)
    server.cuts = [0] * 20
    with pytest.raises(DownloadError, match="FRAMI_MIRROR"):
        download("fsdd", tmp_path)
    assert len(server.requested) == 1 + len(module.WAITS)


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server, monkeypatch, tmp_path):
    serve(monkeypatch, server)
    server.errors = [503, 429]
    download("fsdd", tmp_path / "busy")
    assert len(server.requested) == 3
    server.errors = [404]
    with pytest.raises(DownloadError, match="404"):
        download("fsdd", tmp_path / "missing")
    assert len(server.requested) == 4


def test_stop_then_resume(server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server)
    seen = []
    with pytest.raises(DownloadStopped, match="goes on"):
        download("fsdd", tmp_path, progress=seen.append, stop=lambda: seen[-1].done > 60_000)
    assert not (tmp_path / "fsdd").exists()
    kept = (tmp_path / ".fsdd.download" / f"{DATASETS['fsdd'].archives[0].file}.part").stat().st_size
    assert 60_000 < kept < len(body)
    download("fsdd", tmp_path)
    assert server.requested == [None, f"bytes={kept}-"]


def test_stop_while_unpacking_leaves_no_half_folder(server, monkeypatch, tmp_path):
    serve(monkeypatch, server, "urbansound8k")
    seen = []
    with pytest.raises(DownloadStopped):
        download("urbansound8k", tmp_path, progress=seen.append, stop=lambda: seen[-1].stage == "unpacking")
    assert files(tmp_path) == [".UrbanSound8K.download/UrbanSound8K.tar.gz"]
    assert len(files(download("urbansound8k", tmp_path))) == 3 and len(server.requested) == 1


def test_a_wrong_checksum_removes_the_file(server, monkeypatch, tmp_path):
    serve(monkeypatch, server, checksum="md5:" + "0" * 32)
    with pytest.raises(DownloadError, match=r"checksum md5:0+ and was removed; try again.*FRAMI_MIRROR.*fsdd yourself"):
        download("fsdd", tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_an_http_mirror(given, server, monkeypatch, tmp_path):
    serve(monkeypatch, server)
    archive = dataclasses.replace(DATASETS["fsdd"].archives[0], url="http://127.0.0.1:9/never.zip")
    monkeypatch.setitem(DATASETS, "fsdd", dataclasses.replace(DATASETS["fsdd"], archives=(archive,)))
    if given == "environment":
        monkeypatch.setenv("FRAMI_MIRROR", server.url + "/")
    assert len(files(download("fsdd", tmp_path, mirror=server.url if given == "argument" else None))) == 3


@pytest.mark.parametrize("as_url", [False, True], ids=["path", "file url"])
def test_a_folder_as_mirror(as_url, server, monkeypatch, tmp_path):
    body = serve(monkeypatch, server)
    shelf = tmp_path / "my shelf"
    shelf.mkdir()
    monkeypatch.setenv("FRAMI_MIRROR", shelf.as_uri() if as_url else str(shelf))
    with pytest.raises(DownloadError, match=r"free-spoken-digit-dataset-1\.0\.10\.zip"):
        download("fsdd", tmp_path / "data")
    (shelf / DATASETS["fsdd"].archives[0].file).write_bytes(body)
    assert len(files(download("fsdd", tmp_path / "data"))) == 3
    assert len(files(shelf)) == 1 and not server.requested


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("evil", ["../evil.wav", "top/../../evil.wav", "..\\evil.wav", "C:\\evil.wav"])
def test_an_archive_may_not_write_outside(kind, evil, server, monkeypatch, tmp_path):
    serve(monkeypatch, server, body=pack({"top/a.wav": sound(), evil: sound(), "top/b.wav": sound()}, kind))
    with pytest.raises(DownloadError, match="outside its folder"):
        download("fsdd", tmp_path / "data")
    assert files(tmp_path) == []


def test_a_link_out_of_the_folder_is_refused(server, monkeypatch, tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        link = tarfile.TarInfo("top/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../.."
        archive.addfile(link)
    serve(monkeypatch, server, body=out.getvalue())
    with pytest.raises(DownloadError, match="outside the destination"):
        download("fsdd", tmp_path / "data")
    assert files(tmp_path) == []


@pytest.mark.parametrize("body", [b"<html>sign in</html>" * 99, pack({"a.wav": sound()}, "tar.gz")[:-4000]])
def test_what_is_not_a_whole_archive_is_removed(body, server, monkeypatch, tmp_path):
    serve(monkeypatch, server, body=body, checksum=None)
    with pytest.raises(DownloadError, match="broken archive"):
        download("fsdd", tmp_path)
    assert files(tmp_path) == []


def test_missing_clips_are_noticed(server, monkeypatch, tmp_path):
    serve(monkeypatch, server, clips=3)
    with pytest.raises(DownloadError, match="2 clips instead of 3"):
        download("fsdd", tmp_path)
    assert files(tmp_path) == []


def test_without_a_checksum_every_clip_is_read(server, monkeypatch, tmp_path):
    serve(monkeypatch, server, checksum=None)
    assert len(files(download("fsdd", tmp_path / "good"))) == 3
    serve(monkeypatch, server, body=pack({"top/a.wav": sound(), "top/b.wav": b"no sound"}, "zip"), checksum=None)
    with pytest.raises(DownloadError, match=r"b\.wav"):
        download("fsdd", tmp_path / "bad")
    assert not (tmp_path / "bad" / "fsdd").exists()


def test_no_network_says_what_to_do(server, monkeypatch, tmp_path):
    serve(monkeypatch, server)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DownloadError) as failure:
        download("fsdd", tmp_path, mirror=nobody)
    file = DATASETS["fsdd"].archives[0].file
    for part in (f"{nobody}/{file}", "FRAMI_MIRROR", str(tmp_path / "fsdd")):
        assert part in str(failure.value)
    assert "\n" not in str(failure.value) and "Max retries" not in str(failure.value)


def test_too_little_space_is_said_before(server, monkeypatch, tmp_path):
    serve(monkeypatch, server)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(DownloadError, match=r"needs .* GB .* free some space"):
        download("fsdd", tmp_path)
    assert not server.requested


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(DownloadError, match=r"fsdd, audiomnist, .*esc10, esc50, urbansound8k"):
        download("cifar", tmp_path)
