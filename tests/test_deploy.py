"""What surrounds a hosted studio: lock files, the audit, the container, and the rehearsal of a Space."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy import audit, environment, sandbox
from frami.errors import FramiError
from frami.hub import space
from tests.helpers.servers import serving
from tests.helpers.studio import chromium

ROOT = Path(__file__).parents[1]
LOCKS = {"requirements.txt": "requirements.lock", "requirements-dev.txt": "requirements-dev.lock"}
LOCKS |= {"requirements-space.txt": "requirements-space.lock"}
TOOLS = {"requirements-tools.txt": "requirements-tools.lock"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


# --- lock files ------------------------------------------------------------------------------------------------------


def named(file: str) -> dict[str, str]:
    """Packages that a list of requirements pins, and those of the list that it includes."""
    text = (ROOT / file).read_text()
    rows = {name.replace("_", "-").lower(): version for name, version in space.pins(text).items()}
    for other in re.findall(r"^-r (\S+)$", text, re.MULTILINE):
        rows |= named(other)
    return rows


@pytest.mark.parametrize(("listed", "lock"), (LOCKS | TOOLS).items())
def test_a_lock_file_is_of_its_list_and_hashes_everything(listed, lock):
    """Fails where a list has changed: make lock."""
    text = (ROOT / lock).read_text()
    pins = space.pins(text)
    assert named(listed).items() <= pins.items()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins) > 50
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text, "no other place than the usual index"


def test_what_is_tested_is_what_a_space_installs():
    there = space.pins((ROOT / "requirements-space.lock").read_text())
    for lock in LOCKS.values():
        pins = space.pins((ROOT / lock).read_text())
        assert {name: there[name] for name in pins if name in there} == {n: v for n, v in pins.items() if n in there}
    assert space.pins((ROOT / "requirements.lock").read_text()).keys() <= there.keys()


def test_every_target_of_make_installs_by_hash_and_is_explained():
    text = (ROOT / "Makefile").read_text()
    installs = re.findall(r"(?:\$\(PIP\)|pip install) (.+)$", text, re.MULTILINE)[1:]
    assert installs and all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs)
    explained = (ROOT / "CONTRIBUTING.md").read_text()
    for target in re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split():
        assert f"`make {target}" in explained or f"make {target}\n" in explained, target


# --- the audit -------------------------------------------------------------------------------------------------------


def report(**weak) -> dict:
    rows = [{"name": name, "version": version, "vulns": []} for name, version in audit.locked(ROOT).items()]
    for row in rows:
        row["vulns"] = weak.get(row["name"], [])
    return {"date": date(2026, 1, 2).isoformat(), "dependencies": rows}


def audited(monkeypatch, capsys, path, value) -> tuple[int, str, str]:
    path.write_text(json.dumps(value))
    monkeypatch.setattr(sys, "argv", ["audit", "--report", str(path)])
    return audit.main(), *capsys.readouterr()


def test_a_kept_report_needs_no_network(monkeypatch, capsys, tmp_path):
    status, out, _ = audited(monkeypatch, capsys, tmp_path / "report.json", report())
    assert status == 0 and "packages as of 2026-01-02: 0 known weaknesses" in out
    weak = report(requests=[{"id": "PYSEC-1", "fix_versions": ["9.9"]}])
    status, out, _ = audited(monkeypatch, capsys, tmp_path / "report.json", weak)
    assert status == 1 and re.search(r"^requests \S+: PYSEC-1, mended in 9.9$", out, re.MULTILINE)


def test_a_package_that_nobody_was_asked_about_is_not_sound(monkeypatch, capsys, tmp_path):
    """pip-audit ends with 0 where the index tells nothing, as it does where there is none."""
    value = report()
    value["dependencies"][0] = {"name": value["dependencies"][0]["name"], "skip_reason": "not found"}
    status, _, err = audited(monkeypatch, capsys, tmp_path / "report.json", value)
    assert status == 2 and "says nothing of 1 of" in err and len(err.splitlines()) == 1
    value = report()
    value["dependencies"][5]["version"] = "0"
    assert audited(monkeypatch, capsys, tmp_path / "report.json", value)[0] == 2
    for text in ("{}", "[]", "x", '{"dependencies": [3]}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(FramiError, match="is no report of pip-audit"):
            audit.read(tmp_path / "other.json")


# --- the container ---------------------------------------------------------------------------------------------------


def instructions(name: str) -> list[str]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def test_the_container_holds_what_runs_and_is_nobody_of_importance():
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [name for line in instructions("COPY") for name in line.split()[:-1]]
    assert set(copied) == set(allowed) == {*space.PARTS, *space.SHOWN, "requirements.lock"}
    hosting = (ROOT / "docs" / "hosting.md").read_text()
    assert all(f"`{name}`" in hosting for name in space.SHOWN)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    assert all(re.search(rf"^{re.escape(name)}(/|$)", tracked, re.MULTILINE) for name in copied)
    assert instructions("USER") == ["1000"] and DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nCMD ")
    version = re.match(r"python:(3\.\d+)-", instructions("FROM")[0])[1]
    assert space.front_matter((ROOT / "README.md").read_text()).count(f'python_version: "{version}')
    environment = dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split())
    assert environment["FRAMI_HOSTED"] == "1" and environment["FRAMI_HOME"] == instructions("VOLUME")[0]
    assert environment["GRADIO_SERVER_PORT"] == instructions("EXPOSE")[0]
    assert instructions("CMD")[-1] == '["python", "app.py"]'


def test_the_container_takes_no_cuda_unless_it_is_asked_to():
    """Its own filter of the lock file leaves whole entries."""
    assert instructions("ARG")[0] == "DEVICE=cpu"
    script = re.search(r"awk '([^']+)'", DOCKERFILE)[1]
    rest = subprocess.run(["awk", script, "requirements.lock"], cwd=ROOT, capture_output=True, text=True).stdout
    pins, kept = space.pins((ROOT / "requirements.lock").read_text()), space.pins(rest)
    gone = set(pins) - set(kept)
    assert {"torch", "torchaudio", "triton", "nvidia-cudnn-cu13"} <= gone and kept.items() <= pins.items()
    assert {name.split("-")[0] for name in gone} == {"torch", "torchaudio", "triton", "nvidia", "cuda"}
    entries = re.split(r"^(?=[a-z0-9])", rest, flags=re.MULTILINE)[1:]
    assert len(entries) == len(kept) and all("--hash=sha256:" in entry for entry in entries)
    pattern = re.search(r"grep -oE '([^']+)'", DOCKERFILE)[1]
    torch = subprocess.run(["grep", "-oE", pattern, "requirements.lock"], cwd=ROOT, capture_output=True, text=True)
    assert torch.stdout.split() == [f"torch=={pins['torch']}", f"torchaudio=={pins['torchaudio']}"]


@pytest.mark.parametrize("status", [200, 503])
def test_the_containers_health_is_that_of_the_studio(status):
    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    command = json.loads(re.search(r"CMD (\[.+\])$", instructions("HEALTHCHECK")[0])[1])
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Health)) as server:
        code = command[2].replace(":7860/", f":{server.server_port}/")
        done = subprocess.run([sys.executable, *command[1:2], code], capture_output=True)
    assert (done.returncode == 0) == (status == 200)


# --- the rehearsal ---------------------------------------------------------------------------------------------------


def toy_space(folder: Path, code: str, *names: str) -> Path:
    """A Space with this program, which needs these packages."""
    folder.mkdir()
    (folder / "app.py").write_text(code)
    (folder / "README.md").write_text('---\npython_version: "3.12.12"\n---\n')
    (folder / "requirements.txt").write_text("".join(f"{name}==1\n" for name in names))
    return folder


def test_an_environment_has_only_what_a_space_installs(tmp_path):
    files = toy_space(tmp_path / "space", "", "packaging", "PyYAML", "never-heard-of")
    with (files / "requirements.txt").open("a") as file:
        file.write("for-another-system==1 ; sys_platform == 'win32'\n")
    python, missing = environment.present(tmp_path / "environment", files)
    assert missing == ["never-heard-of"]
    code = "import importlib.util as u; print([bool(u.find_spec(n)) for n in ('packaging', 'yaml', 'torch', 'pytest')])"
    assert subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.split("\n")[0] == (
        "[True, True, False, False]"
    )
    assert environment.version(files) == "3.12.12"


PROBE = """
import http.server, json, os, pathlib, pwd, resource, socket

def fails(work, *given):
    try:
        work(*given)
    except Exception as error:
        return type(error).__name__

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        own = pathlib.Path(__file__)
        found = {
            "user": fails(pwd.getpwuid, os.getuid()), "home": fails(pathlib.Path.home),
            "cores": len(os.sched_getaffinity(0)), "memory": resource.getrlimit(resource.RLIMIT_DATA)[0] / 2**30,
            "code": fails(own.write_text, "x"), "beside": fails((own.parent / "x").write_text, "x"),
            "network": fails(socket.create_connection, ("192.0.2.1", 80), 3), "there": os.getcwd() == str(own.parent),
            "temporary": fails(pathlib.Path(os.environ["TMPDIR"], "x").write_text, "x"),
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"])), Answer).serve_forever()
"""
SANDBOX = """
import os, pathlib, sys, urllib.request
from deploy import sandbox
apart = sandbox.enter()
space, work = map(pathlib.Path, sys.argv[1:])
try:
    here = pathlib.Path(os.path.relpath(sys.executable))  # as the Makefile names it
    with sandbox.running(here, space, work, apart, False) as studio:
        print(urllib.request.urlopen(studio.address).read().decode())
except sandbox.NotStarted as error:
    print(error)
"""


def in_the_sandbox(files: Path, tmp_path: Path) -> str:
    way = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*way, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces for users here")
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [*way, sys.executable, "-c", SANDBOX, files, work], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"FRAMI_REHEARSAL_INSIDE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sandbox_has_no_user_home_network_or_file_to_write(tmp_path):
    found = json.loads(in_the_sandbox(toy_space(tmp_path / "space", PROBE), tmp_path))
    assert found == {
        "user": "KeyError", "home": "RuntimeError", "cores": min(2, os.cpu_count()), "code": "PermissionError",
        "beside": "PermissionError", "network": "OSError", "there": False, "memory": 16, "temporary": None,
    }  # fmt: skip


def test_a_studio_that_does_not_start_is_told_with_its_last_words(tmp_path):
    files = toy_space(tmp_path / "space", "raise RuntimeError('no room in the inn')\n")
    assert in_the_sandbox(files, tmp_path).strip() == "the studio did not start: RuntimeError: no room in the inn"


HOG = """
import http.server, os, subprocess, sys, time
held = bytearray(os.urandom(1)) * 60_000_000
if len(sys.argv) == 1:
    children = [subprocess.Popen([sys.executable, __file__, "child"]) for _ in range(2)]
    Answer = http.server.SimpleHTTPRequestHandler
    http.server.HTTPServer(("127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"])), Answer).serve_forever()
time.sleep(60)
"""


def test_a_studio_that_takes_more_memory_than_a_host_gives_is_ended(tmp_path):
    """All its processes together: none of these is above the limit by itself."""
    work = tmp_path / "work"
    work.mkdir()
    files = toy_space(tmp_path / "space", HOG)
    with sandbox.running(Path(sys.executable), files, work, False, False) as studio:
        studio.memory = 150_000_000
        assert studio.process.wait(20) and studio.peak > studio.memory


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_space_works_where_it_lacks_all_that_a_space_lacks(tmp_path):
    """The paths of a first visitor, in a browser; only those packages of this environment that a Space installs. UMAP
    and ONNX take long, and have tests of their own."""
    chromium()
    paths = ["--only", "clip", "tabs", "sound", "explore", "synthesis", "distillation"]
    for command in (
        ["frami", "publish", "--out", tmp_path / "space"],
        ["deploy.space_check", tmp_path / "space", *paths],
    ):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "the Space would work"
