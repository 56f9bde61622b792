"""The Try it tab: students of a teacher, sounds to try, and predictions side by side in a real browser."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from frami import checkpoints
from frami.cost import parameters
from frami.distill import OBJECTIVES, new_student
from frami.errors import FramiError
from frami.hosting.owners import EVERYONE
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.recognition import Recognition
from frami.studio.services.syntheses import Syntheses
from tests.helpers.media import make
from tests.helpers.recordings import tone_file
from tests.helpers.studio import chromium, microphone_flags, running_studio

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets" / "samples" / "fsdd" / "four-en-us.flac"
ARTEFACTS = ROOT / "test-artefacts"


@pytest.fixture
def recognition(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    known = Distillations(Queue(Runs()), checkpoints.load, ["fsdd", "esc10"])
    return Recognition(known, ClipLookup(Syntheses(tmp_path), ROOT / "assets" / "gallery", checkpoints.load))


def finished_run(store, teacher, size="nano"):
    """A run with a student, as it is at the end."""
    run = store.create(
        "distill", size, {"teacher": "fsdd", "student": size, "objective": "frami", "recipe": "frami-fast"}
    )
    student = new_student(teacher, size, OBJECTIVES["frami"])
    card = teacher.card
    fields = {field: getattr(card, field) for field in card.__dataclass_fields__}
    fields |= {
        "name": f"fsdd-{size}", "kind": "student", "model": student.config.to_dict(), "teacher": "fsdd",
        "parameters": parameters(student), "accuracy": None, "sha256": "",
    }  # fmt: skip
    checkpoints.save(run.folder / "student", student, checkpoints.Card(**fields))
    store.finish(run.id, {"agreement": 0.1})
    return run


def test_teacher_and_students_classify_the_same_spectrogram(recognition, teacher):
    assert all(key.startswith("bundled:") for _, key in recognition.students("fsdd"))
    run = finished_run(recognition.distillations.queue.runs, teacher)
    key = f"run:{run.id}"
    assert key in [k for _, k in recognition.students("fsdd")] and key in recognition.chosen("fsdd", None)
    assert key not in [k for _, k in recognition.students("esc10")]
    path, label, origin = recognition.sample("sample/fsdd/7")
    assert (label, "espeak-ng" in origin) == ("seven", True)
    token = recognition.given.add(path, label, origin, EVERYONE)
    value = recognition.predictions("fsdd", [key, "run:gone"], token)
    assert [one["title"] for one in value["networks"]] == ["The teacher", "nano · FRAMI · FRAMI fast"]
    assert [len(one["top"]) for one in value["networks"]] == [5, 5] and value["networks"][0]["top"][0][0] == "seven"
    assert all(one["milliseconds"] > 0 for one in value["networks"]) and value["networks"][1]["colour"] == 1
    bundled = recognition.predictions("fsdd", [recognition.students("fsdd")[0][1]], token)["networks"][1]
    assert bundled["colour"] == 0, "as in the Distil tab"
    assert value["cautions"] == ["one of the students is not there any more"]
    assert len(value["seen"]) == 1, "one picture where the front-ends are the same"
    assert value["seen"][0]["clip"]["frames"] > 30 and value["label"] == "seven"
    text = recognition.given.add(ROOT / "README.md", "", "your sound", EVERYONE)
    assert recognition.predictions("fsdd", [], text)["state"] == "refused"


def test_only_bundled_sounds_are_given_away(recognition):
    groups = recognition.samples("esc10")
    assert len(groups) == 1 and len(groups[0]["sounds"]) == 10
    assert [recognition.sample(one["id"])[1].replace("_", " ") for one in groups[0]["sounds"]] == [
        one["label"] for one in groups[0]["sounds"]
    ]
    for id in ("sample/fsdd/20", "sample/../0", "gallery/fsdd/29", "gallery/fsdd/../../x", "sample/fsdd/-1", None, "x"):
        with pytest.raises(FramiError):
            recognition.sample(id)


def test_a_made_clip_is_played_by_either_vocoder(recognition):
    id = recognition.samples("esc10")[0]["sounds"][0]["id"]
    usual, other = (recognition.sound(f"{id}~{name}") for name in ("frami", "griffin-lim"))
    assert usual == recognition.sound(id) and other[:4] == b"RIFF" and other != usual
    path, *_ = recognition.sample("sample/fsdd/0")
    assert recognition.sound("sample/fsdd/0") == path.read_bytes()


# --------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def studio(tmp_path_factory, teacher):
    """A studio that knows one student."""
    home = tmp_path_factory.mktemp("studio-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOME", str(home))
        finished_run(Runs(), teacher)
    with running_studio(home) as started:
        yield started


def opened(page):
    page.get_by_role("tab", name="Try it").click()
    page.wait_for_selector(".frami-samples[data-teacher=fsdd] button")
    return page


def predicted(page, state="predicted"):
    page.wait_for_selector(f".frami-try[data-state={state}]", timeout=20_000)
    return page.locator(".frami-try")


def upload(page, path):
    page.locator("#try-sound input[type=file]").set_input_files(path)


def shot(page, name):
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


@pytest.mark.slow
def test_sounds_wait_for_the_teacher_that_was_chosen(open_page):
    """However late the studio answers: what was predicted of a sound that was clicked before would not stay."""
    page = opened(open_page())
    samples, first = page.locator(".frami-samples"), page.locator("#try-samples button[data-id]").first
    assert samples.get_attribute("aria-busy") == "false"
    page.evaluate(  # the choice's first event is sent late, and the tabs' only behind it
        """() => {
            const fetched = fetch, pause = () => new Promise(done => setTimeout(done, 50));
            window.held = true;
            window.fetch = async (...call) => {
                while (window.held && /"data":\\["\\w+"\\]/.test(call[1]?.body)) await pause();
                return fetched(...call);
            };
        }"""
    )
    for name in ("esc10", "fsdd"):
        page.locator(f"#teacher input[value={name}]").check()
        page.wait_for_selector(".frami-samples[inert][aria-busy=true][data-teacher=fsdd]")
        page.wait_for_function("() => getComputedStyle(document.querySelector('.frami-samples')).opacity < .5")
    first.evaluate("button => button.focus()")
    assert not first.evaluate("button => button === document.activeElement")
    page.mouse.click(*(first.bounding_box()[side] + 8 for side in "xy"))
    page.evaluate("() => { window.held = false; }")
    page.wait_for_selector(".frami-samples[aria-busy=false]:not([inert])[data-teacher=fsdd]", timeout=30_000)
    assert (
        page.locator(".frami-try").get_attribute("data-state") == "idle"
        and not page.locator("#try-samples [aria-pressed=true]").count()
    )
    first.click()
    assert predicted(page).locator(".network").count() > 1


@pytest.mark.slow
def test_sounds_that_came_before_the_tab_was_opened_can_be_clicked(open_page):
    page = open_page()
    page.get_by_role("tab", name="Explore").click()
    for name in ("esc10", "fsdd"):
        page.locator(f"#teacher input[value={name}]").check()
        page.wait_for_selector(f".frami-explore[data-teacher={name}][data-drawn]", timeout=30_000)
    page.wait_for_timeout(1_000)  # the answers of the other tabs came, too
    opened(page)
    page.wait_for_selector(".frami-samples[aria-busy=false]:not([inert])[data-teacher=fsdd]", timeout=30_000)
    page.locator("#try-samples button[data-id]").first.click()
    assert predicted(page).locator(".network").count() > 1


@pytest.mark.slow
def test_a_sample_is_played_and_classified_side_by_side(open_page):
    page = opened(open_page())
    sample = page.locator("#try-samples button[data-id^='recording/fsdd/']", has_text="four").first
    sample.click()
    shown = predicted(page)
    page.wait_for_function(
        "id => frami.player.dataset.clip === id && frami.player.readyState > 0", arg=sample.get_attribute("data-id")
    )
    credit = shown.locator(".what .credit")
    assert credit.inner_text().startswith("Recording: ") and credit.locator("a").get_attribute("rel")
    networks = shown.locator(".network")
    students = page.locator("#try-students label").count()
    assert students >= 2, "the bundled one and that of a run"
    assert networks.count() == 1 + students and networks.first.get_attribute("data-predicted") == "four"
    assert networks.first.locator(".row").count() == networks.last.locator(".row").count() == 5
    assert all(" ms" in networks.nth(i).inner_text() for i in (0, 1))
    painted = page.evaluate(
        "() => { const c = document.querySelector('.frami-try canvas');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size }"
    )
    assert painted > 50, "the spectrogram that they saw"
    page.evaluate("frami.setSound({ loop: false })")
    again = shown.locator(".what .again")
    shown.locator(".what .loop[aria-pressed=false]").click()
    assert page.evaluate("frami.soundSettings().loop") is True, "remembered, as of any sound of the page"
    again.click()
    page.wait_for_function("frami.player.dataset.clip.startsWith('given/') && frami.player.currentTime > 0")
    assert again.inner_text() == "■" and not page.evaluate("frami.player.loop")
    again.click()
    assert again.inner_text() == "▶" and page.evaluate("frami.player.paused")
    page.evaluate("frami.setSound({ loop: null })")
    shot(page, "try-sample")
    page.locator("#try-students label").first.click()
    page.wait_for_function("n => document.querySelectorAll('.frami-try .network').length === n", arg=students)
    page.locator("#teacher input[value='esc10']").check()
    page.wait_for_selector("#try-samples button:has-text('dog')")
    predicted(page, "idle")
    page.locator("#try-samples button[data-id^='gallery/']", has_text="dog").click()
    assert predicted(page).locator(".network").first.get_attribute("data-predicted") == "dog"


def test_own_sounds_are_classified_or_refused_in_words(open_page, tmp_path):
    page = opened(open_page())
    upload(page, tone_file(tmp_path / "stereo.wav", 0.6, rate=16_000, channels=2))
    shown = predicted(page)
    page.wait_for_selector(".frami-try .what:has-text('Your sound')")
    assert "from 16 to 22.05 kHz" in shown.locator(".notes").inner_text() and "averaged" in shown.inner_text()
    assert shown.locator(".time").inner_text() == "0.60 s" and not shown.locator(".cautions").count()
    assert shown.locator(".network").count() == 1 + page.locator("#try-students label").count() > 1
    soundfile.write(tmp_path / "still.wav", np.zeros(22_050), 22_050)
    upload(page, tmp_path / "still.wav")
    assert "silence" in predicted(page, "refused").inner_text()
    upload(page, tone_file(tmp_path / "short.wav", 0.04))
    page.wait_for_selector(".frami-try:has-text('far too short')")
    shot(page, "try-refused")
    upload(page, make(tmp_path, "voice-memo.m4a", *soundfile.read(SAMPLE)))
    page.wait_for_selector(".frami-try .network[data-predicted=four]", timeout=20_000)


@pytest.mark.slow
def test_what_decided_and_what_must_change(open_page):
    page = opened(open_page())
    page.locator("#try-samples button", has_text="four").first.click()
    shown = predicted(page)
    shown.locator(".network .why").first.click()
    page.wait_for_selector(".frami-try .decided[data-state=shown]", timeout=60_000)
    assert "in this part alone" in shown.locator(".decided").inner_text()
    shown.locator(".decided .alone").click()
    page.wait_for_function("frami.player.dataset.clip === 'decided' && frami.player.readyState > 0")
    shown.locator(".change select").select_option(label="seven")
    shown.locator(".change .ask").click()
    page.wait_for_selector(".frami-try .change[data-state=done]", timeout=120_000)
    assert "Now the teacher hears seven" in shown.locator(".change").inner_text()
    assert shown.locator(".change canvas").count() == 3
    shown.locator(".change .hear").last.click()
    page.wait_for_function("frami.player.dataset.clip.endsWith('/after') && frami.player.readyState > 0")
    shot(page, "try-change")


@pytest.mark.slow
def test_what_the_microphone_records_is_classified(browser, open_page, tmp_path):
    """By click, held and live, from a device that the browser feigns: a digit said over and over."""
    soundfile.write(tmp_path / "said.wav", np.tile(soundfile.read(SAMPLE)[0], 3), soundfile.info(SAMPLE).samplerate)
    window = browser.browser_type.launch(executable_path=chromium(), args=microphone_flags(tmp_path / "said.wav"))
    try:
        page = opened(open_page(context=window.new_context(permissions=["microphone"])))
        status = page.locator(".frami-source .status")
        page.locator(".frami-source .record").click()
        page.wait_for_function("/[1-9]\\.\\d s/.test(document.querySelector('.frami-source .status').textContent)")
        page.locator(".frami-source .record").click()
        shown = predicted(page)
        assert shown.locator(".network").count() == 1 + page.locator("#try-students label").count()
        assert "Your sound" in shown.inner_text() and "Resampled" in shown.locator(".notes").inner_text()
        page.evaluate("document.querySelector('.frami-try .what').dataset.old = '1'")
        page.locator(".frami-source .hold").focus()
        page.keyboard.down(" ")
        page.wait_for_function("/[1-9]\\.\\d s/.test(document.querySelector('.frami-source .status').textContent)")
        page.keyboard.up(" ")
        page.wait_for_selector(".frami-try .what:not([data-old])", timeout=20_000)
        page.locator(".frami-source .live-button").click()
        page.wait_for_selector(".frami-source .live section b", timeout=20_000)
        assert " ms" in page.locator(".frami-source .live").inner_text()
        shot(page, "try-live")
        page.get_by_role("tab", name="Listen").click()
        page.wait_for_selector(".frami-source[data-mode='']", state="attached", timeout=20_000)
        assert "left" in status.text_content()
    finally:
        window.close()


def test_it_fits_a_phone_in_the_dark(open_page):
    page = opened(open_page(390, 844, "dark"))
    page.locator("#try-samples button", has_text="eight").first.click()
    predicted(page)
    page.locator(".frami-try .what .sound").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(page, "try-phone")
