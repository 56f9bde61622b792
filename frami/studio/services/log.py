"""The studio's log, on standard error: lines for people, or where it is hosted JSON lines for a machine."""

import json
import logging
import sys
import time

from frami.hosting.mode import hosted
from frami.studio.services.troubles import LOG

#: What a record has beside its message.
_MORE = ("reference", "failure", "refusal", "place")


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"frami: {record.getMessage()}"
        return "\n    ".join([line, *getattr(record, "place", ())])


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        value = {"time": f"{at}.{record.msecs:03.0f}Z", "level": record.levelname.lower()}
        more = {name: getattr(record, name) for name in _MORE if hasattr(record, name)}
        return json.dumps(value | {"message": record.getMessage()} | more)


class _Handler(logging.StreamHandler):
    """Ours, to be known again; writes to what is standard error now."""

    def __init__(self):
        super().__init__(sys.stderr)
        self.setFormatter(_Json() if hosted() else _Lines())
        # On one's own machine a refusal is seen on the page: the terminal has only what went wrong.
        self.setLevel(logging.INFO if hosted() else logging.WARNING)


def begin() -> None:
    """Log from now on; a second call begins anew."""
    for handler in [one for one in LOG.handlers if isinstance(one, _Handler)]:
        LOG.removeHandler(handler)
    LOG.addHandler(_Handler())
    LOG.setLevel(logging.INFO)
