"""The front-end: the only definition of a log-Mel-spectrogram, ours and those of published networks.

The defaults follow the universal 22 kHz / 80-band vocoders (BigVGAN v2, Lee et al., ICLR 2023), so that
one of them can turn a spectrogram made here into sound.
"""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from numbers import Integral, Real
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.compliance.kaldi import get_mel_banks
from torchaudio.functional import melscale_fbanks

from frami.presets import PRESETS
from frami.schema import shown
from frami.sound_files import RATES, AudioError

#: Windows by name: those of torch, periodic unless they say so, and Kaldi's.
WINDOWS = {
    "hann": torch.hann_window,
    "hann-symmetric": partial(torch.hann_window, periodic=False),
    "hamming": torch.hamming_window,
    "hamming-symmetric": partial(torch.hamming_window, periodic=False),
    "povey": lambda length, device=None: torch.hann_window(length, periodic=False, device=device).pow(0.85),
}

#: What a field that is no number may be.
CHOICES = {
    "window": tuple(WINDOWS),
    "padding": ("hop", "reflect", "zeros", "none", "snip"),
    "preemphasis_of": ("clip", "frame"),
    "power": (1, 2),
    "mel_scale": ("slaney", "htk", "kaldi", "speechbrain"),
    "mel_norm": ("slaney", "none"),
    "compression": ("ln", "log10", "db"),
    "clamping": ("max", "add"),
}

_WHOLE = ("sample_rate", "n_fft", "hop_length", "n_mels", "win_length")
_OPTIONAL = ("win_length", "top_db")
_HUGE = 1e300  # a number from which on a setting is none
_LARGEST_FILE = 1 << 20  # bytes of a file of settings
#: Sizes at most: memory and time go with them.
_MOST = {"sample_rate": RATES[1], "n_fft": 1 << 16, "hop_length": 1 << 16, "n_mels": 1 << 10, "win_length": 1 << 16}
#: Fields that every card names; the others are named where they differ from the default.
_ALWAYS = ("sample_rate", "n_fft", "hop_length", "n_mels", "f_min", "f_max", "clamp")


class MelSpecError(AudioError, ValueError):
    """Settings that are no front-end; the message says which, and what is possible."""


@dataclass(frozen=True)
class MelSpec:
    """Settings of a log-Mel-spectrogram, and the transform itself.

    By default a frame is the magnitude of a Hann-windowed STFT through Slaney-normalised Mel bands, clamped at
    ``clamp``, natural logarithm. The signal is reflect-padded by ``(n_fft - hop_length) / 2``, so N samples give
    ``N // hop_length`` frames, and frame t is centred on sample ``(t + 1/2) hop_length``. ``MelSpec.preset`` has the
    front-ends of published networks, ``MelSpec.read`` those of a JSON file.

    In the order of the computation:

    full_scale : what a sample at full scale is (Kaldi's: 32,768)
    preemphasis : c of ``x[t] - c x[t - 1]``; ``preemphasis_of`` the whole ``clip``, which loses its first sample, or of
    each ``frame``, whose first sample is its own predecessor (Kaldi)
    padding : ``hop``, as above; ``reflect`` or ``zeros``, ``n_fft // 2`` samples on each side, so that frame t is
    centred on sample ``t hop_length`` (librosa, torch); ``none``, frames of n_fft samples that fit in; ``snip``, frames
    of win_length samples that fit in (Kaldi's snip_edges, TensorFlow)
    remove_dc : whether the mean of each frame is subtracted (Kaldi)
    window : of ``WINDOWS``; win_length : samples of it, in the middle of n_fft samples (None: n_fft)
    power : 1 for bands of magnitudes, 2 for bands of powers
    mel_scale : ``slaney`` and ``htk``, triangles over the frequency in Hz; ``kaldi``, triangles over HTK's Mel scale,
    as TensorFlow's; ``speechbrain``, HTK's with both sides as wide as the lower one. mel_norm : ``slaney`` divides each
    by its width in Hz
    clamp : what silence counts as; ``clamping`` : ``max``, smaller values are raised to it; ``add``, it is added
    compression : ``ln``, ``log10``, or ``db``, 10 log10 of powers and 20 log10 of magnitudes
    top_db : how far below the clip's loudest value the others are clamped, in dB (None: not at all)
    remove_mean : whether the mean of each band over the clip is subtracted
    shift, scale : at last ``(x + shift) / scale``

    Raises MelSpecError (a ValueError too) for settings that do not exist or go together.
    """

    sample_rate: int = 22_050
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 11_025.0
    clamp: float = 1e-5
    win_length: int | None = None
    window: str = "hann"
    padding: str = "hop"
    full_scale: float = 1.0
    preemphasis: float = 0.0
    preemphasis_of: str = "clip"
    remove_dc: bool = False
    power: int = 1
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    compression: str = "ln"
    clamping: str = "max"
    top_db: float | None = None
    remove_mean: bool = False
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self):
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if problem := _problem(name, value):
                raise MelSpecError(f"not a usable MelSpec: {name} is {problem}, not {shown(repr(value), 40)}")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise MelSpecError(
                "not a usable MelSpec: Mel bands need 0 <= f_min < f_max <= sample_rate / 2, not "
                f"f_min {self.f_min:g}, f_max {self.f_max:g} at sample_rate {self.sample_rate}"
            )
        for wrong, problem in (
            (not 2 <= self.length <= self.n_fft, "win_length is 2 to n_fft"),
            (not 0 < self.hop_length <= self.n_fft, "hop_length is 1 to n_fft"),
            (self.n_mels < 1, "n_mels is 1 or more"),
            (self.mel_scale == "kaldi" and (self.n_mels < 4 or self.n_fft % 2),
             "Kaldi's bands are 4 or more of an even n_fft"),
            (self.mel_scale in ("kaldi", "speechbrain") and self.mel_norm != "none",
             f"the bands of mel_scale {self.mel_scale} are not normalised: mel_norm is none with them"),
            (self.clamp <= 0, "clamp is above 0"),
            (not 0 <= self.preemphasis <= 1, "preemphasis is 0 to 1"),
            (self.top_db is not None and self.top_db <= 0, "top_db is above 0, or null for none"),
            (self.scale <= 0 or self.full_scale <= 0, "scale and full_scale are above 0"),
        ):  # fmt: skip
            if wrong:
                raise MelSpecError(f"not a usable MelSpec: {problem}; here {self.to_dict()}")

    # --- sizes

    @property
    def length(self) -> int:
        """Samples of the window."""
        return self.n_fft if self.win_length is None else self.win_length

    @property
    def shortest(self) -> int:
        """Samples below which a signal is padded with silence: one window, or what its padding needs."""
        least = {"reflect": self.n_fft // 2 + 1, "zeros": 1, "snip": self.length}.get(self.padding, self.n_fft)
        return least + self._lost

    def frames(self, seconds: float) -> int:
        """Frames of a sound of this many seconds (at least the shortest signal's)."""
        return self.count(round(seconds * self.sample_rate))

    def count(self, samples: int) -> int:
        """Frames of a sound of this many samples (at least the shortest signal's)."""
        return 1 + (max(samples, self.shortest) - self.samples(1, least=0)) // self.hop_length

    def samples(self, frames: int, least: int | None = None) -> int:
        """Samples of a sound of this many frames: the fewest that have them (at least ``least``, half a hop)."""
        least = (self.hop_length + 1) // 2 if least is None else least
        extent = self.length if self.padding == "snip" else self.n_fft
        return max(least, (frames - 1) * self.hop_length + extent - sum(self.margins) + self._lost)

    def seconds(self, frames: int) -> float:
        """Seconds that this many frames last."""
        return frames * self.hop_length / self.sample_rate

    @property
    def margins(self) -> tuple[int, int]:
        """Samples of padding before and after the signal."""
        if self.padding == "hop":
            pad = self.n_fft - self.hop_length
            return pad // 2, pad - pad // 2
        return (self.n_fft // 2,) * 2 if self.padding in ("reflect", "zeros") else (0, 0)

    @property
    def _lost(self) -> int:
        """Samples that pre-emphasis of a clip takes off."""
        return int(self.preemphasis > 0 and self.preemphasis_of == "clip")

    # --- levels

    @property
    def floor(self) -> float:
        """Log-Mel value of silence; nothing is below it. With ``remove_mean``, of silence in a clip that is loud else
        (one that is silent throughout is 0): as far below 0 as the front-end's range is wide."""
        low = self._lowest - self._highest if self.remove_mean else self._lowest
        return (low + self.shift) / self.scale

    @property
    def ceiling(self) -> float:
        """Log-Mel value that sound within full scale practically never exceeds.

        A full-scale sine fills the window's main lobe, ``n_fft / 2`` in all (its square: ``n_fft / 4`` times the sum of
        the squared window), times the largest weight of a band, times what pre-emphasis makes of it there. With
        ``remove_mean`` : as far above 0 as the front-end's range is wide.
        """
        high = self._highest - self._lowest if self.remove_mean else self._highest
        return (high + self.shift) / self.scale

    @property
    def _lowest(self) -> float:
        """Value of silence before the clip's mean is removed and the result scaled; where only differences count, no
        further below the highest than ``top_db``."""
        low = self._log(self.clamp)
        if self.remove_mean and self.top_db is not None:
            return max(low, self._highest - self.top_db * self._decibel)
        return low

    @property
    def _highest(self) -> float:
        """Value of a sine at full scale, before the clip's mean is removed and the result scaled."""
        return self._log(max(_peak(self), self.clamp) + (self.clamp if self.clamping == "add" else 0))

    def _log(self, value: float) -> float:
        return math.log(value) if self.compression == "ln" else math.log(value) * self._log_factor

    @property
    def _log_factor(self) -> float:
        """What a natural logarithm is multiplied by."""
        decibels = {"ln": 1.0, "log10": 1.0, "db": 20.0 / self.power}[self.compression]
        return decibels if self.compression == "ln" else decibels / math.log(10)

    @property
    def _decibel(self) -> float:
        """A decibel, before the result is scaled."""
        return self._log_factor * self.power * math.log(10) / 20

    @property
    def unit(self) -> float:
        """How much higher the log-Mels of a sound are that is e times as loud; 1 by default."""
        return self._log_factor * self.power / self.scale

    def decibels(self, value: float) -> float:
        """A log-Mel value as level in dB: of magnitude 1, or of the band's mean with ``remove_mean``."""
        return (value * self.scale - self.shift) / self._decibel

    # --- the transform

    def filterbank(self) -> Tensor:
        """Mel filters, ``(n_fft // 2 + 1, n_mels)``."""
        return _filterbank(self)

    def window_values(self, device: torch.device | str = "cpu") -> Tensor:
        """The window, ``(win_length,)``."""
        return WINDOWS[self.window](self.length, device=device)

    def placed_window(self, device: torch.device | str = "cpu") -> Tensor:
        """The window among the n_fft samples of a frame, ``(n_fft,)``: at their beginning with ``snip``, else in their
        middle."""
        spare = self.n_fft - self.length
        before = 0 if self.padding == "snip" else spare // 2
        return F.pad(self.window_values(device), (before, spare - before))

    def emphasis(self) -> Tensor:
        """What pre-emphasis multiplies the magnitude of each bin by, ``(n_fft // 2 + 1,)``."""
        omega = torch.linspace(0, math.pi, self.n_fft // 2 + 1)
        return (1 + self.preemphasis**2 - 2 * self.preemphasis * omega.cos()).clamp(min=0).sqrt()

    def prepared(self, x: Tensor) -> Tensor:
        """Tensor[B, N], N at least ``shortest``, scaled, with pre-emphasis of the clip, and padded: frame t is n_fft
        samples of it from ``t hop_length`` on."""
        if self.full_scale != 1:
            x = x * self.full_scale
        if self._lost:
            x = F.conv1d(x[:, None], x.new_tensor([[[-self.preemphasis, 1.0]]]))[:, 0]
        return self.padded(x)

    def padded(self, x: Tensor) -> Tensor:
        """Tensor[B, N], padded."""
        if self.padding in ("none", "snip"):
            return F.pad(x, (0, self.n_fft - self.length)) if self.padding == "snip" else x
        return F.pad(x[:, None], self.margins, mode="constant" if self.padding == "zeros" else "reflect")[:, 0]

    @property
    def by_frame(self) -> bool:
        """Whether frames are changed before they are windowed."""
        return self.remove_dc or (self.preemphasis > 0 and self.preemphasis_of == "frame")

    def changed(self, frames: Tensor) -> Tensor:
        """Frames, Tensor[..., win_length], without their mean, with pre-emphasis of each."""
        if self.remove_dc:
            frames = frames - frames.mean(-1, keepdim=True)
        if self.preemphasis and self.preemphasis_of == "frame":
            before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
            frames = frames - self.preemphasis * before
        return frames

    def windowed(self, x: Tensor, window: Tensor) -> Tensor:
        """Windowed frames of a prepared signal: Tensor[B, N] to Tensor[B, T, win_length]; window : of its values."""
        before = 0 if self.padding == "snip" else (self.n_fft - self.length) // 2
        frames = x.unfold(-1, self.n_fft, self.hop_length)[..., before : before + self.length]
        return self.changed(frames) * window

    def compressed(self, mel: Tensor) -> Tensor:
        """Bands of magnitudes or powers, Tensor[..., n_mels, T], to log-Mels."""
        x = mel.clamp(min=self.clamp) if self.clamping == "max" else mel + self.clamp
        x = x.log() if self.compression == "ln" else x.log10()
        if self.compression == "db":
            x = x * (20 / self.power)
        if self.top_db is not None:
            x = torch.maximum(x, x.amax((-2, -1), keepdim=True) - self.top_db * self._decibel)
        if self.remove_mean:
            x = x - x.mean(-1, keepdim=True)
        return (x + self.shift) / self.scale if (self.shift, self.scale) != (0, 1) else x

    def natural(self, log_mel: Tensor) -> Tensor:
        """Natural logarithm of the bands' magnitudes or powers (with ``clamp``, where that is added).

        log_mel : Tensor[..., n_mels, T]; the same by default. The mean of each band that ``remove_mean`` took away is
        not known any more: all bands are given the same one, as pink noise nearly has, and the loudest value 20 dB less
        than a full-scale sine's.
        """
        x = log_mel if (self.shift, self.scale) == (0, 1) else log_mel * self.scale - self.shift
        if self.remove_mean:
            x = x - x.amax((-2, -1), keepdim=True) + (self._highest - 20 * self._decibel)
        return x if self.compression == "ln" else x / self._log_factor

    def absolute(self) -> "MelSpec":
        """This front-end without what depends on the rest of the clip, ``top_db`` and ``remove_mean``."""
        return replace(self, top_db=None, remove_mean=False)

    def mel(self, waveform: Tensor) -> Tensor:
        """Bands of magnitudes or powers, before they are compressed; shapes and errors as of a call."""
        if waveform.shape[-1] == 0:
            raise AudioError("the sound has no samples")
        lead = waveform.shape[:-1]
        x = waveform.reshape(-1, waveform.shape[-1]).float()
        x = self.prepared(F.pad(x, (0, max(0, self.shortest - x.shape[-1]))))
        if self.by_frame:
            stft = torch.fft.rfft(self.windowed(x, self.window_values(x.device)), self.n_fft).transpose(1, 2)
        else:
            window = self.placed_window(x.device)
            stft = torch.stft(x, self.n_fft, self.hop_length, window=window, center=False, return_complex=True)
        spectrum = stft.abs() if self.power == 1 else stft.abs().square()
        return (self.filterbank().to(x.device).T @ spectrum).reshape(*lead, self.n_mels, -1)

    def __call__(self, waveform: Tensor) -> Tensor:
        """Log-Mel-spectrogram of mono sound.

        waveform : Tensor[..., N], full scale 1.0; shorter than ``shortest``: padded with silence.
        Returns Tensor[..., n_mels, T], T = ``count(N)``; by default max(N, n_fft) // hop_length.
        """
        return self.compressed(self.mel(waveform))

    # --- files

    def to_dict(self) -> dict:
        """Settings as a card keeps them; those that were there first always, the others where they differ."""
        return {
            field.name: value
            for field, value in zip(fields(self), asdict(self).values(), strict=True)
            if field.name in _ALWAYS or value != field.default
        }

    @classmethod
    def from_dict(cls, values: dict) -> "MelSpec":
        """Inverse of ``to_dict``; ``AudioError`` names a setting that is missing or unknown."""
        try:
            if unknown := set(values) - {field.name for field in fields(cls)}:
                raise MelSpecError(
                    f"unknown: {', '.join(sorted(unknown))}; possible: {', '.join(field.name for field in fields(cls))}"
                )
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise AudioError(f"these are not the settings of a Mel-spectrogram: {error}") from error

    @classmethod
    def preset(cls, name: str) -> "MelSpec":
        """The front-end of published networks, of ``PRESETS``. Raises MelSpecError."""
        if name not in PRESETS:
            raise MelSpecError(f"no front-end {name!r}; choose one of: {', '.join(PRESETS)}")
        return cls(**PRESETS[name])

    @classmethod
    def read(cls, path: str | Path) -> "MelSpec":
        """A front-end from a JSON file: an object of settings, those that are not named being the default's, or the
        preset's that ``preset`` names. Raises AudioError, with what is wrong and what is possible."""
        path = Path(path)
        try:
            if path.exists() and not (path.is_file() and path.stat().st_size <= _LARGEST_FILE):
                raise AudioError(f"{path}: not a file of a front-end's settings, which is a small one")
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise AudioError(f"{path}: not readable ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise AudioError(f"{path}: not JSON ({error})") from error
        if not isinstance(values, dict):
            raise AudioError(f'{path}: a front-end is a JSON object of settings, as {{"preset": "panns"}}')
        try:
            base = values.pop("preset", None)
            return cls.from_dict((cls() if base is None else cls.preset(str(base))).to_dict() | values)
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from error


def _problem(name: str, value: object) -> str | None:
    """What a field has to be, where the value is none."""
    if value is None and name in _OPTIONAL:
        return None
    if name in CHOICES:
        fits = isinstance(value, type(CHOICES[name][0])) and not isinstance(value, bool) and value in CHOICES[name]
        return None if fits else f"one of {', '.join(map(str, CHOICES[name]))}"
    if name in ("remove_dc", "remove_mean"):
        return None if isinstance(value, bool) else "true or false"
    kind = Integral if name in _WHOLE else Real
    if not isinstance(value, kind) or isinstance(value, bool) or not abs(value) < _HUGE:
        return "a whole number" if kind is Integral else "a number"
    if value > _MOST.get(name, math.inf):
        return f"{_MOST[name]:,} at most"
    return None


@lru_cache
def _peak(spec: MelSpec) -> float:
    """Largest magnitude or power of a band that a sine at full scale gives."""
    bank = spec.filterbank()
    if spec.preemphasis:
        bank = bank * spec.emphasis()[:, None] ** spec.power
    lobe = spec.n_fft / 2 if spec.power == 1 else spec.n_fft / 4 * float(spec.window_values().square().sum())
    return lobe * float(spec.full_scale) ** spec.power * float(bank.max())


@lru_cache
def _filterbank(spec: MelSpec) -> Tensor:
    bins = spec.n_fft // 2 + 1
    if spec.mel_scale == "kaldi":
        bands, _ = get_mel_banks(spec.n_mels, spec.n_fft, spec.sample_rate, spec.f_min, spec.f_max, 100.0, -500.0, 1.0)
        return F.pad(bands, (0, 1)).T.contiguous()
    if spec.mel_scale == "speechbrain":
        low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (spec.f_min, spec.f_max))
        edges = 700 * (10 ** (torch.linspace(low, high, spec.n_mels + 2) / 2595) - 1)
        distance = torch.linspace(0, spec.sample_rate // 2, bins)[:, None] - edges[1:-1]
        return (1 - distance.abs() / (edges[1:-1] - edges[:-2])).clamp(min=0)
    norm = None if spec.mel_norm == "none" else spec.mel_norm
    return melscale_fbanks(
        bins, spec.f_min, spec.f_max, spec.n_mels, spec.sample_rate, norm=norm, mel_scale=spec.mel_scale
    )
