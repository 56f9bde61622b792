"""Exported files compute what PyTorch does, in onnxruntime, and are used without frami."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from frami import audio, checkpoints, export, models
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.export import Dft, ExportError, LogMel
from frami.models import MaskedBatchNorm2d
from frami.presets import PRESETS
from frami.runs import Runs
from tests.helpers.cli import run

ROOT = Path(__file__).parents[1]
SMALL = MelSpec(8_000, 400, 160, 40, 50.0, 3_800.0)

#: Uses an exported student without frami; docs/command-line.md shows it.
SNIPPET = """\
import json

import numpy as np
import onnxruntime
import soundfile

student = onnxruntime.InferenceSession("student.onnx")  # frami export STUDENT --input waveform --out student.onnx
about = student.get_modelmeta().custom_metadata_map
sound, rate = soundfile.read("clip.wav", dtype="float32", always_2d=True)
length = round(len(sound) * int(about["sample_rate"]) / rate)
sound = np.fft.irfft(np.fft.rfft(sound.mean(1)), length) * length / len(sound)  # at the student's sample rate
(logits,) = student.run(["logits"], {"waveform": sound[None].astype(np.float32)})
print(json.loads(about["classes"])[logits[0].argmax()])
"""


def made(make_card, size: str, spec: MelSpec = SMALL, classes: int = 3, **fields) -> Checkpoint:
    """A classifier with statistics as after a training."""
    torch.manual_seed(7)
    model = models.build(size, classes, spec.n_mels, **fields).eval()
    for norm in (m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    model.requires_grad_(False)
    return Checkpoint(model, make_card(model, "made", mel_spec=spec.to_dict()), spec)


def logits_of(path: Path, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(["logits"], {session.get_inputs()[0].name: x.numpy()})[0])


@pytest.fixture(scope="module")
def exported(tiny_teacher, tmp_path_factory) -> Path:
    """The tiny teacher as a file that takes sound."""
    path = tmp_path_factory.mktemp("export") / "new" / "student.onnx"
    value = export.onnx(checkpoints.load(tiny_teacher), path, "waveform")
    assert Path(value["path"]) == path and value["bytes"] == path.stat().st_size
    assert 0 <= value["difference"] <= 1e-4 and len(value["durations"]) >= 4
    assert [file.name for file in path.parent.iterdir()] == ["student.onnx"]
    return path


# --- the front-end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [MelSpec(), SMALL, MelSpec(16_000, 512, 512, 64, 0.0, 8_000.0)], ids=str)
@pytest.mark.parametrize("samples", [1, 300, 1024, 5_000])
def test_the_front_end_is_that_of_mel_spec(spec, samples):
    torch.manual_seed(0)
    x = 0.3 * torch.randn(2, samples)
    torch.testing.assert_close(LogMel(spec)(x), spec(x), rtol=0, atol=1e-4)
    assert (LogMel(spec)(0 * x) == torch.tensor(spec.clamp).log()).all()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("samples", [1, 300, 1024, 16_001])
def test_the_front_ends_of_other_networks(name, samples):
    spec, x = MelSpec.preset(name), 0.3 * torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(LogMel(spec)(x), spec(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [400, 800, 401, 600, 2, 3])
def test_a_transform_of_any_size(size):
    x = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(0))
    wanted = torch.view_as_real(torch.fft.rfft(x.double())).float()
    torch.testing.assert_close(Dft(size)(x), wanted, rtol=0, atol=1e-5 * size**0.5)


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "fields", "input"),
    [
        ("nano", {}, "mel"),
        ("micro", {"projected": 128}, "waveform"),
        ("tiny", {"projected": 32, "bottleneck": 16}, "mel"),
        ("nano", {"architecture": "tc-resnet"}, "waveform"),
    ],
)
def test_any_duration_and_number_of_clips(size, fields, input, make_card, tmp_path):
    """Each input, and each part that a network may have."""
    teacher = made(make_card, size, **fields)
    value = export.onnx(teacher, tmp_path / "it.onnx", input)
    assert value["difference"] <= 1e-4
    for count, samples in ((1, 200), (1, 8_000), (3, 3_333), (2, 41_000)):
        sounds = 0.2 * torch.randn(count, samples)
        mels = teacher.spec(sounds)[:, None]
        found = logits_of(tmp_path / "it.onnx", sounds if input == "waveform" else mels)
        torch.testing.assert_close(found, teacher.model(mels).logits, rtol=0, atol=1e-4)


class Plain(torch.nn.Module):
    """As small a network as there can be behind a front-end, the statistics of its norm as after a training."""

    def __init__(self, spec: MelSpec):
        super().__init__()
        self.norm, self.classifier = MaskedBatchNorm2d(1), torch.nn.Linear(spec.n_mels, 3)
        self.norm.running_mean.fill_((spec.floor + spec.ceiling) / 2)
        self.norm.running_var.fill_(((spec.ceiling - spec.floor) / 6) ** 2)

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(self.norm(x).mean(3).flatten(1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_sound_through_the_front_ends_of_other_networks(name, make_card, tmp_path):
    """Any duration, and silence."""
    spec = MelSpec.preset(name)
    teacher = replace(made(make_card, "nano", spec), model=Plain(spec).eval().requires_grad_(False))
    assert export.onnx(teacher, tmp_path / "it.onnx", "waveform")["difference"] <= 1e-4
    for count, samples in ((1, 200), (3, 3_333), (2, 41_000)):
        sounds = 0.2 * torch.randn(count, samples, generator=torch.Generator().manual_seed(count))
        sounds[0, samples // 2 :] = 0
        wanted = teacher.model(spec(sounds)[:, None]).logits
        torch.testing.assert_close(logits_of(tmp_path / "it.onnx", sounds), wanted, rtol=0, atol=1e-4)
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert MelSpec.from_dict(json.loads(about["mel_spec"])) == spec


def test_what_the_file_says_of_itself(exported, tiny_teacher):
    session = onnxruntime.InferenceSession(exported)
    card = checkpoints.read_card(tiny_teacher)
    about = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(about["classes"])) == card.classes
    assert MelSpec.from_dict(json.loads(about["mel_spec"])) == MelSpec()
    assert (about["sample_rate"], about["input"], about["name"]) == ("22050", "waveform", "tiny")
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("waveform", ["batch", "samples"])
    assert (returned.name, returned.shape) == ("logits", ["batch", 4])
    content = exported.read_bytes()
    assert str(ROOT).encode() not in content and b"site-packages" not in content
    assert len(content) < tiny_teacher.with_suffix(".safetensors").stat().st_size + 250_000


def test_the_teacher_stays_as_it_is(make_card, tmp_path, monkeypatch):
    teacher = made(make_card, "nano")
    teacher.model.requires_grad_(True)
    monkeypatch.setattr(export, "_write", lambda module, teacher, input, path: path.write_bytes(b""))
    monkeypatch.setattr(export, "_compare", lambda *a: 0.0)
    export.onnx(teacher, tmp_path / "it.onnx")
    assert all(parameter.requires_grad for parameter in teacher.model.parameters())


@pytest.mark.parametrize("difference", [1e-3, float("nan")])
def test_a_file_with_other_logits_is_not_put_in_place(difference, make_card, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write", lambda module, teacher, input, path: path.write_bytes(b"new"))
    monkeypatch.setattr(export, "_compare", lambda *a: difference)
    (tmp_path / "it.onnx").write_text("old")
    with pytest.raises(ExportError, match="not written") as caught:
        export.onnx(made(make_card, "nano"), tmp_path / "it.onnx")
    assert len(str(caught.value).splitlines()) == 1
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("it.onnx", "old")]


def test_the_comparison_sees_other_weights(exported, tiny_teacher):
    teacher = checkpoints.load(tiny_teacher)
    module = export._Exported(teacher, "waveform")
    assert export._compare(module, teacher.spec, "waveform", exported) <= 1e-4
    module.model.classifier.bias += 0.01
    assert export._compare(module, teacher.spec, "waveform", exported) > 5e-3


def test_a_network_that_onnx_cannot_say(make_card, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("no such operation\nand a long report")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ExportError, match="no such operation.*safetensors") as caught:  # noqa: RUF043
        export.onnx(made(make_card, "nano"), tmp_path / "it.onnx")
    assert len(str(caught.value).splitlines()) == 1 and not list(tmp_path.iterdir())


def test_bad_places_and_inputs(make_card, tmp_path):
    teacher = made(make_card, "nano")
    with pytest.raises(ExportError, match="choose one of: mel, waveform"):
        export.onnx(teacher, tmp_path / "it.onnx", "smell")
    with pytest.raises(ExportError, match="is a folder"):
        export.onnx(teacher, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export.onnx(teacher, tmp_path / "file" / "it.onnx")


def test_a_copy_of_weights_and_card(tiny_teacher, tmp_path):
    for out in ("copy.v1", "other.safetensors"):
        value = export.safetensors(tiny_teacher, tmp_path / out)
        path = Path(value["path"])
        assert path.read_bytes() == tiny_teacher.with_suffix(".safetensors").read_bytes()
        assert value["bytes"] == path.stat().st_size
        assert checkpoints.load(path).card == checkpoints.read_card(tiny_teacher)
    assert len(list(tmp_path.iterdir())) == 4


# --- without frami ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_the_snippet_predicts_what_frami_predicts(rate, exported, tiny_teacher, tmp_path):
    teacher = checkpoints.load(tiny_teacher)
    (tmp_path / "student.onnx").write_bytes(exported.read_bytes())
    time = np.arange(round(0.7 * rate)) / rate
    sound = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.01 * np.random.default_rng(0).standard_normal(len(time))
    soundfile.write(tmp_path / "clip.wav", np.stack([sound, sound], 1), rate)
    done = subprocess.run([sys.executable, "-c", SNIPPET], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    logits = teacher.model(teacher.spec(audio.load(tmp_path / "clip.wav"))[None, None]).logits
    assert done.stdout.strip() == teacher.classes[logits.argmax()]
    lines = [line for line in SNIPPET.splitlines() if line and not line.startswith("import")]
    assert len(lines) <= 10 and "frami." not in SNIPPET


def test_the_docs_show_this_snippet():
    assert f"```python\n{SNIPPET}```" in (ROOT / "docs" / "command-line.md").read_text()


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_exports_at_once_both_end(tiny_teacher, tmp_path):
    teacher, paths = checkpoints.load(tiny_teacher), [tmp_path / f"{k}.onnx" for k in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: export.onnx(teacher, path), paths))
    assert all(logits_of(path, torch.zeros(1, 1, 80, 9)).shape == (1, 4) for path in paths)


def test_export_a_run(tiny_teacher, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))
    student = Runs().create("distill", "it", {}, tmp_path / "mine")
    export.safetensors(tiny_teacher, student.folder / "student")
    out = tmp_path / "it.onnx"
    status, text, err = run(capsys, "export", student.id, "--format", "onnx", "--out", out, "--json")
    assert status == 0, err
    value = json.loads(text)
    assert {"path", "bytes", "difference", "durations", "input", "format"} == set(value)
    assert logits_of(out, torch.zeros(1, 1, 80, 9)).shape == (1, 4)
    status, _, err = run(capsys, "export", student.folder, "--out", out)
    assert status == 2 and "--overwrite" in err
    copied = ["export", student.folder, "--format", "safetensors", "--out", tmp_path / "copy"]
    assert run(capsys, *copied)[0] == 0 and checkpoints.load(tmp_path / "copy").card.name == "tiny"
    assert run(capsys, *copied)[0] == 2 and run(capsys, *copied, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nobody", "--out", "x.onnx"], "nobody"),
        (["fsdd"], "--out"),
        (["fsdd", "--out", "x.onnx", "--format", "torchscript"], "torchscript"),
        (["fsdd", "--out", "x.onnx", "--input", "smell"], "smell"),
        (["fsdd", "--out", "."], "folder"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "export", *arguments)
    assert status == 2 and out == "" and err.count("\n") == 1 and word in err
    assert not list(tmp_path.iterdir())
