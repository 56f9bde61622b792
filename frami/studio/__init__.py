"""The Gradio interface: tabs, and the services that they show."""

from frami.studio import stubs

stubs.skip()  # before Gradio is loaded

from frami.studio.app import build  # noqa: E402
from frami.studio.theme import launch_options  # noqa: E402

__all__ = ["build", "launch_options"]
