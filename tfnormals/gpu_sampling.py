"""Farthest point sampling on a GPU, where all threads of a block work on one block of points."""

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float32, int32
from torch import Tensor

from .tensorframes.gpu_loops import run
from .tensorframes.loops import kept_on_disk

TEAM = 256
"""Threads for each block of points, a power of two; NOT measured."""


def sample_in_teams(
    points: Tensor,
    starts: Tensor,
    first: int,
    last: int,
    nearest: Tensor,
    order: Tensor,
    reach: Tensor,
) -> None:
    """What ``graph_loops.sample_farthest`` does, of which one thread would make a GPU wait.

    Args:
        points: (3, n) float32.
        starts: (b + 1,) the first point of each block, and n.
        first: The first step.
        last: One past the last step.
        nearest: (b, s); updated, as the next two.
        order: (b, s)
        reach: (b, s)
    """
    given, filled = (points, starts, first, last), (nearest, order, reach)
    run(_kernel(), len(nearest), TEAM, given, filled)


@cache
def _kernel() -> Any:
    return kept_on_disk(cuda.jit, _sample)


def _sample(given: tuple[Any, ...], filled: tuple[Any, ...]) -> None:
    """What each thread does: every ``TEAM``-th point of its block is its own."""
    points, starts, first, last = given
    nearest, order, reach = filled
    best = cuda.shared.array(TEAM, float32)  # type: ignore[attr-defined]
    where = cuda.shared.array(TEAM, int32)  # type: ignore[attr-defined]
    block, own = cuda.blockIdx.x, cuda.threadIdx.x  # type: ignore[attr-defined]
    start = starts[block]
    count = starts[block + 1] - start
    for i in range(count + own, nearest.shape[1], TEAM):
        nearest[block, i] = 0  # a shorter block
    for step in range(first, min(last, count)):
        farthest, taken = float32(-1), 0
        for i in range(own, count, TEAM):
            x, y, z = points[0, start + i], points[1, start + i], points[2, start + i]
            ranked = nearest[block, i] if step else x * x + y * y + z * z
            if ranked > farthest:
                farthest, taken = ranked, i
        best[own], where[own] = farthest, taken
        cuda.syncthreads()  # type: ignore[attr-defined]
        others = TEAM // 2
        while others:  # the farthest of all, and of equally far ones the first
            if own < others:
                far, row = best[own + others], where[own + others]
                if far > best[own] or (far == best[own] and row < where[own]):
                    best[own], where[own] = far, row
            cuda.syncthreads()  # type: ignore[attr-defined]
            others //= 2
        taken, farthest = where[0], best[0]
        cuda.syncthreads()  # type: ignore[attr-defined]  # before they are written again
        if own == 0:
            order[block, step] = taken
            reach[block, step] = farthest if step else np.inf
        u, v, w = points[0, start + taken], points[1, start + taken], points[2, start + taken]
        for i in range(own, count, TEAM):
            x, y, z = points[0, start + i], points[1, start + i], points[2, start + i]
            squared = (x - u) ** 2 + (y - v) ** 2 + (z - w) ** 2
            nearest[block, i] = min(nearest[block, i], squared)
