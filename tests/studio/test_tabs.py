"""What a tab is: one class and one entry in a list."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest

from frami.errors import FramiError
from frami.hosting.owners import EVERYONE
from frami.hosting.presence import Presence
from frami.inversion import InversionSettings
from frami.studio import app
from frami.studio.services import gpu_events
from frami.studio.services.syntheses import Syntheses
from frami.studio.tabs import TABS, Tab
from frami.studio.tabs.distil import Distil
from frami.studio.tabs.listen import Listen
from frami.studio.tabs.synthesize import Synthesize
from frami.studio.theme import launch_options
from tests.helpers.queues import SETTINGS, queue_in, status
from tests.helpers.visitors import named


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
        renewed = [event for event in changes if event["outputs"]]  # else it only ends what was asked for the other one
        assert len(renewed) == 1 + (len(TABS) - 1) + 1, "the facts, and each tab but the one of all teachers"
    finally:
        demo.end_runs()


def test_the_name_of_a_folder_is_no_markdown():
    title = "my *best* [sounds](x) <b>1_2_3</b> `a`\\"
    card = SimpleNamespace(dataset="/a/folder", title=title)
    galleries = SimpleNamespace(value=lambda name: {}, clips_of=lambda name: ([], {}))
    services = SimpleNamespace(teachers={"mine": card}, galleries=galleries, recordings=None)
    words, *_ = Listen(services).on_teacher("mine")
    shown = words.partition("trained to recognise ")[2].partition(" made them up")[0]
    assert re.sub(r"\\(.)", r"\1", shown) == title
    assert not re.search(r"[*_\[\]<>`]", re.sub(r"\\.", "", shown))


def test_short_limits_are_rounded_to_what_the_page_can_do(monkeypatch):
    """A megabyte and a second at least; the server counts what is less."""
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    for said, size in (("0.4", "1mb"), ("2.2", "3mb"), ("10", "10mb")):
        monkeypatch.setenv("FRAMI_LIMITS", f"upload={said}")
        assert launch_options()["max_file_size"] == size


@pytest.mark.parametrize("shared", [False, True])
def test_links_are_offered_where_others_can_open_them(tmp_path, monkeypatch, shared):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    monkeypatch.setenv("FRAMI_HOSTED", str(int(shared)))
    monkeypatch.setenv("FRAMI_LIMITS", "silence=0")
    demo = app.build()
    try:
        parts = {part["props"].get("elem_id"): part["props"] for part in demo.get_config_file()["components"]}
        assert parts["distil"]["props"]["shareable"] is shared
        assert [fn.concurrency_limit for fn in demo.fns.values() if fn.name == "_again"] == [None]
        if shared:
            assert parts["visitor"]["props"]["pause"] == 1
            assert demo.observation.health(demo.events)["workers"]["housekeeping"] == "alive"
    finally:
        demo.end_runs()


def test_however_many_look_at_a_run_others_are_served(tmp_path, monkeypatch, teacher):
    """Viewers of a link wait without a thread of the server, and see the run end."""
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    ada, runs = named("ada"), Syntheses(tmp_path)
    settings = InversionSettings.of(teacher, "frami", samples=2, seconds=0.3, batch=2, steps=2)
    run = runs.start(teacher, settings, who=ada, queued=False)
    here = Presence(tmp_path / "visitors", 60, 60)
    tab = Synthesize(SimpleNamespace(syntheses=runs, presence=here, load_teacher=None))
    tab.who = lambda: named("ben", link)
    link = runs.share(run.id, ada)
    shown = []

    async def look():
        async for drawn, *_ in tab._again(""):
            shown.append(drawn["value"]["state"])
            assert not drawn["value"]["shareable"], "a viewer has no link to give away"

    async def all_look():
        looks = [asyncio.create_task(look()) for _ in range(60)]
        while len(shown) < 60:
            await asyncio.sleep(0.01)
        run.stopped = run.done = True
        await asyncio.wait_for(asyncio.gather(*looks), 10)

    with ThreadPoolExecutor(1) as elsewhere:  # a browser of another test may have a loop in this thread
        elsewhere.submit(lambda: asyncio.run(all_look())).result()
    assert shown == ["waiting"] * 60 + ["stopped"] * 60
    (drawn, *_), *_ = tab._follow(run, ada)
    assert drawn["value"]["shareable"]
    monkeypatch.setenv("FRAMI_HOSTED", "0")
    (drawn, *_), *_ = tab._follow(run, EVERYONE)
    assert drawn["value"]["own"] and not drawn["value"]["shareable"], "nobody else could open it"
    runs.close()


def test_runs_that_wait_for_the_lent_gpu_are_not_stopped(tmp_path, monkeypatch):
    """One shown as stopped could be resumed, and be made twice."""
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    queue = queue_in(tmp_path)
    runs = [queue.add(str(n), SETTINGS, queued=False) for n in range(3)]
    tab = Distil(SimpleNamespace(distillations=SimpleNamespace(queue=queue), gpu=None))
    monkeypatch.setattr(tab, "_add", lambda *_, **__: runs)
    seen = []

    def made(queue, run, gpu):
        with queue.elsewhere(run):
            seen.append([status(queue, one) for one in runs])
            yield None

    monkeypatch.setattr(gpu_events, "distil", made)
    work = tab._begin_on_gpu("fsdd", 10, 0, [], False)
    next(work)
    with pytest.raises(FramiError, match="only a run that was stopped"):
        queue.resume(runs[2].id)
    assert len(list(work)) == 3
    assert seen == [["starting"] * 3, ["stopped", "starting", "starting"], ["stopped", "stopped", "starting"]]
    assert [status(queue, run) for run in runs] == ["stopped"] * 3
