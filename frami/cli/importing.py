"""``frami import``: a network that was trained elsewhere becomes a teacher."""

import argparse
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from frami import checkpoints, files, locks, schema
from frami.cli.arguments import command, number
from frami.errors import FramiError
from frami.mel import MelSpec
from frami.models import DEFAULT
from frami.paths import home
from frami.presets import PRESETS
from frami.weights import stem

#: Share of a network's weights behind the frame-level features from which on a command says so.
_MUCH = 0.5


def add(commands) -> None:
    sub = command(commands, "import", _import)
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--program", metavar="FILE.pt2", help="a network that torch.export.save wrote; no code of it is run"
    )
    what.add_argument(
        "--architecture", metavar="NAME",
        help="panns:Cnn6, panns:Cnn10, panns:Cnn14, panns:MobileNetV1, panns:MobileNetV2, speechbrain:ecapa, "
        "timm:NAME, torchvision:NAME, residual:SIZE or tc-resnet:SIZE",
    )  # fmt: skip
    what.add_argument(
        "--hub", metavar="OWNER/NAME|FOLDER",
        help="a repository of the Hugging Face Hub (OWNER/NAME@REVISION: of that revision) or a folder like it: an AST "
        "of Transformers, or what frami push wrote",
    )  # fmt: skip
    sub.add_argument(
        "--weights", metavar="FILE|FOLDER",
        help="of that architecture: .safetensors, a state dict as .pth, or the folder of speechbrain:ecapa's two .ckpt",
    )  # fmt: skip
    sub.add_argument(
        "--frontend", metavar="PRESET|FILE.json",
        help=f"the log-Mels that it hears: {', '.join(PRESETS)}, frami, or a file (default: the architecture's)",
    )  # fmt: skip
    sub.add_argument(
        "--classes", metavar="FILE", help="one class a line, in the network's order (with --hub: those of its files)"
    )
    sub.add_argument(
        "--seconds", type=number(0.05, 60), help="usual length of its clips (default: 1; with --hub: what it hears)"
    )
    least = "of a network that learnt from pieces of one length: shorter clips are repeated up to it"
    sub.add_argument("--least", type=number(0.05, 60), metavar="SECONDS", help=least)
    silence = "with --least: silence follows a shorter clip, instead of itself again"
    sub.add_argument("--silence", action="store_true", help=silence)
    sub.add_argument("--out", metavar="PATH", help="default: FRAMI_HOME/teachers and the file's name")
    sub.add_argument("--name", help="of the teacher (default: of --out)")
    sub.add_argument(
        "--frames", metavar="VALUE", help="which values are the frame-level features, where others are found"
    )
    sub.add_argument("--output", metavar="KEY", help="which of several answers counts")
    sub.add_argument("--scale", choices=["logits", "softmax", "log-softmax", "sigmoid"], help="default: found out")
    several = "whether several classes may sound at once (default: with answers of sigmoids, or AudioSet's classes)"
    sub.add_argument("--multi-label", action=argparse.BooleanOptionalAction, help=several)
    sub.add_argument("--licence", default="unknown", help="of the weights")
    sub.add_argument("--data-licence", default="unknown", help="of what it was trained on")
    sub.add_argument("--overwrite", action="store_true", help="replace a teacher at --out")


def _import(options) -> tuple[dict, list[str]]:
    from frami.hub import find

    if bool(options.architecture) != bool(options.weights):
        raise FramiError("--architecture and --weights go together; a file of --program holds its own weights")
    if not options.classes and options.hub is None:
        raise FramiError("--classes FILE is needed: one class a line, in the network's order")
    classes = _classes(Path(options.classes)) if options.classes else None
    source = find(options.hub) if options.hub is not None else None
    out = _out(options, source)
    with locks.checkpoint(out):
        return _written(options, out, classes, source)


def _written(options, out: Path, classes: list[str] | None, source) -> tuple[dict, list[str]]:
    """The teacher, at a path that is this process's."""
    from frami.adapter import importing, published
    from frami.adapter.hub import from_hub
    from frami.models import ARCHITECTURES
    from frami.program import archive

    if checkpoints.exists(out) and not options.overwrite:
        raise FramiError(f"{out}.safetensors is there already; choose another --out, or add --overwrite")
    files.try_writing(out.with_name(out.name + ".json"))
    settings = {
        "name": options.name or out.name, "seconds": options.seconds or 1.0, "frames": options.frames,
        "output": options.output, "scale": options.scale, "multilabel": options.multi_label, "least": options.least,
        "silent": options.silence or None,
        "licence": options.licence, "data_licence": options.data_licence,
    }  # fmt: skip
    unused: list[str] = []
    about: dict = {}
    if source:
        spec = _frontend(options.frontend) if options.frontend else None
        teacher, found, about = from_hub(source, spec, classes, **settings | {"seconds": options.seconds})
        unused = about["unused"]
    elif options.program:
        spec = _frontend(options.frontend or "frami")
        teacher, found = importing.teacher(archive.read(options.program), spec, classes, **settings)
    else:
        family = options.architecture.partition(":")[0]
        row = None if family in ARCHITECTURES else published.known(options.architecture)
        spec = _frontend(options.frontend or (row.frontend if row else "") or "frami")
        teacher, found, unused = importing.from_published(
            options.architecture, options.weights, spec, classes, **settings
        )
    weights = checkpoints.save(out, teacher.model, teacher.card)
    value = _value(teacher, found, unused) | about | {"path": str(out)}
    return value, [f"{weights}: {_sentence(value)}", *_notes(value, found, unused)]


def _value(teacher, found, unused: list[str]) -> dict:
    card = teacher.card
    return {
        "name": card.name, "architecture": card.model.get("architecture", DEFAULT),
        "parameters": card.parameters, "norms": found.norms,
        "classes": list(card.classes), "frontend": card.mel_spec, "unused": unused, **asdict(found),
    }  # fmt: skip


def _sentence(value: dict) -> str:
    lengths = "any length"
    if value["longest"] is not None:
        lengths = f"{value['shortest']} to {value['longest']} frames"
    elif value["shortest"] > 1:
        lengths = f"{value['shortest']} frames and more"
    return (
        f"{value['parameters'] / 1e6:.2f} M parameters, {value['norms']} batch norms, {len(value['classes'])} classes; "
        f"takes clips of {lengths}; frame-level features: {value['frames']}, embedding: {value['pooled']}"
    )


def _notes(value: dict, found, unused: list[str]) -> list[str]:
    notes = []
    if not found.reusable:
        notes.append(
            f"students cannot reuse its pooling and classifier ({found.why}); choose --objective logits, fitnet or "
            "attention"
        )
    if found.behind > _MUCH:
        notes.append(
            f"{found.behind:.0%} of its weights lie behind the frame-level features, and a student that reuses them "
            "carries those; --frames names others, or choose --objective logits"
        )
    if found.centres:
        notes.append("it removes the mean of each band itself, so its front-end does now, for its clips and students")
    if found.multilabel and value.get("kind") not in ("teacher", "student"):
        notes.append(
            "several classes may sound at once (multi-label); where a clip has one alone, add --no-multi-label"
        )
    if not found.norms:
        notes.append(
            "it has no batch norm: nothing tells how its training data sounded; expect little of students without data"
        )
    if unused:
        notes.append(f"{len(unused)} tensors of the file were not used: {', '.join(unused[:5])}")
    return notes


def _classes(path: Path) -> list[str]:
    """Names of classes, one a line. FramiError where two are the same, or there are fewer than two."""
    try:
        lines = files.read_text(path, encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise FramiError(f"--classes {path}: not a readable text file ({error}); it has one class a line") from error
    found = [line.strip() for line in lines if line.strip()]
    if len(found) > schema.CLASSES or any(len(name) > schema.LONG for name in found):
        raise FramiError(
            f"--classes {path}: more than {schema.CLASSES:,} classes, or names of more than {schema.LONG:,} signs; it "
            "has one class a line"
        )
    twice = sorted(name for name, count in Counter(found).items() if count > 1)
    if len(found) < 2 or twice:
        problem = f"twice: {', '.join(twice[:5])}" if twice else f"{len(found)} classes, at least two are needed"
        raise FramiError(f"--classes {path}: {problem}; it has one class a line, in the network's order")
    return found


def _frontend(name: str) -> MelSpec:
    if name == "frami":
        return MelSpec()
    if name in PRESETS:
        return MelSpec.preset(name)
    if not Path(name).suffix and not Path(name).exists():
        raise FramiError(f"--frontend {name}: choose one of: frami, {', '.join(PRESETS)}, or the path of a JSON file")
    return MelSpec.read(name)


def _out(options, source=None) -> Path:
    if options.out:
        return stem(options.out)
    given = source.name if source else Path(options.program or options.weights).stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", given).strip("-")[:60]
    if not name or checkpoints.exists(checkpoints.BUNDLED / name):
        raise FramiError(f"say where it goes with --out, for example --out {home() / 'teachers' / 'my-teacher'}")
    return home() / "teachers" / name
