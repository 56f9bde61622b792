"""``frami publish``: which files make a Space, and how they get there; a server here stands in for the Hub."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from frami.cli import publish
from frami.data import shipped
from frami.hub import HubError, overview, space
from tests.helpers import hub as stand_in
from tests.helpers.cli import run

ROOT = Path(__file__).parents[1]
CARD = "# A card\n"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")


@pytest.fixture
def clone(tmp_path):
    """A small repository with the parts of this one that a Space is made of."""
    folder = tmp_path / "clone"
    for name, text in {
        "app.py": "demo = 1\n",
        "LICENSE": "free\n",
        "frami/__init__.py": '"""The package."""\n',
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in ("README.md", "requirements-space.lock"):
        shutil.copy(ROOT / name, folder)
    for name in ("assets/samples/fsdd/four-en-us.flac", "checkpoints/fsdd.json", "checkpoints/fsdd.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    git(tmp_path, "init", "-q", str(folder))
    commit(folder)
    return folder


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    with stand_in.running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def published(monkeypatch, clone):
    """The command works on the small repository."""
    monkeypatch.setattr(publish, "PACKAGE", clone / "frami")
    monkeypatch.setattr(publish, "BUNDLED", clone / "checkpoints")
    return clone


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- the files -------------------------------------------------------------------------------------------------------


def test_a_space_has_what_runs_and_nothing_else():
    files = space.contents(ROOT, CARD)
    assert {name.split("/")[0] for name in files} == {
        *space.PARTS, "CITATION.cff", "docs", "README.md", "MODEL_CARD.md", "requirements.txt", "pre-requirements.txt",
        ".gitattributes",
    }  # fmt: skip
    assert {"frami/studio/app.py", "checkpoints/fsdd.safetensors", "assets/page/core.js"} <= set(files)
    assert {name for name in files if name.startswith("docs/")} == set(space.SHOWN) - {"CITATION.cff"}
    front = yaml.safe_load(space.front_matter(files["README.md"].decode()))
    pins = space.pins(files["requirements.txt"].decode())
    assert front["python_version"] == "3.12.12" and front["sdk_version"] == pins["gradio"]
    for line in re.findall(r"^([a-z].*==.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE):
        name, version = line.split("==")
        assert pins[name.partition("[")[0].replace("_", "-")] == version


def test_only_tracked_files_go(clone):
    (clone / "frami" / "secret.py").write_text("TOKEN = 1\n")
    (clone / "notes.txt").write_text("mine\n")
    assert not {"frami/secret.py", "notes.txt"} & set(space.contents(clone, CARD))


def test_requirements_have_hashes_where_pip_allows_it(clone):
    files = space.contents(clone, CARD)
    hashed, plain = (files[name].decode() for name in ("pre-requirements.txt", "requirements.txt"))
    assert "--hash" in hashed and "--hash" not in plain and space.pins(plain) == space.pins(hashed)
    assert all(re.match(r"#|[a-z0-9._-]+==\S+( ; .+)?$", line) for line in plain.splitlines())


def test_binaries_are_stored_apart(clone):
    (clone / "assets" / "picture.webp").write_bytes(b"RIFF\xff\xfe")
    commit(clone)
    rules = space.contents(clone, CARD)[".gitattributes"].decode().splitlines()
    assert [rule.split()[0] for rule in rules] == ["*.flac", "*.safetensors", "*.webp"]
    assert all("filter=lfs" in rule for rule in rules)


WRONG = [
    ("sdk_version: 6.31.0", "sdk_version: 6.30.0", "must be gradio 6.31.0"),
    ('python_version: "3.12.12"', "python_version: 3.12", "in quotes"),
    ('python_version: "3.12.12"', 'python_version: "3.13"', "in quotes"),
    ('python_version: "3.12.12"', 'python_version: "3.12.1"', "ZeroGPU has 3.12.12"),
    ("colorTo: pink", "colorTo: mauve", "colorFrom and colorTo of red"),
    ("app_file: app.py", "app_file: main.py", "app_file must be app.py"),
    ("short_description: ", f"short_description: {'very ' * 12}", "more than 60"),
    ("sdk: gradio", "sdk: [gradio", "no YAML"),
    ("---\n", "", "does not begin with front matter"),
]


def test_settings_that_a_space_would_not_take_are_named(clone):
    right = (clone / "README.md").read_text()
    for old, new, words in WRONG:
        (clone / "README.md").write_text(right)
        change(clone / "README.md", old, new)
        with pytest.raises(HubError, match=words):
            space.contents(clone, CARD)


def test_files_that_a_space_would_refuse_are_named(clone, monkeypatch):
    monkeypatch.setattr(space, "PLAIN_MOST", 10)
    with pytest.raises(HubError, match=r"LICENSE|app.py|fsdd.json"):
        space.contents(clone, "x")
    monkeypatch.undo()
    monkeypatch.setattr(space, "TOTAL_MOST", 1000)
    with pytest.raises(HubError, match="the Space would have"):
        space.contents(clone, "x")


def test_what_is_no_clone_or_not_whole_is_named(clone, tmp_path):
    (clone / "app.py").unlink()
    with pytest.raises(HubError, match=r"app\.py is not there; git restore"):
        space.contents(clone, CARD)
    shutil.rmtree(clone / ".git")
    with pytest.raises(HubError, match="no clone"):
        space.contents(clone, CARD)


def test_the_model_card_lists_every_network():
    cards = [json.loads(path.read_text()) for path in sorted((ROOT / "checkpoints").glob("*.json"))]
    text = overview.text(cards)
    assert all(f"| {card['name']} | " in text and card["data_licence"] in text for card in cards)
    assert "| fsdd-tiny | fsdd, without recordings | 0.09 M | 10 | 94.8% of 500 |" in text
    assert all(f"[{row.licence}]" in text for row in shipped.table()) and "assets/recordings/CREDITS.md" in text


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_dry_run_lists_what_would_go_and_asks_nobody(capsys, published, server):
    status, out, err = run(capsys, "publish", "someone/studio", "--dry-run")
    assert (status, err, server.asked) == (0, "", [])
    lines = out.splitlines()
    assert any(line.endswith("kB  checkpoints/fsdd.safetensors") for line in lines)
    assert lines[-1].endswith("would go to someone/studio") and "11 files" in lines[-1]
    change(published / "app.py", "1", "2")
    assert "not committed yet, which an upload refuses: app.py" in run(capsys, "publish", "--dry-run")[1]


def test_a_folder_is_written_once(capsys, published, tmp_path):
    out = tmp_path / "space"
    value = json.loads(run(capsys, "publish", "--out", out, "--json")[1])
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == set(value["files"])
    assert (out / "MODEL_CARD.md").read_text().startswith("# The networks")
    status, _, err = run(capsys, "publish", "--out", out)
    assert status == 2 and "is there already" in err


def test_a_space_is_made_and_brought_up_to_date(capsys, published, server):
    status, out, err = run(capsys, "publish", "someone/studio", "--private")
    assert status == 0, err
    assert "someone/studio" in out and "/commit/" in out
    (made,) = server.made
    assert (made["type"], made["sdk"], made.get("visibility")) == ("space", "gradio", "private"), made
    files = server.repositories["someone/studio"]
    assert set(files) == set(space.contents(published, CARD)) and files["app.py"] == b"demo = 1\n"
    assert files["checkpoints/fsdd.safetensors"] == (ROOT / "checkpoints/fsdd.safetensors").read_bytes()
    files |= {"frami/old.py": b"gone", "README-of-the-owner.md": b"stays"}
    change(published / "app.py", "1", "2")
    commit(published)
    assert run(capsys, "publish", "someone/studio")[0] == 0
    assert files["app.py"] == b"demo = 2\n" and "frami/old.py" not in files and "README-of-the-owner.md" in files


def test_what_is_not_committed_is_not_published(capsys, published, server):
    change(published / "app.py", "1", "2")
    status, _, err = run(capsys, "publish", "someone/studio")
    assert status == 2 and "not committed: app.py; commit first" in err and not server.asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the Space, OWNER/NAME; or a folder"),
        (["studio"], "OWNER/NAME"),
        (["a/b", "--out", "x"], "--out writes a folder"),
        (["a/b"], "log in with a token that may write"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, published, server, arguments, words):
    server.refusals["a/b"] = (401, "")
    status, out, err = run(capsys, "publish", *arguments)
    assert (status, out) == (2, "") and words in err and len(err.splitlines()) == 1
