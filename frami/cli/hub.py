"""``frami push``: a teacher or a student to a repository of the Hugging Face Hub."""

from frami import checkpoints, hub
from frami.cli.arguments import checkpoint_path, command


def add(commands) -> None:
    sub = command(commands, "push", _push)
    sub.add_argument("checkpoint", help="name of a teacher or student, a path, or a run (id or folder)")
    sub.add_argument(
        "repository", metavar="OWNER/NAME", help="made where it is missing; files of these names are replaced"
    )
    sub.add_argument("--private", action="store_true", help="where it is made: for its owner alone")


def _push(options) -> tuple[dict, list[str]]:
    name = hub.repository(options.repository)
    checkpoint = checkpoints.load(checkpoint_path(options.checkpoint))
    card = checkpoint.card
    commit = checkpoints.push_to_hub(checkpoint, name, options.private)
    value = {"repository": name, "commit": commit, "name": card.name, "kind": card.kind, "licence": card.licence}
    lines = [f"{card.kind} {card.name} is in {name} ({commit}); anyone who may read it: frami import --hub {name}"]
    if card.licence == "unknown":
        lines.append("its card names no licence; state one in the repository, or import it again with --licence")
    return value, lines
