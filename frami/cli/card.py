"""``frami card``: what whoever deploys a network asks of it. Of an ``.onnx`` it needs no PyTorch."""

from dataclasses import asdict
from pathlib import Path

from frami import facts
from frami.cli.arguments import aligned, command
from frami.errors import FramiError


def add(commands) -> None:
    sub = command(commands, "card", _card)
    sub.add_argument("network", help="an .onnx that frami exported, or name, path or run of a teacher or student")
    sub.add_argument("--out", metavar="FILE.md", help="write the model card (Markdown) there; of a teacher or student")


def _card(options) -> tuple[dict, list[str]]:
    if Path(options.network).suffix.lower() == ".onnx":
        from frami.listening import metadata

        if options.out:
            raise FramiError("--out writes the card of a teacher or student; name that, or leave --out out")
        rows = facts.answers(*facts.of_metadata(metadata(options.network)))
    else:
        from frami import checkpoints, hub
        from frami.cli.arguments import checkpoint_path
        from frami.files import write

        checkpoint = checkpoints.load(checkpoint_path(options.network))
        card, known = asdict(checkpoints.public(checkpoint.card)), checkpoints.facts(checkpoint)
        rows = facts.answers(card, known)
        if options.out:
            write(options.out, hub.page(card, f"OWNER/{checkpoint.card.name}", known))
    return dict(rows), aligned(rows)
