"""Many classes: they are found by name and by category, keep few colours that stay apart, and cost the page little."""

import json
import re
import shlex
from itertools import combinations

import numpy as np
import pytest
import torch

from frami import banks, checkpoints, models
from frami.checkpoints import Card
from frami.cli.arguments import names
from frami.cost import parameters
from frami.data.catalogue import DATASETS
from frami.distill import OBJECTIVES, new_student
from frami.errors import FramiError
from frami.features import maps
from frami.inversion import InversionSettings, invert
from frami.paths import ASSETS, home
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services import class_groups, offers, page_values
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.galleries import A_REQUEST, Galleries
from frami.studio.services.syntheses import Syntheses
from frami.studio.services.teachers import ordered
from frami.studio.theme import PAGE
from tests.helpers.studio import compare_methods, running_studio

ESC50 = DATASETS["esc50"].classes
MAP = "document.querySelector('.frami-explore')"


def save_teacher(make_card, name: str, classes, dataset: str = "made", **fields) -> checkpoints.Checkpoint:
    """An untrained teacher in the present home."""
    torch.manual_seed(0)
    model = models.build("nano", len(classes))
    fields = {"classes": tuple(classes), "dataset": dataset, "seconds": 0.2} | fields
    checkpoints.save(home() / "checkpoints" / name, model, make_card(model, name, **fields))
    return checkpoints.load(name)


def bank_of(teacher: checkpoints.Checkpoint, folder, each: int = 1) -> banks.Bank:
    """A bank without sounds in this folder, each class in turn: a step of optimisation."""
    samples = each * len(teacher.classes)
    settings = InversionSettings.of(teacher, "frami-fast", samples=samples, steps=1, batch=samples)
    banks.fill(banks.create_for(teacher, settings, folder), invert(teacher, settings))
    return banks.load(folder)


def finished_run(teacher: checkpoints.Checkpoint, confusion: list[list[int]]) -> str:
    """Id of a run in the present home that ended with this confusion matrix."""
    store, card = Runs(), teacher.card
    settings = {"teacher": card.name, "student": "nano", "objective": "frami", "recipe": "frami-fast"}
    run = store.create("distill", "nano", settings)
    student = new_student(teacher, "nano", OBJECTIVES["frami"])
    fields = {field: getattr(card, field) for field in card.__dataclass_fields__}
    fields |= {"kind": "student", "teacher": card.name, "model": student.config.to_dict(), "sha256": ""}
    checkpoints.save(run.folder / "student", student, Card(**fields | {"parameters": parameters(student)}))
    store.finish(run.id, {"agreement": 0.5, "confusion": confusion, "confusion_of": "real", "seconds": 3.0})
    return run.id


def confusion_of(size: int) -> list[list[int]]:
    """Each class three times right and once taken for the next; the last is never right, the first has no clip."""
    rows = np.zeros((size, size), int)
    for k in range(1, size):
        rows[k, k], rows[k, (k + 1) % size] = (0, 4) if k == size - 1 else (3, 1)
    return rows.tolist()


# --------------------------------------------------------------------------------------------------- what is offered


def test_esc50_has_its_five_categories(make_card):
    model = models.build("nano", 50)
    found = class_groups.of_teacher(make_card(model, "x", dataset="esc50", classes=ESC50))
    assert [len(one["classes"]) for one in found] == [10] * 5
    assert sorted(k for one in found for k in one["classes"]) == list(range(50))
    part = class_groups.of_labels("esc50", ["siren", "dog", "my own", "cow"])
    assert [(one["title"], one["classes"]) for one in part] == [
        ("animals", [1, 3]),
        ("exterior and urban", [0]),
        ("others", [2]),
    ]
    assert class_groups.of_labels("fsdd", ["one"]) == class_groups.of_labels("/a/folder", ["dog"]) == []


def test_a_category_can_be_chosen_as_target_classes(make_card):
    model = models.build("nano", 50)
    card = make_card(model, "x", dataset="esc50", classes=ESC50)
    names = dict(offers.classes(card))
    animals = names["animals: all 10"]
    assert len(names) == 55 and names["sea waves"] == ESC50.index("sea_waves")
    assert offers.chosen_classes(card, [names["cow"], animals]) == [3, *(k for k in range(10) if k != 3)]
    assert offers.chosen_classes(card, []) == []
    for wrong in ([50], [-6]):
        with pytest.raises(FramiError, match="another teacher"):
            offers.chosen_classes(card, wrong)
    assert all(value >= 0 for _, value in offers.classes(checkpoints.load("esc10").card)), "few need no categories"


def test_digits_come_first_where_they_are(make_card):
    model = models.build("nano", 4)
    cards = [make_card(model, name) for name in ("urbansound8k", "zebra", "fsdd", "digits", "esc10")]
    assert [card.name for card in ordered(cards)] == ["digits", "fsdd", "esc10", "urbansound8k", "zebra"]
    assert [card.name for card in ordered(cards[:3])] == ["fsdd", "urbansound8k", "zebra"]


# --------------------------------------------------------------------------------------------------- what it costs


def test_a_large_gallery_sends_its_pictures_when_they_are_looked_at(fresh_home, make_card):
    teacher = save_teacher(make_card, "My sounds 2", [f"sound, {k}" for k in range(70)])
    bank_of(teacher, home() / "gallery" / "My sounds 2")
    clips = ClipLookup(Syntheses(), ASSETS / "gallery", checkpoints.load)
    found = Galleries(clips, {"My sounds 2": teacher.card})
    value = found.value("My sounds 2")
    rows = [row for group in value["groups"] for row in group["clips"]]
    assert [group["title"] for group in value["groups"]] == list(teacher.classes) and len(rows) == 70
    assert "mel" not in rows[0] and len(json.dumps(value)) < 200 * 70
    whole = found.pictures([rows[3]["id"], rows[69]["id"]])
    assert [one["target"] for one in whole] == ["sound, 3", "sound, 69"] and all(one["mel"] for one in whole)
    assert clips.sound(rows[69]["id"])[:4] == b"RIFF"
    wrong = ["gallery/My sounds 2/70", "gallery/nobody/0", "gallery/../0", "run/0123456789ab/0", f"{rows[0]['id']}@0"]
    for ids in (*([id] for id in wrong), [rows[0]["id"]] * (A_REQUEST + 1), "x", None):
        with pytest.raises(FramiError):
            found.pictures(ids)
    for name, given in (("fsdd2", "fsdd2"), ("My, 2nd", """'"My, 2nd"'"""), ("it's", """'it'"'"'s'""")):
        message = Galleries(clips, {name: teacher.card}).value(name)["message"]
        assert message.endswith(f"frami gallery --teachers {given}")
        assert names(shlex.split(message.partition(": ")[2])[-1]) == [name]
        assert shlex.split(offers.making(name, explore=True))[2] == "--explore"


def test_five_hundred_classes_cost_a_poll_little(fresh_home, make_card):
    teacher = save_teacher(make_card, "many", [f"a rather long name of a sound, number {k}" for k in range(500)])
    id = finished_run(teacher, confusion_of(500))
    known = Distillations(Queue(Runs()), checkpoints.load, ["many"])
    first = known.value("many")
    assert len(first["classes"]) == 500 and len(json.dumps(first)) < 45_000
    row = first["runs"][0]
    sparse = row["result"]["confusion"]
    cells = dict(zip(sparse["cells"][::2], sparse["cells"][1::2], strict=True))
    assert sparse["size"] == 500 and cells[501] == 3 and cells[502] == 1 and 0 not in cells
    poll = known.value("many", {id: row["stamp"]}, known=True)
    assert "classes" not in poll and len(json.dumps(poll)) < 2_000


def test_a_matrix_without_its_zeros_is_the_same_matrix():
    matrix = np.random.default_rng(0).poisson(0.4, (7, 7))
    value = page_values.sparse(matrix.tolist())
    again = np.zeros(49, int)
    again[value["cells"][::2]] = value["cells"][1::2]
    assert (again.reshape(7, 7) == matrix).all() and value["cells"].count(0) <= 1


# --------------------------------------------------------------------------------------------------- colours

# What a dichromat sees of linear RGB: Machado et al. 2009, at full severity.
_VISION = {
    "normal": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
_LMS = [[0.412221, 0.536333, 0.051446], [0.211903, 0.680700, 0.107397], [0.088302, 0.281719, 0.629979]]
_LAB = [[0.210454, 0.793618, -0.004072], [1.977998, -2.428592, 0.450594], [0.025904, 0.782772, -0.808676]]


def linear(colour: str) -> np.ndarray:
    """Linear RGB of ``#rrggbb``."""
    values = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(colour: str, vision: str) -> np.ndarray:
    seen = np.clip(_VISION[vision] @ linear(colour), 0, 1)
    return 100 * np.array(_LAB) @ np.cbrt(_LMS @ seen)


@pytest.mark.parametrize(("theme", "background"), [("LIGHT", "#ffffff"), ("DARK", "#1d1924")])
def test_colours_stay_apart_also_for_dichromats(theme, background):
    """A distance of 2 in OKLab is about the least that is seen; points that lie apart need several times that."""
    listed = re.search(rf"const {theme} = \[(.*)\]", (PAGE / "explore_colours.js").read_text())[1]
    colours = re.findall(r"#[0-9a-f]{6}", listed)
    assert len(colours) == 10
    for vision in _VISION:
        pairs = combinations([oklab(colour, vision) for colour in colours], 2)
        assert min(np.linalg.norm(a - b) for a, b in pairs) > 9, vision
    luminance = [float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (background, *colours)]
    assert min(max(one, luminance[0]) / min(one, luminance[0]) for one in luminance[1:]) > 2.99, "contrast"


# --------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def studio(tmp_path_factory, make_card):
    """A studio with a teacher of ESC-50's classes: a gallery of two clips each, a bank on its map, a finished run."""
    folder = tmp_path_factory.mktemp("studio-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMI_HOME", str(folder))
        teacher = save_teacher(make_card, "fifty", ESC50, "esc50", title="Fifty sounds")
        bank_of(teacher, folder / "gallery" / "fifty", 2)
        layer = maps.of_bank(
            "frami-fast", "frami-fast", bank_of(teacher, folder / "explore" / "fifty" / "frami-fast", 2)
        )
        patch.setattr(maps, "umap", lambda layers: maps.project(layers).pca)  # the true one is compiled for ten seconds
        maps.save(folder / "explore" / "fifty", [layer], {"samples": 100, "rows": [maps.measures(layer)]})
        finished_run(teacher, confusion_of(50))
        save_teacher(make_card, "bare, yet", [f"sound {k}" for k in range(12)], title="Without a map")
    with running_studio(folder) as started:
        yield started


@pytest.fixture
def fifty(open_page):
    """Opens a page with that teacher, on one of its tabs."""

    def opened(tab: str, **choices):
        page = open_page(teacher="fifty", **choices)
        if tab != "Listen":
            page.get_by_role("tab", name=tab).click()
        if tab == "Distil":
            compare_methods(page)
        ready = {"Explore": ".frami-explore[data-teacher=fifty][data-drawn]", "Distil": ".frami-distil .heat canvas"}
        page.wait_for_selector(ready.get(tab, "#gallery .frami-tile"), timeout=30_000)
        if tab == "Explore":  # this teacher never learnt: it predicts few of the classes that its clips are of
            page.locator(".frami-explore input[value=target]").check()
        return page

    return opened


def test_fifty_classes_are_found_by_name_and_category(fifty):
    page = fifty("Listen")
    wall, search = page.locator(".frami-wall"), page.get_by_label("Find a class")
    shown = page.locator("#gallery .frami-group:visible h3")
    assert shown.count() == 50 and page.locator("#gallery h2").count() == 5
    page.locator("#gallery .categories label", has_text="Interior").click()
    assert shown.count() == 10 and page.locator("#gallery h2:visible").all_inner_texts() == ["Interior and domestic"]
    search.fill("K CLO")
    assert [one.lower().split("\n")[0] for one in shown.all_inner_texts()] == ["clock alarm", "clock tick"]
    assert page.locator("#gallery .count").inner_text() == "2 of 50 classes"
    tile = page.locator("#gallery .frami-group:visible", has_text="clock tick").locator(".frami-tile").first
    tile.click()
    page.wait_for_function("id => frami.selection.clip?.id === id", arg=tile.get_attribute("data-id"))
    assert page.evaluate("frami.selection.clip.mel.length") > 100, "the picture was fetched"
    page.wait_for_function("frami.player.readyState > 0 && !frami.player.error")
    tile.press("ArrowLeft")
    page.wait_for_function("frami.selection.clip.target === 'clock alarm'")  # hidden tiles are passed over
    search.press("Escape")
    page.locator("#gallery .categories label", has_text="All").click()
    assert wall.get_attribute("data-shown") == "50"
    page.locator("#gallery .frami-tile").last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('#gallery .frami-tile')].at(-1).clip.mel")


def test_colours_of_a_map_are_few_and_stable(fifty):
    page = fifty("Explore")
    legend, search = page.locator(".frami-explore .legend button"), page.locator(".frami-explore input[type=search]")
    looks = lambda label: page.evaluate(f"id => {MAP}.looks(id)", f"explore/fifty/frami-fast/{label}")  # noqa: E731
    assert [text.split("\n")[0] for text in legend.all_inner_texts()] == list(DATASETS["esc50"].groups)
    cow, siren, dog = (ESC50.index(name) for name in ("cow", "siren", "dog"))
    category = looks(cow)["colour"]
    assert category == looks(dog)["colour"] != looks(siren)["colour"]
    search.fill("siren")
    assert looks(cow)["faint"] and looks(cow)["colour"] == category and not looks(siren)["faint"]
    search.press("Escape")
    legend.first.click()
    assert legend.count() == 1 + 10 and looks(siren)["faint"]
    own = looks(cow)["colour"]
    assert own != looks(dog)["colour"], "an open category shows its classes"
    legend.first.click()
    assert looks(cow)["colour"] == category and legend.count() == 5
    for name in ("cow", "car horn", "siren"):
        search.fill(name)
        search.press("Enter")
    assert looks(cow)["colour"] == own and looks(dog)["plain"] and legend.count() == 1 + 2 * 3
    siren_colour = looks(siren)["colour"]
    assert len({own, siren_colour, looks(ESC50.index("car_horn"))["colour"]}) == 3
    page.get_by_label("Take the colour of cow away").click()
    page.locator("#explore-banks label").first.click()
    page.wait_for_selector(".frami-explore[data-points='0']")
    page.locator("#explore-banks label").first.click()
    page.wait_for_selector(".frami-explore[data-points='100']")
    assert looks(siren)["colour"] == siren_colour and looks(cow)["plain"]


def test_confusions_of_fifty_classes(fifty):
    page = fifty("Distil")
    figure, canvas = page.locator(".frami-distil .matrices figure"), page.locator(".frami-distil .heat canvas")
    assert "50 classes" in canvas.get_attribute("aria-label") and figure.locator("*").count() < 200
    assert figure.locator("li").first.inner_text().startswith("hand saw as dog")
    worst = figure.locator(".lists .row")
    assert worst.count() == 10 and "0/4" in worst.first.inner_text()
    assert "Without a clip here: 1" in figure.inner_text()
    figure.locator("summary").click()
    page.wait_for_function("document.querySelectorAll('.frami-distil .lists .row').length === 49")
    canvas.focus()
    for key, words in (
        ("ArrowDown", "rooster, recognised: 3 of 4, 75%"),
        ("ArrowRight", "rooster classified as pig: 1 of 4, 25%"),
        ("ArrowDown", "pig, recognised: 3 of 4, 75%"),
    ):
        page.keyboard.press(key)
        assert figure.locator(".frami-spoken").text_content() == words and words[:6] in figure.inner_text()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 3)
    assert figure.locator(".tip").inner_text() == "dog classified as hand saw\n0 of 0"
    page.locator(".frami-distil .categories label", has_text="Animals").click()
    assert figure.locator("li").count() == 8 and worst.count() == 9


def test_many_classes_fit_a_phone(fifty):
    page = fifty("Listen", width=390, height=844, theme="dark")
    ready = {
        "Explore": ".frami-explore[data-teacher=fifty][data-drawn]",
        "Distil": ".heat canvas",
        "Try it": "#try-samples .more",
    }
    for tab, selector in ready.items():
        page.get_by_role("tab", name=tab).click()
        if tab == "Distil":
            compare_methods(page)
        page.wait_for_selector(selector)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab


def test_pictures_that_cannot_be_had_are_asked_for_again_later(fifty):
    """What a server that is gone, or a gallery made anew, must not cost: a request after the other."""
    page = fifty("Listen")
    page.evaluate(
        """() => { const wall = document.querySelector("#gallery .frami-wall"); window.asked = 0;
        const failing = { pictures: async () => { window.asked++; return { error: "no such clip" }; } };
        const groups = Array.from({ length: 12 }, (_, k) => ({ title: `k${k}`, label: k, clips:
            [{ id: `gallery/gone/${k}`, target: "a", predicted: "a", confidence: 1, frames: 8 }] }));
        const value = { teacher: "gone", groups, axis: {} };
        frami.wall(wall.parentElement, { value }, failing, () => {}); }"""
    )
    page.wait_for_function("window.asked > 0")
    page.wait_for_timeout(700)
    assert page.evaluate("window.asked") == 1
    page.locator("#gallery .frami-tile").first.click()
    page.wait_for_function("document.querySelector('#detail').textContent.includes('no such clip')")


def test_a_picked_class_is_seen_whatever_category_is_open(fifty):
    page = fifty("Explore")
    legend, search = page.locator(".frami-explore .legend button"), page.locator(".frami-explore input[type=search]")
    legend.nth(1).focus()
    page.keyboard.press("Enter")
    assert legend.count() == 1 + 10
    assert page.evaluate("Boolean(document.activeElement.closest('.frami-explore .legend'))"), "the keys stay there"
    search.fill("siren")
    search.press("Enter")
    siren = page.evaluate(f"id => {MAP}.looks(id)", f"explore/fifty/frami-fast/{ESC50.index('siren')}")
    assert not siren["faint"] and not siren["plain"]


def test_after_an_open_category_a_teacher_without_a_map(fifty):
    page = fifty("Explore")
    page.locator(".frami-explore .legend button").first.click()
    page.locator("#teacher input[value='bare, yet']").check()
    page.wait_for_selector(".frami-explore[data-teacher='bare, yet']")
    page.wait_for_function("document.querySelector('.frami-explore .status').textContent.startsWith('Nothing to show')")
    assert """--explore --teachers '"bare, yet"'""" in page.locator(".frami-explore .status").inner_text()
    assert page.locator(".frami-explore .legend button").count() == 0


def test_a_confusion_is_read_by_touch(fifty):
    page = fifty("Distil")
    canvas = page.locator(".frami-distil .heat canvas")
    canvas.scroll_into_view_if_needed()
    canvas.evaluate(
        """canvas => { const area = canvas.getBoundingClientRect(), at = { pointerType: "touch", bubbles: true,
            clientX: area.right - 3, clientY: area.top + 3 };
        for (const name of ["pointerdown", "pointerup", "pointerout", "pointerleave"])
            canvas.dispatchEvent(new PointerEvent(name, at)); }"""
    )
    assert page.locator(".frami-distil .heat .tip").inner_text() == "dog classified as hand saw\n0 of 0"


def test_students_of_a_few_of_fifty_classes(fifty):
    page = fifty("Distil")
    box = page.locator("#distil-classes input")
    box.click()
    page.get_by_role("option", name="Animals: all 10").click()
    page.keyboard.press("Escape")
    page.locator("#distil-start").click()
    row = page.locator(".frami-distil .run", has_text="10 classes")
    row.wait_for(timeout=20_000)
    row.get_by_role("button", name="Stop").click()
    page.locator("#teacher label", has_text="Without a map").click()
    page.wait_for_function("!document.querySelector('#distil-classes')?.innerText.includes('Animals')")
