"""Sounds of a bank that is there, made anew from its spectrograms by another vocoder."""

from collections.abc import Callable
from pathlib import Path

from frami import audio, files, locks
from frami.audio import AudioError
from frami.banks.bank import load
from frami.banks.folder import BankError, write_manifest
from frami.vocoder import Vocoder

_BATCH = 16


def renew_sounds(folder: str | Path, vocoder: Vocoder, report: Callable[[int, int], None] | None = None) -> int:
    """Vocode every clip again, each file whole or not at all, and name the vocoder in the manifest.

    Returns the number of clips. A bank without sounds, or with a damaged shard, is refused with BankError.
    ``report(done, total)`` counts clips.
    """
    bank = load(folder)
    if bank.damaged:
        raise BankError(f"{bank.folder}: {'; '.join(bank.damaged)}; make the bank again")
    if bank.manifest["ending"] is None:
        raise BankError(f"{bank.folder} was made without sounds")
    vocoder.check(bank.spec)
    try:
        with locks.folder(bank.folder):
            for start in range(0, len(bank), _BATCH):
                rows = range(start, min(start + _BATCH, len(bank)))
                mels, lengths, _ = bank.batch(rows)
                for i, sound in zip(rows, vocoder(mels, lengths), strict=True):
                    files.write(bank.sound(i), audio.encoded(bank.sound(i), sound, bank.spec.sample_rate))
                if report:
                    report(rows[-1] + 1, len(bank))
            write_manifest(bank.folder, bank.manifest | {"vocoder": vocoder.name})
    except (OSError, AudioError) as error:
        raise BankError(f"{bank.folder}: the sounds cannot be written ({error})") from error
    return len(bank)
