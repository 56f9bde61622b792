"""The Gradio interface: tabs, and the services that they show."""

from frami.studio.app import build
from frami.studio.theme import launch_options

__all__ = ["build", "launch_options"]
