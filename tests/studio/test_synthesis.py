"""Runs of the studio without a page: queue, what is saved and found again, every recipe, states of a clip."""

import errno
import io
import json
import os
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from frami import banks, checkpoints
from frami.checkpoints import read_card
from frami.errors import FramiError
from frami.features import gallery
from frami.inversion import RECIPES, TERMS, InversionSettings
from frami.paths import BUNDLED
from frami.studio.services import offers, page_values, syntheses
from frami.studio.services.clips import ClipLookup
from frami.studio.services.galleries import Galleries
from tests.helpers.workers import InThisProcess

ROOT = Path(__file__).parents[2]


def lookup(folder, gallery):
    return ClipLookup(syntheses.Syntheses(folder), gallery, checkpoints.load)


def finished(run, seconds=120):
    deadline = time.time() + seconds
    while not run.done and time.time() < deadline:
        time.sleep(0.05)
    assert run.done and not run.error, run.error
    return run


def gallery_of(card, folder=ROOT / "assets" / "gallery"):
    """What the page gets of a teacher's gallery in ``folder``."""
    return Galleries(lookup(folder, folder), {card.name: card}).value(card.name)


@pytest.mark.parametrize("name", [path.stem for path in BUNDLED.glob("*.json") if read_card(path).kind == "teacher"])
def test_gallery_has_every_class_of_every_teacher(name):
    card = checkpoints.read_card(ROOT / "checkpoints" / name)
    value = gallery_of(card)
    assert [group["title"] for group in value["groups"]] == [page_values.name(c) for c in card.classes]
    fewest = 1 if len(card.classes) > 10 else 2
    assert all(len(group["clips"]) >= fewest for group in value["groups"])
    bank = banks.load(ROOT / "assets" / "gallery" / name)
    assert bank.target_accuracy >= 0.9 and bank.manifest["complete"] and not bank.damaged
    assert bank.manifest["settings"]["teacher"] == name
    teacher = checkpoints.load(name)
    predicted = banks.predictor(teacher.model)(*bank.batch(range(len(bank)))[:2])
    assert (predicted == bank.predicted).float().mean() > 0.97, "the gallery belongs to this very teacher"


def test_sounds_are_found_by_id_only(tmp_path):
    clips = lookup(tmp_path, ROOT / "assets" / "gallery")
    assert clips.sound("gallery/fsdd/0")[:4] == b"fLaC"
    for id in (
        "gallery/../0",
        "gallery/fsdd/9999",
        "gallery/fsdd/-1",
        "run/../../etc/0",
        "run/aaaaaaaaaaaa/0",
        "run/aaaaaaaaaaaa/0@0",
        "gallery/fsdd/0@99",
        "gallery/fsdd/0@-1",
        "",
        None,
        3,
    ):
        with pytest.raises(checkpoints.FramiError):
            clips.sound(id)
        with pytest.raises(checkpoints.FramiError):
            clips.states(id)


def test_a_clip_without_its_sound_file_is_vocoded(tmp_path):
    shutil.copytree(ROOT / "assets" / "gallery" / "fsdd", tmp_path / "gallery" / "fsdd")
    (tmp_path / "gallery" / "fsdd" / "003_three.flac").unlink()
    clips = lookup(tmp_path, tmp_path / "gallery")
    assert clips.sound("gallery/fsdd/2")[:4] == b"fLaC"
    samples, rate = soundfile.read(io.BytesIO(clips.sound("gallery/fsdd/3")))
    bank = banks.load(tmp_path / "gallery" / "fsdd")
    assert abs(len(samples) / rate - bank.manifest["clips"][3]["seconds"]) < 0.01


def test_a_bank_is_read_once_until_it_changes(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "assets" / "gallery" / "fsdd", tmp_path / "gallery" / "fsdd")
    load, read = banks.load, []
    monkeypatch.setattr(banks, "load", lambda folder: read.append(folder) or load(folder))
    clips = lookup(tmp_path, tmp_path / "gallery")
    for index in range(3):
        clips.sound(f"gallery/fsdd/{index}")
    assert len(read) == 1
    shard = tmp_path / "gallery" / "fsdd" / "shards" / "shard-00001.safetensors"
    shard.rename(shard.with_suffix(".gone"))
    with pytest.raises(FramiError, match="no such clip"):
        clips.sound(f"gallery/fsdd/{len(load(read[0]))}")
    assert len(read) == 2


def test_runs_are_found_again_after_a_restart_in_whatever_state(tmp_path):
    teacher = checkpoints.load("fsdd")
    runs = syntheses.Syntheses(tmp_path)
    one, two = (runs.start(teacher, settings_for(teacher, "frami", samples=4, steps=steps)) for steps in (3, 600))
    deadline = time.time() + 60
    while two.latest is None and time.time() < deadline:
        time.sleep(0.05)
    runs.close()
    assert one.done and two.stopped
    again = syntheses.Syntheses(tmp_path)
    assert len(again.bank(one.id)) == 4 and again.bank(one.id).manifest["complete"]
    assert len(again.bank(two.id)) == 2 and not again.bank(two.id).manifest["complete"]
    clips = ClipLookup(again, tmp_path, checkpoints.load)
    assert clips.sound(f"run/{two.id}/1")[:4] == b"RIFF"
    with zipfile.ZipFile(syntheses.archive(tmp_path / one.id)) as file:
        names = {name.split("/", 1)[1] for name in file.namelist()}
    assert {"manifest.json", "shards/shard-00000.safetensors", "shards/shard-00001.safetensors"} <= names
    assert sum(name.endswith(".wav") for name in names) == 4 and len(names) == 7


def test_two_runs_wait_for_each_other_and_a_failed_one_says_why(tmp_path, monkeypatch):
    teacher = checkpoints.load("fsdd")
    runs = syntheses.Syntheses(tmp_path)
    settings = settings_for(teacher, "frami", steps=3)
    one, two = runs.start(teacher, settings), runs.start(teacher, replace(settings, seed=1))
    deadline = time.time() + 60
    while not two.done and time.time() < deadline:
        time.sleep(0.05)
    assert runs.ahead(two) == 0
    assert one.done and two.done and not one.error and not two.error
    assert len(runs.bank(one.id)) == 2
    three, four = runs.start(teacher, settings_for(teacher, "frami", steps=600)), runs.start(teacher, settings)
    assert runs.ahead(four) == 1
    while three.latest is None and time.time() < deadline:
        time.sleep(0.05)
    four.stop()
    assert four.done and runs.ahead(four) == 0, "one that waits its turn is stopped at once, and waits no more"
    three.stop()
    while not three.done and time.time() < deadline:
        time.sleep(0.05)
    assert three.stopped and len(three.finished) == 2
    assert four.stopped and four.finished is None, "stopped while it waited: nothing was begun"
    monkeypatch.setattr(runs._pool, "run", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.ENOSPC, "")))
    five = runs.start(teacher, settings)
    while not five.done and time.time() < deadline:
        time.sleep(0.05)
    assert "disk is full" in five.error
    with pytest.raises(checkpoints.FramiError, match="nothing would be learnt"):
        runs.start(teacher, settings_for(teacher, "frami", weights={"class": 0, "batch_norm": 0, "contrast": 0}))
    (tmp_path / "file").write_text("")
    with pytest.raises(checkpoints.FramiError, match="FRAMI_HOME"):
        syntheses.Syntheses(tmp_path / "file" / "studio").start(teacher, settings)
    runs.close()


def test_zips_are_whole_when_two_pages_ask_at_once(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "000_one.wav").write_bytes(bytes(200_000))
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: syntheses.archive(tmp_path), range(24)))
    with zipfile.ZipFile(paths[-1]) as file:
        assert file.testzip() is None and len(file.namelist()) == 2


def test_a_zip_that_the_page_has_copied_is_removed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    first = syntheses.archive(tmp_path / "a")
    os.utime(first, (time.time() - 3600,) * 2)
    assert syntheses.archive(tmp_path / "b").exists() and not first.exists()


@pytest.fixture(scope="module")
def fsdd():
    return checkpoints.load("fsdd")


def settings_for(teacher, recipe, **others):
    choices = {
        "samples": 2, "steps": 2, "seconds": [0.2, 0.4], "classes": [4, 2], "batch": 2,
        "weights": offers.weights(RECIPES[recipe]),
    }  # fmt: skip
    return InversionSettings.of(teacher, recipe, **(choices | others))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_and_can_be_shown(tmp_path, fsdd, name, monkeypatch):
    recipe = replace(RECIPES[name], warmup=min(RECIPES[name].warmup, 1))
    monkeypatch.setitem(RECIPES, name, recipe)
    runs = syntheses.Syntheses(tmp_path, pool=InThisProcess())
    own = {} if offers.targeted(recipe) else {"classes": list(range(10))}
    run = finished(runs.start(fsdd, settings_for(fsdd, name, **own)))
    runs.close()
    value = run.value()
    assert value["state"] == "done" and value["share"] == pytest.approx(1, abs=0.02) and value["clips"] == []
    used = {term for term, weight in offers.weights(recipe).items() if weight}
    assert set(value["curves"]) == used | {"confidence"}
    assert used <= set(value["hints"]) and value["recipe"] == offers.title(name)
    rows = run.saved_clips()
    assert len(rows) == 2
    if recipe.exchange:  # a clip that was crossed with another may have its class
        assert {row["target"] for row in rows} <= {"four", "two"}
    elif offers.targeted(recipe):
        assert [row["target"] for row in rows] == ["four", "two"]
    else:
        assert all(row["untargeted"] and row["target"] == row["predicted"] == row["top"][0][0] for row in rows)
    states = lookup(tmp_path, tmp_path).states(rows[0]["id"])
    assert [state["step"] for state in states] == [1, 2]
    assert {state["frames"] for state in states} == {rows[0]["frames"]}


def test_what_the_page_offers_suits_every_recipe(fsdd):
    names = [name for _, name in offers.choices()]
    assert set(names) == set(RECIPES) and names[0] == offers.DEFAULT
    ablations = [RECIPES[name].ablation for name in names]
    assert ablations == sorted(ablations), "ablations come last"
    assert len({title for title, _ in offers.choices()}) == len(names)
    for name, recipe in RECIPES.items():
        assert recipe.source.replace("'", "&#x27;") in offers.about(recipe)
        assert 1 <= offers.steps(recipe) <= offers.MOST_STEPS
        assert recipe.ablation or offers.title(name) != name, "a recipe has a name for people"
        low, high = offers.seconds(fsdd, recipe)
        assert offers.SHORTEST <= low <= high <= offers.LONGEST
        for term, value in offers.weights(recipe).items():
            top, step = TERMS[term].most, TERMS[term].step
            assert 0 <= value <= top and value / step == pytest.approx(round(value / step)), (name, term)
    assert offers.steps(RECIPES["cmi"]) == RECIPES["cmi"].steps
    assert "student learns along" in offers.about(RECIPES["dfq"]) and "target" in offers.about(RECIPES["dafl"])
    assert "Makes 20 batches" in offers.about(RECIPES["dafl"]) and "batches" not in offers.about(RECIPES["frami"])
    assert "first steps are taken on a few clips that are not saved" in offers.about(RECIPES["frami-warm"])


def test_a_clip_is_synthesized_by_the_vocoder_that_its_id_names(tmp_path, fsdd):
    runs = syntheses.Syntheses(tmp_path)
    run = finished(runs.start(fsdd, settings_for(fsdd, "frami-fast"), "griffin-lim"))
    usual = finished(runs.start(fsdd, settings_for(fsdd, "frami-fast")))
    runs.close()
    assert [runs.bank(one.id).manifest["vocoder"] for one in (run, usual)] == ["griffin-lim", "frami"]
    clips = lookup(tmp_path, tmp_path)
    id = f"run/{run.id}/1"
    stored = runs.bank(run.id).sound(1)
    assert clips.sound(id) == clips.sound(f"{id}~griffin-lim") == stored.read_bytes()
    assert len(clips.sound(f"{id}~frami")) == len(clips.sound(id)) and clips.sound(f"{id}~frami") != clips.sound(id)
    assert clips.sound(f"{id}@0~frami") != clips.sound(f"{id}@0~griffin-lim") and clips.sound(
        f"{id}@0~frami"
    ) == clips.sound(f"{id}@0")
    for wrong in (f"{id}~bigvgan", f"{id}~", f"{id}~frami~frami", f"{id}~../x"):
        with pytest.raises(FramiError, match="no such vocoder"):
            clips.sound(wrong)


def test_saved_states_of_a_clip_can_be_shown_and_played(tmp_path, fsdd):
    runs = syntheses.Syntheses(tmp_path)
    run = finished(runs.start(fsdd, settings_for(fsdd, "frami-fast", steps=12)))
    stopped = runs.start(fsdd, settings_for(fsdd, "frami", steps=600))
    while stopped.latest is None:
        time.sleep(0.02)
    runs.close()
    clips = ClipLookup(runs, tmp_path, checkpoints.load)
    row, states = run.saved_clips()[1], clips.states(f"run/{run.id}/1")
    steps = [state["step"] for state in states]
    assert steps == sorted(set(steps)) and steps[-1] == 12 and 4 <= len(steps) <= syntheses.SNAPSHOTS
    assert states[0]["mel"] != states[-1]["mel"] and len(states[0]["mel"]) == len(row["mel"])
    assert states[-1]["predicted"] == row["predicted"]
    assert states[-1]["confidence"] == pytest.approx(row["confidence"], abs=0.05)
    sounds = [clips.sound(state["id"]) for state in states]
    assert all(sound[:4] == b"RIFF" for sound in sounds) and sounds[0] != sounds[-1]
    assert clips.sound(states[0]["id"]) is sounds[0], "vocoded once"
    run.latest = replace(run.latest, notes=("this teacher lacks something",))
    assert run.value()["notes"] == ["this teacher lacks something"]
    assert clips.states(f"run/{stopped.id}/0") == [], "a clip that was not finished has no way"
    with pytest.raises(checkpoints.FramiError):
        clips.sound(f"run/{stopped.id}/0@0")
    with pytest.raises(checkpoints.FramiError):
        clips.sound(f"run/{run.id}/1@{len(states)}")


def test_the_gallery_has_saved_states_too(tmp_path, fsdd):
    gallery.make(fsdd, tmp_path / "fsdd", each=1, steps=6, recipe="frami-fast")
    states = lookup(tmp_path, tmp_path).states("gallery/fsdd/3")
    assert states[-1]["step"] == 6 and len(states) >= 3
    bank = banks.load(tmp_path / "fsdd")
    assert torch.equal(bank.target, torch.arange(10)) and bank.manifest["complete"]
    assert bank.manifest["settings"]["teacher_sha256"] == fsdd.card.sha256
    assert gallery_of(fsdd.card, tmp_path)["groups"]
    other = replace(fsdd.card, sha256="0" * 64)
    assert "No gallery" in gallery_of(other, tmp_path)["message"], "the teacher's weights were replaced"


def test_clips_of_replaced_weights_do_not_pass_as_this_teachers(tmp_path, fsdd):
    """A run names the weights that it inverted; those of earlier versions did not, and are shown."""
    runs = syntheses.Syntheses(tmp_path)
    run = finished(runs.start(fsdd, settings_for(fsdd, "frami-fast")))
    runs.close()
    bank, other = runs.bank(run.id), replace(fsdd.card, sha256="0" * 64)
    assert bank.made_from(fsdd.card) and not bank.made_from(other)
    path = run.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["settings"].pop("teacher_sha256") == fsdd.card.sha256
    path.write_text(json.dumps(manifest))
    assert runs.bank(run.id).made_from(other)
    assert not runs.bank(run.id).made_from(replace(fsdd.card, classes=fsdd.card.classes[::-1]))


def test_a_run_of_an_earlier_version_is_shown_again(tmp_path, fsdd):
    """Its settings held every weight and the vocoder, and no checksum."""
    runs = syntheses.Syntheses(tmp_path)
    run = finished(runs.start(fsdd, settings_for(fsdd, "frami-fast")))
    runs.close()
    path = run.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["settings"] = {
        "teacher": "fsdd", "recipe": "frami-fast", "samples": 2, "steps": 2, "seconds": [0.2, 0.4], "classes": [4, 2],
        "batch": 2, "seed": 0, "vocoder": "frami", "weights": offers.weights(RECIPES["frami-fast"]),
    }  # fmt: skip
    path.write_text(json.dumps(manifest))
    again = syntheses.Syntheses(tmp_path).saved(run.id, checkpoints.load)
    assert len(again.saved_clips()) == 2 and again.value()["recipe"] == "FRAMI fast"
    assert again.settings == replace(run.settings, teacher_sha256=None, snapshots=0)
