"""Recordings that ship, in the studio: listed, heard, credited, on the map at once, and what has no sound says why."""

import base64
import io
import time

import pytest
import soundfile

from frami import checkpoints
from frami.errors import FramiError
from frami.paths import ASSETS
from frami.studio.services import feature_maps
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.recordings import Recordings
from frami.studio.services.syntheses import Syntheses

MAP = "document.querySelector('.frami-explore')"


@pytest.fixture
def nothing_computed(tmp_path, monkeypatch):
    """No data set is here, and no worker may be asked."""
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path / "nowhere"))
    for module in ("feature_maps", "recordings"):
        monkeypatch.setattr(f"frami.studio.services.{module}.shared", lambda: pytest.fail("this is computed"))
    monkeypatch.setattr(feature_maps.maps, "project", lambda layers: pytest.fail("this is projected"))


def test_they_are_listed_and_heard(nothing_computed):
    found = Recordings(ASSETS / "explore", checkpoints.load, ["fsdd", "esc10", "urbansound8k"])
    value = found.value("fsdd")
    assert value["teacher"] == "fsdd" and value["axis"]["bands"] == 80 and len(value["clips"]) == 100
    for row in value["clips"]:
        assert row["real"] and "CC BY-SA 4.0" in row["credit"] and row["id"].startswith("recording/fsdd/")
        assert len(base64.b64decode(row["mel"])) == 80 * row["frames"]
    brief = found.value("esc10", pictures=False)["clips"]
    assert len(brief) == 79 and "mel" not in brief[0] and brief[0]["frames"] > 400
    (whole,) = found.pictures([brief[3]["id"]])
    assert whole["mel"] and brief[3].items() <= whole.items()
    assert sum(row["predicted"] == row["target"] for row in brief) > 60, "the stored logits are of these clips"
    samples, rate = soundfile.read(io.BytesIO(found.sound("recording/fsdd/0")))
    assert rate == 8000 and abs(samples).max() > 0.01
    assert found.value("urbansound8k")["clips"] == []
    for id in (
        *("recording/fsdd/100", "recording/other/0", "recording/fsdd/0@1", "recording/fsdd/0~frami"),
        *("sample/fsdd/0", "recording/urbansound8k/0", "recording/../0", None, 3),
    ):
        with pytest.raises(FramiError):
            found.sound(id)
    for ids in (["recording/fsdd/0"] * 49, "recording/fsdd/0", [3]):
        with pytest.raises(FramiError):
            found.pictures(ids)


@pytest.mark.parametrize("name", ["digits", "esc50", "urbansound8k"])
def test_the_map_with_recordings_needs_no_computation(name, nothing_computed, tmp_path):
    found = FeatureMaps(ASSETS / "explore", Syntheses(tmp_path), checkpoints.load, [name])
    keys = [key for _, key in found.choices(name, [])]
    assert keys[-1] == "real"
    found.load_teacher(name)
    begin = time.perf_counter()
    value = found.view(name, keys)
    assert time.perf_counter() - begin < 2
    assert len(value["umap"]) == len(value["pca"]) == 2 * 400 and found.more(name, keys, value["stamp"]) == {
        "pending": None
    }
    assert [row["title"] for row in value["table"]["rows"]][-2:] == ["held-out recordings", "recordings it learnt from"]
    without, alone = found.view(name, keys[:-1]), found.view(name, ["real"])
    assert without["umap"] == value["umap"][:600] and alone["umap"] == value["umap"][600:], "ticks move no point"
    clip = found.clip(name, keys, f"explore/{name}/real/7")
    assert clip["clip"]["credit"] and [near["real"] for near in clip["near"] if near.get("real")] == [True, True]
    if name != "urbansound8k":
        assert found.sound(f"explore/{name}/real/7")[:4] == b"RIFF" and clip["clip"]["mel"]
    else:
        assert "CC BY-NC" in clip["clip"]["soundless"] and not clip["clip"]["mel"]
        with pytest.raises(FramiError, match="without its sound"):
            found.sound(f"explore/{name}/real/7")
    found.close()


@pytest.mark.slow
def test_what_a_visitor_meets(open_page):
    """A fresh clone: recordings to try, and on the map, with their credits; a point without sound says why."""
    page = open_page()
    page.get_by_role("tab", name="Try it").click()
    page.wait_for_selector(".frami-samples[data-teacher=fsdd]", timeout=30_000)
    group = page.locator(".frami-samples section", has_text="was not trained on")
    group.locator("button[data-id]").first.click()
    page.wait_for_selector(".frami-try[data-state=predicted]", timeout=30_000)
    assert "CC BY-SA 4.0" in page.locator(".frami-try").inner_text()
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector(".frami-explore[data-drawn][data-pending=no]", timeout=30_000)

    ids = page.evaluate(f"{MAP}.ids().filter(id => id.includes('/real/'))")
    assert len(ids) == 100
    page.locator(".frami-explore .stage").scroll_into_view_if_needed()
    page.mouse.click(*page.evaluate(f"{MAP}.where('{ids[0]}')"))
    page.wait_for_selector(".frami-detail .credit", timeout=10_000)
    assert page.locator(".frami-detail .credit a").get_attribute("rel") == "noopener noreferrer"
    page.locator("#teacher input[value=urbansound8k]").check()
    page.wait_for_selector(".frami-explore[data-teacher=urbansound8k][data-pending=no]", timeout=30_000)
    page.locator("#explore-banks label", has_text="FRAMI fine").click()
    page.locator("#explore-banks label", has_text="CMI").click()
    page.locator("#explore-banks label", has_text="DAFL").click()
    page.wait_for_selector(".frami-explore[data-points='100']", timeout=10_000)
    page.mouse.click(*page.evaluate(f"{MAP}.where({MAP}.ids()[3])"))
    page.wait_for_selector(".frami-detail .soundless", timeout=10_000)
    assert "CC BY-NC" in page.locator(".frami-detail").inner_text()
