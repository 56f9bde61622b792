"""Sound files, cards, manifests, shards and databases that were damaged or forged: each is read, or refused in one line
that a person understands, at once and without taking memory.

A few hundred of each here; `make fuzz` tries 10,000 sound files and 5,000 of each of the others.
"""

import io
import json
import resource
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from frami import audio, audio_input, banks, checkpoints, hub
from frami.banks import shards
from frami.distill.settings import RunSettings
from frami.errors import FramiError
from frami.features import maps
from frami.inversion import InversionSettings
from frami.mel import MelSpec
from frami.runs import Runs
from tests.helpers import mutations
from tests.helpers.mutations import damaged, forged, quickly

EARLIER = Path(__file__).parent / "earlier"
#: Seconds of the processor and MB that one file may take.
SLOW, LARGE = 10, 700


@contextmanager
def refused_at_most():
    """What the block does ends in an error for users at worst, soon, and takes little memory."""
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        yield
    except FramiError as error:
        message = str(error)
        assert message and len(message.splitlines()) == 1 and len(message) < 2_000, message[:3_000]
    assert time.process_time() - begin < SLOW
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < LARGE


# --- sound files -----------------------------------------------------------------------------------------------------


def sounds() -> list[bytes]:
    """A sound in the formats that are read."""
    at = np.arange(6_000) / 22_050
    tone = (0.3 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    kinds = [
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
        ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"), ("AU", "ULAW"), ("CAF", "ALAC_16"),
    ]  # fmt: skip
    found = []
    for kind, subtype in kinds:
        for channels in (1, 2):
            out = io.BytesIO()
            rate = 24_000 if subtype == "OPUS" else 22_050
            soundfile.write(out, np.stack([tone] * channels, 1), rate, format=kind, subtype=subtype)
            found.append(out.getvalue())
    return found


SOUNDS = sounds()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mutations")


@quickly(150, 67)
@given(content=damaged(SOUNDS))
def test_sound_files(folder, content):
    path = folder / "x.wav"
    path.write_bytes(content)
    with refused_at_most():
        assert len(audio.load(path, 16_000)) <= 3_600 * 16_000
    with refused_at_most():
        audio_input.read(path, MelSpec())


# --- cards -----------------------------------------------------------------------------------------------------------

CARD = json.loads((EARLIER / "teacher.json").read_text()) | {"sha256": "", "measured": {"interval": [0.5, 1.0]}}


def loaded(folder: Path, text: str | bytes) -> None:
    for ending in (".safetensors", ".json"):
        shutil.copy(EARLIER / f"teacher{ending}", folder / f"model{ending}")
    path = folder / "model.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with refused_at_most():
        checkpoints.load(folder / "model")
    with refused_at_most():
        hub.checked(path, checkpoints.Card)


@quickly(100, 50)
@given(text=forged(CARD))
def test_cards(folder, text):
    loaded(folder, text)


@quickly(30, 50)
@given(content=damaged([json.dumps(CARD, indent=1).encode()]))
def test_damaged_cards(folder, content):
    loaded(folder, content)


@quickly(30, 50)
@given(content=damaged([(EARLIER / "teacher.safetensors").read_bytes()]))
def test_weights(folder, content):
    (folder / "it.json").write_text(json.dumps(CARD))
    (folder / "it.safetensors").write_bytes(content)
    with refused_at_most():
        checkpoints.load(folder / "it")


@quickly(50, 50)
@given(text=forged(MelSpec.preset("ast").to_dict()))
def test_front_ends(folder, text):
    (folder / "spec.json").write_text(text)
    with refused_at_most():
        MelSpec.read(folder / "spec.json").filterbank()


# --- banks -----------------------------------------------------------------------------------------------------------

MANIFEST = json.loads((EARLIER / "bank" / banks.MANIFEST).read_text())


@pytest.fixture(scope="module")
def bank(folder) -> Path:
    return shutil.copytree(EARLIER / "bank", folder / "bank")


def opened(bank: Path) -> None:
    with refused_at_most():
        found = banks.load(bank)
        assert len(found) <= 8 and len(found.damaged) < 30
        found.clips()
        found.trajectory(0)
        found.made_from(checkpoints.read_card(EARLIER / "teacher"))
        found.sound(0)
        InversionSettings.from_dict(found.manifest["settings"])
    with refused_at_most():
        banks.create(bank, MANIFEST["settings"], MANIFEST["classes"], MelSpec())


@quickly(100, 50)
@given(text=forged(MANIFEST))
def test_manifests(bank, text):
    (bank / banks.MANIFEST).write_text(text)
    opened(bank)


@quickly(30, 50)
@given(content=damaged([json.dumps(MANIFEST).encode()]))
def test_damaged_manifests(bank, content):
    (bank / banks.MANIFEST).write_bytes(content)
    opened(bank)


SHARD = (EARLIER / "bank" / "shards" / "shard-00000.safetensors").read_bytes()


@st.composite
def forged_shard(draw) -> bytes:
    """A shard with another tensor in place of one, and a checksum that fits."""
    tensors = safetensors.torch.load(SHARD)
    tensors = {{"asked": "target", "heard": "predicted"}.get(name, name): one for name, one in tensors.items()}
    name = draw(st.sampled_from(sorted(tensors)))
    there = tensors[name]
    shape = draw(st.sampled_from([(), (0,), (1,), (2,), (3, 1), (0, 80), (1, 1, 1), tuple(there.shape)]))
    kind = draw(st.sampled_from([there.dtype, torch.int64, torch.int32, torch.float32, torch.float64, torch.bool]))
    number = draw(st.sampled_from([0, 1, -1, 5, 2**31, 2**40, 2**62, float("nan")]))
    tensors[name] = torch.tensor(number).to(kind).expand(shape).clone(memory_format=torch.contiguous_format)
    if draw(st.booleans()):
        del tensors[draw(st.sampled_from(sorted(tensors)))]
    first = draw(st.sampled_from([0, 0, 2, -5, 2**62, 10**30]))
    crc = shards._crc({name: one for name, one in tensors.items() if name in shards.CLIPS}, first)
    shown = shards._crc({name: one for name, one in tensors.items() if name in shards._TRAJECTORY}, first)
    about = {"format": "3", "first": str(first), "crc32": crc, "trajectory_crc32": shown}
    return mutations.Content(safetensors.torch.save(tensors, about))


@quickly(100, 50)
@given(content=damaged([SHARD]) | forged_shard(), number=st.sampled_from([0, 0, 1, 3, 99_999, 10**6, 999_999_999]))
def test_shards(bank, content, number):
    (bank / banks.MANIFEST).write_text(json.dumps(MANIFEST))
    for path in (bank / "shards").iterdir():
        path.unlink()
    shutil.copy(EARLIER / "bank" / "shards" / "shard-00001.safetensors", bank / "shards")
    (bank / "shards" / f"shard-{number:05d}.safetensors").write_bytes(content)
    opened(bank)


# --- maps ------------------------------------------------------------------------------------------------------------

MAP = {
    "format": 1, "banks": [{"key": "frami", "clips": 2, "digest": "0"}], "share": [0.5, 0.2],
    "pca": [[0.1, 1.0], [0.2, 2.0]], "umap": [[0.1, 1.0], [0.2, 2.0]], "measures": {"rows": [], "real_clips": 0},
}  # fmt: skip


@quickly(50, 50)
@given(text=forged(MAP))
def test_maps(folder, text):
    (folder / maps.FILE).write_text(text)
    with refused_at_most():
        found = maps.load(folder)
        assert found is None or found.map.pca.shape == found.map.umap.shape == (len(found.map.pca), 2)


# --- the database of runs --------------------------------------------------------------------------------------------

SETTINGS = {"teacher": "fsdd", "student": "nano", "recipe": "frami", "rounds": 2, "clips": 2, "steps": 4, "seed": 0}


@pytest.fixture(scope="module")
def store(folder) -> Path:
    """A database with a run and its curve."""
    path = folder / "runs" / "runs.sqlite"
    runs = Runs(path)
    run = runs.create("distill", "it", SETTINGS, folder / "run")
    runs.start(run.id)
    runs.log(run.id, 1, 0.5, {"kd": 1.0})
    runs.finish(run.id, {"accuracy": 0.5})
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA journal_mode = DELETE")
    return path


def looked_at(path: Path) -> None:
    runs = Runs(path)
    with refused_at_most():
        for run in runs.list():
            with refused_at_most():
                RunSettings.from_dict(run.settings)
            with refused_at_most():
                json.dumps(run.to_dict())
                runs.compare([run.id, run.id])
                runs.metrics(run.id)
                runs.find(run.id)
    for do in (runs.start, runs.stop, lambda id: runs.fail(id, "x"), runs.delete):
        with refused_at_most():
            do("it")


@st.composite
def forged_rows(draw) -> list[tuple[str, tuple]]:
    """Statements of SQL that put something else into a column."""
    columns = ["kind", "name", "settings", "created", "updated", "pid", "folder", "result", "error"]
    found = []
    for _ in range(draw(st.integers(1, 2))):
        value = draw(mutations.values | st.sampled_from([b"", b"\xff\0", b"{}", "{", "[" * 100_000]))
        if isinstance(value, list | dict):
            value = json.dumps(value)
        value = mutations.Text(value) if isinstance(value, str) else value
        if (isinstance(value, int) and abs(value) >= 2**63) or value == "\ud800":
            value = "9" * 5_000
        if draw(st.booleans()) and draw(st.booleans()):
            column = draw(st.sampled_from(["name", "step", "seconds", "value"]))
            found.append((f"UPDATE metrics SET {column} = ?", (value,)))
        else:
            found.append((f"UPDATE runs SET {draw(st.sampled_from(columns))} = ?", (value,)))
    if draw(st.booleans()):
        text = mutations.Text(draw(forged(SETTINGS)).encode("utf-8", "replace").decode())
        found.append(("UPDATE runs SET settings = ?", (text,)))
    return found


@quickly(60, 50)
@given(statements=forged_rows())
def test_rows_of_a_database(store, statements):
    path = store.with_name("it.sqlite")
    shutil.copy(store, path)
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE runs SET id = 'it', status = 'running', pid = 1")
        base.execute("UPDATE metrics SET run = 'it'")
        for statement, given_values in statements:
            with suppress(sqlite3.IntegrityError):  # NaN is NULL there
                base.execute(statement, given_values)
    looked_at(path)


@quickly(40, 50)
@given(data=st.data())
def test_damaged_databases(store, data):
    for path in store.parent.glob("it.sqlite*"):
        path.unlink()
    path = store.with_name("it.sqlite")
    path.write_bytes(data.draw(damaged([store.read_bytes()])))
    looked_at(path)
