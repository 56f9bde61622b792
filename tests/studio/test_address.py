"""The page's address: reload, Back, Forward and links show again what was shown; what is not known is ignored."""

from types import SimpleNamespace

import gradio as gr
import pytest

from frami.errors import FramiError
from frami.hosting.owners import EVERYONE, Visitor
from frami.studio import address, forms
from frami.studio.services import found_clips, shared
from frami.studio.services.preparations import Work

CLIP = "gallery/fsdd/3"
HOSTILE = ("", "no such", "<img src=x onerror=alert(1)>", "constructor", "../../etc", "%00", "a" * 5000)


def settled(page, **values):
    """Wait until the address says this."""
    page.wait_for_function(
        "wanted => Object.entries(wanted).every(([k, v]) => (new URLSearchParams(location.search).get(k) ?? '') === v)",
        arg=values,
        timeout=15_000,
    )


def opened(page, tab):
    page.wait_for_selector(f"#{tab}-tab-button[aria-selected='true']", timeout=15_000)


def chosen_clip(page, id):
    page.wait_for_function("id => (frami.selection.clip?.id ?? '') === id", arg=id, timeout=15_000)


@pytest.mark.slow
def test_reload_back_and_links(open_page, studio):
    page = open_page()
    page.locator(f"#gallery .frami-tile[data-id='{CLIP}']").click()
    settled(page, clip=CLIP, tab="", teacher="fsdd", __theme="light")
    page.click("#explore-tab-button")
    settled(page, tab="explore", clip=CLIP)
    page.locator("#teacher input[value='esc10']").check()
    settled(page, teacher="esc10", tab="explore")

    page.go_back()
    settled(page, teacher="fsdd", tab="explore")
    page.wait_for_function("document.querySelector(\"#teacher input[value='fsdd']\").checked")
    page.go_back()
    opened(page, "listen")
    chosen_clip(page, CLIP)
    page.go_forward()
    opened(page, "explore")
    page.go_forward()
    page.wait_for_function("document.querySelector(\"#teacher input[value='esc10']\").checked")
    page.reload()
    opened(page, "explore")
    page.wait_for_selector(".frami-explore[data-teacher='esc10']", timeout=20_000)
    settled(page, teacher="esc10", tab="explore", __theme="light")

    # A link from elsewhere: what it names is shown, without being played.
    page.goto(f"{studio.address}?tab=distil&teacher=esc10&clip=gallery/esc10/2&other=kept")
    opened(page, "distil")
    first = page.wait_for_function("document.querySelector('.frami-taught .facts')?.innerText", timeout=30_000)
    assert "87.5%" in first.json_value(), "figures of another teacher are not shown on the way"
    chosen_clip(page, "gallery/esc10/2")
    settled(page, teacher="esc10", tab="distil", clip="gallery/esc10/2", other="kept")
    assert page.evaluate("frami.player.paused")
    open_page.left("Unexpected error 404")


EXPLORE = "document.querySelector('.frami-explore')"


def explored(page, teacher, colour, projection, ticked, shown):
    """Wait until the map is coloured and projected so, with these layers ticked and as many clips not faint."""
    page.wait_for_function(
        f"""([teacher, colour, projection, ticked, shown]) => {{
          const map = {EXPLORE}, layers = [...document.querySelectorAll("#explore-banks input:checked")];
          return map?.dataset.teacher === teacher && map.querySelector(`.colour input[value=${{colour}}]`).checked
            && map.querySelector(`.projection input[value=${{projection}}]`).checked
            && map.dataset.projection === projection
            && String(layers.map(one => one.name)) === ticked
            && map.ids().filter(id => !map.looks(id).faint).length === shown;
        }}""",
        arg=[teacher, colour, projection, ticked, shown],
        timeout=20_000,
    )


@pytest.mark.slow
def test_what_the_map_shows_is_in_the_address(open_page, studio):
    page = open_page()
    page.click("#explore-tab-button")
    usual = "frami,cmi,dafl,real"
    explored(page, "fsdd", "class", "umap", usual, 400)
    settled(page, colour="", projection="", layers="", only="", classes="", confidence="", student="", density="")

    page.locator(".frami-explore .colour input[value=recipe]").check()
    page.locator(".frami-explore .projection input[value=pca]").check()
    page.locator("#explore-banks label", has_text="DAFL").click()
    explored(page, "fsdd", "recipe", "pca", "frami,cmi,real", 300)
    page.locator(".frami-explore .legend .entry button:has(i.hollow)").click()
    page.locator(".frami-explore .filters summary").click()
    page.locator(".frami-explore .filters .classes input").fill("seven")
    page.keyboard.press("Enter")
    here = {"colour": "recipe", "projection": "pca", "layers": "frami~cmi~real", "classes": "seven"}
    settled(page, **here, tab="explore", confidence="", panels="")
    only = page.evaluate("new URLSearchParams(location.search).get('only')")
    shown = page.evaluate(f"{EXPLORE}.ids().filter(id => !{EXPLORE}.looks(id).faint).length")
    assert only and 0 < shown < 20
    page.reload()
    explored(page, "fsdd", "recipe", "pca", "frami,cmi,real", shown)
    settled(page, **here, only=only)

    # Another teacher leaves behind what was chosen of the one before; Back finds it, step by step.
    page.locator("#teacher input[value='esc10']").check()
    page.wait_for_selector(".frami-explore[data-teacher='esc10']", timeout=20_000)
    settled(page, teacher="esc10", colour="recipe", projection="pca", layers="", classes="", only="")
    page.go_back()
    explored(page, "fsdd", "recipe", "pca", "frami,cmi,real", shown)
    settled(page, **here, only=only, teacher="fsdd")
    page.go_back()
    explored(page, "fsdd", "recipe", "pca", usual, 400)
    page.go_back()
    explored(page, "fsdd", "recipe", "umap", usual, 400)
    page.go_forward()
    explored(page, "fsdd", "recipe", "pca", usual, 400)
    settled(page, colour="recipe", projection="pca", layers="", classes="", only="")

    # A link from elsewhere, a part of which nobody knows.
    link = "colour=confidence&projection=<b>&panels=apart&layers=nosuch~real&classes=dog~constructor&confidence=5-999"
    page.goto(
        f"{studio.address}?tab=explore&teacher=esc10&{link}&answers=wrong&only=__proto__&others=hidden&density=on"
    )
    page.wait_for_selector(".frami-explore[data-teacher='esc10'] canvas", timeout=20_000)
    settled(page, colour="confidence", panels="apart", classes="dog", answers="wrong", others="hidden", density="on")
    settled(page, projection="", confidence="", only="", layers="real")
    assert page.locator(".frami-explore .tools input[role=switch]").first.is_checked()
    open_page.left("Unexpected error 404")


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["<img src=x onerror=document.title='gone'>"])
def test_what_is_not_known_is_ignored(open_page, studio, sign):
    page = open_page()
    page.goto(f"{studio.address}?tab={sign}&teacher={sign}&clip={sign}")
    page.wait_for_selector("#gallery .frami-tile")
    page.wait_for_function("!new URLSearchParams(location.search).get('tab')")
    opened(page, "listen")
    assert page.evaluate("frami.selection.clip") is None and page.title() != "gone"
    assert not page.locator(".toast-body").count()
    open_page.left("Unexpected error 404")


@pytest.mark.parametrize("sign", [*HOSTILE, None, 3, ["listen"], {"a": 1}])
def test_unknown_teachers_and_tabs_change_nothing(sign):
    services = SimpleNamespace(teachers={"fsdd": None})
    teacher, bar = address.chosen(services, {"listen": None}, sign, sign)
    assert teacher == bar == gr.skip()
    teacher, bar = address.chosen(services, {"listen": None}, "fsdd", "listen")
    assert teacher == "fsdd" and bar.selected == "listen"


def test_forms_show_again_what_is_still_offered():
    every = [
        gr.Dropdown(["a", "b"], elem_id="one"),
        gr.Slider(1, 5, elem_id="two"),
        gr.CheckboxGroup(["x", "y"], elem_id="three"),
        gr.Number(elem_id="four"),
    ]
    shown = forms.restored(every, {"one": "b", "two": 3, "three": ["y"], "other": 1})
    assert [one.get("value") for one in shown] == ["b", 3, ["y"], None]
    for value in ("gone", 9, ["gone"], {"a": 1}, "<b>"):
        values = {"one": value, "two": value, "three": value}
        assert forms.restored(every, values)[:3] == [gr.skip()] * 3


@pytest.mark.slow
def test_forms_survive_a_reload(open_page):
    page = open_page()
    page.click("#synthesize-tab-button")
    box = page.locator("#samples input[type=number]")
    box.fill("3")
    box.press("Tab")
    page.wait_for_function("JSON.parse(sessionStorage.getItem('frami-forms') || '{}').values?.samples === 3")
    page.reload()
    opened(page, "synthesize")
    page.wait_for_function("document.querySelector('#samples input[type=number]')?.value === '3'", timeout=20_000)
    open_page.left("Unexpected error 404")


@pytest.fixture(scope="module")
def services():
    found = shared.start()
    yield found
    found.close()


def test_a_clip_is_found_by_its_id_alone(services):
    for id in (CLIP, "explore/fsdd/frami/4", "recording/fsdd/3"):
        found = found_clips.find(services, id)
        assert found["clip"]["id"] == id and found["clip"]["mel"] and found["teacher"] == "fsdd"
        assert found["axis"]["bands"]
        assert found_clips.sound(services, id)[:4] in (b"RIFF", b"fLaC")
    assert services.recordings._picture.cache_info().currsize == 1, "one picture is made, not those of all"
    assert services.maps.recordings is services.recordings


def test_nothing_is_measured_while_anything_computes(services, monkeypatch):
    costs, other = services.distillations.costs, SimpleNamespace(done=False)
    assert not costs.busy()
    with monkeypatch.context() as patch:
        patch.setattr(services.syntheses, "_others", [other])
        assert costs.busy()
        other.done = True
        assert not costs.busy()
    for kind, busy in (("train", True), ("download", False)):
        with monkeypatch.context() as patch:
            patch.setattr(services.preparations, "_works", {"x": Work(kind, "x", "x", [])})
            assert costs.busy() == busy


@pytest.mark.parametrize(
    "id",
    [
        *HOSTILE,
        None,
        7,
        "run/0123456789ab/0",
        "gallery/no such/1",
        "gallery/fsdd/99999",
        "explore/fsdd/no such/1",
        "recording/fsdd/99999",
        "recording/urbansound8k/0",
    ],
)
@pytest.mark.parametrize("who", [EVERYONE, Visitor("")])
def test_no_other_clip_is(services, id, who):
    with pytest.raises(FramiError):
        found_clips.find(services, id, who)
