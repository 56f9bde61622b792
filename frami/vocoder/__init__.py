"""Log-Mel-spectrogram to sound. A vocoder states the ``MelSpec`` that it takes, and refuses another one."""

from frami.audio import MelSpec
from frami.vocoder.base import PEAK, Vocoder, VocoderError
from frami.vocoder.griffin_lim import GriffinLim, unmel
from frami.vocoder.neural import FOLDER, Neural
from frami.vocoder.plugins import BigVGAN, Vocos

__all__ = ["PEAK", "PLUGINS", "VOCODERS", "GriffinLim", "Neural", "Vocoder", "VocoderError", "default", "get", "unmel"]


class Bundled(Neural):
    """The bundled network."""

    name, title = "frami", "FRAMI"

    def __init__(self, mel_spec: MelSpec):
        super().__init__(FOLDER / self.name, self.name)


#: Vocoders by name, each made for a front-end; the first is the default. Adding one is an entry here.
VOCODERS: dict[str, type[Vocoder]] = {kind.name: kind for kind in (Bundled, GriffinLim, BigVGAN, Vocos)}

#: Public vocoders of optional packages; they take a folder in place of the Hub's files.
PLUGINS = {kind.name: kind for kind in VOCODERS.values() if kind.optional}


def get(name: str | None, mel_spec: MelSpec) -> Vocoder:
    """The vocoder of this name, or of this path of ``.safetensors`` weights, for this front-end; None: ``default``.

    ``bigvgan:FOLDER`` and ``vocos:FOLDER`` read their files from a folder. VocoderError if there is none or it takes
    another front-end.
    """
    if name is None:
        return default(mel_spec)
    kind, colon, folder = name.partition(":")
    if colon and kind in PLUGINS:
        vocoder = PLUGINS[kind](mel_spec, folder)
    elif name in VOCODERS:
        vocoder = VOCODERS[name](mel_spec)
    elif name.endswith(".safetensors"):
        vocoder = Neural(name)
    else:
        choices = ", ".join(VOCODERS)
        raise VocoderError(f"there is no vocoder {name!r}; choose one of: {choices}, or the path of a .safetensors")
    vocoder.check(mel_spec)
    return vocoder


def default(mel_spec: MelSpec) -> Vocoder:
    """The bundled network where it takes this front-end, else Griffin-Lim."""
    try:
        return get(Bundled.name, mel_spec)
    except VocoderError:
        return GriffinLim(mel_spec)
