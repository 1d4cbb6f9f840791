"""Pictures: the curves of a training run, and clouds shaded by their normals."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .errors import CloudError, DataError

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
"""(height, width, 3) red, green and blue; the first row is the top."""

METRICS = "metrics.jsonl"
CURVES = "curves.png"
LOSSES = ("direction", "side", "error")
VALIDATION = {"validation_rmse_deg": "unoriented", "validation_oriented_rmse_deg": "oriented"}
PALETTE = ("#2a6f97", "#e07a5f", "#6a994e", "#8d5a97")

VIEW = (-60.0, 25.0)
SIZE = (1000, 760)
"""Width and height that a picture must fit in, in pixels."""
MARGIN = 16
OVERSAMPLING = 2
"""Pixels computed along each side of a pixel shown."""
COVER = 12
"""Neighbours within a splat: of random points, 6 in a million lie in a gap between splats."""
GRAZING = 0.3
"""Cosine to the eye below which splats are not foreshortened any more."""
LIGHT = np.array([-0.45, 0.55, 0.70])
"""Direction to the light: right, up, towards the eye; unit length."""
AMBIENT = 0.38
STONE = (222.0, 218.0, 208.0)
"""Colour of a cloud without colours."""
INWARD = (214.0, 20.0, 30.0)
"""Colour of a surface whose normals point away from the eye that sees it."""


def training_curves(run: Path) -> Path:
    """Draws the losses and the validation errors of a training run.

    Args:
        run: Folder of the run; the picture, curves.png, replaces the one before.

    Returns:
        The picture.

    Raises:
        DataError: If the folder has no metrics.
    """
    try:
        lines = (run / METRICS).read_text().splitlines()
    except OSError as error:
        raise DataError(f"{run}: not a training run ({METRICS}: {error.strerror})") from error
    if not lines:
        raise DataError(f"{run}: {METRICS} is empty; train for at least one step")
    rows = [json.loads(line) for line in lines]
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _losses(left, rows)
    _validation(right, [row for row in rows if "validation_rmse_deg" in row])
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_xlim(0, rows[-1]["step"])
        axes.grid(alpha=0.25)
    FigureCanvasAgg(figure).print_png(run / CURVES)
    return run / CURVES


def cloud_picture(
    points: Array,
    normals: Array,
    path: Path,
    *,
    colors: NDArray[np.uint8] | None = None,
    view: tuple[float, float] = VIEW,
    title: str = "",
) -> None:
    """Writes ``cloud_image`` as PNG, under a title if one is given."""
    save_images([cloud_image(points, normals, colors=colors, view=view)], [title], path)


def save_images(images: Sequence[Image], titles: Sequence[str], path: Path) -> None:
    """Writes images side by side as PNG, pixel by pixel, each under its title."""
    head = 44 if any(titles) else 0
    height = max(len(image) for image in images)
    width = sum(image.shape[1] for image in images)
    figure = Figure(figsize=(width / 100, (height + head) / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    left = 0
    for image, title in zip(images, titles, strict=True):
        figure.figimage(image, left, (height - len(image)) // 2, origin="upper")
        centre = (left + image.shape[1] / 2) / width
        top = height / (height + head)
        figure.text(centre, top, title, ha="center", va="bottom", size=15, color="#222222")
        left += image.shape[1]
    canvas.print_png(path)


def cloud_image(
    points: Array,
    normals: Array,
    *,
    colors: NDArray[np.uint8] | None = None,
    view: tuple[float, float] = VIEW,
) -> Image:
    """A cloud as a lit, opaque surface, seen in parallel projection on white; z is up.

    Where the surface nearest to the eye has normals that point away from it, it is red: seen from
    outside, a closed shape with outward normals has no red.

    Args:
        points: (n, 3).
        normals: (n, 3) unit vectors; points without finite ones are left out.
        colors: (n, 3), 0 to 255; the colour of stone without.
        view: Azimuth and elevation of the eye, in degrees; azimuth 0 is on the x axis.

    Raises:
        CloudError: If fewer points than a splat spans have a normal.
    """
    usable = np.isfinite(points).all(1) & np.isfinite(normals).all(1)
    if usable.sum() <= COVER:
        raise CloudError(f"{usable.sum()} points with normals; a picture needs {COVER + 1}")
    albedo = np.broadcast_to(STONE, points.shape) if colors is None else colors
    camera = _camera(*view)
    facing = normals[usable] @ camera.T
    shade = _lit(facing, albedo[usable].astype(float))
    scene, width, height = _projected(points[usable] @ camera.T, facing)
    depth = np.full(height * width, -np.inf)
    for splats in _splats(scene, width):
        np.maximum.at(depth, splats.pixels, splats.depth)
    total = np.zeros((4, height * width))
    for splats in _splats(scene, width):
        front = splats.depth > depth[splats.pixels] - 0.5 * scene.radius[splats.rows]
        pixels, rows, weight = (part[front] for part in (splats.pixels, splats.rows, splats.weight))
        for sums, values in zip(total, (*shade.T, np.ones(len(shade))), strict=True):
            sums += np.bincount(pixels, weight * values[rows], len(sums))
