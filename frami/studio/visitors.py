"""Whose browser an event or a call of the page's scripts comes from."""

from gradio.context import LocalContext

from frami.hosting import owners
from frami.hosting.owners import EVERYONE, Visitor

#: Headers that the page's script (``assets/page/visitor.js``) adds to all that it asks of the studio.
TOKEN, SHARED = "x-frami-visitor", "x-frami-shared"


def here() -> Visitor:
    """The visitor whose request is handled in this thread; without one ``EVERYONE``, who owns nothing when hosted."""
    request = LocalContext.request.get(None)
    if request is None:
        return EVERYONE
    headers, client = request.headers, request.client
    return owners.visitor(headers.get(TOKEN), headers.get(SHARED), client.host if client else None)


def page() -> str | None:
    """Gradio's name of the page whose event is handled in this thread; None in a call of its scripts."""
    return getattr(LocalContext.request.get(None), "session_hash", None)
