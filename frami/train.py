"""Supervised training and evaluation of classifiers on real recordings."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frami.augment import Augmentation, augmented
from frami.data import LogMels
from frami.device import autocast, memory_format
from frami.distributed import ALONE, Group
from frami.errors import FramiError
from frami.intervals import wilson
from frami.models import Classifier, MaskedBatchNorm2d
from frami.weights import save_state


class TrainingError(FramiError):
    """A training that cannot start or go on."""


@dataclass(frozen=True)
class TrainConfig(Augmentation):
    """Settings of a training: AdamW under a one-cycle schedule (Smith and Topin 2018), and of its augmentation.

    ``versions`` : how many re-recorded versions (``data.rerecorded``) each clip has beside the plain one;
    ``balance`` : clips are drawn with a weight of n^-balance, n the clips of the same class and source (0: each once an
    epoch); ``prior`` : how much of the logarithm of a class's share of the drawn clips the classifier's bias loses at
    the end, so that rare classes are not missed (logit adjustment, Menon et al. 2021; 1: all of it); ``validation`` :
    share of the training clips, by source, that choose the best epoch (0: the last is taken).
    """

    epochs: int = 60
    batch: int = 32
    lr: float = 4e-3
    weight_decay: float = 0.05
    seed: int = 0
    versions: int = 0
    balance: float = 0.0
    prior: float = 0.0
    validation: float = 0.1


@dataclass(frozen=True)
class Epoch:
    """Report of a finished epoch.

    ``loss``, ``accuracy`` : mean over the augmented (and mixed-up) training clips; ``validation_loss``,
    ``validation`` : cross-entropy and accuracy of the validation clips, None where they were not looked at;
    ``best`` : whether it is the best so far; ``seconds`` : spent since the start.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    seconds: float
    validation_loss: float | None = None
    validation: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What a classifier predicts of real clips; ``confusion`` as of the function, ``loss`` the mean cross-entropy."""

    accuracy: float
    clips: int
    confusion: Tensor
    predictions: Tensor
    loss: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the accuracy, as if clips were drawn independently."""
        return wilson(int(self.confusion.diagonal().sum()), self.clips)

    @property
    def per_class(self) -> list[float | None]:
        """Share of each class that is recognised, None where no clip is."""
        pairs = zip(self.confusion.diagonal().tolist(), self.confusion.sum(1).tolist(), strict=True)
        return [right / clips if clips else None for right, clips in pairs]

    @property
    def balanced(self) -> float:
        """Mean of ``per_class`` over the classes that have clips."""
        shares = [share for share in self.per_class if share is not None]
        return sum(shares) / len(shares)


def train(
    model: Classifier,
    data: LogMels,
    config: TrainConfig,
    state: Path | None = None,
    validation: LogMels | None = None,
    versions: Sequence[LogMels] = (),
    report: Callable[[Epoch], None] | None = None,
    stop: Callable[[], bool] | None = None,
    group: Group = ALONE,
) -> Iterator[Epoch]:
    """Train ``model`` in place; yields after each epoch.

    Where ``stop()`` is true after an epoch, that was the last one: what follows is as after all of them.

    ``report`` is called with each epoch before it is saved: it knows of every epoch that a later call continues.

    ``versions`` : the clips of ``data`` in their order, as if recorded elsewhere; each time one of them or the plain
    clip is drawn. With ``validation`` the model is left as it was after the epoch that recognised most of those clips
    (of equals the one of lowest loss); of 80 epochs or more one in ``epochs // 40`` is looked at. With ``state``,
    everything needed to go on is saved in that file after each epoch, and an existing file is continued
    (``TrainingError`` when it was made with other settings or clips). At the end the batch norms' stored statistics are
    taken again from the plain training clips, so that they describe real sounds, not augmented ones.

    ``group`` : processes that do this together with the same arguments, each with its part of every batch; only the
    main one judges, reports and saves, and only its model is finished at the end.
    """
    torch.manual_seed(config.seed)
    device = next(model.parameters()).device
    weights = _weights(data, config.balance)
    sizes = [len(batch) for batch in _batches(data, config.batch, np.random.default_rng(0), weights)]
    steps = len(sizes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=config.epochs * steps)
    settings = asdict(config) | {"clips": len(data), "model": model.config.to_dict()}
    settings |= {"validation_clips": len(validation or ()), "recordings": _fingerprint(data, validation)}
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    first, spent, best = _resume(state, settings, parts) if group.main else (0, 0.0, None)
    if group.main and min(sizes) < group.size:
        raise TrainingError(f"a batch of {min(sizes)} clips has no part for each of {group.size} processes")
    first = _same_start(group, settings, first, parts)
    start = time.perf_counter() - spent
    model.to(memory_format=memory_format(device))
    network = group.wrapped(model)
    every = max(1, config.epochs // 40)
    for epoch in range(first, config.epochs):
        with group.joint(model):
            loss, accuracy = _epoch(network, data, config, epoch, optimiser, schedule, weights, versions, group)
        looked, is_best = None, False
        if group.main and validation is not None and ((config.epochs - epoch - 1) % every == 0):
            looked = evaluate(model, validation)
            rank = [looked.accuracy, -looked.loss]
            is_best = best is None or rank >= best["rank"]
            if is_best:
                best = {"rank": rank, "model": {k: v.detach().clone() for k, v in model.state_dict().items()}}
        seconds = time.perf_counter() - start
        seen = (looked.loss, looked.accuracy) if looked else (None, None)
        done = Epoch(epoch + 1, config.epochs, loss, accuracy, seconds, *seen, is_best)
        if report and group.main:
            report(done)
        if state and group.main:
            values = {name: part.state_dict() for name, part in parts.items()} | {"best": best}
            save_state(state, values | {"settings": settings, "epoch": epoch + 1, "seconds": seconds})
        yield done
        if group.shared(bool(stop and stop())):
            break
    if not group.main:
        return
    if best:
        model.load_state_dict(best["model"])
    discount(model, data, config.prior, weights)
    recalibrate(model, data, weights=weights)
    model.eval()


def _epoch(
    model: torch.nn.Module,
    data: LogMels,
    config: TrainConfig,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    weights: np.ndarray | None,
    versions: Sequence[LogMels],
    group: Group,
) -> tuple[float, float]:
    """One pass over the clips; mean loss and accuracy of the augmented ones. Each process augments whole batches, with
    the same random numbers, and takes its part."""
    device = next(model.parameters()).device
    rng = np.random.default_rng((config.seed, epoch))
    torch.manual_seed(config.seed * 100_003 + epoch)
    total, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    model.train()
    for chosen in _batches(data, config.batch, rng, weights):
        batch = augmented(data, chosen, config, rng, versions)
        ragged = bool((batch[1] < batch[0].shape[-1]).any())
        part = group.part(len(chosen))
        mels, lengths, targets = (t[part].to(device) for t in batch)
        mels = mels.contiguous(memory_format=memory_format(device))
        # On a CPU, bfloat16 convolutions of ragged small batches can fall to kernels far slower than float32.
        with autocast(device, enabled=device.type != "cpu" or not ragged):
            logits = model(mels, lengths if ragged else None).logits
        loss = F.cross_entropy(logits.float(), targets)
        if group.size > 1:  # gradients are averaged over the processes, whose parts may differ by a clip
            loss = loss * (len(targets) * group.size / len(chosen))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.detach() * len(chosen)
        correct += (logits.argmax(1) == targets.argmax(1)).sum()
    total, correct = group.total(torch.stack([total / group.size, correct]))
    return float(total) / len(data), float(correct) / len(data)


def _same_start(group: Group, settings: dict, first: int, parts: dict) -> int:
    """All processes go on from the main one's weights, moments and epoch, which is returned. TrainingError in one that
    was given other settings or recordings."""
    if group.size == 1:
        return first
    given = group.shared({name: part.state_dict() for name, part in parts.items()} | {"at": [first, settings]})
    first, expected = given["at"]
    if settings != expected:
        raise TrainingError("other settings or recordings than the first process has")
    for name, part in parts.items():
        if not group.main:
            part.load_state_dict(given[name])
    return first


def _weights(data: LogMels, balance: float) -> np.ndarray | None:
    """Chance of each clip to be drawn; None where each is taken once."""
    if not balance:
        return None
    kinds = [(clip.label, clip.source) for clip in data.clips]
    counts = Counter(kinds)
    weights = np.array([counts[kind] ** -balance for kind in kinds])
    return weights / weights.sum()


@torch.no_grad()
def discount(model: Classifier, data: LogMels, prior: float, weights: np.ndarray | None = None) -> None:
    """Take ``prior`` times the logarithm of each class's share of the training clips out of the classifier's bias.

    weights : chance of each clip to be drawn, array (N,), None for equal ones. Classes without clips stay as they are.
    """
    if not prior:
        return
    bias = model.classifier.bias
    shares = torch.bincount(data.labels, None if weights is None else torch.from_numpy(weights), len(data.classes))
    there = (shares > 0).nonzero()[:, 0]
    shares = shares[there].double() / shares.sum()
    bias[there.to(bias.device)] -= (prior * (shares * len(there)).log()).to(bias)


def _batches(data: LogMels, size: int, rng: np.random.Generator, weights: np.ndarray | None = None) -> list[np.ndarray]:
    """As many clips as there are (all once, or drawn by their weights), at random, but with clips of like length
    together so that little is padded."""
    count = -(-len(data) // size)
    batches = []
    drawn = rng.permutation(len(data)) if weights is None else rng.choice(len(data), len(data), p=weights)
    for chunk in np.array_split(drawn, -(-count // 8)):
        chunk = chunk[np.argsort([len(data.frames[i]) for i in chunk], kind="stable")]
        batches += np.array_split(chunk, -(-len(chunk) // size))
    return [batches[i] for i in rng.permutation(len(batches))]


def _fingerprint(*parts: LogMels | None) -> str:
    """Of the clips that a training learns from and chooses its best epoch on, wherever their folder is."""
    lists = [
        [[clip.fold, clip.source, clip.stem.name, clip.label, clip.span] for clip in part.clips] if part else []
        for part in parts
    ]
    return hashlib.sha256(json.dumps(lists).encode()).hexdigest()[:16]


#: What a state says that was saved before these settings existed; then it did not say which its clips were, either.
_BEFORE = {"versions": 0, "balance": 0.0, "prior": 0.0, "validation": 0.0, "validation_clips": 0}


def config_of(training: Mapping) -> TrainConfig:
    """Settings of a stored training: ``training`` of its card, which may be older than some of them."""
    known = {field.name for field in fields(TrainConfig)}
    return TrainConfig(**{name: value for name, value in (_BEFORE | training).items() if name in known})


def _resume(state: Path | None, settings: dict, parts: dict) -> tuple[int, float, dict | None]:
    """Load what an interrupted training saved; returns its epochs, seconds and best epoch (0, 0, None if new)."""
    if state is None or not state.exists():
        return 0, 0.0, None
    try:
        saved = torch.load(state, map_location="cpu", weights_only=True)
        if _BEFORE | {"recordings": settings["recordings"]} | saved["settings"] == settings:
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            return saved["epoch"], saved["seconds"], saved.get("best")
    except Exception as error:
        raise TrainingError(f"{state}: damaged; delete it to start again") from error
    raise TrainingError(
        f"{state} belongs to a training with other settings or clips; delete it or choose another --out"
    )


@torch.no_grad()
def recalibrate(model: Classifier, data: LogMels, batch: int = 128, weights: np.ndarray | None = None) -> None:
    """Replace the batch norms' stored statistics by the average over all clips of ``data``, not augmented; with
    ``weights`` (array of one chance a clip) over as many drawn ones.

    Batches are large, because the variance within a batch misses a ``1 / batch`` share of that between clips.
    """
    norms = [m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    device = next(model.parameters()).device
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data)) if weights is None else rng.choice(len(data), len(data), p=weights)
    for chosen in np.array_split(order, -(-len(data) // batch)):
        mels, lengths, _ = data.batch(chosen)
        model(mels.to(device), lengths.to(device))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


@torch.inference_mode()
def evaluate(model: torch.nn.Module, data: LogMels, batch: int = 32) -> Evaluation:
    """Classify every clip at its full length."""
    model.eval()
    device = next(model.parameters()).device
    logits = torch.zeros(len(data), len(data.classes))
    for chosen, mels, lengths in data.batches(batch):
        logits[chosen] = model(mels.to(device), lengths.to(device)).logits.float().cpu()
    predictions = logits.argmax(1)
    pairs = confusion(data.labels, predictions, len(data.classes))
    accuracy = float((predictions == data.labels).float().mean())
    return Evaluation(accuracy, len(data), pairs, predictions, float(F.cross_entropy(logits, data.labels)))


def confusion(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Clips of class i predicted as class j, Tensor[K, K]; both arguments Tensor[N]."""
    return torch.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
