"""Files go to a repository of the Hub, which is made where it is missing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frami.hub.problems import endpoint, repository, saying
from frami.hub.space import Contents

#: Folders of a Space whose files are all the studio's.
_OWN = ("frami/", "assets/", "checkpoints/")


def push(folder: Path, name: str, private: bool = False, message: str = "Checkpoint of FRAMI Studio") -> str:
    """Write the files of a folder as one commit; returns the commit's address. The token is that of 'hf auth login' or
    ``HF_TOKEN``. HubError says what is wrong."""
    import huggingface_hub

    name = repository(name)
    with saying(name, pushing=True), _bars():
        api = huggingface_hub.HfApi(endpoint=endpoint())
        api.create_repo(name, private=private or None, exist_ok=True)
        added = [
            huggingface_hub.CommitOperationAdd(path.name, str(path))
            for path in sorted(folder.iterdir())
            if path.is_file()
        ]
        return str(api.create_commit(name, added, commit_message=message).commit_url)


def publish(files: Contents, name: str, private: bool = False, message: str = "FRAMI Studio") -> str:
    """Write the files of a Space as one commit; returns the commit's address. Files in the studio's own folders that
    are not among them are removed, others stay. The token is as for ``push``. HubError says what is wrong."""
    import huggingface_hub

    name = repository(name)
    with saying(name, pushing=True), _bars():
        api = huggingface_hub.HfApi(endpoint=endpoint())
        api.create_repo(name, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
        there = api.list_repo_files(name, repo_type="space")
        changes = [huggingface_hub.CommitOperationAdd(file, kept) for file, kept in files.items()]
        changes += [
            huggingface_hub.CommitOperationDelete(file) for file in there if file.startswith(_OWN) and file not in files
        ]
        return str(api.create_commit(name, changes, commit_message=message, repo_type="space").commit_url)


@contextmanager
def _bars() -> Iterator[None]:
    """Progress bars of huggingface_hub on a terminal only."""
    from huggingface_hub import utils

    quiet = not sys.stderr.isatty() and not utils.are_progress_bars_disabled()
    if quiet:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if quiet:
            utils.enable_progress_bars()
