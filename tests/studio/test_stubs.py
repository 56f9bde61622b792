"""The studio starts without the files for editors that Gradio writes."""

import importlib.util
from importlib.machinery import PathFinder

import gradio
import pytest

from frami.studio.stubs import Finder, write_nothing


def loaded(spec):
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gradio_writes_no_files_for_editors():
    """Its module, loaded once more: with its own function, and with ours."""
    with pytest.raises((TypeError, ValueError)):  # it looks for the source
        loaded(PathFinder.find_spec("gradio.component_meta", gradio.__path__)).create_or_modify_pyi(
            object, "object", []
        )
    module = loaded(Finder().find_spec("gradio.component_meta", gradio.__path__))
    assert module.create_or_modify_pyi is write_nothing and module.ComponentMeta.__module__ == "gradio.component_meta"
    assert Finder().find_spec("gradio.blocks", gradio.__path__) is None
    assert Finder().find_spec("gradio.component_meta", ["/nowhere"]) is None
