"""Writing the pages of results and their pictures."""

from pathlib import Path

from frami.errors import FramiError


def save_picture(figure, path: Path) -> None:
    """Write a matplotlib figure and close it; FramiError where that is not possible."""
    import matplotlib.pyplot as plt

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise FramiError(f"{path}: the picture cannot be written there ({error})") from error
    finally:
        plt.close(figure)
