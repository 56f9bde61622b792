"""The studio's HTTP side: ``/health``, ``/metrics``, and the gate that every request passes.

Gradio takes any JSON for a request, and answers what it did not expect with Python's words or with status 500. Here a
request is read first, bounded, and refused in words where it is none that the page sends; what fails all the same is
answered with a reference.
"""

import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from frami.errors import sentence
from frami.hosting import addresses
from frami.hosting.limits import LimitError
from frami.studio import preview, runtime
from frami.studio.pages import Pages
from frami.studio.services import sent, troubles
from frami.studio.services.observation import Observation
from frami.studio.services.sent import SentError

#: Where Gradio takes files, which are bounded by ``max_file_size`` there, and a form, where a password is asked for.
_FORMS = ("/upload", "/login", "/login/")
#: Of the request that is being answered: not empty where an event was refused in words.
REFUSED: ContextVar[list[bool]] = ContextVar("refused")
#: Status of a refusal, by what is raised; 500 for anything else.
_STATUS = {SentError: 400, LimitError: 429}
#: Bytes of the question how far an upload is, at most.
_QUERY = 100
_API = re.compile(r"/(?:run|api|call|call/v2)/([^/]+)/?$")


class Page(Protocol):
    """What is asked of the page: its components and events by number, what is seen of it, and who opened it."""

    blocks: dict[int, Any]
    fns: dict[int, Any]
    observation: Observation
    opened_pages: Pages

    def events(self) -> dict[str, int]:
        """How many events wait, and how many are at work: ``{"waiting", "running"}``."""


def app_options(more: dict) -> dict:
    """Arguments of the FastAPI application below Gradio: ``more`` of them, and ours. The gate is the innermost."""
    return more | {
        "routes": [
            Route("/health", _health),
            Route("/metrics", _metrics),
            *preview.routes(),
            *runtime.routes(),
            *more.get("routes", ()),
        ],
        "middleware": [*more.get("middleware", ()), Middleware(preview.Preview), Middleware(Gate)],
        "exception_handlers": {RequestValidationError: _invalid} | more.get("exception_handlers", {}),
    }


def _health(request: Request) -> Response:
    """200 while all workers live, else 503."""
    page: Page = request.app.get_blocks()
    value = page.observation.health(page.events)
    return JSONResponse(value, 200 if value["status"] == "ok" else 503, headers={"Cache-Control": "no-store"})


def _metrics(request: Request) -> Response:
    page: Page = request.app.get_blocks()
    return PlainTextResponse(page.observation.metrics(page.events), media_type="text/plain; version=0.0.4")


def _invalid(request: Request, error: Exception) -> Response:
    """FastAPI would repeat what was sent."""
    return _refused(SentError("the page does not send such a request"), 422)


def _refused(error: BaseException, status: int) -> Response:
    words = sentence(troubles.in_words(error))
    return JSONResponse({"detail": words, "error": words}, status)


class Gate:
    """ASGI middleware: requests that are none of the page's are refused, errors become words, clicks are timed."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, started, clicked = time.perf_counter(), False, None

        async def sending(message) -> None:
            nonlocal started
            if clicked and not started:
                page.observation.timed(clicked, time.perf_counter() - began)
            if message["type"] == "http.response.start" and message["status"] == 500 and refused:
                message["status"] = 400  # Gradio answers every refusal of an event with 500
            started = True
            await send(message)

        refused: list[bool] = []
        REFUSED.set(refused)
        try:
            page: Page = scope["app"].get_blocks()
            if scope["path"].endswith("/upload_progress") and len(scope["query_string"]) > _QUERY:
                raise SentError("the page does not send such a request")  # Gradio remembers each for ever
            if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not scope["path"].endswith(_FORMS):
                content = await _content(scope, receive)
                request = sent.body(content)
                clicked = _checked(scope["path"], request, page)
                client = scope.get("client")
                address = addresses.hashed(client[0] if client else None)
                addresses.look_for_proxy(client, dict(scope["headers"]))
                page.opened_pages.check(request.get("session_hash"), address, bool(_API.search(scope["path"])))
                receive = _again(content, receive)
            await self.app(scope, receive, sending)
        except Exception as error:
            if started:  # too late to answer: a stream ends; Gradio has told it why where it had no such session
                if not isinstance(error.__cause__, HTTPException):
                    troubles.in_words(error)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
            await _refused(error, status)(scope, receive, send)


async def _content(scope, receive) -> bytes:
    """The body of a request. Raises SentError for one that is too long, as soon as that is known."""
    content = bytearray()
    said = dict(scope["headers"]).get(b"content-length", b"0")
    too_long = not said.isdigit() or len(said) > 12 or int(said) > sent.MOST_BYTES
    while not too_long:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        content += message.get("body", b"")
        too_long = len(content) > sent.MOST_BYTES
        if not message.get("more_body"):
            break
    if too_long:
        raise SentError(f"this request is too large: {sent.MOST_BYTES // 1024} KB are the most")
    return bytes(content)


def _again(content: bytes, receive: Callable) -> Callable:
    """What receives the same body once more."""
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def receiving():
        return messages.pop() if messages else await receive()

    return receiving


def _checked(path: str, value: Any, page: Page) -> str | None:
    """The name of a function of a component that this request calls, None for another one that the page sends. Raises
    SentError."""
    request = sent.record(value)
    for name in ("session_hash", "event_id"):
        if request.get(name) is not None:
            sent.text(request[name], name.replace("_", " "), 100)
    if (number := request.get("fn_index")) is not None:
        sent.chosen(number, page.fns, "the event")
    elif (found := _API.search(path)) and found[1] not in {fn.api_name for fn in page.fns.values()}:
        raise SentError("there is no such event")
    if (number := request.get("trigger_id")) is not None:
        sent.number(number, "the component")  # the page itself is none of its components
    if "component_server" not in path:
        return None
    name = sent.text(request.get("fn_name"), "the function", 100)
    sent.text(request.get("session_hash"), "session hash", 100)
    component = page.blocks[sent.chosen(request.get("component_id"), page.blocks, "the component")]
    if not getattr(getattr(component, name, None), "_is_server_fn", False):
        raise SentError("there is no such function")
    return f"{component.elem_id}.{name}"
