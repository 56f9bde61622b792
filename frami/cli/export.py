"""``frami export``: a teacher or a student for use elsewhere."""

import shlex
from pathlib import Path

from frami import banks, browser, checkpoints, export, quantisation
from frami.cli.arguments import checkpoint_path, command, data_option, number, progress, whole
from frami.errors import FramiError
from frami.quantisation import KINDS, PRECISIONS, PrecisionError, litert
from frami.weights import paths


def add(commands) -> None:
    sub = command(commands, "export", _export)
    sub.add_argument("checkpoint", help="name of a teacher or student, a path, or a run (id or folder)")
    sub.add_argument("--format", default="onnx", choices=["onnx", "safetensors", "web", "litert"])
    sub.add_argument("--out", required=True, metavar="PATH", help="the file, or for web the folder")
    sub.add_argument("--input", default="mel", choices=["mel", "waveform"], help="what the ONNX file takes")
    sub.add_argument("--overwrite", action="store_true", help="replace what is at --out")
    _add_precision(sub)


def _add_precision(sub) -> None:
    smaller = "of an ONNX file: fp16, weights in half precision; int8, weights and activations in eight bits"
    sub.add_argument("--precision", default="float32", choices=PRECISIONS, help=f"{smaller} (default: float32)")
    made = "of int8: made clips (default), recordings of the training folds, or white noise"
    sub.add_argument("--calibration", choices=KINDS, help=made)
    count = f"clips of each class to calibrate on (default: {quantisation.CLIPS})"
    sub.add_argument("--calibration-clips", type=whole(1, 1000), metavar="N", help=count)
    bank = "made clips: a bank's folder, or a run (id or folder; default: the run that is exported, else clips that "
    sub.add_argument("--bank", metavar="FOLDER|RUN", help=f"{bank}come with its teacher, else some made now)")
    usual = "of a LiteRT file, in which it is fixed (default: the usual duration of the training clips)"
    sub.add_argument("--seconds", type=number(0.05, 30), help=usual)
    sub.add_argument("--force", action="store_true", help="write a file too that answers otherwise than float32 does")
    data_option(sub)


def _export(options) -> tuple[dict, list[str]]:
    path = checkpoint_path(options.checkpoint)
    _check(options)
    if options.format == "web":
        return _page(options, path)
    copied = options.format == "safetensors"
    out = paths(options.out)[0] if copied else Path(options.out)
    if out.is_file() and not options.overwrite:
        raise FramiError(f"{out} is there already; choose another --out, or add --overwrite")
    if copied:
        value = export.safetensors(path, out)
        line = f"{out}: {value['bytes'] / 1e3:,.0f} kB, with its card beside it"
    elif options.precision != "float32" or options.format == "litert":
        value, line = _lowered(options, path, out)
    else:
        value = export.onnx(checkpoints.load(path), out, options.input) | {"input": options.input}
        line = (
            f"{out}: {value['bytes'] / 1e3:,.0f} kB, takes {_TAKES[options.input]}; in onnxruntime at most "
            f"{value['difference']:.0e} from PyTorch's logits, over {len(value['durations'])} durations"
        )
    return value | {"format": options.format}, [line] if isinstance(line, str) else line


_TAKES = {"mel": "log-Mel-spectrograms (batch, 1, bands, frames)", "waveform": "sound (batch, samples)"}


def _page(options, path: Path) -> tuple[dict, list[str]]:
    """A folder that runs the network in a browser."""
    network = checkpoints.load(path)
    smaller = None if options.precision == "float32" else lambda out: _converted(options, path, network, out)
    try:
        value = browser.site(network, options.out, options.overwrite, smaller)
    except PrecisionError as error:  # names a file that is not there any more
        raise PrecisionError(Path(options.out), error.why, error.advice) from error
    line = (
        f"{options.out}: a page of {value['bytes'] / 1e6:.1f} MB that runs it in the browser; to look at it: "
        f"python3 -m http.server --directory {shlex.quote(options.out)} (a microphone needs https elsewhere)"
    )
    return value | {"format": "web"}, [line, *(_judgement(value) if smaller else [])]


def _check(options) -> None:
    """Refuse options that belong to another precision, which would be without effect."""
    if options.format == "safetensors" and options.precision != "float32":
        raise FramiError("--precision is of an ONNX file: leave out --format safetensors")
    if options.seconds is not None and options.format != "litert":
        raise FramiError("--seconds is of a LiteRT file: add --format litert")
    if options.format == "litert" and options.input != "mel":
        raise FramiError("a LiteRT file takes log-Mels: leave out --input")
    given = {
        "--calibration": options.calibration, "--calibration-clips": options.calibration_clips, "--bank": options.bank,
    }  # fmt: skip
    useless = [name for name, value in given.items() if value is not None]
    if useless and options.precision != "int8":
        raise FramiError(f"{useless[0]} is of eight bits: add --precision int8")


def _lowered(options, path: Path, out: Path) -> tuple[dict, list[str]]:
    """An export in half precision or eight bits, or as LiteRT."""
    export.writable(out)
    value = _converted(options, path, checkpoints.load(path), out)
    value["input"] = options.input
    line = (
        f"{out}: {value['bytes'] / 1e3:,.0f} kB ({options.precision}; float32: {value['float_bytes'] / 1e3:,.0f} kB), "
        f"takes {_TAKES[options.input]}{', ' + str(value['frames']) + ' frames' if 'frames' in value else ''}"
    )
    return value, [line, *_judgement(value)]


def _converted(options, path: Path, network: checkpoints.Checkpoint, out: Path) -> dict:
    each = options.calibration_clips or quantisation.CLIPS
    with progress("step", "clips") as report:
        material = quantisation.gather(
            network, options.calibration or "made", each, _bank(options.bank, path), options.data, report
        )
    if options.format == "litert":
        seconds = options.seconds or network.card.seconds
        return litert.export(network, out, options.precision, material, seconds, options.force)
    takes = "waveform" if options.format == "web" else options.input
    return quantisation.export(network, out, takes, options.precision, material, force=options.force)


def _judgement(value: dict) -> list[str]:
    """What was found of a file of smaller numbers."""
    lines = []
    if used := value.get("calibration"):
        lines.append(f"calibrated on {used['clips']} clips, at most {used['per_class']} a class: {used['source']}")
    if value["unseen"]:
        lines.append(f"agrees with float32 on {value['agreement']:.1%} of {value['unseen']} unseen made clips")
    else:
        lines.append("no made clip was left to judge it: give a --bank with more clips of each class")
    if real := value["recordings"]:
        lines.append(f"recognises {real['accuracy']:.1%} of {real['which']}; float32: {real['float_accuracy']:.1%}")
    return lines


def _bank(named: str | None, exported: Path) -> Path | None:
    """Folder of the bank that is named, of the run that is named, or of the run that is exported."""
    folder = exported.parent
    if named is not None:
        folder = Path(named)
        if not (folder / banks.MANIFEST).is_file():
            try:
                folder = checkpoint_path(named).parent
            except FramiError as error:
                raise FramiError(f"--bank: no bank in {named}, and no run: {error}") from error
    for place in (folder, folder / "bank"):
        if (place / banks.MANIFEST).is_file():
            return place
    if named is not None:
        raise FramiError(f"--bank: {named} made no clips of its own; name the bank that it learnt from")
    return None
