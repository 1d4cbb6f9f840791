"""Small pictures of evaluated clouds, coloured by normal and by error."""

from io import BytesIO
from typing import NamedTuple

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from .evaluation import Answers
from .metrics import angle_deg
from .splatting import STONE, Colors, Image, painted_images

Array = NDArray[np.float64]

WIDEST, NARROWEST = 240, 80
"""Pixels along a side of a picture; how many there are decides."""
PIXELS = 60_000_000
"""Of all pictures of a page together, where they are not the narrowest."""
DRAWN = 20_000
"""Points of a cloud that are drawn, chosen at random."""
QUALITY = 80
"""Of JPEG, up to 95."""
ERRORS = ((0, STONE), (10, (150, 190, 220)), (30, (50, 100, 190)), (90, (15, 25, 80)))
"""Colours of errors in degrees, with the right side; linear between them."""
WRONG_SIDE = (205, 22, 32)
UNKNOWN = (140, 140, 140)
"""Where there is no normal, or no true one."""


class CloudPictures(NamedTuple):
    """JPEG pictures of a cloud, all from the same side."""

    truth: bytes
    """Coloured by the true normals."""
    normals: dict[str, bytes]
    """Coloured by the normals of each estimator."""
    errors: dict[str, bytes]
    """Coloured by its oriented errors."""


def side_for(count: int) -> int:
    """Pixels along the side of a picture on a page with so many of them."""
    return int(np.clip(np.sqrt(PIXELS / max(count, 1)), NARROWEST, WIDEST))


def cloud_pictures(answers: Answers, side: int) -> CloudPictures:
    """The pictures of a cloud, each side by side pixels at most.

    The surface is drawn by its true normals in all of them.

    Raises:
        CloudError: If too few points have a true normal.
    """
    points, truth, _ = answers.truth
    rows = np.flatnonzero(np.isfinite(points).all(axis=1) & _directed(truth))
    if len(rows) > DRAWN:
        rows = np.random.default_rng(0).choice(rows, DRAWN, replace=False)
    true = truth[rows] / np.linalg.norm(truth[rows], axis=1, keepdims=True)
    names = list(answers.normals)
    found = [answers.normals[name][rows] for name in names]
    colorings = [*map(normal_colors, [true, *found]), *(error_colors(one, true) for one in found)]
    images = painted_images(points[rows], true, colorings, width=side, height=side)
    first, *rest = map(_jpeg, images)
    half = len(names)
    return CloudPictures(
        first,
        dict(zip(names, rest[:half], strict=True)),
        dict(zip(names, rest[half:], strict=True)),
    )


def normal_colors(normals: Array) -> Colors:
    """Red, green and blue as x, y and z: -1 is 0, 1 is 255; grey without a direction."""
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        colors = np.round(127.5 * (normals / lengths + 1))
    return np.where(_directed(normals)[:, None], colors, UNKNOWN).astype(np.uint8)


def error_colors(predicted: Array, truth: Array) -> Colors:
    """The colours of oriented errors, see ``ERRORS``; grey without a direction."""
    colors = np.full(truth.shape, UNKNOWN, np.uint8)
    known = _directed(predicted)
    angles = angle_deg(predicted[known], truth[known])
    at, stops = [angle for angle, _ in ERRORS], np.array([color for _, color in ERRORS])
    shades = np.column_stack([np.interp(angles, at, channel) for channel in stops.T])
    colors[known] = np.round(np.where(angles[:, None] > 90, WRONG_SIDE, shades))
    return colors


def _directed(normals: Array) -> NDArray[np.bool_]:
    """Which normals (n, 3) have a direction."""
    return np.isfinite(normals).all(axis=1) & (np.abs(normals).max(axis=1) > 0)


def _jpeg(image: Image) -> bytes:
    stream = BytesIO()
    imsave(stream, image, format="jpeg", pil_kwargs={"quality": QUALITY, "optimize": True})
    return stream.getvalue()
