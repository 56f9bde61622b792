"""What pages upload, counted before it is stored."""

import time
from collections import deque

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from frami.errors import sentence
from frami.hosting import owners
from frami.hosting.limits import LimitError, Limits
from frami.studio.visitors import TOKEN

#: Bytes of a refused upload that are read and dropped: a browser hears no answer before it has sent all.
_DROPPED = 64_000_000
#: Seconds for which an upload counts: then it is deleted.
_HOUR = 3600
#: Bytes that an upload counts at least, so that the number of files is bounded, too.
_LEAST = 100_000
_MB = 1e6


class UploadLimits:
    """ASGI middleware that answers an upload with 413 and a reason where it would be more than the limits of a visitor
    of a network address, or of all. A visitor without a token is told by the address."""

    def __init__(self, app, limits: Limits):
        self.app, self._limits = app, limits
        self._stored: deque[tuple[float, str, str | None, float]] = deque()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload"):
            headers = Headers(scope=scope)
            client = scope.get("client")
            who = owners.visitor(headers.get(TOKEN), host=client[0] if client else None)
            length = None if "transfer-encoding" in headers else headers.get("content-length")
            try:
                self.count(who.owner or who.address or "", length, who.address)
            except LimitError as error:
                await _drain(receive)
                await PlainTextResponse(sentence(error), 413)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def count(self, owner: str, length: str | None, address: str | None = None) -> None:
        """Count an upload of a visitor, who comes from this address (``addresses.hashed``); one that does not say its
        length counts as the longest. ``LimitError`` where it is too much: then it does not count."""
        now = time.monotonic()
        while self._stored and now - self._stored[0][0] > _HOUR:
            self._stored.popleft()
        said = length is not None and length.isascii() and length.isdigit() and len(length) < 16
        size = max(_LEAST, int(length) if said else _MB * self._limits.least("upload", 20)) / _MB
        own = sum(taken for _, other, _, taken in self._stored if other == owner)
        self._limits.check("uploads", own + size)
        if address is not None:
            near = sum(taken for _, _, other, taken in self._stored if other == address)
            self._limits.check_address("uploads", near + size)
        self._limits.check("uploads_all", sum(taken for *_, taken in self._stored) + size)
        self._stored.append((now, owner, address, size))


async def _drain(receive) -> None:
    read, message = 0, {"more_body": True}
    while read < _DROPPED and message.get("more_body"):
        message = await receive()
        read += len(message.get("body", b""))
