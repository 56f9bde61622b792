"""Looks of the studio: theme, style sheet, script, icon. All local: the page asks no other host for anything."""

import math

import gradio as gr
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from frami import browser
from frami.hosting import addresses, limits
from frami.paths import ASSETS
from frami.studio.uploads import UploadLimits

#: Scripts and style sheets; a file more is loaded without being named.
PAGE = ASSETS / "page"

_MAGENTA = gr.themes.Color(
    name="magma",
    c50="#fdf2f6", c100="#fbe1eb", c200="#f6c2d6", c300="#ee96b8", c400="#e0628f", c500="#c93e77",
    c600="#b5306f", c700="#932560", c800="#6f1d4d", c900="#4c1638", c950="#2f0c24",
)  # fmt: skip
_INK = gr.themes.Color(
    name="ink",
    c50="#faf8fb", c100="#f2eff4", c200="#e4dfe8", c300="#cdc6d3", c400="#a49bad", c500="#7b7285",
    c600="#5d5567", c700="#443d4e", c800="#2b2533", c900="#1d1924", c950="#131018",
)  # fmt: skip


#: Megabytes of an uploaded file where no limit holds: weights and archives of recordings come as one.
_LARGEST = 4000


def theme() -> gr.themes.Base:
    """Ink and magma, the colours of the spectrograms; IBM Plex from Gradio's own files."""
    return gr.themes.Base(
        primary_hue=_MAGENTA,
        secondary_hue=_MAGENTA,
        neutral_hue=_INK,
        font=(gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_shadow="none",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_label_text_weight="400",
        block_title_text_weight="700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_large_text_weight="700",
        button_small_text_weight="700",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )


def script() -> str:
    """The modules of ``assets/page`` as one script, so that the page needs no second request: they share a scope, in
    which no two of them may declare one name, and ``frami`` has what components and tests call."""
    return browser.joined(sorted(PAGE.glob("*.js")))


def launch_options() -> dict:
    """Arguments of ``demo.launch`` that belong to the looks and to the safety of the page."""
    allowed = limits.current()
    trusted = [str(network) for network in addresses.proxies()]
    guards = [Middleware(ProxyHeadersMiddleware, trusted_hosts=trusted), Middleware(UploadLimits, limits=allowed)]
    guarded = {"app_kwargs": {"middleware": guards}} if allowed else {}
    return guarded | {
        "state_session_capacity": int(allowed.least("sessions", 10_000)),
        "theme": theme(),
        "css": "\n".join(path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.css"))),
        "head": f"<script>{script()}</script>",
        "favicon_path": str(ASSETS / "favicon.svg"),
        "footer_links": ["api", "gradio", "settings"],
        "run_history": False,
        "ssr_mode": False,
        "max_file_size": f"{max(1, math.ceil(allowed.least('upload', _LARGEST)))}mb",
        "show_error": True,
        "enable_monitoring": False,
    }
