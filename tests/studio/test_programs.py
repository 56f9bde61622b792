"""The API and the MCP server: what programs get, whose runs they see, and what is refused."""

import asyncio
import json
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client
from gradio_client.exceptions import AppError

from frami.errors import FramiError
from frami.studio import programs
from frami.studio.services import shared

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "programs.md").read_text()
TOKEN, OTHER = "a" * 24, "b" * 24


def client(address, token=TOKEN) -> Client:
    return Client(address, headers={"x-frami-visitor": token}, verbose=False)


@pytest.mark.slow
def test_the_snippets_of_the_docs_run(studio, capsys):
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(code.replace("http://127.0.0.1:7860/", studio.address), names)
    assert names["run"]["status"] == "finished" and names["run"]["clips"] == 2
    assert "The teacher" in capsys.readouterr().out
    found = names["studio"].view_api(return_format="dict", print_info=False)
    assert list(found["named_endpoints"]) == [f"/{name}" for name in programs.NAMES]
    assert not found["unnamed_endpoints"], "events of the page are private"


@pytest.mark.slow
def test_the_map_and_a_distillation(studio):
    ask = client(studio.address)
    answer = ask.predict(teacher="fsdd", api_name="/feature_map")
    points = answer["points"]
    assert len(points[0]["pca"]) == 2 and points[0]["target"] == "zero"
    layers = Counter(point["id"].split("/")[2] for point in points)
    assert layers["real"] == 100 and layers.total() == 400, "made clips, and the recordings that ship"
    run = ask.predict(teacher="fsdd", student="nano", seconds=2, api_name="/distill")
    assert run["kind"] == "distillation" and run["status"] in ("waiting", "running") and run["run"]
    assert ask.predict(run["run"], api_name="/run_status")["run"] == run["run"]


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ("no such", "no such clip"),
        ("../../etc/passwd", "no such clip"),
        ("gallery/fsdd/99999", "no such clip, or one without a sound"),
        ("recording/fsdd/99999", "no such recording"),
        ("run/0123456789ab/0", "only clips of a gallery and recordings can be named"),
        ({"path": "/etc/passwd"}, "this sound is not there: upload it first"),
        ({"path": "\0"}, "the sound holds invalid characters"),
        ({}, "the sound is missing"),
        (3, "the sound"),
        (None, "the sound"),
    ],
)
def test_no_other_file_is_read(functions, sound, words):
    with pytest.raises(FramiError, match=f"^{re.escape(words)}"):
        functions.classify(sound, "fsdd", [])


@pytest.mark.parametrize("sound", [{"path": "/etc/passwd"}, {"path": "\0"}])
def test_gradio_passes_no_other_file_on(studio, sound):
    with pytest.raises((AppError, httpx.HTTPStatusError)) as refused:
        client(studio.address).predict(sound, api_name="/classify")
    assert re.search("this sound is not there|the sound holds invalid|400 Bad Request", str(refused.value))
    assert "reference" not in str(refused.value)


@pytest.mark.parametrize("sound", ["recording/fsdd/0", "gallery/fsdd/0", "file"])
def test_a_sound_is_classified(functions, sound):
    if sound == "file":
        folder = Path(get_upload_folder()) / "of-a-program"
        folder.mkdir(parents=True, exist_ok=True)
        sound = {"path": shutil.copy(functions._services.recordings.path("recording/fsdd/0"), folder)}
    found = functions.classify(sound, "fsdd", ["bundled:fsdd-tiny"])
    assert [row["title"] for row in found["networks"]] == ["The teacher", "tiny · bundled"]
    assert all(row["top"][0][0] == "zero" and row["milliseconds"] > 0 for row in found["networks"])


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("list_clips", {"teacher": "no such"}, "no such teacher; there are"),
        ("list_clips", {"run": "0123456789ab"}, "no such run"),
        ("run_status", {"run": "no such"}, "no such run"),
        ("synthesize", {"classes": ["no such"]}, "no such class; there are"),
        ("synthesize", {"clips": 1e9}, "clips is outside of 1 to"),
        ("synthesize", {"recipe": "no such"}, "no such recipe; there are"),
        ("distill", {"student": "huge", "seconds": 2}, "no such student; there are"),
        ("distill", {"seconds": True}, "seconds is no number"),
        ("feature_map", {"layers": "all"}, "layers"),
        ("feature_map", {"token": 7}, "token"),
    ],
)
def test_refusals_say_what_to_do(studio, name, given, words):
    with pytest.raises(AppError) as refused:
        client(studio.address).predict(**given, api_name=f"/{name}")
    assert words in str(refused.value) and "reference" not in str(refused.value)


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOME", str(tmp_path_factory.mktemp("home")))
        services = shared.start()
        yield programs._Programs(services)
        services.close()


@pytest.fixture
def hosted_functions(monkeypatch, fresh_home):
    monkeypatch.setenv("FRAMI_HOSTED", "1")
    services = shared.start()
    yield programs._Programs(services)
    services.close()


@pytest.mark.slow
def test_a_shared_studio_asks_who_it_is(hosted_functions):
    few = {"teacher": "fsdd", "clips": 1, "steps": 1}
    with pytest.raises(Exception, match="say who you are"):
        hosted_functions.synthesize(**few)
    run = hosted_functions.synthesize(**few, token=TOKEN)["run"]
    assert hosted_functions.run_status(run, token=TOKEN)["kind"] == "synthesis"
    for stranger in ("", OTHER):
        with pytest.raises(Exception, match="no such run"):
            hosted_functions.run_status(run, token=stranger)
        with pytest.raises(Exception, match="no such run"):
            hosted_functions.list_clips(run=run, token=stranger)
    with pytest.raises(Exception, match="time for each distillation"):
        hosted_functions.distill("fsdd", seconds=700, token=TOKEN)


@pytest.mark.slow
def test_the_tools_of_an_assistant(studio):
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamablehttp_client

    async def visit():
        async with (
            streamablehttp_client(f"{studio.address}gradio_api/mcp/") as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            answer = await session.call_tool("list_clips", {"teacher": "fsdd"})
            refused = await session.call_tool("run_status", {"run": "no such"})
        return tools, answer, refused

    with ThreadPoolExecutor(1) as thread:  # this one may have the browser's loop
        tools, answer, refused = thread.submit(asyncio.run, visit()).result()
    assert set(tools) == set(programs.NAMES)
    assert "Classify a sound" in tools["classify"].description
    assert "alone" in tools["synthesize"].description and tools["synthesize"].inputSchema["properties"]["steps"]
    assert len(json.loads(answer.content[0].text)["clips"]) == 30
    assert refused.isError and "no such run" in refused.content[0].text
