"""What decided: the points that a network needs, found on a real sound, and the sound of them alone."""

from pathlib import Path

import pytest
import torch

from frami import audio_input, saliency

ASSETS = Path(__file__).parents[1] / "assets"
SAMPLES, RECORDINGS = ASSETS / "samples" / "fsdd", ASSETS / "recordings" / "fsdd"


@pytest.fixture(scope="module")
def heard(teacher):
    sound = audio_input.read(SAMPLES / "four-en-us.flac", teacher.spec)
    return sound.samples, teacher.spec(sound.samples)


@pytest.mark.parametrize("method", saliency.METHODS)
def test_what_decided_is_needed_and_suffices(teacher, heard, method):
    _, mel = heard
    found = saliency.saliency(teacher, mel, 4, method)
    assert found.shape == mel.shape and found.isfinite().all()
    deletion, insertion = saliency.faithfulness(teacher, mel, 4, found)
    other = saliency.faithfulness(teacher, mel, 4, torch.rand(mel.shape, generator=torch.Generator().manual_seed(0)))
    assert deletion < other[0] - 0.2 and insertion > deletion + 0.3


def test_the_sound_of_what_decided_is_still_heard_and_quieter(teacher, heard):
    samples, mel = heard
    kept = saliency.mask(saliency.saliency(teacher, mel, 4))
    assert 0.05 < float((kept > 0.5).float().mean()) < 0.35 and kept.min() >= 0 and kept.max() <= 1
    alone = saliency.alone(samples, teacher.spec, kept)
    assert alone.shape == samples.shape and alone.square().mean() < samples.square().mean()
    assert float(saliency.probability(teacher, teacher.spec(alone)[None], 4)[0]) > 0.5
    whole = saliency.alone(samples, teacher.spec, torch.ones_like(kept))
    assert (teacher.spec(whole) - mel).abs()[:70].mean() < 0.3, "with all points it is the sound itself"


@pytest.mark.slow
def test_occlusion_is_as_faithful_as_gradients_on_recordings(teacher):
    """The figures of docs/studio.md; printed with ``pytest -s``."""
    chance, rows = torch.Generator().manual_seed(0), {method: [] for method in (*saliency.METHODS, "random")}
    for digit in range(10):
        for path in sorted(RECORDINGS.glob(f"{digit}_theo_*.flac"))[:2]:
            mel = teacher.spec(audio_input.read(path, teacher.spec).samples)
            for method, row in rows.items():
                if method == "random":
                    found = torch.rand(mel.shape, generator=chance)
                else:
                    found = saliency.saliency(teacher, mel, digit, method)
                row.append(saliency.faithfulness(teacher, mel, digit, found))
    means = {method: torch.tensor(row).mean(0) for method, row in rows.items()}
    print({method: [round(x, 3) for x in mean.tolist()] for method, mean in means.items()})
    apart = {method: mean.diff().item() for method, mean in means.items()}
    assert len(rows["random"]) == 20 and apart[saliency.METHODS[0]] > max(apart.values()) - 0.03, apart
    assert apart[saliency.METHODS[0]] > apart["random"] + 0.5
