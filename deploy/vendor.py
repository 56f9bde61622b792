"""The libraries of other people that the page gives to browsers: ``assets/vendor``, made from the npm registry.

``python -m deploy.vendor`` fetches the pinned package by ``npm pack``, or takes a file that was fetched before,
compares it with the registry's own hash, and writes the few files that are used, with a manifest of their hashes. The
module of WebAssembly is compressed: the page unpacks it.
"""

import argparse
import base64
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from frami import files
from frami.browser import MANIFEST, RUNTIME
from frami.errors import FramiError

PACKAGE, VERSION = "onnxruntime-web", "1.24.3"
#: Of the package's archive, as the registry names it (``npm view onnxruntime-web@VERSION dist.integrity``).
INTEGRITY = "sha512-41dDq7fxtTm0XzGE7N0d6m8FcOY8EWtUA65GkOixJPB/G7DGzBmiDAnVVXHznRw9bgUZpb+4/1lQK/PNxGpbrQ=="
#: Files of the archive that are taken: the smallest build, for the CPU alone.
TAKEN = ("package/dist/ort.wasm.bundle.min.mjs", "package/dist/ort-wasm-simd-threaded.wasm")
#: From which size on a file is stored compressed.
COMPRESSED_FROM = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--archive", type=Path, help="the package as npm pack gives it (default: fetched)")
    options = parser.parse_args()
    try:
        content = options.archive.read_bytes() if options.archive else _fetched()
        for name, size in write(content, RUNTIME).items():
            print(f"{RUNTIME / name}: {size / 1e3:,.0f} kB")
    except (FramiError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"vendor: {error}")


def write(archive: bytes, folder: Path) -> dict[str, int]:
    """Write what is used of an archive to a folder; bytes of each file. FramiError for another archive than the pinned
    one."""
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != INTEGRITY:
        raise FramiError(f"this is not {PACKAGE} {VERSION}: its hash is {digest}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        found = {Path(name).name: package.extractfile(name).read() for name in TAKEN}
    found |= _licences()
    listed, sizes = {}, {}
    for name, content in found.items():
        row = {"sha256": hashlib.sha256(content).hexdigest()}
        if len(content) > COMPRESSED_FROM:
            content, name = gzip.compress(content, 9, mtime=0), f"{name}.gz"
            row = {"sha256": hashlib.sha256(content).hexdigest(), "unpacked_sha256": row["sha256"]}
        files.write(folder / name, content)
        listed[name], sizes[name] = row | {"bytes": len(content)}, len(content)
    about = {"package": PACKAGE, "version": VERSION, "integrity": INTEGRITY, "licence": "MIT", "files": listed}
    files.write_json(folder / MANIFEST, about)
    return sizes


def _fetched() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True)
        (found,) = Path(folder).glob("*.tgz")
        return found.read_bytes()


def _licences() -> dict[str, bytes]:
    """The npm package has none in it; the Python package of the same project has."""
    there = {path.name: path for path in metadata.files("onnxruntime") or ()}
    return {name: there[name].locate().read_bytes() for name in ("LICENSE", "ThirdPartyNotices.txt")}


if __name__ == "__main__":
    main()
