"""Where things are written when there is no home, or none that can be written."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from frami import paths
from frami.errors import FramiError
from tests.helpers.studio import running_studio
from tests.test_locks import held_elsewhere

ROOT = Path(__file__).parents[1]
#: Before a program: what the system says of a user whom it does not know.
STRANGER = "import pwd\ndef nobody(uid): raise KeyError(uid)\npwd.getpwuid = nobody\n"
CACHES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "TORCH_HOME", "HF_HUB_CACHE")


@pytest.fixture
def homeless(tmp_path, monkeypatch):
    """No HOME, and a user whom the system does not know."""

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("HOME", "FRAMI_HOME", "LOGNAME", "USER", "XDG_CACHE_HOME", *CACHES):
        os.environ.pop(name, None)
    paths.settle.cache_clear()
    yield tmp_path
    paths.settle.cache_clear()


def test_without_a_home_a_temporary_folder_takes_its_place(homeless):
    with pytest.raises(FramiError, match="set FRAMI_HOME"):
        paths.home()
    notice = paths.settle()
    folder = homeless / f"frami-{os.getuid()}"
    assert str(folder) in notice and "set FRAMI_HOME" in notice and paths.settle() == notice, "the same each time"
    assert paths.home() == folder and folder.stat().st_mode & 0o777 == 0o700
    assert all(Path(os.environ[name]).is_relative_to(folder) for name in CACHES)
    assert Path("~/x").expanduser() == folder / "x"


def test_somebody_elses_folder_is_not_taken(homeless):
    (homeless / "theirs").mkdir()
    (homeless / f"frami-{os.getuid()}").symlink_to(homeless / "theirs")
    paths.settle()
    assert paths.home().parent == homeless and paths.home().is_dir() and not any((homeless / "theirs").iterdir())


@pytest.mark.parametrize("strict", [True, False])
def test_a_home_that_cannot_be_written(homeless, strict):
    """The studio runs all the same; the command line keeps to what it was told."""
    (homeless / "file").touch()
    os.environ |= {"HOME": str(homeless), "FRAMI_HOME": str(homeless / "file" / "home")}
    notice = paths.settle(strict)
    assert (notice is None) is strict
    assert paths.home() == homeless / ("file/home" if strict else f"frami-{os.getuid()}")


def test_a_home_as_usual_is_left_alone(homeless):
    os.environ["HOME"] = str(homeless)
    before = dict(os.environ)
    assert paths.settle() is None and dict(os.environ) == before and not any(homeless.iterdir())


def test_the_command_line_says_where_it_writes(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    code = f"{STRANGER}import sys\nfrom frami.cli import main\nsys.exit(main(['runs', 'list', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert done.stderr.count("\n") == 1 and str(tmp_path / "frami-") in done.stderr


@pytest.mark.slow
def test_a_second_studio_of_one_folder_says_so(tmp_path):
    """On the page of one's own machine, and in the log."""
    import requests

    with held_elsewhere("checkpoint", tmp_path / "studio"), running_studio(tmp_path) as studio:
        assert "another studio shares this one" in requests.get(studio.address, timeout=20).text
        assert (tmp_path / "log").read_text().count("another studio shares") == 1


@pytest.mark.slow
def test_the_studio_starts_without_a_home_and_says_so(tmp_path):
    """Its first tab plays, and what it makes goes to the temporary folder."""
    import requests

    program = tmp_path / "stranger.py"
    program.write_text(
        f"{STRANGER}import runpy, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(ROOT / 'app.py')!r}, run_name='__main__')"
    )
    gone = ("HOME", "FRAMI_HOME", "LOGNAME", "USER", "LNAME", "USERNAME", *CACHES)
    with running_studio(tmp_path, program=program, without=gone) as studio:
        page = requests.get(studio.address, timeout=20).text
        assert "there is no home folder that can be written" in page
        log = (tmp_path / "log").read_text()
        assert log.count("there is no home folder") == 1
    assert list((tmp_path / "TMPDIR").glob("frami-*"))
