"""The Distil tab: its queue of processes, what the page is sent, and a student that learns in a real browser."""

import inspect
import io
import json
import re
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from frami import checkpoints
from frami.errors import FramiError
from frami.inversion import invert
from frami.runs import Runs
from frami.studio.services import distillations, gpu_events
from frami.studio.services.distillations import Distillations
from frami.studio.tabs import distil
from tests.helpers.queues import SETTINGS, queue_in, until
from tests.helpers.studio import choose_teacher, compare_methods, running_studio

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "test-artefacts"


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A queue in a home of its own whose runs are short; not begun."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    made = queue_in(tmp_path)
    yield made
    made.close()


def own(value: dict) -> list[dict]:
    """Rows of the runs that do not come with the studio."""
    return [row for row in value["runs"] if not row.get("bundled")]


def test_the_page_gets_what_changed_and_a_run_has_one_colour(queue):
    known = Distillations(queue, checkpoints.load, ["fsdd"])
    first, second = queue.add("a", SETTINGS), queue.add("b", SETTINGS | {"student": "nano"})
    queue.runs.log(first.id, 1, 2.0, {"agreement": 0.25, "share": 0.5, "left": 3.0, "kd": 1.5})
    value = known.value("fsdd")
    colours = {row["id"]: row["colour"] for row in value["runs"]}
    assert [row["id"] for row in own(value)] == [second.id, first.id] and len(set(colours.values())) == 3
    row = own(value)[1]
    assert row["curves"] == {"agreement": [[2.0, 0.25]], "kd": [[2.0, 1.5]]} and row["share"] == 0.5
    assert row["settings"]["Student"] == "micro" and row["settings"]["Objective"] == "FRAMI"
    assert (row["ahead"], own(value)[0]["ahead"]) == (0, 1)
    again = own(known.value("fsdd", {row["id"]: row["stamp"]}))
    assert "curves" not in again[1] and "curves" in again[0]
    queue.delete(second.id)
    assert Distillations(queue, checkpoints.load, ["fsdd"]).value("fsdd")["runs"][0]["colour"] == colours[first.id]
    json.dumps(value)
    with pytest.raises(FramiError, match="no such teacher"):
        known.value("../../etc")
    for id, kind in ((first.id, "safetensors"), (first.id, "pickle"), ("../x", "onnx")):
        with pytest.raises(FramiError):
            known.file(id, kind)


def test_runs_at_work_or_waiting_are_listed_however_many_are_newer(queue, monkeypatch):
    monkeypatch.setattr(distillations, "MOST", 2)
    old, *_, new = runs = [queue.add(str(k), SETTINGS) for k in range(5)]
    known = Distillations(queue, checkpoints.load, ["fsdd"])
    assert {row["id"] for row in own(known.value("fsdd"))} == {run.id for run in runs}, "all of them wait"
    for run in runs[1:]:
        queue.stop(run.id)
    listed = [row["id"] for row in own(known.value("fsdd"))]
    assert listed == [new.id, runs[3].id, old.id], "the newest two, and the one that waits"


def test_long_curves_are_thinned_and_end_where_they_end(queue, monkeypatch):
    monkeypatch.setattr(distillations, "POINTS", 10)
    run = queue.add("a", SETTINGS)
    for step in range(35):
        queue.runs.log(run.id, step, step, {"agreement": step / 1000})
    points = Distillations(queue, checkpoints.load, ["fsdd"]).value("fsdd")["runs"][0]["curves"]["agreement"]
    assert 5 <= len(points) <= 10 and points[-1] == [34, 0.034]


def test_ticks_become_runs():
    runs = distil.requests("fsdd", ["nano", "micro"], ["frami", "logits"], ["cmi"], 30, 4)
    assert [(run.settings.student, run.settings.objective) for run in runs] == [
        ("micro", "frami"), ("micro", "logits"), ("nano", "frami"), ("nano", "logits"),
    ]  # fmt: skip
    assert {(run.teacher, run.settings.recipe, run.settings.budget, run.settings.seed) for run in runs} == {
        ("fsdd", "cmi", 30.0, 4)
    }
    for sizes, budget, seed in (
        (["giant"], 30, 0),
        ([], 30, 0),
        (["nano"], 0, 0),
        (["nano"], 30, -1),
        (["nano"], None, 0),
    ):
        with pytest.raises(FramiError):
            distil.requests("fsdd", sizes, ["frami"], ["cmi"], budget, seed)
    with pytest.raises(FramiError, match="42 runs"):
        distil.requests("fsdd", list(distil.STUDENTS), list(distil.OBJECTIVES), ["cmi"], 30, 0)


def test_a_student_of_some_classes_is_asked_for_and_shown_among_all():
    names = checkpoints.read_card(checkpoints.resolve("fsdd")).classes
    (run,) = distil.requests("fsdd", ["nano"], ["frami"], ["frami"], 30, 0, [names[4], names[2]])
    assert run.settings.classes == (names[4], names[2]) and run.name.endswith(" 2 classes")
    assert distillations.title(run.to_dict()).endswith(" · 2 classes")
    with pytest.raises(FramiError, match="at least two classes"):
        distil.requests("fsdd", ["nano"], ["frami"], ["frami"], 30, 0, [names[4]])
    result = distillations._result({"confusion": [[3, 1], [0, 2]]}, [names[4], names[2]], names)
    assert result["confusion"] == {"size": 10, "cells": [22, 3, 24, 1, 44, 2]}, "rows in the teacher's order"
    assert "confusion" not in distillations._result({"confusion": [[3, 1], [0, 2]]}, None, names), "other classes now"


def test_the_default_ends_within_three_minutes():
    assert distil.BUDGET + distillations.EXTRA <= 180 and distil.BUDGET in dict(distil.PRESETS).values()
    assert distil._button(1, distil.BUDGET) == "Distil a student: about 2 min"
    assert "3 students" in distil._button(3, 30) and "about 2 min" in distil._button(3, 30)


def test_a_quick_student_is_made_on_the_gpu_that_is_lent_to_its_event(queue, monkeypatch):
    tab = distil.Distil(SimpleNamespace(distillations=SimpleNamespace(queue=queue), gpu="lent"))
    monkeypatch.setattr(tab, "_add_quick", lambda teacher, queued: queue.add(teacher, SETTINGS, queued=queued))
    made = []
    monkeypatch.setattr(gpu_events, "distil", lambda queue, run, gpu: made.append((run.id, gpu)) or iter([None]))
    for begin in (distil.Distil._teach_on_gpu, distil.Distil._begin_on_gpu):
        assert inspect.isgeneratorfunction(begin), "else Gradio does not wait for it"
    shown = list(tab._teach_on_gpu("fsdd"))
    assert made == [(shown[0]["begun"], "lent")] and len(shown) == 2 and not queue.waiting()


# --------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def budget(teacher):
    """Seconds that let a student learn for a while after its first clips on this machine, as busy as it is now."""
    start = time.perf_counter()
    for _ in invert(teacher, "frami", samples=32, batch=32):
        pass
    return round(8 + 6 * (time.perf_counter() - start))


def begin(page, budget, *students):
    """Open the tab, tick these students only, and start."""
    opened(page)
    for size in ("tiny", *students):
        page.locator("#distil-students label", has_text=size).click()
    page.locator("#distil-seconds input").fill(str(budget))
    page.locator("#distil-seconds input").press("Tab")
    page.wait_for_selector(f"#distil-start:has-text('{distil._button(len(students), budget)}')")
    page.locator("#distil-start").click()
    page.wait_for_function(f"() => document.querySelector('.frami-distil').dataset.runs >= {len(students)}")


def opened(page):
    page.get_by_role("tab", name="Distil").click()
    compare_methods(page)
    page.wait_for_selector(".frami-distil[data-teacher=fsdd]", state="attached")
    page.wait_for_selector(".frami-distil .run", state="attached")
    return page


def row(page, text):
    return page.locator(".frami-distil .run", has_text=text)


def wait(page, text, status, seconds=120):
    page.wait_for_selector(f".frami-distil .run[data-status={status}]:has-text('{text}')", timeout=1000 * seconds)


def learning(page, text):
    """Wait until a student is past its first clips and has learnt a little; its run must not end before."""
    status = page.wait_for_function(
        """text => {
            const row = [...document.querySelectorAll('.frami-distil .run')].find(r => r.textContent.includes(text));
            const status = row?.dataset.status;
            const learns = row?.closest('.frami-distil').curve(row.dataset.id, 'kd').length;
            const ended = ['stopped', 'finished', 'failed'].includes(status);
            return ended || (status === 'running' && learns) ? status : null;
        }""",
        arg=text,
        timeout=180_000,
    ).json_value()
    assert status == "running", row(page, text).inner_text()


def curve(page, text, name):
    return page.evaluate(
        "([t, n]) => document.querySelector('.frami-distil').curve(t, n)",
        [row(page, text).get_attribute("data-id"), name],
    )


def saved(page, text, kind):
    try:
        with page.expect_download(timeout=120_000) as waiting:
            row(page, text).locator("select").select_option(kind)
    except PlaywrightTimeout as error:
        raise AssertionError(f"no file; the page says: {page.locator('.frami-distil').inner_text()}") from error
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def shot(page, name):
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


@pytest.mark.slow
@pytest.mark.timeout(600)  # two students one after the other, and two exports
def test_two_students_learn_one_stopped_and_resumed_through_a_reload(open_page, budget):
    page = open_page()
    assert page.locator("#distil-start").count() == 0, "mounted when it is opened"
    begin(page, budget, "micro", "nano")
    assert row(page, "micro").count() == row(page, "nano").count() == 1
    assert row(page, "nano").get_attribute("data-status") == "waiting"
    learning(page, "micro")
    shot(page, "distil-learning")
    row(page, "micro").locator(".stop").click()
    wait(page, "micro", "stopped")
    assert "Resume continues" in row(page, "micro").inner_text()
    row(page, "micro").locator(".resume").click()
    wait(page, "micro", "waiting")
    wait(page, "nano", "running", 120)
    page.reload()
    page.wait_for_selector("#gallery .frami-tile", state="attached", timeout=60_000)
    choose_teacher(page, "fsdd")
    open_page.left()
    opened(page)
    wait(page, "nano", "running", 120)
    wait(page, "nano", "finished", 120 + 2 * budget)
    wait(page, "micro", "finished", 120 + 2 * budget)
    for name in ("micro", "nano"):
        losses = [[value for _, value in curve(page, name, term)] for term in ("kd", "before", "after")]
        assert any(min(values) < values[0] for values in losses), "it learns"
        assert curve(page, name, "agreement")
    assert page.locator(".frami-distil .segments label").first.inner_text() == "Accuracy", "on recordings that ship"
    table = page.locator(".frami-distil table")
    head = table.locator("thead").inner_text()
    assert (
        "Run" in head
        and "Student" in head
        and "Objective" not in head
        and "Accuracy" in head
        and "unseen made clips" in head
    )
    assert "objective FRAMI" in page.locator(".frami-distil .beside .reading").inner_text()
    assert table.locator("tbody tr").count() == 4 and " ms" in table.inner_text() and " kB" in table.inner_text()
    assert page.locator(".frami-distil .matrices figure").count() == 3
    for figure in page.locator(".frami-distil .matrices figure").all():
        right, of, share = re.search(r"(\d+) of (\d+): ([\d.]+)", figure.locator("figcaption").inner_text()).groups()
        assert float(share) == pytest.approx(100 * int(right) / int(of), abs=0.06) and int(of) >= 100
    pair = page.locator(".frami-distil .pair .verdict")
    pair.locator("b").wait_for()
    assert "95% interval" in pair.inner_text() and "100 recordings" in pair.inner_text()
    pixels = "document.querySelector('.frami-distil .chart canvas').toDataURL()"
    before = page.evaluate(pixels)
    page.locator(".frami-distil .smooth input").fill("0.8")
    assert page.evaluate(pixels) != before, "smoothed"
    colours = page.evaluate(
        "[...document.querySelectorAll('.frami-distil .run')].map(r => r.style.getPropertyValue('--frami-run'))"
    )
    assert len(set(colours)) == 3
    shot(page, "distil-done")

    name, content = saved(page, "micro", "safetensors")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        folder = Path(name).stem
        assert sorted(Path(one).name for one in file.namelist()) == ["student.json", "student.safetensors"]
        assert json.loads(file.read(f"{folder}/student.json"))["kind"] == "student"
    name, content = saved(page, "micro", "onnx")
    assert name.endswith(".onnx") and len(content) > 20_000
    row(page, "micro").locator("select").evaluate(
        "list => new MutationObserver(() => (window.making ||= []).push(list.options[0].text))"
        ".observe(list, { childList: true, subtree: true, characterData: true })"
    )
    name, content = saved(page, "micro", "web")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert f"{Path(name).stem}/index.html" in file.namelist() and name.endswith("-web.zip")
    assert page.evaluate("window.making.includes('Making Web page (zip)…')")
    row(page, "nano").locator("label").click()
    assert page.locator(".frami-distil .matrices figure").count() == 2 and table.locator("tbody tr").count() == 3
    row(page, "nano").locator(".delete").click()
    row(page, "nano").locator(".delete", has_text="Really").click()
    page.wait_for_function("document.querySelector('.frami-distil').dataset.runs === '1'")


@pytest.mark.slow
@pytest.mark.parametrize("width, height, theme", [(390, 844, "dark"), (1400, 900, "light")])
def test_the_first_view_shows_a_finished_student_and_one_button(open_page, width, height, theme):
    page = open_page(width, height, theme)
    page.get_by_role("tab", name="Distil").click()
    teach, stage = page.locator(".frami-taught .teach"), page.locator(".frami-taught .hero canvas")
    page.wait_for_selector(".frami-taught .facts b:has-text('94.8')")
    assert "An eighth of the size" in page.locator(".frami-taught h2").inner_text()
    assert "(1 min)" in teach.inner_text() and "94.8" in stage.get_attribute("aria-label")
    for part in (teach, stage):
        box = part.bounding_box()
        assert box["y"] + box["height"] <= height, "above the fold"
    assert not page.locator("#distil-start").is_visible(), "all else is folded, whatever runs there are"
    assert page.locator(".frami-taught .fold").get_attribute("aria-expanded") == "false"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shot(page, f"distil-first-{width}-{theme}")
    compare_methods(page)
    assert page.locator("#distil-start").inner_text() == "Distil a student: about 2 min"
    assert page.locator("#distil-recipes label").count() < len(distil.RECIPES), "the ablations are apart"
    page.locator("#distil-objectives label", has_text="SimKD").click()
    page.wait_for_selector("#distil-start:has-text('2 students')")
    page.wait_for_selector("#distil-about:has-text('CVPR 2022')")
    page.locator("#distil-recipes label", has_text=re.compile(r"^\s*FRAMI\s*$")).click()
    page.wait_for_selector("#distil-start:disabled")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the table scrolls in its box"
    shot(page, f"distil-compare-{width}-{theme}")


@pytest.mark.slow
def test_a_student_is_taught_before_ones_eyes_and_tried(open_page, monkeypatch):
    page = open_page()
    page.get_by_role("tab", name="Distil").click()
    page.locator(".frami-taught .teach").click()
    lesson = page.locator(".frami-taught .lesson")
    lesson.locator(".frami-tile").first.wait_for(timeout=60_000)
    assert lesson.locator(".frami-tile").count() == 20 and lesson.locator(".frami-tile", has_text="seven").count() == 2
    assert page.evaluate("document.querySelector('.lesson').getBoundingClientRect().top") < 900, "scrolled to it"
    lesson.locator(".frami-tile").first.click()
    page.wait_for_function("frami.player.dataset.clip?.startsWith('explore/fsdd/frami/')")
    try:
        page.wait_for_selector(".lesson .big b", timeout=180_000)
    except PlaywrightTimeout as error:
        shot(page, "distil-lesson-late")
        raise AssertionError(f"no point yet; the page says: {lesson.inner_text()}") from error
    assert "100 recordings" in lesson.locator(".big").inner_text()
    shot(page, "distil-lesson")
    page.wait_for_selector(".lesson .try-it:visible", timeout=240_000)
    id = lesson.get_attribute("data-id")
    lesson.locator(".try-it").click()
    page.wait_for_selector(f"#try-students input[name='run:{id}']:checked", timeout=30_000)


def test_quick_ticks_all_count_and_a_refusal_is_shown(open_page):
    """Also ticks that come while the studio still handles the one before: here it takes half a second to."""
    page = opened(open_page())
    page.evaluate(
        """() => {
            const fetched = window.fetch;
            window.fetch = async (...what) => {
                const reply = await fetched(...what);
                if (String(what[0]?.url ?? what[0]).includes("/run/")) await new Promise(done => setTimeout(done, 500));
                return reply;
            };
        }"""
    )
    for wanted in ("7 students", "Distil a student"):
        page.evaluate(
            """async () => {
                for (const box of [...document.querySelectorAll('#distil-objectives input')].slice(1)) {
                    box.click();
                    await new Promise(done => setTimeout(done, 60));
                }
            }"""
        )
        page.wait_for_selector(f"#distil-start:has-text('{wanted}')", timeout=30_000)
    seconds = page.locator("#distil-seconds input")
    seconds.fill("1")
    seconds.press("Tab")
    page.wait_for_selector(f"#distil-start:has-text('{distil._button(1, 1)}')")
    page.locator("#distil-start").click()
    page.wait_for_selector(".toast-body:visible")
    assert "2 to" in page.locator(".toast-body").first.inner_text()
    assert seconds.input_value() == "1", "what was typed stays"


@pytest.mark.slow
def test_a_killed_studio_finds_its_run_again_and_resume_finishes_it(open_page, make_tree, tmp_path, budget):
    """With recordings, on which the finished student's accuracy is measured and shown."""
    home, data = tmp_path / "home", make_tree("fsdd", tmp_path / "data")
    home.mkdir()
    store = Runs(home / "runs" / "runs.sqlite")
    with running_studio(home, data) as studio:
        page = open_page(address=studio.address)
        begin(page, budget, "micro")
        learning(page, "micro")
        run = store.list()[0]
        assert not open_page.trouble
        studio.process.kill()
        studio.process.wait()
        page.close()
        open_page.trouble.clear()  # that nobody answers
        until(lambda: store.get(run.id).pid is None)
        assert store.get(run.id).status == "stopped", "its process saved what it had and ended"
    with running_studio(home, data) as studio:
        page = opened(open_page(address=studio.address))
        wait(page, "micro", "stopped")
        before = len(curve(page, "micro", "kd"))
        assert before
        row(page, "micro").locator(".resume").click()
        wait(page, "micro", "finished", 120 + 2 * budget)
        assert len(curve(page, "micro", "kd")) > before
        shares = [value for _, value in curve(page, "micro", "accuracy")]
        assert shares and all(0 <= value <= 1 and value * 10 == pytest.approx(round(value * 10)) for value in shares)
        assert page.locator(".frami-distil .segments label").first.inner_text() == "Accuracy"
        head = page.locator(".frami-distil table thead").inner_text()
        assert "on held-out recordings" in head and "unseen made clips" in head
        assert "No recordings" not in page.locator(".frami-distil .beside").inner_text()
        shot(page, "distil-recordings")
        page.close()
    assert store.get(run.id).result["clips"] > 0
