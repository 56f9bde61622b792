"""Files that a stranger forged, each a small one that would hang a command or take gigabytes if it were believed: one
line, exit status 2."""

import json
import os
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import safetensors.torch
import torch

from frami import banks, checkpoints, files, models, schema
from frami.adapter import published
from frami.banks import shards
from frami.errors import FramiError
from frami.features import maps
from frami.mel import MelSpec, MelSpecError
from frami.runs import RunError, Runs
from tests.helpers.cli import run
from tests.test_mutations import MAP

EARLIER = Path(__file__).parent / "earlier"
DEEP = "[" * 100_000 + "]" * 100_000


def refused(capsys, *arguments) -> str:
    status, out, err = run(capsys, *arguments)
    assert status == 2 and not out and len(err.splitlines()) == 1 and "Traceback" not in err, err
    assert len(err) < 1_000
    return err


def edit(path: Path, change) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


# --- cards -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def card(tmp_path) -> Path:
    for ending in (".safetensors", ".json"):
        shutil.copy(EARLIER / f"teacher{ending}", tmp_path / f"it{ending}")
    return tmp_path / "it.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["model"].update(depth=10**9), "model is the configuration of a network of usual size"),
        (lambda v: v["model"].update(depth=1e9), "model is the configuration"),
        (lambda v: v["model"].update(depth=100_000), "depth is a whole number from 1 to 64, not 100000"),
        (lambda v: v["model"].update(width=60_000), "the file has [4, 4, 3, 3], the network [60000, 60000, 3, 3]"),
        (lambda v: v["model"].update(architecture="tc-resnet", depth=64), "the file has"),
        (lambda v: v["model"].update(projected=65_536, bottleneck=65_536), "the file has"),
        (lambda v: v["mel_spec"].update(n_fft=10**9), "mel_spec is an object of settings of usual size"),
        (lambda v: v["mel_spec"].update(n_fft=1e9), "mel_spec is an object of settings of usual size"),
        (lambda v: v["mel_spec"].update(n_mels=60_000), "n_mels is 1,024 at most"),
        (lambda v: v["mel_spec"].update(sample_rate=10**9, f_max=4e8), "sample_rate is 768,000 at most"),
        (lambda v: v.update(seconds="x"), "seconds is a number from 0.01 to 3600, not x"),
        (lambda v: v.update(seconds=1e308), "seconds is a number"),
        (lambda v: v.update(classes=3.7), "classes is a list of two or more names"),
        (lambda v: v.update(classes=list(range(10))), "classes is a list of two or more names"),
        (lambda v: v.update(name="x" * 100_000), "name is a text of one line"),
        (lambda v: v.update(parameters=True), "parameters is a whole number"),
        (lambda v: v.update(mel_spec=None), "mel_spec is an object of settings"),
        (lambda v: v.update(model=None), "model is the configuration"),
        (lambda v: v.update(surprise=1), "no field of it: surprise"),
    ],
)
def test_a_card_is_not_trusted_with_sizes(capsys, card, change, said):
    edit(card, change)
    assert said in refused(capsys, "synthesize", "--teacher", card, "--out", card.parent / "bank")
    assert not (card.parent / "bank").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [(DEEP, "nested too deep"), ('{"a":' * 70 + "1" + "}" * 70, "nested too deep"), ("9" * 5_000, "digits")],
)
def test_json_that_is_deep_or_long(capsys, card, text, said):
    card.write_text(text)
    assert said in refused(capsys, "evaluate", card)
    (card.parent / "frontend.json").write_text(text)
    with pytest.raises(FramiError, match=r"not JSON|JSON object|unknown: a;"):
        MelSpec.read(card.parent / "frontend.json")


def test_a_card_that_is_large_or_no_file(capsys, card):
    os.truncate(card, files.LARGEST + 1)
    assert "MB, more than the 17 that are read" in refused(capsys, "evaluate", card)
    card.unlink()
    os.mkfifo(card)
    assert "a pipe or a device" in refused(capsys, "evaluate", card)


def test_weights_of_terabytes_are_not_read(capsys, card):
    os.truncate(card.with_suffix(".safetensors"), 10**12)
    assert "1,000.0 GB, more than" in refused(capsys, "evaluate", card)


def test_a_front_end_has_bounds():
    for values in ({"n_fft": 2**17}, {"n_mels": 10**400}, {"sample_rate": 10**6, "f_max": 1.0}, {"f_max": 10**400}):
        with pytest.raises(MelSpecError):
            MelSpec(**values)


# --- banks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bank(tmp_path) -> Path:
    return shutil.copytree(EARLIER / "bank", tmp_path / "bank")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(shards=[]), "shards is a whole number from 0 to 10,000,000, not []"),
        (lambda v: v.update(shards=10**12), "shards is a whole number"),
        (lambda v: v.update(shards=-1), "shards is a whole number"),
        (lambda v: v.update(seconds="x"), "seconds is a number"),
        (lambda v: v.update(classes=3.7), "classes"),
        (lambda v: v.update(classes=[1, 2, 3, 4]), "classes"),
        (lambda v: v.update(ending="../x"), "ending"),
        (lambda v: v["mel_spec"].update(n_fft=1e9), "mel_spec is an object of settings of usual size"),
        (lambda v: v["mel_spec"].update(n_fft=3.5), "n_fft is a whole number"),
        (lambda v: v["settings"].update(recipe=7), "recipe"),
        (lambda v: v["settings"].update(samples="x"), "samples"),
        (lambda v: v.pop("shards"), "shards is missing"),
    ],
)
def test_a_manifest_is_not_trusted_with_sizes(capsys, bank, change, said):
    edit(bank / banks.MANIFEST, change)
    err = refused(capsys, "diversity", bank)
    assert "manifest.json: damaged (" in err and said in err


def test_shards_that_are_said_to_be_there_are_counted_not_looked_for(capsys, bank, monkeypatch):
    edit(bank / banks.MANIFEST, lambda v: v.update(shards=1_000_000))
    looks = []
    read = shards.read
    monkeypatch.setattr(shards, "read", lambda path: looks.append(path) or read(path))
    assert "shards is at most 2, of 4 clips in batches of 2, not 1,000,000" in refused(capsys, "diversity", bank)
    assert not looks
    edit(bank / banks.MANIFEST, lambda v: v["settings"].update(samples=10**6))
    edit(bank / banks.MANIFEST, lambda v: v.update(shards=500_000))
    found = banks.load(bank)
    assert len(found) == 4 and len(looks) <= 22
    assert len(found.damaged) == 20 and found.damaged[-1].endswith("(missing) and 499,978 more")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.bfloat16])
def test_types_that_no_shard_has(bank, kind):
    path = bank / "shards" / "shard-00000.safetensors"
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(tensors | {"frames": tensors["frames"].to(kind)}, path, metadata)
    found = banks.load(bank)
    assert len(found) == 2 and found.damaged[0].startswith("shards/shard-00000.safetensors (")


@pytest.mark.parametrize("name", ["shard-999999999.safetensors", "shard-9999999.safetensors"])
def test_a_shard_of_a_large_number(bank, name):
    shutil.copy(bank / "shards" / "shard-00000.safetensors", bank / "shards" / name)
    found = banks.load(bank)
    assert len(found) in (4, 6) and len(found.damaged) in (0, 20)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(lengths=torch.tensor([2**40, 17])),
        lambda t: t.update(lengths=torch.tensor([-1, 35])),
        lambda t: t.update(lengths=t["lengths"].int()),
        lambda t: t.update(target=torch.tensor([0, 4])),
        lambda t: t.update(predicted=torch.tensor([0, -1])),
        lambda t: t.update(logits=t["logits"][:1]),
        lambda t: t.update(confidence=t["confidence"][:, None]),
        lambda t: t.update(pooled=t["pooled"][:, :0]),
        lambda t: t.update(frames=t["frames"][:5]),
    ],
)
def test_tensors_of_a_shard_that_do_not_belong_together(bank, change):
    """With a checksum that fits."""
    path = bank / "shards" / "shard-00000.safetensors"
    names = {"asked": "target", "heard": "predicted"}
    tensors = {names.get(name, name): one for name, one in safetensors.torch.load_file(path).items()}
    change(tensors)
    tensors = {name: one.contiguous() for name, one in tensors.items()}
    about = {"format": "3", "first": "0", "crc32": shards._crc(tensors, 0)}
    path.write_bytes(safetensors.torch.save(tensors, about))
    found = banks.load(bank)
    assert len(found) == 2 and found.damaged == ["shards/shard-00000.safetensors (its tensors do not belong together)"]


# --- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE runs SET pid = 'x'", "UPDATE runs SET pid = -1", "UPDATE runs SET created = 'x'",
        "UPDATE runs SET settings = 7", "UPDATE runs SET settings = '[]'", "UPDATE runs SET result = x'ff00'",
        "UPDATE runs SET folder = x'ff00'", f"UPDATE runs SET settings = '{DEEP}'", "UPDATE runs SET name = x'00'",
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_row_of_the_database_is_not_trusted(capsys, fresh_home, statement):
    store = Runs()
    id = store.create("distill", "it", {"teacher": "fsdd"}).id
    with closing(sqlite3.connect(store.path)) as base, base:
        base.execute(statement)
    assert "the run store is damaged (" in refused(capsys, "runs", "list")
    for do in (store.start, store.stop, store.delete):  # of a row that nobody can have written: it can be taken away
        try:
            do(id)
        except RunError as error:
            assert "damaged" in str(error)


def test_a_database_whose_names_are_no_text(capsys, fresh_home, monkeypatch):
    """Python cannot decode what SQLite says of it."""
    Runs().create("distill", "it", {"teacher": "fsdd"})

    def undecodable(_):
        raise UnicodeDecodeError("utf-8", b"\xc5", 0, 1, "invalid continuation byte")

    monkeypatch.setattr(Runs, "_open", undecodable)
    assert "the run store is damaged (" in refused(capsys, "runs", "list")


def test_settings_of_a_run_are_not_trusted(capsys, fresh_home):
    store = Runs()
    for values in ({"steps": "x"}, {"clips": 1e9}, {"batch": True}, {"recipe": 7}, {"lr": "x"}, {"seed": [1]}):
        id = store.create("distill", "it", {"teacher": "fsdd"} | values).id
        assert next(iter(values)) in refused(capsys, "distill", "--run", id)


def test_a_map_is_not_trusted(tmp_path):
    for change in ({"pca": "x"}, {"banks": [{"key": "a", "clips": 10**18, "digest": "0"}]}, {"umap": [[1e999, 0]] * 2}):
        (tmp_path / maps.FILE).write_text(json.dumps(MAP | change))
        assert maps.load(tmp_path) is None
    (tmp_path / maps.FILE).write_text(DEEP)
    assert maps.load(tmp_path) is None
    (tmp_path / maps.FILE).write_text(json.dumps(MAP))
    assert maps.load(tmp_path).digests == {"frami": "0"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\n" + "b" * 3_000, "names of more than 2,000 signs"),
        ("\n".join(map(str, range(100_001))), "more than 100,000 classes"),
        ("a\na\nb", "twice: a"),
        (None, "a pipe or a device"),
    ],
)
def test_a_list_of_classes_has_bounds(capsys, tmp_path, content, said):
    path = Path("/dev/zero") if content is None else tmp_path / "classes.txt"
    if content is not None:
        path.write_text(content)
    given = ["--architecture", "residual:nano", "--weights", tmp_path / "w.pth", "--classes", path]
    assert said in refused(capsys, "import", *given, "--out", tmp_path / "it")


@pytest.mark.parametrize(
    ("name", "key", "sizes"),
    [
        ("panns:Cnn14", "conv_block1.conv1.weight", (100_000, 1, 3, 3)),
        ("panns:MobileNetV1", "features.0.0.weight", (100_000, 1, 3, 3)),
        ("speechbrain:ecapa", "embedding_model.blocks.0.conv.conv.weight", (100_000, 80, 1)),
    ],
)
def test_a_strangers_weights_are_compared_before_a_network_is_made(tmp_path, monkeypatch, name, key, sizes):
    """A file of one large tensor, which says the width of all layers."""
    tensors = {one: torch.zeros(shape) for one, shape in _least(name).items()} | {key: torch.zeros(sizes)}
    torch.save(tensors, tmp_path / "w.pth")
    empty, made = torch.empty, []

    def watched(*given, **choices):
        found = empty(*given, **choices)
        made.append(0 if found.is_meta else found.numel())
        return found

    monkeypatch.setattr(torch, "empty", watched)
    with pytest.raises(FramiError, match=r"not the weights of|no weights of|no name begins"):
        published.load(name, tmp_path / "w.pth", 2, 64)
    assert max(made, default=0) < 10**6


def _least(name: str) -> dict[str, tuple[int, ...]]:
    """Small tensors of the names that say the other sizes."""
    if name == "speechbrain:ecapa":
        convs = ["blocks.0.conv.conv", "blocks.1.tdnn1.conv.conv", "blocks.1.res2net_block.blocks.0.conv.conv"]
        convs += ["blocks.1.se_block.conv1.conv", "mfa.conv.conv", "asp.tdnn.conv.conv", "fc.conv"]
        return {f"embedding_model.{one}.weight": (8, 8, 1) for one in convs} | {"classifier.weight": (2, 8)}
    points = {f"features.{k}.4.weight": (100_000, 1, 1, 1) for k in range(1, 14)} if "Mobile" in name else {}
    return {"bn0.weight": (64,), "fc1.weight": (8, 8)} | points


def test_weights_that_are_packed_are_not_unpacked(tmp_path):
    torch.save({"x": torch.zeros(1_000_000)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as there,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for one in there.namelist():
            packed.writestr(one, there.read(one))
    assert (tmp_path / "small.pth").stat().st_size < 20_000
    with pytest.raises(FramiError, match="it is compressed"):
        published.read(tmp_path / "small.pth")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_is_one_line(capsys, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr("frami.checkpoints.bundled", full)
    assert "not enough memory" in refused(capsys, "teachers")


@pytest.mark.parametrize("saved", [{"batches": "x", "seconds": 1.0, "state": None}, {"batches": 1}, [1], 7])
def test_a_saved_state_of_another_kind_is_none(capsys, tmp_path, saved):
    """An unfinished bank goes on behind its last whole shard."""
    bank = shutil.copytree(EARLIER / "half-frami-fast", tmp_path / "bank")
    torch.save(saved, bank / "resume.pt")
    settings = ["--recipe", "frami-fast", "--samples", 4, "--batch", 2, "--steps", 3, "--seconds", 0.2, "--no-sounds"]
    status, _, err = run(capsys, "synthesize", "--teacher", EARLIER / "teacher", *settings, "--out", bank)
    assert status == 0 and "behind the 2 clips" in err


def test_a_configuration_is_built_within_bounds():
    for values in ({"classes": 3, "depth": 10**6}, {"classes": True}, {"classes": 3, "width": 2.5}, {"classes": "x"}):
        with pytest.raises(schema.SchemaError):
            models.from_dict(values)
    assert checkpoints.load("fsdd").model.config == models.from_dict(checkpoints.load("fsdd").card.model).config
