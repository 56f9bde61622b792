"""What a visitor waits for, and what a studio costs while nobody is there. The bounds are those of CI's busy cores;
what a quiet machine measures is printed (``pytest -s``)."""

import time

import pytest

from frami.studio import theme

#: Seconds until a page is used that the browser has seen before, and from a click to the sound; share of a core and
#: bytes of an idle studio.
USABLE, HEARD, IDLE, MEMORY = 6.0, 0.6, 0.035, 0.72e9


@pytest.mark.slow
def test_a_page_is_there_soon_and_sounds_at_once(open_page, studio):
    page = open_page()
    page.locator("#gallery .frami-tile").first.click()
    page.wait_for_function("frami.player.currentTime > 0", timeout=20_000)
    page.goto("about:blank")
    began = time.perf_counter()
    page.goto(studio.address)
    page.wait_for_selector("#gallery .frami-tile", timeout=60_000)
    usable = time.perf_counter() - began
    open_page.left()
    page.locator("#gallery .frami-tile").nth(1).click()
    page.wait_for_function("frami.player.currentTime > 0", timeout=20_000)
    heard = page.evaluate(
        """() => new Promise(done => {
            const tile = document.querySelectorAll("#gallery .frami-tile")[4], began = performance.now();
            frami.player.addEventListener("playing", () => done((performance.now() - began) / 1000), { once: true });
            tile.click();
        })"""
    )
    print(f"usable after {usable:.2f} s, sound {heard:.3f} s after a click")
    assert usable < USABLE and heard < HEARD


@pytest.mark.slow
def test_an_idle_studio_costs_little(start_studio):
    psutil = pytest.importorskip("psutil")
    with start_studio() as studio:
        process = psutil.Process(studio.process.pid)
        time.sleep(5)
        before, began = sum(process.cpu_times()[:2]), time.perf_counter()
        time.sleep(10)
        share = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - began)
        memory = process.memory_info().rss
    print(f"idle: {share:.1%} of a core, {memory / 1e9:.2f} GB")
    assert share < IDLE and memory < MEMORY


def test_the_page_is_not_heavier_than_it_must_be():
    """Script and style sheet, which come with the page itself."""
    options = theme.launch_options()
    assert len(options["head"]) + len(options["css"]) < 350_000
