"""The scripts of the page: the linter finds nothing, sees faults, and reads them as the one script that they become."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from frami.browser import SHARED, SITE, joined
from frami.studio.theme import PAGE, script


def lint(*arguments) -> subprocess.CompletedProcess:
    oxlint = Path(sysconfig.get_path("scripts")) / "oxlint"
    return subprocess.run([oxlint, *arguments], capture_output=True, text=True, timeout=60)


def test_the_linter_finds_nothing():
    for done in (lint(PAGE), lint("-c", PAGE / ".oxlintrc.json", SITE)):
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("const unused = 1;", "no-unused-vars"),
        ("frami.seeded = () => undefinedName;", "no-undef"),
        ('import { missing } from "./core.js";\nframi.seeded = missing;', "import(named)"),
        ("frami.seeded = a => a == 1;", "eqeqeq"),
    ],
)
def test_the_linter_sees_faults(tmp_path, fault, rule):
    shutil.copytree(PAGE, tmp_path / "page")
    (tmp_path / "page" / "seeded.js").write_text(f"{fault}\n", encoding="utf-8")
    done = lint(tmp_path / "page")
    assert done.returncode == 1 and rule in done.stdout


def exported() -> str:
    """The script of an exported page (``frami.browser``)."""
    return joined([*(PAGE / f"{name}.js" for name in SHARED), SITE / "site.js"])


@pytest.mark.parametrize("whole", [script, exported])
def test_the_scripts_share_a_scope(tmp_path, whole):
    """No name is declared twice, none is missing, and nothing of the modules' own syntax is left."""
    for seeded, status in (("", 0), ("const el = 1;", 1)):
        seeded_script = whole().replace('use strict";', f'use strict"; {seeded}')
        (tmp_path / "page.js").write_text(seeded_script, encoding="utf-8")
        done = lint("-c", PAGE / ".oxlintrc.json", "--allow", "all", "--deny", "no-undef", tmp_path)
        assert done.returncode == status, done.stdout
