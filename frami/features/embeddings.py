"""From a data set to a bundled checkpoint, back to the figure on its card, and real clips in a teacher's features."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import checkpoints, data, models, train
from frami.audio import MelSpec
from frami.checkpoints import Card, Teacher
from frami.data import LogMels
from frami.errors import FramiError

#: Settings of each data set's training where they differ from ``TrainConfig``; chosen on training folds only.
TRAINING: dict[str, dict] = {
    "fsdd": {"epochs": 40, "crop": 1.2, "mixup": 0.25, "warp": 0.12, "stretch": 0.2},
    "audiomnist": {"epochs": 12, "crop": 1.2, "mixup": 0.25, "warp": 0.12, "stretch": 0.2},
    "esc10": {"epochs": 200},
    "esc50": {"epochs": 120},
    "urbansound8k": {"epochs": 60},
}


def train_teacher(
    dataset: str,
    out: str | Path,
    *,
    data_folder: str | Path | None = None,
    size: str = "base",
    train_folds: Sequence[str] | None = None,
    test_folds: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    on_clips: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[train.Epoch], None] | None = None,
    **settings,
) -> Card:
    """Train a teacher, measure it on the held-out folds and write ``out.safetensors`` and ``out.json``.

    By default all folds but the data set's test fold train. A training that was cut off goes on from its last epoch
    (kept in ``out.training``); a finished one is replaced with ``overwrite`` only. ``settings`` replace fields of
    ``TrainConfig``. Raises FramiError subclasses.
    """
    known = data.info(dataset)
    out = checkpoints.stem(out)
    if checkpoints.exists(out) and not overwrite:
        raise FramiError(f"{out}.safetensors is there already; choose another --out, or add --overwrite")
    if size not in models.SIZES:
        raise FramiError(f"no model size '{size}'; choose one of: {', '.join(models.SIZES)}")
    here = {clip.fold for clip in data.index(dataset, data_folder)}
    test_folds = tuple(test_folds or (known.test_fold,))
    train_folds = tuple(train_folds or (fold for fold in known.folds if fold in here and fold not in test_folds))
    both = set(train_folds) & set(test_folds)
    if both:
        raise FramiError(f"fold {', '.join(sorted(both))} is named for training and for testing; keep them apart")
    if not train_folds:
        raise FramiError(f"no fold is left to train on; {known.title} here has only: {', '.join(sorted(here))}")
    spec = MelSpec()
    training = data.load(dataset, ",".join(train_folds), data_folder, spec, progress=on_clips)
    testing = data.load(dataset, ",".join(test_folds), data_folder, spec, progress=on_clips)
    config = train.TrainConfig(**(TRAINING[dataset] | settings))
    state = out.with_name(out.name + ".training")
    torch.manual_seed(config.seed)
    model = models.build(size, len(known.classes), spec.n_mels).to(device)
    for epoch in train.train(model, training, config, state):
        if on_epoch:
            on_epoch(epoch)
    measured = train.evaluate(model, testing)
    lengths = sorted(len(frames) for frames in training.frames)
    card = Card(
        name=out.name,
        kind="teacher",
        dataset=dataset,
        title=known.title,
        classes=known.classes,
        mel_spec=spec.to_dict(),
        model=model.config.to_dict(),
        parameters=models.parameters(model),
        split={"train": list(train_folds), "test": list(test_folds)},
        accuracy=round(measured.accuracy, 4),
        clips=measured.clips,
        licence="Apache-2.0",
        data_licence=known.licence,
        training=asdict(config) | {"size": size, "clips": len(training)},
        evaluation=f"frami evaluate {out.name} --dataset {dataset} --split {','.join(test_folds)}",
        seconds=round(spec.seconds(lengths[len(lengths) // 2]), 2),
    )
    checkpoints.save(out, model, card)
    state.unlink(missing_ok=True)
    return card


def recordings(
    teacher: Teacher,
    dataset: str | None = None,
    split: str = "test",
    data_folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LogMels:
    """Real clips for a teacher; ``test`` and ``train`` mean the folds of its card.

    By default of the data set that it was trained on. Raises FramiError for one with other classes, DataError for one
    that is not here.
    """
    dataset = dataset or teacher.card.dataset
    if data.info(dataset).classes != teacher.classes:
        raise FramiError(f"'{teacher.card.name}' knows other classes than {data.info(dataset).title}")
    if split in teacher.card.split and dataset == teacher.card.dataset:
        split = ",".join(teacher.card.split[split])
    return data.load(dataset, split, data_folder, teacher.spec, progress=progress)


def evaluate(
    teacher: Teacher,
    dataset: str | None = None,
    split: str = "test",
    data_folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> train.Evaluation:
    """Accuracy of a checkpoint on real clips, which ``recordings`` chooses."""
    return train.evaluate(teacher.model, recordings(teacher, dataset, split, data_folder), progress=progress)


@dataclass
class Embedded:
    """Real clips as a teacher sees them, on the CPU.

    pooled : Tensor[M, D], its hidden state after the pooling; logits : Tensor[M, K]; labels : Tensor[M], what they are.
    """

    pooled: Tensor
    logits: Tensor
    labels: Tensor

    @property
    def heard(self) -> Tensor:
        """Class that the teacher hears, Tensor[M]."""
        return self.logits.argmax(1)

    @property
    def confidence(self) -> Tensor:
        """Probability that the teacher gives to the right class, Tensor[M]."""
        return self.logits.softmax(1).gather(1, self.labels[:, None])[:, 0]


@torch.inference_mode()
def embed(
    teacher: Teacher,
    clips: LogMels,
    chosen: Sequence[int] | None = None,
    *,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Real clips (``chosen`` ones, or all) in a teacher's feature space, each at its full length and in their order.

    ``progress(done, total)`` counts clips.
    """
    device = next(teacher.model.parameters()).device
    rows = list(range(len(clips)) if chosen is None else chosen)
    if not rows:
        raise FramiError("there is no clip to embed")
    order = sorted(range(len(rows)), key=lambda i: len(clips.frames[rows[i]]))  # so that little is padded
    pooled, logits = [], []
    for start in range(0, len(order), batch):
        mels, lengths, _ = clips.batch([rows[i] for i in order[start : start + batch]])
        out = teacher.model(mels.to(device), lengths.to(device))
        pooled.append(out.pooled.float().cpu())
        logits.append(out.logits.float().cpu())
        if progress:
            progress(min(start + batch, len(order)), len(order))
    back = torch.tensor(order).argsort()
    return Embedded(torch.cat(pooled)[back], torch.cat(logits)[back], clips.labels[torch.tensor(rows)])
