"""The folder of a bank: its files, its manifest, and how a new bank takes an old one's place."""

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from frami import files, locks, schema
from frami.audio import MelSpec
from frami.banks import shards
from frami.banks.shards import FORMAT, Damaged, Shard
from frami.errors import FramiError
from frami.inversion import Clips
from frami.inversion.settings import upgraded

MANIFEST = "manifest.json"
SHARDS = "shards"
RESUME = "resume.pt"
#: As ``RESUME``, of a chain of a divided bank, by the number of its first batch; and all of them.
RESUME_CHAIN, CHAINS = "resume-{:05d}.pt", "resume-*.pt"
NEW = ".new"
#: Bytes of a manifest, shards and clips of a bank, and missing shards that are named, at most.
_LARGEST, _SHARDS, _CLIPS, _NAMED = 2**28, 10**7, 10**7, 20


class BankError(FramiError):
    """A bank that is missing, damaged, or in the way."""


class _Manifest(BaseModel):
    """What a manifest has to hold; ``clips`` are listed for people, and not read."""

    settings: dict[schema.Line, Any]
    mel_spec: schema.FrontEnd
    vocoder: schema.Line | None
    ending: Annotated[str, Field(pattern=r"^[a-z0-9]{1,8}$")] | None
    classes: Annotated[list[schema.Line], Field(min_length=1, max_length=schema.CLASSES)]
    seconds: Annotated[float, schema.number(0, schema.WORK)]
    complete: schema.Flag
    shards: Annotated[int, schema.whole(0, _SHARDS)]
    clips: Annotated[list, Field(max_length=_CLIPS)]
    multilabel: schema.Flag = False


def shard_path(folder: Path, number: int) -> Path:
    return folder / SHARDS / shards.NAME.format(number)


def shard_numbers(folder: Path) -> list[int]:
    """Numbers of the shards that are there, whole or not, in order."""
    names = (re.fullmatch(r"shard-(\d{5,7})\.safetensors", path.name) for path in (folder / SHARDS).glob("shard-*"))
    return sorted(int(name[1]) for name in names if name)


def read_shards(folder: Path, manifest: dict) -> tuple[dict[int, Shard], dict[int, str]]:
    """Whole shards, and names of the damaged or missing ones with the reason; both by number, in order. Of missing ones
    the first are named, and behind them how many others there are."""
    there = shard_numbers(folder)
    shape = MelSpec.from_dict(manifest["mel_spec"]).n_mels, len(manifest["classes"])
    known, end = set(there), max([manifest["shards"], *(number + 1 for number in there)])
    missing = list(islice((n for n in count() if n not in known), min(_NAMED, end - len(known))))

    def one(number: int) -> Shard | str:
        try:
            shard = shards.read(shard_path(folder, number))
            if (shard.frames.shape[1], shard.logits.shape[1]) != shape:
                raise Damaged("it belongs to another bank")
            return shard
        except Damaged as error:
            return f"{SHARDS}/{shards.NAME.format(number)} ({error if number in known else 'missing'})"

    numbers = sorted({*there, *missing})
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = dict(zip(numbers, pool.map(one, numbers), strict=True))
    whole = {number: shard for number, shard in read.items() if isinstance(shard, Shard)}
    width = next((shard.pooled.shape[1] for shard in whole.values()), 0)
    for number in [number for number, shard in whole.items() if shard.pooled.shape[1] != width]:
        del whole[number]
        read[number] = f"{SHARDS}/{shards.NAME.format(number)} (it belongs to another bank)"
    damaged = {number: reason for number, reason in read.items() if number not in whole}
    if (others := end - len(known) - len(missing)) > 0:
        damaged[missing[-1]] += f" and {others:,} more"
    return whole, damaged


def entries(clips: Clips | Shard, first: int, manifest: dict) -> list[dict]:
    """Rows of the manifest, one a clip: file, target and predicted class, confidence (0–1), seconds.

    ``first`` is the number of the first clip in the bank; the names of sound files begin with these numbers.
    """
    classes, ending, spec = manifest["classes"], manifest["ending"], MelSpec.from_dict(manifest["mel_spec"])
    columns = (clips.target.tolist(), clips.predicted.tolist(), clips.confidence.tolist(), clips.lengths.tolist())
    return [
        {
            "file": f"{i:03d}_{_plain(classes[target])}.{ending}" if ending else None,
            "target": target,
            "target_name": classes[target],
            "predicted": predicted,
            "predicted_name": classes[predicted],
            "confidence": round(confidence, 4),
            "seconds": round(spec.seconds(length), 3),
        }
        for i, (target, predicted, confidence, length) in enumerate(zip(*columns, strict=True), first)
    ]


def _plain(name: str) -> str:
    """A class name that may be part of a file name."""
    return re.sub(r"[^\w-]+", "_", name)


def read_manifest(folder: Path) -> dict:
    """The manifest as it was last written. Raises BankError when it is missing, damaged or of another format."""
    path = folder / MANIFEST
    try:
        manifest = files.read_json(path, _LARGEST)
        if manifest["format"] not in (2, FORMAT):
            age = "a newer" if manifest["format"] > FORMAT else "an older"
            raise BankError(f"{path}: written by {age} frami, which this one cannot read")
        schema.held(_Manifest, manifest)
        MelSpec.from_dict(manifest["mel_spec"])
        settings = upgraded(manifest["settings"], len(manifest["classes"]))
        samples, batch = (settings.get(name) for name in ("samples", "batch"))
        if samples and batch and manifest["shards"] > (most := -(-samples // batch)):
            raise BankError(
                f"{path}: damaged (shards is at most {most:,}, of {samples:,} clips in batches of {batch:,}, not "
                f"{manifest['shards']:,}); make the bank again"
            )
        return manifest | {"format": FORMAT, "settings": settings}
    except FileNotFoundError:
        raise BankError(f"{folder} holds no bank ({MANIFEST} is missing)") from None
    except BankError:
        raise
    except (OSError, FramiError, ValueError, KeyError, TypeError) as error:
        raise BankError(f"{path}: damaged ({schema.shown(error, 300)}); make the bank again") from error


def write_manifest(folder: Path, manifest: dict) -> None:
    """Write the manifest, a line a clip. OSError when the disk refuses."""
    lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in manifest["clips"])
    rest = {key: value for key, value in manifest.items() if key != "clips"}
    head = json.dumps(rest, indent=1, ensure_ascii=False).removesuffix("\n}")
    files.write(folder / MANIFEST, f'{head},\n "clips": [\n{lines}\n ]\n}}\n')


def finish_replacement(folder: Path) -> None:
    """Put a bank that waits in ``.new`` in the place of the old one, also where an earlier try was cut off.

    It is whole once its manifest is there. The old manifest goes last, and the new one comes last. Raises BankError
    when the disk refuses.
    """
    new = folder / NEW
    if not (new / MANIFEST).exists():
        return
    try:
        if (folder / MANIFEST).exists():
            _clear(folder)
        for path in sorted(one for one in new.rglob("*") if one.is_file() and one.name not in (MANIFEST, locks.NAME)):
            target = folder / path.relative_to(new)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
        (new / MANIFEST).replace(folder / MANIFEST)
        shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise BankError(f"{folder}: the old bank cannot be replaced ({error})") from error


def put_in_place(bank: Path, folder: Path) -> None:
    """Put a whole bank that lies below ``folder`` in the place of the one there, if any. Cut off at any moment, the old
    one or the new one is there. Raises BankError when the disk refuses."""
    try:
        with locks.folder(folder):
            shutil.rmtree(folder / NEW, ignore_errors=True)
            bank.rename(folder / NEW)
            finish_replacement(folder)
    except OSError as error:
        raise BankError(f"{folder}: the old bank cannot be replaced ({error})") from error


def _clear(folder: Path) -> None:
    """Remove a bank and its sounds, the manifest last, and nothing else that lies in its folder."""
    with suppress(BankError):
        manifest = read_manifest(folder)
        names = "|".join(re.escape(_plain(name)) for name in manifest["classes"])
        sound = re.compile(rf"\d{{3,}}_({names})\.{manifest['ending']}")
        for path in list(folder.iterdir()):
            if sound.fullmatch(path.name):
                path.unlink()
    for number in shard_numbers(folder):
        shard_path(folder, number).unlink()
    for path in (folder / RESUME, *folder.glob(CHAINS)):
        path.unlink(missing_ok=True)
    (folder / MANIFEST).unlink()
