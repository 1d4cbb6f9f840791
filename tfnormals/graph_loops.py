"""The loops of the graph over points and their neighbours, compiled; see ``graph`` for the arrays.

Every function fills what its last arguments tell of the points from ``start`` to ``stop``.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Array
from .tensorframes.edge_loops import envelope, squared_distance
from .tensorframes.loops import compiled

Nearest = NDArray[np.int32]
Rows = NDArray[np.int64]
Real = NDArray[np.floating[Any]]
Triple = tuple[float, float, float]
Spread = tuple[float, float, float, float, float, float]
"""A symmetric matrix: xx, yy, zz, xy, xz, yz."""

_NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_EQUALLY_FAR = 1e-12
"""Weight of a parent as far as where they end, beside one at the child."""
_SWEEPS = 12
"""Of Jacobi's method at most; a matrix of three rows needs about five."""


@compiled
def measure_reach(positions: Array, found: Nearest, start: int, stop: int, reach: Array) -> None:
    """The squared distance (n,) of the farthest of the found points (k, n)."""
    for i in range(start, stop):
        farthest = 0.0
        for j in range(len(found)):
            farthest = max(farthest, squared_distance(positions, found[j, i], positions, i))
        reach[i] = farthest


@compiled
def weigh_parents(
    above: Array, positions: Array, found: Nearest, start: int, stop: int, weights: Array
) -> None:
    """The weights (p, n) of the nearest coarser points (p + 1, n); the last is where they end.

    Where all are equally far, as in a lattice, the gaps are mere rounding and must not be told.
    """
    parents = len(weights)
    for i in range(start, stop):
        farthest, total = 0.0, 0.0
        for j in range(parents + 1):
            farthest = max(farthest, squared_distance(above, found[j, i], positions, i))
        for j in range(parents):
            share = squared_distance(above, found[j, i], positions, i) / farthest
            weights[j, i] = (1 - share) ** 2 + _EQUALLY_FAR
            total += weights[j, i]
        for j in range(parents):
            weights[j, i] /= total


@compiled
def sample_farthest(
    points: NDArray[np.float32],
    starts: Rows,
    first: int,
    last: int,
    start: int,
    stop: int,
    nearest: NDArray[np.float32],
    order: NDArray[np.int16],
    reach: NDArray[np.float32],
) -> None:
    """Steps of farthest point sampling, in each block of points on its own.

    Args:
        points: (3, n).
        starts: (b + 1,) the first point of each block, and n.
        first: The first step; before step 0 all distances are infinite.
        last: One past the last step.
        start: See above; of blocks, which are rows of all that follow.
        stop: See above.
        nearest: (b, s) squared distance of each point from those taken; updated.
        order: (b, s) the points taken, counted within the block.
        reach: (b, s) the squared distance of each of them from those before it.
    """
    for b in range(start, stop):
        x, y, z = (
            points[0, starts[b] : starts[b + 1]],
            points[1, starts[b] : starts[b + 1]],
            points[2, starts[b] : starts[b + 1]],
        )
        count, near = len(x), nearest[b]
        for i in range(count, len(near)):
            near[i] = 0  # a shorter block
        for step in range(first, min(last, count)):
            taken, farthest = 0, near.dtype.type(-1)
            for i in range(count):
                ranked = near[i] if step else x[i] * x[i] + y[i] * y[i] + z[i] * z[i]
                farthest = max(farthest, ranked)
            for i in range(count):
                ranked = near[i] if step else x[i] * x[i] + y[i] * y[i] + z[i] * z[i]
                if ranked >= farthest:
                    taken = i
                    break
            order[b, step], reach[b, step] = taken, near[taken]
            u, v, w = x[taken], y[taken], z[taken]
            for i in range(count):
                squared = (x[i] - u) ** 2 + (y[i] - v) ** 2 + (z[i] - w) ** 2
                near[i] = min(near[i], squared)


@compiled
def pool_gaussians(
    positions: Array,
    neighbors: Nearest,
    reach: Array,
    sampled: Rows,
    means_below: Array,
    spreads_below: Array,
    start: int,
    stop: int,
    means: Array,
    spreads: Array,
) -> None:
    """Means (3, m) and covariances (6, m) of the mixtures of the neighbours of sampled points."""
    for s in range(start, stop):
        i, total, mean = sampled[s], 0.0, (0.0, 0.0, 0.0)
        for j in range(len(neighbors)):
            row = neighbors[j, i]
            weight = envelope(squared_distance(positions, row, positions, i), reach[i])
            total += weight
            mean = _sum(mean, weight, _column(means_below, row))
        mean, spread = _times(1 / total, mean), _NOTHING
        for j in range(len(neighbors)):
            row = neighbors[j, i]
            weight = envelope(squared_distance(positions, row, positions, i), reach[i]) / total
            apart = _square(_sum(_column(means_below, row), -1.0, mean))
            spread = _plus(_plus(spread, weight, apart), weight, _packed(spreads_below, row))
        for a in range(3):
            means[a, s] = mean[a]
        for c in range(6):
            spreads[c, s] = spread[c]


@compiled
def carry(
    values: Array, parents: Nearest, weights: Array, start: int, stop: int, carried: Array
) -> None:
    """The values (c, n) of the parents (c, m), averaged at each child."""
    for i in range(start, stop):
        for c in range(len(values)):
            total = 0.0
            for j in range(len(parents)):
                total += weights[j, i] * values[c, parents[j, i]]
            carried[c, i] = total


@compiled
def describe(
    positions: Array,
    neighbors: Nearest,
    reach: Array,
    radius: float,
    axes: Array,
    tie_break: float,
    near_means: Array,
    near_spreads: Array,
    far_means: Array,
    far_spreads: Array,
    start: int,
    stop: int,
    frames: Real,
    moments: Real,
) -> None:
    """Frames (3, 3, n) and moments (n, 21) of neighbourhoods.

    The plane comes from the covariance; two vectors in the plane give the first axis and the
    sign of the second; the third is their cross product (DESIGN.md section 2, trap 1: exact on
    flat faces, where the side is undecided). The canonical axes decide where a symmetric
    neighbourhood, as on a grid, leaves a direction open.

    Args:
        positions: (3, n).
        neighbors: (k, n).
        reach: (n,) squared distance at which the envelope ends.
        radius: The unit of length.
        axes: (3, 3) canonical axes, as rows.
        tie_break: The weight of these.
        near_means: (3, n) of a wider neighbourhood.
        near_spreads: (6, n) its covariances.
        far_means: (3, n) of one wider still.
        far_spreads: (6, n) its covariances.
        start: The first point.
        stop: One past the last.
        frames: Rows are axes.
        moments: See ``graph.MOMENT_PARITY``.
    """
    across = _column(axes.T, 0), _column(axes.T, 1), _column(axes.T, 2)
    for i in range(start, stop):
        mean, second, spread = _measure(positions, neighbors, reach, radius, i)
        for a in range(3):
            spread = _plus(spread, tie_break * (a + 1), _square(across[a]))
        values, normal = _plane(spread)
        for a in range(3):
            mean = _sum(mean, tie_break * (1.0, 0.6, 0.3)[a], across[a])
            second = _sum(second, tie_break * (-0.5, 1.0, 0.4)[a], across[a])
        first = _in_plane(_in_plane(mean, normal), normal)  # twice: cancellation
        beside = _cross(normal, first)
        if _dot(beside, second) < 0:
            beside = _times(-1.0, beside)
        frame = first, beside, _cross(first, beside)
        for a in range(3):
            moments[i, a] = math.sqrt(max(values[a], 0.0))
            for b in range(3):
                frames[a, b, i] = frame[a][b]
        _see(near_means, near_spreads, positions, radius, frame, 3, i, moments)
        _see(far_means, far_spreads, positions, radius, frame, 12, i, moments)


@compiled
def _measure(
    positions: Array, neighbors: Nearest, reach: Array, radius: float, i: int
) -> tuple[Triple, Triple, Spread]:
    """The mean of a neighbourhood, one weighed twice, and its covariance of trace one."""
    total, mean, second = 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    for j in range(len(neighbors)):
        offset, weight = _neighbor(positions, neighbors, reach, radius, j, i)
        total += weight
        mean, second = _sum(mean, weight, offset), _sum(second, weight * weight, offset)
    mean = _times(1 / total, mean)
    spread = _NOTHING
    for j in range(len(neighbors)):
        offset, weight = _neighbor(positions, neighbors, reach, radius, j, i)
        spread = _plus(spread, weight, _square(_sum(offset, -1.0, mean)))
    trace = spread[0] + spread[1] + spread[2]
    return mean, _times(1 / (total * total), second), _plus(_NOTHING, 1 / trace, spread)


@compiled
def _neighbor(
    positions: Array, neighbors: Nearest, reach: Array, radius: float, j: int, i: int
) -> tuple[Triple, float]:
    """Where a neighbour is, in units of length, and its weight."""
    offset = _sum(_column(positions, neighbors[j, i]), -1.0, _column(positions, i))
    return _times(1 / radius, offset), envelope(_dot(offset, offset), reach[i])


@compiled
def _see(
    means: Array,
    spreads: Array,
    positions: Array,
    radius: float,
    frame: tuple[Triple, Triple, Triple],
    at: int,
    i: int,
    moments: Real,
) -> None:
    """Fills in nine moments of a wider neighbourhood of a point, seen in its frame."""
    trace = spreads[0, i] + spreads[1, i] + spreads[2, i] + 1e-12 * radius * radius
    spread = _plus(_NOTHING, 1 / trace, _packed(spreads, i))
    shift = _times(1 / radius, _sum(_column(means, i), -1.0, _column(positions, i)))
    for a in range(3):
        moments[i, at + a] = _dot(frame[a], shift)
        moments[i, at + 3 + a] = _dot(_applied(spread, frame[a]), frame[a])
    moments[i, at + 6] = _dot(_applied(spread, frame[0]), frame[1])
    moments[i, at + 7] = _dot(_applied(spread, frame[0]), frame[2])
    moments[i, at + 8] = _dot(_applied(spread, frame[1]), frame[2])


@compiled
def _column(vectors: Array, i: int) -> Triple:
    return vectors[0, i], vectors[1, i], vectors[2, i]


@compiled
def _packed(spreads: Array, i: int) -> Spread:
    """A column of (6, n)."""
    return (
        spreads[0, i],
        spreads[1, i],
        spreads[2, i],
        spreads[3, i],
        spreads[4, i],
        spreads[5, i],
    )


@compiled
def _sum(a: Triple, factor: float, b: Triple) -> Triple:
    """One vector plus so many times another."""
    return a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]


@compiled
def _times(factor: float, v: Triple) -> Triple:
    return factor * v[0], factor * v[1], factor * v[2]


@compiled
def _dot(a: Triple, b: Triple) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _cross(a: Triple, b: Triple) -> Triple:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


@compiled
def _in_plane(vector: Triple, normal: Triple) -> Triple:
    """The unit vector at right angles to a normal that is nearest to a vector."""
    vector = _sum(vector, -_dot(vector, normal), normal)
    return _times(1 / math.sqrt(_dot(vector, vector)), vector)


@compiled
def _square(v: Triple) -> Spread:
    """The product of a vector with itself."""
    return v[0] * v[0], v[1] * v[1], v[2] * v[2], v[0] * v[1], v[0] * v[2], v[1] * v[2]


@compiled
def _plus(spread: Spread, factor: float, other: Spread) -> Spread:
    """A symmetric matrix plus so many times another."""
    xx, yy, zz, xy, xz, yz = spread
    return (
        xx + factor * other[0],
        yy + factor * other[1],
        zz + factor * other[2],
        xy + factor * other[3],
        xz + factor * other[4],
        yz + factor * other[5],
    )


@compiled
def _applied(spread: Spread, v: Triple) -> Triple:
    """A symmetric matrix times a vector."""
    xx, yy, zz, xy, xz, yz = spread
    return (
        xx * v[0] + xy * v[1] + xz * v[2],
        xy * v[0] + yy * v[1] + yz * v[2],
        xz * v[0] + yz * v[1] + zz * v[2],
    )


@compiled
def _plane(spread: Spread) -> tuple[Triple, Triple]:
    """The eigenvalues of a symmetric matrix, ascending, and the eigenvector of the least.

    Cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, section 8.5).
    """
    xx, yy, zz, xy, xz, yz = spread
    u, v, w = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    size = abs(xx) + abs(yy) + abs(zz)
    for _ in range(_SWEEPS):
        if abs(xy) + abs(xz) + abs(yz) < 1e-18 * size:
            break
        xx, yy, xz, yz, u, v = _rotated(xx, yy, xy, xz, yz, u, v)
        xx, zz, xy, yz, u, w = _rotated(xx, zz, xz, 0.0, yz, u, w)
        yy, zz, xy, xz, v, w = _rotated(yy, zz, yz, xy, 0.0, v, w)
        yz = 0.0
    if yy < xx:
        xx, yy, u, v = yy, xx, v, u
    if zz < yy:
        yy, zz, v = zz, yy, w
    if yy < xx:
        xx, yy, u = yy, xx, v
    return (xx, yy, zz), u


@compiled
def _rotated(
    pp: float, qq: float, pq: float, rp: float, rq: float, p: Triple, q: Triple
) -> tuple[float, float, float, float, Triple, Triple]:
    """What a rotation in the plane of two axes leaves, pq having become zero.

    Args:
        pp: The entries of both axes on the diagonal.
        qq: See above.
        pq: That of both.
        rp: Those that they share with the third axis.
        rq: See above.
        p: The axes themselves.
        q: See above.
    """
    if pq == 0.0:
        return pp, qq, rp, rq, p, q
    slope = (qq - pp) / (2 * pq)
    t = 1 / (abs(slope) + math.sqrt(slope * slope + 1))
    if slope < 0:
        t = -t
    c = 1 / math.sqrt(t * t + 1)
    s = t * c
    new_p, new_q = _sum(_times(c, p), -s, q), _sum(_times(s, p), c, q)
    return pp - t * pq, qq + t * pq, c * rp - s * rq, s * rp + c * rq, new_p, new_q
