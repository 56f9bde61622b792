"""The Explore tab in a real browser: click a point, hear and see the right clip; walk, colour, project, compare."""

import io
import json
import time
from pathlib import Path

import pytest
import soundfile

from frami import banks, checkpoints
from frami.errors import FramiError
from frami.features.gallery import EXPLORE
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.syntheses import Syntheses
from frami.studio.tabs import explore
from tests.helpers.studio import open_settings

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets" / "explore"
ARTEFACTS = ROOT / "test-artefacts"
SPEAKERS = ("george", "jackson", "nicolas", "yweweler", "theo")
#: Recordings of a speaker that lie on the map of this teacher.
RECORDINGS = 100
MAP = "document.querySelector('.frami-explore')"


def banks_of(name):
    return {key: banks.load(ASSETS / name / key) for key in EXPLORE}


def opened(page):
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector(".frami-explore[data-teacher=fsdd][data-drawn]", timeout=30_000)
    return page


def ready(page, timeout=60_000):
    page.wait_for_selector(".frami-explore[data-pending=no]", timeout=timeout)


def click(page, id):
    """Click where a point lies, and wait until it sounds."""
    page.locator(".frami-explore .stage").scroll_into_view_if_needed()
    x, y = page.evaluate(f"id => {MAP}.where(id)", id)
    page.mouse.click(x, y)
    sounded(page)


def sounded(page):
    """Wait until the selected clip sounds."""
    page.wait_for_function(
        f"() => {MAP}.dataset.selected && {MAP}.dataset.sounded === {MAP}.dataset.selected "
        f"&& frami.player.dataset.clip === {MAP}.dataset.selected && frami.player.readyState > 0",
        timeout=10_000,
    )


def lonely(page, prefix):
    """A clip of this layer whose point no other covers."""
    return page.evaluate(
        f"""prefix => {{
          const root = {MAP}, all = root.ids().map(id => [id, ...root.where(id)]);
          const far = (a, b) => Math.hypot(a[1] - b[1], a[2] - b[2]);
          const room = one => Math.min(...all.filter(o => o !== one).map(o => far(o, one)));
          return all.filter(one => one[0].startsWith(prefix)).sort((a, b) => room(b) - room(a))[0][0];
        }}""",
        prefix,
    )


def choose(page, words):
    page.locator(".frami-explore .segments label", has_text=words).first.click()


def shot(page, name):
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png")


def colours(page):
    """Number of colours on the canvas (antialiasing makes many: only the order of magnitude says something)."""
    return page.evaluate(
        f"""() => {{ const c = {MAP}.querySelector('canvas'), seen = new Set();
          const data = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
          for (const pixel of data) seen.add(pixel);
          return seen.size }}"""
    )


def test_click_a_point_hear_and_see_the_right_clip(open_page):
    page = open_page()
    opened(page)
    ready(page)
    found = banks_of("fsdd")
    assert int(page.evaluate(f"{MAP}.dataset.points")) == sum(map(len, found.values())) + RECORDINGS
    assert page.evaluate(f"{MAP}.dataset.projection") == "umap", "precomputed: nothing to wait for"
    assert colours(page) > 50
    for recipe in EXPLORE:
        id = lonely(page, f"explore/fsdd/{recipe}/")
        click(page, id)
        assert page.evaluate("frami.selection.clip.id") == id
        row = int(id.rpartition("/")[2])
        seconds = found[recipe].manifest["clips"][row]["seconds"]
        assert abs(page.evaluate("frami.player.duration") - seconds) < 0.05, "this very clip sounds"
        classes = found[recipe].manifest["classes"]
        own = (found[recipe].predicted if recipe == "dafl" else found[recipe].target)[row]
        assert page.locator(".frami-detail .title b").text_content() == classes[own]
        assert recipe.upper() in page.locator(".frami-detail .meta").inner_text()
        assert page.locator(".frami-explore .frami-spoken").text_content().startswith(classes[own])
    shot(page, "explore-light")


def test_neighbours_are_shown_and_play(open_page):
    page = opened(open_page())
    click(page, lonely(page, "explore/fsdd/frami/"))
    near = page.locator(".frami-detail .near button")
    assert near.count() == 5
    name, before = near.nth(1).locator("b").inner_text(), page.evaluate(f"{MAP}.dataset.selected")
    near.nth(1).click()
    sounded(page)
    assert page.evaluate(f"{MAP}.dataset.selected") != before
    assert page.locator(".frami-detail .title b").text_content() == name


def test_keys_walk_from_clip_to_clip(open_page):
    page = opened(open_page())
    canvas = page.locator(".frami-explore canvas").first
    assert "Feature map of" in canvas.get_attribute("aria-label") and canvas.get_attribute("tabindex") == "0"
    canvas.focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        page.wait_for_function(f"last => ({MAP}.dataset.selected || '') !== last", arg=(seen or [""])[-1])
        sounded(page)
        seen.append(page.evaluate(f"{MAP}.dataset.selected"))
        if len(seen) == 2:
            ends = [page.evaluate(f"id => {MAP}.where(id)", id) for id in seen]
            assert ends[1][0] > ends[0][0], "to the right"
    page.keyboard.press("Enter")
    assert page.evaluate(f"{MAP}.dataset.selected") == seen[-1]
    # the page scrolls as ever over the map
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.wheel(0, 300)
    page.wait_for_function("scrollY > 0")


def test_colours_projection_and_small_multiples(open_page):
    page = opened(open_page(theme="dark"))
    ready(page)
    legend = page.locator(".frami-explore .legend button")
    card = checkpoints.read_card(ROOT / "checkpoints" / "fsdd")
    assert legend.count() == len(card.classes)
    choose(page, "Recipe")
    assert [legend.nth(i).locator("span").inner_text() for i in range(legend.count())] == [
        *("FRAMI fine", "CMI", "DAFL", "Recordings")
    ]
    before = page.evaluate(f"{MAP}.querySelector('canvas').toDataURL()")
    legend.nth(0).click()
    assert legend.nth(0).get_attribute("aria-pressed") == "true"
    assert page.evaluate(f"{MAP}.querySelector('canvas').toDataURL()") != before, "one recipe alone"
    legend.nth(0).click()
    choose(page, "Confidence")
    assert page.locator(".frami-explore .legend .ramp").is_visible()
    id = f"explore/fsdd/{EXPLORE[0]}/0"
    umap = page.evaluate(f"id => {MAP}.where(id)", id)
    choose(page, "PCA")
    page.wait_for_selector(".frami-explore[data-projection=pca]")
    page.wait_for_timeout(700)
    assert page.evaluate(f"id => {MAP}.where(id)", id) != umap
    assert "variance" in page.locator(".frami-explore .status").inner_text()
    choose(page, "UMAP")
    page.wait_for_timeout(700)
    assert page.evaluate(f"id => {MAP}.where(id)", id) == pytest.approx(umap, abs=1)
    choose(page, "Side by side")
    choose(page, "Class")
    last = lonely(page, f"explore/fsdd/{EXPLORE[-1]}/")
    click(page, last)
    assert page.evaluate("frami.selection.clip.id") == last, "each recipe in a panel of its own"
    shot(page, "explore-side-by-side-dark")


def test_ticking_hides_a_recipe_and_moves_nothing(open_page):
    page = opened(open_page())
    id = f"explore/fsdd/{EXPLORE[0]}/0"
    ready(page)
    page.locator("#explore-banks label", has_text="CMI").click()
    count = len(banks_of("fsdd")["frami"]) + len(banks_of("fsdd")["dafl"]) + RECORDINGS
    page.wait_for_selector(f".frami-explore[data-points='{count}']")
    assert page.locator(".frami-explore thead th").count() == 1 + 2 + 2, "two recipes, and what real sound gets"
    assert page.evaluate(f"{MAP}.ids().filter(id => id.includes('/cmi/')).length") == 0
    assert page.evaluate(f"{MAP}.ids()[0]") == id


def test_the_table_says_how_rich_the_banks_are(open_page):
    page = opened(open_page())
    stored = json.loads((ASSETS / "fsdd" / "map.json").read_text())["measures"]
    table = page.locator(".frami-explore .measures")
    rows = table.locator("tbody tr")
    assert [rows.nth(i).locator("th b").inner_text() for i in range(rows.count())] == [
        row[1] for row in explore.MEASURES
    ]
    for i, row in enumerate(explore.MEASURES):
        words = rows.nth(i).locator("th small").inner_text()
        assert words.startswith(row[3]) and "Real recordings themselves: " in words, (
            "no figure stands without a yardstick"
        )
    assert f"themselves: {stored['reference']['coverage']:.2f}" in rows.first.locator("th small").inner_text()
    heard = rows.nth(6).locator("td").first.locator("span").inner_text()
    assert heard == f"{100 * stored['rows'][0]['judge_accuracy']:.1f}%"
    cell = rows.nth(3).locator("td").first
    assert cell.locator("span").inner_text() == f"{stored['rows'][0]['vendi']:.2f}"
    assert "95% interval" in cell.get_attribute("title")
    said = table.inner_text()
    assert "when it was made" in said and f"{stored['real_clips']} recordings" in said and "theo" in said


def test_another_teacher_renews_the_map(open_page):
    page = opened(open_page())
    click(page, lonely(page, "explore/fsdd/frami/"))
    page.locator("#teacher input[value='esc10']").check()
    page.wait_for_selector(".frami-explore[data-teacher=esc10]", timeout=20_000)
    assert page.evaluate(f"{MAP}.dataset.selected") is None
    assert page.locator(".frami-detail .title").count() == 0, "the clip of the other teacher is gone"
    assert "rooster" in page.locator(".frami-explore .legend").inner_text()
    click(page, lonely(page, "explore/esc10/frami/"))
    assert page.evaluate("frami.selection.clip.id").startswith("explore/esc10/")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_phone(open_page, theme):
    page = opened(open_page(390, 844, theme))
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".frami-explore .stage").scroll_into_view_if_needed()
    click(page, lonely(page, "explore/fsdd/"))
    assert page.locator("#detail").bounding_box()["y"] > 300, "the player is a sheet at the bottom"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(page, f"explore-phone-{theme}")


@pytest.mark.slow
def test_a_run_of_the_visitor_comes_to_the_map(open_page):
    page = open_page()
    page.get_by_role("tab", name="Synthesize").click()
    page.wait_for_selector("#generate")
    open_settings(page)
    for name, value in (("samples", 6), ("steps", 10)):
        page.locator(f"#{name} input[type=number]").fill(str(value))
        page.locator(f"#{name} input[type=number]").press("Tab")
    page.locator("#generate").click()
    page.wait_for_selector(".frami-live[data-state=done]", timeout=120_000)
    opened(page)
    own = page.locator("#explore-banks label", has_text="Your run")
    own.wait_for(timeout=10_000)
    before = int(page.evaluate(f"{MAP}.dataset.points"))
    own.click()
    page.wait_for_selector(f".frami-explore[data-points='{before + 6}']")
    assert page.evaluate(f"{MAP}.dataset.projection") == "pca", "PCA at once"
    assert "UMAP is being computed" in page.locator(".frami-explore .status").inner_text()
    page.wait_for_timeout(700)  # the points have moved to their new places
    click(page, lonely(page, "explore/fsdd/run-"))
    assert "/run-" in page.evaluate("frami.selection.clip.id")
    ready(page, 240_000)
    assert page.evaluate(f"{MAP}.dataset.projection") == "umap", "it came when it was ready"
    head = page.locator(".frami-explore thead th", has_text="Your run")
    head.wait_for()
    assert "6 clips" in head.inner_text()
    place = page.locator(".frami-explore thead th").all_inner_texts().index(head.inner_text())
    measured = page.locator(".frami-explore tbody tr", has_text="Vendi").locator("td").nth(place - 1)
    assert measured.inner_text().strip() not in ("", "–")


# ----------------------------------------------------------------------------------------- below the page


@pytest.fixture
def feature_maps(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path / "nowhere"))
    found = FeatureMaps(ASSETS, Syntheses(tmp_path), checkpoints.load, ["fsdd", "esc10"])
    yield found
    found.close()


def test_what_a_page_asks_for_is_checked(feature_maps):
    assert feature_maps.sound("explore/fsdd/frami/0")[:4] == b"RIFF"
    samples, _ = soundfile.read(io.BytesIO(feature_maps.sound("explore/fsdd/cmi/1")))
    assert feature_maps.sound("explore/fsdd/cmi/1~frami") == feature_maps.sound("explore/fsdd/cmi/1")
    assert feature_maps.sound("explore/fsdd/cmi/1~griffin-lim") != feature_maps.sound("explore/fsdd/cmi/1")
    assert abs(samples).max() > 0.001
    for id in (
        "explore/fsdd/frami/9999", "explore/fsdd/frami/-1", "explore/fsdd/../frami/0", "explore/../fsdd/frami/0",
        "explore/fsdd/real/100", "explore/fsdd/run-aaaaaaaaaaaa/0", "explore/urbansound8k/frami/0", "gallery/fsdd/0",
        "explore/checkpoints/fsdd/0", "", None, 3,
    ):  # fmt: skip
        with pytest.raises(FramiError):
            feature_maps.sound(id)
    wav, clip, more, *_ = explore.server_functions(feature_maps)
    for ask in (None, [], {}, {"teacher": "../fsdd", "keys": []}, {"teacher": "fsdd", "keys": "real"}):
        assert "error" in clip(ask) and "error" in more(ask)
    assert "error" in wav({"a": 1}) and "error" in wav(["b"])
    assert "error" in clip({"teacher": "fsdd", "keys": ["cmi"], "id": "explore/fsdd/frami/0"}), "not on this map"


def test_a_map_without_bundled_banks_says_nothing_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path))
    empty = FeatureMaps(tmp_path / "none", Syntheses(tmp_path), checkpoints.load, ["fsdd"])
    assert empty.choices("fsdd", ["aaaaaaaaaaaa", "..", "x"]) == [("Recordings", "real")]
    value = empty.view("fsdd", ["frami"])
    assert value["layers"] == [] and empty.more("fsdd", [], value["stamp"]) == {"pending": None}
    empty.close()


def test_recordings_that_cannot_be_read_are_reported(tmp_path, monkeypatch, make_tree):
    root = make_tree("fsdd", tmp_path, speakers=SPEAKERS)
    next((root / "fsdd" / "recordings").glob("*theo*")).write_bytes(b"no sound")
    monkeypatch.setenv("FRAMI_DATA", str(root))
    found = FeatureMaps(tmp_path, Syntheses(tmp_path), checkpoints.load, ["fsdd"])
    value, deadline = found.view("fsdd", ["frami", "real"]), time.time() + 30
    while not value.get("trouble") and time.time() < deadline:
        more = found.more("fsdd", ["frami", "real"], value["stamp"])
        value = more if "layers" in more else value
        time.sleep(0.1)
    assert "theo" in value["trouble"] and value["layers"] == []
    found.close()
