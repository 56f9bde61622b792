"""Students as files for elsewhere: ONNX in float32 and in eight bits, and a page that runs one."""

import io
import random
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from frami import banks, browser, checkpoints, export, quantisation
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.quantisation import PrecisionError
from frami.workers.teller import Teller

#: Made clips that judge a file in eight bits at most: a long run has more than somebody waits for.
JUDGING = 1_000
#: Clips of each class on average from which on a bank is calibrated on.
_ENOUGH = 4


def export_onnx(teller: Teller, *, source: str, input: str) -> bytes:
    """Content of a checkpoint's ONNX file. input : as of ``export.onnx``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        export.onnx(checkpoints.load(source), path, input=input)
        return path.read_bytes()


def export_int8(teller: Teller, *, source: str, input: str, bank: str | None) -> bytes:
    """The same in eight bits, calibrated on the clips of ``bank`` (None: on those of its teacher) and checked as
    ``quantisation.export`` does. FramiError where it answers otherwise than in float32."""
    network = checkpoints.load(source)
    material = quantisation.gather(network, bank=_whole(bank, network), report=teller.progress)
    if len(material.unseen) > JUDGING:
        material = replace(material, unseen=random.Random(0).sample(material.unseen, JUDGING))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        try:
            quantisation.export(network, path, input, "int8", material)
        except PrecisionError as error:
            raise FramiError(f"there is no file in eight bits: {error.why}; take one in float32") from error
        return path.read_bytes()


def export_web(teller: Teller, *, source: str, name: str) -> bytes:
    """A ZIP archive of the folder ``name``, a page that runs a checkpoint (``browser.site``)."""
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        browser.site(checkpoints.load(source), site)
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(site.rglob("*")):
                if path.is_file():
                    file.write(path, f"{name}/{path.relative_to(site).as_posix()}")
    return content.getvalue()


def _whole(folder: str | None, network: Checkpoint) -> str | None:
    """A bank's folder where it has clips enough to calibrate on and to judge by."""
    with suppress(FramiError):
        if folder and (Path(folder) / banks.MANIFEST).is_file():
            return folder if len(banks.load(folder)) >= _ENOUGH * len(network.classes) else None
    return None
