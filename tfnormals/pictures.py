"""Picture files: figures, and images side by side; a file is complete or not there."""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .errors import DataError
from .splatting import Image

GAP = 12
"""Pixels on both sides of the images of a contact sheet."""


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


def contact_sheet(
    images: Sequence[Image], titles: Sequence[str], path: Path, columns: int = 8
) -> None:
    """Writes images row by row as PNG, each under a small title of one or more lines.

    Raises:
        DataError: If the file cannot be written.
    """
    width = max(image.shape[1] for image in images) + 2 * GAP
    head = 11 * (max(title.count("\n") for title in titles) + 2)
    rows = [range(at, min(at + columns, len(images))) for at in range(0, len(images), columns)]
    heights = [head + max(len(images[i]) for i in row) for row in rows]
    total = np.array([width * len(rows[0]), sum(heights)])
    figure = Figure(figsize=tuple(total / 100), dpi=100)
    for row, top in zip(rows, total[1] - np.cumsum([0, *heights]), strict=False):
        for column, i in enumerate(row):
            left = column * width + (width - images[i].shape[1]) // 2
            figure.figimage(images[i], left, top - head - len(images[i]))
            x, y = (column + 0.5) * width / total[0], (top - 4) / total[1]
            figure.text(x, y, titles[i], ha="center", va="top", size=6)
    save_figure(figure, path)


def figure_png(figure: Figure) -> bytes:
    """A figure as PNG."""
    stream = BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, replacing what is there; it appears under its name only when complete.

    Raises:
        DataError: If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be written ({reason}); choose another place") from error
    finally:
        with suppress(OSError):
            partial.unlink()
