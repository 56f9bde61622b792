"""How other sites show a link to the studio: title, sentence and picture in the page's head (Open Graph), and the icons
of phones. Gradio's own tags, which name another page, go."""

import re
from collections.abc import Callable
from html import escape

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from frami.paths import ASSETS

TITLE = "FRAMI Studio"
SENTENCE = (
    "Hear what a sound classifier remembers: sounds made from a network's weights alone, and smaller networks that "
    "learn from them, without any recording."
)
#: Pictures by their address: of a link (1200 × 630), and the icon that a phone puts on its screen.
PICTURES = {"/share.png": ASSETS / "share.png", "/apple-touch-icon.png": ASSETS / "apple-touch-icon.png"}
_TAGS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
#: What a page begins with: browsers look for it in the first 1024 bytes.
_CHARSET = re.compile(rb"<head>\s*(?:<meta charset[^>]*>)?")
_HOST = re.compile(r"[\w.-]+(?::\d{1,5})?")
#: Bytes of a page that are looked through for its head.
_HEAD = 20_000


def routes() -> list[Route]:
    """Where the pictures are."""
    return [Route(address, _picture) for address in PICTURES]


def _picture(request: Request) -> FileResponse:
    return FileResponse(PICTURES[request.scope["path"][request.scope["path"].rindex("/") :]], media_type="image/png")


class Preview:
    """ASGI middleware: the tags in the head of the page."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        start, content = None, bytearray()

        async def sending(message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                if b"text/html" not in dict(message["headers"]).get(b"content-type", b""):
                    await send(message)
                    start = None
                return
            if start is None:
                await send(message)
                return
            content.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = tagged(bytes(content), _address(scope))
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            headers.append((b"content-length", str(len(page)).encode()))
            await send(start | {"headers": headers})
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, sending)


def tagged(page: bytes, address: str) -> bytes:
    """The page with these tags alone. address : of the studio, with its last slash."""
    head, rest = page[:_HEAD], page[_HEAD:]
    tags = {
        "og:type": "website",
        "og:title": TITLE,
        "og:description": SENTENCE,
        "og:url": address,
        "og:image": f"{address}share.png",
        "og:image:width": "1200",
        "og:image:height": "630",
    }
    made = [f'<meta property="{name}" content="{escape(value)}">' for name, value in tags.items()]
    made += [
        '<meta name="twitter:card" content="summary_large_image">',
        f'<meta name="description" content="{escape(SENTENCE)}">',
        '<link rel="apple-touch-icon" href="apple-touch-icon.png">',
    ]
    return _CHARSET.sub(lambda found: found[0] + "".join(made).encode(), _TAGS.sub(b"", head), count=1) + rest


def _address(scope) -> str:
    """Of the studio, as the browser asked for it."""
    headers = dict(scope["headers"])
    host = headers.get(b"x-forwarded-host", headers.get(b"host", b"")).decode("latin-1").partition(",")[0].strip()
    proto = headers.get(b"x-forwarded-proto", scope.get("scheme", "http").encode()).decode("latin-1").partition(",")[0]
    scheme = "https" if proto.strip() == "https" else "http"
    return f"{scheme}://{host}/" if _HOST.fullmatch(host) else "/"
