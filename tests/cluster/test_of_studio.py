"""The variables that name a studio's cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from frami.cluster import of_studio
from frami.errors import FramiError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(monkeypatch):
    """``asked(address, share)`` where Ray is installed, as far as is looked for."""

    def asked(address=None, share=None, installed=True):
        monkeypatch.setattr(of_studio, "find_spec", lambda name: installed or None)
        for name, value in ((of_studio.SETTING, address), (of_studio.SHARE, share)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        return of_studio.asked()

    return asked


def test_without_them_nothing_changes(asked):
    assert asked() is None and asked("", " ") is None


def test_an_address_and_a_share(asked):
    found = asked("ray://cluster.example:10001", "0.25")
    assert (found.address, found.gpus) == ("ray://cluster.example:10001", 0.25)
    assert found.command()[-2:] == ("ray://cluster.example:10001", "0.25")
    assert asked("ray").gpus is None and asked("ray", "2").gpus == 2
    found.close()


@pytest.mark.parametrize("address", ["local", "ray://", "ray://host", "http://host:10001", "10.0.0.7:6379", "Ray"])
def test_a_wrong_address_is_told(asked, address):
    with pytest.raises(FramiError, match=r"FRAMI_RAY=.*give ray .* or ray://HOST:PORT"):
        asked(address)


@pytest.mark.parametrize("share", ["half", "-1", "1.5", "nan", "inf"])
def test_a_wrong_share_is_told(asked, share):
    with pytest.raises(FramiError, match=r"FRAMI_RAY_GPUS=.*give the part of a GPU"):
        asked("ray", share)


def test_a_share_of_nothing_and_ray_that_is_not_installed_are_told(asked):
    with pytest.raises(FramiError, match="name that with FRAMI_RAY"):
        asked(None, "0.5")
    with pytest.raises(FramiError, match=r"FRAMI_RAY=ray: this needs Ray: pip install"):
        asked("ray", installed=False)


def test_nothing_of_it_loads_ray():
    code = (
        "import sys, frami.distill.relay, frami.cluster.of_studio, frami.cluster.run_there; print('ray' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.slow
def test_a_studio_does_not_start_with_a_wrong_one(tmp_path):
    environment = os.environ | {"FRAMI_HOME": str(tmp_path), "FRAMI_RAY": "10.0.0.7"}
    command = [sys.executable, str(ROOT / "app.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith("FRAMI Studio cannot start: FRAMI_RAY=10.0.0.7: give ray")
    assert "Traceback" not in done.stderr
