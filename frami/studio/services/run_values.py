"""A run of synthesis as plain values that the page draws."""

from frami.inversion import TERMS, Clips
from frami.studio.services import clip_ids, offers, page_values
from frami.studio.services.jobs import Job


def live(job: Job) -> dict:
    """A run as it stands now, with the clips that form."""
    state, settings = job.latest, job.settings
    value = {
        "run": job.id,
        "state": "running" if not job.done else "error" if job.error else "stopped" if job.stopped else "done",
        "message": job.error,
        "axis": page_values.axis(job.teacher.spec),
        "hints": {name: term.about for name, term in TERMS.items()},
        "clips": [],
        "curves": {name: page_values.curve(list(values)) for name, values in list(job.curves.items())},
        "share": 0.0,
        "teacher": job.teacher.card.title,
        "recipe": settings.recipe.title,
        "untargeted": job.untargeted,
    }
    if state is None:
        return value | {"state": value["state"] if job.done else "waiting"}
    value |= {
        "step": state.step,
        "steps": state.steps,
        "batch": state.batch,
        "batches": state.batches,
        "share": state.seconds / (state.seconds + state.left),
        "left": round(state.left, 1),
        "seconds": round(state.seconds, 1),
        "confidence": job.curves["confidence"][-1],
        "notes": list(state.notes),
    }
    first = (state.batch - 1) * settings.batch
    if not job.done and count(job) <= first:
        value["clips"] = _rows(job, state.clips, f"step {state.step}", first)
    return value


def finished(job: Job) -> list[dict]:
    """The clips of a run that are done and saved."""
    return _rows(job, job.finished, offers.origin(job.settings.to_dict()))[: count(job)] if count(job) else []


def count(job: Job) -> int:
    """Number of clips that are saved."""
    return 0 if job.manifest is None else len(job.manifest["clips"])


def _rows(job: Job, made: Clips, origin: str, first: int = 0) -> list[dict]:
    teacher = job.teacher
    prefix = clip_ids.prefix("run", job.id)
    return page_values.clips(made, prefix, teacher.classes, teacher.spec, origin, first, job.untargeted)
