"""A repository of the Hub, fetched once into its cache, or a folder that holds the same files."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from frami.hub import folders
from frami.hub.problems import HubError, endpoint, repository, revision, saying, shown

#: Seconds that the Hub has to answer a question.
_PATIENCE = 20


@dataclass(frozen=True)
class Source:
    """Where a network comes from. ``folder`` : with its files; ``name`` : of the repository or folder alone;
    ``label`` : ``OWNER/NAME@COMMIT``, or the folder's name; ``licence`` : that the repository states, or empty."""

    folder: Path
    name: str
    label: str
    licence: str = ""


def find(text: str) -> Source:
    """A folder, or a repository ``OWNER/NAME`` or ``OWNER/NAME@REVISION`` of the Hub, whose safetensors and their JSON
    are fetched. What was fetched before needs no network. HubError says what is wrong and what to do."""
    if not text.strip() or "\0" in text:
        raise HubError("name a repository, OWNER/NAME, or a folder")
    folder = Path(text).expanduser()
    if folder.is_dir():
        folders.local(folder)
        return Source(folder, folder.resolve().name, folder.resolve().name)
    if folder.exists():
        raise HubError(f"{folder} is a file; name the folder that holds it")
    name, mark, at = text.partition("@")
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise HubError(f"no folder '{shown(text)}', and no name of a repository, which is OWNER/NAME")
    return _fetched(repository(name), revision(at) if mark else None)


def _fetched(name: str, at: str | None) -> Source:
    import huggingface_hub
    from huggingface_hub import errors

    api, about = huggingface_hub.HfApi(endpoint=endpoint()), None
    with saying(name, at):
        try:
            about = api.model_info(name, revision=at, files_metadata=True, timeout=_PATIENCE)
        except errors.HfHubHTTPError:
            raise
        except Exception:  # no network: what was fetched before is as good
            folder = _cached(name, at)
            if folder is None:
                raise
    if about is not None:
        sizes = {one.rfilename: one.size for one in about.siblings or ()}
        files = folders.wanted(sizes)
        if not any(file.endswith(".safetensors") for file in files):
            raise folders.no_weights(sizes, name)
        folders.bounded({file: sizes[file] for file in files}, name)
        with saying(name, at):
            folder = Path(_snapshot(name, at, files))
    folders.local(folder)
    return Source(folder, name.partition("/")[2], f"{name}@{folder.name[:12]}", _licence(about))


def _snapshot(name: str, at: str | None, files: list[str]) -> str:
    """Folder of a repository's files in the cache of huggingface_hub, with these in it."""
    import huggingface_hub
    from tqdm import tqdm

    class Bar(tqdm):
        """On a terminal only."""

        def __init__(self, *args, **settings):
            settings.pop("name", None)
            super().__init__(*args, **settings | {"disable": not sys.stderr.isatty(), "file": sys.stderr})

    return huggingface_hub.snapshot_download(
        name, revision=at, allow_patterns=files, endpoint=endpoint(), cache_dir=_cache(), max_workers=2, tqdm_class=Bar
    )


def _cached(name: str, at: str | None) -> Path | None:
    """Folder of what was fetched before of a repository."""
    import huggingface_hub

    for file in ("config.json", "model.json", "model.safetensors"):
        found = huggingface_hub.try_to_load_from_cache(name, file, cache_dir=_cache(), revision=at)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _cache() -> str | None:
    return os.environ.get("HF_HUB_CACHE") or None


def _licence(about) -> str:
    """The licence that a repository states, as one short word."""
    stated = getattr(getattr(about, "card_data", None), "license", None)
    return shown(stated, 60) if isinstance(stated, str) else ""
