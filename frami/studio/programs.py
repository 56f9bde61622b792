"""What programs may ask of a studio: six functions of the API, which are tools of its MCP server too
(``docs/programs.md``).

Their docstrings become the API page and the tools' descriptions. Owners and limits are those of visitors: a program
says who it is by the header ``x-frami-visitor`` or the argument ``token``. All arguments are checked here.
"""

import json
from collections.abc import Collection, Sequence
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from gradio.utils import get_upload_folder

from frami.distill import OBJECTIVES, STUDENTS, RunSettings, Settings
from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.mode import hosted
from frami.hosting.owners import Visitor
from frami.inversion import RECIPES, InversionSettings
from frami.studio import visitors
from frami.studio.services import clip_ids, clips, offers, page_values, sent
from frami.studio.services.shared import Services
from frami.studio.services.syntheses import Synthesis

#: Names of the functions, in the order of the API page.
NAMES = ("classify", "synthesize", "distill", "run_status", "list_clips", "feature_map")
#: Classes, students or layers that one call names, and clips that one answer lists, at most.
_MOST, _LISTED = 64, 2_000
_NO_TOKEN = (
    "say who you are: send a token of your own, 22 to 64 letters, digits, - or _, as the header x-frami-visitor or as "
    "the argument token; your runs are found again by it"
)


def mcp_here() -> bool:
    """Whether the package is installed that the MCP server needs."""
    return find_spec("mcp") is not None


def publish(services: Services) -> None:
    """Add the functions to the page that is being built; all other events of it stay private."""
    functions = _Programs(services)
    if mcp_here():
        _answer_in_json()
    for name in NAMES:
        gr.api(_checked(getattr(functions, name)), api_name=name, queue=False)


def _answer_in_json() -> None:
    """Gradio's MCP server would write an answer as Python does."""
    from gradio.mcp import GradioMCPServer

    def in_json(self, data, root_url):
        return [self.types.TextContent(type="text", text=json.dumps(answer)) for answer in data]

    GradioMCPServer.postprocess_output_data = in_json


def _checked(work):
    """The function with arguments that are plain values in moderate number, whatever was sent."""

    @wraps(work)
    def called(*args, **given):
        sent.plain([list(args), given])
        return work(*args, **given)

    return called


class _Programs:
    def __init__(self, services: Services):
        self._services = services

    def classify(
        self, sound: str | dict, teacher: str = "digits", students: list[str] | None = None, token: str = ""
    ) -> dict:
        """Classify a sound with a teacher and students that were distilled from it.

        Args:
            sound: An uploaded sound file (WAV, FLAC, OGG or MP3), or the id of a clip of a gallery
                (list_clips) or of a recording that ships (recording/TEACHER/NUMBER).
            teacher: Name of the teacher: digits, fsdd, esc10, esc50 or urbansound8k, as far as it is installed.
            students: Keys of students, bundled:NAME or run:ID; left out, those that the page ticks.
            token: Who you are, on a shared studio: 22 to 64 letters, digits, - or _ of your own.

        Returns:
            {"networks": [{"title", "parameters", "milliseconds", "top": [[class, probability], ...]}, ...],
            "notes": [...]}; the first network is the teacher.
        """
        who, name = self._who(token), self._teacher(teacher)
        recognition = self._services.recognition
        keys = recognition.chosen(name, None, who) if students is None else sent.texts(students, "students", _MOST)
        if unknown := set(keys) - {key for _, key in recognition.students(name, who)}:
            raise FramiError(f"no such student of this teacher: {len(unknown)} of those named")
        token = recognition.given.add(*self._given(sound), who)
        found = recognition.predictions(name, keys, token, who=who)
        if found["state"] == "refused":
            raise FramiError(found["message"])
        fields = ("title", "parameters", "milliseconds", "top")
        return {"networks": [{key: row[key] for key in fields} for row in found["networks"]], "notes": found["notes"]}

    def synthesize(
        self,
        teacher: str = "digits",
        recipe: str = offers.DEFAULT,
        classes: list[str] | None = None,
        clips: int = 4,
        seconds: float | None = None,
        steps: int = offers.STEPS,
        seed: int = 0,
        token: str = "",
    ) -> dict:
        """Begin to make sounds from a teacher's weights alone. Returns at once; ask run_status how far it is.

        Args:
            teacher: Name of the teacher.
            recipe: Name of a recipe, frami-fast for example.
            classes: Names of the target classes, which take turns; left out, all.
            clips: Number of clips to make.
            seconds: Length of each clip in seconds; left out, as long as the teacher's recordings.
            steps: Steps of the optimisation.
            seed: The same seed makes the same clips.
            token: Who you are, on a shared studio.

        Returns:
            {"run", "kind", "status", "share", "left", "message", "clips"}, as of run_status.
        """
        who, name = self._who(token, begins=True), self._teacher(teacher)
        loaded = self._services.load_teacher(name)
        named = [] if classes is None else sent.texts(classes, "classes", _MOST)
        length = None if seconds is None else sent.number(seconds, "seconds", offers.SHORTEST, offers.LONGEST)
        settings = InversionSettings.of(
            loaded,
            _known(recipe, RECIPES, "recipe"),
            samples=_whole(clips, "clips", 1, _MOST),
            steps=_whole(steps, "steps", 1, offers.MOST_STEPS),
            seconds=None if length is None else (length, length),
            classes=_places(named, loaded.classes) or None,
            batch=10,
            seed=_whole(seed, "the seed", 0),
        )
        self._services.housekeeping.storage.check(who.owner, who.address)
        return self._synthesis(self._services.syntheses.start(loaded, settings, None, who))

    def distill(
        self,
        teacher: str = "digits",
        student: str = "tiny",
        objective: str = "frami",
        recipe: str = Settings().recipe,
        seconds: int = 120,
        seed: int = 0,
        token: str = "",
    ) -> dict:
        """Begin to distil a student from a teacher, without any recording. Returns at once; ask run_status.

        Args:
            teacher: Name of the teacher.
            student: Size of the student: nano, tiny or small.
            objective: What the student learns from the teacher, frami for example.
            recipe: How the clips are made that it learns from.
            seconds: Time for the run in seconds.
            seed: The same seed makes the same student.
            token: Who you are, on a shared studio.

        Returns:
            {"run", "kind", "status", "share", "left", "message", "result"}, as of run_status.
        """
        who, name = self._who(token, begins=True), self._teacher(teacher)
        budget = float(_whole(seconds, "seconds", 2, 24 * 3600))
        chosen = {
            "student": _known(student, STUDENTS, "student"),
            "objective": _known(objective, OBJECTIVES, "objective"),
            "recipe": _known(recipe, RECIPES, "recipe"),
        }
        settings = Settings(**chosen, budget=budget, seed=_whole(seed, "the seed", 0))
        self._services.housekeeping.storage.check(who.owner, who.address)
        run = self._services.distillations.owned.begin([RunSettings(name, settings)], who, keep=True)
        return self._distillation(run.id, who)

    def run_status(self, run: str, token: str = "") -> dict:
        """How far a run of synthesize or distill is, and what came of it.

        Args:
            run: Its id, as synthesize or distill returned it.
            token: Who you are, on a shared studio: only your own runs are shown.

        Returns:
            {"run", "kind": "synthesis" or "distillation", "status": "waiting", "running", "finished", "stopped" or
            "failed", "share": 0 to 1, "left": seconds or null, "message": text or null, and "clips": number (synthesis)
            or "result": {measure: value} (distillation)}.
        """
        who, id = self._who(token), sent.text(run, "the run", 100)
        if self._services.syntheses.owned(id, who) and (found := self._synthesis_of(id)):
            return self._synthesis(found)
        return self._distillation(id, who)

    def list_clips(self, teacher: str = "digits", run: str = "", token: str = "") -> dict:
        """The clips of a teacher's gallery, or those that a run of synthesize has made.

        Args:
            teacher: Name of the teacher whose gallery is listed.
            run: Id of a run of synthesize; left out, the gallery.
            token: Who you are, on a shared studio.

        Returns:
            {"clips": [{"id", "target": class, "predicted": class, "confidence": 0 to 1, "seconds"}, ...]}.
        """
        who = self._who(token)
        if run:
            id = sent.text(run, "the run", 100)
            found = self._synthesis_of(id) if self._services.syntheses.owned(id, who) else None
            if found is None:
                raise FramiError("no such run of yours")
            rows, spec = found.saved_clips(), found.teacher.spec
        else:
            name = self._teacher(teacher)
            rows = [clip for group in self._services.galleries.value(name)["groups"] for clip in group["clips"]]
            spec = self._services.load_teacher(name).spec
        frame = page_values.axis(spec)["frame"]
        fields = ("id", "target", "predicted", "confidence")
        return {
            "clips": [
                {key: row[key] for key in fields} | {"seconds": round(row["frames"] * frame, 3)}
                for row in rows[:_LISTED]
            ]
        }

    def feature_map(self, teacher: str = "digits", layers: list[str] | None = None, token: str = "") -> dict:
        """The teacher's map of sounds: those that lie together are alike to it.

        Args:
            teacher: Name of the teacher.
            layers: Keys of the layers, as an answer names them; left out, all that are bundled.
            token: Who you are, on a shared studio.

        Returns:
            {"layers": [{"key", "title"}, ...], "points": [{"id", "target", "predicted", "confidence", "pca": [x, y],
            "umap": [x, y] or null}, ...], "pending": what is still computed, or null}.
        """
        who, name = self._who(token), self._teacher(teacher)
        offered = self._services.maps.choices(name, [], who)
        keys = [key for _, key in offered] if layers is None else sent.texts(layers, "layers", _MOST)
        view = self._services.maps.view(name, keys, who=who)
        pca, umap = _pairs(view.get("pca")), _pairs(view.get("umap"))
        classes, points = view.get("classes", []), []
        rows = [
            (f"{layer['prefix']}/{i}", *row)
            for layer in view["layers"]
            for i, row in enumerate(zip(layer["labels"], layer["predicted"], layer["confidence"], strict=True))
        ]
        for k, (id, label, predicted, confidence) in enumerate(rows):
            point = {"id": id, "target": classes[label], "predicted": classes[predicted], "confidence": confidence}
            points.append(point | {"pca": pca[k], "umap": umap[k] if umap else None})
        return {
            "layers": [{"key": key, "title": title} for title, key in offered],
            "points": points,
            "pending": view.get("pending") or None,
        }

    # ------------------------------------------------------------------------------------- who asks, for what

    def _who(self, token: Any, begins: bool = False) -> Visitor:
        """Whose call is handled. begins : something that must belong to somebody."""
        found = visitors.here()
        if sent.text(token, "the token", 100):
            client = getattr(LocalContext.request.get(None), "client", None)
            found = owners.visitor(token, None, client.host if client else None)
        if begins and hosted() and not found.owner:
            raise FramiError(_NO_TOKEN)
        self._services.presence.seen(found.owner)
        return found

    def _teacher(self, name: Any) -> str:
        return _known(name, self._services.teachers, "teacher")

    def _given(self, sound: Any) -> tuple[Path, str, str]:
        """An uploaded file, or that of a gallery's clip or a recording: its path, its class where that is known, and
        what it is. FramiError for any other."""
        if isinstance(sound, str):
            kind = clip_ids.parse(sound).kind
            if kind in ("recording", "sample"):
                return self._services.recognition.sample(sound)
            if kind == "gallery":
                return self._clip_path(sound), "", "a clip of a gallery"
            raise FramiError("only clips of a gallery and recordings can be named: upload the sound of another")
        path = Path(sent.text(sent.record(sound, "the sound").get("path"), "the sound", sent.MOST_SIGNS))
        folder = Path(get_upload_folder()).resolve()
        try:
            there = path.resolve().is_relative_to(folder) and path.is_file()
        except (OSError, ValueError):
            there = False
        if not there:
            raise FramiError("this sound is not there: upload it first (gradio_client.handle_file does)")
        return path.resolve(), "", "an uploaded file"

    def _clip_path(self, id: str) -> Path:
        clip = clip_ids.parse(id)
        if clip.owner not in self._services.teachers:
            raise FramiError("no such clip")
        bank = clips.read(self._services.clips.gallery_of(clip.owner))
        path = bank.sound(clip.index) if clip.index < len(bank) else None
        if path is None:
            raise FramiError("no such clip, or one without a sound")
        return path

    def _synthesis_of(self, id: str) -> Synthesis | None:
        syntheses = self._services.syntheses
        return syntheses.get(id) or syntheses.saved(id, self._services.load_teacher)

    def _synthesis(self, run: Synthesis) -> dict:
        value = run.value()
        words = {"done": "finished", "error": "failed"}
        return {
            "run": run.id,
            "kind": "synthesis",
            "status": words.get(value["state"], value["state"]),
            "share": 1.0 if value["state"] == "done" else round(value["share"], 3),
            "left": value.get("left") if value["state"] == "running" else None,
            "message": value["message"],
            "clips": run.saved,
        }

    def _distillation(self, id: str, who: Visitor) -> dict:
        known = self._services.distillations
        run = known.owned.own(id, who)
        rows = known.value(run.settings.get("teacher", ""), known=True, who=who)["runs"]
        row = next((row for row in rows if row["id"] == id), None)
        if row is None:
            raise FramiError("no such run")
        left = row["left"]
        return {
            "run": id,
            "kind": "distillation",
            "status": {"interrupted": "stopped", "stopping": "running"}.get(row["status"], row["status"]),
            "share": round(row["share"], 3),
            "left": left if isinstance(left, int | float) else None,
            "message": row["error"],
            "result": {k: v for k, v in (row.get("result") or {}).items() if isinstance(v, int | float | str)},
        }


def _known(name: Any, offered: Collection[str], what: str) -> str:
    if sent.text(name, f"the {what}") not in offered:
        raise FramiError(f"no such {what}; there are {', '.join(offered)}")
    return name


def _whole(value: Any, what: str, least: int, most: int = 2**31 - 1) -> int:
    """A whole number within these bounds. Raises SentError."""
    found = sent.number(value, what, least, most)
    if not float(found).is_integer():
        raise FramiError(f"{what} is a whole number")
    return int(found)


def _places(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Indices of classes by their names, as the page or the card writes them."""
    known = {page_values.name(label): k for k, label in enumerate(classes)} | {c: k for k, c in enumerate(classes)}
    if not all(name in known for name in names):
        raise FramiError(f"no such class; there are {', '.join(map(page_values.name, classes[:60]))}")
    return list(dict.fromkeys(known[name] for name in names))


def _pairs(flat: Sequence[float] | None) -> list[list[float]]:
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)] if flat else []
