"""What a tab is: one class and one entry in a list."""

import re
from types import SimpleNamespace

import gradio as gr

from frami.studio import app
from frami.studio.tabs import TABS, Tab
from frami.studio.tabs.listen import Listen


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


def test_the_name_of_a_folder_is_no_markdown():
    title = "my *best* [sounds](x) <b>1_2_3</b> `a`\\"
    card = SimpleNamespace(dataset="/a/folder", title=title)
    services = SimpleNamespace(teachers={"mine": card}, galleries=SimpleNamespace(value=lambda name: {}))
    words, _ = Listen(services).on_teacher("mine")
    shown = words.partition("trained to recognise ")[2].partition(" made them up")[0]
    assert re.sub(r"\\(.)", r"\1", shown) == title
    assert not re.search(r"[*_\[\]<>`]", re.sub(r"\\.", "", shown))
