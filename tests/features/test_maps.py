"""Maps: one projection for all layers, neighbours, measures, what is stored and what is not; the gallery's banks."""

import json
from dataclasses import replace

import pytest
import torch

from frami import banks, checkpoints, data
from frami.errors import FramiError
from frami.features import diversity, gallery, judges, maps, projection

SPEAKERS = ("george", "jackson", "nicolas", "yweweler", "theo")


def layer(key, count=12, at=0.0, real=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    pooled = torch.randn(count, 6, generator=generator) + at
    return maps.Layer(key, key.title(), pooled, labels, labels, torch.full((count,), 0.9), real)


def test_layers_share_one_projection():
    one, two = layer("one"), layer("two", at=5.0, seed=1)
    here = maps.project([one, two])
    assert here.pca.shape == (24, 2) and here.umap is None
    assert 0 < here.share[1] <= here.share[0] < 1
    expected = projection.pca(torch.cat([one.pooled, two.pooled]))
    assert torch.allclose(here.pca[12:], expected(two.pooled), atol=1e-4)
    assert (here.pca[:12, 0].mean() - here.pca[12:, 0].mean()).abs() > 5, "the first axis separates them"
    with pytest.raises(FramiError):
        maps.project([])


def test_nearest_finds_made_and_real_ones_and_never_the_clip_itself():
    one, two, real = layer("one"), layer("two", seed=1), layer("real", real=True, seed=2)
    near = maps.nearest([one, two, real], "one", 3)
    assert [found.real for found, _, _ in near] == [False] * 3 + [True] * 2
    assert ("one", 3) not in [(found.key, row) for found, row, _ in near]
    made = torch.cat([one.pooled, two.pooled])
    distances = (made - one.pooled[3]).norm(dim=1).sort().values[1:4]
    assert torch.allclose(torch.tensor([d for found, _, d in near if not found.real]), distances)
    assert len(maps.nearest([one, two], "two", 0)) == 5, "without recordings five made ones"
    of_real = maps.nearest([one, real], "real", 0)
    assert sum(found.real for found, _, _ in of_real) == 2 and all(d > 0 for _, _, d in of_real)
    assert len(maps.nearest([layer("alone", count=1)], "alone", 0)) == 0
    for key, row in (("one", 12), ("one", -1), ("three", 0)):
        with pytest.raises(FramiError):
            maps.nearest([one], key, row)


def test_measures_are_those_of_the_command():
    made, real = layer("one", 40), layer("real", 30, real=True, seed=1)
    row = maps.measures(made, real, count=20)
    expected = diversity.measure(
        made.pooled[:20], made.target[:20], made.predicted[:20], real.pooled, real_labels=real.target, k=diversity.K
    )
    assert row["samples"] == 20 and row["coverage"] == expected.coverage and row["vendi"] == expected.vendi
    assert row["intervals"]["vendi"] == list(expected.intervals["vendi"])
    assert json.loads(json.dumps(row)) == row, "plain numbers"
    alone = maps.measures(made, layer("real", 4, real=True))
    assert alone["coverage"] is None and alone["frechet"] is None and alone["vendi"] > 1


def test_what_is_stored_is_found_again_and_belongs_to_its_banks(tmp_path, monkeypatch):
    monkeypatch.setattr(projection, "umap_map", lambda features, seed=0: features[:, :2].numpy())
    layers = [layer("one"), layer("two", seed=1)]
    saved = maps.save(tmp_path, layers, {"rows": []})
    again = maps.load(tmp_path)
    assert again.of(layers) and again.measures == {"rows": []}
    assert torch.allclose(again.map.pca, saved.map.pca, atol=1e-3)
    assert torch.allclose(again.map.umap, saved.map.umap, atol=1e-3)
    assert not again.of(layers[::-1]) and not again.of(layers[:1])
    assert not again.of([layers[0], replace(layers[1], pooled=layers[1].pooled + 1e-3)])
    for broken in (
        "",
        "[]",
        '{"format": 99}',
        (tmp_path / maps.FILE).read_text().replace('"clips": 12', '"clips": 13'),
    ):
        (tmp_path / maps.FILE).write_text(broken)
        assert maps.load(tmp_path) is None
    assert maps.load(tmp_path / "nowhere") is None


def test_recordings_may_be_missing_from_a_map_and_move_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(projection, "umap_map", lambda features, seed=0: features[:, :2].numpy())
    layers = [layer("one"), layer("two", seed=1), layer("real", 4, real=True)]
    maps.save(tmp_path, layers, {"rows": []})
    stored = maps.load(tmp_path)
    whole, made = stored.of(layers), stored.of(layers[:2])
    assert len(whole.pca) == len(whole.umap) == sum(map(len, layers))
    assert torch.equal(made.pca, whole.pca[: len(made.pca)]) and torch.equal(made.umap, whole.umap[: len(made.umap)])
    assert stored.of(layers[:1]) is None and stored.of(layers[1:]) is None


def test_recordings_are_embedded_once(tmp_path, make_tree, monkeypatch):
    root = make_tree("fsdd", tmp_path, speakers=SPEAKERS, takes=2)
    teacher = checkpoints.load("fsdd")
    first = maps.recorded(teacher, most=12, data_folder=root)
    assert len(first.layer) == 12 and first.layer.real
    assert first.layer.target.bincount(minlength=10).min() == 1, "classes take turns"
    assert {first.clips.clips[row].fold for row in first.rows} == {"theo"}, "held out of the training"
    monkeypatch.setattr(maps, "embed", lambda *a, **k: pytest.fail("the features were stored"))
    again = maps.recorded(teacher, most=12, data_folder=root)
    assert torch.equal(again.layer.pooled, first.layer.pooled) and again.rows == first.rows
    monkeypatch.undo()
    assert len(maps.recorded(teacher, split="train", data_folder=root).layer) == 80
    with pytest.raises(data.DataError):
        maps.recorded(teacher, data_folder=tmp_path / "nowhere")


def test_the_gallery_makes_banks_with_their_map_and_goes_on(tmp_path, make_tree, monkeypatch):
    monkeypatch.setattr(projection, "umap_map", lambda features, seed=0: features[:, :2].numpy())
    monkeypatch.setattr(gallery, "_BATCH", 4)
    teacher = checkpoints.load("fsdd")
    root = make_tree("fsdd", tmp_path / "data", speakers=SPEAKERS)
    choices = {"recipes": ("frami", "cmi"), "samples": 8, "steps": 2, "data_folder": root}
    said = []

    def stop(what, done, total):
        said.append(what)
        if what == "cmi" and done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.explore(teacher, tmp_path / "out", **choices, report=stop)
    half = banks.load(tmp_path / "out" / "cmi")
    assert len(half) == 4 and not half.manifest["complete"]
    before = banks.load(tmp_path / "out" / "frami")
    value = gallery.explore(teacher, tmp_path / "out", **choices)
    assert value["clips"] == {"frami": 8, "cmi": 8}
    after = [banks.load(tmp_path / "out" / name) for name in ("frami", "cmi")]
    assert torch.equal(after[0].frames, before.frames), "what was finished stays"
    assert torch.equal(after[1].frames[: len(half.frames)], half.frames)
    assert not list((tmp_path / "out").rglob("*.wav")) and not list((tmp_path / "out").rglob("*.flac"))
    stored = maps.load(tmp_path / "out")
    assert stored.of([maps.of_bank(name, name, bank) for name, bank in zip(("frami", "cmi"), after, strict=True)])
    measured = stored.measures
    assert (measured["dataset"], measured["folds"], measured["real_clips"]) == ("fsdd", ["theo"], 10)
    assert [row["key"] for row in measured["rows"]] == ["frami", "cmi"] and measured["rows"][0]["coverage"] is not None
    assert measured["reference"]["samples"] == 8
    files = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {
        "map.json",
        "recordings.safetensors",
        "manifest.json",
        *(f"shard-0000{i}.safetensors" for i in range(2)),
    }
    assert measured["judge"] == judges.of(teacher).says()
    for row in (*measured["rows"], measured["reference"]):
        assert 0 <= row["judge_accuracy"] <= 1 and row["judge_coverage"] is not None and row["intervals"]["judge_kad"]
    before = json.loads((tmp_path / "out" / maps.FILE).read_text())
    bare = [{k: v for k, v in row.items() if not k.startswith("judge")} for row in before["measures"]["rows"]]
    (tmp_path / "out" / maps.FILE).write_text(json.dumps(before | {"measures": before["measures"] | {"rows": bare}}))
    with pytest.raises(FramiError, match="--data"):
        gallery.measure_again(teacher, tmp_path / "out", data_folder=tmp_path / "nowhere")
    gallery.measure_again(teacher, tmp_path / "out", data_folder=root)
    assert json.loads((tmp_path / "out" / maps.FILE).read_text()) == before, "measured again, all else as it was"
    without = gallery.explore(teacher, tmp_path / "out", **choices | {"data_folder": tmp_path / "nowhere", "seed": 1})
    assert without["measures"]["real_clips"] == 0 and without["measures"]["rows"][0]["coverage"] is None
    assert banks.load(tmp_path / "out" / "frami").manifest["settings"]["seed"] == 1, "other settings replace a bank"


@pytest.mark.parametrize("name", ["fsdd", "esc10", "urbansound8k"])
def test_the_bundled_map_belongs_to_the_bundled_banks_and_teacher(name):
    folder = checkpoints.BUNDLED.parent / "assets" / "explore" / name
    teacher = checkpoints.load(name)
    found = {key: banks.load(folder / key) for key in gallery.EXPLORE}
    stored = maps.load(folder)
    assert stored.of([maps.of_bank(key, key, bank) for key, bank in found.items()])
    assert stored.measures["real_clips"] > 0 and stored.measures["folds"] == teacher.card.split["test"]
    assert stored.measures["judge"] == judges.of(teacher).says()
    assert all(0 <= row["judge_accuracy"] <= 1 for row in (*stored.measures["rows"], stored.measures["reference"]))
    for bank in found.values():
        assert bank.manifest["complete"] and not bank.damaged
        assert bank.manifest["settings"]["teacher_sha256"] == teacher.card.sha256
        predicted = banks.predictor(teacher.model)(*bank.batch(range(20))[:2])
        assert (predicted == bank.predicted[:20]).float().mean() > 0.9, "the bank belongs to this very teacher"


def test_the_bundled_maps_are_small():
    folder = checkpoints.BUNDLED.parent / "assets" / "explore"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
