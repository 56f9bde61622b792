"""What goes wrong with the Hub, in words that say what to do."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from frami.errors import FramiError
from frami.schema import shown

#: Names of repositories: of the owner, and of the repository.
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
_ID = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


class HubError(FramiError):
    """A repository that is not there or not usable; the message says what to do."""


def repository(text: str) -> str:
    """The name of a repository, as it is given. HubError where it is none."""
    owner, _, name = text.partition("/")
    if not _ID.fullmatch(text) or any(".." in part or "--" in part for part in (owner, name)) or name.endswith(".git"):
        raise HubError(
            f"'{shown(text)}' is no name of a repository; it is OWNER/NAME, of letters, digits, '-', '_' and '.'"
        )
    return text


def revision(text: str) -> str:
    """A branch, a tag or a commit. HubError where it is none."""
    if not _REVISION.fullmatch(text) or ".." in text or "//" in text or text.endswith("/"):
        raise HubError(f"'{shown(text)}' is no revision; name a branch, a tag or a commit: OWNER/NAME@REVISION")
    return text


def endpoint() -> str:
    """Where the Hub is: ``HF_ENDPOINT``, or huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


@contextmanager
def saying(name: str, at: str | None = None, pushing: bool = False) -> Iterator[None]:
    """Errors of huggingface_hub about a repository become a HubError."""
    try:
        yield
    except FramiError:
        raise
    except Exception as error:  # of the network, of the Hub, of the disk: the package has dozens
        raise HubError(_sentence(error, name, at, pushing)) from error


def _sentence(error: Exception, name: str, at: str | None, pushing: bool) -> str:
    from huggingface_hub import errors

    site, chain = endpoint(), list(_chain(error))
    status = next((code for one in chain if (code := _status(one))), None)
    if any(isinstance(one, errors.GatedRepoError) for one in chain):
        return f"{name} is gated: accept its terms at {site}/{name}, then log in with 'hf auth login', or set HF_TOKEN"
    if any(isinstance(one, errors.RevisionNotFoundError) for one in chain):
        return f"{name} has no revision '{at or 'main'}'; name a branch, a tag or a commit: OWNER/NAME@REVISION"
    if pushing and status in (401, 403):
        return f"{name} may not be written ({status}): log in with a token that may write, 'hf auth login' or HF_TOKEN"
    if status in (401, 404) or any(isinstance(one, errors.RepositoryNotFoundError) for one in chain):
        return f"no repository {name} at {site}; if it is private, log in with 'hf auth login', or set HF_TOKEN"
    if status == 403:
        return f"{name} may not be read (403): log in with 'hf auth login', or set HF_TOKEN to a token that may"
    full = [one for one in chain if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)]
    if full:
        return f"no space left for {name}; make room, or set HF_HOME to a folder on another disk"
    why = shown(next((str(one).strip() for one in chain if str(one).strip()), type(error).__name__), 160)
    if status is not None:
        return f"{site} answers with status {status} for {name} ({why}); try again later"
    if isinstance(error, errors.OfflineModeIsEnabled) or os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE"):
        before = "is not written" if pushing else "was not fetched before"
        return f"{name} {before}: HF_HUB_OFFLINE allows no network"
    if pushing:
        return f"{name} was not written at {site} ({why}); is there a network?"
    return f"{name} cannot be fetched from {site} ({why}); is there a network? A folder with its files does as well"


def _status(error: BaseException) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) and code >= 400 else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
