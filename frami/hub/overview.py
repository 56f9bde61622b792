"""The model card of a Space: the networks that it serves, what they learnt from, how good they are."""

from collections import Counter
from collections.abc import Mapping, Sequence

from frami.data import shipped

_ABOUT = """
Small classifiers of sounds, and students that learnt from them. Each is a pair of `NAME.safetensors` and `NAME.json` in
`checkpoints/`; loading them runs no code. Beside them lie the vocoder, which makes sound from spectrograms
(`checkpoints/vocoder/`), and *judges*, networks that rate made clips (`checkpoints/judges/`).
"""
_USE = """
They are made to study what a classifier keeps of its training data, and how well a student learns from that alone.
Their classes are all they know: any other sound is heard as one of these. They are not made to identify speakers, to
transcribe speech, or to decide anything about people.
"""
_MADE = """
The clips that the studio plays are made up by networks, and say so in the page. They resemble no single recording, but
nobody has proved that nothing of a recording could be found in them.
"""


def text(cards: Sequence[Mapping]) -> str:
    """Markdown about the checkpoints with these cards. cards : as ``asdict`` gives them."""
    rows = sorted(cards, key=lambda card: (card["kind"] != "teacher", card["name"]))
    lines = [f"| {' | '.join(map(_cell, _row(card)))} |" for card in rows]
    head = "| network | learnt from | parameters | classes | accuracy | licence of the weights | of the data |"
    parts = [
        "# The networks of FRAMI Studio", _ABOUT, "## Networks", "\n".join([head, "|---" * 7 + "|", *lines]),
        "Accuracy is that on recordings that were held out, speakers or folds of their own.", "## Use", _USE,
        "## Made sounds", _MADE, "## Recordings", _recordings(),
    ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _recordings() -> str:
    """What is said of the recordings that ship."""
    counts = Counter(row.licence for row in shipped.table())
    licences = ", ".join(f"{counts[name]} [{name}]({url})" for name, url in shipped.LICENCES.items() if counts[name])
    return (
        f"`assets/recordings` holds {counts.total()} recordings by others, which no network here learnt from. Each "
        f"keeps its own licence: {licences}. `assets/recordings/CREDITS.md` names author, address, licence and change "
        "of each."
    )


def _row(card: Mapping) -> list[str]:
    source = f"{card['teacher']}, without recordings" if card["kind"] == "student" else card["title"] or card["dataset"]
    measured = f"{card['accuracy']:.1%} of {card['clips']:,}" if card["accuracy"] is not None else "not measured"
    return [
        card["name"], source, f"{card['parameters'] / 1e6:.2f} M", str(len(card["classes"])), measured,
        card["licence"] or "unknown", card["data_licence"] or "unknown",
    ]  # fmt: skip


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "/").split())
