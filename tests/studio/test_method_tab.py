"""The Method tab: its picture is of real results, its figures are those of the measurements."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from frami import checkpoints
from frami.paths import ASSETS
from frami.runs import bundled
from frami.studio.services import clips as clips_service
from frami.studio.services import method
from frami.studio.services.clips import ClipLookup
from frami.studio.services.galleries import Galleries
from frami.studio.services.teachers import Teachers
from frami.studio.tabs import method as tab
from frami.studio.tabs import method_formulas

ROOT = Path(__file__).parents[2]


def test_the_story_is_of_a_bundled_clip_and_a_bundled_student(monkeypatch):
    teachers = Teachers()
    load = teachers.loader("cpu")
    monkeypatch.setattr(
        clips_service, "_logits",
        lambda path, device, sha, mels, shape: load("digits").model(_tensor(mels, shape)).logits,
    )  # fmt: skip
    lookup = ClipLookup(SimpleNamespace(), ASSETS / "gallery", load)
    found = method.Method(teachers, Galleries(lookup, teachers), lookup)
    story = found.story("digits")
    assert story["teacher"] == "digits" and len(story["states"]) >= 4
    steps = [state["step"] for state in story["states"]]
    assert steps == sorted(steps) and story["states"][-1]["predicted"] == story["target"]
    _, curves = bundled("digits-mini")
    assert story["student"]["curve"][-1][1] == round(curves["accuracy"][-1][2], 4)
    assert story["student"]["teacher_accuracy"] == checkpoints.read_card(checkpoints.resolve("digits")).accuracy
    monkeypatch.setattr(method, "bundled_students", lambda name: [])
    assert method.Method(teachers, found.galleries, lookup).story("digits") == {"asked": "digits"}


def _tensor(mels, shape):
    import torch

    return torch.frombuffer(bytearray(mels), dtype=torch.float32).reshape(shape)


def test_figures_are_those_of_the_measurements():
    found, page = method.students(), (ROOT / "docs/results/distillation.md").read_text()
    assert [row[0] for row in found["rows"]] == ["ESC-10", "ESC-50", "Free Spoken Digit Dataset", "UrbanSound8K"]
    for row in found["rows"]:
        assert all(re.fullmatch(r"\d+\.\d( ± \d+\.\d)?|–", cell) and f"| {cell} |" in page for cell in row[1:])
    assert found["command"] in page
    strangers = method.strangers()
    assert strangers["rows"][0][:2] == ["digits", "96.8% of 500 clips, 1 speaker"]
    shown = tab._students(found) + tab._strangers(strangers)
    assert "<table>" in shown and "frami bench distillation" in shown and "frami bench strangers" in shown


def test_what_is_not_here_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(method, "ROOT", tmp_path)
    for read in (method.students, method.strangers, method.citation):
        read.cache_clear()
    try:
        assert method.students() is None and method.strangers() is None and method.citation() is None
        assert "docs/results" in tab._students(None) and tab._strangers(None) == ""
    finally:
        for read in (method.students, method.strangers, method.citation):
            read.cache_clear()


def test_each_formula_names_code_that_is_there():
    for row in method_formulas.FORMULAS:
        code = (ROOT / row.path).read_text() + (ROOT / "frami/inversion/recipes.py").read_text()
        for name in re.findall(r"\w+", row.code.replace("(weights)", "")):
            assert re.search(rf"^(def )?{name}\b", code, re.MULTILINE), name
    plain, linked = method_formulas.html(""), method_formulas.html("https://example.org/x")
    assert "<a " not in plain and linked.count('href="https://example.org/x/blob/main/frami/') == len(
        method_formulas.FORMULAS
    )


def test_the_citation_is_the_papers():
    text = method.citation()
    assert text.startswith("@inproceedings{kang2023") and "2303.07643" in text and text.count("{") == text.count("}")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "theme"), [(1400, "light"), (390, "dark")])
def test_it_is_read_on_a_desk_and_on_a_phone(open_page, width, theme):
    page = open_page(width, 900, theme)
    page.get_by_role("tab", name="Method").click()  # also on a phone, where the bar of tabs slides
    page.wait_for_selector(".frami-method .state canvas", timeout=60_000)
    assert page.locator(".frami-method .stage").count() == 3 and page.locator("#method-formulas math").count() == 5
    first = page.locator(".frami-method .state").first
    last = page.locator(".frami-method .state").last
    assert last.get_attribute("aria-pressed") == "true"
    first.focus()
    page.keyboard.press("Enter")
    assert first.get_attribute("aria-pressed") == "true" and last.get_attribute("aria-pressed") == "false"
    page.wait_for_function("frami.player.dataset.clip && frami.player.dataset.clip.endsWith('@0')", timeout=30_000)
    page.get_by_role("tab", name="Listen").click()
    with page.expect_response("**/gradio_api/run/**"):  # the story is asked for again
        page.get_by_role("tab", name="Method").click()
    page.wait_for_timeout(1500)
    assert first.get_attribute("aria-pressed") == "true"  # and what was chosen in it stays
    assert "kang2023" in page.locator(".frami-cite pre").inner_text()
    page.locator(".frami-cite .copy").click()
    page.wait_for_selector(".frami-cite .said:has-text('cop')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
