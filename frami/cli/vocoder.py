"""``frami train-vocoder | bench vocoder``: a vocoder of one's own, and what each vocoder is worth."""

import json
import platform
from pathlib import Path

from frami.cli.arguments import command, data_option, device_option, moved, names, number, progress_bar, whole
from frami.errors import FramiError


def add(commands) -> None:
    sub = command(commands, "train-vocoder", _train_vocoder, "Train a vocoder; goes on where it was stopped.")
    sub.add_argument("--out", required=True, help="path of the weights, without ending")
    sub.add_argument("--datasets", type=names, help="default: those of fsdd, esc10 and urbansound8k that are here")
    budget = sub.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=number(0.01, 100_000), help="time to train, in all sittings (default: 60)")
    budget.add_argument("--steps", type=whole(1), help="steps to train, instead of a time")
    sub.add_argument("--batch", type=whole(1), help="crops of a step (default: 64)")
    sub.add_argument("--frames", type=whole(8), help="frames of a crop (default: 64)")
    sub.add_argument("--lr", type=number(1e-6, 1))
    sub.add_argument(
        "--judges-from", type=number(0, 1), help="share of the time after which judges take part; 1: never"
    )
    sub.add_argument("--seed", type=whole(0))
    sub.add_argument("--no-graphs", action="store_true", help="on CUDA, launch each step's work piece by piece")
    sub.add_argument("--overwrite", action="store_true", help="replace a finished vocoder at --out")
    data_option(sub)
    device_option(sub)


def _train_vocoder(options) -> tuple[dict, list[str]]:
    from frami.device import describe, pick
    from frami.vocoder.recordings import DATASETS
    from frami.vocoder.training import VocoderConfig, train

    wanted = ("steps", "minutes", "batch", "frames", "lr", "judges_from", "seed")
    settings = {key: getattr(options, key) for key in wanted if getattr(options, key) is not None}
    if not {"steps", "minutes"} & set(settings):
        settings["minutes"] = 60.0
    device = pick(options.device)
    last = None
    with progress_bar("clip", "recordings") as clips, progress_bar("step", "vocoder") as bar:
        for last in train(
            options.out,
            VocoderConfig(**settings),
            datasets=options.datasets or DATASETS,
            data_folder=options.data,
            device=device,
            overwrite=options.overwrite,
            graphs=not options.no_graphs,
            on_clips=moved(clips),
        ):
            bar.set_postfix({"spent": f"{last.share:.0%}"} | {k: f"{v:.3f}" for k, v in last.losses.items()})
            bar.update(last.step - bar.n)
    value = {"out": f"{options.out}.safetensors", "device": describe(device)}
    if last is None:
        return value, [f"{value['out']} is written"]
    value |= {"steps": last.step, "seconds": last.seconds, "losses": last.losses}
    terms = ", ".join(f"{name} {loss:.3f}" for name, loss in last.losses.items())
    return value, [f"{value['out']}: {last.step} steps in {last.seconds:.0f} s on {value['device']}; {terms}"]


def add_bench(bench) -> None:
    sub = command(bench, "vocoder", _bench, "How near each vocoder's sound comes to recordings, and how fast.")
    sub.add_argument("--dataset", type=names, help="default: fsdd, esc10, urbansound8k")
    sub.add_argument("--split", default="test", help="test (default), train, or folds")
    sub.add_argument("--clips", type=whole(1), default=20, help="real clips of each data set (default: 20)")
    sub.add_argument("--seconds", type=number(0.1, 30), default=2.5, help="of a clip at most (default: 2.5)")
    sub.add_argument("--made", type=whole(0), default=30, help="made clips of each teacher's gallery (default: 30)")
    sub.add_argument("--vocoders", type=names, help="e.g. frami:32,griffin-lim:100 (default: all), or paths")
    sub.add_argument("--out", help="page to write (.md); its figures lie beside it as .json")
    data_option(sub)


_NAMES = {"mr_stft": "STFT", "log_mel": "log-Mel", "agreement": "agreement", "rtf": "RTF"}
_MEASURES = {"mr_stft": (3, min), "log_mel": (3, min), "agreement": (2, max), "rtf": (3, min)}


def _bench(options) -> tuple[dict, list[str]]:
    from frami import banks
    from frami.bench import vocoder
    from frami.device import threads
    from frami.paths import ASSETS
    from frami.vocoder.recordings import DATASETS

    rows, made = [], []
    speakers = {name: vocoder.speaker(name) for name in options.vocoders or vocoder.VOCODERS}
    with threads(1):
        for name in options.dataset or DATASETS:
            real = vocoder.read(name, options.split, options.clips, options.data, options.seconds)
            bank = None
            if options.made and (ASSETS / "gallery" / name / banks.MANIFEST).exists():
                bank = banks.load(ASSETS / "gallery" / name)
            for title, speak in speakers.items():
                speak(real.sounds[0].new_full((80, 8), -3.0))  # libraries come, weights are read
                with progress_bar("clip", f"{name}: {title}") as bar:
                    found = vocoder.copy_synthesis(speak, real, moved(bar))
                head = {"dataset": name, "folds": list(real.folds), "clips": len(real.sounds), "vocoder": title}
                rows.append(head | {key: round(found[key], 4) for key in _MEASURES})
                if bank is not None:
                    predicted = vocoder.made_clips(speak, bank, real.teacher, options.made)
                    made.append({"teacher": name, "vocoder": title} | predicted)
    value = {"rows": rows, "made": made, "processor": platform.processor() or platform.machine()}
    lines = _page(value, _command(options))
    if options.out:
        out = Path(options.out)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("\n".join(lines) + "\n", encoding="utf-8")
            out.with_suffix(".json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise FramiError(f"{out}: the page cannot be written ({error.strerror})") from error
    return value, lines


def _command(options) -> str:
    parts = ["frami bench vocoder"]
    if options.dataset:
        parts.append(f"--dataset {','.join(options.dataset)}")
    if options.split != "test":
        parts.append(f"--split {options.split}")
    parts += [f"--clips {options.clips} --seconds {options.seconds:g} --made {options.made}"]
    if options.vocoders:
        parts.append(f"--vocoders {','.join(options.vocoders)}")
    return " ".join([*parts, "--data FOLDER"])


_READING = """\
Made by

    {command}

on one thread of a CPU. Recordings become log-Mel-spectrograms and these become sound again (copy-synthesis).

- `STFT`: distance of the sound from the recording, spectral convergence plus difference of log magnitudes, mean of
  three resolutions. `log-Mel`: mean absolute difference of the spectrogram after re-analysis, in natural logarithms.
- `agreement`: share of the clips in which the teacher hears the same class as before. `RTF`: processor time over the
  sound's duration.
- `frami:N` is the bundled network with N rounds that match its sound to the spectrogram; `matching:N` the same rounds
  from Griffin-Lim's sound of 32 iterations, without the network. `griffin-lim:N` (ours), `librosa:N` and `torchaudio:N`
  with their own inversion of the Mel bands, N iterations.
- The number of rounds and the usual vocoder were chosen on *training* clips ([vocoder-rounds.md](vocoder-rounds.md)):
  from 32 rounds on the STFT distance falls by less than 1 %, and the time is still below that of 100 iterations of
  Griffin-Lim."""


def _page(value: dict, command: str) -> list[str]:
    lines = ["# Vocoders", "", *_READING.format(command=command).splitlines()]
    for dataset in dict.fromkeys(row["dataset"] for row in value["rows"]):
        rows = [row for row in value["rows"] if row["dataset"] == dataset]
        best = {key: kind(row[key] for row in rows) for key, (_, kind) in _MEASURES.items()}
        where = f"{rows[0]['clips']} clips of {', '.join(rows[0]['folds'])}"
        lines += [
            "",
            f"## {dataset}: {where}",
            "",
            "| vocoder | STFT | log-Mel | agreement | RTF |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            cells = []
            for key, (digits, _) in _MEASURES.items():
                text = f"{row[key]:.{digits}f}"
                cells.append(f"**{text}**" if row[key] == best[key] else text)
            lines.append(f"| `{row['vocoder']}` | {' | '.join(cells)} |")
    if value["made"]:
        lines += _made(value["made"])
    return [*lines, *_verdict(value)]


def _verdict(value: dict) -> list[str]:
    """Where the usual vocoder is behind another row, in each table; nothing when it was not measured."""
    usual, lines = f"frami:{_rounds()}", []
    for dataset in dict.fromkeys(row["dataset"] for row in value["rows"]):
        rows = {row["vocoder"]: row for row in value["rows"] if row["dataset"] == dataset}
        if usual not in rows or len(rows) == 1:
            continue
        for key, (_, kind) in _MEASURES.items():
            ahead = [name for name, row in rows.items() if kind(row[key], rows[usual][key]) != rows[usual][key]]
            if ahead:
                lines.append(f"- {dataset}, {_NAMES[key]}: {', '.join(f'`{name}`' for name in ahead)}")
    if not any(row["vocoder"] == usual for row in value["rows"]):
        return []
    head = ["", f"## Where `{usual}`, the usual vocoder, is not the best", ""]
    return head + (lines or ["In no measure of these tables."])


def _rounds() -> int:
    from frami.vocoder.neural import FOLDER, read_card

    return read_card(FOLDER / "frami").rounds


def _made(made: list[dict]) -> list[str]:
    """Table of the gallery's clips: share still heard as asked after mel → sound → mel, log-Mel distance."""
    teachers = list(dict.fromkeys(row["teacher"] for row in made))
    counts = ", ".join(f"{next(r['clips'] for r in made if r['teacher'] == t)} of {t}" for t in teachers)
    lines = ["", f"## Made clips of the bundled gallery: {counts}", ""]
    lines += [
        "Share that the teacher still hears as asked after spectrogram → sound → spectrogram; log-Mel distance.",
        "",
    ]
    lines += [f"| vocoder | {' | '.join(teachers)} |", "|---" * (len(teachers) + 1) + "|"]
    for vocoder in dict.fromkeys(row["vocoder"] for row in made):
        cells = [
            f"{row['target_accuracy']:.0%}, {row['log_mel']:.3f}"
            for teacher in teachers
            for row in made
            if (row["teacher"], row["vocoder"]) == (teacher, vocoder)
        ]
        lines.append(f"| `{vocoder}` | {' | '.join(cells)} |")
    return lines
