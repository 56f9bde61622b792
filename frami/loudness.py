"""Sounds at one loudness for playing; files are left as they are."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import loudness

#: Loudness that sounds are played at (LUFS), and what none of their samples exceeds (dB of full scale).
LEVEL, PEAK = -20.0, -1.0
#: dB by which peaks are turned down at most, and seconds over which that is done and undone.
_LIMITED, _SMOOTH = 15.0, 0.01
#: Seconds of one block of the measurement; shorter sounds are repeated.
_BLOCK = 0.4
#: Peak below which a sound is silence: 80 dB below full scale.
_SILENT = 1e-4


def measured(waveform: Tensor, rate: int) -> float:
    """Integrated loudness of a mono sound, Tensor[N], in LUFS (ITU-R BS.1770-4; gated blocks of 0.4 s).

    A sound shorter than a block is repeated until it fills one. Minus infinity for silence.
    """
    peak = float(waveform.abs().max())
    if peak < _SILENT:
        return -torch.inf
    block = int(_BLOCK * rate) + 1
    if len(waveform) < block:
        waveform = waveform.repeat(-(-block // len(waveform)))
    scale = 0.1 / peak  # torchaudio's filters clip at full scale
    return float(loudness((scale * waveform)[None].float(), rate)) - _decibels(scale)


def levelled(waveform: Tensor, rate: int) -> Tensor:
    """The same sound, Tensor[N], at ``LEVEL``; silence stays as it is.

    Where its peaks would exceed ``PEAK``, a limiter that looks ahead turns them down for some milliseconds, by 15 dB at
    most; what consists of a click alone stays softer.
    """
    sound = measured(waveform, rate)
    if not sound > -torch.inf:
        return waveform
    highest = PEAK + _LIMITED - _decibels(float(waveform.abs().max()))
    gain, out = LEVEL - sound, waveform
    for _ in range(3):  # the limiter takes some of the loudness away, which is given back
        gain = min(gain, highest)
        out = limited(waveform * 10 ** (gain / 20), rate)
        missing = LEVEL - measured(out, rate)
        if missing < 0.2 or gain == highest:
            break
        gain += missing
    return out


def limited(waveform: Tensor, rate: int) -> Tensor:
    """A sound, Tensor[N], without a sample above ``PEAK``: its gain falls and rises within 10 ms around a peak."""
    most = 10 ** (PEAK / 20)
    if float(waveform.abs().max()) <= most:
        return waveform
    reach = max(1, int(_SMOOTH * rate / 2))
    window = {"kernel_size": 2 * reach + 1, "stride": 1}
    # The least gain within reach of each sample, then its mean within reach: none of these is more than a peak allows.
    peaks = F.max_pool1d(waveform.abs()[None, None], padding=reach, **window)
    gain = F.pad((most / peaks.clamp(min=most)), (reach, reach), mode="replicate")
    return waveform * F.avg_pool1d(gain, **window)[0, 0, : len(waveform)]


def _decibels(factor: float) -> float:
    return 20 * float(torch.tensor(factor, dtype=torch.float64).log10())
