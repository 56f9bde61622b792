"""``frami synthesize | gallery``: clips made from a teacher's weights alone."""

import time
from pathlib import Path

from frami.cli.parts import class_numbers, command, device_option, moved, names, number, progress_bar, whole


def add(commands) -> None:
    sub = command(commands, "synthesize", _synthesize, "Make clips from a teacher's weights alone.")
    sub.add_argument("--teacher", required=True, help="name of a bundled teacher, or path")
    sub.add_argument("--recipe", default="frami", help="frami (default)")
    sub.add_argument("--samples", type=whole(1), default=16)
    sub.add_argument("--steps", type=whole(1), help="optimisation steps a batch (default: the recipe's)")
    sub.add_argument("--seconds", type=number(0.1, 30), help="duration of a clip (default: the teacher's usual one)")
    sub.add_argument("--classes", type=names, help="names or numbers, with commas (default: all in turn)")
    sub.add_argument("--batch", type=whole(1), default=16, help="clips made at once")
    sub.add_argument("--seed", type=whole(0), default=0)
    sub.add_argument("--vocoder", default="griffin-lim", help="griffin-lim (default)")
    sub.add_argument("--out", required=True, help="folder for bank.safetensors, sounds and manifest.json")
    sub.add_argument("--overwrite", action="store_true", help="replace another bank in that folder")
    device_option(sub)

    sub = command(commands, "gallery", _gallery, "Make the studio's gallery: a bank a teacher, every class.")
    sub.add_argument("--out", help="default: assets/gallery")
    sub.add_argument("--teachers", type=names, help="default: all bundled ones")
    sub.add_argument("--each", type=whole(1), default=3, help="clips a class")
    sub.add_argument("--steps", type=whole(1))
    sub.add_argument("--seed", type=whole(0), default=0)
    device_option(sub)


def _synthesize(options) -> tuple[dict, list[str]]:
    from frami import banks, checkpoints, vocoder
    from frami.device import pick
    from frami.inversion import Clips, arithmetic, invert, recipe

    teacher = checkpoints.load(options.teacher, pick(options.device))
    row = recipe(options.recipe)
    speaker = vocoder.get(options.vocoder, teacher.spec)
    settings = {
        "teacher": teacher.card.name,
        "recipe": row.name,
        "samples": options.samples,
        "steps": options.steps or row.steps,
        "seconds": options.seconds or teacher.seconds,
        "classes": class_numbers(options.classes, teacher.classes) or list(range(len(teacher.classes))),
        "batch": options.batch,
        "seed": options.seed,
    }
    run = invert(teacher, row, **{k: v for k, v in settings.items() if k not in ("teacher", "recipe")})
    folder = banks.prepare(options.out, settings, options.overwrite)
    start = time.perf_counter()
    parts: list[Clips] = []
    with progress_bar("step", f"{row.name} on {teacher.card.name}") as bar:
        for state in run:
            moved(bar)((state.batch - 1) * state.steps + state.step, state.batches * state.steps)
            bar.set_postfix(confidence=f"{state.confidence:.0%}")
            if state.finished:
                parts.append(state.clips)
                made = Clips.join(parts)
                first = len(made) - len(state.clips)
                spent = time.perf_counter() - start
                banks.save(folder, made, settings, teacher.classes, speaker, seconds=spent, first=first)
    value = {
        "clips": len(made),
        "as_asked": round(made.as_asked, 4),
        "confidence": round(float(made.confidence.mean()), 4),
        "seconds": round(time.perf_counter() - start, 2),
        "bank": str(folder / banks.WEIGHTS),
        "macs": arithmetic(teacher, settings["seconds"]),
    }
    cost = value["macs"]
    line = (
        f"{value['clips']} clips in {value['seconds']:.1f} s, {value['as_asked']:.1%} heard as asked "
        f"(mean confidence {value['confidence']:.1%}): {folder}"
    )
    arithmetic_line = (
        f"forward pass of a clip, in million multiply-accumulates: teacher {cost['teacher'] / 1e6:.1f}, "
        f"generator {cost['generator'] / 1e6:.1f}"
    )
    return value, [line, arithmetic_line]


def _gallery(options) -> tuple[dict, list[str]]:
    from frami import checkpoints
    from frami.device import pick
    from frami.gallery import make
    from frami.home import ASSETS

    out = Path(options.out) if options.out else ASSETS / "gallery"
    names = options.teachers or [card.name for card in checkpoints.bundled("teacher")]
    rows = []
    for name in names:
        teacher = checkpoints.load(name, pick(options.device))
        with progress_bar("step", name) as bar:
            rows.append(
                make(teacher, out / name, each=options.each, steps=options.steps, seed=options.seed, report=moved(bar))
            )
    lines = [f"{row['teacher']:13} {row['clips']} clips, {row['as_asked']:.1%} heard as asked" for row in rows]
    return {"out": str(out), "teachers": rows}, lines
