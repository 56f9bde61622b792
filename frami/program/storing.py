"""Programs beside the weights that they use: JSON in the metadata of a safetensors file."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from frami.models import Classifier
from frami.program.network import Config, ProgramClassifier, ProgramNetwork, ProgramPooling, ReusableNetwork
from frami.program.outputs import Output
from frami.program.program import Graph, Program, ProgramError

#: Keys of the metadata: a whole network, and the pooling and classifier that a student ends in.
NETWORK, HEAD = "frami_program", "frami_head"
#: Frames of the clip that a loaded network is tried with, and at most.
_FRAMES, _LONGEST = 64, 100_000


def state(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a model of whatever kind."""
    if isinstance(model, ProgramNetwork):
        parts = [part.to_dict() for part in model.parts] if isinstance(model, ReusableNetwork) else []
        return model.graph.tensors.state_dict(), {
            NETWORK: json.dumps({"network": model.program.to_dict(), "parts": parts})
        }
    if isinstance(model, Classifier) and isinstance(model.pooling, ProgramPooling):
        pooling, classifier = model.pooling, model.classifier
        values = {
            "pooling": pooling.graph.program.to_dict(), "classifier": classifier.graph.program.to_dict(),
            "axes": pooling.axes, "free": pooling.free, "shape": pooling.shape,
            "output": {"scale": classifier.output.scale, "linear": classifier.output.linear},
        }  # fmt: skip
        return model.state_dict(), {HEAD: json.dumps(values)}
    return model.state_dict(), {}


def network(config: dict, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> ProgramNetwork:
    """The network of a card's ``model`` and the file beside it. ProgramError, TypeError, KeyError or ValueError where
    they do not fit."""
    if NETWORK not in metadata:
        raise ProgramError("its weights hold no program")
    stored = json.loads(metadata[NETWORK])
    made = Config.from_dict(config)
    program = Program.from_dict(stored["network"], tensors)
    if stored["parts"]:
        parts = [Program.from_dict(part, tensors) for part in stored["parts"]]
        found = ReusableNetwork(program, made, parts)
    else:
        found = ProgramNetwork(program, made)
    _try(found)
    return found


@torch.no_grad()
def _try(found: ProgramNetwork) -> None:
    """ProgramError where a network does not answer, as its card says, for each class."""
    config = found.config
    frames = min(max(_FRAMES, config.takes.shortest), config.takes.longest or _LONGEST)
    try:
        out = found(torch.zeros(1, 1, config.n_mels, frames))
        same = not isinstance(found, ReusableNetwork) or found.head(out.frames, out.lengths).logits.shape == (
            1, config.classes,
        )  # fmt: skip
    except Exception as error:  # whatever a forged card leads to
        raise ProgramError(f"it does not run ({' '.join(str(error).split())[:150]})") from error
    if out.logits.shape != (1, config.classes) or out.frames.dim() != 4 or out.pooled.dim() != 2 or not same:
        raise ProgramError(f"it does not answer for {config.classes} classes")


def stand_ins(metadata: Mapping[str, str]) -> dict[str, nn.Module]:
    """Empty modules in the places of ``head``."""
    return {part: nn.Identity() for part in ("pooling", "classifier")} if HEAD in metadata else {}


def head(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> dict[str, nn.Module]:
    """Pooling and classifier of a student of a program, without any for other students."""
    if HEAD not in metadata:
        return {}
    stored = json.loads(metadata[HEAD])
    graphs = {}
    for part in ("pooling", "classifier"):
        start = f"{part}.graph.tensors."
        own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
        graphs[part] = Graph(Program.from_dict(stored[part], own))
    axes, free, shape = (tuple(map(kind, stored[key])) for key, kind in (("axes", int), ("free", bool), ("shape", int)))
    output = Output("", str(stored["output"]["scale"]), bool(stored["output"]["linear"]))
    return {
        "pooling": ProgramPooling(graphs["pooling"], axes, free, shape),
        "classifier": ProgramClassifier(graphs["classifier"], output),
    }
