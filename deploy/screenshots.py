"""Pictures of the studio, made anew by ``make screenshots``: each tab on a desktop and a phone, light and dark, into
``build/screenshots``; those that the docs show into ``docs``; with ``--share`` also the picture of a link and the icon
of phones, into ``assets``."""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from frami.paths import ASSETS
from tests.helpers.studio import BROWSER_FLAGS, chromium, running_studio

ROOT = Path(__file__).resolve().parents[1]
DOCS, ALL = ROOT / "docs", ROOT / "build" / "screenshots"
SIZES = {"desktop": (1400, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
#: The tabs that the docs show, as name.png; of Listen the phone's picture too.
SHOWN = ("listen", "synthesize", "explore", "distil", "try", "teachers")
TEACHER = "fsdd"
#: What says that a tab shows what it is for; tabs without a row are waited for by their panel.
READY = {
    "listen": "#gallery .frami-tile",
    "explore": ".frami-explore[data-teacher='fsdd']:not([data-points='0'])",
    "distil": ".frami-taught[data-teacher='fsdd'] .facts b",
    "try": ".frami-try[data-state='predicted'], .frami-try .bars .row",
}
#: Bytes that all pictures of the docs take at most.
MOST = 1_500_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--share", action="store_true", help="also assets/share.png and assets/apple-touch-icon.png")
    options.add_argument("--data", help="folder of the real recordings")
    given = options.parse_args()
    ALL.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        running_studio(Path(home), given.data) as studio,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=BROWSER_FLAGS)
        page = browser.new_page(reduced_motion="reduce")  # curves are there at once
        tabs = _tabs(page, studio.address)
        if given.share:
            _share(page, studio.address)
            _icon(page)
        for size, (width, height) in SIZES.items():
            for theme in THEMES:
                for tab in tabs:
                    page.set_viewport_size({"width": width, "height": height})
                    _show(page, studio.address, tab, theme)
                    picture = page.screenshot()
                    _save(picture, ALL / f"{tab}-{size}-{theme}.png", 256)
                    if theme == "light" and tab in SHOWN and (size == "desktop" or tab == "listen"):
                        _save(picture, DOCS / (f"{tab}.png" if size == "desktop" else f"{tab}-phone.png"), 256)
        browser.close()
    names = [f"{tab}.png" for tab in SHOWN] + ["listen-phone.png"]
    size = sum((DOCS / name).stat().st_size for name in names if (DOCS / name).exists())
    print(f"{len(tabs)} tabs; the pictures in docs/ take {size / 1e6:.2f} MB")
    if size > MOST:
        sys.exit(f"that is more than {MOST / 1e6} MB")


def _tabs(page: Page, address: str) -> list[str]:
    page.goto(address)
    page.wait_for_selector("#gallery .frami-tile", timeout=120_000)
    return page.evaluate(
        "[...document.querySelectorAll('#tabs [role=tab][data-tab-id]')].map(tab => tab.dataset.tabId)"
    )


def _show(page: Page, address: str, tab: str, theme: str) -> None:
    """A tab as somebody sees it who has clicked something."""
    page.goto("about:blank")
    page.goto(f"{address}?__theme={theme}&tab={tab}&teacher={TEACHER}")
    page.wait_for_selector("#gallery .frami-tile", state="attached", timeout=120_000)
    page.wait_for_selector(f"#{tab}-tab", timeout=120_000)
    if tab == "try":  # not a sound of the teacher before the one that the link names
        page.locator(f".frami-samples[data-teacher='{TEACHER}'] button[data-id]").first.click(timeout=60_000)
    if tab == "listen":
        page.locator("#gallery .frami-tile").nth(6).click(timeout=60_000)
        page.wait_for_function("!frami.selection.clip || frami.player.ended || frami.player.paused", timeout=20_000)
    if tab in READY:
        page.wait_for_selector(READY[tab], timeout=120_000)
    page.evaluate("document.fonts.ready")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("scrollTo(0, 0)")


def _share(page: Page, address: str) -> None:
    """Title and real pictures, as large as sites show them."""
    pictures = page.evaluate(
        "[...document.querySelectorAll('#gallery .frami-tile canvas')].slice(0, 24).map(one => one.toDataURL())"
    )
    tiles = "".join(f'<img src="{one}">' for one in pictures)
    page.set_viewport_size({"width": 1200, "height": 630})
    page.set_content(
        "<style>body{margin:0;background:#131018;color:#f2eff4;font-family:'IBM Plex Sans',sans-serif;overflow:hidden}"
        "h1{font-size:76px;margin:56px 64px 6px}h1 span{color:#ee96b8;font-weight:400}"
        "p{font-size:35px;margin:0 64px 36px;color:#cdc6d3}"
        "div{display:grid;grid-template-columns:repeat(8,1fr);gap:12px;padding:0 64px}"
        "img{width:100%;height:112px;border-radius:6px;image-rendering:pixelated}</style>"
        f"<h1>FRAMI <span>Studio</span></h1><p>Hear what a sound classifier remembers.</p><div>{tiles}</div>"
    )
    page.wait_for_function("[...document.images].every(one => one.complete)")
    _save(page.screenshot(), ASSETS / "share.png", 128)


def _icon(page: Page) -> None:
    icon = (ASSETS / "favicon.svg").read_text(encoding="utf-8").replace('rx="14"', 'rx="0"')
    page.set_viewport_size({"width": 180, "height": 180})
    page.set_content(f"<style>body{{margin:0}}svg{{width:180px;height:180px;display:block}}</style>{icon}")
    _save(page.screenshot(), ASSETS / "apple-touch-icon.png", 64)


def _save(picture: bytes, path: Path, colours: int) -> None:
    """As a PNG of few colours."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
