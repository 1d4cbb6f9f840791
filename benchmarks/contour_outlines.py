"""Closed outlines with known outward normals: polygons, blobs, gears, compounds, letters."""

from functools import partial
from typing import NamedTuple

import numpy as np
from manifold3d import CrossSection, FillRule, JoinType
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator

LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZabdeghkmnpqrstwxy0123456789&@$%#?"


class Contour(NamedTuple):
    """Points and the true outward normals there."""

    points: Array
    """(n, 2)"""
    normals: Array
    """(n, 2)"""


def outline(rng: Rng) -> CrossSection:
    """A random shape for training, of size about one."""
    kind = rng.integers(4)
    if kind == 3:
        return _compound(rng)
    return _simple(rng, kind)


def letter(rng: Rng) -> CrossSection:
    """A random character; never trained on."""
    font = FontProperties(
        family=str(rng.choice(["DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono"])),
        weight=str(rng.choice(["normal", "bold"])),
    )
    path = TextPath((0, 0), str(rng.choice(list(LETTERS))), size=1, prop=font)
    loops = [loop[:-1] for loop in path.to_polygons()]
    return CrossSection(loops, FillRule.NonZero)


def spiral(rng: Rng) -> CrossSection:
    """A band wound up one to two and a half times; never trained on."""
    turns = rng.uniform(1, 2.5)
    angle = np.linspace(0, 2 * np.pi * turns, 400)
    middle = 0.2 + angle / (2 * np.pi)
    width = rng.uniform(0.15, 0.3)
    ray = np.stack([np.cos(angle), np.sin(angle)], 1)
    inner, outer = (ray * (middle + side)[:, None] for side in (-width, width))
    return CrossSection([np.concatenate([outer, inner[::-1]])], FillRule.EvenOdd)


def sampled(shape: CrossSection, count: int, noise: float, rng: Rng) -> Contour:
    """Points on an outline, randomly turned.

    Args:
        shape: The shape.
        count: Number of points.
        noise: Standard deviation relative to the diagonal of the bounding box.
        rng: Decides how even the points are, too.
    """
    loops = [np.asarray(loop, float) for loop in shape.to_polygons()]
    start = np.concatenate(loops)
    along = np.concatenate([np.roll(loop, -1, axis=0) for loop in loops]) - start
    length = np.linalg.norm(along, axis=1)
    jitter = rng.choice([0.0, 0.5, 1.0, 20.0])  # from even to random
    place = np.arange(count) + rng.uniform(-0.5, 0.5, count) * jitter
    place = (place + rng.random()) % count / count * length.sum()
    row = np.searchsorted(np.cumsum(length), place, side="right").clip(max=len(length) - 1)
    share = (place - (np.cumsum(length) - length)[row]) / length[row]
    points = start[row] + share[:, None] * along[row]
    normals = np.stack([along[:, 1], -along[:, 0]], 1)[row] / length[row, None]
    diagonal = np.linalg.norm(np.ptp(start, axis=0))
    points = points + noise * diagonal * rng.normal(size=points.shape)
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    return Contour(points @ turn, normals @ turn)


def _simple(rng: Rng, kind: int) -> CrossSection:
    loop = (_polygon, _blob, _gear)[kind](rng)
    stretch = np.diag([1.0, rng.uniform(0.3, 1.0)])
    return CrossSection([loop @ stretch], FillRule.NonZero)


def _polygon(rng: Rng) -> Array:
    corners = rng.integers(3, 16)
    angles = np.sort(2 * np.pi * (np.arange(corners) + 0.8 * rng.random(corners)) / corners)
    return _polar(angles, rng.uniform(rng.uniform(0.2, 0.9), 1.0, corners))


def _blob(rng: Rng) -> Array:
    angles = 2 * np.pi * np.arange(400) / 400
    waves = np.arange(1, rng.integers(2, 9))
    height = rng.normal(size=len(waves)) / waves**0.5
    radius = np.cos(np.outer(angles, waves) + rng.uniform(0, 6.3, len(waves))) @ height
    radius = radius / max(np.abs(radius).max(), 1e-9)
    return _polar(angles, 1 + rng.uniform(0.1, 0.75) * radius)


def _gear(rng: Rng) -> Array:
    teeth = rng.integers(4, 25)
    depth, slope = rng.uniform(0.08, 0.4), rng.uniform(0.0, 0.2)
    steps = np.array([slope / 2, 0.5 - slope / 2, 0.5 + slope / 2, 1 - slope / 2])
    angles = 2 * np.pi * (np.arange(teeth)[:, None] + steps).ravel() / teeth
    return _polar(angles, np.tile([1.0, 1.0, 1 - depth, 1 - depth], teeth))


def _compound(rng: Rng) -> CrossSection:
    """Two to five shapes added or cut out, corners sometimes rounded; never empty."""
    shape = _part(rng)
    for _ in range(rng.integers(1, 5)):
        other = _part(rng).scale((s := rng.uniform(0.25, 1.0), s))
        other = other.translate(tuple(rng.uniform(-0.9, 0.9, 2)))
        changed = shape + other if rng.random() < 0.45 else shape - other
        shape = shape if changed.area() < 0.1 else changed
    if rng.random() < 0.3:
        shape = shape.offset(rng.uniform(0.01, 0.08), JoinType.Round, 2.0, 48)
    return shape


def _part(rng: Rng) -> CrossSection:
    kind = rng.integers(5)
    if kind < 3:
        return _simple(rng, kind)
    if kind == 3:
        return CrossSection.circle(rng.uniform(0.4, 1.0), 96)
    size = rng.uniform([0.8, 0.15], [2.2, 1.0])
    turn = rng.choice([0.0, 90.0, rng.uniform(0, 180)])
    return CrossSection.square(tuple(size), True).rotate(turn)


def _polar(angles: Array, radius: Array) -> Array:
    return radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


FAMILIES = {
    "polygons": partial(_simple, kind=0),
    "blobs": partial(_simple, kind=1),
    "gears": partial(_simple, kind=2),
    "compounds": _compound,
    "letters": letter,
    "spirals": spiral,
}
"""Shapes by family; the last two are never trained on."""
