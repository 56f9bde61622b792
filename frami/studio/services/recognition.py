"""What a teacher and its students predict for a sound, as plain values that the page draws."""

import base64
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from frami import checkpoints, example_sounds, loudness
from frami.audio import MelSpec
from frami.checkpoints import Card
from frami.errors import FramiError
from frami.hosting.owners import EVERYONE, Visitor
from frami.studio.services import class_groups, clip_ids, clips, distillations, page_values, sent
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.given import GivenSounds
from frami.studio.services.recordings import Recordings
from frami.workers.pool import asked_by, on_file, shared

#: Students of the visitor's own that are ticked at first.
_NEWEST = 2


@dataclass
class Recognition:
    """Sounds to try, the students of a teacher, and their predictions.

    A student's key is ``bundled:NAME`` or ``run:ID``.
    """

    distillations: Distillations
    clips: ClipLookup
    recordings: Recordings | None = None
    given: GivenSounds = field(default_factory=GivenSounds)

    # ------------------------------------------------------------------------------------- what there is

    def students(self, name: str, who: Visitor = EVERYONE) -> list[tuple[str, str]]:
        """(title, key) of each student of a teacher: bundled ones, and the visitor's finished runs, newest first."""
        found = [
            (f"{card.training.get('student') or card.name} · bundled", f"bundled:{card.name}")
            for card in distillations.bundled_students(name)
        ]
        for run in self.distillations.of(name, replace(who, shared="")):
            if run.status == "finished" and distillations.has_student(run):
                found.append((distillations.title(run.settings), f"run:{run.id}"))
        titles = [title for title, _ in found]
        return [(f"{t} · {key[4:8]}" if titles.count(t) > 1 and key[:4] == "run:" else t, key) for t, key in found]

    def chosen(self, name: str, ticked: list | None, who: Visitor = EVERYONE) -> list[str]:
        """Keys of those ticked that are still there; where none is, the bundled ones and the newest runs."""
        keys = [key for _, key in self.students(name, who)]
        runs = [key for key in keys if key.startswith("run:")]
        return [key for key in keys if key in (ticked or [])] or [key for key in keys if key not in runs[_NEWEST:]]

    def samples(self, name: str) -> list[dict]:
        """Groups of sounds to try: ``{"title", "sounds": [{"id", "label"}], "categories"}``; ``categories`` as of
        ``class_groups``, of the sounds' places."""
        groups: dict[str, list] = {}
        if real := self._recorded(name):
            groups["Recordings that the teacher was not trained on"] = [
                ("recording", i, row) for i, row in real.items()
            ]
        for i, sample in enumerate(self._listed(name)):
            groups.setdefault(f"Spoken by a machine, {sample.voice}", []).append(("sample", i, sample.label))
        if made := self._gallery(name):
            groups["Made from the teacher's weights"] = [("gallery", i, label) for i, label in made.items()]
        dataset = self.clips.load_teacher(name).card.dataset
        return [
            {
                "title": title,
                "sounds": [
                    {"id": f"{clip_ids.prefix(kind, name)}/{i}", "label": page_values.name(label)}
                    for kind, i, label in sounds
                ],
                "categories": class_groups.of_labels(dataset, [label for *_, label in sounds]),
            }
            for title, sounds in groups.items()
        ]

    def _listed(self, name: str) -> list[example_sounds.ExampleSound]:
        """Synthesized speech of a teacher's classes."""
        return example_sounds.listed(self.clips.load_teacher(name).classes)

    def _recorded(self, name: str) -> dict[int, str]:
        """The first recording of each class that ships for a teacher: its number and class."""
        first: dict[str, int] = {}
        for i, row in enumerate(self.recordings.rows(name) if self.recordings else ()):
            first.setdefault(row.label, i)
        return {i: label for label, i in first.items()}

    def _gallery(self, name: str) -> dict[int, str]:
        """The first clip of each class in a teacher's gallery: its number and class."""
        try:
            listed = clips.read(self.clips.gallery_of(name)).manifest["clips"]
        except FramiError:
            return {}
        first: dict[str, int] = {}
        for i, clip in enumerate(listed):
            first.setdefault(clip["target_name"], i)
        return {i: label for label, i in first.items()}

    def sample(self, id: str) -> tuple[Path, str, str]:
        """File of one of these sounds, its class, and what it is. FramiError for another id."""
        clip = clip_ids.parse(id)
        known = clip.owner in self.distillations.teachers
        if known and clip.kind == "sample" and clip.index < len(listed := self._listed(clip.owner)):
            found = listed[clip.index]
            return found.path, found.label, f"spoken by espeak-ng, {found.voice}"
        if known and clip.kind == "recording" and self.recordings:
            row = self.recordings.row(id)
            return self.recordings.file(row), row.label, f"a recording: {row.credit}"
        if known and clip.kind == "gallery" and clip.index in (labels := self._gallery(clip.owner)):
            path = clips.read(self.clips.gallery_of(clip.owner)).sound(clip.index)
            title = self.clips.load_teacher(clip.owner).card.title
            if path:
                return path, labels[clip.index], f"made from the weights of the teacher of {title}"
        raise FramiError("this sound is not there")

    def sound(self, id: str, who: Visitor = EVERYONE) -> bytes:
        """Bytes of one of these sounds; a made clip by the vocoder that the id names. Raises FramiError."""
        path = self.sample(id)[0]
        return path.read_bytes() if clip_ids.parse(id).kind == "sample" else self.clips.sound(id, who)

    # ------------------------------------------------------------------------------------- predictions

    def predictions(self, name: str, keys: list[str], token: str, who: Visitor = EVERYONE) -> dict:
        """What the teacher and these students predict for a sound that the visitor gave (``given``), as the page draws
        it. FramiError where it is not there any more."""
        sound = self.given.find(token, who)
        teacher, titles = self.clips.load_teacher(name), {key: title for title, key in self.students(name, who)}
        there = {key: str(self.path(key)) for key in keys if key in titles}
        arguments = on_file(teacher) | {"path": str(sound.path), "students": list(there.values())}
        with asked_by(who.owner, who.address):
            heard = shared().run("sound-recognise", arguments)
        if "refused" in heard:
            return {"state": "refused", "message": heard["refused"], "teacher": name}
        first, *others = heard["found"]
        networks = [_row(teacher.card, first, "The teacher") | {"small": teacher.card.title, "key": ""}]
        specs = {first[2]: teacher.spec}
        for key, found in zip(there, others, strict=True):
            if found is not None:
                card = checkpoints.read_card(there[key])
                specs.setdefault(found[2], MelSpec.from_dict(card.mel_spec))
                networks.append(_row(card, found, titles[key]) | {"colour": self._colour(key), "key": key})
        gone = ["one of the students is not there any more"] * (len(networks) <= len(keys))
        return {
            "state": "predicted",
            "given": token,
            "teacher": name,
            "label": page_values.name(sound.label) if sound.label in teacher.classes else "",
            "what": sound.origin,
            "notes": heard["notes"],
            "cautions": [*heard["cautions"], *gone],
            "seconds": round(heard["seconds"], 3),
            "classes": [page_values.name(one) for one in teacher.classes],
            "seen": [_seen(heard["mels"][number], spec, f"given/{token}") for number, spec in sorted(specs.items())],
            "networks": networks,
        }

    def hear(self, token, who: Visitor) -> bytes:
        """A given sound's first seconds as a WAV file. FramiError where it is not there any more."""
        sound = self.given.find(token, who)
        with asked_by(who.owner, who.address):
            samples, rate = shared().run("sound-given", {"path": str(sound.path)})
        return clips.wav_file(samples, rate)

    def decided(self, request, who: Visitor) -> dict:
        """What decided for a class in a given sound: ``{"given", "teacher", "network": key, "label": its index}``.
        FramiError for anything else."""
        request = sent.record(request)
        sound, key = self.given.find(request.get("given"), who), sent.text(request.get("network"), "the network")
        name = sent.chosen(request.get("teacher"), list(self.distillations.teachers), "Teacher")
        teacher = self.clips.load_teacher(name)
        label = int(sent.number(request.get("label"), "the class", 0, len(teacher.classes) - 1))
        if key:
            sent.chosen(key, [one for _, one in self.students(name, who)], "Students")
        path = {"teacher": str(self.path(key))} if key else {}
        arguments = on_file(teacher) | path | {"path": str(sound.path), "label": label}
        with asked_by(who.owner, who.address):
            found = shared().run("sound-decide", arguments)
        used, values = page_values.used_bands(found["mel"], teacher.spec), found["saliency"].clamp(min=0)
        rate = teacher.spec.sample_rate
        content = clips.wav_file(loudness.levelled(found["samples"], rate), rate)
        return {
            "class": page_values.name(teacher.classes[label]),
            "picture": _seen(found["mel"], teacher.spec, "decided"),
            "saliency": page_values.bytes_of(values[:used] / values.max().clamp(min=1e-9)),
            "share": round(found["share"], 3),
            "before": round(found["before"], 4),
            "after": round(found["after"], 4),
            "sound": base64.b64encode(content).decode(),
        }

    def path(self, key: str) -> Path:
        """The checkpoint of a student's key."""
        kind, _, name = key.partition(":")
        return self.distillations.student_path(name) if kind == "run" else checkpoints.resolve(name)

    def _colour(self, key: str) -> int:
        """The colour that the Distil tab has for a student."""
        kind, _, id = key.partition(":")
        return self.distillations.colour(id) if kind == "run" else distillations.BUNDLED


def _seen(mel: torch.Tensor, spec: MelSpec, id: str) -> dict:
    """A spectrogram, Tensor[F, T], as the page draws it: the bands that the sound has."""
    used = page_values.used_bands(mel, spec)
    clip = {"id": id, "mel": page_values.picture(mel[:used], spec), "frames": mel.shape[-1]}
    return {"clip": clip, "axis": page_values.cropped(page_values.axis(spec), used)}


def _row(card: Card, found: tuple[torch.Tensor, float, int], title: str) -> dict:
    """A network's most probable classes, and what they cost. found : probabilities Tensor[K], milliseconds, and the
    number of the spectrogram that it saw."""
    probabilities, milliseconds, seen = found
    return {
        "title": title,
        "small": "",
        "colour": None,
        "parameters": card.parameters,
        "milliseconds": round(milliseconds, 2),
        "seen": seen,
        "top": page_values.top(probabilities, card.classes, 4),
    }
