"""The package ``spaces`` itself with a stand-in for its host: the page with its patches of PyTorch, its forked
processes and its errors. There is no GPU here: slices compute on the CPU."""

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from frami.bench.visitors import Record, Visitor
from frami.workers.zerogpu import USUAL
from tests.helpers.servers import serving
from tests.helpers.studio import ROOT, Studio, running_studio
from tests.helpers.zerogpu_host import Host, token

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("spaces") is None, reason="no package spaces: pip install spaces"),
]

#: ``app.py`` on such a Space whose GPU is the CPU, and of the kind whose seconds count one and a half times.
PROGRAM = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT)!r})
from frami.workers import zerogpu
find = zerogpu.find

def found():
    gpu = find()
    cuda, client = sys.modules["spaces.zero.torch"], sys.modules["spaces.zero.client"]
    cuda.init = cuda.move = lambda *_, **__: None
    client.config.get_config = lambda: {{"duration_factor": 1.5, "xlarge_threshold": None}}
    gpu.device = "cpu"
    return gpu

zerogpu.find = found
runpy.run_path({str(ROOT / "app.py")!r}, run_name="__main__")
"""


@dataclass
class Space:
    """The page of such a Space and its host."""

    studio: Studio
    host: Host

    def visitor(self, name: str | None) -> Visitor:
        """One whose page lies in the host's frame, which gives it a token; None: one that has none."""
        made = Visitor(self.studio.address, Record(), 0, time.monotonic() + 120, 1.0)
        made._web.headers["x-gradio-user"] = "app"
        if name:
            made._web.headers["x-ip-token"] = token(name)
        return made

    def clips(self, name: str | None, steps: int = 6) -> dict:
        """What the page shows when a visitor has made two clips."""
        made = self.visitor(name)
        (shown, *_) = made._happen(made._event("generate", "click"), samples=2, steps=steps)
        return shown["value"]


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("zerogpu")
    program = folder / "app.py"
    program.write_text(PROGRAM)
    with serving(Host()) as host, running_studio(folder, program=program, FRAMI_HOSTED="1", **host.settings) as studio:
        yield Space(studio, host)


@pytest.fixture(autouse=True)
def as_usual(space):
    """The host as it is usually."""
    space.host.asked.clear()
    yield
    space.host.quota, space.host.longest, space.host.full, space.host.reuse = 120, 120, False, False


def test_a_visitors_token_pays_for_a_process_that_has_the_gpu(space):
    shown = space.clips("ada")
    assert shown["state"] == "done" and not shown.get("notes"), shown
    (asked,), (allowed,), (released,) = map(space.host.calls, ("schedule", "allow", "release"))
    assert asked["token"] == token("ada") and int(asked["durationSeconds"]) == USUAL * 1.5
    assert int(allowed["pid"]) != space.studio.process.pid and released["fail"] == "false"


def test_a_process_that_is_lent_again_goes_on(space):
    space.host.reuse = True
    first, second = (space.clips("ada") for _ in range(2))
    assert first["state"] == second["state"] == "done" and first["run"] != second["run"]
    assert len(space.host.calls("allow")) <= 1 and len(space.host.calls("schedule")) == 2


def test_what_a_visitor_has_left_is_told_in_the_hosts_seconds(space):
    """16 s count as 24."""
    space.host.quota = 24
    shown = space.clips("ben")
    assert [int(asked["durationSeconds"]) for asked in space.host.calls("schedule")] == [30, 24]
    assert shown["state"] == "done" and not shown["notes"]


@pytest.mark.parametrize(
    ("visitor", "host", "told"),
    [
        ("cleo", {"quota": 9}, "(You have exceeded your ZeroGPU quota (30s requested vs. 9s left)"),
        ("cleo", {"longest": 10}, "(The requested GPU duration (30s) is larger than the maximum allowed)"),
        ("cleo", {"full": True}, "(No GPU was available after 60s Create a free account to get a higher priority"),
        (None, {}, "(Space app has reached its GPU limit"),
    ],
)
def test_what_the_host_refuses_is_made_on_the_cpu_and_said(space, visitor, host, told):
    for name, value in host.items():
        setattr(space.host, name, value)
    shown = space.clips(visitor)
    (note,) = shown["notes"]
    assert shown["state"] == "done" and told in note and "on the CPU" in note and not space.host.calls("allow")


def test_a_short_distillation_is_made_there(space):
    made = space.visitor("dora")
    values = {"distil-students": ["nano"], "distil-recipes": ["frami-flash"], "distil-seconds": 10}
    (shown,) = made._happen(made._event("distil-start", "click"), **values)
    runs = made._call("distil", "runs", {"teacher": shown["teacher"], "seen": {}, "known": True})["runs"]
    run = next(run for run in runs if run["id"] == shown["begun"])
    assert run["status"] == "finished" or "took the budget" in run["error"], run  # on a busy machine
    assert {asked["token"] for asked in space.host.calls("schedule")} == {token("dora")}
    assert len(space.host.calls("release")) == len(space.host.calls("schedule"))
