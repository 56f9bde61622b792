"""The Teachers & data tab: what is here, and what comes while the studio runs."""

import json
import shutil
import stat
import threading
import time
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile
import torch

from frami import checkpoints, models
from frami.data import DataError, own, zipped
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.hosting.limits import NONE, Limits
from frami.hosting.owners import EVERYONE
from frami.studio.services import data_sets, network_cards
from frami.studio.services.preparations import Preparations, _new_name
from frami.studio.services.teachers import Teachers
from frami.studio.tabs import teachers as tab
from frami.teachers import train_teacher
from frami.workers import jobs
from tests.helpers.studio import choose_teacher
from tests.helpers.teachers import make_card
from tests.helpers.visitors import named


def tone(path, pitch, seconds=0.3, rate=8_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    time_ = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch * time_), rate)


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A ZIP archive: two classes of eight tones in a folder around them, a damaged file, and two that are none."""
    folder = tmp_path_factory.mktemp("tones")
    for number in range(8):
        tone(folder / "around" / "low" / f"{number}.wav", 300 + 7 * number)
        tone(folder / "around" / "high" / f"{number}.wav", 1500 + 17 * number)
    (folder / "around" / "low" / "bad.wav").write_bytes(b"junk")
    (folder / "around" / "readme.txt").write_text("mine")
    (folder / "around" / ".DS_Store").write_text("x")
    return shutil.make_archive(str(folder.parent / "tones"), "zip", folder)


def archive(path, *entries):
    """entries : (name, content, how it is stored)"""
    with zipfile.ZipFile(path, "w") as out:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo(name)
            if mode:
                info.external_attr = mode[0] << 16
            out.writestr(info, content)
    return path


def finished(works, id, who=None, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        row = next(row for row in works.value(*([who] if who else [])) if row["id"] == id)
        if row["status"] in ("finished", "failed", "stopped"):
            return row
        time.sleep(0.02)
    raise AssertionError(row)


def here(job, arguments, told, stopped):
    """Does a job in this process."""
    event = threading.Event()
    teller = jobs.Teller(lambda value: (told(value), stopped() and event.set()), event)
    return jobs.JOBS[job](teller, **arguments)


# --- archives that come from strangers -------------------------------------------------------------------------------


def test_class_folders_are_unpacked_and_what_is_no_sound_is_left_out(tones, tmp_path):
    found = zipped.unpack(tones, tmp_path / "tones")
    assert (found["clips"], found["classes"], found["unusable"], found["others"]) == (16, 2, 1, 1)
    assert found["named"][0].startswith("low/bad.wav: not readable as sound")
    assert own.describe(tmp_path / "tones").classes == ("high", "low")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tones"], "nothing else is left"
    with pytest.raises(DataError, match="here already"):
        zipped.unpack(tones, tmp_path / "tones")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("../out.wav", b"x")], "leads out"),
        ([("a/../../out.wav", b"x")], "leads out"),
        ([("/etc/out.wav", b"x")], "leads out"),
        ([("C:\\out.wav", b"x")], "leads out"),
        ([("a\\..\\..\\out.wav", b"x")], "leads out"),
        ([("a/link.wav", "/etc/passwd", stat.S_IFLNK | 0o777)], "a link"),
        ([("a/pipe.wav", "", stat.S_IFIFO | 0o666)], "special file"),
        ([("a/" * 9 + "x.wav", b"x")], "too long|too many"),
        ([("a/" + "x" * 250 + ".wav", b"x")], "too long"),
        ([("a/notes.txt", b"x")], "no sound file"),
        ([("a/1.wav", b"x"), ("b/1.wav", b"x")], "no two folders with sounds"),
    ],
)
def test_an_archive_that_is_none_of_class_folders_is_refused(tmp_path, entries, said):
    with pytest.raises(DataError, match=said):
        zipped.unpack(archive(tmp_path / "a.zip", *entries), tmp_path / "in" / "here")
    assert not list((tmp_path / "in").glob("*")) and not (tmp_path / "out.wav").exists()


def test_an_archive_is_bounded_whatever_it_says(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.zip", *((f"a/{n}.wav", b"x") for n in range(9)))
    for name, most, said in (("MOST_ENTRIES", 8, "entries"), ("MOST_SOUNDS", 8, "sounds"), ("MOST_TOTAL", 8, "sounds")):
        with monkeypatch.context() as patch:
            patch.setattr(zipped, name, most)
            with pytest.raises(DataError, match=said):
                zipped.unpack(path, tmp_path / "here")
    lying = bytearray((tmp_path / "a.zip").read_bytes())
    for text in (b"not a zip", bytes(lying[:-30]), b""):
        (tmp_path / "b.zip").write_bytes(text)
        with pytest.raises(DataError, match="no ZIP archive"):
            zipped.unpack(tmp_path / "b.zip", tmp_path / "here")
    assert not (tmp_path / "here").exists()


# --- work behind the page --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_teacher_is_trained_on_an_archive_and_is_there_at_once(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    teachers, works = Teachers(), Preparations(run=here).begin()
    before = set(teachers)
    row = finished(works, works.train("Low & High", None, tones, "nano", 2))
    assert row["status"] == "finished" and "held-out recordings" in row["note"], row
    assert [point[0] for point in row["curve"]["loss"]] == [1, 2] and row["curve"]["held out"]
    assert set(teachers) - before == {"low-high"} and teachers["low-high"].classes == ("high", "low")
    assert teachers.loader(torch.device("cpu"))("low-high").classes == ("high", "low")
    (shown,) = [one for one in network_cards.rows(teachers) if one["name"] == "low-high"]
    assert not shown["bundled"] and not shown["gallery"] and shown["accuracy"].endswith("%")
    assert ("low-high: 16 clips", "own/low-high") in data_sets.offered()
    assert not list((tmp_path / "trainings").glob("*")) and not list((tmp_path / "checkpoints").glob("*.training"))
    for wrong in ("low-high", "fsdd", "", "!!"):
        with pytest.raises(FramiError, match=r"choose another name|letters and digits"):
            _new_name(wrong)
    with pytest.raises(FramiError, match="not both"):
        works.train("other", "own/low-high", tones, "nano", 2)


def test_stop_keeps_the_best_so_far(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    zipped.unpack(tones, data_sets.own_folder() / "tones")
    works = Preparations(run=here)

    def stops(job, arguments, told, stopped):
        def tell(value):
            told(value)
            if "epoch" in value and value["epoch"]["epoch"] == 2:
                works.stop(works.value()[0]["id"])

        return here(job, arguments, tell, stopped)

    works._run = stops
    row = finished(works, works.train("short", "own/tones", None, "nano", 50))
    assert row["status"] == "finished" and "stopped after epoch 2 of 50" in row["note"], row
    assert checkpoints.read_card(tmp_path / "checkpoints" / "short").training["stopped_after"] == 2


def test_a_training_that_was_cut_off_is_listed_and_goes_on(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    zipped.unpack(tones, data_sets.own_folder() / "tones")

    def dies(job, arguments, told, stopped):
        def tell(value):
            told(value)
            if value.get("epoch", {}).get("epoch") == 2:
                raise KeyboardInterrupt  # as where the process is killed

        try:
            return here(job, arguments, tell, stopped)
        except KeyboardInterrupt:
            threading.Event().wait(60)

    works = Preparations(run=dies)
    works.train("tones-2", "own/tones", None, "nano", 3)
    until = time.monotonic() + 60
    while len(works.value()[0]["curve"].get("loss", ())) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    later = Preparations(run=here).begin()
    (row,) = later.value()
    assert row["status"] == "stopped" and row["resumes"] and row["name"] == "tones-2"
    later.resume(row["id"])
    row = finished(later, row["id"])
    assert row["status"] == "finished" and [point[0] for point in row["curve"]["loss"]] == [1, 2, 3], row


def test_a_download_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """From a server of this machine, which has the archive."""
    made = tmp_path / "made" / "free-spoken-digit-dataset-1.0.10" / "recordings"
    info = DATASETS["fsdd"]
    for speaker in info.folds:
        for digit in range(10):
            tone(made / f"{digit}_{speaker}_0.wav", 300 + 50 * digit, 0.1)
    (tmp_path / "served").mkdir()
    shutil.make_archive(str(tmp_path / "served" / info.archives[0].file[:-4]), "zip", made.parent.parent)
    content = (tmp_path / "served" / info.archives[0].file).read_bytes()
    monkeypatch.setitem(DATASETS, "fsdd", _as_made(info, content, clips=60))

    class Handler(SimpleHTTPRequestHandler):
        asked: list = []  # noqa: RUF012

        def do_GET(self):
            Handler.asked.append(self.headers.get("Range"))
            super().do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("FRAMI_MIRROR", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    try:
        works = Preparations(run=lambda *job, told, stopped: here(*job, told, lambda: True))
        row = finished(works, works.download("fsdd"))
        assert row["status"] == "failed" and "goes on from what was fetched" in row["error"], row
        assert not (tmp_path / "home" / "data" / "fsdd").exists()
        works._run = here
        works.resume(row["id"])
        row = finished(works, row["id"])
        assert row["status"] == "finished", row
        assert [one["here"] for one in data_sets.rows() if one["name"] == "fsdd"] == [60]
    finally:
        server.shutdown()
        data_sets.forget()


def _as_made(info, content, clips):
    import hashlib

    archive = replace(info.archives[0], checksum=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content))
    return replace(info, archives=(archive,), clips=clips)


def test_a_teacher_is_imported_from_its_two_files_or_refused(tmp_path, monkeypatch, teacher):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    works = Preparations(run=here)
    source = checkpoints.resolve("fsdd")
    pair = [str(source.with_suffix(ending)) for ending in (".safetensors", ".json")]
    row = finished(works, works.import_teacher("Their digits", "", pair))
    assert row["status"] == "finished" and row["note"] == "10 classes", row
    assert "their-digits" in Teachers() and Teachers()["their-digits"].sha256
    monkeypatch.setattr(works, "_works", {})
    student = checkpoints.resolve("fsdd-tiny")
    files = [str(student.with_suffix(ending)) for ending in (".safetensors", ".json")]
    for name, source, given, said in (
        ("a", "", files, "this is a student"),
        ("b", "", pair[:1], "choose two files"),
        ("c", "no folder", (), "no folder"),
    ):
        row = finished(works, works.import_teacher(name, source, given))
        assert row["status"] == "failed" and said in row["error"], row
    for source, given in (("", ()), ("a/b", pair)):
        with pytest.raises(FramiError, match="not both"):
            works.import_teacher("d", source, given)


def _stopped_work(tmp_path, run, limits=None):
    """Preparations with a training that an earlier studio did not finish, and its id."""
    (tmp_path / "trainings").mkdir()
    said = {"dataset": "fsdd", "settings": {"size": "nano", "epochs": 3}, "owner": None}
    (tmp_path / "trainings" / "mine.json").write_text(json.dumps(said))
    works = Preparations(limits=limits or NONE, run=run).begin()
    return works, works.value()[0]["id"]


def test_a_training_is_not_stopped_by_the_studios_end_but_by_its_visitor(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    at_work, killed, asked = threading.Event(), threading.Event(), []

    def run(job, arguments, told, stopped):
        asked.append(stopped)
        at_work.set()
        killed.wait(60)
        raise RuntimeError("the worker was ended")

    monkeypatch.setattr(data_sets, "trainable", lambda name: str(tmp_path))
    works, id = _stopped_work(tmp_path, run)
    works.resume(id)
    assert at_work.wait(60)
    works.close()
    assert not asked[0](), "it would become a finished teacher of few epochs"
    with pytest.raises(FramiError, match="the studio is ending"):
        works.gallery("fsdd")
    killed.set()
    assert finished(works, id)["status"] == "failed"
    (row,) = Preparations(run=run).begin().value()
    assert row["name"] == "mine" and row["resumes"], "the next studio goes on with it"


def test_what_may_not_go_on_now_stays_in_the_list(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    monkeypatch.setattr(data_sets, "trainable", lambda name: str(tmp_path))
    done = threading.Event()
    works, id = _stopped_work(tmp_path, lambda *_, **__: done.wait(60), Limits({"trainings": 1}))
    other = works.gallery("fsdd")
    with pytest.raises(FramiError, match="at most 1"):
        works.resume(id)
    assert [row["id"] for row in works.value()] == [other, id] and works.value()[1]["resumes"]
    with pytest.raises(FramiError, match="stop this before"):
        works.remove(other)
    works.limits = NONE
    works.resume(id)
    for again in (works.resume, works.remove):
        with pytest.raises(FramiError, match=r"only work that was stopped|stop this before"):
            again(id)
    stale = works._works[id]
    works._works[id] = replace(stale)
    with pytest.raises(FramiError, match="not there any more"):
        works._start(replace(stale), EVERYONE, stale)
    done.set()


def test_hosted_it_is_off_unless_a_limit_allows_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    ada, ben = named("ada"), named("ben")
    off = Preparations(limits=Limits({"trainings": 0, "imports": 0, "downloads": 0}), run=here)
    for begin in (
        lambda: off.train("x", "fsdd", None, "nano", 1, ada),
        lambda: off.import_teacher("x", "a/b", (), ada),
        lambda: off.download("fsdd", ada),
        lambda: off.gallery("fsdd", ada),
    ):
        with pytest.raises(FramiError, match=r"on this shared page\. To lift this, duplicate the Space"):
            begin()
    assert "training, import and downloads of data sets</b> are off" in tab._off(off) and "duplicate" in tab._off(off)
    done = threading.Event()
    on = Preparations(limits=Limits({"imports": 1}), run=lambda *_, **__: done.wait(60))
    with pytest.raises(FramiError, match="OWNER/NAME"):
        on.import_teacher("x", str(tmp_path), (), ada)
    id = on.import_teacher("x", "owner/name", (), ada)
    with pytest.raises(FramiError, match="at most 1"):
        on.import_teacher("y", "owner/other", (), ben)
    assert on.value(ada) and not on.value(ben), "nobody sees another's"
    with pytest.raises(FramiError, match="not there"):
        on.stop(id, ben)
    done.set()
    assert all(row["folder"] is None for row in data_sets.rows())


def test_a_teacher_of_a_bundled_name_does_not_take_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    found = Teachers()
    before = found["fsdd"].sha256
    torch.manual_seed(0)
    model = models.build("nano", 4)
    for path, name in (("mine", "mine"), ("theirs", "fsdd")):
        checkpoints.save(tmp_path / "checkpoints" / path, model, make_card(model, name))
    (tmp_path / "checkpoints" / "none.json").write_text(json.dumps({"name": 3}))
    assert "mine" in found and found["fsdd"].sha256 == before and "theirs" not in found
    for path in (tmp_path / "checkpoints").glob("mine.*"):
        path.unlink()
    assert "mine" not in found
    with pytest.raises(FramiError, match="not here any more"):
        found.loader(torch.device("cpu"))("mine")


def test_a_stopped_training_without_an_epoch_says_so(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    zipped.unpack(tones, tmp_path / "tones")
    with pytest.raises(FramiError, match="before its first epoch"):
        train_teacher(str(tmp_path / "tones"), tmp_path / "out", size="nano", epochs=2, stop=lambda: True)


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_an_archive_to_a_teacher_in_every_tab(open_page, studio, tones):
    """Uploaded, trained by a worker, chosen; then a phone in the dark, whose list follows."""
    page = open_page()
    try:
        page.get_by_role("tab", name="Teachers & data").click()
        page.wait_for_selector(".frami-teachers .card[data-teacher='esc50']", timeout=30_000)
        assert page.locator(".frami-teachers .card").count() == 5
        assert "81.2%" in page.locator(".card[data-teacher='esc50']").inner_text()
        assert "not here" in page.locator(".dataset[data-name='fsdd']").inner_text()
        assert page.locator(".dataset[data-name='fsdd'] .act").inner_text() == "Download 16.42 MB"
        page.locator("#train-start").click()
        page.wait_for_selector(".toast-body:has-text('letters and digits')")
        page.locator(".toast-close").first.click()
        page.locator("#train-archive input[type=file]").set_input_files(tones)
        page.wait_for_selector("#train-archive :text('tones.zip'), #train-archive .file-preview", timeout=20_000)
        page.locator("#train-name").locator("input, textarea").fill("Low and high")
        page.locator("#train-epochs input").fill("3")
        page.locator("#train-size label", has_text="nano").click()
        page.locator("#train-start").click()
        page.wait_for_selector(".work[data-status='finished']", timeout=150_000)
        assert page.locator(".work svg").count() == 2
        page.wait_for_selector("#teacher input[value='low-and-high']", timeout=20_000)
        page.wait_for_selector(".card[data-teacher='low-and-high'] .act")
        page.close()
        phone = open_page(390, 844, "dark", returning=True)
        choose_teacher(phone, "low-and-high")
        assert "No gallery for this teacher yet" in phone.locator("#gallery").inner_text()
        phone.get_by_role("tab", name="Teachers & data").click()
        phone.wait_for_selector(".card[data-teacher='low-and-high']", timeout=30_000)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        card = phone.locator(".card[data-teacher='low-and-high']")  # folded, beside what to do first
        assert "your own" in card.inner_text() and not card.locator("dl").first.is_visible()
        ways = phone.locator(".ways button").first.bounding_box()["y"]  # beneath the training that has finished
        assert ways < 844 and ways < phone.locator(".card").first.bounding_box()["y"]
        card.locator("summary").first.click()
        assert card.locator("dl").first.is_visible()
    finally:
        for name in ("checkpoints", "recordings", "trainings"):
            shutil.rmtree(studio.home / name, ignore_errors=True)
