"""The Explore tab: the feature map, its nearest neighbours, and the diversity of each bank."""

from collections.abc import Callable, Sequence

import gradio as gr

from frami.features import diversity
from frami.hosting.owners import Visitor
from frami.studio import components, visitors
from frami.studio.services import sent
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.tabs.base import EVENT, Page, Tab

#: Columns of the table: name of the measure, its title, whether it is a share.
COLUMNS = (
    ("coverage", "Coverage", False),
    ("density", "Density", False),
    ("frechet", "Fréchet distance", False),
    ("vendi", "Vendi score", False),
    ("within_class", "Within a class", False),
    ("target_accuracy", "Target accuracy", True),
    ("judge_accuracy", "Another network", True),
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
**Each point is a sound**, placed by the teacher's features: two that lie together are alike to the teacher. Click one
to hear it, or walk with the arrow keys.
"""


class Explore(Tab):
    title, name = "Explore", "explore"

    def build(self, teacher: str) -> None:
        gr.Markdown(_INTRO, elem_id="explore-intro")
        choices = self.services.maps.choices(teacher, [])
        layers = gr.CheckboxGroup(choices, value=ticked(choices), label="On the map", elem_id="explore-banks")
        columns = [{"name": n, "title": t, "share": s, "reading": diversity.READING[n]} for n, t, s in COLUMNS]
        shown = components.drawn(
            "explore", {}, "explore", server_functions(self.services.maps, self.who), columns=columns
        )
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


def server_functions(maps: FeatureMaps, who: Callable[[], Visitor] = visitors.here) -> list:
    """What the script calls: ``wav(id)``, and with ``{"teacher", "keys"}`` of a map ``clip`` and ``more``. ``who`` :
    asks."""

    @components.reply
    def clip(request) -> dict:
        return maps.clip(*_map_of(request), request.get("id"), who())

    @components.reply
    def more(request) -> dict:
        return maps.more(*_map_of(request), str(request.get("stamp")), who())

    return [components.wav_function(lambda id: maps.sound(id, who())), clip, more]


def _map_of(request) -> tuple[str, list[str]]:
    given = sent.record(request)
    return sent.text(given.get("teacher"), "the teacher"), sent.texts(given.get("keys"), "layers", 32)
