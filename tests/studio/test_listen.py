"""Listen: the pair that it begins with, the game, and playing: loops, sequences, volume, what is saved."""

import base64
import io
import re

import pytest
import soundfile
import torch

from frami import checkpoints, loudness
from frami.errors import FramiError
from frami.models.norms import heard_bands
from frami.paths import ASSETS, BUNDLED
from frami.studio import components
from frami.studio.services import clip_ids, page_values
from frami.studio.services.clips import ClipLookup
from frami.studio.services.galleries import Galleries
from frami.studio.services.recordings import Recordings
from frami.studio.services.stories import Stories
from tests.helpers.studio import choose_teacher

TEACHERS = ("fsdd", "digits", "esc10", "esc50", "urbansound8k")


@pytest.fixture(scope="module")
def stories() -> Stories:
    cards = {name: checkpoints.read_card(BUNDLED / name) for name in TEACHERS}
    recordings = Recordings(ASSETS / "explore", checkpoints.load, TEACHERS)
    lookup = ClipLookup(None, ASSETS / "gallery", checkpoints.load, recordings.sound)
    return Stories(Galleries(lookup, cards), recordings)


@pytest.mark.parametrize("name", TEACHERS)
def test_each_teacher_has_a_clip_to_begin_with(stories, name):
    value = stories.value(name)
    made, axis = value["made"], value["axis"]
    assert made["predicted"] == made["target"] and made["mel"] and made["id"].startswith(f"gallery/{name}/")
    assert made["target"] == {"fsdd": "three", "digits": "three", "urbansound8k": "siren"}.get(name, "dog")
    assert value["ships"] == (name != "urbansound8k")
    assert stories.clip(made["id"]) == made
    assert all(band < axis["shown"] <= axis["bands"] for _, band in axis["ticks"])


def test_a_recording_stands_beside_it_and_pairs_are_of_one_class(stories):
    found = stories.recorded("fsdd")
    assert found["real"]["target"] == "three" and found["real"]["real"] and found["real"]["mel"]
    assert len(found["pairs"]) == 10
    for pair in found["pairs"]:
        assert len({row["target"] for row in pair["real"] + pair["made"]}) == 1
        assert all(clip_ids.parse(row["id"]).kind == kind for kind, some in (("recording", "real"), ("gallery", "made"))
                   for row in pair[some])  # fmt: skip
        assert not any("mel" in row for row in pair["real"] + pair["made"]), "pictures come with the answer"
    assert stories.recorded("urbansound8k") == {"real": None, "pairs": []}
    for id in (None, "gallery/fsdd/99999", "recording/nobody/0", "run/0123456789ab/0", "gallery/fsdd/0@1"):
        with pytest.raises(FramiError):
            stories.clip(id)
    with pytest.raises(FramiError):
        stories.recorded("nobody")


def test_pictures_show_the_bands_that_the_data_has():
    """Recordings of 8 kHz have nothing above 4 kHz, most digits nothing above 8 kHz; others fill all bands."""
    hertz = {}
    for name in ("fsdd", "digits", "esc10"):
        teacher = checkpoints.load(name)
        spec, shown = teacher.spec, page_values.axis_of(teacher)["shown"]
        hertz[name] = float(spec.filterbank()[:, shown - 1].argmax()) * spec.sample_rate / spec.n_fft
    assert hertz["fsdd"] == pytest.approx(4000, rel=0.1) and hertz["digits"] == pytest.approx(8000, rel=0.1)
    assert hertz["esc10"] > 10_000
    assert heard_bands(torch.nn.Linear(2, 2), 80, spec.floor) == 80


def test_what_is_played_is_levelled_and_what_is_saved_is_not():
    path = next((ASSETS / "gallery" / "esc10").glob("*.flac"))
    wav = components.wav_function(lambda id: path.read_bytes())

    def samples(request):
        return soundfile.read(io.BytesIO(base64.b64decode(wav(request)["data"])), dtype="float32")

    (heard, rate), (saved, _) = samples("gallery/esc10/0"), samples({"original": "gallery/esc10/0"})
    assert loudness.measured(torch.from_numpy(heard), rate) == pytest.approx(loudness.LEVEL, abs=0.3)
    assert abs(saved - soundfile.read(path, dtype="float32")[0]).max() < 1e-4
    assert "error" in wav({"original": 3}) and "error" in wav({})


def test_the_story_is_heard_within_one_tap(open_page):
    page = open_page(390, 844, "dark")
    page.wait_for_selector(".frami-story[data-recorded^='recording/']", timeout=60_000)
    start, tile = page.locator(".frami-story .made .start").bounding_box(), page.locator(".frami-tile").first
    assert start["y"] + start["height"] < 844 and tile.bounding_box()["y"] < 800, "▶ is in sight, and tiles peek"
    assert start["width"] >= 44 and page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".frami-story .real .start").click()
    page.wait_for_function("frami.player.dataset.clip?.startsWith('recording/') && frami.player.currentTime > 0")
    page.wait_for_selector(".frami-story .made[data-states='5']", timeout=60_000)
    page.locator(".frami-story .made .start").click()
    page.wait_for_selector(".frami-story .made small:has-text('forming from noise: step')", timeout=20_000)
    page.wait_for_function("/^gallery.fsdd.\\d+$/.test(frami.player.dataset.clip)", timeout=60_000)
    page.locator(".frami-info").click()
    assert page.locator("#teacher-about").is_visible() and "CC BY-SA 4.0" in page.locator("#teacher-about").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#teacher-about").is_visible()
    choose_teacher(page, "urbansound8k")
    page.wait_for_selector(".frami-story[data-teacher='urbansound8k'] .pair.alone")
    assert page.locator(".frami-story .dare").count() == 0, "no game without recordings"


def test_playing_loops_remembers_and_walks_through_a_class(open_page):
    page = open_page()
    page.wait_for_selector(".frami-detail .plot")
    assert page.locator(".frami-detail .title b").text_content() == "three", "the panel is filled from the start"
    page.evaluate("frami.started = 0; frami.player.addEventListener('play', () => { frami.started += 1; })")
    page.locator("#gallery .frami-tile").first.click()
    page.wait_for_function("frami.started >= 2", timeout=20_000)
    assert page.locator(".frami-detail .loop").get_attribute("aria-pressed") == "true", "short sounds are repeated"
    page.locator(".frami-detail .loop").click()
    page.locator(".frami-detail .sound input").fill("0.3")
    page.locator(".frami-detail .mute").click()
    assert page.evaluate("frami.player.muted") and page.evaluate("frami.player.volume") == pytest.approx(0.09)
    page.locator("#gallery .all").first.click()
    heard = page.evaluate(
        "() => new Promise(done => { const heard = [];"
        "frami.player.addEventListener('ended', () => {"
        "heard.push(frami.player.dataset.clip); if (heard.length === 3) done(heard); }) })"
    )
    assert heard == page.locator("#gallery .frami-group").first.locator(".frami-tile").evaluate_all(
        "all => all.map(one => one.dataset.id)"
    )
    page.wait_for_selector("#gallery .all:has-text('Play all')")
    with page.expect_download() as waiting:
        page.locator(".frami-detail .save").click()
    assert re.search(r"\.wav$", waiting.value.suggested_filename)
    again = open_page(returning=True)
    assert again.evaluate("frami.soundSettings()") == {"volume": 0.3, "muted": True, "loop": False}


@pytest.mark.slow
def test_real_or_made(open_page):
    page = open_page()
    page.locator(".frami-story .dare").click(timeout=60_000)
    right = 0
    for number in range(1, 6):
        page.wait_for_selector(f".frami-quiz[data-round='{number}']")
        page.locator(".frami-quiz .hear").first.click()
        page.wait_for_function("/^(recording|gallery)/.test(frami.player.dataset.clip)")
        assert page.locator(".frami-quiz canvas").count() == 0, "the pictures would tell"
        page.locator(".frami-quiz .pick").first.click()
        page.wait_for_selector(".frami-quiz .card canvas >> nth=1", timeout=20_000)
        right += page.locator(".frami-quiz").get_attribute("data-answered") == "true"
        assert page.locator(".frami-quiz .card").first.evaluate("c => c.classList.contains('recorded')") == (
            page.locator(".frami-quiz").get_attribute("data-answered") == "true"
        )
        page.locator(".frami-quiz .next").click()
    assert f"You: {right} of 5. The network: " in page.locator(".frami-quiz .round").inner_text()
    page.locator(".frami-quiz .leave-end").click()
    assert page.locator(".frami-story .pair").is_visible() and page.locator(".frami-story .dare").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
def test_what_forms_is_in_sight_while_it_does(open_page, width, height):
    page = open_page(width, height)
    page.get_by_role("tab", name="Synthesize").click()
    page.wait_for_selector("#generate")
    box = page.locator("#generate").bounding_box()
    assert box["y"] + box["height"] < height, "within the first screen"
    page.locator("#generate").click()
    page.wait_for_selector(".frami-live[data-state=running] .frami-tile", timeout=90_000)
    page.wait_for_timeout(600)
    for part in ("#live .frami-tile canvas", "#stop", "#live .bar"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, part
    assert not page.locator("#recipe").is_visible()
    page.locator("#stop").click()
    page.locator("#live .unfold").click()
    assert page.locator("#recipe").is_visible() and not page.locator("#live .unfold").is_visible()
