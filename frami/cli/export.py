"""``frami export``: a teacher or a student for use elsewhere."""

import shlex
from pathlib import Path

from frami import browser, checkpoints, export
from frami.cli.arguments import checkpoint_path, command
from frami.errors import FramiError
from frami.weights import paths


def add(commands) -> None:
    sub = command(commands, "export", _export)
    sub.add_argument("checkpoint", help="name of a teacher or student, a path, or a run (id or folder)")
    sub.add_argument("--format", default="onnx", choices=["onnx", "safetensors", "web"])
    sub.add_argument("--out", required=True, metavar="PATH", help="the file, or for web the folder")
    sub.add_argument("--input", default="mel", choices=["mel", "waveform"], help="what the ONNX file takes")
    sub.add_argument("--overwrite", action="store_true", help="replace what is at --out")


def _export(options) -> tuple[dict, list[str]]:
    path = checkpoint_path(options.checkpoint)
    if options.format == "web":
        return _page(options, path)
    copied = options.format == "safetensors"
    out = paths(options.out)[0] if copied else Path(options.out)
    if out.is_file() and not options.overwrite:
        raise FramiError(f"{out} is there already; choose another --out, or add --overwrite")
    if copied:
        value = export.safetensors(path, out)
        line = f"{out}: {value['bytes'] / 1e3:,.0f} kB, with its card beside it"
    else:
        value = export.onnx(checkpoints.load(path), out, options.input) | {"input": options.input}
        line = (
            f"{out}: {value['bytes'] / 1e3:,.0f} kB, takes {_TAKES[options.input]}; in onnxruntime at most "
            f"{value['difference']:.0e} from PyTorch's logits, over {len(value['durations'])} durations"
        )
    return value | {"format": options.format}, [line]


_TAKES = {"mel": "log-Mel-spectrograms (batch, 1, bands, frames)", "waveform": "sound (batch, samples)"}


def _page(options, path: Path) -> tuple[dict, list[str]]:
    """A folder that runs the network in a browser."""
    value = browser.site(checkpoints.load(path), options.out, options.overwrite)
    line = (
        f"{options.out}: a page of {value['bytes'] / 1e6:.1f} MB that runs it in the browser; to look at it: "
        f"python3 -m http.server --directory {shlex.quote(options.out)} (a microphone needs https elsewhere)"
    )
    return value | {"format": "web"}, [line]
