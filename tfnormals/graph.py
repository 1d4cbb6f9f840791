"""The multi-resolution graph of a cloud: neighbours, farthest points, frames, local moments.

Every discrete decision (who is a neighbour, which points are kept) is made on coordinates in the
cloud's canonical pose, rounded far below the spacing of the points. Turned, mirrored, moved or
reordered copies of a cloud therefore make bit-identical decisions, ties included.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from .errors import CloudError
from .geometry import Array, Pose, morton_order, pose
from .graph_loops import (
    Nearest,
    Rows,
    carry,
    describe,
    measure_reach,
    pool_gaussians,
    sample_farthest,
    weigh_parents,
)
from .storage import room
from .tensorframes.loops import in_chunks

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
_SEARCH = 65_536
"""Points whose neighbours are searched at a time."""
_BLOCK = 1024
"""Points of a block of farthest point sampling."""
_BLOCKS = 64
"""Of them, sampled at a time."""
_STEPS = 64
"""Of it, after which it is seen whether they are enough."""


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
    skipped: int
    """Number of the finest levels that it leaves out."""


class Graph(NamedTuple):
    """The levels of a cloud, finest first, and how its points map to the finest."""

    levels: list[Level]
    overview: "Overview"
    further: Callable[[], Iterator["Overview"]]
    """Makes overviews from other points; with the first one they share out the level below."""
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
    canonical = _taken(canonical, order)
    first = np.r_[True, (canonical[1:] != canonical[:-1]).any(1)]
    inverse = room(order.shape, np.int64)
    inverse[order] = np.cumsum(first) - 1
    if not first.all():
        order, canonical = order[first], canonical[first]
    if len(order) < MIN_POINTS:
        raise CloudError(f"{len(order)} distinct points; at least {MIN_POINTS} are needed")
    positions = room((3, len(order)), np.float64)
    for axis in range(3):
        np.take(centred[:, axis], order, out=positions[axis])
    del centred
    stages = _stages(positions, canonical)
    skipped = len(stages) - LEVELS
    levels = _described(stages[:LEVELS], placed.axes, dtype)
    below, finest = stages[skipped - 1 : skipped + 1]
    near = nearest(finest.canonical, canonical, NEIGHBORS)
    overview = Overview(_described(stages[skipped:], placed.axes, dtype), near, skipped)

    def further() -> Iterator[Overview]:
        left = np.setdiff1d(np.arange(len(below.canonical)), below.sampled)
        for parts in range(RATIO - 1, 0, -1):
            if len(left) < parts * MIN_POINTS:
                return
            rows = left[_farthest_points(below.canonical[left], parts)]
            left = np.setdiff1d(left, rows)
            pyramid = _stages(below.positions[:, rows], below.canonical[rows], whole=False)
            near = nearest(pyramid[0].canonical, canonical, NEIGHBORS)
            yield Overview(_described(pyramid, placed.axes, dtype), near, skipped)

    return Graph(levels, overview, further, order, inverse, placed)


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
    centred, canonical = room(points.shape, np.float64), room(points.shape, np.float64)

    def centre(rows: slice) -> None:
        centred[rows] = points[rows] - placed.centre

    def turn(rows: slice) -> None:
        centred[rows] = (centred[rows] - middle) / step
        canonical[rows] = np.round(centred[rows] @ placed.axes.T)

    in_chunks(centre, len(points))
    middle = centred.mean(0)  # twice: a far origin rounds the centre
    in_chunks(turn, len(points))
    order = room(points.shape[:1], np.int64)
    order[:] = morton_order(canonical)
    return placed, centred, canonical, order


def _taken(points: Array, rows: Rows) -> Array:
    """Some of the points (n, 3)."""
    return np.take(points, rows, axis=0, out=room((len(rows), 3), np.float64))


class _Gaussians(NamedTuple):
    """What the points below each node look like from afar."""

    means: Array
    """(3, n)"""
    spreads: Array
    """(6, n) covariances: xx, yy, zz, xy, xz, yz."""

    @classmethod
    def empty(cls, count: int) -> "_Gaussians":
        """Room for so many."""
        return cls(room((3, count), np.float64), room((6, count), np.float64))


class _Stage(NamedTuple):
    """A level before its features."""

    positions: Array
    canonical: Array
    neighbors: Nearest
    reach: Array
    radius: float
    sampled: Rows


def _stages(positions: Array, canonical: Array, *, whole: bool = True) -> list[_Stage]:
    """The points of each level: as many levels as there are, or as the overview needs as well."""
    stages: list[_Stage] = []
    count = LEVELS + whole
    while len(stages) < count:
        if whole and len(canonical) > OVERVIEW and len(stages) < LEVELS - 1:
            count = LEVELS + 1 + len(stages)
        sampled = _farthest_points(canonical)
        stages.append(_Stage(positions, canonical, *_neighborhoods(positions, canonical), sampled))
        positions = np.take(positions, sampled, 1, out=room((3, len(sampled)), np.float64))
        canonical = _taken(canonical, sampled)
    return stages


def _described(stages: list[_Stage], axes: Array, dtype: type[np.floating[Any]]) -> list[Level]:
    """The levels with frames and features; the first counts as the cloud, the last as its end."""
    points = stages[0].positions
    spreads = room((6, points.shape[1]), np.float64)
    spreads[:] = 0
    pooled = [_Gaussians(points, spreads)]
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


def nearest(points: Array, queries: Array, k: int) -> Nearest:
    """Rows (k, m) of the points (n, 3), k or more, nearest to each query (m, 3), by distance."""
    tree, found = KDTree(points), room((k, len(queries)), np.int32)
    for start in range(0, len(queries), _SEARCH):
        rows = slice(start, start + _SEARCH)
        found[:, rows] = tree.query(queries[rows], k=k)[1].T
    return found


def _neighborhoods(positions: Array, canonical: Array) -> tuple[Nearest, Array, float]:
    """Nearest neighbours (k, n), their squared reach (n,) and the mean radius.

    One neighbour more than used is searched; the envelope falls to zero at its distance, so an
    exchange of the last neighbours changes nothing (a hard cut jumps, DESIGN.md trap 4).
    """
    found = nearest(canonical, canonical, NEIGHBORS + 1)
    found[0] = np.arange(found.shape[1])
    reach = room(found.shape[1:], np.float64)
    in_chunks(
        lambda rows: measure_reach(positions, found, rows.start, rows.stop, reach), len(reach)
    )
    return found[:-1], reach, float(np.sqrt(reach).mean())


def _farthest_points(canonical: Array, ratio: int = RATIO) -> Rows:
    """Farthest point sampling (Eldar et al. 1997) within blocks along the Morton curve.

    Every block is sampled on its own, from its point farthest from the centre; the blocks are
    then cut off at one common distance, so that the samples cover the cloud evenly whatever its
    density. Up to ``_BLOCK`` points this is farthest point sampling proper.
    """
    n = len(canonical)
    count = max(-(-n // ratio), min(SMALLEST_LEVEL, n))
    blocks = -(-n // _BLOCK)
    starts = np.linspace(0, n, blocks + 1).astype(np.int64)
    width = int(np.diff(starts).max())
    nearest = np.full((blocks, width), np.inf, np.float32)
    order, reach = np.empty((blocks, width), np.int16), np.full_like(nearest, -1.0)
    for first in range(0, width, _STEPS):
        done = min(first + _STEPS, width)
        _sample(canonical, starts, first, done, nearest, order, reach)
        if done * blocks >= count:
            last = np.partition(reach[:, :done], -count, axis=None)[-count]
            if nearest.max() <= last:
                break
    taken = reach[:, :done] > last
    ties = np.flatnonzero(reach[:, :done] == last)[: count - taken.sum()]
    taken.ravel()[ties] = True
    block, step = np.nonzero(taken)
    return np.sort(starts[block] + order[block, step])  # keeps the Morton order


def _sample(
    canonical: Array,
    starts: Rows,
    first: int,
    last: int,
    nearest: NDArray[np.float32],
    order: NDArray[np.int16],
    reach: NDArray[np.float32],
) -> None:
    """Steps of farthest point sampling in all blocks; see ``sample_farthest``."""
    state = nearest, order, reach
    in_chunks(
        lambda part: sample_farthest(
            canonical, starts, first, last, part.start, part.stop, *state
        ),
        len(nearest),
        _BLOCKS,
    )


def _pooled(gaussians: _Gaussians, stage: _Stage) -> _Gaussians:
    """Mean and covariance of the mixtures of the neighbours of each sampled point."""
    pooled = _Gaussians.empty(len(stage.sampled))
    given = stage.positions, stage.neighbors, stage.reach, stage.sampled, *gaussians
    in_chunks(
        lambda rows: pool_gaussians(*given, rows.start, rows.stop, *pooled), len(stage.sampled)
    )
    return pooled


def _parents(stage: _Stage, above: _Stage | None) -> tuple[Nearest, Array]:
    """The nearest points of the coarser level and their weights; none at the coarsest."""
    n = stage.positions.shape[1]
    if above is None:
        return np.empty((0, n), np.int32), np.empty((0, n))
    found = nearest(above.canonical, stage.canonical, PARENTS + 1)
    weights, given = room((PARENTS, n), np.float64), (above.positions, stage.positions, found)
    in_chunks(lambda rows: weigh_parents(*given, rows.start, rows.stop, weights), n)
    return found[:-1], weights


def _carried(gaussians: _Gaussians, parents: Nearest, weights: Array) -> _Gaussians:
    """The Gaussians of the parents, averaged at each child."""
    carried = _Gaussians.empty(parents.shape[1])

    def work(rows: slice) -> None:
        for part, here in zip(gaussians, carried, strict=True):
            carry(part, parents, weights, rows.start, rows.stop, here)

    in_chunks(work, parents.shape[1])
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
    frames, moments = room((3, 3, n), dtype), room((len(MOMENT_PARITY), n), dtype)
    here = stage.positions, stage.neighbors, stage.reach, stage.radius
    given = *here, axes, _TIE_BREAK, *wide[0], *wide[1]
    in_chunks(lambda rows: describe(*given, rows.start, rows.stop, frames, moments), n)
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
