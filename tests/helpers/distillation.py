"""Short distillations, and clips that a teacher has classified."""

import torch

#: Settings of a run of seconds.
QUICK = {"student": "nano", "budget": None, "rounds": 2, "clips": 8, "steps": 3, "batch": 8}


def classified(teacher, seed: int = 0, clips: int = 6, frames: int = 40):
    """Noise of different durations: log-Mels, lengths, and the teacher's features."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.empty(clips, 1, 80, frames).uniform_(-11, 0, generator=rng)
    lengths = torch.randint(frames // 2, frames + 1, (clips,), generator=rng)
    with torch.no_grad():
        return x, lengths, teacher.model(x, lengths)
