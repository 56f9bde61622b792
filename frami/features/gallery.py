"""What the studio has precomputed: a bank of sounds for each teacher, and banks of several recipes with their map."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from frami import banks
from frami import vocoder as vocoders
from frami.checkpoints import Checkpoint
from frami.data import DataError, label
from frami.errors import FramiError
from frami.features import diversity, judges, maps, stored_recordings
from frami.features.embeddings import Embedded, embed
from frami.inversion import InversionSettings, invert
from frami.vocoder import Vocoder

#: Optimisation steps of a clip of the gallery: more than a clip to learn from needs.
STEPS = 300
#: Longest clip of the gallery, in seconds.
LONGEST = 2.0
#: Clips that are made at once.
MOST_AT_ONCE = 100
#: States of each clip that are saved: all of them together stay a few megabytes.
SNAPSHOTS = 5
#: Recipes on the map, and clips of each: enough for the measures, few enough to be bundled.
EXPLORE = ("frami", "cmi", "dafl")
EXPLORE_CLIPS = 100
_BATCH = 50
#: Folder, inside the old one's, of a bank that is being made in its place.
_NEXT = ".next"


def make(
    teacher: Checkpoint,
    folder: Path,
    *,
    each: int = 3,
    steps: int | None = None,
    recipe: str = "frami-fine",
    seed: int = 0,
    vocoder: str | None = None,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Write a bank with ``each`` clips of every class of ``teacher`` to ``folder``, sounds as FLAC, with states of each
    clip on its way.

    vocoder : name (None: the usual one). An older gallery there is replaced once the new one is whole; an interrupted
    making goes on when it is called again with the same settings. ``report(done, total)`` counts steps.
    """
    kinds = len(teacher.classes)
    settings = InversionSettings.of(
        teacher, recipe, samples=each * kinds, steps=steps or STEPS, seconds=min(teacher.card.seconds, LONGEST),
        batch=min(2 * kinds, MOST_AT_ONCE), seed=seed, snapshots=SNAPSHOTS,
    )  # fmt: skip
    synthesize = vocoders.get(vocoder, teacher.spec)
    bank = _replaced(teacher, folder, settings, report, synthesize, ending="flac")
    return {
        "teacher": teacher.card.name,
        "clips": len(bank),
        "target_accuracy": bank.manifest["target_accuracy"],
        "seconds": round(bank.seconds, 1),
    }


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
    the teacher's held-out recordings are at hand, the banks are measured beside them. Some lie on the map
    (``stored_recordings.make``), where there are any. ``report(what, done, total)`` names what is at work. Raises
    FramiError.
    """
    report = report or (lambda what, done, total: None)
    made: dict[str, banks.Bank] = {}
    for name in recipes:
        settings = InversionSettings.of(
            teacher, name, samples=samples, steps=steps, seconds=None, batch=min(_BATCH, samples), seed=seed
        )
        made[name] = _bank(teacher, folder / name, settings, lambda done, total, name=name: report(name, done, total))
    measured = _measured(teacher, made, data_folder, report)
    return _told(teacher, folder, made, _mapped(teacher, folder, made, measured, data_folder, report))


def map_again(
    teacher: Checkpoint,
    folder: Path,
    *,
    data_folder: str | Path | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> dict:
    """Make the map in ``folder`` again, with the recordings that there are now; its banks and their measures stay as
    they are. Raises FramiError where there is no such map."""
    stored, made = _there(teacher, folder)
    report = report or (lambda what, done, total: None)
    return _told(teacher, folder, made, _mapped(teacher, folder, made, stored.measures, data_folder, report))


def _mapped(
    teacher: Checkpoint, folder: Path, made: dict[str, banks.Bank], measured: dict, data_folder, report
) -> dict:
    """Write the map of these banks and of recordings, where there are any; returns the measures, theirs among them."""
    report("recordings", 0, 1)
    layers, progress = _layers(made), lambda done, total: report("recordings", done, total)
    try:
        real = stored_recordings.make(teacher, data_folder, progress)
    except DataError:
        real = None
        (folder / stored_recordings.FILE).unlink(missing_ok=True)
    else:
        stored_recordings.save(folder, teacher, real)
        layers.append(real.layer)
    measured = measured | {"recordings": real and maps.measures(real.layer)}
    report("map", 0, 1)
    maps.save(folder, layers, measured)
    return measured


def measure_again(
    teacher: Checkpoint,
    folder: Path,
    *,
    data_folder: str | Path | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> dict:
    """Measure the banks of a map in ``folder`` again, beside the recordings that are here; banks and map stay as they
    are. Raises FramiError where there is no such map, or no recordings for one that was measured beside some."""
    report = report or (lambda what, done, total: None)
    stored, made = _there(teacher, folder)
    measured = _measured(teacher, made, data_folder, report) | {"recordings": stored.measures.get("recordings")}
    if stored.measures.get("real_clips") and not measured["real_clips"]:
        raise FramiError(f"{folder} was measured beside recordings, which are not here; name their folder with --data")
    maps.save_measures(folder, measured)
    return _told(teacher, folder, made, measured)


def _there(teacher: Checkpoint, folder: Path) -> tuple[maps.Stored, dict[str, banks.Bank]]:
    """The map in a folder and its banks. FramiError where there is none, or one of other banks or another teacher."""
    stored = maps.load(folder)
    if stored is None:
        raise FramiError(f"{folder} holds no map; make it with: frami gallery --explore --teachers {teacher.card.name}")
    made = {name: banks.load(folder / name) for name in stored.digests if name != maps.REAL}
    if stored.of(_layers(made)) is None or not all(bank.made_from(teacher.card) for bank in made.values()):
        raise FramiError(f"{folder}: its banks are not those of its map, or of this teacher; make it anew")
    return stored, made


def _layers(made: dict[str, banks.Bank]) -> list[maps.Layer]:
    return [maps.of_bank(name, name, bank) for name, bank in made.items()]


def _told(teacher: Checkpoint, folder: Path, made: dict[str, banks.Bank], measured: dict) -> dict:
    return {
        "teacher": teacher.card.name,
        "clips": {name: len(bank) for name, bank in made.items()},
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "measures": measured,
    }


def _bank(
    teacher: Checkpoint, folder: Path, settings: InversionSettings, report: Callable[[int, int], None]
) -> banks.Bank:
    """The bank of these settings, made as far as it is not there yet; one of other settings stays until it is whole."""
    try:
        _filled(teacher, banks.create_for(teacher, settings, folder), settings, report)
        return banks.load(folder)
    except banks.BankError:  # other settings, an older format, or damaged
        return _replaced(teacher, folder, settings, report)


def _replaced(
    teacher: Checkpoint,
    folder: Path,
    settings: InversionSettings,
    report: Callable[[int, int], None] | None,
    vocoder: Vocoder | None = None,
    **choices,
) -> banks.Bank:
    """A bank made beside the one in the folder, which it replaces once it is whole. An interrupted making goes on."""
    beside = folder / _NEXT
    try:
        writer = banks.create_for(teacher, settings, beside, vocoder, **choices)
    except banks.BankError:  # an interrupted making of other settings
        shutil.rmtree(beside, ignore_errors=True)
        writer = banks.create_for(teacher, settings, beside, vocoder, **choices)
    _filled(teacher, writer, settings, report)
    banks.put_in_place(beside, folder)
    return banks.load(folder)


def _filled(
    teacher: Checkpoint,
    writer: banks.Writer,
    settings: InversionSettings,
    report: Callable[[int, int], None] | None,
) -> None:
    """Make what the bank does not have yet. ``report(done, total)`` counts steps."""
    if not writer.complete:
        counted = report and (lambda state: report(state.done, state.total))
        states = invert(teacher, settings, every=10, first=writer.batches, memory=writer.state)
        banks.fill(writer, states, counted)


def _measured(teacher: Checkpoint, made: dict[str, banks.Bank], data_folder, report) -> dict:
    """Rows of the measures, with what they were measured beside, and a row of as many real training clips; all as the
    teacher's judge hears them too, if it has one."""
    layers, judge = _layers(made), judges.of(teacher)
    count = min(map(len, layers))

    def recorded(split: str, most: int | None) -> maps.Recorded | None:
        """Real clips; None where they are not here, and what needs none is measured without."""
        try:
            progress = lambda done, total: report("real clips", done, total)  # noqa: E731
            return maps.recorded(teacher, split=split, most=most, data_folder=data_folder, progress=progress)
        except DataError:
            return None

    def heard(found: maps.Recorded | None) -> Embedded | None:
        return embed(judge.network, found.clips, found.rows) if judge and found else None

    real = recorded("test", None)
    training = recorded("train", count) if real is not None else None
    layer, judged, rows = real and real.layer, heard(real), []
    for done, one in enumerate(layers):
        report("measures", done, len(layers) + 1)
        found = judge and judges.measures(judge, made[one.key].clips(range(count)), judged)
        rows.append(judges.added(maps.measures(one, layer, count=count), found))
    reference = None
    if training is not None and len(training.layer) >= count:
        unheard = judge and set(judges.unheard(judge, training.clips, teacher.card.dataset, data_folder))
        free = [row for row in training.rows if row in unheard] if judge else []
        found = judges.of_real(judge, training.clips, free, judged) if len(free) > 1 else None
        reference = judges.added(maps.measures(training.layer, layer, count=count), found)
    return {
        "samples": count,
        "k": diversity.K,
        "dataset": label(teacher.card.dataset) if real is not None else None,
        "folds": list(teacher.card.split["test"]) if real is not None else [],
        "real_clips": len(layer) if layer is not None else 0,
        "judge": judge and judge.says(),
        "rows": rows,
        "reference": reference,
    }
