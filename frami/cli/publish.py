"""``frami publish``: the studio as a Space of the Hugging Face Hub."""

from dataclasses import asdict
from pathlib import Path

from frami import hub
from frami.checkpoints import read_card
from frami.cli.arguments import command
from frami.errors import FramiError
from frami.hub import overview, space
from frami.paths import BUNDLED, PACKAGE


def add(commands) -> None:
    sub = command(commands, "publish", _publish)
    sub.add_argument(
        "repository",
        metavar="OWNER/NAME",
        nargs="?",
        help="the Space; made where it is missing, else brought up to date",
    )
    sub.add_argument("--out", metavar="FOLDER", type=Path, help="write the Space's files here, and upload nothing")
    sub.add_argument("--dry-run", action="store_true", help="list what would go, and upload nothing; needs no network")
    sub.add_argument("--private", action="store_true", help="where it is made: for its owner alone")


def _publish(options) -> tuple[dict, list[str]]:
    root = PACKAGE.parent
    if not (options.repository or options.out or options.dry_run):
        raise FramiError("name the Space, OWNER/NAME; or a folder for its files, --out FOLDER")
    if options.out and (options.repository or options.dry_run):
        raise FramiError("--out writes a folder and uploads nothing; leave out OWNER/NAME and --dry-run, or --out")
    name = hub.repository(options.repository) if options.repository else ""
    files = space.contents(root, overview.text([asdict(read_card(path)) for path in sorted(BUNDLED.glob("*.json"))]))
    sizes = {file: space.size(kept) for file, kept in files.items()}
    changed = space.uncommitted(root)
    value = {"repository": name, "files": sizes, "bytes": sum(sizes.values()), "uncommitted": changed}
    sum_line = f"{len(sizes)} files, {value['bytes'] / 1e6:.1f} MB"
    if options.dry_run:
        lines = [f"{size / 1e3:>9,.1f} kB  {file}" for file, size in sizes.items()]
        refused = [f"not committed yet, which an upload refuses: {_few(changed)}"] if changed else []
        return value, [*lines, f"{sum_line} would go to {name or 'a Space'}", *refused]
    if options.out:
        space.write(files, options.out)
        return value | {"out": str(options.out)}, [f"{options.out}: {sum_line}"]
    if changed:
        raise FramiError(f"not committed: {_few(changed)}; commit first, so that what is published can be found again")
    address = hub.publish(files, name, options.private, f"FRAMI Studio at {space.commit(root)}")
    return value | {"commit": address}, [f"{sum_line} are in the Space {name} ({address})"]


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
