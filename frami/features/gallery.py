"""What the studio has precomputed: a bank of sounds for each teacher, and banks of several recipes with their map."""

from collections.abc import Callable, Sequence
from pathlib import Path

from frami import banks
from frami import vocoder as vocoders
from frami.checkpoints import Checkpoint
from frami.data import DataError
from frami.features import diversity, maps
from frami.inversion import InversionSettings, Progress, invert

#: Optimisation steps of a clip of the gallery: more than a clip to learn from needs.
STEPS = 300
#: Longest clip of the gallery, in seconds.
LONGEST = 2.0
#: States of each clip that are saved: all of them together stay a few megabytes.
SNAPSHOTS = 5
#: Recipes on the map, and clips of each: enough for the measures, few enough to be bundled.
EXPLORE = ("frami", "cmi", "dafl")
EXPLORE_CLIPS = 100
_BATCH = 50


def make(
    teacher: Checkpoint,
    folder: Path,
    *,
    each: int = 3,
    steps: int | None = None,
    recipe: str = "frami",
    seed: int = 0,
    vocoder: str | None = None,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Write a bank with ``each`` clips of every class of ``teacher`` to ``folder``, sounds as FLAC, with states of each
    clip on its way.

    vocoder : name (None: the usual one). An older gallery there is replaced. ``report(done, total)`` counts steps.
    """
    kinds = len(teacher.classes)
    settings = InversionSettings.of(
        teacher, recipe, samples=each * kinds, steps=steps or STEPS, seconds=min(teacher.card.seconds, LONGEST),
        batch=2 * kinds, seed=seed, snapshots=SNAPSHOTS,
    )  # fmt: skip
    synthesize = vocoders.get(vocoder, teacher.spec)
    writer = banks.create_for(teacher, settings, folder, synthesize, ending="flac", overwrite=True)
    banks.fill(writer, invert(teacher, settings, every=10), _counted(report), resumable=False)
    manifest = writer.manifest
    return {
        "teacher": teacher.card.name,
        "clips": len(manifest["clips"]),
        "target_accuracy": manifest["target_accuracy"],
        "seconds": round(writer.seconds, 1),
    }


def _counted(report: Callable[[int, int], None] | None) -> Callable[[Progress], None] | None:
    """A report of steps as one of states."""
    return report and (lambda state: report(state.done, state.total))


def explore(
    teacher: Checkpoint,
    folder: Path,
    *,
    recipes: Sequence[str] = EXPLORE,
    samples: int = EXPLORE_CLIPS,
    steps: int | None = None,
    seed: int = 0,
    data_folder: str | Path | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> dict:
    """Write a bank without sounds for each recipe to ``folder``, and the map of them all with what was measured.

    A bank of the same settings stays, or is finished where it was interrupted; one of other settings is replaced. Where
    the teacher's held-out recordings are at hand, the banks are measured beside them; of the recordings only such
    measures are written. ``report(what, done, total)`` names what is at work. Raises FramiError.
    """
    report = report or (lambda what, done, total: None)
    layers = []
    for name in recipes:
        settings = InversionSettings.of(
            teacher, name, samples=samples, steps=steps, seconds=None, batch=min(_BATCH, samples), seed=seed
        )
        bank = _bank(teacher, folder / name, settings, lambda done, total, name=name: report(name, done, total))
        layers.append(maps.of_bank(name, name, bank))
    measured = _measured(teacher, layers, data_folder, report)
    report("map", 0, 1)
    maps.save(folder, layers, measured)
    return {
        "teacher": teacher.card.name,
        "clips": {layer.key: len(layer) for layer in layers},
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "measures": measured,
    }


def _bank(
    teacher: Checkpoint, folder: Path, settings: InversionSettings, report: Callable[[int, int], None]
) -> banks.Bank:
    """The bank of these settings, made as far as it is not there yet."""
    try:
        writer = banks.create_for(teacher, settings, folder)
    except banks.BankError:  # other settings, or an older format
        writer = banks.create_for(teacher, settings, folder, overwrite=True)
    if not writer.complete:
        states = invert(teacher, settings, every=10, first=writer.batches, memory=writer.state)
        banks.fill(writer, states, _counted(report))
    return banks.load(folder)


def _measured(teacher: Checkpoint, layers: Sequence[maps.Layer], data_folder, report) -> dict:
    """Rows of the measures, with what they were measured beside, and a row of as many real training clips."""
    count = min(map(len, layers))

    def recorded(split: str, most: int | None) -> maps.Layer | None:
        """Real clips; None where they are not here, and what needs none is measured without."""
        try:
            progress = lambda done, total: report("real clips", done, total)  # noqa: E731
            return maps.recorded(teacher, split=split, most=most, data_folder=data_folder, progress=progress).layer
        except DataError:
            return None

    real = recorded("test", None)
    training = recorded("train", count) if real is not None else None
    rows = []
    for done, layer in enumerate(layers):
        report("measures", done, len(layers) + 1)
        rows.append(maps.measures(layer, real, count=count))
    enough = training is not None and len(training) >= count
    reference = maps.measures(training, real, count=count) if enough else None
    return {
        "samples": count,
        "k": diversity.K,
        "dataset": teacher.card.dataset if real is not None else None,
        "folds": list(teacher.card.split["test"]) if real is not None else [],
        "real_clips": len(real) if real is not None else 0,
        "rows": rows,
        "reference": reference,
    }
