"""The multi-resolution graph of a cloud: neighbours, farthest points, frames, local moments.

Every discrete decision (who is a neighbour, which points are kept) is made on coordinates in the
cloud's canonical pose, rounded far below the spacing of the points. Turned, mirrored, moved or
reordered copies of a cloud therefore make bit-identical decisions, ties included.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from .errors import CloudError
from .geometry import Array, Pose, morton_order, pose

Rows = NDArray[np.int64]
Nearest = NDArray[np.int32]
"""Rows of so many neighbours that their size counts."""

NEIGHBORS = 16
"""Neighbours of a point, itself included."""
PARENTS = 3
"""Points of the next coarser level from which features are interpolated."""
RATIO = 4
"""Points of a level for each point of the next."""
LEVELS = 6
OVERVIEW = 16_384
"""Points from which the whole shape is looked at a second time, at most."""
SMALLEST_LEVEL = NEIGHBORS + 1
MIN_POINTS = NEIGHBORS + 1
"""Distinct positions a cloud must have."""

_TIE_BREAK = 1e-4
"""Weight of the canonical axes in frames that the neighbourhood leaves undecided."""
_ROUNDING = 2.0**-16
"""Rounding step of the canonical coordinates, relative to the typical spacing."""
_CHUNK = 4096
_SEARCH = 65_536
"""Points whose neighbours are searched at a time."""
_BLOCK = 1024
"""Points of a block of farthest point sampling."""


class Level(NamedTuple):
    """One resolution of a cloud, n points with k neighbours each; points are the last axis."""

    frames: Array
    """(3, 3, n) right-handed frames; rows are axes, local = frame @ global."""
    neighbors: Nearest
    """(k, n) rows of this level; the first is the point itself."""
    positions: Array
    """(3, n) centred coordinates in units far below the spacing."""
    reach: Array
    """(n,) squared distance at which the envelope of a neighbourhood ends."""
    radius: float
    """The mean radius of a neighbourhood, the level's unit of length."""
    moments: Array
    """(21, n) neighbourhood moments in the frame, see ``MOMENT_PARITY``."""
    sampled: Rows
    """(m,) rows of this level that form the next one; empty at the coarsest."""
    parents: Nearest
    """(3, n) rows of the next level; (0, n) at the coarsest."""
    weights: Array
    """(3, n) interpolation weights of the parents, summing to one."""


MOMENT_PARITY = (1.0, 1.0, 1.0) + 2 * (1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0)
"""Sign of each moment when the third axis is turned round: three eigenvalues, then for two wider
neighbourhoods the offset of the mean (x, y, z) and the covariance (xx, yy, zz, xy, xz, yz)."""


class Overview(NamedTuple):
    """A second graph of the same cloud, from fewer of its points."""

    levels: list[Level]
    """Those of the cloud without its finest ones, as few as leave at most ``OVERVIEW`` points."""
    near: Nearest
    """(k, u) for each point of the cloud, the nearest of these m points, by distance."""


class Graph(NamedTuple):
    """The levels of a cloud, finest first, and how its points map to the finest."""

    levels: list[Level]
    overview: "Overview"
    order: Rows
    """(u,) rows of the input, one per distinct position, in the order of the finest level."""
    inverse: Rows
    """(n,) for each input row, its row in the finest level."""
    pose: Pose


def build_graph(points: Array, dtype: type[np.floating[Any]] = np.float64) -> Graph:
    """The graph of a cloud.

    Args:
        points: (n, 3) finite coordinates with at least ``MIN_POINTS`` distinct positions that
            are not all on one line. Exact duplicates share one node.
        dtype: Of frames, moments and weights. Decisions, and what they rest on, are float64.

    Raises:
        CloudError: If there are fewer distinct points or all lie on one line.
    """
    placed, centred, canonical, order = _ordered(points)
    ordered = canonical[order]
    first = np.r_[True, (ordered[1:] != ordered[:-1]).any(1)]
    inverse = np.empty(len(points), np.int64)
    inverse[order] = np.cumsum(first) - 1
    order = order[first]
    if len(order) < MIN_POINTS:
        raise CloudError(f"{len(order)} distinct points; at least {MIN_POINTS} are needed")
    positions = np.ascontiguousarray(centred[order].T)
    stages = _stages(positions, canonical[order])
    skipped = len(stages) - LEVELS
    levels = _described(stages[:LEVELS], placed.axes, dtype)
    finest = stages[skipped]
    near = _nearest(finest.canonical, canonical[order], NEIGHBORS)
    overview = Overview(_described(stages[skipped:], placed.axes, dtype), near)
    return Graph(levels, overview, order, inverse, placed)


def farthest_points(points: Array) -> Rows:
    """Rows of one of ``RATIO`` points, as far apart as can be; what a level leaves to the next.

    Args:
        points: (n, 3) finite coordinates that are not all on one line.

    Raises:
        CloudError: If all lie on one line.
    """
    _, _, canonical, order = _ordered(points)
    return order[_farthest_points(canonical[order])]


def _ordered(points: Array) -> tuple[Pose, Array, Array, Rows]:
    """The pose, the points centred and canonical (n, 3), and the rows along the Morton curve."""
    placed = pose(points)
    if placed.dimensions == 1:
        raise CloudError("all points lie on one line; normals of a line are undefined")
    step = _ROUNDING * placed.size / np.sqrt(len(points)) or 1.0
    centred = points - placed.centre
    centred = (centred - centred.mean(0)) / step  # twice: a far origin rounds the centre
    canonical = np.round(centred @ placed.axes.T)
    return placed, centred, canonical, morton_order(canonical)


class _Gaussians(NamedTuple):
    """What the points below each node look like from afar."""

    means: Array
    """(3, n)"""
    spreads: Array
    """(6, n) covariances: xx, yy, zz, xy, xz, yz."""


class _Stage(NamedTuple):
    """A level before its features."""

    positions: Array
    canonical: Array
    neighbors: Nearest
    reach: Array
    radius: float
    sampled: Rows


def _stages(positions: Array, canonical: Array) -> list[_Stage]:
    """The points of each level, as many levels as the cloud and its overview need."""
    stages: list[_Stage] = []
    count = LEVELS + 1
    while len(stages) < count:
        if len(canonical) > OVERVIEW and len(stages) < LEVELS - 1:
            count = LEVELS + 1 + len(stages)
        sampled = _farthest_points(canonical)
        stages.append(_Stage(positions, canonical, *_neighborhoods(positions, canonical), sampled))
        positions = np.ascontiguousarray(positions[:, sampled])
        canonical = canonical[sampled]
    return stages


def _described(stages: list[_Stage], axes: Array, dtype: type[np.floating[Any]]) -> list[Level]:
    """The levels with frames and features; the first counts as the cloud, the last as its end."""
    points = stages[0].positions
    pooled = [_Gaussians(points, np.broadcast_to(0.0, (6, points.shape[1])))]
    for stage in stages[:-1]:
        pooled.append(_pooled(pooled[-1], stage))
    last = stages[-1]._replace(sampled=np.empty(0, np.int64))
    parents, weights = _parents(last, None)
    wide = [pooled[-1]] * 2
    levels = [_level(last, wide, parents, weights, axes, dtype)]
    for index in reversed(range(len(stages) - 1)):
        parents, weights = _parents(stages[index], stages[index + 1])
        wide = [_carried(g, parents, weights) for g in (pooled[index + 1], wide[0])]
        levels.append(_level(stages[index], wide, parents, weights, axes, dtype))
    return levels[::-1]


def _nearest(points: Array, queries: Array, k: int) -> Nearest:
    """Rows (k, m) of the points (n, 3) that are nearest to each query (m, 3), by distance."""
    tree, found = KDTree(points), np.empty((k, len(queries)), np.int32)
    for start in range(0, len(queries), _SEARCH):
        rows = slice(start, start + _SEARCH)
        found[:, rows] = tree.query(queries[rows], k=k)[1].T
    return found


def _neighborhoods(positions: Array, canonical: Array) -> tuple[Nearest, Array, float]:
    """Nearest neighbours (k, n), their squared reach (n,) and the mean radius.

    One neighbour more than used is searched; the envelope falls to zero at its distance, so an
    exchange of the last neighbours changes nothing (a hard cut jumps, DESIGN.md trap 4).
    """
    found = _nearest(canonical, canonical, NEIGHBORS + 1)
    found[0] = np.arange(found.shape[1])
    reach = np.empty(found.shape[1])

    def measure(rows: slice) -> None:
        reach[rows] = _squared(positions[:, found[:, rows]], positions[:, rows]).max(0)

    _in_chunks(measure, found.shape[1])
    return found[:-1], reach, float(np.sqrt(reach).mean())


def _envelope(squared: Array, reach: Array) -> Array:
    """From 1 at the point itself to 0 at the reach, of squared distances (k, n)."""
    return 1 - (squared / reach) ** 3


def _farthest_points(canonical: Array) -> Rows:
    """Farthest point sampling (Eldar et al. 1997) within blocks along the Morton curve.

    Every block is sampled on its own, from its point farthest from the centre; the blocks are
    then cut off at one common distance, so that the samples cover the cloud evenly whatever its
    density. Up to ``_BLOCK`` points this is farthest point sampling proper.
    """
    n = len(canonical)
    count = max(-(-n // RATIO), min(SMALLEST_LEVEL, n))
    blocks = -(-n // _BLOCK)
    rows = np.linspace(0, n, blocks + 1).astype(np.int64)
    width = int(np.diff(rows).max())
    members = np.minimum(rows[:-1, None] + np.arange(width), rows[1:, None] - 1)  # pads by repeats
    picked, reach = _farthest_order(canonical[members].astype(np.float32), count)
    best = np.argsort(-reach, axis=None, kind="stable")[:count]
    chosen = np.take_along_axis(members, picked, 1).ravel()[best]
    return np.sort(chosen)  # keeps the Morton order


def _farthest_order(blocks: NDArray[np.float32], count: int) -> tuple[Rows, NDArray[np.float32]]:
    """The first rows of each block (b, s, 3) in order of farthest point sampling.

    Returns:
        The rows, and the squared distance of each to those before it; both (b, t), and the
        ``count`` farthest of all are among them.
    """
    x, y, z = np.ascontiguousarray(blocks.transpose(2, 0, 1))
    which = np.arange(len(x))
    nearest = np.full(x.shape, np.inf, np.float32)
    order, reach = np.empty(x.shape, np.int64), np.empty(x.shape, np.float32)
    choice = (x * x + y * y + z * z).argmax(1)
    for step in range(x.shape[1]):
        order[:, step], reach[:, step] = choice, nearest[which, choice]
        distance = (x - x[which, choice, None]) ** 2
        distance += (y - y[which, choice, None]) ** 2
        distance += (z - z[which, choice, None]) ** 2
        np.minimum(nearest, distance, out=nearest)
        choice = nearest.argmax(1)
        done = step + 1
        if done % 32 == 0 and done * len(x) >= count:
            last = np.partition(reach[:, :done].ravel(), -count)[-count]
            if nearest[which, choice].max() <= last:
                break
    return order[:, :done], reach[:, :done]


def _pooled(gaussians: _Gaussians, stage: _Stage) -> _Gaussians:
    """Mean and covariance of the mixtures of the neighbours of each sampled point."""
    means, spreads = np.empty((3, len(stage.sampled))), np.empty((6, len(stage.sampled)))

    def pool(rows: slice) -> None:
        kept = stage.sampled[rows]
        senders = stage.neighbors[:, kept]
        squared = _squared(stage.positions[:, senders], stage.positions[:, kept])
        weights = _envelope(squared, stage.reach[kept])
        weights /= weights.sum(0)
        below = gaussians.means[:, senders]
        mean = (below * weights).sum(1)
        spread = (gaussians.spreads[:, senders] * weights).sum(1)
        means[:, rows] = mean
        spreads[:, rows] = spread + _covariance(below - mean[:, None], weights)

    _in_chunks(pool, len(stage.sampled))
    return _Gaussians(means, spreads)


def _covariance(offset: Array, weights: Array) -> Array:
    """(6, n) second moments of offsets (3, k, n)."""
    weighted = offset * weights
    return np.stack([(weighted[a] * offset[b]).sum(0) for a, b in _PAIRS])


_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def _parents(stage: _Stage, above: _Stage | None) -> tuple[Nearest, Array]:
    """The nearest points of the coarser level and their weights; none at the coarsest."""
    n = stage.positions.shape[1]
    if above is None:
        return np.empty((0, n), np.int32), np.empty((0, n))
    found = _nearest(above.canonical, stage.canonical, PARENTS + 1)
    weights = np.empty((PARENTS, n))

    def weigh(rows: slice) -> None:
        squared = _squared(above.positions[:, found[:, rows]], stage.positions[:, rows])
        weight = (1 - squared[:-1] / squared.max(0) + 1e-6) ** 2
        weights[:, rows] = weight / weight.sum(0)

    _in_chunks(weigh, n)
    return found[:-1], weights


def _carried(gaussians: _Gaussians, parents: Nearest, weights: Array) -> _Gaussians:
    """The Gaussians of the parents, averaged at each child."""
    carried = _Gaussians(*(np.empty((len(part), parents.shape[1])) for part in gaussians))

    def carry(rows: slice) -> None:
        for part, here in zip(gaussians, carried, strict=True):
            here[:, rows] = (part[:, parents[:, rows]] * weights[:, rows]).sum(1)

    _in_chunks(carry, parents.shape[1])
    return carried


def _level(
    stage: _Stage,
    wide: list[_Gaussians],
    parents: Nearest,
    weights: Array,
    axes: Array,
    dtype: type[np.floating[Any]],
) -> Level:
    n = stage.positions.shape[1]
    frames, moments = np.empty((3, 3, n), dtype), np.empty((len(MOMENT_PARITY), n), dtype)

    def describe(rows: slice) -> None:
        here = stage.positions[:, rows]
        offset = stage.positions[:, stage.neighbors[:, rows]] - here[:, None]
        envelope = _envelope((offset**2).sum(0), stage.reach[rows])
        frame, moments[:3, rows] = _frames(offset / stage.radius, envelope, axes)
        frames[..., rows] = frame
        for first, (means, spreads) in zip((3, 12), wide, strict=True):
            shift = (means[:, rows] - here) / stage.radius
            trace = spreads[:3, rows].sum(0) + 1e-12 * stage.radius**2
            moments[first : first + 3, rows] = _in_frame(frame, shift[:, None])[:, 0]
            moments[first + 3 : first + 9, rows] = _spread_in(frame, spreads[:, rows] / trace)

    _in_chunks(describe, n)
    return Level(
        frames,
        stage.neighbors,
        stage.positions,
        stage.reach,
        stage.radius,
        moments,
        stage.sampled,
        parents,
        weights.astype(dtype),
    )


def _frames(offset: Array, envelope: Array, axes: Array) -> tuple[Array, Array]:
    """Right-handed frames (3, 3, n) of neighbourhoods (3, k, n), normalised eigenvalues (3, n).

    The plane comes from the covariance; two vectors in the plane give the first axis and the
    sign of the second; the third is their cross product (DESIGN.md section 2, trap 1: exact on
    flat faces, where the side is undecided). The canonical axes decide where a symmetric
    neighbourhood, as on a grid, leaves a direction open.
    """
    weights = envelope / envelope.sum(0)
    mean = (offset * weights).sum(1)
    inner = (offset * weights**2).sum(1)
    spread = _covariance(offset - mean[:, None], weights)
    trace = spread[:3].sum(0)
    tilt = axes.T @ np.diag([1.0, 2.0, 3.0]) @ axes
    matrix = spread[_SYMMETRIC].transpose(2, 0, 1) / trace[:, None, None]
    values, vectors = np.linalg.eigh(matrix + 0.1 * _TIE_BREAK * tilt)
    normal = vectors[:, :, 0].T
    first = mean + _TIE_BREAK * (np.array([1.0, 0.6, 0.3]) @ axes)[:, None]
    second = inner + _TIE_BREAK * (np.array([-0.5, 1.0, 0.4]) @ axes)[:, None]
    e1 = _unit_in_plane(_unit_in_plane(first, normal), normal)  # twice: cancellation
    across = np.cross(normal, e1, axis=0)
    e2 = across * np.where((across * second).sum(0) < 0, -1.0, 1.0)
    frames = np.stack([e1, e2, np.cross(e1, e2, axis=0)])
    return frames, np.sqrt(np.maximum(values, 0.0)).T


_SYMMETRIC = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])
"""Where the entries of a symmetric matrix stand among its six components."""


def _unit_in_plane(vector: Array, normal: Array) -> Array:
    vector = vector - (vector * normal).sum(0) * normal
    return vector / np.linalg.norm(vector, axis=0)


def _in_frame(frame: Array, vectors: Array) -> Array:
    """Global vectors (3, c, n) in frames (3, 3, n)."""
    return np.stack([sum(frame[i, j] * vectors[j] for j in range(3)) for i in range(3)])


def _spread_in(frame: Array, spread: Array) -> Array:
    """Symmetric matrices (6, n) in frames (3, 3, n)."""
    half = _in_frame(frame, spread[_SYMMETRIC])  # frame @ matrix: (3, 3, n)
    return np.stack([sum(half[a, j] * frame[b, j] for j in range(3)) for a, b in _PAIRS])


def _squared(there: Array, here: Array) -> Array:
    """Squared distances (k, n) of points (3, k, n) from points (3, n)."""
    return ((there - here[:, None]) ** 2).sum(0)


def _in_chunks(work: Callable[[slice], None], count: int) -> None:
    """Does the work for slices that fit the cache, on as many threads as torch would use."""
    slices = [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(work, slices))
