"""Whether strangers share this studio."""

import os


def hosted() -> bool:
    """Whether this is a Space of the Hugging Face Hub (``SPACE_ID`` is set), or ``FRAMI_HOSTED`` says that it is used
    like one (``1``), or that it is not (``0``, ``false``, ``no``, ``off``)."""
    said = os.environ.get("FRAMI_HOSTED", "").strip().lower()
    return said not in ("0", "false", "no", "off") if said else bool(os.environ.get("SPACE_ID"))
