"""An object in a worker of a Ray cluster, as whoever had it placed there sees it."""

import sys
import time
from contextlib import AbstractContextManager
from typing import Any

from frami.errors import FramiError

#: Seconds between two looks for an answer, in which a stop by the keyboard is heard.
_LOOK = 0.5


class LostError(Exception):
    """The object has gone with its worker, or cannot be reached."""


class DisconnectedError(LostError):
    """The whole cluster has gone, or the line to it."""


class Placed(AbstractContextManager):
    """A block that its worker is free again behind. ``name`` : what it does, for people."""

    def __init__(self, ray, actor, name: str):
        self._ray, self._actor, self.name = ray, actor, name

    def ask(self, method: str, *arguments, seconds: float | None = None) -> Any:
        """What a method of the object returns, once it has a worker. LostError where that is lost, or does not answer
        within so many ``seconds``, DisconnectedError where the cluster is; FramiError where the workers cannot do
        it."""
        errors = self._ray.exceptions
        try:
            reference = getattr(self._actor, method).remote(*arguments)
            end = None if seconds is None else time.monotonic() + seconds
            while not self._ray.wait([reference], timeout=_LOOK)[0]:
                if end is not None and time.monotonic() > end:
                    raise LostError("no answer")
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            print(f"{self.name}: {_said(error)}", file=sys.stderr)  # for the log: visitors read what follows
            raise FramiError("a worker of the cluster could not do it; the studio's log says why") from error
        except errors.RayActorError as error:
            if "No module named" in str(error) or "failed to be imported" in str(error):
                raise FramiError("the cluster's workers cannot run frami; install the same version there") from error
            raise LostError(type(error).__name__) from error
        except ConnectionError as error:
            raise DisconnectedError(type(error).__name__) from error
        except errors.RayError as error:
            raise LostError(type(error).__name__) from error

    def number(self, node: str) -> int:
        """A machine's number in the cluster, from 1; 0 where that is not known."""
        try:
            known = sorted(one["NodeID"] for one in self._ray.nodes())
        except Exception:  # a number is no reason to lose a run
            return 0
        return known.index(node) + 1 if node in known else 0

    def __exit__(self, *_) -> None:
        try:
            self._ray.kill(self._actor)
        except Exception:  # the cluster has gone, and the object with it
            return


def _said(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
