"""Pure geometry in float64: normalising a cloud, its canonical pose, principal axes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .storage import pieces

Array = NDArray[np.float64]

SYMMETRY_TOLERANCE = 1e-6
"""Relative eigenvalue gap or skewness below which a pose counts as undecided."""

FLAT = 1e-6
"""Extent, relative to the largest, up to which a cloud is a plane or a line."""

FLAT_TOLERANCE = 1e-9
"""Extent, relative to the largest, below which a cloud counts as flat along an axis."""


class Pose(NamedTuple):
    """Where a cloud sits: a centre, a size and axes that turn with the cloud."""

    centre: Array
    """(3,) mean of the points."""
    size: float
    """Median distance from the centre of the points that are not there; 0 if all are."""
    axes: Array
    """(3, 3) rows are the principal axes, largest extent first."""
    extent: Array
    """(3,) root mean square extent along each axis."""
    symmetric: bool
    """True when a symmetry of the cloud leaves the axes undecided."""

    @property
    def dimensions(self) -> int:
        """Of the cloud: 3, 2 if all points lie on one plane, 1 on one line, 0 if all are equal.

        Up to ``FLAT``, which the rounding of float32 files stays below.
        """
        return int((self.extent > FLAT * self.extent[0]).sum())


def power_of_two(points: Array) -> float:
    """A unit of length about as large as the largest coordinate; division by it is exact."""
    return float(np.ldexp(1.0, np.frexp(max(points.max(), -points.min()))[1] - 1))


def pose(points: Array) -> Pose:
    """The canonical pose of a cloud: it follows every rotation, reflection and translation.

    The axes are those of the covariance; their signs make the third moment along each positive.
    Where two extents agree, or a third moment vanishes, to within ``SYMMETRY_TOLERANCE``, the
    cloud has (nearly) a symmetry and no rule can choose: ``symmetric`` is set. An axis along
    which the cloud is flat needs no sign.

    Args:
        points: (n, 3) finite coordinates, whose squares are float64 numbers, too.
    """
    centre, count, scale = _of_axes(np.mean, points), len(points), 0.0
    middle = _total(lambda some: _of_axes(np.sum, some - centre), points) / count

    def centred(some: Array) -> Array:
        here: Array = some - centre
        here -= middle  # twice: a far origin rounds the first
        return here

    distance, spread = np.empty(count), np.zeros((3, 3))
    for part in pieces(count):
        here = centred(points[part])
        spread += here.T @ here
        distance[part] = np.sqrt(np.einsum("ij,ij->i", here, here))
        scale = max(scale, float(np.abs(here).max()))
    scale = scale or 1.0
    away = distance[distance > FLAT_TOLERANCE * distance.max()]
    size = float(np.median(away)) if len(away) else 0.0
    values, vectors = np.linalg.eigh(spread / scale**2 / count)
    values, axes = np.maximum(values[::-1], 0.0), vectors.T[::-1]
    extent = np.sqrt(values)
    flat = extent <= FLAT_TOLERANCE * extent[0]

    def cubes(some: Array) -> Array:
        along = centred(some) @ axes.T / scale
        cube = along * along * along  # a power is computed by logarithms
        return np.stack([_of_axes(np.sum, some) for some in (cube, np.abs(cube))])

    signed, absolute = _total(cubes, points)
    skewness = signed / np.maximum(absolute, np.finfo(float).tiny)
    axes = axes * np.where(skewness < 0, -1.0, 1.0)[:, None]
    gap = (values[:-1] - values[1:]) / max(values[0], np.finfo(float).tiny)
    undecided_sign = ~flat & (np.abs(skewness) < SYMMETRY_TOLERANCE)
    undecided_axis = ~flat[:-1] & (gap < SYMMETRY_TOLERANCE)
    symmetric = bool(undecided_sign.any() or undecided_axis.any())
    return Pose(centre, size, np.ascontiguousarray(axes), extent * scale, symmetric)


def _of_axes(function: Callable[[Array], np.float64], points: Array) -> Array:
    """What a function says of each axis, (n, 3) to (3,); numpy is ten times slower over rows."""
    return np.array([function(axis) for axis in points.T])


def _total(function: Callable[[Array], Array], points: Array) -> Array:
    """The sum of what a function says of pieces of the points."""
    return np.sum([function(points[part]) for part in pieces(len(points))], axis=0)
