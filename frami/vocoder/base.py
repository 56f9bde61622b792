"""The base class of vocoders: shapes, checks, lengths, fades and peaks."""

from abc import ABC, abstractmethod
from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import Tensor

from frami.audio import MelSpec
from frami.errors import FramiError

PEAK = 0.99  # highest sample of a clip that would exceed full scale
FADE = 0.003  # seconds faded in and out, against clicks
OVERSHOOT = 2.0  # a clip that exceeds PEAK by more than this factor is scaled down to it before the limiter
LIMITER = 0.004  # seconds before and after a peak over which the limiter reduces the level
CHUNK_FRAMES = 1024  # frames synthesized at once: bounds memory, and larger is slower on a CPU


class VocoderError(FramiError):
    """A spectrogram that a vocoder cannot turn into sound, or a vocoder that does not exist."""


class Vocoder(ABC):
    """Turns log-Mel-spectrograms of one front-end, ``mel_spec``, into sound.

    A subclass names itself and implements ``synthesize``; the checks, lengths, fades and peaks are here. ``title`` :
    its name for people; ``optional`` : it needs packages that may be missing, so that the studio does not offer it.
    """

    name: str
    title: str = ""
    optional: bool = False
    mel_spec: MelSpec

    @abstractmethod
    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Sound of whole clips of one length, at the loudness that the spectrogram states.

        log_mel : Tensor[B, F, T], finite or -inf. Returns Tensor[B, mel_spec.samples(T)].
        """

    def check(self, mel_spec: MelSpec) -> None:
        """Raise VocoderError, with the settings that differ, unless ``mel_spec`` is this vocoder's own."""
        own, other = asdict(self.mel_spec), asdict(mel_spec)
        differ = [key for key in own if own[key] != other[key]]
        if differ:
            takes, given = (", ".join(f"{key} {spec[key]}" for key in differ) for spec in (own, other))
            raise VocoderError(f"the vocoder {self.name} takes spectrograms of {takes}; these have {given}")

    @torch.no_grad()
    def __call__(self, log_mel: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Sound of a padded batch of clips.

        Clips of one length are synthesized together, so that a clip's sound does not depend on its neighbours or its
        padding. Loudness is preserved, except near peaks that would exceed full scale: there the level is reduced for
        some milliseconds (``limit``). Ends are faded over 3 ms, silence stays silent, and the mean is 0.

        log_mel : Tensor[B, 1, F, T], as ``mel_spec`` makes it; silence at its floor or below.
        lengths : Tensor[B] or None, frames of each clip (None: all T).
        Returns a list of B float32 Tensor[mel_spec.samples(lengths[i])] on the device of ``log_mel``, full scale 1.0:
        by default lengths[i] * hop_length samples.
        Raises VocoderError for another shape, impossible lengths, and NaN or infinity within a clip.
        """
        if log_mel.ndim != 4 or log_mel.shape[1:3] != (1, self.mel_spec.n_mels):
            wanted = f"(clips, 1, {self.mel_spec.n_mels}, frames)"
            raise VocoderError(f"the vocoder {self.name} takes log-Mels of shape {wanted}, not {tuple(log_mel.shape)}")
        clips, frames = log_mel.shape[0], log_mel.shape[-1]
        counts = [frames] * clips if lengths is None else [int(n) for n in lengths]
        if len(counts) != clips or not all(1 <= n <= frames for n in counts):
            raise VocoderError(f"{clips} clips of up to {frames} frames cannot have the lengths {counts}")
        sounds: dict[int, Tensor] = {}
        for count in sorted(set(counts)):
            members = [i for i, n in enumerate(counts) if n == count]
            for rows in torch.tensor(members).split(max(1, CHUNK_FRAMES // count)):
                batch = log_mel[rows.to(log_mel.device), 0, :, :count].float()
                usable = self.mel_spec.natural(batch).exp().isfinite().all(2).all(1).cpu()
                if not usable.all():
                    bad = int(rows[~usable][0])
                    raise VocoderError(f"spectrogram {bad} of the batch has values that are NaN or far too large")
                silent = (batch <= self.mel_spec.floor + 1e-3).all(1)
                sounds.update(zip(rows.tolist(), self._finish(self.synthesize(batch), silent), strict=True))
        return [sounds[i] for i in range(clips)]

    def _finish(self, sound: Tensor, silent: Tensor) -> Tensor:
        """The sound with silence in silent frames, faded ends, a mean of 0 and within full scale: Tensor[B, N].

        silent : bool Tensor[B, T], frames of silence.
        """
        spec, samples = self.mel_spec, sound.shape[-1]
        fade = min(round(FADE * spec.sample_rate), samples // 2)
        ramp = (torch.arange(fade, device=sound.device) + 0.5) / fade
        gain = torch.cat([ramp, ramp.new_ones(samples - 2 * fade), ramp.flip(0)]) * gate(silent, spec)
        sound = limit(centre(sound * gain, gain), round(LIMITER * spec.sample_rate))
        return centre(sound, gain).clamp(-PEAK, PEAK)


def gate(silent: Tensor, spec: MelSpec) -> Tensor:
    """Gain that is 0 on samples that lie in windows of silent frames only, with slopes of a hop.

    silent : bool Tensor[B, T]. Returns Tensor[B, spec.samples(T)].
    """
    reach, frames, hop = -(-spec.n_fft // (2 * spec.hop_length)), silent.shape[-1], spec.hop_length
    audible = F.max_pool1d((~silent).float()[:, None], 2 * reach + 1, stride=1, padding=reach)
    gain = F.interpolate(audible, size=frames * hop, mode="linear")[:, 0]
    if spec.padding == "hop":
        return gain
    extent = spec.length if spec.padding == "snip" else spec.n_fft
    at = torch.arange(spec.samples(frames), device=gain.device) + spec.margins[0] - (extent - hop) // 2
    return gain[:, at.clamp(0, frames * hop - 1)]


def centre(sound: Tensor, gain: Tensor) -> Tensor:
    """The sound, Tensor[B, N], less a constant times ``gain``, Tensor[B, N], so that its mean is 0."""
    return sound - gain * (sound.sum(-1, keepdim=True) / gain.sum(-1, keepdim=True).clamp(min=1e-6))


def limit(sound: Tensor, reach: int) -> Tensor:
    """The sound with its peaks within ``PEAK``, unchanged further than 2 ``reach`` samples from a peak.

    The gain is the least one that any sample nearby needs, smoothed over as many samples, and so is never above what
    the sample itself needs. A clip that is far too loud is scaled down as a whole first. sound : Tensor[B, N].
    """
    peak = sound.abs().amax(dim=-1, keepdim=True)
    if not bool((peak > PEAK).any()):
        return sound
    unlimited = sound
    sound = sound * (OVERSHOOT * PEAK / peak.clamp(min=OVERSHOOT * PEAK))
    need = PEAK / sound.abs().clamp(min=PEAK)
    width = 2 * reach + 1
    least = -F.max_pool1d(-need[:, None], width, stride=1, padding=reach)
    window = torch.hann_window(width + 2, periodic=False, device=sound.device)[1:-1]
    kernel = (window / window.sum())[None, None]
    gain = F.conv1d(F.pad(least, (reach, reach), mode="replicate"), kernel)[:, 0]
    return torch.where(peak > PEAK, sound * torch.minimum(gain, need), unlimited)
