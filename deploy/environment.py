"""Python environments with only what a Space installs."""

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from frami.errors import FramiError


def fresh(folder: Path, space: Path) -> Path:
    """A new environment in ``folder``, installed as a Space does it, with its version of Python where that is here; its
    Python. Takes minutes, 6 GB and a network.

    space : its files
    """
    requirements = (space / "requirements.txt").read_text()
    gradio = re.search(r"^gradio==(\S+)", requirements, re.MULTILINE)[1]
    builder = [f"gradio[oauth,mcp]=={gradio}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces"]
    named = f"python{'.'.join(version(space).split('.')[:2])}"
    own = next((one for one in (named, sys.executable) if _runs(one)), sys.executable)
    subprocess.run([own, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    for given in (["-r", space / "pre-requirements.txt"], ["-r", space / "requirements.txt", *builder]):
        if subprocess.run([*pip, *given]).returncode:
            raise FramiError("pip could not install it, for the reason above; is there a network, and 6 GB of disk?")
    return python


def present(folder: Path, space: Path) -> tuple[Path, list[str]]:
    """An environment in ``folder`` that sees of this one's packages only those that a Space installs; its Python, and
    the names of those that are not here. Quick: links to what is installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    here = {_plain(one.metadata["Name"]): one for one in metadata.distributions()}
    missing = []
    for name in _needed((space / "requirements.txt").read_text()):
        if found := here.get(_plain(name)):
            _link(found, packages)
        else:
            missing.append(name)
    return folder / "bin" / "python", missing


def version(space: Path) -> str:
    """The Python that a Space's settings name."""
    return re.search(r'^python_version: "(\S+)"$', (space / "README.md").read_text(), re.MULTILINE)[1]


def _runs(python: str) -> bool:
    return shutil.which(python) is not None and not subprocess.run([python, "-c", ""], capture_output=True).returncode


def _needed(requirements: str) -> list[str]:
    """Names of the packages that are for this machine."""
    rows = [Requirement(line) for line in requirements.splitlines() if line and not line.startswith("#")]
    return [row.name for row in rows if row.marker is None or row.marker.evaluate()]


def _link(distribution: metadata.Distribution, packages: Path) -> None:
    """Links to the files and folders that a distribution has at the top."""
    if distribution.files is None:
        raise FramiError(f"{distribution.metadata['Name']} does not say which files it has; install it anew with pip")
    for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
        link = packages / top
        if not link.is_symlink() and not top.endswith(".pth"):
            link.symlink_to(Path(distribution.locate_file(top)))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
