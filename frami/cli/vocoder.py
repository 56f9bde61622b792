"""``frami train-vocoder``: a vocoder of one's own."""

from frami.cli.arguments import command, device_option, moved, names, number, progress_bar, seed, whole
from frami.device import describe, pick
from frami.vocoder.recordings import DATASETS
from frami.vocoder.training import VocoderConfig, train


def add(commands) -> None:
    sub = command(commands, "train-vocoder", _train_vocoder)
    sub.add_argument("--out", required=True, help="path of the weights, without ending")
    sub.add_argument("--datasets", type=names, help="default: those of fsdd, esc10 and urbansound8k that are here")
    budget = sub.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=number(0.01, 100_000), help="time to train, in all sittings (default: 60)")
    budget.add_argument("--steps", type=whole(1), help="steps to train, instead of a time")
    sub.add_argument("--batch", type=whole(1), help="crops of a step (default: 64)")
    sub.add_argument("--frames", type=whole(8), help="frames of a crop (default: 64)")
    sub.add_argument("--lr", type=number(1e-6, 1))
    late = "share of the time after which discriminators take part; 1: never"
    sub.add_argument("--judges-from", dest="discriminators_from", type=number(0, 1), help=late)
    sub.add_argument("--seed", type=seed)
    sub.add_argument("--no-graphs", action="store_true", help="on CUDA, launch each step's work piece by piece")
    sub.add_argument("--overwrite", action="store_true", help="replace a finished vocoder at --out")
    device_option(sub, data=True)


def _train_vocoder(options) -> tuple[dict, list[str]]:
    wanted = ("steps", "minutes", "batch", "frames", "lr", "discriminators_from", "seed")
    settings = {key: getattr(options, key) for key in wanted if getattr(options, key) is not None}
    if not {"steps", "minutes"} & set(settings):
        settings["minutes"] = 60.0
    device, last = pick(options.device), None
    with progress_bar("clip", "recordings") as clips, progress_bar("step", "vocoder") as bar:
        for last in train(
            options.out, VocoderConfig(**settings), datasets=options.datasets or DATASETS, data_folder=options.data,
            device=device, overwrite=options.overwrite, graphs=not options.no_graphs, on_clips=moved(clips),
        ):  # fmt: skip
            bar.set_postfix({"spent": f"{last.share:.0%}"} | {k: f"{v:.3f}" for k, v in last.losses.items()})
            bar.update(last.step - bar.n)
    value = {"out": f"{options.out}.safetensors", "device": describe(device)}
    if last is None:
        return value, [f"{value['out']} is written"]
    value |= {"steps": last.step, "seconds": last.seconds, "losses": last.losses}
    terms = ", ".join(f"{name} {loss:.3f}" for name, loss in last.losses.items())
    return value, [f"{value['out']}: {last.step} steps in {last.seconds:.0f} s on {value['device']}; {terms}"]
