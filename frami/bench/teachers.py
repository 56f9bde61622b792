"""Teachers that are not ours: trained by a plain loop, imported by the command, distilled without data and with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch import nn

from frami import checkpoints, data, export
from frami.bench import distillation
from frami.bench.distillation import Row
from frami.bench.parts import HELD_OUT, Part
from frami.bench.results import Context, Results
from frami.bench.strange_training import STRANGERS, Brought, Stranger, both, brought
from frami.checkpoints import Checkpoint
from frami.data import DataError, LogMels
from frami.device import machine
from frami.distill import Settings
from frami.errors import FramiError
from frami.evaluation import average_precision
from frami.export import ExportError
from frami.models import Classifier

#: What students learn from: made clips by the default recipe, or the teacher's training clips.
LEARNT: dict[str, Row] = {
    row.source: row for row in distillation.ROWS if row.name in ("frami + frami", "real clips, frami")
}
#: Held-out clips on which an exported student is compared, at most.
COMPARED = 100
#: ``imported(arguments)`` : what ``frami import`` with these arguments returns as JSON.
Import = Callable[[Sequence[str]], dict]
#: Of what the import says, what is kept.
_SAID = (
    "architecture", "parameters", "norms", "shortest", "longest", "frames", "pooled", "behind", "reusable", "why",
    "centres", "unused",
)  # fmt: skip


def chosen(names: Sequence[str] | None) -> list[Stranger]:
    """Networks by name; all of them for None. Raises FramiError."""
    known = {row.name: row for row in STRANGERS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise FramiError(f"no network '{', '.join(unknown)}'; there are: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def fill(
    rows: Sequence[Stranger], base: Settings, seeds: int, results: Results, here: Context, imported: Import
) -> None:
    """Measure the students of these networks, seeds 0 to ``seeds`` - 1, that are not among the results yet; a network
    that was refused is tried again. DataError where its recordings are not here."""

    def is_open(run: tuple[Stranger, int, str]) -> bool:
        found = results.get(key(*run, base, here))
        return found is None or "refused" in found

    for row in rows:
        runs = [(row, seed, source) for seed, source in product(range(seeds), LEARNT)]
        runs = list(results.still_open(runs, is_open))
        if not runs:
            continue
        found, stage = _about(row, base, here), "its training"
        try:
            files = brought(row, here)
            found |= {"own": files.about, "way": way(row)}
            stage = "its import"
            found |= {"import": _imported(files, imported)}
            teacher = checkpoints.load(files.folder / "imported", here.device)
            stage = "the first clips"
            training, held = _recordings(row, teacher, here)
            distillation.warm(teacher, base)
        except DataError:
            raise
        except Exception as error:  # of any kind: the network is a stranger's
            for _, seed, source in runs:
                results.put(key(row, seed, source, base, here), found | _refused(seed, source, stage, error))
            continue
        for _, seed, source in runs:
            try:
                cell = _run(row, teacher, source, replace(base, seed=seed), training, held, files, here)
            except Exception as error:
                cell = _refused(seed, source, "its student", error)
            results.put(key(row, seed, source, base, here), found | {"seed": seed, "source": source} | cell)


def key(row: Stranger, seed: int, source: str, base: Settings, here: Context) -> str:
    """Name of a measurement: another training, setting, recipe or device makes another name."""
    learnt = LEARNT[source]
    common = f"{distillation.length(base)} {base.student} {base.clips}x{base.batch} pace{distillation.PACE}"
    what = f"{learnt.name} {learnt.fingerprint}".strip()
    return f"{row.name} {row.fingerprint} | {common} {machine(here.device)} | {what} | {seed}"


def way(row: Stranger) -> str:
    """How the network is imported, as options of the command."""
    return f"--architecture {row.architecture}" if row.architecture else "--program"


def _about(row: Stranger, base: Settings, here: Context) -> dict:
    known = data.info(row.dataset)
    name = row.frontend if isinstance(row.frontend, str) else "JSON"
    based = row.frontend.get("preset") if isinstance(row.frontend, dict) else None
    return {
        "network": row.name, "trained": row.fingerprint, "title": row.title, "about": row.about,
        "several": row.several, "way": way(row),
        "frontend": f"{name} on {based}" if based else name, "sample_rate": row.spec.sample_rate,
        "bands": row.spec.n_mels, "dataset": row.dataset, "held_out": known.test_fold,
        "device": machine(here.device), "length": distillation.length(base), "student": base.student,
        "pace": distillation.PACE,
    }  # fmt: skip


def _refused(seed: int, source: str, stage: str, error: Exception) -> dict:
    why = str(error) if isinstance(error, FramiError) else f"{type(error).__name__}: {error}"
    return {"seed": seed, "source": source, "refused": " ".join(why.split())[:500], "stage": stage}


def _imported(files: Brought, imported: Import) -> dict:
    value = imported(files.arguments)
    return {name: value[name] for name in _SAID}


def _recordings(row: Stranger, teacher: Checkpoint, here: Context) -> tuple[LogMels, Part]:
    """Training clips, and the held-out ones as the teacher hears them."""
    with here.progress("clip", f"{row.name}: clips") as report:
        training = data.load(row.dataset, "train", here.data_folder, teacher.spec, progress=report)
        held = data.load(row.dataset, "test", here.data_folder, teacher.spec, progress=report)
    return training, Part(HELD_OUT, data.info(row.dataset).test_fold, held).heard(teacher)


def _run(
    row: Stranger, teacher: Checkpoint, source: str, base: Settings, training: LogMels, held: Part, files: Brought,
    here: Context,
) -> dict:  # fmt: skip
    """A student, what it is worth, and its file."""
    learnt = LEARNT[source]
    with here.progress("%", f"{row.name}: {learnt.name}, seed {base.seed}") as report:
        run = distillation.settings(learnt, base, base.seed)
        student, found = distillation.learn(teacher, run, training, report)
    path = files.folder / f"student-{source}-{base.seed}.onnx"
    if row.several:
        found["precision"] = mixtures(row, teacher.model, student, held.clips)
    return found | {"parts": [held.judge(student)], "onnx": exported(teacher, student, held.clips, path)}


@torch.inference_mode()
def mixtures(row: Stranger, teacher: nn.Module, student: nn.Module, clips: LogMels) -> dict[str, float]:
    """Mean average precision of a multi-label teacher and its student on pieces of real clips, half of them with
    another one at the same time."""
    rng = torch.Generator().manual_seed(1)
    pieces = torch.stack([row.cut(clips.clip(i), rng) for i in range(len(clips))])
    mels, there = both(pieces, clips.labels, len(clips.classes), rng)

    def precision(network: nn.Module) -> float:
        device = next(network.parameters()).device
        logits = torch.cat([network(x[:, None].to(device)).logits.float().cpu() for x in mels.split(64)])
        return average_precision(logits, there.long())

    return {"teacher": precision(teacher), "student": precision(student.eval())}


def exported(teacher: Checkpoint, student: Classifier, clips: LogMels, path: Path) -> dict:
    """The student as an ONNX file that takes sound, or spectrograms where that is not possible, and of how many real
    clips it predicts in onnxruntime what the student predicts in PyTorch. ``refused`` : why there is none."""
    config = student.config.to_dict()
    card = replace(teacher.card, name=f"{teacher.card.name}-student", kind="student", model=config)
    one, refused = Checkpoint(student.eval(), card, teacher.spec), ""
    for takes in ("waveform", "mel"):
        try:
            done = export.onnx(one, path, takes)
        except ExportError as error:
            refused = str(error)
        else:
            count = _same(one, clips, path, takes)
            return {"takes": takes, "bytes": done["bytes"], "same": count[0], "of": count[1], "why": refused}
    return {"refused": refused}


@torch.inference_mode()
def _same(student: Checkpoint, clips: LogMels, path: Path, takes: str) -> tuple[int, int]:
    """Of how many of so many clips the file predicts the student's class."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows, same = range(0, len(clips), -(-len(clips) // COMPARED)), 0
    for i in rows:
        sound = data.sound(clips.clips[i], student.spec.sample_rate)
        mel = student.spec(sound)[None, None]
        given = sound[None] if takes == "waveform" else mel
        (found,) = session.run(["logits"], {takes: given.numpy()})
        own = student.model(mel.to(student.device)).logits.argmax(1)
        same += int(found.argmax(1)[0]) == int(own)
    return same, len(rows)
