"""A network in the browser: a folder of static files that runs it there, with onnxruntime-web and without a server that
computes. What its page needs lies in it: it asks no other host for anything."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from string import Template

from frami import export, files, intervals
from frami.checkpoints import Card, Checkpoint, public
from frami.errors import FramiError
from frami.export import ExportError
from frami.paths import ASSETS

#: onnxruntime-web as ``python -m deploy.vendor`` writes it, and the list of its files with their hashes.
RUNTIME, MANIFEST = ASSETS / "vendor" / "onnxruntime-web", "manifest.json"
#: Scripts and styles that the studio shares, and those of the exported page alone.
PAGE, SITE = ASSETS / "page", ASSETS / "site"
#: Modules of ``PAGE`` that the exported page consists of, before its own.
SHARED = ("browser_network", "browser_panel", "browser_sound", "browser_wave", "browser_worker", "capture", "core")
#: What the folder holds, and the mark by which a page is known as one of ours.
FILES = ("index.html", "page.css", "page.js", "model.onnx", "onnxruntime-web")
MARK = '<meta name="generator" content="frami">'
#: Seconds of sound that are looked at while listening: twice a network's usual clip, within these bounds.
WINDOW = (1.0, 5.0)
#: Classes that the page lists at most.
_CLASSES = 200


def window(card: Card) -> float:
    """Seconds of sound that a network looks at while it listens."""
    return min(WINDOW[1], max(WINDOW[0], 2 * card.seconds))


def facts(card: Card) -> dict:
    """What a page needs to know to run a network that takes sound: ``classes``, ``rate`` in Hz, ``window`` in s, and
    whether several classes may sound at once."""
    return {
        "classes": [label.replace("_", " ") for label in card.classes],
        "rate": int(card.mel_spec["sample_rate"]),
        "window": round(window(card), 3),
        "multilabel": card.multilabel,
    }


def runtime() -> dict:
    """Names of the runtime's files in ``RUNTIME``: ``{"script", "module"}``."""
    names = files.read_json(RUNTIME / MANIFEST)["files"]
    (script,) = (name for name in names if name.endswith(".mjs"))
    (module,) = (name for name in names if name.endswith((".wasm", ".wasm.gz")))
    return {"script": script, "module": module}


def joined(modules: Iterable[Path]) -> str:
    """JavaScript modules as one script without imports, indents and lines of comment: they share a scope, in which no
    two of them may declare one name, and ``frami`` has what others call."""
    texts = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    texts = re.sub(r"^[ \t]+", "", texts, flags=re.MULTILINE)
    texts = re.sub(r"^(?:import .*|//.*|/\*(?:[^*]|\*(?!/))*\*/)\n|^export ", "", texts, flags=re.MULTILINE)
    return f'(frami => {{\n"use strict";\n{texts}}})(window.frami = {{}});\n'


def site(
    network: Checkpoint, folder: str | Path, overwrite: bool = False, write: Callable[[Path], dict] | None = None
) -> dict:
    """Write the folder of a page that runs a network: ``index.html``, a script, a style sheet, ``model.onnx`` and the
    runtime. It is there as a whole or not at all.

    overwrite : replace such a folder. write : writes another ``model.onnx`` of the network, which takes sound, and
    returns what is known of it. Returns ``path``, ``bytes`` and ``files`` of the folder, and what ``write`` returned
    (else ``difference`` of the logits as of ``export.onnx``). Raises ExportError where the folder cannot take it, or
    holds anything else, and what ``write`` raises.
    """
    folder = Path(folder)
    _replaceable(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".frami-", dir=folder.parent) as temporary:
            made = Path(temporary) / "site"
            made.mkdir()
            model = made / "model.onnx"
            known = write(model) if write else _plain(network, model)
            (made / "index.html").write_text(_html(public(network.card)), encoding="utf-8")
            modules = [*(PAGE / f"{name}.js" for name in SHARED), SITE / "site.js"]
            (made / "page.js").write_text(joined(modules), encoding="utf-8")
            styles = (SITE / "site.css", PAGE / "browser.css")
            (made / "page.css").write_text("".join(one.read_text(encoding="utf-8") for one in styles), encoding="utf-8")
            shutil.copytree(RUNTIME, made / "onnxruntime-web", copy_function=shutil.copyfile)
            before = files.put_aside(folder) if folder.exists() else None
            made.rename(folder)
            if before is not None:
                shutil.rmtree(before, ignore_errors=True)
    except FramiError:
        raise
    except OSError as error:
        files.raise_full(folder, error)
        raise ExportError(f"{folder} cannot be written ({error.strerror or error}); choose another --out") from error
    written = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in written)
    return {**known, "path": str(folder), "bytes": size, "files": len(written)}


def _plain(network: Checkpoint, path: Path) -> dict:
    return {"difference": export.onnx(network, path, input="waveform")["difference"]}


def _replaceable(folder: Path, overwrite: bool) -> None:
    """ExportError unless a folder is not there, is empty, or is a page of ours that may be replaced."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ExportError(f"{folder} is no folder; the page is one: choose another --out")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ExportError(f"{folder} is there already; choose another --out, or add --overwrite")
    more = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
    index = folder / "index.html"
    if more or not index.is_file() or MARK not in index.read_text(encoding="utf-8", errors="replace")[:2000]:
        what = f" ({more[0]})" if more else ""
        raise ExportError(f"{folder} holds something else than an exported page{what}; choose another --out")


# ------------------------------------------------------------------------------------------------------- the page


def _html(card: Card) -> str:
    text = (SITE / "index.html").read_text(encoding="utf-8")
    about = facts(card) | {"runtime": {key: f"onnxruntime-web/{name}" for key, name in runtime().items()}}
    return Template(text).substitute(
        title=escape(_title(card)),
        sentence=escape(_sentence(card)),
        facts="\n".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in _facts(card)),
        limits="\n".join(f"<li>{escape(line)}</li>" for line in _limits(card)),
        classes="".join(f"<li>{escape(name)}</li>" for name in about["classes"][:_CLASSES])
        + (f"<li>and {len(card.classes) - _CLASSES} more</li>" if len(card.classes) > _CLASSES else ""),
        count=len(card.classes),
        # inside a script element no text may end it
        about=json.dumps(about, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", " "),
    )


def _title(card: Card) -> str:
    return card.title or card.name


def _sentence(card: Card) -> str:
    made = card.kind == "student" and card.training.get("source") in ("made", "bank")
    learnt = ", distilled from a larger one without any recording" if made else ""
    return f"A network of {_count(card.parameters)} parameters{learnt}. It runs in this browser."


def _facts(card: Card) -> list[tuple[str, str]]:
    """What is said of a network, (term, value)."""
    rows = [("Network", card.name)]
    if card.teacher:
        rows.append(("Teacher", card.teacher))
    if card.accuracy is not None and card.clips:
        held = f", held out: {', '.join(card.split['test'])}" if card.split.get("test") else ""
        low, high = card.measured.get("interval") or intervals.wilson(round(card.accuracy * card.clips), card.clips)
        rows.append(("Accuracy", f"{card.accuracy:.1%} of {card.clips:,} recordings{held}"))
        rows.append(("With 95% confidence", f"{low:.1%} to {high:.1%}"))
    else:
        rows.append(("Accuracy", "not measured on recordings"))
    if card.agreement is not None:
        rows.append(("Agreement with the teacher", f"{card.agreement:.1%} of made clips"))
    rows += [
        ("Parameters", f"{card.parameters:,}"),
        ("Takes", f"mono sound at {int(card.mel_spec['sample_rate']):,} Hz"),
        ("Licence", card.licence or "unknown"),
    ]
    if card.data_licence:
        rows.append(("Licence of the training data", card.data_licence))
    return rows


def _limits(card: Card) -> list[str]:
    """What a network cannot do, in sentences."""
    lines = [
        f"It knows the {len(card.classes)} classes below and nothing else: any other sound gets one of their names, "
        "often with confidence."
        if not card.multilabel
        else f"It knows the {len(card.classes)} classes below and nothing else; several may sound at once.",
        f"Its training clips lasted about {card.seconds:.2g} s. While it listens it looks at the last "
        f"{window(card):.2g} s, without the quiet at both ends.",
        "Microphones, rooms and voices unlike those of the recordings that it was measured on may be recognised "
        "less often.",
    ]
    if card.accuracy is None:
        lines.append("How often it is right for recordings was not measured.")
    return lines


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{round(number, -3 if number >= 1e4 else 0):,}"
