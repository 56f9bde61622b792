"""The base class of errors that the user can correct."""


class FramiError(Exception):
    """Bad input or a missing piece; the message says what to do.

    The command line prints it on one line and exits with status 2; the studio shows it as a notice. What to do stands
    behind a semicolon, alternatives between commas and ``or``, each with its own verb where it can; settings are named
    by their option: the studio puts its own controls in their place (``studio.services.page_words``).
    """


def sentence(message: object) -> str:
    """A message with a full stop at its end, unless it ends with a mark already."""
    text = str(message).rstrip()
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."
