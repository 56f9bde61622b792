"""The neural vocoder: its network, its files, and what its sound keeps to. Weights are made here, not trained."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from frami.audio import MelSpec
from frami.cost import parameters
from frami.vocoder import PEAK, Neural, VocoderError, get, neural
from frami.vocoder.network import Network, NetworkConfig, Synthesis
from frami.vocoder.neural import VocoderCard, read_card, save

SPEC = MelSpec()
HOP = SPEC.hop_length
SMALL = NetworkConfig(dim=16, layers=2, hidden=24)


def noise(*shape, level=0.1, seed=0):
    return level * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def log_mels(clips=1, frames=40, seed=0):
    return SPEC(noise(clips, frames * HOP, seed=seed))[:, None]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network(SPEC, SMALL).eval()


def write(folder, network, **changes):
    card = VocoderCard(
        name="own",
        title="A small one",
        mel_spec=SPEC.to_dict(),
        network=network.config.to_dict(),
        parameters=parameters(network),
        licence="Apache-2.0",
    )
    return save(folder / "own", network, replace(card, **changes))


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    return write(tmp_path_factory.mktemp("vocoder"), network)


@pytest.fixture(scope="module")
def vocoder(path):
    return Neural(path)


# --- the network -----------------------------------------------------------------------------------------------------


def test_the_usual_network_is_small():
    count = parameters(Network(SPEC, NetworkConfig()))
    assert count <= 4_000_000 and 2 * count < 10e6


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
def test_an_unchanged_stft_gives_the_sound_back(frames):
    sound = noise(2, frames * HOP)
    padded = F.pad(sound, (384, 384)) if frames < 4 else F.pad(sound, (384, 384), mode="reflect")
    stft = torch.stft(padded, 1024, HOP, window=torch.hann_window(1024), center=False, return_complex=True)
    assert stft.shape[-1] == frames, "frames lie as MelSpec has them"
    torch.testing.assert_close(Synthesis(1024, HOP)(stft.transpose(1, 2)), sound, atol=1e-5, rtol=0)


def test_its_analysis_is_that_of_the_front_end(network):
    sound = noise(2, 20 * HOP)
    mel = (network.synthesis.analysis(sound).abs() @ network.bank).clamp(min=SPEC.clamp).log()
    torch.testing.assert_close(mel.transpose(1, 2), SPEC(sound), atol=1e-4, rtol=0)


@pytest.mark.parametrize("hop", [128, 256, 300])
def test_synthesis_inverts_analysis_whatever_the_hop(hop):
    sound, synthesis = noise(2, 20 * hop), Synthesis(1024, hop)
    torch.testing.assert_close(synthesis(synthesis.analysis(sound)), sound, atol=1e-5, rtol=0)


def test_untrained_it_has_about_the_right_level(network):
    """The head predicts what differs from the magnitudes that the bands spread to; matching brings the rest."""
    mel = log_mels(2)[:, 0]
    with torch.no_grad():
        sound = network(mel)
        again = network.match(sound, mel, 8)
    assert sound.shape == (2, 40 * HOP) and sound.dtype == torch.float32
    far, near = ((SPEC(x) - mel).abs().mean() for x in (sound, again))
    assert near < 0.25 * far and near < 0.4


def test_matching_nothing_changes_nothing(network):
    sound = 0.3 * torch.sin(torch.arange(20 * HOP) * 0.3)[None]
    assert network.match(sound, SPEC(sound), 0) is sound
    again = network.match(sound, SPEC(sound), 3)
    torch.testing.assert_close(again[:, 1024:-1024], sound[:, 1024:-1024], atol=1e-3, rtol=0)


def test_matching_passes_gradients(network):
    mel = log_mels()[:, 0]
    network.match(network(mel), mel, 2).square().sum().backward()
    slopes = [p.grad for p in network.parameters()]
    assert all(s is not None and s.isfinite().all() for s in slopes) and any(s.abs().max() > 0 for s in slopes)
    network.zero_grad()


# --- sound -----------------------------------------------------------------------------------------------------------


def test_a_clip_does_not_depend_on_its_batch(vocoder):
    clips = [log_mels(1, frames, seed) for seed, frames in enumerate((40, 25, 40, 31))]
    lengths = torch.tensor([clip.shape[-1] for clip in clips])
    padded = torch.full((4, 1, SPEC.n_mels, 45), math.nan)  # padding is never read
    for row, clip in zip(padded, clips, strict=True):
        row[..., : clip.shape[-1]] = clip[0]
    for sound, clip, length in zip(vocoder(padded, lengths), clips, lengths, strict=True):
        assert sound.shape == (int(length) * HOP,)
        torch.testing.assert_close(sound, vocoder(clip)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_very_short(vocoder, frames):
    (sound,) = vocoder(log_mels()[..., 10 : 10 + frames])
    assert sound.shape == (frames * HOP,) and sound.isfinite().all() and sound.abs().max() > 0.01


def test_silence_stays_silent(vocoder):
    for value in (SPEC.floor, SPEC.floor - 5, -math.inf):
        assert not vocoder(torch.full((1, 1, SPEC.n_mels, 40), value))[0].any()
    half = log_mels()
    half[..., 20:] = SPEC.floor
    (sound,) = vocoder(half)
    assert sound[: 18 * HOP].abs().max() > 0.05 and sound[24 * HOP :].abs().max() < 2e-3


@pytest.mark.parametrize("change", [-3.0, 3.0, 8.0])
def test_level_is_kept_outside_of_that_of_the_training(vocoder, change):
    """A log-Mel that is louder all over gives the same sound, louder, up to full scale."""
    log_mel = log_mels() - 2
    top = float(log_mel.max())
    edge = neural.LOUDEST - top if change > 0 else neural.QUIETEST - top
    first, second = vocoder(log_mel + edge), vocoder(log_mel + edge + change)
    ratio = float(second[0].abs().max() / first[0].abs().max())
    expected = min(math.exp(change), PEAK / float(first[0].abs().max()))
    assert ratio == pytest.approx(expected, rel=0.25)
    assert second[0].abs().max() <= PEAK + 1e-6


def test_no_constant_part_and_faded_ends(vocoder):
    (sound,) = vocoder(log_mels(1, 80))
    assert sound.mean().abs() < 1e-3
    assert sound[0].abs() < 0.01 and sound[-1].abs() < 0.01


def test_more_rounds_come_nearer(path):
    mel = log_mels()
    far, near = ((SPEC(Neural(path, rounds=n)(mel)[0]) - mel[0, 0]).abs().mean() for n in (0, 12))
    assert near < far


# --- files -----------------------------------------------------------------------------------------------------------


def test_saved_in_half_precision_and_read_when_needed(path, network, tmp_path):
    assert path.stat().st_size < 2.1 * parameters(network) + 10_000
    vocoder = get(str(path), SPEC)
    assert vocoder.name == "own" and vocoder.card.kind == "vocoder" and vocoder.rounds == 32
    alone = tmp_path / "own.json"
    alone.write_text(path.with_suffix(".json").read_text())
    waiting = Neural(alone)
    waiting.check(SPEC)
    with pytest.raises(VocoderError, match=r"own.safetensors: not readable"):
        waiting(log_mels())


def test_another_front_end_is_refused_by_name(path):
    with pytest.raises(VocoderError, match="own takes spectrograms of n_mels 80; these have n_mels 64"):
        get(str(path), replace(SPEC, n_mels=64))


def test_damaged_files_are_named(network, tmp_path):
    path = write(tmp_path, network)
    card = json.loads(path.with_suffix(".json").read_text())

    def refused(match, **changes):
        path.with_suffix(".json").write_text(json.dumps(card | changes))
        with pytest.raises(VocoderError, match=match):
            Neural(path)(log_mels())

    refused("newer frami", format=99)
    refused("another thing", kind="teacher")
    refused("not a vocoder's card", colour="red")
    refused("settings of a Mel", mel_spec={"hop": 3})
    refused("do not fit their card", network=SMALL.to_dict() | {"dim": 24})
    refused("do not fit their card", network={"depth": 3})
    path.with_suffix(".json").write_text("[")
    with pytest.raises(VocoderError, match="not a vocoder's card"):
        read_card(path)
    path.with_suffix(".json").write_text(json.dumps(card))
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"\0\1")
    with pytest.raises(VocoderError, match="not the weights"):
        Neural(path)(log_mels())
    path.write_bytes(content[:100])
    with pytest.raises(VocoderError, match="not readable"):
        Neural(path)(log_mels())
    with pytest.raises(VocoderError, match="no such card"):
        Neural(tmp_path / "other")
