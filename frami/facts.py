"""What whoever deploys a student asks of it, answered from its card and what was measured: questions and answers in
plain text. Needs neither PyTorch nor the network itself."""

import json
import math
from collections.abc import Mapping

#: What clips a student learnt from, by ``training.source`` of its card.
_SOURCES = {
    "made": "yes: it learnt from clips made from its teacher's weights alone, without recordings",
    "bank": "yes: it learnt from clips made from its teacher's weights alone, without recordings",
    "noise": "yes: it learnt from noise as input of its teacher, without recordings",
    "real": "no: it learnt from real recordings",
}
_LONG = 600  # signs of an answer at most


def answers(card: Mapping, facts: Mapping | None = None) -> list[tuple[str, str]]:
    """Questions and answers, in the order in which one asks.

    card : as ``asdict`` gives a ``checkpoints.Card``, of a teacher or a student; facts : what else is known:
    ``teacher_licence``, ``latency`` (``milliseconds`` for ``seconds`` of sound on one thread of ``machine``),
    ``precision``, ``measured`` (of an export in fewer bits: ``calibration``, ``agreement``). Whatever a card or a file
    says is shown as text; what nobody measured is said to be so.
    """
    facts = facts or {}
    student = card.get("kind") == "student"
    rows = [("data-free", _data_free(card))] if student else []
    rows += [("teacher", _teacher(card, facts))] if student else []
    rows += [
        ("licence", f"weights: {_text(card.get('licence')) or 'unknown'}; "
                    f"data behind them: {_text(card.get('data_licence')) or 'unknown'}"),
        ("front-end", _front_end(card)),
        ("size", f"{_number(card.get('parameters')):,.0f} parameters"),
        ("latency", _latency(facts.get("latency"))),
        ("precision", _precision(facts)),
        ("accuracy", _accuracy(card)),
        ("known failures", _failures(card)),
    ]  # fmt: skip
    return [(question, _text(answer, _LONG)) for question, answer in rows]


def of_metadata(about: Mapping[str, str]) -> tuple[dict, dict]:
    """Card and facts of an exported file's metadata; of one without a card what the other fields say."""
    card = dict(_mapping(_json(about.get("card"))))
    if not card:
        card = {"name": about.get("name"), "licence": about.get("licence"), "classes": _json(about.get("classes"))}
        card["mel_spec"] = _json(about.get("mel_spec"))
    return card, {"precision": about.get("precision"), "measured": _json(about.get("measured"))}


def _data_free(card: Mapping) -> str:
    training = _mapping(card.get("training"))
    found = _SOURCES.get(_text(training.get("source")), "not known: its card does not name what it learnt from")
    clips = training.get("made_clips")
    return found + (
        f"; {clips:,} clips" if isinstance(clips, int) and training.get("source") in ("made", "bank") else ""
    )


def _teacher(card: Mapping, facts: Mapping) -> str:
    licence = _text(facts.get("teacher_licence")) or "not known here"
    return f"{_text(card.get('teacher')) or 'unknown'}; licence of its weights: {licence}"


def _front_end(card: Mapping) -> str:
    spec = _mapping(card.get("mel_spec"))
    if not spec:
        return "not said"
    rate, bands, window, hop = (_number(spec.get(n)) for n in ("sample_rate", "n_mels", "n_fft", "hop_length"))
    usual = f"; its teacher's clips usually last {_number(card['seconds']):.3g} s" if card.get("seconds") else ""
    low, high = _number(spec.get("f_min")), _number(spec.get("f_max"))
    return (
        f"{bands:.0f} log-Mel bands from {low:,.0f} to {high:,.0f} Hz, of mono sound at {rate:,.0f} Hz; frames of "
        f"{window:,.0f} samples, one each {hop:,.0f}{usual}"
    )


def _latency(value: object) -> str:
    found = _mapping(value)
    if not found:
        return "not measured"
    machine = f" of {_text(found.get('machine'))}" if found.get("machine") else ""
    return (
        f"{_number(found.get('milliseconds')):.2f} ms for {_number(found.get('seconds')):.3g} s of sound, on one CPU "
        f"thread{machine}, without the front-end"
    )


def _precision(facts: Mapping) -> str:
    kind, measured = _text(facts.get("precision")) or "float32", _mapping(facts.get("measured"))
    parts, calibration = [kind], _mapping(measured.get("calibration"))
    if calibration:
        each = calibration.get("per_class")
        parts.append(
            f"calibrated on {_number(calibration.get('clips')):,.0f} clips"
            + (f", {_number(each):g} of each class" if isinstance(each, int | float) else "")
            + f" ({_text(calibration.get('calibration'))}, {_text(calibration.get('source'))})"
        )
    elif kind == "float32":
        parts.append("not quantised, so not calibrated")
    if isinstance(measured.get("agreement"), int | float):
        parts.append(f"answers as in float32 for {_number(measured['agreement']):.1%} of unseen made clips")
    return "; ".join(parts)


def _accuracy(card: Mapping) -> str:
    if card.get("accuracy") is None or not card.get("clips"):
        return "not measured on recordings"
    held = ", ".join(map(_text, _list(_mapping(card.get("split")).get("test"))))
    on = f" (held out: {held})" if held else ""
    agrees = card.get("agreement")
    made = f"; agrees with its teacher on {_number(agrees):.1%} of unseen made clips" if agrees is not None else ""
    title = _text(card.get("title")) or _text(card.get("dataset"))
    return f"{_number(card['accuracy']):.1%} of {_number(card['clips']):,.0f} recordings of {title}{on}{made}"


def _failures(card: Mapping) -> str:
    rows = [row for row in _list(_mapping(card.get("measured")).get("elsewhere")) if isinstance(row, Mapping)]
    if not rows:
        return (
            "not measured on other recordings than its data set's: expect less on voices, rooms and microphones unlike "
            "these, and an answer for every sound, known or not"
        )
    told = [
        f"{_number(row.get('accuracy')):.1%} of {_number(row.get('clips')):,.0f} clips of {_text(row.get('title'))} "
        f"({_number(row.get('speakers')):,.0f} speakers that it never heard)"
        for row in rows
    ]
    return f"on other people, rooms and microphones: {'; '.join(told)}; an answer for every sound, known or not"


def _text(value: object, most: int = 200) -> str:
    """A stranger's text on one line, without control characters."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in str(value or ""))[: 4 * most].split())
    return text if len(text) <= most else f"{text[:most]}…"


def _number(value: object) -> float:
    """A number; NaN where it is none."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if fits else math.nan


def _mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list:
    return list(value) if isinstance(value, list | tuple) else []


def _json(text: object):
    """Value of a text of JSON; empty where it is none."""
    try:
        return json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
