"""Models of the Hugging Face Hub become teachers, and checkpoints go there and come back; a server in this process
stands in for the Hub, and whatever a repository holds is a stranger's."""

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from frami import checkpoints
from frami.adapter.importing import as_program, from_module
from frami.errors import FramiError
from frami.hub import find
from frami.hub.folders import wanted
from frami.hub.page import text
from frami.mel import MelSpec
from frami.paths import home
from tests.helpers import hub as stand_in
from tests.helpers.cli import run
from tests.helpers.networks import BANDS, CLASSES, network
from tests.test_checkpoints import trained_like
from tests.test_importing import Trap

LABELS = ["rain", "wind", "dog bark"]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "num_mel_bins": 64,
    "max_length": 96,
}  # fmt: skip


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub of its own with a cache of its own."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    with stand_in.running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture(scope="session")
def original():
    """A small AST with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        id2label=dict(enumerate(LABELS)), problem_type="multi_label_classification", **SIZES
    )
    model = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.3)
    return model


@pytest.fixture(scope="session")
def extractor():
    transformers = pytest.importorskip("transformers")
    return transformers.ASTFeatureExtractor(num_mel_bins=64, max_length=96, mean=-6.5, std=3.0)


@pytest.fixture(scope="session")
def as_saved(original, extractor, tmp_path_factory):
    """As Transformers saves them."""
    folder = tmp_path_factory.mktemp("theirs") / "small-ast"
    original.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture
def ast(as_saved, tmp_path):
    """A folder of one's own to change."""
    return Path(shutil.copytree(as_saved, tmp_path / "small-ast"))


def edit(path: Path, **values) -> None:
    kept = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in kept.items() if value is not ...}))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(capsys, *arguments) -> str:
    """The one line that a command ends with, and nothing of which is left."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and len(err.splitlines()) == 1, err
    assert not list((home() / "teachers").glob("*")), "nothing is left"
    return err


def same(one: checkpoints.Checkpoint, other: checkpoints.Checkpoint) -> None:
    x, lengths = torch.randn(3, 1, one.spec.n_mels, 60), torch.tensor([60, 20, 3])
    with torch.no_grad():
        for name, value in vars(one.model(x, lengths)).items():
            torch.testing.assert_close(getattr(other.model(x, lengths), name), value, rtol=0, atol=0)
    assert one.spec == other.spec and one.classes == other.classes


# --- models of Transformers ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_ast_becomes_a_teacher_that_distils(capsys, fresh_home, server, as_saved, tmp_path):
    status, out, err = run(capsys, "import", "--hub", as_saved, "--json")
    assert status == 0, err
    value = json.loads(out)
    assert {"name", "architecture", "parameters", "norms", "classes", "frames", "pooled", "shortest"} <= set(value)
    assert (value["name"], value["architecture"], value["norms"]) == ("small-ast", "program", 0)
    assert value["classes"] == LABELS and value["unused"] == [] and value["reusable"]
    assert (value["kind"], value["multilabel"]) == ("audio-spectrogram-transformer", True)
    assert value["longest"] == 96, "the frames of its patches"
    assert checkpoints.load("small-ast").card.seconds == pytest.approx(0.975)
    bank = ["--samples", 4, "--steps", 2, "--out", tmp_path / "bank"]
    assert run(capsys, "synthesize", "--teacher", "small-ast", *bank)[0] == 0
    quick = ["--rounds", 1, "--clips", 8, "--steps", 2, "--student", "nano", "--out", tmp_path / "student"]
    status, _, err = run(capsys, "distill", "--teacher", "small-ast", *quick)
    assert status == 0, err
    status, _, err = run(capsys, "export", tmp_path / "student", "--out", tmp_path / "student.onnx")
    assert status == 0, err
    for name, one in (("student", tmp_path / "student" / "student"), ("teacher", "small-ast")):
        status, _, err = run(capsys, "push", one, f"me/{name}")
        assert status == 0, err
        same(checkpoints.load(one), checkpoints.from_pretrained(f"me/{name}"))


@pytest.mark.parametrize("seconds", [0.1, 0.6, 0.975, 1.7])
def test_a_teacher_answers_as_transformers_does(fresh_home, capsys, as_saved, original, extractor, seconds):
    """From the sound on: the front-end, the padding behind a short clip, the end of a long one, the logits."""
    if not checkpoints.exists(home() / "teachers" / "small-ast"):
        assert run(capsys, "import", "--hub", as_saved)[0] == 0
    teacher = checkpoints.load("small-ast")
    sound = 0.1 * torch.randn(round(seconds * 16_000), generator=torch.Generator().manual_seed(3))
    theirs = extractor(sound.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    ours = teacher.spec(sound)
    count = min(96, ours.shape[-1])
    torch.testing.assert_close(ours.T[:count], theirs[0, :count], rtol=0, atol=1e-3)
    with torch.no_grad():
        found = teacher.model(ours[None, None]).logits
        torch.testing.assert_close(found, original(theirs).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [{}, {"num_mel_bins": 40, "sampling_rate": 22_050}, {"do_normalize": False}, {"mean": -1.0, "std": 2.5}],
    ids=["as published", "other sizes", "not scaled", "scaled"],
)
def test_the_front_end_is_that_of_the_extractor(settings, tmp_path):
    from frami.adapter.transformers import frontend

    transformers = pytest.importorskip("transformers")
    made = transformers.ASTFeatureExtractor(**settings)
    made.save_pretrained(tmp_path)
    spec = frontend(tmp_path / "preprocessor_config.json", {"num_mel_bins": made.num_mel_bins, "max_length": 1024})
    rate = spec.sample_rate
    time = np.arange(2 * rate) / rate
    sound = 0.2 * np.sin(2 * np.pi * (300 + 400 * time) * time) + np.random.default_rng(0).normal(0, 0.01, len(time))
    theirs = made(sound.astype(np.float32), sampling_rate=rate, return_tensors="pt")["input_values"][0]
    ours = spec(torch.from_numpy(sound).float()).T
    torch.testing.assert_close(ours, theirs[: len(ours)], rtol=0, atol=1e-3)
    if not settings:
        assert spec == MelSpec.preset("ast")


def test_names_of_classes_and_the_front_end_can_be_given(capsys, fresh_home, ast, tmp_path):
    edit(ast / "config.json", id2label={"0": "a", "2": "b"})
    (ast / "preprocessor_config.json").unlink()
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "mine.json").write_text('{"preset": "ast", "n_mels": 64}')
    given = ["--classes", tmp_path / "names.txt", "--frontend", tmp_path / "mine.json", "--seconds", 0.5]
    status, _, err = run(capsys, "import", "--hub", ast, *given, "--name", "mine", "--json")
    assert status == 0, err
    card = checkpoints.load("small-ast").card
    assert (card.name, card.classes, card.seconds) == ("mine", ("one", "two", "three"), 0.5)
    assert card.mel_spec == replace(MelSpec.preset("ast"), n_mels=64).to_dict()


def test_weights_in_parts_and_in_half_precision(capsys, fresh_home, ast, original):
    tensors = safetensors.torch.load_file(ast / "model.safetensors")
    (ast / "model.safetensors").unlink()
    for k in range(2):
        part = {key: tensors[key].half() for key in sorted(tensors)[k::2]}
        safetensors.torch.save_file(part, ast / f"model-0000{k + 1}-of-00002.safetensors")
    assert run(capsys, "import", "--hub", ast)[0] == 0
    x = torch.randn(2, 96, 64)
    with torch.no_grad():
        found = checkpoints.load("small-ast").model(x.transpose(1, 2)[:, None]).logits
        torch.testing.assert_close(found, original(x).logits, rtol=0.02, atol=0.02)
    (ast / "model-00002-of-00002.safetensors").unlink()
    assert "1 of 2 parts" in run(capsys, "import", "--hub", ast, "--overwrite")[2]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "wav2vec2"}, "takes the sound itself"),
        ({"model_type": "hubert"}, "takes the sound itself"),
        ({"model_type": "whisper"}, "30 seconds"),
        ({"model_type": "bert"}, "--program"),
        ({"model_type": ["\x1b[31m"]}, "is not taken"),
        ({"model_type": ...}, "'None' is not taken"),
        ({"id2label": {"0": "a", "2": "b"}}, "names no class 1 of 2; give the names with --classes"),
        ({"id2label": {"0": "a", "1": "b"}}, "3 classes, and 2 are named"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "names twice: a"),
        ({"id2label": {"0": "a", "1": 7, "2": "b"}}, "no name"),
        ({"id2label": {"0": "a", "1": "\x1b[31m", "2": "b"}}, "no name"),
        ({"id2label": {"0": "a", "x": "b"}}, "no numbers"),
        ({"id2label": ["a", "b", "c"]}, "names no classes"),
        ({"id2label": ...}, "names no classes"),
        ({"hidden_size": 10**9}, "hidden_size is a whole number from 1 to 4096"),
        ({"hidden_size": 4096}, "more than its files"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_hidden_layers": 3}, "more than its files"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers"),
        ({"num_attention_heads": 5}, "no multiple"),
        ({"intermediate_size": 40}, "of another shape"),
        ({"max_length": 16_000, "time_stride": 1, "frequency_stride": 1}, "pieces"),
        ({"patch_size": 200}, "patches are larger"),
        ({"patch_size": [16, 16]}, "patch_size"),
        ({"hidden_act": {"a": 1}}, "hidden_act"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ({"qkv_bias": None}, "qkv_bias"),
        ({"num_mel_bins": 128}, "num_mel_bins is 64, and that of its network 128"),
    ],
)
def test_a_configuration_that_is_not_taken_is_one_line(capsys, fresh_home, ast, values, said):
    edit(ast / "config.json", **values)
    err = refused(capsys, "import", "--hub", ast)
    assert said in err and "\x1b" not in err, err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"feature_extractor_type": "WhisperFeatureExtractor"}, "WhisperFeatureExtractor is not known"),
        ({"std": 0}, "std is a number from"),
        ({"mean": "loud"}, "mean is a number from"),
        ({"sampling_rate": 1e4}, "sampling_rate"),
        ({"max_length": 1024}, "max_length is 1024, and that of its network 96"),
        ({"do_normalize": "yes"}, "do_normalize"),
    ],
)
def test_a_feature_extractor_that_is_not_taken_is_one_line(capsys, fresh_home, ast, values, said):
    edit(ast / "preprocessor_config.json", **values)
    assert said in refused(capsys, "import", "--hub", ast)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: (d / "preprocessor_config.json").unlink(), "--frontend"),
        (lambda d: (d / "config.json").unlink(), "config.json: no such file"),
        (lambda d: (d / "config.json").write_text("{"), "not JSON"),
        (lambda d: (d / "config.json").write_text("[" * 100_000), "not JSON"),
        (lambda d: (d / "config.json").write_text("[1]"), "holds a list"),
        (lambda d: (d / "config.json").write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (lambda d: (d / "config.json").write_bytes(b" " * (2**24 + 1)), "more than any settings"),
        (lambda d: ((d / "config.json").unlink(), os.mkfifo(d / "config.json")), "not a file"),
        (lambda d: (d / "model.safetensors").write_bytes(b"\0" * 64), "not readable"),
        (lambda d: (d / "model.safetensors").rename(d / "model.pt"), "only .safetensors are read"),
        (lambda d: (d / "model.safetensors").unlink(), "holds no weights"),
        (lambda d: shutil.copy(d / "model.safetensors", d / "a.safetensors"), None),
    ],
)
def test_a_folder_that_is_not_taken_is_one_line(capsys, fresh_home, ast, change, said):
    change(ast)
    if said:
        assert said in refused(capsys, "import", "--hub", ast)
    else:
        assert run(capsys, "import", "--hub", ast)[0] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("classifier.dense.weight"), "no classifier"),
        (lambda t: t.pop("audio_spectrogram_transformer.embeddings.cls_token"), "more than its files"),
        (lambda t: t.update({"classifier.dense.weight": torch.zeros(3, 31)}), "more than its files"),
        (lambda t: t.update({"classifier.dense.bias": torch.full((3,), float("nan"))}), "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(capsys, fresh_home, ast, change, said):
    tensors = safetensors.torch.load_file(ast / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, ast / "model.safetensors")
    assert said in refused(capsys, "import", "--hub", ast)


def test_no_pickle_is_read(capsys, fresh_home, ast, tmp_path):
    (ast / "model.safetensors").unlink()
    torch.save({"classifier.dense.weight": Trap(tmp_path / "trap")}, ast / "pytorch_model.bin")
    err = refused(capsys, "import", "--hub", ast)
    assert "pytorch_model.bin" in err and "save_pretrained" in err and not (tmp_path / "trap").exists()


def test_code_of_a_repository_is_not_run(capsys, fresh_home, ast, tmp_path):
    (ast / "modeling_own.py").write_text(f"open({str(tmp_path / 'trap')!r}, 'w')\n")
    edit(ast / "config.json", auto_map={"AutoModelForAudioClassification": "modeling_own.Own"})
    assert run(capsys, "import", "--hub", ast)[0] == 0
    assert not (tmp_path / "trap").exists()


# --- the Hub ---------------------------------------------------------------------------------------------------------


def test_a_repository_is_fetched_once(capsys, fresh_home, server, as_saved, monkeypatch):
    server.repositories["them/small-ast"] = files_of(as_saved) | {
        "pytorch_model.bin": b"no", "modeling.py": b"no", "onnx/model.safetensors": b"no", "tokenizer.json": b"{}",
    }  # fmt: skip
    server.facts["them/small-ast"] = {"cardData": {"license": "bsd-3-clause"}}
    status, out, err = run(capsys, "import", "--hub", "them/small-ast", "--json")
    assert status == 0, err
    value, commit = json.loads(out), server.commit("them/small-ast")
    assert value["source"] == f"them/small-ast@{commit[:12]}" and value["name"] == "small-ast"
    assert checkpoints.load("small-ast").card.licence == "bsd-3-clause"
    fetched = {line.rpartition("/")[2] for line in server.asked if "/resolve/" in line}
    assert fetched == {"config.json", "preprocessor_config.json", "model.safetensors"}
    server.asked.clear()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody is there
    status, _, err = run(capsys, "import", "--hub", "them/small-ast", "--overwrite")
    assert status == 0 and not server.asked, err


@pytest.mark.parametrize("revision", ["main", "v1", "refs/pr/1"])
def test_a_revision_is_taken(server, as_saved, revision):
    server.repositories["them/small-ast"] = files_of(as_saved)
    assert find(f"them/small-ast@{revision}").label == f"them/small-ast@{server.commit('them/small-ast')[:12]}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("them/none", "no repository them/none at http://127.0.0.1"),
        ("them/gated", "them/gated is gated: accept its terms"),
        ("them/private", "log in with 'hf auth login'"),
        ("them/forbidden", "may not be read (403)"),
        ("them/broken", "answers with status 500"),
        ("them/model@v9", "no revision 'v9'"),
        ("them/model@../x", "no revision"),
        ("them/model@", "no revision"),
        ("them/pickle", "pytorch_model.bin only"),
        ("them/empty", "holds no weights"),
        ("them/huge", "GB of weights"),
        ("them/many", "files of weights"),
        ("them/long", "more than any settings"),
        ("model", "which is OWNER/NAME"),
        ("a/b/c", "which is OWNER/NAME"),
        ("/nowhere/model", "no folder"),
        ("./model", "no folder"),
        ("them/..", "no name of a repository"),
        ("them/mo del", "no name of a repository"),
        ("them/" + "x" * 200, "no name of a repository"),
        ("", "name a repository"),
        ("https://huggingface.co/them/model", "which is OWNER/NAME"),
        ("FILE", "is a file; name the folder"),
        ("EMPTY", "holds no weights"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(capsys, fresh_home, server, as_saved, tmp_path, given, said):
    (tmp_path / "empty").mkdir()
    given = {"FILE": str(as_saved / "config.json"), "EMPTY": str(tmp_path / "empty")}.get(given, given)
    server.refusals = {
        "them/gated": (403, "GatedRepo"), "them/private": (401, "RepoNotFound"), "them/forbidden": (403, ""),
        "them/broken": (500, ""),
    }  # fmt: skip
    server.claims = {"huge.safetensors": 10**11, "long.json": 10**9}
    server.repositories |= {
        "them/model": files_of(as_saved),
        "them/pickle": {"pytorch_model.bin": b"x", "config.json": b"{}"},
        "them/empty": {"README.md": b"x"},
        "them/huge": {"huge.safetensors": b"x"},
        "them/many": {f"m{k}.safetensors": b"x" for k in range(100)},
        "them/long": {"long.safetensors": b"x", "long.json": b"x"},
    }
    assert said in refused(capsys, "import", "--hub", given)


def test_without_a_network_it_says_so(capsys, fresh_home, server, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert "is there a network?" in refused(capsys, "import", "--hub", "them/model")


def test_a_full_disk_is_said(capsys, fresh_home, server, as_saved, monkeypatch):
    server.repositories["them/model"] = files_of(as_saved)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert "no space left for them/model; make room" in refused(capsys, "import", "--hub", "them/model")


def test_files_are_chosen_by_their_names():
    names = ["model.safetensors", "config.json", "a/model.safetensors", "../x.safetensors", ".x.safetensors", "x.json"]
    assert wanted([*names, "x\n.safetensors", "m.json", "m.safetensors", 7]) == [
        "config.json", "m.json", "m.safetensors", "model.safetensors",
    ]  # fmt: skip


# --- checkpoints of frami's ------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, make_card):
    """A checkpoint's path without ending, with paths of this machine in its card."""
    model = trained_like()
    card = make_card(
        model, "some", dataset="/home/me/my-sounds", training={"data": "/home/me/x", "epochs": 3},
        measured={"interval": [0.4, 0.6], "balanced_accuracy": 0.5, "per_class": {"band 0": 0.5}},
        evaluation="frami evaluate some --dataset /home/me/my-sounds --split 2",
    )  # fmt: skip
    checkpoints.save(tmp_path / "some", model, card)
    return tmp_path / "some"


@pytest.mark.parametrize("large", [".safetensors", ".none"], ids=["by LFS", "within the commit"])
def test_a_checkpoint_goes_to_the_hub_and_comes_back(capsys, fresh_home, server, saved, large):
    server.large = large
    status, out, err = run(capsys, "push", saved, "me/my-teacher", "--private", "--json")
    assert status == 0, err
    assert json.loads(out)["repository"] == "me/my-teacher" and "/commit/" in json.loads(out)["commit"]
    assert server.made[0]["visibility"] == "private"
    there = server.repositories["me/my-teacher"]
    assert set(there) == {"model.safetensors", "model.json", "README.md"}
    assert b"/home/me" not in b"".join(there.values())
    assert b"frami evaluate my-teacher --dataset my-sounds --split 2 --data FOLDER" in there["README.md"]
    ours = checkpoints.load(saved)
    same(ours, checkpoints.from_pretrained("me/my-teacher"))
    status, out, err = run(capsys, "import", "--hub", "me/my-teacher", "--json")
    assert status == 0, err
    value = json.loads(out)
    assert (value["name"], value["kind"], value["architecture"]) == ("my-teacher", "teacher", "residual")
    same(ours, checkpoints.load("my-teacher"))
    status, _, err = run(capsys, "push", "my-teacher", "me/my-teacher")
    assert status == 0, err


@pytest.mark.parametrize("name", ["fsdd-tiny", "esc10"])
def test_bundled_students_and_teachers_go_through_a_folder(capsys, fresh_home, tmp_path, name):
    """A folder that holds one is enough, whatever its files are called."""
    (tmp_path / "folder").mkdir()
    for path in checkpoints.BUNDLED.glob(f"{name}.[js]*"):
        shutil.copy(path, tmp_path / "folder")
    given = ["--out", tmp_path / "it", "--licence", "MIT"]
    status, _, err = run(capsys, "import", "--hub", tmp_path / "folder", *given)
    assert status == 0, err
    same(checkpoints.load(name), checkpoints.load(tmp_path / "it"))
    same(checkpoints.load(name), checkpoints.from_pretrained(tmp_path / "folder"))
    card, there = checkpoints.load(tmp_path / "it").card, checkpoints.load(name).card
    assert card == replace(there, name="it", licence="MIT", sha256=card.sha256)


@pytest.mark.slow
def test_a_program_comes_back(capsys, fresh_home, server):
    made, _ = from_module(network("bands"), MelSpec(n_mels=BANDS), CLASSES, time_first=True, name="theirs")
    checkpoints.push_to_hub(made, "me/theirs")
    same(as_program(made), checkpoints.from_pretrained("me/theirs"))
    status, out, err = run(capsys, "import", "--hub", "me/theirs", "--json")
    assert status == 0 and json.loads(out)["reusable"] and json.loads(out)["norms"] == 3, err


@pytest.mark.parametrize("name", sorted(path.stem for path in checkpoints.BUNDLED.glob("*.safetensors")))
def test_the_page_says_what_a_checkpoint_is(name):
    from dataclasses import asdict

    card = checkpoints.load(name).card
    page = text(asdict(card), "me/it")
    front = yaml.safe_load(page.split("---\n")[1])
    assert front["library_name"] == "frami" and front["pipeline_tag"] == "audio-classification"
    assert front["license"] == "apache-2.0" and card.kind in front["tags"]
    assert all(f"`{one}`" in page for one in card.classes)
    assert f"{card.accuracy:.1%}" in page and f"of {card.clips:,} clips" in page and "frami evaluate it" in page
    assert 'from_pretrained("me/it")' in page and "frami import --hub me/it" in page and card.data_licence in page
    if card.measured.get("interval"):
        assert "95% interval" in page


def test_code_of_the_page_runs(server, saved, monkeypatch, tmp_path, capsys):
    from frami import audio

    checkpoints.push_to_hub(checkpoints.load(saved), "me/it")
    audio.save(tmp_path / "clip.wav", 0.1 * torch.randn(20_000))
    monkeypatch.chdir(tmp_path)
    code = server.repositories["me/it"]["README.md"].decode().split("```python\n")[1].split("```")[0]
    exec(code, {})
    assert capsys.readouterr().out.startswith("band ")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"classes": "abc"}, "classes is a list"),
        ({"classes": ["a", "a", "b"]}, "classes is a list"),
        ({"classes": ["a", "\x1b[31m", "b"]}, "classes is a list"),
        ({"classes": ["a", "b"]}, "do not fit"),
        ({"accuracy": "high"}, "accuracy is a number"),
        ({"accuracy": 7}, "accuracy is a number"),
        ({"parameters": "lots"}, "parameters is a whole number"),
        ({"seconds": float("inf")}, "seconds is a number"),
        ({"split": {"test": 3}}, "split is"),
        ({"split": None}, "split is"),
        ({"measured": {"interval": [1]}}, "measured is"),
        ({"measured": {"per_class": {"a": "b"}}}, "measured is"),
        ({"name": ["x"]}, "name is a text"),
        ({"title": "\x1b[2J"}, "title is a text"),
        ({"kind": "judge"}, "kind is teacher or student"),
        ({"mel_spec": 3}, "mel_spec is an object"),
        ({"mel_spec": {"n_mels": "80"}}, "do not fit"),
        ({"mel_spec": {"n_fft": 10**9, "n_mels": 80}}, "mel_spec is an object"),
        ({"mel_spec": {"f_max": float("inf"), "n_mels": 80}}, "mel_spec is an object"),
        ({"model": [[[[]]]]}, "model is the configuration"),
        ({"model": {"classes": 3, "width": 10**9, "depth": 1, "n_mels": 80}}, "model is the configuration"),
        ({"model": {"classes": 3, "width": 4000, "depth": 200, "n_mels": 80}}, "do not fit"),
        ({"model": {"classes": 3, "width": "4", "depth": 1, "n_mels": 80}}, "do not fit"),
        ({"model": {"architecture": ["x"]}}, "do not fit"),
        ({"model": {"architecture": "program"}}, "do not fit"),
        ({"format": 99}, "update frami"),
        ({"format": "1"}, "format is a whole number"),
        ({"extra": 1}, "no field of a card: extra"),
        ({"model": ...}, "not the card"),
        ({"sha256": "0" * 64}, "not the weights that their card was written for"),
        ({"training": [1]}, "training is an object"),
    ],
)
def test_a_card_that_is_not_taken_is_one_line(capsys, fresh_home, saved, values, said):
    edit(saved.with_name("some.json"), **values)
    err = refused(capsys, "import", "--hub", saved.parent)
    assert said in err and "\x1b" not in err, err
    with pytest.raises(FramiError):
        checkpoints.from_pretrained(saved.parent)


@pytest.mark.parametrize("option", [("--seconds", 2), ("--frontend", "ast"), ("--scale", "softmax")])
def test_what_a_checkpoint_has_itself_is_not_given(capsys, fresh_home, saved, option):
    assert "has its own" in refused(capsys, "import", "--hub", saved.parent, *option)


def test_several_checkpoints_are_not_guessed_from(capsys, fresh_home):
    assert "several checkpoints" in refused(capsys, "import", "--hub", checkpoints.BUNDLED)


@pytest.mark.parametrize(
    ("status", "said"), [(401, "may not be written (401)"), (403, "may not be written (403)"), (500, "status 500")]
)
def test_a_push_that_is_refused_is_one_line(capsys, fresh_home, server, saved, status, said):
    server.refusals["me/it"] = (status, "")
    assert said in refused(capsys, "push", saved, "me/it")


def test_a_push_needs_a_name_and_a_checkpoint(capsys, fresh_home, server, saved):
    assert "OWNER/NAME" in refused(capsys, "push", saved, "it")
    assert "no checkpoint 'none'" in refused(capsys, "push", "none", "me/it")
    assert not server.asked


def test_a_model_of_transformers_is_no_checkpoint(as_saved):
    with pytest.raises(FramiError, match="frami import --hub"):
        checkpoints.from_pretrained(as_saved)
