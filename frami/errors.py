"""The base class of errors that the user can correct."""


class FramiError(Exception):
    """Bad input or a missing piece; the message says what to do.

    The command line prints it on one line and exits with status 2; the studio shows it as a notice.
    """
