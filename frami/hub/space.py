"""The repository of a Space that serves the studio: which files it holds, made from a clone's tracked ones.

A Space reads its settings from the front matter of ``README.md`` and installs ``pre-requirements.txt`` (all packages
with their hashes), then ``requirements.txt`` (the same versions without hashes) together with packages that its builder
names itself: pip refuses these where any package of the same call has a hash.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from frami.hub.problems import HubError

#: What of a clone runs in a Space.
PARTS = ("app.py", "LICENSE", "frami", "assets", "checkpoints")
#: Of its pages, what the Method tab reads.
SHOWN = ("CITATION.cff", "docs/results/distillation.md", "docs/results/strangers.md")
#: Bytes at most: of a file that is not stored apart, of all files.
PLAIN_MOST, TOTAL_MOST = 10**7, 5 * 10**8
#: Versions of Python that the lock file is for, and those of them that ZeroGPU has.
_PYTHONS, _ZERO_GPU = re.compile(r"3\.1[12](\.\d{1,2})?"), ("3.12.12",)
_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_LOCK = "requirements-space.lock"
_README = """
# FRAMI Studio

Hear what a sound classifier remembers, and distil it into a smaller one without its training data. The networks that
are served here, their data and licences: [MODEL_CARD.md](MODEL_CARD.md).

Made by `frami publish`, which replaces what lies in `frami/`, `assets/` and `checkpoints/`: change the studio's own
repository, not this one.
"""

#: A file of the repository: a path of the clone, or the content itself.
Contents = Mapping[str, Path | bytes]


def contents(root: Path, model_card: str) -> dict[str, Path | bytes]:
    """Files of the Space by their path in it. root : of the clone; model_card : Markdown. HubError where the clone or
    its settings do not do for a Space."""
    files: dict[str, Path | bytes] = {name: root / name for name in _tracked(root)}
    front, lock = front_matter(_read(root / "README.md")), _read(root / _LOCK)
    _check_settings(front, pins(lock))
    files |= {
        "README.md": _readme(front).encode(),
        "MODEL_CARD.md": model_card.encode(),
        "pre-requirements.txt": lock.encode(),
        "requirements.txt": without_hashes(lock).encode(),
    }
    stored_apart = sorted(
        {Path(name).suffix for name, file in files.items() if isinstance(file, Path) and _binary(file)}
    )
    files[".gitattributes"] = "".join(f"*{end} filter=lfs diff=lfs merge=lfs -text\n" for end in stored_apart).encode()
    _check_sizes(files, stored_apart)
    return dict(sorted(files.items()))


def write(files: Contents, folder: Path) -> None:
    """Write the files below a folder, which is made. HubError where it holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HubError(f"{folder} is there already; remove it, or name another folder")
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(file))


def content(file: Path | bytes) -> bytes:
    """The bytes of a file."""
    return file.read_bytes() if isinstance(file, Path) else file


def size(file: Path | bytes) -> int:
    """Bytes of a file."""
    return file.stat().st_size if isinstance(file, Path) else len(file)


def uncommitted(root: Path) -> list[str]:
    """Tracked files of the Space that differ from the last commit."""
    named = ["README.md", _LOCK, *PARTS, *SHOWN]
    lines = _git(root, "status", "--porcelain", "--untracked-files=no", "-z", "--", *named).split("\0")
    return [line[3:] for line in lines if line[2:3] == " "]


def commit(root: Path) -> str:
    """The clone's last commit, shortened."""
    return _git(root, "rev-parse", "--short=12", "HEAD").strip()


def front_matter(readme: str) -> str:
    """The YAML that a README begins with. HubError where there is none."""
    found = re.match(r"---\n(.*?)\n---\n", readme, re.DOTALL)
    if found is None:
        raise HubError("README.md does not begin with front matter (--- title: … ---), which a Space needs")
    return found[1]


def pins(lock: str) -> dict[str, str]:
    """Version of each package of a lock file, by name."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", lock, re.MULTILINE))


def without_hashes(lock: str) -> str:
    """The requirements of a lock file, without hashes and remarks."""
    lines = [line.removesuffix("\\").strip() for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    return "# Versions of pre-requirements.txt, which has their hashes.\n" + "\n".join(lines) + "\n"


def _tracked(root: Path) -> list[str]:
    names = _git(root, "ls-files", "-z", "--", *PARTS, *SHOWN).split("\0")[:-1]
    gone = [name for name in names if not (root / name).is_file()]
    if gone or not names:
        raise HubError(f"{gone[0] if gone else PARTS[0]} is not there; git restore brings back what git tracks")
    return names


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HubError(
            f"{root} is no clone that git knows; only tracked files go into a Space: git clone first"
        ) from error
    return done.stdout


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HubError(f"{path} cannot be read; git restore brings it back") from error


def _binary(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _check_settings(front: str, versions: Mapping[str, str]) -> None:
    """HubError where a Space would not take the settings of README's front matter."""
    import yaml

    try:
        settings = yaml.safe_load(front)
    except yaml.YAMLError:
        settings = None
    if not isinstance(settings, dict):
        raise HubError("README.md: the front matter is no YAML of names and values")
    colours = [settings.get(name) for name in ("colorFrom", "colorTo")]
    python, file = settings.get("python_version"), settings.get("app_file")
    if settings.get("sdk") != "gradio" or settings.get("sdk_version") != versions.get("gradio"):
        raise HubError(f"README.md: sdk and sdk_version must be gradio {versions.get('gradio')}, as in {_LOCK}")
    if not (isinstance(python, str) and _PYTHONS.fullmatch(python)):
        raise HubError(f'README.md: python_version is {python!r}; the lock file is for "3.11" and "3.12" (in quotes)')
    if python.startswith("3.12.") and python not in _ZERO_GPU:
        raise HubError(f"README.md: python_version is {python}; ZeroGPU has {', '.join(_ZERO_GPU)}")
    if file not in PARTS or not all(colour in _COLOURS for colour in colours):
        raise HubError(f"README.md: app_file must be {PARTS[0]}, colorFrom and colorTo of {', '.join(_COLOURS)}")
    if len(str(settings.get("short_description", ""))) > 60:
        raise HubError("README.md: short_description has more than 60 characters")


def _check_sizes(files: Contents, stored_apart: list[str]) -> None:
    """HubError where a Space would refuse the files."""
    for name, file in files.items():
        if size(file) > PLAIN_MOST and Path(name).suffix not in stored_apart:
            raise HubError(f"{name} has {size(file) / 1e6:.0f} MB, more than the 10 of a text file in a Space")
    if (total := sum(map(size, files.values()))) > TOTAL_MOST:
        raise HubError(f"the Space would have {total / 1e6:.0f} MB, more than {TOTAL_MOST / 1e6:.0f}")


def _readme(front: str) -> str:
    return f"---\n{front}\n---\n\n{_README.lstrip()}"
