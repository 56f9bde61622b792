"""Several clips of the map at once: heard, filtered, selected and downloaded; a sound of one's own among them; what a
student makes of them; how long drawing takes."""

import csv
import io
import time
import zipfile
from pathlib import Path

import pytest
import soundfile
import torch

from frami import checkpoints
from frami.errors import FramiError
from frami.features import diversity
from frami.hosting.limits import LimitError, Limits
from frami.hosting.owners import Visitor
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.given import GivenSounds
from frami.studio.services.map_places import NEAREST, MapPlaces, place
from frami.studio.services.map_selections import COLUMNS, MapSelections
from frami.studio.services.map_students import MapStudents
from frami.studio.services.syntheses import Syntheses
from frami.studio.tabs import explore

ROOT = Path(__file__).parents[2]
MAP = "document.querySelector('.frami-explore')"
KEYS = ["frami", "cmi"]


@pytest.fixture(scope="module")
def feature_maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_DATA", str(folder / "nowhere"))
        found = FeatureMaps(
            ROOT / "assets" / "explore", Syntheses(folder), checkpoints.load, ["fsdd", "esc10", "urbansound8k"]
        )
        yield found
        found.close()


@pytest.mark.slow
def test_how_varied_a_selection_is(feature_maps):
    rows = {"frami": [0, 1, 2, 50], "cmi": [3]}
    found = MapSelections(feature_maps).measures("fsdd", KEYS, rows)
    frami, cmi = feature_maps.shown("fsdd", KEYS).layers
    features = torch.cat([frami.layer.pooled[[0, 1, 2, 50]], cmi.layer.pooled[[3]]])
    assert found["vendi"] == pytest.approx(diversity.vendi(features), abs=0.01)
    assert found["distance"] == pytest.approx(float(torch.pdist(features.double()).mean()), abs=0.01)
    assert found["distance"] == pytest.approx(diversity.mean_distance(features), abs=0.01)
    assert f"{found['vendi']:.1f} wholly different sounds" in found["words"] and "all 200 clips" in found["words"]


@pytest.mark.parametrize(
    "rows",
    [
        None, [], {"dafl": [0, 1]}, {"frami": 3}, {"frami": [-1, 0]}, {"frami": [0, 100]}, {"frami": [True, 1]},
        {"frami": [0.5, 1]}, {"frami": ["0", 1]}, {"frami": [0, 0]}, {"nobody": []}, {"frami": [[0], 1]},
        {"frami": [{}]},
    ],
)  # fmt: skip
def test_a_selection_is_checked(feature_maps, rows):
    selection, bundle = explore.selection_functions(MapSelections(feature_maps))
    request = {"teacher": "fsdd", "keys": KEYS, "rows": rows}
    assert "error" in selection(request)
    if rows not in ({"frami": [0, 0]}, {"frami": [-1, 0]}):  # one clip can be downloaded
        assert "error" in bundle(request)


@pytest.mark.slow
def test_a_download_has_sounds_and_a_table(feature_maps):
    name, content = MapSelections(feature_maps).bundle("fsdd", KEYS, {"cmi": [7], "frami": [2]})
    archive = zipfile.ZipFile(io.BytesIO(content))
    folder = name.removesuffix(".zip")
    rows = list(csv.DictReader(io.StringIO(archive.read(f"{folder}/clips.csv").decode())))
    assert tuple(rows[0]) == COLUMNS and [row["id"] for row in rows] == ["explore/fsdd/frami/2", "explore/fsdd/cmi/7"]
    shown = feature_maps.shown("fsdd", KEYS)
    assert float(rows[1]["pca_1"]) == pytest.approx(float(shown.pca[100 + 7, 0]), abs=0.001), "its own place"
    assert float(rows[1]["umap_2"]) == pytest.approx(float(shown.umap[100 + 7, 1]), abs=0.001)
    for row in rows:
        samples, rate = soundfile.read(io.BytesIO(archive.read(f"{folder}/{row['file']}")))
        assert rate == shown.teacher.spec.sample_rate and abs(samples).max() > 0.001
        assert row["kind"] == "made" and row["recipe"] in ("FRAMI fine", "CMI") and 0 <= float(row["confidence"]) <= 1


@pytest.mark.slow
def test_a_download_lists_recordings_that_do_not_ship(feature_maps):
    view = feature_maps.view("urbansound8k", ["real"])
    (layer,) = [one for one in view["layers"] if one["real"]]
    assert layer["soundless"] == [*range(len(layer["labels"]))], "the page skips these"
    name, content = MapSelections(feature_maps).bundle("urbansound8k", ["real"], {"real": [0, 3]})
    archive, folder = zipfile.ZipFile(io.BytesIO(content)), name.removesuffix(".zip")
    rows = list(csv.DictReader(io.StringIO(archive.read(f"{folder}/clips.csv").decode())))
    assert archive.namelist() == [f"{folder}/clips.csv"] and [row["file"] for row in rows] == ["", ""]
    assert all("is not given on here" in row["without_sound"] for row in rows)


def test_a_download_has_a_limit(feature_maps):
    hosted = MapSelections(feature_maps, Limits({"selection": 3}))
    with pytest.raises(LimitError, match="3 clips"):
        hosted.bundle("fsdd", KEYS, {"frami": [0, 1, 2, 3]})
    with pytest.raises(FramiError, match="at most 200"):
        MapSelections(feature_maps).bundle(
            "fsdd", ["frami", "cmi", "dafl"], {k: [*range(100)] for k in ("frami", "cmi", "dafl")}
        )


def test_a_sound_lies_among_its_nearest():
    there = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [50.0, 50.0], [9.0, 9.0], [8.0, 8.0], [100.0, 0.0]])
    assert place(torch.tensor([0.0, 1, 1, 1, 1, 1, 1]), there).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert place(torch.tensor([1.0, 1e9]), there[:2]).tolist() == pytest.approx([0, 0], abs=1e-3)
    far = torch.tensor([1.0, 1, 1, 9, 1, 1, 9])
    assert place(far, there).tolist() == pytest.approx(there[[0, 1, 2, 4, 5]].mean(0).tolist()) and NEAREST == 5


@pytest.mark.slow
def test_a_given_sound_is_placed_for_its_visitor_alone(feature_maps):
    given, ada, bob = GivenSounds(), Visitor("ada"), Visitor("bob")
    places, path = MapPlaces(feature_maps, given), sorted((ROOT / "assets").rglob("*seven*.*"))[0]
    token = given.add(path, "", "your sound", ada)
    found = places.placed("fsdd", KEYS, token, ada)
    assert len(found["near"]) == 5 and set(found["places"]) == {"pca", "umap"} and found["clip"]["frames"] > 5
    frame = feature_maps.view("fsdd", KEYS)["frame"]["umap"]
    assert frame[0] <= found["places"]["umap"][0] <= frame[1] and frame[2] <= found["places"]["umap"][1] <= frame[3]
    assert places.sound(found["clip"]["id"], ada)[:4] == b"RIFF"
    for who, sought in ((bob, token), (ada, "0" * 16), (ada, "")):
        with pytest.raises(FramiError, match="give it again"):
            places.placed("fsdd", KEYS, sought, who)
    wav, *_, placed = explore.server_functions(feature_maps, lambda: bob, places)
    assert "error" in placed({"teacher": "fsdd", "keys": KEYS, "token": token}) and "error" in wav(found["clip"]["id"])


@pytest.mark.slow
def test_a_student_is_compared_with_its_teacher(feature_maps):
    class Students:
        students = staticmethod(lambda name, who: [("tiny", "bundled:fsdd-tiny")])
        path = staticmethod(lambda key: checkpoints.resolve(key.partition(":")[2]))

    asked = MapStudents(feature_maps, Students())
    with pytest.raises(FramiError, match="student"):
        asked.agreement("fsdd", KEYS, "bundled:esc10-tiny")
    deadline = time.time() + 120
    while (found := asked.agreement("fsdd", KEYS, "bundled:fsdd-tiny"))["pending"] and time.time() < deadline:
        time.sleep(0.2)
    layers = feature_maps.shown("fsdd", KEYS).layers
    same = [
        float((torch.tensor(found["layers"][one.layer.key]) == one.layer.predicted).float().mean()) for one in layers
    ]
    assert same[0] > 0.5 and all(0 <= share <= 1 for share in same), "a distilled student mostly agrees"


# ----------------------------------------------------------------------------------------------------- in a browser


def at(page, id):
    return page.evaluate(f"id => {MAP}.where(id)", id)


@pytest.mark.slow
def test_the_map_is_played(open_page, tmp_path):
    page = open_page()
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector(".frami-explore[data-teacher=fsdd][data-drawn]", timeout=30_000)
    page.wait_for_selector(".frami-explore[data-pending=no]", timeout=60_000)
    counter, legend = page.locator(".frami-explore .counter"), page.locator(".frami-explore .legend button")
    total = int(page.evaluate(f"{MAP}.dataset.points"))
    assert counter.inner_text() == f"{total} clips"
    stage = page.locator(".frami-explore .stage")
    stage.scroll_into_view_if_needed()

    # the pointer plays; its words cover neither the point nor its neighbours
    id = "explore/fsdd/frami/20"
    page.mouse.move(*at(page, id))
    page.wait_for_function(
        f"{MAP}.dataset.hovered && frami.player.dataset.clip === {MAP}.dataset.hovered", timeout=60_000
    )
    hovered = page.evaluate(f"{MAP}.dataset.hovered")
    assert page.evaluate(f"{MAP}.dataset.selected") is None, "hovering keeps nothing"
    box, (x, y) = page.locator(".frami-explore .tip").bounding_box(), at(page, hovered)
    assert not (box["x"] < x < box["x"] + box["width"] and box["y"] < y < box["y"] + box["height"])
    page.locator(".frami-explore .switch", has_text="Play on hover").click()
    assert page.evaluate("localStorage.getItem('frami-play-on-hover')") == "no"

    # filters: what is left is counted, nothing left is said, one click resets
    page.locator(".frami-explore .filters summary").click()
    page.locator(".frami-explore .filters label", has_text="Wrong").click()
    some = int(counter.inner_text().split(" of ")[0])
    assert 0 < some < total and counter.inner_text() == f"{some} of {total} clips"
    field = page.locator(".frami-explore .filters input[type=text]")
    for name in ("seven", "one"):
        field.fill(name)
        field.press("Tab")
    assert page.locator(".frami-explore .chip").count() == 2
    page.locator(".frami-explore .filters input[type=range]").nth(1).fill("0")
    page.locator(".frami-explore .filters label", has_text="Right").click()  # what is right is surer than that
    page.locator(".frami-explore .empty button").click()
    assert counter.inner_text() == f"{total} clips" and page.locator(".frami-explore .chip").count() == 0
    page.locator(".frami-explore .filters summary").click()

    # the legend: several groups at once; what they show is selected by a button
    legend.nth(7).click()
    legend.nth(1).click()
    shown = int(counter.inner_text().split(" of ")[0])
    page.locator(".frami-explore .counting .pick").click()
    panel = page.locator(".frami-explore .selection")
    assert panel.locator("h3").inner_text() == f"{shown} clips selected"
    page.wait_for_function("document.querySelector('.frami-explore .variety').textContent.includes('Vendi')")
    panel.locator(".zoom-to").click()
    assert page.locator(".frami-explore .stage.zoomed").count() == 1
    page.locator(".frami-explore canvas").first.focus()
    for _ in range(2):
        page.keyboard.press("Escape")
    assert not panel.is_visible() and counter.inner_text() == f"{total} clips"
    page.keyboard.press("0")
    assert page.locator(".frami-explore .stage.zoomed").count() == 0

    # Shift and drag: a lasso around a corner of the map
    canvas = page.locator(".frami-explore canvas").first.bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.45), (0.02, 0.45), (0.02, 0.03)]
    page.keyboard.down("Shift")
    for i, (across, down) in enumerate(corners):
        page.mouse.move(canvas["x"] + across * canvas["width"], canvas["y"] + down * canvas["height"], steps=4)
        if not i:
            page.mouse.down()
    page.mouse.up()
    page.keyboard.up("Shift")
    inside = page.evaluate(
        f"""() => {{ const box = {MAP}.querySelector('canvas').getBoundingClientRect();
          return {MAP}.ids().filter(id => {MAP}.where(id)[1] < box.top + .45 * box.height).length; }}"""
    )
    assert abs(int(page.evaluate(f"{MAP}.dataset.several")) - inside) <= 3 and inside > 10
    panel.locator(".play-all").click()
    page.wait_for_function(
        f"{MAP}.querySelector('.selection').dataset.sounds && frami.player.dataset.clip === "
        f"{MAP}.querySelector('.selection').dataset.sounds",
        timeout=60_000,
    )
    panel.locator(".play-all").click()
    page.wait_for_selector(".frami-explore .selection[data-playing=no]")

    # the wheel zooms, and scrolls the page where the map shows all; Ctrl and the wheel are the browser's
    page.mouse.move(canvas["x"] + 300, canvas["y"] + 150)
    page.mouse.move(canvas["x"] + 302, canvas["y"] + 152)
    page.mouse.wheel(0, -200)
    page.wait_for_selector(".frami-explore .stage.zoomed")
    taken = """() => new Promise(done => { const canvas = document.querySelector('.frami-explore canvas');
      const event = new WheelEvent('wheel', { deltaY: -50, ctrlKey: true, cancelable: true, bubbles: true });
      canvas.dispatchEvent(event); done(event.defaultPrevented); })"""
    assert page.evaluate(taken) is False
    page.mouse.dblclick(canvas["x"] + 302, canvas["y"] + 152)
    page.wait_for_selector(".frami-explore .stage:not(.zoomed)")

    # 5,000 points: a frame in which all of them are drawn anew, and one in which only the marks are
    page.locator(".frami-explore .switch", has_text="Density").click()
    page.locator(".frami-explore .switch", has_text="Density").click()
    page.evaluate(f"{MAP}.fill(5000)")
    times = page.evaluate(
        f"""() => [true, false].map(whole => Array.from({{ length: 40 }}, () => {MAP}.timing(whole))
          .sort((a, b) => a - b)[whole ? 4 : 20])"""
    )
    print(f"5,000 points: {times[0]:.1f} ms for all, {times[1]:.2f} ms for the marks")
    assert times[0] < 40 and times[1] < 8, "the least of some frames: other work on the machine does not count"


@pytest.mark.slow
def test_nothing_ticked_and_a_sound_of_ones_own(open_page):
    page = open_page(390, 844)
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector(".frami-explore[data-teacher=fsdd][data-drawn]", timeout=30_000)
    ticks = page.locator("#explore-banks input")
    for i in range(ticks.count()):
        ticks.nth(i).uncheck()
    page.wait_for_selector(".frami-explore[data-points='0']")
    assert "Tick a recipe" in page.locator(".frami-explore .empty").inner_text()
    page.locator(".frami-explore .empty button").click()
    page.wait_for_function(f"Number({MAP}.dataset.points) >= 300")
    assert not page.locator(".frami-explore .empty").is_visible()

    page.get_by_role("tab", name="Try it").click()
    page.locator(".frami-samples button").first.click()
    page.locator(".frami-try .on-map").wait_for(timeout=60_000)
    page.wait_for_timeout(2_000)  # the sound box has drawn its waveform
    page.locator(".frami-try .on-map").click()
    page.wait_for_selector(".frami-explore[data-star^='given/fsdd/']", timeout=60_000)
    assert "Your sound" in page.locator(".frami-explore .given").inner_text()
    page.wait_for_function("frami.selection.clip?.id.startsWith('given/')", timeout=60_000)
    assert page.locator(".frami-detail .near button").count() == 5
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".frami-explore .given button").click()
    assert page.evaluate(f"{MAP}.dataset.star") == ""
