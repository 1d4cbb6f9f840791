"""One picture that shows whether the normals of a cloud are right."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from .pictures import figure_png, images_png
from .splatting import VIEW, WIDTH, Image, View, cloud_image, view_axes

Array = NDArray[np.float64]

DRAWN = 150_000
"""Points of a cloud that are drawn, chosen at random; more cannot be told apart."""
STRAYS = 0.01
"""Share of the points on each side of the picture that do not decide how large it is."""
ONE_WAY = 0.7
"""Mean of the unit vectors to a sensor above which all points lie on one side of it."""
STEEP = 60
"""Degrees above and below which the azimuth of a sensor tells nothing."""
ARROWS = 40
"""Arrows along the longer side of a contour."""
ARROW_COLOR = "#2a6f97"


def preview(
    points: Array, normals: Array, *, viewpoint: ArrayLike | None = None, signed: bool = True
) -> bytes:
    """A cloud with its normals, as PNG: see ``preview_image``; a contour with arrows.

    Args:
        points: (n, 3), or (n, 2) of a contour.
        normals: Unit vectors, of the same shape; points without one are left out.
        viewpoint: See ``preview_image``.
        signed: False if the signs of the normals mean nothing.

    Raises:
        CloudError: If there are too few points with a normal.
    """
    if points.shape[1] == 2:
        return figure_png(_contour(*_shown(points, normals), signed=signed))
    image = preview_image(points, normals, viewpoint=viewpoint, signed=signed, width=WIDTH)
    return images_png([image], [""])


def preview_image(
    points: Array,
    normals: Array,
    *,
    viewpoint: ArrayLike | None = None,
    signed: bool = True,
    width: int = WIDTH,
) -> Image:
    """A cloud, lit, and red where the surface that is seen faces away.

    Far from all others, up to four points in a hundred may be left out.

    Args:
        points: (n, 3).
        normals: (n, 3) unit vectors; points without one are left out.
        viewpoint: Position of the sensor. The cloud is seen from there, unless it lies around
            the sensor.
        signed: False if the signs of the normals mean nothing; then nothing is red.
        width: Of the image, and at most its height, in pixels.

    Raises:
        CloudError: If there are too few points with a normal.
    """
    points, normals = _shown(points, normals)
    view = _view(points, viewpoint)
    axes = view_axes(view)
    near = _near(points @ axes[:2].T)
    points, normals = points[near], normals[near]
    if not signed:
        normals = np.where(normals @ axes[2:].T < 0, -normals, normals)
    return cloud_image(points, normals, view=view, width=width, height=width)


def _shown(points: Array, normals: Array) -> tuple[Array, Array]:
    """The points that are drawn, and their normals."""
    rows = np.flatnonzero(np.isfinite(points).all(axis=1) & np.isfinite(normals).all(axis=1))
    if len(rows) > DRAWN:
        rows = np.random.default_rng(0).choice(rows, DRAWN, replace=False)
    return points[rows], normals[rows]


def _view(points: Array, viewpoint: ArrayLike | None) -> View:
    """From the sensor, upright as it was if it looked up or down, or from the usual side."""
    if viewpoint is None:
        return VIEW
    rays = np.asarray(viewpoint, float) - points
    lengths = np.linalg.norm(rays, axis=1, keepdims=True)
    x, y, z = (rays / np.maximum(lengths, np.finfo(float).tiny)).mean(axis=0)
    if np.hypot(np.hypot(x, y), z) < ONE_WAY:
        return VIEW
    elevation = float(np.degrees(np.arctan2(z, np.hypot(x, y))))
    azimuth = -90.0 if abs(elevation) > STEEP else float(np.degrees(np.arctan2(y, x)))
    return azimuth, elevation


def _near(positions: Array) -> NDArray[np.bool_]:
    """Which of the positions (n, 2) lie among the others."""
    low, high = np.quantile(positions, [STRAYS, 1 - STRAYS], axis=0)
    reach = (high - low).max() / 2
    return ((positions >= low - reach) & (positions <= high + reach)).all(axis=1)


def _contour(points: Array, normals: Array, *, signed: bool) -> Figure:
    """The points of a contour with arrows, or with lines if they have no sign."""
    points = points - points.mean(axis=0)
    low, high = points.min(axis=0), points.max(axis=0)
    length = 2 * (high - low).max() / ARROWS
    cells = np.floor((points - low) / (high - low).max() * ARROWS)
    some = np.unique(cells, axis=0, return_index=True)[1]
    low, high = low - 1.5 * length, high + 1.5 * length
    size = WIDTH / 100 * (high - low) / (high - low).max()
    figure = Figure(figsize=tuple(size), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.plot(*points.T, ".", color="0.45", markersize=4)
    axes.quiver(
        *points[some].T,
        *normals[some].T,
        units="dots",
        width=1.5,
        scale_units="xy",
        scale=1 / length,
        angles="xy",
        color=ARROW_COLOR,
        pivot="tail" if signed else "mid",
        headwidth=5 if signed else 0,
        headlength=6 if signed else 0,
        headaxislength=6 if signed else 0,
    )
    return figure
