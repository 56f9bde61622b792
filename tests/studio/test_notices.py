"""What a visitor of a hosted studio sees where something is refused or the connection ends: plain words that fit."""

import os
import re
import signal
import wave

import psutil
import pytest

from tests.helpers.studio import compare_methods, open_settings
from tests.studio.test_hosted import tab
from tests.studio.test_try_it import predicted, shot, upload

#: What Gradio, a host or a browser says, and a part of what the visitor reads.
SAID = (
    ("HTTP 413: your uploads within an hour: at most 3 MB. To lift this, duplicate", "Your uploads within an hour: at"),
    ('HTTP 413: {"detail":"File size exceeded maximum allowed size of 1 bytes."}', "too large"),
    ("HTTP 413: <html><h1>413 Request Entity Too Large</h1></html>", "too large"),
    ("HTTP 404: Not Found", "Reload it"),
    ("HTTP 429: Too Many Requests", "Wait a minute"),
    ("HTTP 500: Internal Server Error", "Wait a minute"),
    ("HTTP 502: <html>Bad Gateway</html>", "Wait a minute"),
    ("HTTP 422: ", "Reload the page"),
    ("Connection errored out. Failed to fetch", "online"),
    ("Connection errored out. ", "online"),
    ("Too many requests. Please try again later.", "Wait a minute"),
    ("This application is currently busy. Please try again. ", "Wait a minute"),
    ("Queue is full. Max size is 3 and size is 3.", "Wait a minute"),
    ("Could not connect to component server: Bad Gateway", "Wait a minute"),
    ("Unexpected token 'T', \"Too many r\"... is not valid JSON", "Wait a minute"),
    ("Unexpected token '<', \"<html>\"... is not valid JSON", "could not be read"),
    ("Connection to the server was lost. Attempting reconnection...", "tries again by itself"),
    ("File(s) exceed the maximum allowed size of 10.0 Mb: a.wav (22 Mb)", "10 MB are the most"),
    ("Invalid file type: a.txt. Only audio/* allowed.", "the sound of videos"),
    ("An error occurred", "Try again"),
    ("Error", "Not done"),
    ("Connection Lost", "Not connected"),
)
RAW = r"HTTP|Error|error|JSON|token|connection errored|Queue|status"


@pytest.fixture(scope="module")
def studio(start_studio):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOSTED", "1")
        patch.setenv("FRAMI_LIMITS", "upload=1,uploads=2,budget=600")
        with start_studio() as started:
            yield started


@pytest.fixture
def visit(browser, studio):
    """A page on a phone, in a profile of its own."""
    profiles = []

    def opened(width=390, height=844, theme="light"):
        profiles.append(browser.new_context())
        page = profiles[-1].new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{studio.address}?__theme={theme}")
        page.wait_for_selector("#gallery .frami-tile", timeout=60_000)
        return page

    yield opened
    for profile in profiles:
        profile.close()


def sound(path, seconds):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 20_000, 0, "NONE", ""))
        file.writeframes(os.urandom(int(40_000 * seconds)))
    return path


def notice(page):
    """The one notice, once it has moved to its place."""
    page.wait_for_selector(".toast-body", timeout=20_000)
    moved = "const moved = window.last !== e.left; window.last = e.left; return !moved"
    left = "const e = document.querySelector('.toast-body').getBoundingClientRect();"
    page.wait_for_function(f"() => {{ {left} {moved} }}", polling=300)
    (one,) = page.locator(".toast-body").all()
    place = one.bounding_box()
    assert place["y"] >= 0 and place["y"] + place["height"] <= page.viewport_size["height"]
    return one


def fits(page, box):
    """Whether nothing of an element is cut off, and the page does not scroll sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert box.evaluate(
        "e => [e, ...e.querySelectorAll('div, p, span:not([aria-hidden])')].every(one => {"
        "const r = one.getBoundingClientRect();"
        "return r.left >= 0 && r.right <= innerWidth"
        "&& (one.scrollWidth <= one.clientWidth + 1 || getComputedStyle(one).display === 'inline') })"
    )


def test_notices_that_are_not_the_studios_are_said_in_plain_words(visit):
    page = visit()
    for said, part in SAID:
        plain = page.evaluate("said => frami.plainly(said)", said)
        assert (
            part in plain
            and plain[0].isupper()
            and not page.evaluate("([t, r]) => new RegExp(r).test(t)", [plain, RAW])
        )
    own = "tick at least one student; “Time for each” is 2 to 600"
    assert page.evaluate("said => frami.plainly(said)", own) == own


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_refused_upload_is_told_on_a_phone(visit, tmp_path, theme):
    page = visit(theme=theme)
    tab(page, "Try it")
    limits = page.locator("#try-limits")
    limits.wait_for()
    assert "size of an uploaded sound: 1 MB" in limits.inner_text() and "hour: 2 MB" in limits.inner_text()
    fits(page, limits)
    upload(page, sound(tmp_path / "large.wav", 40))
    box = notice(page)
    assert box.inner_text().startswith("Not done") and "too large: 1 MB are the most" in box.inner_text()
    fits(page, box)
    beside = page.locator(".frami-source .status").inner_text()
    assert "too large: 1 MB are the most" in beside and not re.search(RAW, beside)
    shot(page, f"notice-large-{theme}")
    page.locator("[data-testid=toast-close]").click()
    (tmp_path / "noise.wav").write_bytes(os.urandom(3_000))
    upload(page, tmp_path / "noise.wav")
    refused = predicted(page, "refused")
    assert "is read: WAV, MP3, M4A, OGG" in refused.inner_text()
    fits(page, refused)
    for _ in range(2):
        page.evaluate("document.querySelector('.frami-try').firstChild.dataset.old = '1'")
        upload(page, sound(tmp_path / "mid.wav", 23))
        page.wait_for_selector(".frami-try[data-state=predicted] > :not([data-old]):first-child", timeout=20_000)
    upload(page, tmp_path / "mid.wav")
    box = notice(page)
    assert "Your uploads within an hour: at most 2 MB" in box.inner_text() and "HTTP" not in box.inner_text()
    fits(page, box)
    beside = page.locator(".frami-source .status").inner_text()
    assert "at most 2 MB" in beside and not re.search(RAW, beside)
    shot(page, f"notice-uploads-{theme}")


@pytest.mark.slow
def test_no_prediction_comes_for_the_teacher_before(visit, studio, tmp_path):
    """The worker is held until another teacher is chosen."""
    page = visit(1400, 900)
    tab(page, "Try it")
    upload(page, sound(tmp_path / "x.wav", 0.5))
    predicted(page)
    workers = psutil.Process(studio.process.pid).children()
    for one in workers:
        os.kill(one.pid, signal.SIGSTOP)
    try:
        page.locator("#try-students label").first.click()
        page.wait_for_timeout(700)
        page.locator("#teacher input[value='esc10']").check()
        predicted(page, "idle")
    finally:
        for one in workers:
            os.kill(one.pid, signal.SIGCONT)
    page.wait_for_timeout(2_500)
    assert page.locator(".frami-try").get_attribute("data-state") == "idle"


def test_bounds_that_are_said_are_those_that_hold(visit):
    page = visit(1400, 900)
    tab(page, "Distil")
    compare_methods(page)
    for value, words in (("1", "from 2 to 600"), ("90000", "at most 10 min")):
        page.locator("#distil-seconds input").fill(value)
        page.locator("#distil-seconds input").press("Tab")
        if value == "1":
            page.locator("button#distil-start").click()
            assert words in notice(page).inner_text()
        else:
            page.wait_for_selector(f"button#distil-start[disabled]:has-text('{words}')", timeout=10_000)
    said = page.locator("#distil-limits").inner_text()
    assert "your distillations that wait or run: 6 runs" in said and "of all visitors that wait or run: 40" in said


@pytest.mark.slow
def test_what_is_ended_or_out_of_reach_is_told(visit, studio):
    page = visit()
    tab(page, "Synthesize")
    said = page.locator("#synthesize-limits").inner_text()
    assert "syntheses of all visitors that wait or run: 24 runs" in said
    open_settings(page)
    page.locator("#steps input[type=number]").fill("900")
    page.locator("#steps input[type=number]").press("Tab")
    page.locator("button#generate").click()
    page.wait_for_selector("#live .frami-live[data-state='running']", timeout=60_000)
    for one in psutil.Process(studio.process.pid).children():
        one.kill()
    for look in ("as it happens", "again"):
        page.wait_for_selector("#live .frami-live[data-state='error']", timeout=20_000)
        status = page.locator("#live .status")
        assert "was ended" in status.inner_text() and "press Generate to start it again" in status.inner_text(), look
        fits(page, status)
        if look == "as it happens":
            page.reload()
            tab(page, "Synthesize")
    page.context.set_offline(True)
    page.locator("button#generate").click()
    box = notice(page)
    assert re.search("does not answer|could not be reached", box.inner_text()) and not re.search(RAW, box.inner_text())
    fits(page, box)
