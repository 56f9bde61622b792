"""What a visitor is told when something cannot be done, in one place; the log has the rest under a reference.

A FramiError is told: it says what to do, in the page's words (``page_words``). Where the studio is hosted, one that
names a folder of the server is not, nor is any other exception anywhere: the visitor gets a reference, and the log its
kind, message and place in the code, without what could tell who it was.
"""

import errno
import logging
import os
import re
import secrets
import tempfile
import traceback

from frami import files
from frami.errors import FramiError
from frami.hosting.mode import hosted
from frami.paths import PACKAGE
from frami.studio.services.page_words import worded

LOG = logging.getLogger("frami.studio")
FULL = "the studio's disk is full: try again later, or delete runs that you do not need"
UNWRITABLE = (
    "the studio's disk cannot be written now: try again later, and if that does not help, tell whoever runs this studio"
)
#: A path of a file system, of Linux and macOS or of Windows; addresses of the web are none.
_PATH = re.compile(r"(?<![\w:/.~-])(?:/(?:[\w.@+~-]+/)+[\w.@+~-]*|~/[\w.@+~-]|[A-Za-z]:\\)")
#: The last line of a Python traceback, and what libraries say of memory and the like.
_RAW = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b|Traceback|\[enforce fail)")
#: Ids of sessions and runs, tokens, hashes.
_ID = re.compile(r"\b(?=[\w-]*\d)[A-Za-z0-9_-]{10,}\b")
#: Signs of an exception's message in the log.
_MOST = 300


def in_words(error: BaseException) -> str:
    """What to tell the visitor of an exception; it is logged."""
    kind, number = type(error).__name__, error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or (isinstance(error, FramiError) and files.NO_ROOM in str(error)):
        LOG.error("the disk is full", extra={"failure": kind})
        return FULL
    if isinstance(error, FramiError):
        words = worded(str(error))
        if not (hosted() and _PATH.search(words)):
            LOG.info("refused", extra={"refusal": kind})
            return words
    if number in (errno.EROFS, errno.EIO):
        LOG.error("the disk cannot be written: %s", os.strerror(number), extra={"failure": kind})
        return UNWRITABLE
    reference = secrets.token_hex(4)
    LOG.error(
        "unexpected %s, reference %s: %s",
        kind,
        reference,
        scrubbed(str(error))[:_MOST],
        extra={"failure": kind, "reference": reference, "place": places(error)},
    )
    return (
        f"Something went wrong here (reference {reference}); try again, and if that does not help, tell whoever runs "
        "this studio."
    )


def of_run(message: str | None) -> str | None:
    """What a run left as the reason of its end, as the page shows it: no raw Python, no folder of a hosted studio."""
    if message and files.NO_ROOM in message:
        return f"{FULL}; Resume continues this one"
    if message and (_RAW.match(message) or (hosted() and _PATH.search(message))):
        return "it ended unexpectedly" + ("" if hosted() else "; the file log in its folder says more")
    return message and worded(message)


def scrubbed(message: str) -> str:
    """A message without names of uploads, ids and tokens."""
    uploads = {tempfile.gettempdir(), os.environ.get("GRADIO_TEMP_DIR", "")} - {""}
    for folder in sorted(uploads, key=len, reverse=True):
        message = re.sub(re.escape(folder) + r"[^\s'\"]*", "<file>", message)
    return _ID.sub("<id>", message)


def places(error: BaseException) -> list[str]:
    """Where in the code an exception came from, the last one first: ``file:line function``."""
    frames = traceback.extract_tb(error.__traceback__)
    root = str(PACKAGE.parent)
    return [f"{os.path.relpath(f.filename, root)}:{f.lineno} {f.name}" for f in reversed(frames)][:12]
