"""What a wheel has beside the modules: the checkpoints, which lie in a folder of the repository's own.

Setuptools takes the class from here (``pyproject.toml``); an editable installation goes on finding them where they are.
"""

from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[1]
#: What of ``checkpoints/`` is needed where the package is installed.
ENDINGS = (".json", ".safetensors", ".csv")


class WithCheckpoints(build_py):
    """Copies ``checkpoints/`` into the package, where ``frami.paths`` looks first."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._checkpoints().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Files that are made, for those who look what was installed."""
        return super().get_outputs(include_bytecode) + (
            [] if self.editable_mode else list(self._checkpoints().values())
        )

    def get_source_files(self) -> list[str]:
        """Files that a source distribution has: these, and this one, which makes a wheel of it."""
        own = [ROOT / "deploy" / "__init__.py", Path(__file__)]
        return super().get_source_files() + [str(path.relative_to(ROOT)) for path in own] + list(self._checkpoints())

    def _checkpoints(self) -> dict[str, str]:
        """Where each file lies, seen from the repository, and where it goes."""
        found = sorted(path for path in (ROOT / "checkpoints").rglob("*") if path.suffix in ENDINGS)
        names = [path.relative_to(ROOT).as_posix() for path in found if not path.name.startswith(".")]
        return {name: str(Path(self.build_lib, "frami", name)) for name in names}
