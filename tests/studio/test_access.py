"""The page for everybody: axe finds nothing serious, the keyboard reaches all and shows where it is, less motion where
that is asked for; and how other sites show a link to it."""

import re
import urllib.request

import pytest

from frami.paths import ASSETS
from frami.studio import preview
from tests.helpers.studio import compare_methods

TABS = "[...document.querySelectorAll('#tabs [role=tab][data-tab-id]')].map(tab => tab.dataset.tabId)"


def faults(page) -> list[str]:
    """What axe finds that is serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "theme", "first"),
    [(1400, 900, "light", 0), (1400, 900, "dark", 1), (390, 844, "light", 1), (390, 844, "dark", 0)],
)
def test_axe_finds_nothing_serious(open_page, width, height, theme, first):
    """Every other tab from ``first`` on: each at both widths and in both themes."""
    page = open_page(width, height, theme)
    page.locator("#gallery .frami-tile").nth(3).click()
    found = {}
    for tab in page.evaluate(TABS)[first::2]:
        page.evaluate("id => document.querySelector(`#tabs [role=tab][data-tab-id='${id}']`).click()", tab)
        page.wait_for_selector(f"#{tab}-tab", timeout=20_000)
        page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')", timeout=20_000)
        if trouble := faults(page):
            found[tab] = trouble
    assert not found, found
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.slow
def test_the_bar_of_tabs_by_keyboard(open_page):
    page = open_page()
    names = page.evaluate(TABS)

    def selected(name):
        page.wait_for_function(
            "id => document.activeElement.dataset.tabId === id && document.activeElement.ariaSelected === 'true'",
            arg=name,
            timeout=10_000,
        )

    page.locator("#listen-tab-button").focus()
    for key, name in (("ArrowRight", names[1]), ("ArrowLeft", names[0]), ("End", names[-1]), ("ArrowRight", names[0])):
        page.keyboard.press(key)
        selected(name)
    page.wait_for_function("document.querySelectorAll('#tabs [role=tab][tabindex=\"0\"]').length === 1")
    page.keyboard.press("Home")
    selected(names[0])


@pytest.mark.slow
def test_focus_is_seen_and_motion_is_asked_for(open_page):
    page = open_page()
    page.emulate_media(reduced_motion="reduce")
    page.click("#distil-tab-button")
    compare_methods(page)
    tick = page.locator("#distil-students input[type=checkbox]").first
    tick.wait_for(timeout=20_000)
    tick.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    seen = page.evaluate(
        "() => { const one = document.activeElement, box = one.closest('label') || one;"
        "return [one, box].some(e => { const { outlineStyle, outlineWidth } = getComputedStyle(e);"
        "return outlineStyle !== 'none' && outlineWidth !== '0px' }) }"
    )
    assert seen
    durations = page.evaluate(
        "[...document.querySelectorAll('#tabs *')].map(e => parseFloat(getComputedStyle(e).transitionDuration))"
    )
    assert max(durations) < 0.01


def test_other_sites_show_a_link(studio):
    with urllib.request.urlopen(studio.address) as answer:
        head = answer.read(20_000).decode()
    tags = dict(re.findall(r'<meta property="(og:[\w:]+)" content="([^"]*)">', head))
    assert tags["og:title"] == "FRAMI Studio" and tags["og:image"] == f"{studio.address}share.png"
    assert "classifier" in tags["og:description"] and "Gradio" not in " ".join(tags.values())
    for name in ("share.png", "apple-touch-icon.png"):
        with urllib.request.urlopen(studio.address + name) as answer:
            assert answer.headers["content-type"] == "image/png" and answer.read(8)[1:4] == b"PNG"
    width, height = (int.from_bytes((ASSETS / "share.png").read_bytes()[k : k + 4], "big") for k in (16, 20))
    assert (width, height) == (1200, 630) and (ASSETS / "share.png").stat().st_size < 150_000


@pytest.mark.parametrize("host", [b"", b'x"><script>', b"a b", b"x/../y"])
def test_a_forged_host_is_not_repeated(host):
    address = preview._address({"headers": [(b"host", host)], "scheme": "http"})
    assert address == "/"
    assert preview.tagged(b'<head><meta property="og:title" content="Gradio" /></head>rest', address).endswith(b"rest")
