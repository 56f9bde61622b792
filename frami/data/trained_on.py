"""What a network's card keeps of one's own recordings, so that they are known again, and their split."""

from frami.data.dataset import DataError, DatasetInfo
from frami.data.own import GIVEN


def facts(info: DatasetInfo, skipped: bool = False) -> dict:
    """What the card of a network that was trained on one's own recordings keeps, as a part of its ``training``;
    nothing for a published data set."""
    if not info.own:
        return {}
    return {
        "recordings": {
            "fingerprint": info.fingerprint, "split": info.note, "drawn": not info.note.startswith(GIVEN),
            "skip_bad": skipped,
        }
    }  # fmt: skip


def facts_of(training: dict) -> dict:
    """These facts, of a card's ``training``."""
    found = training.get("recordings")
    return found if isinstance(found, dict) else {}


def skipped(training: dict) -> bool:
    """Whether files that cannot be used were left out of a training."""
    return bool(facts_of(training).get("skip_bad"))


def check_split(info: DatasetInfo, training: dict) -> None:
    """DataError where recordings have come or gone since a training, so that the folds drawn for them are others."""
    found = facts_of(training)
    if info.own and found.get("drawn") and found.get("fingerprint") != info.fingerprint:
        raise DataError(
            f"{info.own}: files have come or gone since the training, so that they are split in another way and what "
            "was held out then may not be now; train again, or name what to take with --split (all, or a fold)"
        )
