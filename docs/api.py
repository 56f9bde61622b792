"""The reference of all modules, out of their docstrings: ``python docs/api.py FOLDER`` (``make docs``: docs/api/)."""

import pkgutil
import re
import sys
from functools import cached_property
from pathlib import Path

import pdoc.doc
import pdoc.render
from jinja2 import pass_context
from pdoc.render_helpers import to_markdown_with_context

import frami


class Module(pdoc.doc.Module):
    """A module that shows all modules below it, those too that ``__all__`` leaves out."""

    @cached_property
    def submodules(self) -> list[pdoc.doc.Module]:
        below = pkgutil.iter_modules(getattr(self.obj, "__path__", []), f"{self.fullname}.")
        return [Module.from_name(found.name) for found in below if found.name != "frami.__main__"]

    def walk(self) -> dict[str, "Module"]:
        """Itself and all modules below it, by name."""
        return {self.fullname: self} | {k: v for module in self.submodules for k, v in module.walk().items()}


@pass_context
def _to_markdown(context, docstring: str) -> str:
    """Markdown in which each line ``name : what it is`` begins a line of its own."""
    return to_markdown_with_context(context, re.sub(r"\n(?=[`\w][\w`, ]* : )", "  \n", docstring))


def write(folder: Path) -> list[str]:
    """Write a page of each module to ``folder``, an index and a search index; returns the modules' names."""
    modules = Module.from_name("frami").walk()
    pdoc.render.configure(footer_text=f"frami {frami.__version__}", show_source=False)
    pdoc.render.env.filters["to_markdown"] = _to_markdown
    pages = {f"{name.replace('.', '/')}.html": pdoc.render.html_module(it, modules) for name, it in modules.items()}
    pages |= {"index.html": pdoc.render.html_index(modules), "search.js": pdoc.render.search_index(modules)}
    for name, page in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(page, encoding="utf-8")
    return list(modules)


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[1])))} modules: {sys.argv[1]}/index.html")
