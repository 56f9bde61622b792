"""``frami synthesize --from FILE --class NAME``: what must change in a sound until another class is heard."""

import json
from pathlib import Path

from safetensors.torch import save

from frami import audio, audio_input, checkpoints, files, vocoder
from frami.cli.arguments import class_numbers, moved, progress_bar
from frami.device import pick
from frami.errors import FramiError
from frami.inversion.change import STEPS, change

#: Files of a folder with a change.
REPORT, MELS = "change.json", "spectrograms.safetensors"


def run(options) -> tuple[dict, list[str]]:
    """Change a sound as the command says; writes before, after, their spectrograms and a report."""
    if not (options.start and options.target):
        raise FramiError("a change needs both a sound, --from FILE, and the class to be heard in it, --class NAME")
    if options.classes:
        raise FramiError("a sound is changed into one class: give --class alone, without --classes")
    teacher = checkpoints.load(options.teacher, pick(options.device))
    target, *others = class_numbers([options.target], teacher.classes)
    if others:
        raise FramiError("--class takes one class")
    out = Path(options.out)
    if (out / REPORT).exists() and not options.overwrite:
        raise FramiError(f"{out} holds another change; choose another folder, or add --overwrite")
    try:
        sound = audio_input.read(options.start, teacher.spec)
    except audio_input.AudioInputError as error:
        raise FramiError(f"{options.start}: {error}") from error
    with progress_bar("step", f"{teacher.card.name}: {teacher.classes[target]}") as bar:
        for state in change(teacher, teacher.spec(sound.samples), target, steps=options.steps or STEPS):
            moved(bar)(state.step, state.steps)
    name, heard = teacher.classes[target], teacher.classes[state.predicted]
    value = {
        "from": str(options.start), "teacher": teacher.card.name, "class": name, "predicted": heard,
        "heard": state.heard, "confidence_before": round(state.start, 4), "confidence": round(state.confidence, 4),
        "decibels": round(state.decibels, 2), "bands_changed": round(state.share, 3), "steps": state.step,
        "notes": [*sound.notes, *sound.cautions], "out": str(out),
    }  # fmt: skip
    _write(out, value, state, None if options.no_sounds else vocoder.get(options.vocoder, teacher.spec), teacher.spec)
    success = f"{name} is heard" if state.heard else f"it did not succeed, {heard} is heard"
    line = (
        f"{success}: {state.start:.0%} before, {state.confidence:.0%} after; changed by {state.decibels:.1f} dB on "
        f"average, {state.share:.0%} of the bands by 3 dB or more: {out}"
    )
    return value, [line]


def _write(out: Path, value: dict, state, sounds, spec) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with files.replacing(out / MELS) as temporary:
        temporary.write_bytes(save({"before": state.before.contiguous(), "after": state.after.contiguous()}))
    for name, mel in (("before", state.before), ("after", state.after)) if sounds else ():
        audio.save(out / f"{name}.wav", sounds(mel[None, None])[0], spec.sample_rate)
    with files.replacing(out / REPORT) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
