"""``frami synthesize | gallery``: clips made from a teacher's weights alone."""

import argparse
import sys
from pathlib import Path

from frami import banks, checkpoints, cluster, vocoder
from frami.banks import divided
from frami.cli import changing, scaling
from frami.cli.arguments import (
    class_numbers,
    command,
    device_option,
    moved,
    names,
    number,
    progress,
    progress_bar,
    seed,
    whole,
)
from frami.cluster.sent import SentTeacher
from frami.device import pick
from frami.errors import FramiError
from frami.features.gallery import EXPLORE_CLIPS, explore, make, map_again, measure_again
from frami.files import FullError
from frami.inversion import RECIPES, InversionSettings, arithmetic, invert
from frami.paths import ASSETS, made


def add(commands) -> None:
    sub = command(commands, "synthesize", _synthesize)
    sub.add_argument("--teacher", required=True, help="name of a bundled teacher, or path")
    sub.add_argument("--recipe", default="frami-fine", help=f"{', '.join(RECIPES)} (default: frami-fine)")
    sub.add_argument("--samples", type=whole(1), default=16)
    sub.add_argument("--steps", type=whole(1), help="optimisation steps a batch (default: the recipe's)")
    sub.add_argument(
        "--seconds", type=_duration, help="duration of a clip, or a range: 0.5 or 0.3-0.8 (default: the teacher's)"
    )
    several = "names or numbers, with commas, and several times; a name with a comma alone or in quotes"
    sub.add_argument("--classes", action="append", help=f"{several} (default: all in turn)")
    sub.add_argument("--batch", type=whole(1), default=16, help="clips made at once")
    sub.add_argument("--seed", type=seed, default=0)
    sub.add_argument(
        "--from", dest="start", metavar="FILE", help="change this sound until the class of --class is heard in it"
    )
    sub.add_argument("--class", dest="target", metavar="NAME", help="with --from: the class, its name or number")
    default = "default: frami, where it takes the teacher's spectrograms"
    sub.add_argument("--vocoder", help=f"{', '.join(vocoder.VOCODERS)}, or a .safetensors ({default})")
    sub.add_argument("--no-sounds", action="store_true", help="spectrograms only")
    sub.add_argument("--out", required=True, help="folder for shards, sounds and manifest.json; goes on if interrupted")
    sub.add_argument("--overwrite", action="store_true", help="replace another bank in that folder")
    scaling.add(sub, "a chain of batches")
    chain = f"batches of a chain, which knows nothing of the others (default: all; with --on ray {divided.CHAIN})"
    sub.add_argument("--chain", type=whole(1), metavar="N", help=chain)
    device_option(sub)

    sub = command(commands, "gallery", _gallery)
    own = "for teachers of your own the same below FRAMI_HOME"
    sub.add_argument("--out", help=f"default: assets/gallery, with --explore assets/explore; {own}")
    sub.add_argument("--teachers", type=names, help="default: all bundled ones")
    sub.add_argument("--each", type=whole(1), default=3, help="clips a class")
    sub.add_argument("--steps", type=whole(1))
    sub.add_argument("--seed", type=seed, default=0)
    explored = "make the Explore tab's banks of several recipes and their map instead; goes on if interrupted"
    sub.add_argument("--explore", action="store_true", help=explored)
    sub.add_argument(
        "--sounds", action="store_true", help="make no clips: vocode those of the gallery that is there again"
    )
    sub.add_argument("--vocoder", help="of the gallery's sounds (default: frami)")
    sub.add_argument("--samples", type=whole(2), help="with --explore: clips of each recipe (default: 100)")
    again = "with --explore: keep banks and map, and measure them again beside the recordings here"
    sub.add_argument("--measures", action="store_true", help=again)
    anew = "with --explore: keep banks and measures, and make the map again, with the recordings that ship or are here"
    sub.add_argument("--map", action="store_true", help=anew)
    device_option(sub, data=True)


def _duration(text: str) -> float | tuple[float, float]:
    """``0.5`` or ``0.3-0.8``, in seconds."""
    read = number(0.1, 30)
    low, dash, high = text.partition("-")
    if not (low and dash):
        return read(text)
    if read(low) > read(high):
        raise argparse.ArgumentTypeError(f"{text} begins with the longer duration")
    return read(low), read(high)


def _synthesize(options) -> tuple[dict, list[str]]:
    if options.start or options.target:
        if options.chain or options.where != cluster.LOCAL:
            raise FramiError("--from changes one sound; --on and --chain divide a bank of many: leave them out")
        return changing.run(options)
    with scaling.engine(options) as engine:
        return _banked(options, engine)


def _banked(options, engine: cluster.Engine) -> tuple[dict, list[str]]:
    teacher = checkpoints.load(options.teacher, pick(options.device))
    classes = class_numbers(options.classes, teacher.classes)
    settings = InversionSettings.of(
        teacher, options.recipe, samples=options.samples, steps=options.steps, seconds=options.seconds,
        classes=classes, batch=options.batch, seed=options.seed,
    )  # fmt: skip
    sounds = None if options.no_sounds else vocoder.get(options.vocoder, teacher.spec)
    chain = options.chain or (None if options.where == cluster.LOCAL else divided.CHAIN)
    if chain:
        choices = {"overwrite": options.overwrite, "before": engine.begin}
        writer = divided.create_for(teacher, settings, options.out, sounds, chain, **choices)
    else:
        writer = banks.create_for(teacher, settings, options.out, sounds, overwrite=options.overwrite)
    there, notes = writer.complete, {}
    if not there:
        try:
            if chain:
                notes = _divided(options, writer, settings, engine)
            else:
                states = invert(teacher, settings, first=writer.batches, memory=writer.state)
                notes = _fill(writer, states, f"{settings.recipe.name} on {teacher.card.name}")
        except FullError as error:
            if options.overwrite and writer.in_place:
                error.advice = "give the same command again without --overwrite: what was finished is saved"
            raise
    bank = banks.load(options.out)
    for name in bank.damaged:
        print(f"frami synthesize: left out: {name}", file=sys.stderr)
    cost = arithmetic(teacher, sum(settings.seconds) / 2)
    value = {
        "clips": len(bank), "target_accuracy": round(bank.target_accuracy, 4),
        "confidence": round(float(bank.confidence.mean()), 4), "seconds": bank.seconds,
        "bank": str(bank.folder / banks.MANIFEST), "macs": cost, "notes": list(notes), "already_there": there,
    }  # fmt: skip
    line = (
        f"{'already there: ' if there else ''}{value['clips']} clips in {value['seconds']:.1f} s, "
        f"{value['target_accuracy']:.1%} classified as their target class (mean confidence {value['confidence']:.1%}): "
        f"{bank.folder}"
    )
    arithmetic_line = (
        f"forward pass of a clip, in million multiply-accumulates: teacher {cost['teacher'] / 1e6:.1f}, "
        f"generator {cost['generator'] / 1e6:.1f}"
    )
    return value, [line, arithmetic_line]


def _fill(writer, states, label: str) -> dict[str, None]:
    """Fill a bank; returns the notes of the run, each of which it prints once."""
    notes: dict[str, None] = {}
    with progress_bar("step", label) as bar:

        def report(state) -> None:
            for note in state.notes:
                if note not in notes:
                    bar.write(f"frami synthesize: {note}", file=sys.stderr)
                notes[note] = None
            moved(bar)(state.done, state.total)
            bar.set_postfix(confidence=f"{state.confidence:.0%}")

        if writer.batches:
            bar.write(f"frami synthesize: goes on behind the {writer.made} clips that are there", file=sys.stderr)
        banks.fill(writer, states, report)
    return notes


def _divided(options, writer, settings: InversionSettings, engine: cluster.Engine) -> dict[str, None]:
    """Fill a bank chain by chain, where ``--on`` says; returns the notes of the run, each of which it prints once."""
    notes: dict[str, None] = {}

    def note(text: str) -> None:
        notes[text] = None
        print(f"frami synthesize: {text}", file=sys.stderr)

    if writer.batches:
        print(f"frami synthesize: goes on with what {writer.made} clips lack", file=sys.stderr)
    plan = writer.plan(settings, options.vocoder, options.device)
    divided.fill(writer, engine, SentTeacher.of(options.teacher), plan, progress, note)
    return notes


def _gallery(options) -> tuple[dict, list[str]]:
    if (options.measures or options.map) and not options.explore:
        raise FramiError("--measures and --map are of the Explore tab's map: add --explore")
    kind = "explore" if options.explore else "gallery"
    out = Path(options.out) if options.out else ASSETS / kind
    make = _explored if options.explore else _vocoded if options.sounds else _made
    rows, lines = [], []
    for name in options.teachers or [card.name for card in checkpoints.bundled("teacher")]:
        with progress_bar("clip" if make is _vocoded else "step", name) as bar:
            folder = out / name if options.out else made(kind, name)
            row, line = make(options, name, folder, bar)
        rows.append(row | {"folder": str(folder)})
        lines.append(f"{name:13} {line}")
    return {"out": str(out), "teachers": rows}, lines


def _made(options, name: str, folder: Path, bar) -> tuple[dict, str]:
    choices = {"each": options.each, "steps": options.steps, "seed": options.seed, "vocoder": options.vocoder}
    row = make(checkpoints.load(name, pick(options.device)), folder, **choices, report=moved(bar))
    return row, f"{row['clips']} clips, {row['target_accuracy']:.1%} classified as their target class"


def _vocoded(options, name: str, folder: Path, bar) -> tuple[dict, str]:
    chosen = vocoder.get(options.vocoder, banks.load(folder).spec)
    row = {"teacher": name, "vocoder": chosen.name, "clips": banks.renew_sounds(folder, chosen, moved(bar))}
    return row, f"{row['clips']} clips vocoded again by {row['vocoder']}"


def _explored(options, name: str, folder: Path, bar) -> tuple[dict, str]:
    def report(what: str, done: int, total: int) -> None:
        bar.set_description(f"{name}: {what}", refresh=False)
        moved(bar)(done, total)

    teacher, choices = checkpoints.load(name, pick(options.device)), {"data_folder": options.data, "report": report}
    if options.map:
        row = map_again(teacher, folder, **choices)
    elif options.measures:
        row = measure_again(teacher, folder, **choices)
    else:
        more = {"samples": options.samples or EXPLORE_CLIPS, "steps": options.steps, "seed": options.seed}
        row = explore(teacher, folder, **more, **choices)
    clips = ", ".join(f"{count} of {recipe}" for recipe, count in row["clips"].items())
    real = row["measures"]["real_clips"]
    beside = f"measured beside {real} recordings" if real else "no recordings here to measure beside"
    return row, f"{clips}; {row['bytes'] / 1e6:.1f} MB; {beside}"
