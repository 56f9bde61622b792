"""From a data set to a teacher: trained, measured on the held-out folds, written with its card."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from frami import checkpoints, data, models, train
from frami.audio import MelSpec
from frami.checkpoints import Card
from frami.cost import parameters
from frami.data.trained_on import facts
from frami.errors import FramiError
from frami.weights import stem


def train_teacher(
    dataset: str,
    out: str | Path,
    *,
    data_folder: str | Path | None = None,
    architecture: str = models.DEFAULT,
    size: str = "base",
    train_folds: Sequence[str] | None = None,
    test_folds: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    on_clips: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[train.Epoch], None] | None = None,
    skip: data.Skip = None,
    **settings,
) -> Card:
    """Train a teacher, measure it on the held-out folds and write ``out.safetensors`` and ``out.json``.

    By default all folds but the data set's test fold train. A training that was cut off goes on from its last epoch
    (``out.training``); a finished one is replaced with ``overwrite`` only. skip : as of ``data.load``. ``settings``
    replace fields of ``TrainConfig`` and the data set's own. Raises FramiError subclasses.
    """
    known = data.info(dataset)
    out = stem(out)
    if checkpoints.exists(out) and not overwrite:
        raise FramiError(f"{out}.safetensors is there already; choose another --out, or add --overwrite")
    spec = MelSpec()
    config = train.TrainConfig(**(dict(known.training) | settings))
    torch.manual_seed(config.seed)
    model = models.build(size, len(known.classes), spec.n_mels, architecture).to(device)
    here = {clip.fold for clip in data.index(dataset, data_folder)}
    test_folds = tuple(test_folds or (known.test_fold,))
    train_folds = tuple(train_folds or (fold for fold in known.folds if fold in here and fold not in test_folds))
    both = set(train_folds) & set(test_folds)
    if both:
        raise FramiError(f"fold {', '.join(sorted(both))} is named for training and for testing; keep them apart")
    if not train_folds:
        raise FramiError(f"no fold is left to train on; {known.title} here has only: {', '.join(sorted(here))}")
    training = data.load(dataset, train_folds, data_folder, spec, progress=on_clips, skip=skip)
    testing = data.load(dataset, test_folds, data_folder, spec, progress=on_clips, skip=skip)
    state = out.with_name(out.name + ".training")
    for epoch in train.train(model, training, config, state):
        if on_epoch:
            on_epoch(epoch)
    measured = train.evaluate(model, testing)
    lengths = sorted(len(frames) for frames in training.frames)
    card = Card(
        name=out.name,
        kind="teacher",
        dataset=known.name,
        title=known.title,
        classes=known.classes,
        mel_spec=spec.to_dict(),
        model=model.config.to_dict(),
        parameters=parameters(model),
        split={"train": list(train_folds), "test": list(test_folds)},
        accuracy=round(measured.accuracy, 4),
        clips=measured.clips,
        licence="Apache-2.0",
        data_licence=known.licence,
        training=asdict(config) | {"size": size, "clips": len(training)} | facts(known, skip is not None),
        evaluation=f"frami evaluate {out.name}"
        + ("" if known.own else f" --dataset {dataset} --split {','.join(test_folds)}"),
        seconds=round(spec.seconds(lengths[len(lengths) // 2]), 2),
    )
    checkpoints.save(out, model, card)
    state.unlink(missing_ok=True)
    return card
