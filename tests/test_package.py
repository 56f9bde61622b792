"""The package as pip installs it: what the wheel has, what runs without PyTorch, what is said where it is needed."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
import soundfile
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import frami
from frami import cli, extras
from tests.helpers.cli import run
from tests.helpers.listening import RATE, sound, tones_onnx

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: What of the environment that runs the tests an installation without extras has: these, and what they need.
LIGHT = ("numpy", "onnxruntime", "soundfile", "soxr", "tqdm")


def pinned(file: str) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", (ROOT / file).read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


def listed(extra: str | None) -> dict[str, Requirement]:
    """What pip installs with an extra, without what that needs in turn."""
    found = {}
    for text in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        one = Requirement(text)
        for inner in one.extras if one.name == "frami" else ():
            found |= listed(inner)
        if one.name != "frami":
            found[canonicalize_name(one.name)] = one
    return found


def test_the_extras_are_what_the_studio_installs():
    """Nothing that requirements.txt pins is missing, and its versions fit; microphones alone are more."""
    whole, pins = listed(None) | listed("studio"), pinned("requirements.txt")
    assert whole.keys() - {"sounddevice"} == pins.keys()
    for name, version in pins.items():
        assert whole[name].specifier.contains(version), name
    assert set(listed(None)) == set(extras.ALWAYS) == set(LIGHT)


def test_every_library_of_the_code_is_in_an_extra():
    """What is said where a library is not here is true of it."""
    for extra in ("listen", "train", "studio"):
        for name in listed(extra):
            module = {"umap-learn": "umap", "huggingface-hub": "huggingface_hub"}.get(name, name)
            named = re.search(r"frami\[(\w+)\]", extras.lacking(module))[1]
            assert name in listed(named) and (extra != "listen" or named == "listen"), name
    assert "pip install frami" in extras.lacking("numpy") and "PyTorch" in extras.lacking("torch")


def test_a_library_that_is_not_here_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    tones_onnx(tmp_path / "x.onnx")
    status, out, err = run(capsys, "listen", tmp_path / "x.onnx", "x.wav")
    assert (status, out) == (2, "") and err == "frami listen: this needs onnxruntime: pip install frami\n"


def test_a_module_of_our_own_that_is_missing_is_a_fault(capsys, monkeypatch):
    """It is no library that one could install."""
    monkeypatch.setitem(cli.COMMANDS, "runs", ("no_such_module", ""))
    with pytest.raises(ModuleNotFoundError):
        run(capsys, "runs", "list")


# --- the wheel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Made as ``pip install .`` makes it, of a copy."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("frami", "checkpoints", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    code = "from setuptools import build_meta; build_meta.build_sdist('dist'); print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2_000:]
    return folder / "dist" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel, and of all libraries those of ``LIGHT`` alone: a folder for ``PYTHONPATH``."""
    folder, here = tmp_path_factory.mktemp("site"), Path(sysconfig.get_paths()["purelib"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    needed, wanted = set(), list(LIGHT)
    while wanted:
        name = wanted.pop()
        if name not in needed:
            needed.add(name)
            rest = [Requirement(text) for text in requires(name) or []]
            wanted += [one.name for one in rest if one.marker is None or one.marker.evaluate({"extra": ""})]
    for name in needed:
        about = next(
            p for p in here.glob("*.dist-info") if canonicalize_name(p.name.split("-")[0]) == canonicalize_name(name)
        )
        tops = {line.split(",")[0].split("/")[0] for line in (about / "RECORD").read_text().splitlines()}
        for top in tops - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(here / top)
    return folder


def python(folder: Path, *arguments, cwd: Path) -> subprocess.CompletedProcess:
    """A Python without the packages of its environment (``-S``), but those in a folder."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_wheel_has_all_modules_and_checkpoints(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "frami").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in names
    for path in (ROOT / "checkpoints").rglob("*.safetensors"):
        assert f"frami/{path.relative_to(ROOT).as_posix()}" in names
        assert f"frami/{path.relative_to(ROOT).with_suffix('.json').as_posix()}" in names
    assert "frami/bench/intro" in {str(Path(name).parent) for name in names}
    assert not any(name.startswith(("tests/", "deploy/", "assets/", "checkpoints/")) for name in names)
    assert wheel.stat().st_size < 50e6
    assert wheel.name.startswith(f"frami-{frami.__version__}-py3-none-any")
    import tarfile

    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {"deploy/wheel.py", "deploy/__init__.py", "LICENSE", "checkpoints/fsdd-tiny.safetensors"} <= inside


@pytest.mark.slow
def test_a_student_runs_without_pytorch(installed, tmp_path):
    tones_onnx(tmp_path / "tones.onnx")
    soundfile.write(tmp_path / "x.wav", sound(("low", 1)), RATE)
    seen = python(installed, "-c", "import frami; print(frami.__file__)", cwd=tmp_path)
    assert Path(seen.stdout.strip()).is_relative_to(installed), seen.stderr
    assert python(installed, "-m", "frami", "--version", cwd=tmp_path).stdout == f"frami {frami.__version__}\n"
    done = python(installed, "-m", "frami", "listen", "tones.onnx", "x.wav", "--events", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and '"low"' in done.stdout, done.stderr
    for words in (["students"], ["listen", "fsdd-tiny", "x.wav"], ["distill", "--teacher", "fsdd"]):
        done = python(installed, "-m", "frami", *words, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "needs PyTorch: pip install 'frami[train]'" in done.stderr


@pytest.mark.slow
def test_the_checkpoints_are_found_where_the_package_is_installed(wheel, tmp_path):
    """With PyTorch: the students that the wheel has, from another folder."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "FRAMI_HOME": str(tmp_path / "home")}
    code = (
        "from frami import paths, checkpoints; from frami.cli import main; import sys\n"
        "assert paths.INSTALLED and str(paths.made('gallery', 'fsdd')).startswith(str(paths.home()))\n"
        "checkpoints.load('fsdd-tiny'); sys.exit(main(['students']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0 and "fsdd-tiny" in done.stdout, done.stderr
