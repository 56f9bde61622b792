"""What a visitor does first, in a browser: every tab, a clip, a sound of Try it, a short synthesis, its clips on the
map, a short distillation, its student as a file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds for what computes; of a distillation where the machine is busy.
_WORK, _LONG = 240, 120
_ERROR = ".toast-body.error"
#: The visitor's own runs that have ended; those that come with the studio have no buttons.
_ENDED = (
    "[...document.querySelectorAll('.frami-distil .run[data-status=finished], .frami-distil .run[data-status=failed]')]"
    ".filter(run => !run.querySelector('.buttons').hidden)"
)


@contextmanager
def page(address: str, chromium: str) -> Iterator:
    """The studio's page in a browser, once its gallery is there. ``page.trouble`` lists what its console and its own
    requests complain of, ``page.elsewhere`` the addresses of other hosts that were asked, ``page.pace`` is the time
    that a short synthesis takes, in s."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*flags, "--autoplay-policy=no-user-gesture-required"]
        )
        opened = browser.new_page(viewport={"width": 1400, "height": 900})
        opened.set_default_timeout(60_000)
        opened.trouble, opened.elsewhere, opened.pace = [], [], 5.0
        opened.on("console", lambda line: _heard(opened, line, address))
        opened.on("pageerror", lambda error: opened.trouble.append(str(error)))
        own = (address, "data:", "blob:", address.replace("http", "ws"))
        opened.on("request", lambda one: None if one.url.startswith(own) else opened.elsewhere.append(one.url))
        opened.goto(address, wait_until="domcontentloaded")
        opened.wait_for_selector("#gallery .frami-tile", timeout=90_000)
        yield opened
        browser.close()


def _heard(opened, line, address: str) -> None:
    """An error of the console, but that a file of another host cannot be loaded."""
    at = line.location.get("url", "") if line.location else ""
    if line.type == "error" and (not at or at.startswith(address)):
        opened.trouble.append(line.text)


def clip(page) -> None:
    """A clip of the gallery plays."""
    tile = page.locator("#gallery .frami-tile").first
    tile.click()
    _plays(page, tile.get_attribute("data-id"))


def tabs(page) -> None:
    """Every tab opens."""
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_selector(f"#{tab.get_attribute('aria-controls')}:visible")
    page.get_by_role("tab", name="Listen").click()


def sound(page) -> None:
    """A sound of Try it plays, and is classified."""
    page.get_by_role("tab", name="Try it").click()
    page.wait_for_selector("#try-samples button")
    page.locator("#try-samples button").first.click()
    page.wait_for_selector(f".frami-try[data-state=predicted], .frami-try[data-state=refused], {_ERROR}")
    if page.locator(_ERROR).count() or page.locator(".frami-try[data-state=refused]").count():
        raise AssertionError(page.locator(f"{_ERROR}, .frami-try").first.inner_text())
    page.wait_for_function("frami.player.readyState > 0 && !frami.player.error")


def explore(page) -> None:
    """The map is drawn."""
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector(".frami-explore[data-drawn]")


def synthesis(page) -> None:
    """Two clips are made, and one plays."""
    page.get_by_role("tab", name="Synthesize").click()
    for name, value in (("samples", 2), ("steps", 10)):
        field = page.locator(f"#{name} input[type=number]")
        if not field.is_visible():
            page.locator("#advanced button").first.click()
        field.fill(str(value))
        field.press("Tab")
    started = time.monotonic()
    page.locator("#generate").click()
    ended = [f".frami-live[data-state={state}]" for state in ("done", "error", "stopped")]
    page.wait_for_selector(", ".join([*ended, _ERROR]), timeout=1000 * _WORK)
    page.pace = time.monotonic() - started
    tile = page.locator("#live .frami-tile").first
    if not (page.locator(ended[0]).count() and tile.count()):
        raise AssertionError(page.locator(f"{_ERROR}, #live").first.inner_text())
    tile.click()
    _plays(page, tile.get_attribute("data-id"))


def own_clips(page) -> None:
    """They come to the map, where UMAP is computed."""
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector(".frami-explore[data-pending=no]")
    before = int(page.locator(".frami-explore").get_attribute("data-points"))
    page.locator("#explore-banks label", has_text="Your run").click()
    page.wait_for_selector(f".frami-explore[data-points='{before + 2}']", timeout=1000 * _LONG)
    page.wait_for_selector(".frami-explore[data-pending=no]", timeout=2000 * _WORK)  # it is compiled first
    if page.locator(".frami-explore").get_attribute("data-projection") != "umap":
        raise AssertionError(page.locator(".frami-explore .status").inner_text())


def distillation(page) -> None:
    """A student learns for some seconds."""
    page.get_by_role("tab", name="Distil").click()
    page.locator(".frami-taught .fold").click()
    page.wait_for_selector("#distil-start")
    seconds = page.locator("#distil-seconds input")
    for started, budget in enumerate((round(10 + 4 * page.pace), _LONG), 1):
        seconds.fill(str(min(budget, _LONG)))
        seconds.press("Tab")
        page.wait_for_timeout(2000)  # until the form has answered
        page.locator("#distil-start").click()
        ended = f"{_ENDED}.length >= {started} || document.querySelector('{_ERROR}')"
        page.wait_for_function(f"() => {ended}", timeout=1000 * _WORK)
        if "finished" in page.evaluate(f"{_ENDED}.map(run => run.dataset.status)"):
            return
        words = page.locator(f"{_ERROR}, .frami-distil .run").first.inner_text()
        if "took the budget" not in words:  # else the machine is busy: once more, with more time
            break
    raise AssertionError(words)


def export(page) -> None:
    """The student is downloaded as ONNX."""
    page.get_by_role("tab", name="Distil").click()
    with page.expect_download(timeout=1000 * _WORK) as waiting:
        page.locator(".frami-distil .run[data-status=finished] .buttons:not([hidden]) select").first.select_option(
            "onnx"
        )
    if waiting.value.path().stat().st_size < 10_000:
        raise AssertionError(f"{waiting.value.suggested_filename} holds nothing")


def _plays(page, id: str) -> None:
    page.wait_for_function(
        "id => frami.player.dataset.clip === id && frami.player.readyState > 0 && !frami.player.error", arg=id
    )


#: In this order: what needs no computing first.
PATHS: tuple[Callable, ...] = (clip, tabs, sound, explore, synthesis, own_clips, distillation, export)
