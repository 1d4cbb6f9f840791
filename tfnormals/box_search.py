"""Nearest neighbours on a GPU: every query walks a tree of boxes on its own.

The points come along the Morton curve, so that a run of them lies in a small box, and a run of
boxes in a larger one. Exact for all points, wherever they are; on a CPU pykdtree is faster.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .geometry import Array
from .graph_loops import Nearest, Rows
from .tensorframes.loops import compiled, over_points, space

LEAF = 32
"""Points in a smallest box: more than neighbours are asked for, so that one of them bounds how
far these are."""
FAN = 8
"""Boxes in the next larger one."""


class Boxes(NamedTuple):
    """All boxes, the smallest first."""

    low: Float[Tensor, "b 3"]
    high: Float[Tensor, "b 3"]
    firsts: Int[Tensor, " l"]
    """The first box of each size, and the number of all."""


def boxes_of(points: Float[Tensor, "n 3"]) -> Boxes:
    """The boxes of points along the Morton curve."""
    low, high, width = [points], [points], LEAF
    while len(low) == 1 or len(low[-1]) > 1:
        low.append(_grouped(low[-1], width).amin(1))
        high.append(_grouped(high[-1], width).amax(1))
        width = FAN
    firsts = torch.tensor([0, *map(len, low[1:])], device=points.device).cumsum(0)
    return Boxes(torch.cat(low[1:]), torch.cat(high[1:]), firsts)


def _grouped(rows: Float[Tensor, "n 3"], width: int) -> Float[Tensor, "m {width} 3"]:
    """Rows by so many, the last one being repeated."""
    missing = -len(rows) % width
    return torch.cat([rows, rows[-1:].expand(missing, 3)]).view(-1, width, 3)


def nearest_in_boxes(
    points: Float[Tensor, "n 3"], queries: Float[Tensor, "m 3"], k: int
) -> Int[Tensor, "k m"]:
    """Rows of the points nearest to each query, by distance; of equally far ones, any.

    Args:
        points: Along the Morton curve.
        queries: In any order; along the curve, too, they are faster.
        k: How many.
    """
    shape, place = (k, len(queries)), points.device
    squared, found = space(shape, torch.float64, place), space(shape, torch.int32, place)
    given = points.contiguous(), *boxes_of(points), queries.contiguous()
    over_points(_search, len(queries), given, (squared, found))
    return found


@compiled
def _search(
    points: Array,
    low: Array,
    high: Array,
    firsts: Rows,
    queries: Array,
    start: int,
    stop: int,
    squared: Array,
    found: Nearest,
) -> None:
    """Fills in squared distances and rows of the points found (k, m), by distance."""
    top = len(firsts) - 2
    for q in range(start, stop):
        for j in range(len(found)):
            squared[j, q], found[j, q] = np.inf, 0
        box = _leaf_near(low, high, firsts, queries, q)
        _scan(points, box, queries, q, squared, found)
        for size in range(top):  # and then what is beside it, nearer boxes first
            first, count = box // FAN * FAN, firsts[size + 1] - firsts[size]
            for other in range(first, min(first + FAN, count)):
                if other != box:
                    _walk(points, low, high, firsts, size, other, queries, q, squared, found)
            box //= FAN


@compiled
def _walk(
    points: Array,
    low: Array,
    high: Array,
    firsts: Rows,
    top: int,
    start: int,
    queries: Array,
    q: int,
    squared: Array,
    found: Nearest,
) -> None:
    """Looks into a box of some size, and into those inside that may hold nearer points."""
    size, box = top, start
    while True:
        if _outside(low, high, firsts[size] + box, queries, q) < squared[-1, q]:
            if size > 0:
                size, box = size - 1, box * FAN
                continue
            _scan(points, box, queries, q, squared, found)
        while size < top and (box % FAN == FAN - 1 or firsts[size] + box + 1 == firsts[size + 1]):
            size, box = size + 1, box // FAN
        if size == top:
            return
        box += 1


@compiled
def _leaf_near(low: Array, high: Array, firsts: Rows, queries: Array, q: int) -> int:
    """A smallest box near a query: always the nearest one of those inside."""
    box = 0
    for size in range(len(firsts) - 3, -1, -1):
        first, least = box * FAN, np.inf
        for other in range(first, min(first + FAN, firsts[size + 1] - firsts[size])):
            outside = _outside(low, high, firsts[size] + other, queries, q)
            if outside < least:
                least, box = outside, other
    return box


@compiled
def _outside(low: Array, high: Array, box: int, queries: Array, q: int) -> float:
    """The squared distance of a query from a box; 0 inside."""
    total = 0.0
    for a in range(3):
        beyond = max(low[box, a] - queries[q, a], queries[q, a] - high[box, a], 0.0)
        total += beyond * beyond
    return total


@compiled
def _scan(points: Array, box: int, queries: Array, q: int, squared: Array, found: Nearest) -> None:
    """Takes those points of a smallest box that are nearer than the farthest one found."""
    for i in range(box * LEAF, min((box + 1) * LEAF, len(points))):
        apart = 0.0
        for a in range(3):
            apart += (points[i, a] - queries[q, a]) ** 2
        if apart < squared[-1, q]:
            j = len(found) - 1
            while j > 0 and squared[j - 1, q] > apart:
                squared[j, q], found[j, q] = squared[j - 1, q], found[j - 1, q]
                j -= 1
            squared[j, q], found[j, q] = apart, i
