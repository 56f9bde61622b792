"""The page of a repository: a README.md from a checkpoint's card, with the front matter that the Hub reads."""

import json
from collections.abc import Mapping

from frami import facts as known

#: Licences as the Hub calls them, beside those whose name in small letters with hyphens is theirs.
_LICENCES = frozenset(
    """
    apache-2.0 mit bsd-2-clause bsd-3-clause gpl-3.0 lgpl-3.0 agpl-3.0 mpl-2.0 cc0-1.0 unlicense unknown cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    """.split()  # noqa: SIM905
)
#: Classes that the page lists at most.
_CLASSES = 100


def text(card: Mapping, repository: str, facts: Mapping | None = None) -> str:
    """README.md for the repository ``OWNER/NAME`` of a checkpoint. card : as ``asdict`` gives it; facts : what else is
    known (``facts.answers``)."""
    front = _front(card)
    parts = [
        f"# {_plain(card['name'])}", _about(card), "## In use", table(card, facts),
        "## Classes", _classes(card["classes"]),
        "## Front-end", _front_end(card["mel_spec"]), "## Accuracy", _accuracy(card, repository), "## How to load it",
        _loading(card, repository), "## Licence", _licence(card),
    ]  # fmt: skip
    return "---\n" + "\n".join(front) + "\n---\n\n" + "\n\n".join(parts) + "\n"


def table(card: Mapping, facts: Mapping | None = None) -> str:
    """What whoever deploys it asks, as a table in Markdown."""
    rows = "\n".join(f"| {question} | {_plain(answer)} |" for question, answer in known.answers(card, facts))
    return f"| | |\n|---|---|\n{rows}"


def _front(card: Mapping) -> list[str]:
    """Front matter, each value as JSON, which YAML is as well."""
    own = str(card["licence"]).strip().lower().replace(" ", "-")
    licence = [f"license: {own}"] if own in _LICENCES else [
        "license: other", f"license_name: {json.dumps(own or 'unknown')}"
    ]  # fmt: skip
    tags = ["audio", "audio-classification", "log-mel-spectrogram", "frami", card["kind"]]
    tags += ["data-free-distillation"] if card["kind"] == "student" else []
    rows = [*licence, "library_name: frami", "pipeline_tag: audio-classification", "tags:", *(f"- {t}" for t in tags)]
    if card["accuracy"] is not None and card["clips"]:
        rows += ["metrics:", "- accuracy"]
    return rows


def _about(card: Mapping) -> str:
    size, of = f"{card['parameters'] / 1e6:.2f} M parameters", f"{len(card['classes'])} classes"
    of += ", several of which may sound at once: sigmoids make probabilities of its logits" * card["multilabel"]
    learnt = f" trained on {_plain(card['dataset'])}" if card["dataset"] else ""
    if card["kind"] == "student":
        learnt = f" that learnt from the teacher {_plain(card['teacher'] or 'unknown')}"
        made = card["training"].get("source") in ("made", "bank")
        learnt += " on clips made from its weights alone, without recordings" if made else ""
    return f"A classifier of sounds{learnt}: {size}, {of}. Made with FRAMI Studio; the card is `model.json`."


def _classes(names: list[str]) -> str:
    shown = ", ".join(f"`{_code(name)}`" for name in names[:_CLASSES])
    return shown + (f" and {len(names) - _CLASSES} more, in `model.json`" if len(names) > _CLASSES else "")


def _front_end(spec: Mapping) -> str:
    rows = "\n".join(f"| `{_code(name)}` | {_plain(value)} |" for name, value in spec.items())
    return (
        "Log-Mel-spectrograms, Tensor[B, 1, F, T], of `frami.audio.MelSpec` with these settings (all others are its "
        f"defaults):\n\n| setting | value |\n|---|---|\n{rows}"
    )


def _accuracy(card: Mapping, repository: str) -> str:
    if card["accuracy"] is None or not card["clips"]:
        lines = ["Not measured on recordings."]
    else:
        interval, held = card["measured"].get("interval"), ", ".join(map(_plain, card["split"].get("test", [])))
        within = f" (95% interval {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
        where = f", held out: {held}" if held else ""
        lines = [f"{card['accuracy']:.1%}{within} of {card['clips']:,} clips of {_plain(card['dataset'])}{where}."]
        if card["evaluation"]:
            own = repository.partition("/")[2]
            again = " ".join(["frami evaluate", own, *map(_code, card["evaluation"].split()[3:]), "--data FOLDER"])
            lines.append(f"Measured with:\n\n```bash\nframi import --hub {repository}\n{again}\n```")
    if card["agreement"] is not None:
        lines.append(f"It agrees with its teacher on {card['agreement']:.1%} of made clips that it never saw.")
    return "\n\n".join(lines)


def _loading(card: Mapping, repository: str) -> str:
    code = (
        "from frami import checkpoints\nfrom frami.audio import load\n\n"
        f'checkpoint = checkpoints.from_pretrained("{repository}")\n'
        'sound = load("clip.wav", checkpoint.spec.sample_rate)\n'
        "logits = checkpoint.model(checkpoint.spec(sound)[None, None]).logits\n"
        "print(checkpoint.classes[logits.argmax()])"
    )
    return (
        f"```python\n{code}\n```\n\nAs a {card['kind']} for the commands:\n\n"
        f"```bash\nframi import --hub {repository}\n```\n\nLoading runs no code: weights are safetensors, the "
        "rest JSON."
    )


def _licence(card: Mapping) -> str:
    data = f" What it was trained on: {_plain(card['data_licence'])}." if card["data_licence"] else ""
    return f"The weights: {_plain(card['licence'] or 'unknown')}.{data}"


def _plain(value: object) -> str:
    """A value in Markdown, as it is written."""
    return "".join(f"\\{sign}" if sign in "|`<>[]*_#\\" else sign for sign in " ".join(str(value).split()))


def _code(value: object) -> str:
    """A value between backticks."""
    return " ".join(str(value).replace("`", "'").replace("|", "/").split())
