"""Organised clouds: whether one is a picture that was taken from the origin."""

import numpy as np

from .geometry import Array

ENOUGH = 30
"""Jumps in depth that it takes to tell."""
MOST = 0.9
"""Share of the jumps that must fit."""
JUMP = 4.0
"""Widths of a pixel, at its distance, by which the depth jumps where the lines of sight tell."""
EVEN = 0.25
"""Two steps of the lines of sight may differ by this share of a step."""
CLEAR = 0.1
"""Angle between the lines of sight from the origin and from the sensor, relative to the spread of
those from the origin: parallel lines of sight are ten times further off."""


def seen_from_origin(points: Array, width: int) -> bool:
    """Whether the pixels of an organised cloud are the lines of sight of a sensor at the origin.

    From pixel to pixel the direction of a sensor's sight goes on in even steps, however the depth
    jumps. For an eye at another place a jump in depth is a jump in direction as well, the larger
    the further apart the two see the point. So wherever the depth jumps by some widths of a
    pixel, the directions to its two neighbours tell. Without such jumps, as on a smooth surface
    without noise, nothing tells and the answer is no.

    Args:
        points: (n, 3), row after row; those at the origin or not finite are holes.
        width: Points of a row.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.linalg.norm(points, axis=1)
        distance[~((distance > 0) & (distance < np.inf))] = np.nan
        sight, depth = points / distance[:, None], np.log(distance)
        pixels = sight[np.isfinite(distance)]
        if not len(pixels):
            return False
        spread = np.sqrt(max(0.0, 1 - (pixels.mean(0) ** 2).sum()))
        rows, depths = sight.reshape(-1, width, 3), depth.reshape(-1, width)
        return _goes_on(rows, depths, spread) or _goes_on(
            rows.swapaxes(0, 1), depths.swapaxes(0, 1), spread
        )


def _goes_on(sight: Array, depth: Array, spread: float) -> bool:
    """Whether the sight goes on evenly along the first axis where the depth jumps.

    Args:
        sight: (h, w, 3) unit vectors, NaN in holes.
        depth: (h, w) logarithm of the distance.
        spread: Of the unit vectors, 0 to 1.
    """
    here = sight[1:-1]
    bend = sight[2:] - 2 * here + sight[:-2]
    bend -= (bend * here).sum(2, keepdims=True) * here
    uneven = np.linalg.norm(bend, axis=2)
    step = np.linalg.norm(sight[2:] - sight[:-2], axis=2) / 2
    jump = np.abs(depth[2:] - 2 * depth[1:-1] + depth[:-2])
    telling = jump > JUMP * step
    fitting = telling & (uneven < EVEN * step) & (uneven < CLEAR * spread * jump)
    return bool(telling.sum() >= ENOUGH and fitting.sum() >= MOST * telling.sum())
