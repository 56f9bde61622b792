"""Where the page finds the runtime with which a visitor's browser runs a network: onnxruntime-web, from this studio."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from frami import browser, files

_FOLDER = "onnxruntime-web"


def routes() -> list[Route]:
    """Where its files are."""
    return [Route(f"/{_FOLDER}/{{name}}", _file)]


def addresses() -> dict[str, str]:
    """Of the ``script`` and the ``module``, from the page's own address; a newer version has others."""
    version = files.read_json(browser.RUNTIME / browser.MANIFEST)["version"]
    return {key: f"{_FOLDER}/{name}?v={version}" for key, name in browser.runtime().items()}


def _file(request: Request) -> FileResponse:
    name = request.path_params["name"]
    if name not in files.read_json(browser.RUNTIME / browser.MANIFEST)["files"]:
        raise HTTPException(404)
    kind = {".mjs": "text/javascript", ".gz": "application/gzip"}.get(
        name[name.rfind(".") :] if "." in name else "", "text/plain"
    )
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(browser.RUNTIME / name, media_type=kind, headers=kept)
