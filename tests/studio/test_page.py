"""The studio in a real browser: open, listen, choose a teacher, generate, stop, reload; no noise, no other host."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from frami import banks, checkpoints
from frami.inversion import RECIPES, TERMS
from tests.helpers.studio import choose_teacher, open_settings

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "test-artefacts"


@pytest.fixture(scope="module")
def studio(start_studio):
    """A studio with the real recordings where there are any."""
    with start_studio(os.environ.get("FRAMI_DATA")) as started:
        yield started


def playing(page, tile):
    """Wait until the player has the sound of this tile; returns its seconds."""
    page.wait_for_function(
        "id => frami.player.dataset.clip === id && frami.player.readyState > 0 && !frami.player.error",
        arg=tile.get_attribute("data-id"),
        timeout=10_000,
    )
    return page.evaluate("frami.player.duration")


def shot(page, name):
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png")


def test_listen_plays_and_shows_the_right_clip(open_page):
    page = open_page()
    card = checkpoints.read_card(ROOT / "checkpoints" / "fsdd")
    tiles = page.locator("#gallery .frami-tile")
    manifest = json.loads((ROOT / "assets/gallery/fsdd/manifest.json").read_text())
    assert tiles.count() == len(manifest["clips"]) >= 2 * len(card.classes)
    seven = page.locator("#gallery .frami-group", has_text="seven").locator(".frami-tile").nth(1)
    seven.click()
    assert abs(playing(page, seven) - manifest["clips"][0]["seconds"]) < 0.1
    detail = page.locator(".frami-detail")
    assert detail.locator(".title b").text_content() == "seven"
    assert detail.locator(".row.target .label").inner_text() == "seven"
    for unit in ("kHz", "dB", "s"):
        assert detail.locator(".unit", has_text=unit).count() >= 1
    painted = page.evaluate(
        "() => { const c = document.querySelector('.frami-detail canvas');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size }"
    )
    assert painted > 50, "the spectrogram has shades"
    usual, other = detail.locator(".vocoders button").all()
    assert (usual.inner_text(), usual.get_attribute("aria-pressed")) == ("FRAMI", "true")
    before = page.evaluate("frami.player.src")
    other.click()
    page.wait_for_function("src => frami.player.src !== src && frami.player.readyState > 0", arg=before, timeout=10_000)
    assert abs(playing(page, seven) - manifest["clips"][0]["seconds"]) < 0.1
    assert other.get_attribute("aria-pressed") == "true" and usual.get_attribute("aria-pressed") == "false"
    usual.click()
    page.wait_for_function("src => frami.player.src === src", arg=before, timeout=10_000)
    seven.press("ArrowRight")
    following = page.locator("#gallery .frami-group", has_text="seven").locator(".frami-tile").nth(2)
    playing(page, following)
    assert following.get_attribute("aria-pressed") == "true"
    assert page.evaluate("frami.selection.clip.id") == following.get_attribute("data-id")
    page.evaluate("scrollTo(0, 0)")
    shot(page, "listen-light")


def test_another_teacher_renews_facts_gallery_and_classes(open_page):
    page = open_page(theme="dark")
    page.locator("#teacher input[value='esc10']").check()
    page.wait_for_selector("#gallery .frami-group h3:has-text('dog')", timeout=20_000)
    facts = page.locator("#teacher-facts").text_content()
    assert "fold 1" in facts and "CC BY 3.0" in facts
    assert "everyday sounds" in page.locator("#listen-intro").inner_text()
    first = page.locator("#gallery .frami-tile").first
    first.click()
    assert playing(page, first) > 0.5
    page.get_by_role("tab", name="Synthesize").click()
    page.locator("#classes input").click()
    page.wait_for_selector("[role=option]:has-text('chainsaw')")
    shot(page, "teacher-dark")


def generate(page, **sliders):
    if not page.locator("#teacher input[value='fsdd']").is_checked():
        choose_teacher(page, "fsdd")  # the smallest: other tests wait for the one worker too
    page.get_by_role("tab", name="Synthesize").click()
    page.wait_for_selector("#generate")
    if sliders:
        open_settings(page)
    for name, value in sliders.items():
        page.locator(f"#{name} input[type=number]").fill(str(value))
        page.locator(f"#{name} input[type=number]").press("Tab")
    page.locator("#generate").click()


@pytest.mark.slow
def test_keyboard_walks_and_each_run_gets_a_new_seed(open_page):
    page = open_page()
    stops = page.evaluate("[...document.querySelectorAll('#gallery .frami-tile')].filter(t => t.tabIndex === 0).length")
    assert stops == 1, "one tab stop for the wall, arrows within"
    generate(page, samples=2, steps=10)
    page.wait_for_selector(".frami-live[data-state=done]", timeout=60_000)
    one = page.evaluate("document.querySelector('#live .frami-tile').clip.mel")
    assert "Free Spoken Digit Dataset" in page.locator("#live .status").inner_text()
    page.wait_for_timeout(500)
    page.locator("#generate").click()
    page.wait_for_function(
        "mel => document.querySelector('.frami-live').dataset.state === 'done' && "
        "document.querySelector('#live .frami-tile')?.clip.mel !== mel",
        arg=one,
        timeout=60_000,
    )
    assert page.locator("#live .frami-tile").count() == 2
    page.locator("#live .frami-tile").first.click()
    assert "seed 1" in page.locator(".frami-detail .meta").inner_text()


@pytest.mark.slow
def test_generate_live_then_play_download_and_find_again(open_page, tmp_path):
    page = open_page()
    generate(page, steps=80)
    page.wait_for_selector(".frami-live[data-state=running] .frami-tile", timeout=90_000)
    mel = "document.querySelector('#live .frami-tile').clip.mel"
    early = page.evaluate(mel)
    page.wait_for_function(f"before => {mel} !== before", arg=early, timeout=120_000)
    one = page.locator("#live .frami-tile").nth(1)
    one.click()
    assert playing(page, one) > 0.2, "a clip can be played while it forms"
    early = page.evaluate("frami.player.src")
    assert page.locator("#live .curve").count() >= 3
    assert "left" in page.locator("#live .status").inner_text()
    shot(page, "synthesize-forming")
    page.wait_for_selector(".frami-live:not([data-finished='0'])", timeout=60_000)
    page.wait_for_selector(".frami-live[data-state=done]", timeout=120_000)
    tiles = page.locator("#live .frami-tile")
    assert tiles.count() == 10
    assert [tiles.nth(i).get_attribute("data-state") for i in (0, 9)] == ["done", "done"]
    tiles.nth(2).click()
    playing(page, tiles.nth(2))
    assert page.locator(".frami-detail .title b").text_content() == "two"
    tiles.nth(1).click()
    playing(page, tiles.nth(1))
    assert page.evaluate("frami.player.src") != early, "the finished sound, not the one played while it formed"
    assert page.locator(".frami-detail .save").count() == 1
    with page.expect_download() as waiting:
        page.locator("#download").click()
    path = tmp_path / "run.zip"
    waiting.value.save_as(path)
    shutil.unpack_archive(path, tmp_path / "run")
    bank = banks.load(next((tmp_path / "run").iterdir()))
    assert len(bank) == 10 and all(bank.sound(i).is_file() for i in range(10))
    shot(page, "synthesize-done")

    again = open_page(returning=True)
    again.get_by_role("tab", name="Synthesize").click()
    again.wait_for_selector(".frami-live[data-finished='10']", timeout=20_000)


def value(page, name):
    return float(page.locator(f"#{name} input[type=number]").input_value())


def choose(page, recipe):
    page.locator("#recipe input").click()
    page.get_by_role("option", name=recipe, exact=True).click()
    page.wait_for_function("text => document.querySelector('#recipe input').value === text", arg=recipe)


@pytest.mark.slow
def test_first_clips_come_soon_and_show_how_they_came_to_be(open_page):
    page = open_page()
    page.get_by_role("tab", name="Synthesize").click()
    page.wait_for_selector("#generate")
    open_settings(page)
    generate(page)
    assert value(page, "steps") <= 30 and value(page, "samples") <= 10, "a short run is what the tab offers at first"
    page.wait_for_selector(".frami-live:not([data-finished='0'])", timeout=60_000)
    page.wait_for_selector(".frami-live[data-state=done]", timeout=60_000)
    tiles = page.locator("#live .frami-tile")
    widths = {round(tiles.nth(i).locator("canvas").bounding_box()["width"]) for i in range(10)}
    assert len(widths) > 1, "clips of mixed duration keep one scale of time"
    tiles.nth(3).click()
    playing(page, tiles.nth(3))
    way = page.locator(".frami-detail .way input")
    way.wait_for(timeout=10_000)
    last = int(way.get_attribute("max"))
    picture = "document.querySelector('.frami-detail .picture canvas').toDataURL()"
    words, done = page.locator(".frami-detail .way span"), page.evaluate(picture)
    end = words.inner_text()
    seen = set()
    for k in range(last):
        way.fill(str(k))
        seen.add(page.evaluate(picture))
    assert len(seen | {done}) == last + 1, "every step looks different"
    way.fill("0")
    assert words.inner_text().startswith("step 1 of") and end.split(" of ")[0] == f"step {end.split(' of ')[1]}"
    assert "at step 1" in page.locator(".frami-detail .title span").inner_text()
    page.locator(".frami-detail .again").click()
    page.wait_for_function("frami.player.dataset.clip.endsWith('@0') && frami.player.readyState > 0", timeout=10_000)
    assert page.evaluate("frami.player.duration") > 0.1
    shot(page, "scrubbed")
    tiles.nth(3).click()
    assert page.evaluate(picture) == done and words.inner_text() == end, "a click shows the finished clip again"
    way.press("ArrowLeft")
    assert words.inner_text() != end, "the keyboard moves it too"


@pytest.mark.slow
def test_choosing_a_recipe_sets_what_belongs_to_it(open_page):
    page = open_page()
    page.get_by_role("tab", name="Synthesize").click()
    page.wait_for_selector("#generate")
    page.locator("#advanced button").first.click()
    page.wait_for_selector("#weight-class")
    choose(page, "CMI")
    page.wait_for_selector("#recipe-about:has-text('IJCAI 2021')")
    cmi = RECIPES["cmi"]
    page.wait_for_function("n => +document.querySelector('#steps input[type=number]').value === n", arg=cmi.steps)
    for name, term in TERMS.items():
        assert term.about in page.locator(f"#weight-{name}").inner_text()
        assert value(page, f"weight-{name}") == (0 if name == "adversarial" else cmi.weights.get(name, 0))
    assert page.locator("#weight-adversarial input[type=number]").is_disabled(), "no student learns along"
    choose(page, "DFQ")
    page.wait_for_selector("#recipe-about:has-text('student learns along')")
    page.wait_for_selector("#classes:has-text('cannot be chosen') input:disabled")
    assert value(page, "weight-balance") == 20 and page.locator("#weight-adversarial input[type=number]").is_enabled()
    choose(page, "DAFL")
    page.wait_for_selector("#recipe-about:has-text('ICCV 2019')")
    page.wait_for_function("+document.querySelector('#weight-activation input[type=number]').value === 0.1")
    shot(page, "advanced-dafl")
    generate(page, samples=4, steps=2, shortest=0.2, longest=0.3)
    page.wait_for_selector(".frami-live[data-state=done]", timeout=60_000)
    assert (
        "DAFL" in page.locator("#live .status").inner_text() and "class" in page.locator("#live .status").inner_text()
    )
    assert page.locator("#live .frami-tile").count() == 4
    assert {"class", "balance", "activation"} <= set(
        page.locator("#live .curve").evaluate_all("all => all.map(c => c.dataset.name)")
    )
    page.locator("#teacher input[value='esc10']").check()
    page.wait_for_function("+document.querySelector('#longest input[type=number]').value === 1")


def test_the_vocoder_can_be_chosen(open_page):
    page = open_page()
    page.get_by_role("tab", name="Synthesize").click()
    open_settings(page)
    page.locator("#vocoder input").click()
    page.locator("[role=option]", has_text="Griffin-Lim").click()
    generate(page, samples=1, steps=3)
    page.wait_for_selector(".frami-live[data-state=done] .frami-tile", timeout=60_000)
    tile = page.locator("#live .frami-tile").first
    tile.click()
    assert playing(page, tile) > 0.1
    pressed = page.locator(".frami-detail .vocoders button[aria-pressed=true]")
    assert pressed.all_inner_texts() == ["Griffin-Lim"], "what was chosen is what sounds"
    shot(page, "vocoders")


def test_durations_that_cannot_be_are_refused(open_page):
    page = open_page()
    generate(page, shortest=2, longest=1)
    page.wait_for_selector("text=the shortest clip (2 s) cannot be longer than the longest (1 s)", timeout=30_000)
    assert page.locator(".frami-live").get_attribute("data-state") == "idle"
    page.wait_for_selector("#generate:not([disabled])")
    generate(page, samples=2, steps=2, shortest=0.5, longest=0.5)
    page.wait_for_selector(".frami-live[data-state=done]", timeout=60_000)
    assert page.locator("#live .frami-tile").count() == 2


def test_stop_saves_what_was_made(open_page):
    page = open_page()
    generate(page, samples=20, steps=600)
    page.wait_for_selector(".frami-live[data-state=running] .frami-tile", timeout=90_000)
    page.locator("#stop").click()
    page.wait_for_selector(".frami-live[data-state=stopped]", timeout=20_000)
    assert "stopped at step" in page.locator("#live .status").inner_text()
    assert page.locator("#live .frami-tile[data-state=done]").count() == 10
    first = page.locator("#live .frami-tile").first
    first.click()
    playing(page, first)
    assert page.locator("#generate").is_enabled()


def test_a_reload_finds_the_running_job(open_page):
    page = open_page()
    generate(page, samples=10, steps=600)
    page.wait_for_selector(".frami-live[data-state=running] .frami-tile", timeout=90_000)
    page.reload()
    page.wait_for_selector("#gallery .frami-tile", timeout=60_000)
    open_page.left()
    page.get_by_role("tab", name="Synthesize").click()
    page.wait_for_selector(".frami-live[data-state=running] .frami-tile", timeout=90_000)
    page.locator("#stop").click()
    page.wait_for_selector(".frami-live[data-state=stopped]", timeout=20_000)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_phone(open_page, theme):
    page = open_page(390, 844, theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tile = page.locator("#gallery .frami-tile").nth(4)
    tile.click()
    playing(page, tile)
    box = page.locator("#detail").bounding_box()
    assert box["y"] > 700, "the player is a bar at the bottom"
    page.wait_for_function(
        "y => document.querySelector('#gallery .frami-tile[aria-pressed=true]').getBoundingClientRect().bottom <= y",
        arg=box["y"],
    )
    page.locator(".frami-detail .more").click()
    assert page.locator(".frami-detail .bars").is_visible(), "it opens to the detail"
    page.locator(".frami-detail .more").click()
    shot(page, f"phone-{theme}")
    page.locator(".frami-detail .close").click()
    assert not page.locator("#detail").is_visible() and tile.get_attribute("aria-pressed") == "false"
    tile.click()
    assert page.locator("#detail").is_visible()
    page.get_by_role("tab", name="Synthesize").click()
    page.wait_for_selector("#generate")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not page.locator("#detail").is_visible(), "the sheet does not cover another tab"
    page.locator("#generate").scroll_into_view_if_needed()
    shot(page, f"phone-synthesize-{theme}")
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector(".frami-explore .segments")
    cut = "[...document.querySelectorAll('.frami-explore .segments')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert page.evaluate(cut) == 0, "no choice is cut off"


def test_style_sheets_are_ones_that_gradio_scopes():
    """Gradio puts its own prefix behind each comma of a selector, also within ``:is(a, b)``."""
    for path in (ROOT / "assets" / "page").glob("*.css"):
        assert not re.search(r":(is|where|not|has)\([^)]*,", path.read_text()), path
