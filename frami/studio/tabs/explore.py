"""The Explore tab: the feature map, its nearest neighbours, and the diversity of each bank."""

import base64
from collections.abc import Callable, Sequence

import gradio as gr

from frami.hosting.owners import Visitor
from frami.studio import components, visitors
from frami.studio.services import sent
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.given import GivenSounds
from frami.studio.services.map_places import PREFIX, MapPlaces
from frami.studio.services.map_selections import MOST_DOWNLOADED, MapSelections
from frami.studio.services.map_students import MapStudents
from frami.studio.tabs.base import EVENT, Page, Tab

#: Rows of the table: name of the measure, its title, whether it is a share, and what it says.
MEASURES = (
    ("coverage", "Coverage", False, "Share of the recordings that have a made sound close by."),
    ("density", "Density", False, "How thickly made sounds lie where recordings lie."),
    ("frechet", "Fréchet distance", False, "How far made sounds as a whole lie from the recordings: less is nearer."),
    ("vendi", "Vendi score", False, "How many wholly different sounds these amount to: more is richer."),
    ("within_class", "Within a class", False, "How far two sounds of one class lie apart on average: more is richer."),
    ("target_accuracy", "Target accuracy", True, "Share that the teacher classifies as the class that was aimed at."),
    ("judge_accuracy", "Judge accuracy", True, "The same share by the judge: a network that was not inverted."),
)
_RUNS = 8
#: Ticks that are still another teacher's are not sent: the layers that they name are not offered any more.
_OWN_LAYERS = """(teacher, runs, layers) =>
    [teacher, runs, document.querySelector(".frami-explore")?.dataset.teacher === teacher ? layers : []]"""
# The runs of this browser, the latest first: in the browser, so that a tab opened as a run ends has it.
_REMEMBERED = f"""(run, runs) => {{
    const older = Array.isArray(runs) ? runs.filter(one => one !== run) : [];
    return [(run ? [run, ...older] : older).slice(0, {_RUNS})];
}}"""
_INTRO = """
**Each point is a sound**, placed by the teacher's features: two that lie together are alike to the teacher. Tap a
point, or move the mouse over it, to hear it; drag with *Lasso* around several.
"""


class Explore(Tab):
    title, name = "Explore", "explore"

    def build(self, teacher: str) -> None:
        gr.Markdown(_INTRO, elem_id="explore-intro")
        choices = self.services.maps.choices(teacher, [])
        layers = gr.CheckboxGroup(choices, value=ticked(choices), label="On the map", elem_id="explore-banks")
        columns = [dict(zip(("name", "title", "share", "reading"), row, strict=True)) for row in MEASURES]
        maps, recognition = self.services.maps, self.services.recognition
        functions = [
            *server_functions(maps, self.who, MapPlaces(maps, recognition.given)),
            *selection_functions(MapSelections(maps, self.services.limits), self.who),
            *student_functions(MapStudents(maps, recognition), self.who),
        ]
        most = int(self.services.limits.least("selection", MOST_DOWNLOADED))
        shown = components.drawn("explore", {}, "explore", functions, columns=columns, downloads=most)
        self.outputs = [layers, shown]

    def connect(self, page: Page, opened: gr.Tab) -> None:
        layers, shown = self.outputs
        self.inputs = [page.runs]
        event = EVENT | {"concurrency_limit": None}
        page.last_run.change(None, [page.last_run, page.runs], page.runs, js=_REMEMBERED, **EVENT)
        opened.select(self.on_teacher, [page.teacher, page.runs, layers], self.outputs, js=_OWN_LAYERS, **event)
        layers.input(self._view, [page.teacher, layers], shown, trigger_mode="always_last", **event)

    def _view(self, teacher: str, layers: Sequence[str]) -> dict:
        return self.services.maps.view(teacher, layers, who=self.who())

    def on_teacher(self, teacher: str, runs: Sequence[str], before: Sequence[str] = ()) -> tuple:
        """The layers to tick, those of ``before`` ticked, and the map."""
        who = self.who()
        choices = self.services.maps.choices(teacher, _ids(runs), who)
        value = ticked(choices, before)
        return gr.update(choices=choices, value=value), self.services.maps.view(teacher, value, who=who)


def ticked(choices: list[tuple[str, str]], before: Sequence[str] = ()) -> list[str]:
    """Keys of the layers that were ticked before; where none is there, all but the visitor's runs, or the latest of
    these where there is nothing else."""
    keys = [key for _, key in choices]
    made = [key for key in keys if not key.startswith("run-")]
    return [key for key in keys if key in before] or made or keys[:1]


def _ids(runs) -> list[str]:
    return [run for run in runs if isinstance(run, str)][:_RUNS] if isinstance(runs, list) else []


def server_functions(
    maps: FeatureMaps, who: Callable[[], Visitor] = visitors.here, places: MapPlaces | None = None
) -> list:
    """What the script calls: ``wav(id)``, and with ``{"teacher", "keys"}`` of a map ``clip``, ``more``, and ``placed``
    for a sound that was given in Try it. ``who`` : asks."""
    places = places or MapPlaces(maps, GivenSounds())

    def sound(id) -> bytes:
        given = isinstance(id, str) and id.startswith(PREFIX)
        return places.sound(sent.text(id), who()) if given else maps.sound(id, who())

    @components.reply
    def clip(request) -> dict:
        return maps.clip(*_map_of(request), request.get("id"), who())

    @components.reply
    def more(request) -> dict:
        return maps.more(*_map_of(request), str(request.get("stamp")), who())

    @components.reply
    def placed(request) -> dict:
        return places.placed(*_map_of(request), sent.text(request.get("token"), "the sound"), who())

    return [components.wav_function(sound), clip, more, placed]


def selection_functions(selections: MapSelections, who: Callable[[], Visitor] = visitors.here) -> list:
    """``selection`` and ``bundle`` of the script: how varied the clips ``rows`` of a map are, and their file."""

    @components.reply
    def selection(request) -> dict:
        return selections.measures(*_map_of(request), request.get("rows"), who())

    @components.reply
    def bundle(request) -> dict:
        name, content = selections.bundle(*_map_of(request), request.get("rows"), who())
        return {"name": name, "data": base64.b64encode(content).decode()}

    return [selection, bundle]


def student_functions(students: MapStudents, who: Callable[[], Visitor] = visitors.here) -> list:
    """``students`` and ``agreement`` of the script: those of the map's teacher, and what one of them predicts."""

    @components.reply
    def offered(request) -> dict:
        return {"students": students.offered(_map_of(request)[0], who())}

    @components.reply
    def agreement(request) -> dict:
        return students.agreement(*_map_of(request), sent.text(request.get("student"), "the student"), who())

    offered.__name__ = "students"
    return [offered, agreement]


def _map_of(request) -> tuple[str, list[str]]:
    given = sent.record(request)
    return sent.text(given.get("teacher"), "the teacher"), sent.texts(given.get("keys"), "layers", 32)
