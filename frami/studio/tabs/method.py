"""The Method tab."""

import gradio as gr

from frami.studio.tabs.base import Tab


class Method(Tab):
    title, name = "Method", "method"

    def build(self, teacher: str) -> None:
        gr.Markdown("…")
