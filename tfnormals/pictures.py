"""Picture files: figures, and images side by side; a file is complete or not there."""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .errors import DataError
from .splatting import Image


def save_images(images: Sequence[Image], titles: Sequence[str], path: Path) -> None:
    """Writes images side by side as PNG, pixel by pixel, each under its title.

    Raises:
        DataError: If the file cannot be written.
    """
    write_whole(path, images_png(images, titles))


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG.

    Raises:
        DataError: If the file cannot be written.
    """
    write_whole(path, figure_png(figure))


def images_png(images: Sequence[Image], titles: Sequence[str]) -> bytes:
    """As PNG, images side by side, each under its title if there is any."""
    head = 40 if any(titles) else 0
    height = max(len(image) for image in images)
    width = sum(image.shape[1] for image in images)
    figure = Figure(figsize=(width / 100, (height + head) / 100), dpi=100)
    left = 0
    for image, title in zip(images, titles, strict=True):
        figure.figimage(image, left, height - len(image))
        middle = (left + image.shape[1] / 2) / width
        figure.text(middle, height / (height + head), title, ha="center", va="bottom", size=15)
        left += image.shape[1]
    return figure_png(figure)


def figure_png(figure: Figure) -> bytes:
    """A figure as PNG."""
    stream = BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, replacing what is there; it appears under its name only when complete.

    Its folder is made where it is missing.

    Raises:
        DataError: If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be written ({reason}); choose another place") from error
    finally:
        with suppress(OSError):
            partial.unlink()
