"""Repositories of the Hugging Face Hub, and folders like them: what they hold is fetched and read as data.

What anybody may have put there is a stranger's until it is checked: files are chosen by name and bounded in size, JSON
is checked for its types, weights are safetensors alone, and no code of a repository is run.
"""

from frami.hub.cards import MODEL, checked
from frami.hub.fetching import Source, find
from frami.hub.folders import own, read_json, weights
from frami.hub.page import text as page
from frami.hub.problems import HubError, repository, shown
from frami.hub.pushing import publish, push

__all__ = [
    "MODEL", "HubError", "Source", "checked", "find", "own", "page", "publish", "push", "read_json", "repository",
    "shown", "weights",
]  # fmt: skip
