"""Files of a folder go to a repository of the Hub, which is made where it is missing."""

from pathlib import Path

from frami.hub.problems import endpoint, repository, saying


def push(folder: Path, name: str, private: bool = False, message: str = "Checkpoint of FRAMI Studio") -> str:
    """Write the files of a folder as one commit; returns the commit's address. The token is that of 'hf auth login' or
    ``HF_TOKEN``. HubError says what is wrong."""
    import huggingface_hub

    name = repository(name)
    with saying(name, pushing=True):
        api = huggingface_hub.HfApi(endpoint=endpoint())
        api.create_repo(name, private=private or None, exist_ok=True)
        added = [
            huggingface_hub.CommitOperationAdd(path.name, str(path))
            for path in sorted(folder.iterdir())
            if path.is_file()
        ]
        return str(api.create_commit(name, added, commit_message=message).commit_url)
