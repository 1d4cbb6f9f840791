"""Pure geometry in float64: normalising a cloud, its canonical pose, principal axes."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def pose(points: Array | Tensor) -> Pose:
    """The canonical pose of a cloud: it follows every rotation, reflection and translation.

    The axes are those of the covariance; their signs make the third moment along each positive.
    Where two extents agree, or a third moment vanishes, to within ``SYMMETRY_TOLERANCE``, the
    cloud has (nearly) a symmetry and no rule can choose: ``symmetric`` is set. An axis along
    which the cloud is flat needs no sign.

    Args:
        points: (n, 3) finite float64 coordinates, whose squares are float64 numbers, too.
    """
    given = torch.as_tensor(points)
    count, parts = len(given), [given[rows] for rows in pieces(len(given))]
    centre = _sum(part.sum(0) for part in parts) / count
    middle = _sum((part - centre).sum(0) for part in parts) / count

    def centred(part: Tensor) -> Tensor:
        return part.sub(centre).sub_(middle)  # twice: a far origin rounds the first

    seen = [(h.norm(dim=1), h.abs().max(), h.T @ h) for h in map(centred, parts)]
    distances, scales, spreads = zip(*seen, strict=True)
    distance = torch.cat(distances)
    away = distance[distance > FLAT_TOLERANCE * distance.max()]
    size = _median(away) if len(away) else 0.0
    scale, spread = float(max(scales)) or 1.0, _sum(spreads).cpu().numpy()
    values, vectors = np.linalg.eigh(spread / scale**2 / count)
    values, axes = np.maximum(values[::-1], 0.0), vectors.T[::-1].copy()
    extent = np.sqrt(values)
    flat = extent <= FLAT_TOLERANCE * extent[0]

    def cubes(part: Tensor) -> Tensor:
        along = centred(part) @ torch.from_numpy(axes.T / scale).to(part)
        cube = along * along * along  # a power is computed by logarithms
        return torch.stack([cube.sum(0), cube.abs().sum(0)])

    signed, absolute = _sum(map(cubes, parts)).cpu().numpy()
    skewness = signed / np.maximum(absolute, np.finfo(float).tiny)
    axes = axes * np.where(skewness < 0, -1.0, 1.0)[:, None]
    gap = (values[:-1] - values[1:]) / max(values[0], np.finfo(float).tiny)
    undecided_sign = ~flat & (np.abs(skewness) < SYMMETRY_TOLERANCE)
    undecided_axis = ~flat[:-1] & (gap < SYMMETRY_TOLERANCE)
    symmetric = bool(undecided_sign.any() or undecided_axis.any())
    return Pose(centre.cpu().numpy(), size, axes, extent * scale, symmetric)


def _median(values: Tensor) -> float:
    """The middle value or the mean of the two, found where the values are."""
    if values.device.type == "cpu":
        return float(np.median(values.numpy()))
    half = len(values) // 2
    return float(values.sort().values[half - 1 + len(values) % 2 : half + 1].mean())


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)
