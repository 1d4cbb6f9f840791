"""The loops of the graph over points and their neighbours, compiled; see ``graph`` for the arrays.

Every function fills the columns from ``start`` to ``stop`` of its last arguments.
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
    """The weights (p, n) of the nearest coarser points (p + 1, n); the last is where they end."""
    parents = len(weights)
    for i in range(start, stop):
        farthest, total = 0.0, 0.0
        for j in range(parents + 1):
            farthest = max(farthest, squared_distance(above, found[j, i], positions, i))
        for j in range(parents):
            share = squared_distance(above, found[j, i], positions, i) / farthest
            weights[j, i] = (1 - share + 1e-6) ** 2
            total += weights[j, i]
        for j in range(parents):
            weights[j, i] /= total


@compiled
def sample_farthest(
    points: Array,
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
        points: (n, 3).
        starts: (b + 1,) the first point of each block, and n.
        first: The first step; before step 0 all distances are infinite.
        last: One past the last step.
        start: See above; of blocks, which are rows of all that follow.
        stop: See above.
        nearest: (b, s) squared distance of each point from those taken; updated.
        order: (b, s) the points taken, counted within the block.
        reach: (b, s) the squared distance of each of them from those before it.
    """
    x, y, z = np.empty_like(nearest[0]), np.empty_like(nearest[0]), np.empty_like(nearest[0])
    for b in range(start, stop):
        count, near = starts[b + 1] - starts[b], nearest[b]
        for i in range(count):
            x[i], y[i], z[i] = points[starts[b] + i]
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
    k = len(neighbors)
    weight = np.empty(k)
    for s in range(start, stop):
        i, total = sampled[s], 0.0
        for j in range(k):
            weight[j] = envelope(
                squared_distance(positions, neighbors[j, i], positions, i), reach[i]
            )
            total += weight[j]
        for a in range(3):
            means[a, s] = spreads[a, s] = spreads[3 + a, s] = 0.0
        for j in range(k):
            weight[j] /= total
            for a in range(3):
                means[a, s] += weight[j] * means_below[a, neighbors[j, i]]
        for j in range(k):
            below = neighbors[j, i]
            x = means_below[0, below] - means[0, s]
            y = means_below[1, below] - means[1, s]
            z = means_below[2, below] - means[2, s]
            spreads[0, s] += weight[j] * (spreads_below[0, below] + x * x)
            spreads[1, s] += weight[j] * (spreads_below[1, below] + y * y)
            spreads[2, s] += weight[j] * (spreads_below[2, below] + z * z)
            spreads[3, s] += weight[j] * (spreads_below[3, below] + x * y)
            spreads[4, s] += weight[j] * (spreads_below[4, below] + x * z)
            spreads[5, s] += weight[j] * (spreads_below[5, below] + y * z)


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
    """Frames (3, 3, n) and moments (21, n) of neighbourhoods.

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
    k = len(neighbors)
    offset, weight = np.empty((k, 3)), np.empty(k)
    frame, matrix, vectors = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for i in range(start, stop):
        total = 0.0
        for j in range(k):
            for a in range(3):
                offset[j, a] = (positions[a, neighbors[j, i]] - positions[a, i]) / radius
            weight[j] = envelope(
                squared_distance(positions, neighbors[j, i], positions, i), reach[i]
            )
            total += weight[j]
        for j in range(k):
            weight[j] /= total
        _frame(offset, weight, axes, tie_break, matrix, vectors, frame)
        for a in range(3):
            moments[a, i] = math.sqrt(max(matrix[a, a], 0.0))
            for b in range(3):
                frames[a, b, i] = frame[a, b]
        _see(near_means, near_spreads, positions, radius, frame, 3, i, moments)
        _see(far_means, far_spreads, positions, radius, frame, 12, i, moments)


@compiled
def _see(
    means: Array,
    spreads: Array,
    positions: Array,
    radius: float,
    frame: Array,
    at: int,
    i: int,
    moments: Real,
) -> None:
    """Fills in nine moments of a wider neighbourhood of a point, seen in its frame."""
    shift, spread = np.empty(3), np.empty(6)
    matrix, half = np.empty((3, 3)), np.empty((3, 3))
    for a in range(3):
        shift[a] = (means[a, i] - positions[a, i]) / radius
    trace = spreads[0, i] + spreads[1, i] + spreads[2, i] + 1e-12 * radius * radius
    for c in range(6):
        spread[c] = spreads[c, i] / trace
    _fill(matrix, spread)
    for a in range(3):
        moments[at + a, i] = _dot(frame[a], shift)
        for b in range(3):
            half[a, b] = _dot(frame[a], matrix[b])
    for a in range(3):
        moments[at + 3 + a, i] = _dot(half[a], frame[a])
    moments[at + 6, i] = _dot(half[0], frame[1])
    moments[at + 7, i] = _dot(half[0], frame[2])
    moments[at + 8, i] = _dot(half[1], frame[2])


@compiled
def _frame(
    offset: Array,
    weight: Array,
    axes: Array,
    tie_break: float,
    matrix: Array,
    vectors: Array,
    frame: Array,
) -> None:
    """Fills in the frame of a neighbourhood, and a diagonal matrix with its moments, ascending.

    Args:
        offset: (k, 3) of the neighbours.
        weight: (k,) summing to one.
        axes: (3, 3) canonical axes, as rows.
        tie_break: The weight of these.
        matrix: (3, 3) whose diagonal becomes the eigenvalues of the covariance, of sum one.
        vectors: (3, 3) room for the eigenvectors, as columns.
        frame: (3, 3) rows are axes.
    """
    mean, normal, first, second = np.zeros(3), np.empty(3), np.zeros(3), np.zeros(3)
    spread = np.zeros(6)
    for j in range(len(weight)):
        for a in range(3):
            mean[a] += weight[j] * offset[j, a]
            second[a] += weight[j] * weight[j] * offset[j, a]
    for j in range(len(weight)):
        x, y, z = offset[j, 0] - mean[0], offset[j, 1] - mean[1], offset[j, 2] - mean[2]
        spread[0] += weight[j] * x * x
        spread[1] += weight[j] * y * y
        spread[2] += weight[j] * z * z
        spread[3] += weight[j] * x * y
        spread[4] += weight[j] * x * z
        spread[5] += weight[j] * y * z
    trace = spread[0] + spread[1] + spread[2]
    for c in range(6):
        spread[c] /= trace
    _fill(matrix, spread)
    for a in range(3):
        first[a] = mean[a] + tie_break * (axes[0, a] + 0.6 * axes[1, a] + 0.3 * axes[2, a])
        second[a] += tie_break * (-0.5 * axes[0, a] + axes[1, a] + 0.4 * axes[2, a])
        for b in range(3):
            for c in range(3):
                matrix[a, b] += tie_break * (c + 1) * axes[c, a] * axes[c, b]
    _diagonalize(matrix, vectors)
    low, middle, high = _ascending(matrix)
    values = matrix[low, low], matrix[middle, middle], matrix[high, high]
    for a in range(3):
        matrix[a, a] = values[a]
        normal[a] = vectors[a, low]
    _unit_in_plane(first, normal)
    _unit_in_plane(first, normal)  # twice: cancellation
    for a in range(3):
        frame[0, a], frame[1, a] = first[a], _cross(normal, first, a)
    if _dot(frame[1], second) < 0:
        for a in range(3):
            frame[1, a] = -frame[1, a]
    for a in range(3):
        frame[2, a] = _cross(frame[0], frame[1], a)


@compiled
def _fill(matrix: Array, spread: Array) -> None:
    """Fills a symmetric matrix (3, 3) from xx, yy, zz, xy, xz, yz."""
    for a in range(3):
        matrix[a, a] = spread[a]
    matrix[0, 1] = matrix[1, 0] = spread[3]
    matrix[0, 2] = matrix[2, 0] = spread[4]
    matrix[1, 2] = matrix[2, 1] = spread[5]


@compiled
def _dot(a: Array, b: Array) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _cross(a: Array, b: Array, axis: int) -> float:
    """A component of the cross product."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    return a[one] * b[other] - a[other] * b[one]


@compiled
def _unit_in_plane(vector: Array, normal: Array) -> None:
    """Makes a vector a unit vector at right angles to another."""
    along = _dot(vector, normal)
    for a in range(3):
        vector[a] -= along * normal[a]
    length = math.sqrt(_dot(vector, vector))
    for a in range(3):
        vector[a] /= length


@compiled
def _diagonalize(matrix: Array, vectors: Array) -> None:
    """Makes a symmetric matrix (3, 3) diagonal; the columns of vectors become its eigenvectors.

    Cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, section 8.5).
    """
    for a in range(3):
        for b in range(3):
            vectors[a, b] = 1.0 if a == b else 0.0
    size = abs(matrix[0, 0]) + abs(matrix[1, 1]) + abs(matrix[2, 2])
    for _ in range(_SWEEPS):
        if abs(matrix[0, 1]) + abs(matrix[0, 2]) + abs(matrix[1, 2]) < 1e-18 * size:
            break
        for p, q in ((0, 1), (0, 2), (1, 2)):
            if matrix[p, q] == 0.0:
                continue
            slope = (matrix[q, q] - matrix[p, p]) / (2 * matrix[p, q])
            t = 1 / (abs(slope) + math.sqrt(slope * slope + 1))
            if slope < 0:
                t = -t
            c = 1 / math.sqrt(t * t + 1)
            s = t * c
            r = 3 - p - q
            change, to_p, to_q = t * matrix[p, q], matrix[r, p], matrix[r, q]
            matrix[p, p] -= change
            matrix[q, q] += change
            matrix[p, q] = matrix[q, p] = 0.0
            matrix[r, p] = matrix[p, r] = c * to_p - s * to_q
            matrix[r, q] = matrix[q, r] = s * to_p + c * to_q
            for a in range(3):
                of_p, of_q = vectors[a, p], vectors[a, q]
                vectors[a, p], vectors[a, q] = c * of_p - s * of_q, s * of_p + c * of_q


@compiled
def _ascending(matrix: Array) -> tuple[int, int, int]:
    """The rows of a diagonal matrix from the least entry to the greatest."""
    low, middle, high = 0, 1, 2
    if matrix[middle, middle] < matrix[low, low]:
        low, middle = middle, low
    if matrix[high, high] < matrix[middle, middle]:
        middle, high = high, middle
    if matrix[middle, middle] < matrix[low, low]:
        low, middle = middle, low
    return low, middle, high
