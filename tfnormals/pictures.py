"""Picture files: figures, and images side by side."""

from collections.abc import Sequence
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
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG.

    Raises:
        DataError: If the file cannot be written.
    """
    try:
        FigureCanvasAgg(figure).print_png(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
