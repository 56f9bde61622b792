"""The Try it tab: a sound of the visitor's own, and what the teacher and its students hear in it, side by side."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import gradio as gr
import torch

from frami import audio_input, banks, checkpoints, example_sounds
from frami.checkpoints import Card, Checkpoint
from frami.errors import FramiError
from frami.studio.services import distillations as boards
from frami.studio.services import page_values
from frami.studio.services.distillations import Board

_INTRO = """
**Say it, and see who understands.** Record or upload a sound, or take one of those below: the teacher and its students
answer side by side, from the same picture.
"""
_TOP = 5
#: Students of the visitor's own that are asked at first.
_NEWEST = 2


@dataclass
class Panel:
    """What can be asked, and the answers as the page draws them. ``gallery`` : folder of the made clips."""

    board: Board
    load_teacher: Callable[[str], Checkpoint]
    gallery: Path
    _students: Callable = field(init=False, repr=False)

    def __post_init__(self):
        self._students = lru_cache(maxsize=16)(self._load)

    # ------------------------------------------------------------------------------------- what there is

    def students(self, name: str) -> list[tuple[str, str]]:
        """(title, key) of each student of a teacher: bundled ones, and finished runs, newest first."""
        found = [(f"{_size(card)} · bundled", f"bundled:{path}") for path, card in boards.bundled_students(name)]
        for run in self.board.of(name):
            if run.status == "finished" and boards.has_student(run):
                found.append((boards.title(run.settings), f"run:{run.id}"))
        titles = [title for title, _ in found]
        return [(f"{t} · {key[4:8]}" if titles.count(t) > 1 and key[:4] == "run:" else t, key) for t, key in found]

    def chosen(self, name: str, ticked: list | None) -> list[str]:
        """Keys of those ticked that are still there; as at first where nothing was."""
        keys = [key for _, key in self.students(name)]
        kept = [key for key in keys if key in (ticked or [])]
        runs = [key for key in keys if key.startswith("run:")]
        return kept or [key for key in keys if key not in runs[_NEWEST:]]

    def samples(self, name: str) -> list[dict]:
        """Groups of bundled sounds for a teacher: ``{"title", "sounds": [{"id", "label"}]}``."""
        groups: dict[str, list] = {}
        for i, sample in enumerate(example_sounds.listed(name)):
            group = groups.setdefault(f"Spoken by a machine, {sample.voice}", [])
            group.append({"id": f"sample/{name}/{i}", "label": page_values.name(sample.label)})
        made = [{"id": f"gallery/{name}/{i}", "label": page_values.name(label)} for i, label in self._made(name)]
        if made:
            groups["Made up by the teacher"] = made
        return [{"title": title, "sounds": sounds} for title, sounds in groups.items()]

    def _made(self, name: str) -> list[tuple[int, str]]:
        """The first clip of each class in a teacher's gallery."""
        try:
            clips = banks.load(self.gallery / name).manifest["clips"]
        except FramiError:
            return []
        first = {}
        for i, clip in enumerate(clips):
            first.setdefault(clip["target_name"], i)
        return [(i, label) for label, i in first.items()]

    def sample(self, id: str) -> tuple[Path, str, str]:
        """File of a bundled sound, its class, and what it is. FramiError for another id."""
        kind, _, rest = str(id).partition("/")
        name, _, index = rest.partition("/")
        if name not in self.board.teachers or not index.isdecimal():
            raise FramiError("no such sound")
        if kind == "sample":
            found = example_sounds.listed(name)[int(index) : int(index) + 1]
            if found:
                return found[0].path, found[0].label, f"spoken by espeak-ng, {found[0].voice}"
        labels = dict(self._made(name)) if kind == "gallery" else {}
        if int(index) not in labels:
            raise FramiError("no such sound")
        path = banks.load(self.gallery / name).sound(int(index))
        if not path:
            raise FramiError("this sound is not there")
        return path, labels[int(index)], f"made up by the teacher of {self.load_teacher(name).card.title}"

    # ------------------------------------------------------------------------------------- answers

    def answers(self, name: str, keys: list[str], path: str | Path, label: str = "", origin: str = "") -> dict:
        """What the teacher and these students hear in a sound file, as the page draws it."""
        teacher = self.load_teacher(name)
        try:
            sound = audio_input.read(path, teacher.spec)
        except audio_input.SoundError as error:
            return {"state": "refused", "message": str(error)}
        mel = teacher.spec(sound.samples)
        known = label in teacher.classes
        notes = [*sound.notes, *filter(None, [audio_input.unlike(sound, teacher)])]
        networks = [self._answer(teacher, mel, "The teacher", teacher.card.title, None)]
        titles = {key: title for title, key in self.students(name)}
        for key in keys:
            try:
                networks.append(
                    self._answer(self._students(key, self._stamp(key)), mel, titles[key], "", self._colour(key))
                )
            except (FramiError, KeyError):
                notes.append("one of the students is not there any more")
        return {
            "state": "answered",
            "label": page_values.name(label) if known else "",
            "what": origin,
            "notes": notes,
            "axis": page_values.axis(teacher.spec),
            "clip": {"id": "try", "mel": page_values.picture(mel, teacher.spec), "frames": mel.shape[-1]},
            "networks": networks,
        }

    @staticmethod
    def _answer(network: Checkpoint, mel: torch.Tensor, title: str, small: str, colour: int | None) -> dict:
        answer = audio_input.answer(network, mel)
        best = answer.shares.topk(min(_TOP, len(network.classes)))
        return {
            "title": title,
            "small": small,
            "colour": colour,
            "parameters": network.card.parameters,
            "milliseconds": round(answer.milliseconds, 2),
            "top": [
                [page_values.name(network.classes[k]), round(p, 4)]
                for k, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ],
        }

    def _load(self, key: str, stamp: str) -> Checkpoint:
        kind, _, id = key.partition(":")
        student = self.board.student(id) if kind == "run" else checkpoints.load(id)
        device = next(self.load_teacher(student.card.teacher or self.board.teachers[0]).model.parameters()).device
        return student.to(device)

    def _stamp(self, key: str) -> str:
        """Changes when the weights behind a key do."""
        kind, _, id = key.partition(":")
        path = self.board.queue.get(id).folder / "student" if kind == "run" else checkpoints.resolve(id)
        return checkpoints.read_card(path).sha256

    def _colour(self, key: str) -> int | None:
        kind, _, id = key.partition(":")
        return self.board.colour(id) if kind == "run" else None


def _size(card: Card) -> str:
    return str(card.training.get("student") or card.name)


def tab(panel: Panel, card: Card) -> dict:
    """Build the tab; returns its components by name."""
    gr.Markdown(_INTRO, elem_id="try-intro")
    students = panel.students(card.name)
    with gr.Row(elem_id="try-row"):
        with gr.Column(scale=2, min_width=300):
            sound = gr.Audio(
                sources=["microphone", "upload"], type="filepath", label="Your sound", elem_id="try-sound", buttons=[]
            )
            tiles = gr.HTML(
                {"groups": panel.samples(card.name)},
                html_template='<div class="frami-samples"></div>',
                js_on_load="frami.samples(element, props, server, watch, trigger)",
                server_functions=[_wav(panel)],
                apply_default_css=False,
                elem_id="try-samples",
            )
            ticked = gr.CheckboxGroup(
                students,
                value=panel.chosen(card.name, None),
                label="Students",
                info=_info(students),
                elem_id="try-students",
            )
        with gr.Column(scale=3, min_width=320):
            show = gr.HTML(
                {"state": "idle"},
                html_template='<div class="frami-try"></div>',
                js_on_load="frami.tryIt(element, props, watch)",
                apply_default_css=False,
                elem_id="try",
            )
    return {"sound": sound, "tiles": tiles, "ticked": ticked, "show": show, "last": gr.State(None)}


def connect(parts: dict, panel: Panel, opened: gr.Tab, teacher: gr.Radio) -> None:
    """What a click does. ``last`` holds the sound that was asked about last: path, class, what it is."""
    event = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
    sound, tiles, ticked, show, last = (parts[name] for name in ("sound", "tiles", "ticked", "show", "last"))

    def ask(name, keys, given) -> dict:
        if not given:
            return {"state": "idle"}
        return panel.answers(name, [key for key in keys or [] if isinstance(key, str)], *given)

    def own(name, keys, path) -> tuple:
        given = (path, "", "your sound") if path else None
        return ask(name, keys, given), given

    def bundled(name, keys, data: gr.EventData) -> tuple:
        try:
            path, label, origin = panel.sample(data.id)
        except (FramiError, AttributeError) as error:
            raise gr.Error("this sound is not there", duration=None, print_exception=False) from error
        given = (str(path), label, origin)
        return ask(name, keys, given), given, str(path)

    def renewed(name, keys) -> dict:
        choices = panel.students(name)
        return gr.update(choices=choices, value=panel.chosen(name, keys), info=_info(choices))

    for happened in (sound.upload, sound.stop_recording):
        happened(own, [teacher, ticked, sound], [show, last], trigger_mode="always_last", **event)
    sound.clear(lambda: ({"state": "idle"}, None), None, [show, last], **event)
    tiles.select(bundled, [teacher, ticked], [show, last, sound], trigger_mode="always_last", **event)
    ticked.input(ask, [teacher, ticked, last], show, trigger_mode="always_last", **event)
    opened.select(renewed, [teacher, ticked], ticked, **event)


def other(panel: Panel, name: str) -> tuple:
    """Updates of ``tiles``, ``ticked``, ``sound``, ``show`` and ``last`` for another teacher."""
    choices = panel.students(name)
    return (
        {"groups": panel.samples(name)},
        gr.update(choices=choices, value=panel.chosen(name, None), info=_info(choices)),
        None,
        {"state": "idle"},
        None,
    )


def _info(students: list) -> str:
    return (
        "who answer beside the teacher" if students else "none yet: distil one, and it will answer beside the teacher"
    )


def _wav(panel: Panel) -> Callable:
    def wav(id: str) -> dict:
        try:
            return {"data": base64.b64encode(panel.sample(id)[0].read_bytes()).decode()}
        except (FramiError, OSError) as error:
            return {"error": str(error)}

    return wav
