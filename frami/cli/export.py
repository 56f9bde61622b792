"""``frami export``: a teacher or a student for use elsewhere."""

from pathlib import Path

from frami import checkpoints, export
from frami.cli.arguments import checkpoint_path, command
from frami.errors import FramiError
from frami.weights import paths


def add(commands) -> None:
    sub = command(commands, "export", _export)
    sub.add_argument("checkpoint", help="name of a teacher or student, a path, or a run (id or folder)")
    sub.add_argument("--format", default="onnx", choices=["onnx", "safetensors"])
    sub.add_argument("--out", required=True, metavar="FILE")
    sub.add_argument("--input", default="mel", choices=["mel", "waveform"], help="what the ONNX file takes")
    sub.add_argument("--overwrite", action="store_true", help="replace a file at --out")


def _export(options) -> tuple[dict, list[str]]:
    path = checkpoint_path(options.checkpoint)
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
