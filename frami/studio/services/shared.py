"""The services that all tabs share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from frami import checkpoints, device
from frami.checkpoints import Card, Checkpoint
from frami.errors import FramiError
from frami.paths import ASSETS
from frami.runs.queue import Queue
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import Distillations
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.recognition import Recognition
from frami.studio.services.syntheses import Syntheses


@dataclass(frozen=True)
class Services:
    """``teachers`` : cards of the bundled teachers by name; the page opens with the first."""

    device: torch.device
    teachers: dict[str, Card]
    load_teacher: Callable[[str], Checkpoint]
    syntheses: Syntheses
    clips: ClipLookup
    maps: FeatureMaps
    distillations: Distillations
    recognition: Recognition

    def close(self) -> None:
        """Stop what is computed; what was made is saved."""
        self.maps.close()
        self.syntheses.close()
        self.distillations.queue.close()


def start() -> Services:
    """All services; queued distillations go on. FramiError where there is no teacher."""
    cards = sorted(checkpoints.bundled("teacher"), key=lambda card: (card.name != "fsdd", card.name))
    if not cards:
        raise FramiError("no teacher in checkpoints/; train one with: frami train-teacher")
    here, names = device.pick(), [card.name for card in cards]
    load_teacher = lru_cache(maxsize=8)(lambda name: checkpoints.load(name, here))
    syntheses = Syntheses()
    clips = ClipLookup(syntheses, ASSETS / "gallery", load_teacher)
    distillations = Distillations(Queue().begin(), load_teacher, names)
    return Services(
        device=here,
        teachers={card.name: card for card in cards},
        load_teacher=load_teacher,
        syntheses=syntheses,
        clips=clips,
        maps=FeatureMaps(ASSETS / "explore", syntheses, load_teacher, names),
        distillations=distillations,
        recognition=Recognition(distillations, clips),
    )
