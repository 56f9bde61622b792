"""Fixtures that several tests share, the markers that follow from them, and the time that each marker's tests take."""

import os
import re
import signal
import threading

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: one thread computes the same bits each time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of the processes that tests start compiles frami anew

import gc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from frami import checkpoints, models, train
from tests.helpers import recordings, teachers
from tests.helpers.studio import BROWSER_FLAGS, Studio, choose_teacher, chromium, running_studio

# A shell's background commands ignore Ctrl-C, and so would all that tests start and stop by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent

#: The marker that a fixture gives to the tests that take it, themselves or through another fixture.
MARKERS = {"browser": "browser", "start_studio": "browser", "real_data": "data"}


# ------------------------------------------------------------------------------------- markers, and the time they take


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by their fixtures. Several processes begin with what takes longest, modules of worker processes
    too; where a page gives students their seconds comes last of the browser's, beside modules that take little."""
    weights = Counter()
    for item in items:
        for name in sorted({MARKERS[fixture] for fixture in item.fixturenames if fixture in MARKERS}):
            item.add_marker(name)
        names = [name for name in ("browser", "data", "slow") if item.get_closest_marker(name)]
        item.user_properties += [("marker", name) for name in names or ["others"]]
        weights[_unit(item.nodeid)] += {"browser": 5, "slow": 10}.get(names[-1] if names else "", 0.1)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: (-weights[_unit(item.nodeid)], "test_distil_tab" in item.nodeid))


def pytest_collection_finish() -> None:
    """What the libraries and the collected tests hold stays until the end: the garbage collector need not go through
    it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of several processes one runs all modules that open a browser: two browsers and their studios at once would take
    the time from one another that tests wait for. It begins with them, so that those which fork it as ZeroGPU does go
    there, too: PyTorch computes no gradients in a fork of a process that has exported. The others take a module at a
    time."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _unit
    return scheduler


def _unit(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return "browser" if _browses(path) else path


@lru_cache
def _browses(path: str) -> bool:
    return bool(re.search(r"\bopen_page\b|\(browser\b|space_check|helpers import zerogpu", (ROOT / path).read_text()))


def pytest_terminal_summary(terminalreporter) -> None:
    """Number and seconds of the tests with each marker, and the tests that should have the marker ``slow``."""
    seconds, tests, unmarked = Counter(), defaultdict(set), []
    reports = [one for some in terminalreporter.stats.values() for one in some if isinstance(one, pytest.TestReport)]
    for report in reports:
        names = [value for key, value in report.user_properties if key == "marker"]
        for name in names:
            seconds[name] += report.duration
            tests[name].add(report.nodeid)
        if report.when == "call" and report.duration > 10 and "slow" not in names:
            unmarked.append(f"{report.nodeid} takes {report.duration:.0f} s and is not marked slow")
    words = [f"{name} {total:.0f} s ({len(tests[name])} tests)" for name, total in seconds.most_common()]
    if words:
        terminalreporter.write_line("time by marker: " + ", ".join(words))
    for line in unmarked:
        terminalreporter.write_line(line)


# --------------------------------------------------------------------------------------------- folders and recordings


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Each test begins with one, whatever a library in one before has set."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory) -> Path:
    """All that is written while testing goes to this folder. Several processes share what is decoded of recordings."""
    folder = tmp_path_factory.mktemp("home")
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = tmp_path_factory.getbasetemp().parent / "cache"
        shared.mkdir(exist_ok=True)
        (folder / "cache").symlink_to(shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOME", str(folder))
        yield folder


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    """No run is in the store."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real recordings; a test that takes it is skipped where there are none."""
    given = os.environ.get("FRAMI_DATA")
    if not given:
        pytest.skip("needs real recordings: set FRAMI_DATA to the folder that holds fsdd/, ESC-50/ and UrbanSound8K/")
    return ROOT / Path(given).expanduser()


@pytest.fixture(scope="session")
def make_tree() -> Callable[..., Path]:
    """``make_tree(name, root, **choices)``: made sounds in the layout of a data set."""
    return recordings.make_tree


# ---------------------------------------------------------------------------------------------------------- teachers


@pytest.fixture(scope="session")
def make_mels() -> Callable:
    """``make_mels(classes, each, seed, shortest, longest)``: log-Mels of classes that are easy to tell apart."""
    return teachers.make_mels


@pytest.fixture(scope="session")
def make_card() -> Callable:
    """``make_card(model, name, **fields)``: a card that fits a model."""
    return teachers.make_card


@pytest.fixture(scope="session")
def plain_training() -> Callable:
    """``plain_training(**settings)``: a ``TrainConfig`` that augments nothing."""
    return teachers.plain_training


@pytest.fixture(scope="module")
def teacher() -> checkpoints.Checkpoint:
    """The bundled teacher of digits."""
    return checkpoints.load("fsdd")


def trained_teacher(folder: Path, name: str, architecture: str) -> Path:
    """Path (without ending) of a checkpoint: a nano classifier of four made classes, trained."""
    torch.manual_seed(0)
    model = models.build("nano", 4, architecture=architecture)
    for _ in train.train(model, teachers.make_mels(each=16), teachers.plain_training(epochs=6, batch=16)):
        pass
    accuracy = train.evaluate(model, teachers.make_mels(seed=1)).accuracy
    checkpoints.save(folder / name, model, teachers.make_card(model, name, accuracy=accuracy))
    return folder / name


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory) -> Path:
    """A trained teacher, alone in its folder."""
    return trained_teacher(tmp_path_factory.mktemp("checkpoints"), "tiny", "residual")


@pytest.fixture(scope="session")
def temporal_teacher(tmp_path_factory) -> Path:
    """One of the second architecture."""
    return trained_teacher(tmp_path_factory.mktemp("checkpoints"), "temporal", "tc-resnet")


# ----------------------------------------------------------------------------------------- the studio in a browser


@pytest.fixture(scope="session")
def start_studio(tmp_path_factory) -> Callable:
    """``with start_studio(data) as studio``: a studio with a home of its own, and recordings in ``data`` or none."""
    return lambda data=None: running_studio(tmp_path_factory.mktemp("studio-home"), data)


@pytest.fixture(scope="session")
def studio(start_studio) -> Iterator[Studio]:
    """A studio as on a fresh clone, without recordings. What a module adds to its home it takes away again."""
    with start_studio() as started:
        yield started


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        window = p.chromium.launch(executable_path=chromium(), args=BROWSER_FLAGS)
        yield window
        window.close()


@pytest.fixture(scope="session")
def profile(browser):
    """One profile for all pages: what the browser has compiled of a studio's scripts opens the next page in a third."""
    return browser.new_context()


@pytest.fixture
def open_page(profile, studio):
    """Opens the studio with a teacher as a new visitor, or as the one who came before (``returning``); at the end the
    console must have been quiet and no other host asked."""
    pages, trouble = [], []

    def opened(
        width=1400,
        height=900,
        theme="light",
        context=profile,
        address=studio.address,
        returning=False,
        teacher="fsdd",
    ):
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        if not returning:
            stored = {"origin": address.rstrip("/"), "storageTypes": "cookies,local_storage,indexeddb"}
            context.new_cdp_session(page).send("Storage.clearDataForOrigin", stored)
        page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        local = (address, "data:", "blob:", "ws://127.0.0.1")
        page.on("request", lambda r: None if r.url.startswith(local) else trouble.append(f"asked {r.url}"))
        page.goto(f"{address}?__theme={theme}")
        page.wait_for_selector("#gallery .frami-tile", timeout=60_000)
        choose_teacher(page, teacher)
        return page

    def left(*more):
        """A page was left or loaded again: Gradio itself reports the streams that this cut off (before their answer or
        within it), and ``more``."""
        cut = ("AbortError: signal is aborted", "AbortError: BodyStreamBuffer", "Connection errored out", *more)
        trouble[:] = [text for text in trouble if not any(word in text for word in cut)]

    opened.trouble, opened.left = trouble, left
    yield opened
    for page in pages:
        page.close()  # does nothing where it is closed already
    assert not trouble, trouble
