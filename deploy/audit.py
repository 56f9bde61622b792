"""Known weaknesses of the locked packages: ``make audit``. A report that was saved does without a network."""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from frami.errors import FramiError
from frami.files import write_json
from frami.hub.space import without_hashes

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements-dev.lock", "requirements-space.lock")
TOOL, KEPT = ROOT / "build" / "tools" / "bin" / "pip-audit", ROOT / "build" / "audit.json"


def main() -> int:
    """0 where nothing is known, 1 where something is, 2 where not all was asked."""
    parser = argparse.ArgumentParser(prog="audit", description=__doc__)
    parser.add_argument("--report", type=Path, help="of an audit before (build/audit.json), or of pip-audit -f json")
    options = parser.parse_args()
    try:
        report = read(options.report) if options.report else ask()
        lines = known(report, locked(ROOT))
    except FramiError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    count = len(report["dependencies"])
    print(
        *lines,
        f"{count} packages as of {report.get('date', 'an unknown day')}: {len(lines)} known weaknesses",
        sep="\n",
    )
    return 1 if lines else 0


def ask() -> dict:
    """Ask the package index, by pip-audit; the answer with its date, which is kept in ``build/audit.json``."""
    command = [TOOL, "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off"]
    for lock in LOCKS:
        command += ["-r", ROOT / lock]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        report = json.loads(done.stdout)
    except (OSError, ValueError) as error:
        raise FramiError(
            "pip-audit gave no report; is there a network? make audit REPORT=FILE takes a kept one"
        ) from error
    report = {"date": datetime.now(UTC).date().isoformat(), **report}
    write_json(KEPT, report)
    return report


def read(path: Path) -> dict:
    """A report from a file. FramiError where it is none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        assert all({"name"} <= set(row) for row in report["dependencies"])
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise FramiError(f"{path} is no report of pip-audit (--format json)") from error
    return report


def known(report: dict, versions: dict[str, str]) -> list[str]:
    """A line for each known weakness. FramiError where the report does not tell of all packages: pip-audit counts those
    that the index knows nothing of as sound."""
    rows = {canonicalize_name(row["name"]): row for row in report["dependencies"]}
    unknown = [name for name, version in versions.items() if rows.get(name, {}).get("version") != version]
    if unknown:
        few = ", ".join(unknown[:3]) + (" …" if len(unknown) > 3 else "")
        raise FramiError(
            f"the report says nothing of {len(unknown)} of {len(versions)} packages in these versions ({few}): the "
            "index could not be asked, or the lock file is newer than the report"
        )
    return [
        f"{name} {row['version']}: {one['id']}, mended in {', '.join(one.get('fix_versions', [])) or 'no version yet'}"
        for name, row in rows.items()
        for one in row.get("vulns", ())
    ]


def locked(root: Path) -> dict[str, str]:
    """Version of each package of the lock files that is for this machine."""
    lines = "".join(without_hashes((root / lock).read_text(encoding="utf-8")) for lock in LOCKS).splitlines()
    rows = [Requirement(line) for line in lines if not line.startswith("#")]
    here = [row for row in rows if row.marker is None or row.marker.evaluate()]
    return {canonicalize_name(row.name): next(iter(row.specifier)).version for row in here}


if __name__ == "__main__":
    sys.exit(main())
