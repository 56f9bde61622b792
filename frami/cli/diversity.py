"""``frami diversity``: how rich the clips of banks are, beside each other and beside real recordings."""

import os
import sys
from pathlib import Path

from frami.cli.arguments import command, data_option, device_option, moved, progress_bar, whole
from frami.errors import FramiError


def add(commands) -> None:
    sub = command(commands, "diversity", _diversity, "How rich the clips of banks are, also beside real recordings.")
    sub.add_argument("banks", nargs="+", metavar="BANK", help="folder as written by frami synthesize")
    sub.add_argument("--teacher", help="path of the banks' teacher, where its name is not enough to find it")
    sub.add_argument("--dataset", help="real recordings (default: those that the teacher was trained on)")
    sub.add_argument("--split", default="test", help="test (what the teacher's card holds out), train, all, or a fold")
    sub.add_argument("--samples", type=whole(2), help="clips of each bank, the first ones (default: of the smallest)")
    sub.add_argument("--seed", type=whole(0), default=0, help="of the draws for the intervals")
    data_option(sub)
    device_option(sub)


def _diversity(options) -> tuple[dict, list[str]]:
    from frami import checkpoints
    from frami.device import pick
    from frami.features import diversity
    from frami.features.embeddings import embed

    banks = _banks(options.banks)
    count = _count(banks, options.samples)
    teacher = checkpoints.load(options.teacher or _teacher_of(banks), pick(options.device))
    _check(banks, teacher)
    with progress_bar("clip", "real clips") as bar:
        clips, notes = _real(options, teacher, moved(bar))
        real = embed(teacher, clips, progress=moved(bar)) if clips else None
        training = _training(options, teacher, clips, count, moved(bar)) if clips else None
    rows = []
    with progress_bar("bank", "diversity") as bar:
        for done, (name, bank) in enumerate(banks, 1):
            row = {"bank": name, "recipe": bank.manifest["settings"].get("recipe")}
            rows.append(row | _measures(bank, bank.target, count, real, options.seed))
            moved(bar)(done, len(banks))
        reference = None
        if training:
            reference = {"clips": f"real training clips ({', '.join(teacher.card.split.get('train', []))})"}
            reference |= _measures(training, training.labels, count, real, options.seed)
    value = {
        "teacher": teacher.card.name,
        "dataset": options.dataset or teacher.card.dataset,
        "split": options.split,
        "real_clips": len(clips) if clips else 0,
        "samples": count,
        "k": diversity.K,
        "rows": rows,
        "reference": reference,
    }
    return value, _lines(value, [*notes, *_few_classes(banks, count, teacher.classes)])


def _banks(names: list[str]) -> list:
    """(name, bank) of each folder; what is damaged is told on standard error."""
    from frami import banks

    found = [(name, banks.load(name)) for name in names]
    for name, bank in found:
        for part in bank.damaged:
            print(f"frami diversity: {name}: left out: {part}", file=sys.stderr)
    return found


def _count(banks: list, samples: int | None) -> int:
    name, smallest = min(banks, key=lambda one: len(one[1]))
    if len(smallest) < max(samples or 2, 2):
        needed = f"--samples {samples}" if samples else "diversity needs at least 2"
        raise FramiError(f"{name} has {len(smallest)} {'clip' if len(smallest) == 1 else 'clips'}, but {needed}")
    return samples or len(smallest)


def _teacher_of(banks: list) -> str:
    """Name of the one teacher that all banks were made from."""
    first, own = banks[0][0], banks[0][1].manifest["settings"]["teacher"]
    for name, bank in banks[1:]:
        other = bank.manifest["settings"]["teacher"]
        if other != own:
            raise FramiError(
                f"{first} was made from '{own}' and {name} from '{other}': features of two teachers do not compare"
            )
    return own


def _check(banks: list, teacher) -> None:
    """FramiError when a bank was not made from these weights."""
    _teacher_of(banks)
    for name, bank in banks:
        settings = bank.manifest["settings"]
        if settings["teacher"] != teacher.card.name:
            raise FramiError(f"{name} was made from '{settings['teacher']}', not from '{teacher.card.name}'")
        same = settings.get("teacher_sha256", teacher.card.sha256) == teacher.card.sha256
        if not same or bank.spec != teacher.spec or bank.logits.shape[1] != len(teacher.classes):
            raise FramiError(f"{name} was made from other weights of '{teacher.card.name}'; make the bank again")


def _real(options, teacher, report) -> tuple:
    """Real clips to measure with and no remark, or None and how to get them where nobody asked for any."""
    from frami import data
    from frami.data.catalogue import DATASETS
    from frami.features.embeddings import recordings

    dataset = options.dataset or teacher.card.dataset
    wanted = options.data or options.dataset or (os.environ.get("FRAMI_DATA") and dataset in DATASETS)
    if not wanted:
        try:
            data.locate(dataset)
        except data.DataError as error:
            return None, [f"without real clips there is no coverage, density or Fréchet distance: {error}"]
    return recordings(teacher, options.dataset, options.split, options.data, report), []


def _training(options, teacher, real, count: int, report):
    """As many clips of the teacher's training folds, classes in turn, none of them of ``real``; None if not here."""
    from frami.data import DataError
    from frami.features.diversity import in_turns
    from frami.features.embeddings import embed, recordings

    try:
        clips = recordings(teacher, None, "train", options.data, report)
    except DataError:
        return None
    taken = set(real.clips)
    free = [i for i, clip in enumerate(clips.clips) if clip not in taken]
    if len(free) < count:
        return None
    chosen = [free[i] for i in in_turns(clips.labels[free], count, options.seed).tolist()]
    return embed(teacher, clips, chosen, progress=report)


def _measures(clips, target, count: int, real, seed: int) -> dict:
    """Measures of the first ``count`` clips of a bank or of embedded real ones, as plain numbers."""
    from frami.features.diversity import summary

    beside = (real.pooled, real.labels) if real else ()
    return summary(
        clips.pooled[:count], target[:count], clips.predicted[:count], clips.confidence[:count], *beside, seed=seed
    )


def _few_classes(banks: list, count: int, classes: tuple[str, ...]) -> list[str]:
    """A remark where banks do not ask for every class, which lowers their coverage."""
    few = [(name, len(bank.target[:count].unique())) for name, bank in banks]
    few = [f"{name} asks for {number}" for name, number in few if number < len(classes)]
    return [f"of {len(classes)} classes {', '.join(few)}: that alone lowers coverage and Vendi"] if few else []


def _lines(value: dict, notes: list[str]) -> list[str]:
    """A column for each bank and a line for each measure, intervals in brackets, and how to read them."""
    from frami.features.diversity import READING

    rows = list(value["rows"])
    names = [Path(row["bank"]).name for row in rows]
    titles = [row["bank"] if names.count(name) > 1 else name for row, name in zip(rows, names, strict=True)]
    recipes = [str(row["recipe"]) for row in rows]
    if value["reference"]:
        rows, titles, recipes = [*rows, value["reference"]], [*titles, "real training clips"], [*recipes, "recorded"]
    columns = [
        [title, recipe, *(_cell(row[name], row["intervals"].get(name)) for name in READING)]
        for title, recipe, row in zip(titles, recipes, rows, strict=True)
    ]
    widths = [max(map(len, column)) for column in columns]
    heads = ["", "recipe", *READING]
    width = max(map(len, heads))
    table = [
        "  ".join([f"{head:{width}}", *(f"{cell:{size}}" for cell, size in zip(cells, widths, strict=True))]).rstrip()
        for head, cells in zip(heads, zip(*columns, strict=True), strict=True)
    ]
    beside = f", beside {value['real_clips']} real ones of {value['dataset']} ({value['split']})"
    equal = "Figures compare for equal numbers of clips only"
    if value["reference"]:
        equal += "; what real sound gets is in the last column"
    return [
        f"teacher {value['teacher']}; {value['samples']} clips each{beside if value['real_clips'] else ''}; "
        "95 % intervals in brackets",
        "",
        *table,
        "",
        *(f"{name:{width}}  {sentence}" for name, sentence in READING.items()),
        f"{equal}.",
        *notes,
    ]


def _cell(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "-"
    return _figure(value) + (f" [{_figure(interval[0])}, {_figure(interval[1])}]" if interval else "")


def _figure(value: float) -> str:
    """About three digits that count, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"
