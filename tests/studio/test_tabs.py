"""What a tab is: one class and one entry in a list."""

import gradio as gr

from frami.studio import app
from frami.studio.tabs import TABS, Tab


class Toy(Tab):
    title, name = "Toy", "toy"

    def build(self, teacher: str) -> None:
        self.outputs = [gr.Textbox(teacher, elem_id="toy-teacher")]

    def on_teacher(self, teacher: str) -> str:
        return teacher


def test_a_tab_more_is_one_class_and_one_entry(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    monkeypatch.setattr(app, "TABS", (*TABS, Toy))
    demo = app.build()
    try:
        parts = {part["id"]: part for part in demo.get_config_file()["components"]}
        labels = [part["props"]["label"] for part in parts.values() if part["type"] == "tabitem"]
        assert labels == [tab.title for tab in (*TABS, Toy)]
        ids = {part["props"].get("elem_id"): id for id, part in parts.items()}
        changes = [e for e in demo.get_config_file()["dependencies"] if (ids["teacher"], "change") in e["targets"]]
        assert [ids["toy-teacher"]] in [event["outputs"] for event in changes]
        assert len(changes) == 1 + len(TABS) + 1, "the facts, and each tab"
    finally:
        demo.end_runs()
