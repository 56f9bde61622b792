"""A student in training: tensors of fixed shape and the step that improves it, so that CUDA replays one graph.

On a CPU of several cores a thread prepares the next batch (draws it, augments it, asks the teacher) while the student
learns from the present one: two threads of such small operations get more from two cores than one operation on both.
Where preparing a batch takes longer than learning from it, each is learnt from twice (``Echo``).

Of several processes (``frami.distributed``) the main one draws and augments batches and sends them; each asks the
teacher and learns about its part. The objective compares whole batches in each, of which only its own part has
gradients: these are added up.
"""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from frami.checkpoints import Checkpoint
from frami.device import RecordedStep, autocast, threads
from frami.distill.augment import AugmentConfig, ReplayBuffer, augment, texture
from frami.distill.objectives import Batch, Objective, objective, total
from frami.distill.replay import Priorities, divergence, draw
from frami.distill.settings import Settings
from frami.distill.student import new_hint
from frami.distill.together import add_up, room, sent, whole
from frami.distributed import ALONE, Group
from frami.inversion.bn_statistics import frozen
from frami.inversion.teacher import fast_copy
from frami.models import Classifier, Features
from frami.optim import Muon, adam, forget, learnt, moments, restore, set_rate

#: Learning rate of orthogonalised kernels, in units of that of the rest.
ORTHOGONAL = 8.0
#: Batches among which clips are sorted by the length of their views, and what frames are rounded up to (so that shapes
#: recur).
_SOME, _ROUND = 4, 8
#: Batches that wait for their second use, so that it comes some steps after the first.
WAITING = 8


@dataclass
class Prepared:
    """An augmented batch and what the teacher makes of it (None: it has not been asked). x : Tensor[B, 1, F, T];
    lengths, labels, partners, share : Tensor[B], as ``augment`` returns them; rows : Tensor[B], places of the clips
    among all."""

    x: Tensor
    lengths: Tensor
    labels: Tensor
    partners: Tensor
    share: Tensor
    teacher: Features | None
    rows: Tensor | None


class Echo:
    """Prepared batches that are learnt from once more, some steps later: *data echoing* (Choi et al. 2019, arXiv
    1907.05550). It pays where a teacher is costly beside its student. On a CPU only.

    ``on`` : whether batches are used twice.
    """

    def __init__(self):
        self.on = False
        self._waiting: deque[Prepared] = deque()
        self._next = False

    def keep(self, batch: Prepared) -> Prepared:
        """Note a batch that is used for the first time; returns it."""
        if self.on:
            self._waiting.append(batch)
            self._next = len(self._waiting) > WAITING
        return batch

    def again(self) -> Prepared | None:
        """The batch that has waited longest, where its turn has come: every second step, once enough of them wait."""
        if not self._next:
            return None
        self._next = False
        return self._waiting.popleft()

    def forget(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self._next = False


@dataclass
class Learner:
    """Everything that a training step reads and writes. Shapes: mels Tensor[B, 1, F, T]; lengths, labels Tensor[B];
    numbers Tensor[B, augmentation.numbers].

    ``priorities`` : of the clips, where some are replayed more often than others; ``rows``, ``errors`` : Tensor[B], the
    clips of the latest batch that was drawn, and how far off the student was on those of the latest step;
    ``frames`` : of the augmented batch, None for as many as any view has;
    ``fast_teacher`` : copy of the teacher's model for the steps; ``last`` : terms of the latest step by name;
    ``ahead`` : the next batch while it is prepared, with the state that ``rng`` had before it; ``seconds`` : that the
    latest batch took to be prepared, and the latest step to learn from one, on a CPU; ``group`` : the processes that
    learn together.
    """

    teacher: Checkpoint
    fast_teacher: nn.Module
    student: Classifier
    objective: Objective
    augmentation: AugmentConfig
    hint: nn.Module | None
    optimiser: Muon
    mels: Tensor
    lengths: Tensor
    labels: Tensor
    numbers: Tensor
    noise: Tensor
    rng: torch.Generator
    frames: int | None = None
    steps: int = 0
    last: dict[str, Tensor] = field(default_factory=dict)
    step: RecordedStep | None = None
    ahead: tuple[Future, Tensor] | None = None
    worker: ThreadPoolExecutor | None = None
    priorities: Priorities | None = None
    rows: Tensor | None = None
    errors: Tensor | None = None
    echo: Echo = field(default_factory=Echo)
    seconds: dict[str, float] = field(default_factory=dict)
    group: Group = ALONE

    @property
    def device(self) -> torch.device:
        return self.labels.device


def new_learner(
    teacher: Checkpoint,
    student: Classifier,
    settings: Settings,
    frames: int,
    augmentation: AugmentConfig,
    group: Group = ALONE,
) -> Learner:
    """A student that will learn from batches of clips of at most ``frames`` frames."""
    device, batch, row = teacher.device, settings.batch, objective(settings.objective)
    seed = settings.seed * 7919 + 1
    hint = new_hint(teacher, student, seed) if row.hint else None
    learning = [p for part in (student, hint) if part is not None for p in part.parameters() if p.requires_grad]
    learner = Learner(
        teacher=teacher,
        fast_teacher=fast_copy(teacher.model, teacher.spec, augmentation.most(frames, teacher.spec)),
        student=student,
        objective=row,
        augmentation=augmentation,
        hint=hint,
        optimiser=_optimiser(learning, settings, device),
        mels=torch.zeros(batch, 1, teacher.spec.n_mels, frames, device=device),
        lengths=torch.full((batch,), frames, device=device),
        labels=torch.zeros(batch, dtype=torch.long, device=device),
        numbers=torch.zeros(batch, augmentation.numbers, device=device),
        noise=texture(teacher.spec, device),
        rng=torch.Generator().manual_seed(seed),
        priorities=Priorities(device) if settings.replay == "priority" else None,
        group=group,
    )
    learner.step = RecordedStep(lambda: _improve(learner, _prepared(learner)), device)
    return learner


def _optimiser(parameters: list[nn.Parameter], settings: Settings, device: torch.device) -> Muon:
    """Muon for all convolutions but the first, whose kernels are of one channel; AdamW for it and the rest."""
    groups = {True: [], False: []}
    for parameter in parameters:
        groups[parameter.dim() == 4 and parameter.shape[1] > 1].append(parameter)
    rates = {True: settings.lr * ORTHOGONAL, False: settings.lr}
    listed = [{"params": own, "lr": rates[kind], "orthogonal": kind} for kind, own in groups.items() if own]
    return adam(listed, device, Muon, weight_decay=settings.weight_decay)


def learn(learner: Learner, buffer: ReplayBuffer, rate: float = 1.0) -> None:
    """One training step on clips drawn from the buffer, at this share of the learning rates."""
    set_rate(learner.optimiser, rate)
    _in_training(learner)
    if learner.group.size > 1:
        plain = learner.device.type != "cpu"
        batch = _prepare(learner, buffer, _weights(learner, buffer)) if plain else _fresh(learner, buffer)
        learner.group.shared({"rate": rate, "shape": list(batch.x.shape)})
        sent(learner.group, batch.x, batch.lengths, batch.labels, batch.partners, batch.share)
        _improve(learner, batch)
        _remember(learner, batch.rows)
    elif learner.device.type == "cpu":
        batch, cores = learner.echo.again() or learner.echo.keep(_fresh(learner, buffer)), torch.get_num_threads()
        with threads(cores - cores // 2):
            begin = time.perf_counter()
            _improve(learner, batch)
            learner.seconds["improve"] = time.perf_counter() - begin
        _remember(learner, batch.rows)
    else:
        learner.step(work=_draw(learner, buffer, _weights(learner, buffer)))
        _remember(learner, learner.rows)
    learner.steps += 1


def follow(learner: Learner) -> None:
    """In a process that is not the main one: do the steps of the main one's learner, until that sends an empty order.
    LostError where it ends otherwise."""
    while order := learner.group.shared():
        if "state" in order:
            load_learner(learner, order["state"])
            if order["anew"]:
                forget(learner.optimiser, learnt(learner.optimiser))
            continue
        set_rate(learner.optimiser, order["rate"])
        _in_training(learner)
        _improve(learner, Prepared(*sent(learner.group, *room(order["shape"], learner.device)), None, None))


def lead(learner: Learner, anew: bool = False) -> None:
    """The main process's state is that of all from now on; ``anew`` : without the optimiser's moments."""
    if learner.group.size > 1:
        learner.group.shared({"state": learner_state(learner), "anew": anew})


def _in_training(learner: Learner) -> None:
    learner.student.train()
    if learner.objective.reuse:  # these stay as they are in the teacher
        learner.student.pooling.eval()
        learner.student.classifier.eval()


def _remember(learner: Learner, rows: Tensor) -> None:
    """Note how far off the student was on the clips of the step."""
    if learner.priorities is not None:
        learner.priorities.update(rows, learner.errors)


def _fresh(learner: Learner, buffer: ReplayBuffer) -> Prepared:
    """A new batch. On several cores it was prepared meanwhile, and the next one begins to be."""
    cores = torch.get_num_threads()
    if cores == 1:
        return _prepare(learner, buffer, _weights(learner, buffer))
    if learner.worker is None:
        learner.worker = ThreadPoolExecutor(1, thread_name_prefix="teacher")
    if learner.ahead is None:
        _look_ahead(learner, buffer, cores // 2)
    batch = learner.ahead[0].result()
    _look_ahead(learner, buffer, cores // 2)
    return batch


def _look_ahead(learner: Learner, buffer: ReplayBuffer, cores: int) -> None:
    def prepare() -> Prepared:
        with threads(cores):
            return _prepare(learner, buffer, weights)

    before = learner.rng.get_state()
    weights = _weights(learner, buffer)
    learner.ahead = learner.worker.submit(prepare), before


def _prepare(learner: Learner, buffer: ReplayBuffer, weights: Tensor | None) -> Prepared:
    begin = time.perf_counter()
    _draw(learner, buffer, weights)
    batch = replace(_prepared(learner), labels=learner.labels.clone())
    learner.seconds["prepare"] = time.perf_counter() - begin
    return batch


def forget_ahead(learner: Learner) -> None:
    """Drop the batch that is prepared, as if it had not been drawn: the buffer, or who goes on with it, changes."""
    if learner.ahead is not None:
        future, before = learner.ahead
        wait([future])  # where it failed, the step that took it has said so
        learner.rng.set_state(before)
        learner.ahead = None


def close(learner: Learner) -> None:
    """End the thread that prepares batches."""
    forget_ahead(learner)
    if learner.worker is not None:
        learner.worker.shutdown()
        learner.worker = None


def _weights(learner: Learner, buffer: ReplayBuffer) -> Tensor | None:
    """Chances of the clips to be drawn, as they are now; None where all are alike."""
    return None if learner.priorities is None else learner.priorities.weights(len(buffer))


def _draw(learner: Learner, buffer: ReplayBuffer, weights: Tensor | None) -> int:
    """Draw a batch (by ``weights``) and the numbers of its augmentation; returns the frames that hold it.

    On a GPU any clips, in tensors that keep their shape; elsewhere clips whose views are of like length, since padding
    costs as much as sound.
    """
    batch, cuda = len(learner.labels), learner.device.type == "cuda"
    some = batch if cuda else _SOME * batch
    rows = draw(len(buffer), some, learner.rng, weights)
    numbers = torch.rand(some, learner.augmentation.numbers, generator=learner.rng)
    places = torch.rand(some, generator=learner.rng)
    if not cuda:
        lengths = buffer.lengths(rows)
        views = learner.augmentation.lengths(lengths, buffer.spec, numbers)
        turn = int(torch.randint(_SOME, (), generator=learner.rng))
        order = views.argsort(stable=True)[turn * batch : (turn + 1) * batch]
        rows, numbers, places = rows[order], numbers[order], places[order]
        longest = int(lengths[order].max())
        learner.frames = -(-int(views[order].max()) // _ROUND) * _ROUND
    mels, lengths, labels = buffer.take(rows, places)
    if cuda:  # a recorded step reads the same memory again
        learner.mels.copy_(mels)
    else:
        learner.mels = mels[..., :longest].contiguous()
    learner.lengths.copy_(lengths)
    learner.labels.copy_(labels)
    learner.numbers.copy_(numbers)
    learner.rows = rows
    return learner.frames or learner.augmentation.most(buffer.frames, buffer.spec)


@torch.no_grad()
def _prepared(learner: Learner) -> Prepared:
    """The batch that was drawn, augmented, with the teacher's features."""
    x, lengths, partners, share = augment(
        learner.mels,
        learner.lengths,
        learner.labels,
        learner.teacher.spec,
        learner.augmentation,
        learner.numbers,
        learner.noise,
        learner.frames,
    )
    teacher = _taught(learner, x, lengths) if learner.group.size == 1 else None
    return Prepared(x, lengths, learner.labels, partners, share, teacher, learner.rows)


@torch.no_grad()
def _taught(learner: Learner, x: Tensor, lengths: Tensor) -> Features:
    """What the teacher makes of a batch."""
    with frozen(learner.fast_teacher), autocast(learner.device):
        return learner.fast_teacher(x, lengths)


@torch.enable_grad()
def _improve(learner: Learner, batch: Prepared) -> None:
    """Improve the student by one step."""
    group, several, count = learner.group, learner.group.size > 1, len(batch.labels)
    x, lengths = (t[group.part(count)] if several else t for t in (batch.x, batch.lengths))
    learning = [part for part in (learner.student, learner.hint) if part is not None]
    with autocast(learner.device, enabled=learner.device.type == "cuda"), group.joint(*learning):
        student = learner.student(x, lengths)
        hint = None
        if learner.hint is not None:
            hint = replace(student, frames=learner.hint(student.frames, student.lengths))
        if several:
            batch = replace(batch, teacher=whole(group, _taught(learner, x, lengths), count))
            hint = hint and group.gathered(hint.frames, count)
            student = whole(group, student, count)
            hint = None if hint is None else replace(student, frames=hint)
    if learner.priorities is not None:
        learner.errors = divergence(batch.teacher.logits, student.logits, learner.teacher.multilabel)
    compared = Batch(
        batch.teacher, student, hint, batch.labels, batch.partners, batch.share, learner.teacher.multilabel
    )
    terms = learner.objective.terms(compared)
    learner.optimiser.zero_grad(set_to_none=True)
    total(terms).backward()
    if several:
        add_up(group, [p.grad for p in learnt(learner.optimiser) if p.grad is not None])
    learner.optimiser.step()
    learner.last = {name: term.detach() for name, term in terms.items()}


def learner_state(learner: Learner) -> dict:
    """All that a later run needs to go on, on the CPU: tensors, numbers and lists only."""
    return {
        "student": {name: value.detach().cpu().clone() for name, value in learner.student.state_dict().items()},
        "hint": None if learner.hint is None else {k: v.cpu().clone() for k, v in learner.hint.state_dict().items()},
        "moments": moments(learner.optimiser),
        "rng": learner.rng.get_state() if learner.ahead is None else learner.ahead[1],
        "steps": learner.steps,
        "priorities": None if learner.priorities is None else learner.priorities.values.cpu().clone(),
    }


def load_learner(learner: Learner, state: dict) -> None:
    """Inverse of ``learner_state``, for a learner of the same settings."""
    learner.student.load_state_dict(state["student"])
    if learner.hint is not None:
        learner.hint.load_state_dict(state["hint"])
    restore(learner.optimiser, state["moments"])
    learner.rng.set_state(state["rng"])
    if learner.priorities is not None:
        learner.priorities.values = state["priorities"].to(learner.device, copy=True)
    learner.steps = state["steps"]
