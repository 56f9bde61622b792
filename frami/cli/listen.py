"""``frami listen``: what a student hears in a long sound, a pipe or a microphone. An ``.onnx`` needs no PyTorch."""

import json
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path

from frami import streams
from frami.cli.arguments import command, number, progress, whole
from frami.errors import FramiError
from frami.listening import Answer, Listener, Recogniser, Settings, checkpoint, listen, onnx
from frami.listening.answers import EVENT_HOP, EVENT_SMOOTH, event_window
from frami.sound_files import RATES
from frami.streams import Source, clock


def add(commands) -> None:
    sub = command(commands, "listen", _listen)
    sub.add_argument("student", help="an .onnx that takes a waveform, or name, path or run of a teacher or student")
    sub.add_argument(
        "sound", nargs="?", default="microphone", metavar="FILE|microphone|-",
        help="a sound file of any length, a microphone (default), or - for raw samples from standard input",
    )  # fmt: skip
    window = "default: as long as training clips; with --events half as long again"
    sub.add_argument("--window", type=number(0.01, 600), metavar="SECONDS", help=window)
    hop = "default: half a window; with --events a quarter"
    sub.add_argument("--hop", type=number(0.001, 3_600), metavar="SECONDS", help=hop)
    sub.add_argument("--threshold", type=number(0, 1), default=0.5, help="least probability (default: 0.5)")
    smooth = f"mean of the probabilities of so many windows (default: 1; with --events {EVENT_SMOOTH})"
    sub.add_argument("--smooth", type=whole(1, 1_000), metavar="WINDOWS", help=smooth)
    sub.add_argument("--events", action="store_true", help="one answer from the first to the last window of a class")
    gap = "of events: what lies within one at most without its class (default: 0)"
    sub.add_argument("--gap", type=number(0, 3_600), default=0.0, metavar="SECONDS", help=gap)
    shortest = "of events: leave out shorter ones (default: 0)"
    sub.add_argument("--shortest", type=number(0, 3_600), default=0.0, metavar="SECONDS", help=shortest)
    silence = "level below which a window is silence and has no answer (default: -60, of full scale)"
    sub.add_argument("--silence", type=number(-200, 0), default=-60.0, metavar="DB", help=silence)
    rate = "of standard input, in Hz (default: the network's)"
    sub.add_argument("--rate", type=whole(*RATES), help=rate)
    sub.add_argument("--format", default="s16le", choices=list(streams.RAW), help="of standard input (default: s16le)")
    sub.add_argument("--channels", type=whole(1, 64), default=1, help="of standard input (default: 1)")
    sub.add_argument("--microphone", metavar="DEVICE", help="its number or a part of its name (default: the system's)")
    sub.add_argument("--threads", type=whole(1, 1_024), help="of the CPU (default: as many as suit)")
    sub.add_argument("--device", default="cpu", help="of a checkpoint: auto, cpu, cuda or mps (default: cpu)")


def _listen(options) -> tuple[None, list[str]]:
    usual = EVENT_SMOOTH if options.events else 1
    settings = Settings(
        options.threshold, options.smooth or usual, options.events, options.gap, options.shortest, options.silence
    )
    network = _network(options)
    window, hop = options.window, options.hop
    if options.events:
        window = window or (event_window(network.window) if network.length is None else network.window)
        hop = hop or EVENT_HOP * window
    listener = Listener(network, settings, window, hop)
    with _source(options, network) as source:
        print(
            f"frami listen: {network.name}, windows of {listener.window:.3g} s each {listener.hop:.3g} s",
            file=sys.stderr,
        )
        try:
            _print_all(listener, source, options.json or not sys.stdout.isatty())
        except KeyboardInterrupt:
            _print(listener.close(), options.json or not sys.stdout.isatty())
            _sum_up(listener, source, "stopped after ")
            if not source.live:
                raise
        else:
            _sum_up(listener, source)
    return None, []


def _network(options) -> Recogniser:
    if Path(options.student).suffix.lower() == ".onnx":
        return onnx(options.student, options.threads)
    from frami.cli.arguments import checkpoint_path
    from frami.device import pick

    return checkpoint(checkpoint_path(options.student), pick(options.device), options.threads)


def _source(options, network: Recogniser) -> AbstractContextManager[Source]:
    if options.sound == "-":
        return streams.raw(sys.stdin.buffer, options.rate or network.rate, options.format, options.channels)
    if options.rate or options.channels != 1:
        raise FramiError("--rate and --channels are of raw samples; leave them out, or listen to -")
    if options.sound == "microphone":
        given = options.microphone
        return streams.microphone(int(given) if given and given.isdecimal() else given)
    return streams.file(options.sound)


def _print_all(listener: Listener, source: Source, as_json: bool) -> None:
    answers = listen(listener, source)
    if not as_json or source.seconds is None:
        return _print(answers, as_json)
    with progress("s") as report, closing(answers):
        for answer in answers:
            _print([answer], as_json)
            report(round(listener.summary.seconds), round(source.seconds))
    return None


def _print(answers, as_json: bool) -> None:
    for one in answers:
        print(json.dumps(one.row(), ensure_ascii=False) if as_json else _line(one), flush=True)


def _line(one: Answer) -> str:
    return f"{clock(one.start)} – {clock(one.end)}  {one.confidence:6.1%}  {one.name}"


def _sum_up(listener: Listener, source: Source, before: str = "") -> None:
    """How much was heard, and how quickly, to standard error."""
    heard = listener.summary
    factor = heard.factor(source.live)
    speed = "" if factor is None else f", real-time factor {factor:.4f}" + (
        f" ({1 / factor:,.0f} × as quick as the sound)" if 0 < factor < 1 else ""
    )  # fmt: skip
    silent = f", {heard.silent:,} of them silent" if heard.silent else ""
    lost = f"; {source.lost / source.rate:.1f} s were lost: the network is too slow for this hop" if source.lost else ""
    kind = "events" if listener.settings.events else "answers"
    print(
        f"frami listen: {before}{clock(heard.seconds)} of sound, {heard.windows:,} windows{silent}, "
        f"{heard.answers:,} {kind}{speed}{lost}",
        file=sys.stderr,
    )
