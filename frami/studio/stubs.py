"""Gradio without files for editors: as it is imported it parses the source of each component and writes a ``.pyi`` file
beside it, a sixth of the time that the studio takes to start."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder

_MODULE = "gradio.component_meta"


class Finder(MetaPathFinder):
    """Finds Gradio's own module, whose function for these files then does nothing."""

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        """As of ``MetaPathFinder``; None for any other module."""
        spec = PathFinder.find_spec(fullname, path) if fullname == _MODULE else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def without(module) -> None:
            execute(module)
            module.create_or_modify_pyi = write_nothing

        spec.loader.exec_module = without
        return spec


def write_nothing(*_) -> None:
    """In place of ``create_or_modify_pyi``."""


def skip() -> None:
    """To be called before Gradio is imported; later it changes nothing."""
    if _MODULE not in sys.modules:
        sys.meta_path.insert(0, Finder())
