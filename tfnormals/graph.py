"""The multi-resolution graph of a cloud: neighbours, farthest points, frames, local moments.

Every discrete decision (who is a neighbour, which points are kept) is made on coordinates in the
cloud's canonical pose, rounded far below the spacing of the points. Turned, mirrored, moved or
reordered copies of a cloud therefore make bit-identical decisions, ties included.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from pykdtree.kdtree import KDTree
from torch import Tensor

from .box_search import nearest_in_boxes
from .errors import CloudError
from .geometry import Array, Pose, pose
from .graph_loops import (
    Rows,
    carry,
    describe,
    measure_reach,
    pool_gaussians,
    sample_farthest,
    weigh_parents,
)
from .morton import morton_order
from .tensorframes import LazyNeighborhoods
from .tensorframes.layers import Receivers
from .tensorframes.loops import array, chunked, over_points, space

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
    """One resolution of a cloud, n points with k neighbours each; or of several clouds in turn."""

    receivers: Receivers
    """The points: frames whose rows are axes, neighbours of which the first is the point itself,
    positions centred, in units far below the spacing; moments as in ``MOMENT_PARITY``."""
    sampled: Int[Tensor, " m"]
    """Rows of this level that form the next one; empty at the coarsest."""
    parents: Int[Tensor, "3 n"]
    """Rows of the next level; (0, n) at the coarsest."""
    weights: Float[Tensor, "3 n"]
    """Interpolation weights of the parents, summing to one."""

    def to(self, device: torch.device) -> "Level":
        """The same on another device."""
        return Level(self.receivers.to(device), *(part.to(device) for part in self[1:]))


MOMENT_PARITY = (1.0, 1.0, 1.0) + 2 * (1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0)
"""Sign of each moment when the third axis is turned round: three eigenvalues, then for two wider
neighbourhoods the offset of the mean (x, y, z) and the covariance (xx, yy, zz, xy, xz, yz)."""


class Overview(NamedTuple):
    """A second graph of the same cloud, from fewer of its points."""

    levels: list[Level]
    """Those of the cloud without its finest ones, as few as leave at most ``OVERVIEW`` points."""
    near: Int[Tensor, "k u"]
    """For each point of the cloud, the nearest of these m points, by distance."""
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


@torch.no_grad()
def build_graph(
    points: Array, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu"
) -> Graph:
    """The graph of a cloud.

    Args:
        points: (n, 3) finite coordinates with at least ``MIN_POINTS`` distinct positions that
            are not all on one line. Exact duplicates share one node.
        dtype: Of frames, moments and weights. Decisions, and what they rest on, are float64.
        device: Where it is built and stays, one that is a ``place_of_loops``.

    Raises:
        CloudError: If there are fewer distinct points or all lie on one line.
    """
    placed, centred, canonical, order = _ordered(points, torch.device(device))
    canonical = _taken(canonical, 0, order)
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = (canonical[1:] != canonical[:-1]).any(1)
    inverse = space(order.shape, torch.long, order.device)
    inverse[order] = first.cumsum(0) - 1
    if not first.all():
        order, canonical = order[first], canonical[first]
    if len(order) < MIN_POINTS:
        raise CloudError(f"{len(order)} distinct points; at least {MIN_POINTS} are needed")
    positions = _taken(centred.T, 1, order)
    del centred
    stages = _stages(positions, canonical)
    skipped = len(stages) - LEVELS
    axes = torch.from_numpy(placed.axes).to(canonical.device)
    levels = _described(stages[:LEVELS], axes, dtype)
    below, finest = stages[skipped - 1 : skipped + 1]
    near = nearest(finest.canonical, canonical, NEIGHBORS)
    overview = Overview(_described(stages[skipped:], axes, dtype), near, skipped)

    def further() -> Iterator[Overview]:
        rows = torch.arange(len(below.canonical), device=below.sampled.device)
        left = _without(rows, below.sampled)
        for parts in range(RATIO - 1, 0, -1):
            if len(left) < parts * MIN_POINTS:
                return
            rows = left[_farthest_points(below.canonical[left], parts)]
            left = _without(left, rows)
            pyramid = _stages(below.positions[:, rows], below.canonical[rows], whole=False)
            near = nearest(pyramid[0].canonical, canonical, NEIGHBORS)
            yield Overview(_described(pyramid, axes, dtype), near, skipped)

    return Graph(levels, overview, further, order.cpu().numpy(), inverse.cpu().numpy(), placed)


def farthest_points(points: Array) -> Rows:
    """Rows of one of ``RATIO`` points, as far apart as can be; what a level leaves to the next.

    Args:
        points: (n, 3) finite coordinates that are not all on one line.

    Raises:
        CloudError: If all lie on one line.
    """
    _, _, canonical, order = _ordered(points, torch.device("cpu"))
    return order[_farthest_points(canonical[order])].numpy()


def _ordered(points: Array, device: torch.device) -> tuple[Pose, Tensor, Tensor, Tensor]:
    """The pose, the points centred and canonical (n, 3), and the rows along the Morton curve."""
    given = torch.from_numpy(points).to(device)
    placed = pose(given)
    if placed.dimensions == 1:
        raise CloudError("all points lie on one line; normals of a line are undefined")
    step = float(_ROUNDING * placed.size / np.sqrt(len(points))) or 1.0
    centre, axes = (torch.from_numpy(part).to(device) for part in (placed.centre, placed.axes))
    (centred,) = chunked(lambda rows: [given[rows] - centre], len(given), (0,), device)
    middle = centred.mean(0)  # twice: a far origin rounds the centre

    def turned(rows: slice) -> list[Tensor]:
        here = (centred[rows] - middle) / step
        return [here, (here @ axes.T).round()]

    centred, canonical = chunked(turned, len(given), (0, 0), device)
    order = space((len(given),), torch.long, device).copy_(morton_order(canonical))
    return placed, centred, canonical, order


def _taken(whole: Tensor, axis: int, rows: Tensor) -> Tensor:
    """Some rows or columns of a tensor of three columns or rows."""
    shape = (len(rows), 3) if axis == 0 else (3, len(rows))
    return torch.index_select(whole, axis, rows, out=space(shape, whole.dtype, whole.device))


def _without(rows: Tensor, taken: Tensor) -> Tensor:
    """The rows that are not taken."""
    return rows[~torch.isin(rows, taken)]


class _Gaussians(NamedTuple):
    """What the points below each node look like from afar."""

    means: Float[Tensor, "3 n"]
    spreads: Float[Tensor, "6 n"]
    """Covariances: xx, yy, zz, xy, xz, yz."""

    @classmethod
    def empty(cls, count: int, device: torch.device) -> "_Gaussians":
        """Room for so many."""
        return cls(*(space((rows, count), torch.float64, device) for rows in (3, 6)))


class _Stage(NamedTuple):
    """A level before its features."""

    positions: Float[Tensor, "3 n"]
    canonical: Float[Tensor, "n 3"]
    neighbors: Int[Tensor, "k n"]
    reach: Float[Tensor, " n"]
    radius: float
    sampled: Int[Tensor, " m"]


def _stages(positions: Tensor, canonical: Tensor, *, whole: bool = True) -> list[_Stage]:
    """The points of each level: as many levels as there are, or as the overview needs as well."""
    stages: list[_Stage] = []
    count = LEVELS + whole
    while len(stages) < count:
        if whole and len(canonical) > OVERVIEW and len(stages) < LEVELS - 1:
            count = LEVELS + 1 + len(stages)
        sampled = _farthest_points(canonical)
        stages.append(_Stage(positions, canonical, *_neighborhoods(positions, canonical), sampled))
        positions, canonical = _taken(positions, 1, sampled), _taken(canonical, 0, sampled)
    return stages


def _described(stages: list[_Stage], axes: Tensor, dtype: torch.dtype) -> list[Level]:
    """The levels with frames and features; the first counts as the cloud, the last as its end."""
    points = stages[0].positions
    pooled = [_Gaussians(points, _Gaussians.empty(points.shape[1], points.device).spreads.zero_())]
    for stage in stages[:-1]:
        pooled.append(_pooled(pooled[-1], stage))
    last = stages[-1]._replace(sampled=stages[-1].sampled[:0])
    parents, weights = _parents(last, None)
    wide = [pooled[-1]] * 2
    levels = [_level(last, wide, parents, weights, axes, dtype)]
    for index in reversed(range(len(stages) - 1)):
        parents, weights = _parents(stages[index], stages[index + 1])
        wide = [_carried(g, parents, weights) for g in (pooled[index + 1], wide[0])]
        levels.append(_level(stages[index], wide, parents, weights, axes, dtype))
    return levels[::-1]


def nearest(
    points: Float[Tensor, "n 3"], queries: Float[Tensor, "m 3"], k: int
) -> Int[Tensor, "k m"]:
    """Rows of the points, k or more along the Morton curve, nearest to each query, by distance."""
    if points.device.type != "cpu":
        return nearest_in_boxes(points, queries, k)
    tree, found = KDTree(array(points)), space((k, len(queries)), torch.int32, points.device)
    into, sought = found.numpy(), array(queries)
    for start in range(0, len(queries), _SEARCH):
        rows = slice(start, start + _SEARCH)
        into[:, rows] = tree.query(sought[rows], k=k)[1].T
    return found


def _neighborhoods(positions: Tensor, canonical: Tensor) -> tuple[Tensor, Tensor, float]:
    """Nearest neighbours (k, n), their squared reach (n,) and the mean radius.

    One neighbour more than used is searched; the envelope falls to zero at its distance, so an
    exchange of the last neighbours changes nothing (a hard cut jumps, DESIGN.md trap 4).
    """
    found = nearest(canonical, canonical, NEIGHBORS + 1)
    count = found.shape[1]
    found[0] = torch.arange(count, device=found.device)
    reach = space((count,), torch.float64, positions.device)
    over_points(measure_reach, count, (positions, found), (reach,))
    return found[:-1], reach, float(reach.sqrt().mean())


def _farthest_points(canonical: Tensor, ratio: int = RATIO) -> Tensor:
    """Farthest point sampling (Eldar et al. 1997) within blocks along the Morton curve.

    Every block is sampled on its own, from its point farthest from the centre; the blocks are
    then cut off at one common distance, so that the samples cover the cloud evenly whatever its
    density. Up to ``_BLOCK`` points this is farthest point sampling proper.
    """
    n, device = len(canonical), canonical.device
    count = max(-(-n // ratio), min(SMALLEST_LEVEL, n))
    blocks = -(-n // _BLOCK)
    starts = torch.arange(blocks + 1, device=device) * n // blocks
    width = -(-n // blocks)
    points = space((3, n), torch.float32, device).copy_(canonical.T)
    nearest = torch.full((blocks, width), torch.inf, device=device)
    order, reach = torch.empty_like(nearest, dtype=torch.int16), torch.full_like(nearest, -1.0)
    for first in range(0, width, _STEPS):
        done = min(first + _STEPS, width)
        given, filled = (points, starts, first, done), (nearest, order, reach)
        if device.type == "cpu":
            over_points(sample_farthest, blocks, given, filled, _BLOCKS)
        else:
            from .gpu_sampling import sample_in_teams

            sample_in_teams(*given, *filled)
        if done * blocks >= count:
            found = reach[:, :done]
            last = found.flatten().kthvalue(found.numel() - count + 1).values
            if nearest.max() <= last:
                break
    taken = found > last
    ties = (found == last).nonzero()[: count - int(taken.sum())]
    taken[ties[:, 0], ties[:, 1]] = True
    block, step = taken.nonzero(as_tuple=True)
    return (starts[block] + order[block, step]).sort().values  # keeps the Morton order


def _pooled(gaussians: _Gaussians, stage: _Stage) -> _Gaussians:
    """Mean and covariance of the mixtures of the neighbours of each sampled point."""
    count = len(stage.sampled)
    pooled = _Gaussians.empty(count, stage.sampled.device)
    given = stage.positions, stage.neighbors, stage.reach, stage.sampled, *gaussians
    over_points(pool_gaussians, count, given, pooled)
    return pooled


def _parents(stage: _Stage, above: _Stage | None) -> tuple[Tensor, Tensor]:
    """The nearest points of the coarser level and their weights; none at the coarsest."""
    n, device = stage.positions.shape[1], stage.positions.device
    if above is None:
        return space((0, n), torch.int32, device), space((0, n), torch.float64, device)
    found = nearest(above.canonical, stage.canonical, PARENTS + 1)
    weights = space((PARENTS, n), torch.float64, device)
    over_points(weigh_parents, n, (above.positions, stage.positions, found), (weights,))
    return found[:-1], weights


def _carried(gaussians: _Gaussians, parents: Tensor, weights: Tensor) -> _Gaussians:
    """The Gaussians of the parents, averaged at each child."""
    count = parents.shape[1]
    carried = _Gaussians.empty(count, parents.device)
    for part, here in zip(gaussians, carried, strict=True):
        over_points(carry, count, (part, parents, weights), (here,))
    return carried


def _level(
    stage: _Stage,
    wide: list[_Gaussians],
    parents: Tensor,
    weights: Tensor,
    axes: Tensor,
    dtype: torch.dtype,
) -> Level:
    n, device = stage.positions.shape[1], axes.device
    frames = space((3, 3, n), dtype, device)
    moments = space((n, len(MOMENT_PARITY)), dtype, device)
    here = stage.positions, stage.neighbors, stage.reach, stage.radius
    over_points(describe, n, (*here, axes, _TIE_BREAK, *wide[0], *wide[1]), (frames, moments))
    near = LazyNeighborhoods(
        frames, stage.neighbors, stage.positions, stage.reach, stage.radius, moments
    )
    return Level(near, stage.sampled, parents, weights.to(dtype))
