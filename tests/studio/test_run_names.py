"""Runs beside each other: names, colours, figures with their intervals, and pairs of them."""

import math
import re

import pytest

from frami import checkpoints
from frami.errors import FramiError
from frami.intervals import difference, wilson
from frami.runs import Run, Runs
from frami.studio.services import idle_costs, quick_students, run_pairs, run_titles
from frami.studio.services.distillations import BUNDLED, COLOURS, Distillations
from frami.studio.theme import PAGE
from tests.helpers.queues import SETTINGS, queue_in, until


def run(id: str, created: float = 0.0, **settings) -> Run:
    usual = {"teacher": "fsdd", "student": "tiny", "objective": "frami", "recipe": "frami", "budget": 30.0, "seed": 0}
    settings = {"source": "made"} | usual | settings
    return Run(id, "distill", id, settings, "finished", created, created, None, None, {}, None)


def test_names_say_what_differs_and_nothing_else():
    names = run_titles.titles([run("a"), run("b", recipe="cmi"), run("c", recipe="cmi", seed=3)])
    assert {id: name for id, (name, _) in names.items()} == {
        "a": "tiny · FRAMI · seed 0",
        "b": "tiny · CMI · seed 0",
        "c": "tiny · CMI · seed 3",
    }
    assert run_titles.titles([run("a", student="nano"), run("b")])["a"][0] == "nano · 30 s · seed 0"
    assert run_titles.titles([run("a", lr=0.1), run("b", lr=0.2)])["b"][0] == "tiny · lr 0.2"


def test_equal_runs_are_numbered_and_have_their_time_of_day():
    names = run_titles.titles([run("late", 2.0), run("early", 1.0), run("other", 3.0, seed=1)])
    assert names["early"] == ("tiny · seed 0", True) and names["late"] == ("tiny · seed 0 (2)", True)
    assert names["other"] == ("tiny · seed 1", False)


def test_no_path_of_this_machine_is_in_the_settings():
    (one,) = [quick_students.request("fsdd", 3)]
    words = run_titles.settings_in_words(one.to_dict())
    assert words["bank"] == "ready clips" and words["Seed"] == "3" and not any("/" in word for word in words.values())
    assert run_titles.is_ready(one.to_dict()) and not run_titles.is_ready(one.to_dict() | {"bank": "/other/fsdd/frami"})
    with pytest.raises(FramiError, match="no clips of this teacher are ready"):
        quick_students.request("../fsdd")


def test_every_class_is_among_the_clips_that_are_shown():
    for name in ("fsdd", "esc50"):
        shown = quick_students.shown(name, checkpoints.load)
        assert len(shown["clips"]) == 20 and shown["of"] == 100
        assert len({clip["target"] for clip in shown["clips"]}) == (10 if name == "fsdd" else 20)


def test_any_number_of_runs_have_colours_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    queue = queue_in(tmp_path)
    runs = [queue.add(str(k), SETTINGS) for k in range(12)]
    known = Distillations(queue, checkpoints.load, ["fsdd"])
    rows = {row["id"]: row["colour"] for row in known.value("fsdd")["runs"]}
    assert len(set(rows.values())) == 13 and BUNDLED not in [rows[run.id] for run in runs]
    queue.delete(runs[5].id)
    again = Distillations(queue_in(tmp_path), checkpoints.load, ["fsdd"]).value("fsdd")["runs"]
    assert all(rows[row["id"]] == row["colour"] for row in again), "by the run, not by its place"
    queue.close()


@pytest.mark.parametrize(("theme", "paper"), [(":root", "#faf8fb"), (".dark", "#1d1924")])
def test_colours_of_runs_can_be_seen(theme, paper):
    def light(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return sum(share * x for share, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    text = "".join((PAGE / f"{name}.css").read_text() for name in ("distil", "distil_colours"))
    blocks = re.findall(rf"^{re.escape(theme)} \{{(.*?)\}}", text, re.M | re.S)
    colours = dict(re.findall(r"--frami-r(\d+): (#\w{6})", "".join(blocks)))
    assert len(colours) == COLOURS and len(set(colours.values())) == COLOURS
    for number, colour in colours.items():
        low, high = sorted((light(colour), light(paper)))
        assert (high + 0.05) / (low + 0.05) >= (4.5 if int(number) > 9 else 3), (number, colour)


def test_a_pair_is_told_with_its_uncertainty():
    first = {"confusion": [[40, 10], [10, 40]], "confusion_of": "real"}
    second = {"confusion": [[49, 1], [12, 38]], "confusion_of": "real"}
    found = run_pairs.pair(first, second, ["low", "high"])
    assert found["difference"] == pytest.approx(0.07) and found["clips"] == [100, 100] and found["of"] == "recordings"
    low, high = found["interval"]
    assert low < 0.07 < high and low == pytest.approx(-0.035, abs=0.01)
    assert [row["name"] for row in found["classes"]] == ["low", "high"], "those that differ most come first"
    for other, words in (
        (second | {"confusion_of": "made"}, "do not compare"),
        ({}, "when its run is done"),
        ({"confusion": [[1]], "confusion_of": "real"}, "some of the classes"),
    ):
        with pytest.raises(FramiError, match=words):
            run_pairs.pair(first, other, ["low", "high"])


def test_the_interval_of_a_difference_is_newcombes():
    """His example: 56 of 70 and 48 of 80."""
    assert difference((48, 56), (80, 70)) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference((0, 5), (0, 5))[1] == 1.0 and not math.isnan(wilson(0, 0)[0])


def test_equal_networks_are_measured_once_and_only_when_no_run_computes(monkeypatch):
    asked, state = [], {"busy": True}

    class Worker:
        def run(self, job, source):
            asked.append(source["teacher"])
            return {"macs": 7, "latency_ms": 1.5}

    monkeypatch.setattr(idle_costs, "shared", Worker)
    costs = idle_costs.IdleCosts(lambda: state["busy"])
    assert costs.of("fsdd") is None and costs.of("nothing") is None and not asked
    state["busy"] = False
    costs.of("fsdd")
    until(lambda: costs.of("fsdd") is not None)
    assert costs.of("fsdd") == {"macs": 7, "latency_ms": 1.5}
    assert len(asked) == 1
    costs.close()


def test_another_visitors_runs_are_no_pair(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path))
    queue = queue_in(tmp_path)
    known = Distillations(queue, checkpoints.load, ["fsdd"])
    bundled = next(row["id"] for row in known.value("fsdd")["runs"] if row.get("bundled"))
    assert known.pair("fsdd", [bundled, bundled])["difference"] == 0
    for ids in (["0" * 12, bundled], [bundled, "../x"]):
        with pytest.raises(FramiError, match="no such run"):
            known.pair("fsdd", ids)
    assert known.next_seed("fsdd") == 0
    queue.add("quick", quick_students.request("fsdd").to_dict())
    assert known.next_seed("fsdd") == 1 and Runs().list()[0].settings["seed"] == 0
    queue.close()
