"""A clip by its id alone, as a link names it: what the page draws of it, wherever it is from."""

from frami.errors import FramiError
from frami.hosting.owners import EVERYONE, Visitor
from frami.studio.services import clip_ids, page_values
from frami.studio.services.shared import Services


def find(services: Services, id: str, who: Visitor = EVERYONE) -> dict:
    """``{"clip", "axis", "teacher"}`` of a gallery's clip, a run's, one of the feature map or a recording. FramiError
    for any other id, and for a run that is not the visitor's."""
    clip = clip_ids.parse(id)
    plain = clip.state is None and clip.vocoder is None
    found = _FINDERS[clip.kind](services, clip, id, who) if plain and clip.kind in _FINDERS else None
    if found is None:
        raise FramiError("no such clip; reload the page")
    row, teacher = found
    return {"clip": row, "axis": page_values.axis(services.load_teacher(teacher).spec), "teacher": teacher}


def sound(services: Services, id: str, who: Visitor = EVERYONE) -> bytes:
    """Bytes of the sound file of such a clip, or of one of its states."""
    of_map = clip_ids.parse(id).kind == "explore"
    return services.maps.sound(id, who) if of_map else services.clips.sound(id, who)


def _of_gallery(services: Services, clip: clip_ids.ClipId, id: str, who: Visitor) -> tuple | None:
    return services.galleries.pictures([id])[0], clip.owner


def _of_run(services: Services, clip: clip_ids.ClipId, id: str, who: Visitor) -> tuple | None:
    syntheses = services.syntheses
    run = None
    if syntheses.shown(clip.owner, who):
        run = syntheses.get(clip.owner) or syntheses.saved(clip.owner, services.load_teacher)
    rows = run.saved_clips() if run else []
    return (rows[clip.index], run.settings.teacher) if clip.index < len(rows) else None


def _of_map(services: Services, clip: clip_ids.ClipId, id: str, who: Visitor) -> tuple | None:
    return services.maps.clip(clip.owner, [clip.layer], id, who)["clip"], clip.owner


def _of_recordings(services: Services, clip: clip_ids.ClipId, id: str, who: Visitor) -> tuple | None:
    return services.recordings.clip(id), clip.owner


_FINDERS = {"gallery": _of_gallery, "run": _of_run, "explore": _of_map, "recording": _of_recordings}
