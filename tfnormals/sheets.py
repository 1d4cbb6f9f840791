"""Sheets whose patches disagree about the side: the surer ones decide for the others.

On open sheets, and where a shape says little about inside and outside, points agree on a side
with their neighbours, but patches of them do not with other patches. On one sheet they have to.
Patches are joined across their borders, the clearest first, as a spanning tree joins points in
Hoppe et al., *Surface reconstruction from unorganized points*, 1992; what speaks for either side
is summed, and what is left of it tells how sure the side of the whole is.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from .graph_loops import Nearest, Rows
from .storage import room
from .tensorframes.edge_loops import Real
from .tensorframes.loops import array, compiled, over_points, space

Flags = NDArray[np.bool_]

BORDER = 0.5
"""Least weight of what neighbours deny each other across a border, for each square root of the
points of the smaller patch; chosen on held-out meshes. A border all round a patch has about 2."""
_SAME = 0.01
"""Least influence of neighbours that belong to one patch."""
_SMALLEST = 30
"""Points of the smallest patch that is joined: smaller ones are noise."""


def unite(
    heard: Float[Tensor, "k n"],
    neighbors: Int[Tensor, "k n"],
    logit: Float[Tensor, " n"],
    scale: float,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The logits with one side for each sheet, and what share of their certainty is left, 0 to 1.

    Args:
        heard: How much the sides of neighbours say about those of points, see
            ``orientation.influence``.
        neighbors: Rows of the neighbours; the first is the point itself.
        logit: Of the sides; its sign tells which.
        scale: Of logits, so that ``tanh(scale * logit / 2)`` is how certain a side is.
    """
    denied = space(logit.shape, logit.dtype, logit.device)
    over_points(_deny, len(logit), (heard, neighbors, logit), (denied,))
    if denied.sum() < BORDER * math.sqrt(_SMALLEST):  # no border is clear enough
        return logit, denied.fill_(1)
    joined = space(logit.shape, logit.dtype, torch.device("cpu")).copy_(logit)
    given = array(heard.cpu()), array(neighbors.cpu()), joined.numpy()
    left = torch.from_numpy(_joined_patches(*given, scale))
    return joined.to(logit.device), left.to(logit.device)


@compiled
def _deny(
    heard: Real, neighbors: Nearest, logit: Real, start: int, stop: int, denied: Real
) -> None:
    """Fills in how much neighbours deny the side of each point (n,)."""
    for i in range(start, stop):
        total = 0.0
        for j in range(1, len(neighbors)):
            total += max(-_agreement(heard, neighbors, logit, j, i), 0.0)
        denied[i] = total


def _joined_patches(heard: Real, neighbors: Nearest, logit: Real, scale: float) -> Real:
    """Turns the logits of patches that are joined; returns what share of certainty is left."""
    patch, left = room(logit.shape, np.int64), room(logit.shape, logit.dtype)
    count = _number_patches(heard, neighbors, logit, room(logit.shape, np.int64), patch)
    left[:] = 1
    if count < 2:
        return left
    size, certain = np.zeros(count, np.int64), np.zeros(count)
    _sum_patches(patch, logit, scale, size, certain)
    given = heard, neighbors, logit, patch
    crossing = _cross(*given, np.empty((0, 2), np.int64), np.empty(0))
    pairs, denied = np.empty((crossing, 2), np.int64), np.empty(crossing)
    _cross(*given, pairs, denied)
    border, row = np.unique(pairs[:, 0] * count + pairs[:, 1], return_inverse=True)
    weight = np.bincount(row, denied, len(border))
    clearest = np.argsort(-weight, kind="stable")
    clearest = clearest[weight[clearest] > 0]
    turned, shares = np.zeros(count, np.bool_), np.ones(count)
    _join(border[clearest], weight[clearest], size, certain, turned, shares)
    _settle(patch, turned, shares, logit, left)
    return left


@compiled
def _number_patches(
    heard: Real, neighbors: Nearest, logit: Real, before: Rows, patch: Rows
) -> int:
    """Fills in the number of the patch of each point (n,), or -1; returns how many there are.

    Args:
        heard: See ``unite``, as the next two.
        neighbors: See above.
        logit: See above.
        before: (n,) becomes the first point of each patch.
        patch: (n,)
    """
    count = 0
    for i in range(len(before)):
        before[i], patch[i] = i, 0
    for i in range(len(before)):
        for j in range(1, len(neighbors)):
            if _agreement(heard, neighbors, logit, j, i) > _SAME:
                one, other = _first(before, i), _first(before, neighbors[j, i])
                before[max(one, other)] = min(one, other)
    for i in range(len(before)):
        before[i] = _first(before, i)
        patch[before[i]] += 1  # at first points their size, and then the number
    for i in range(len(before)):
        if before[i] < i:
            patch[i] = patch[before[i]]
        elif patch[i] < _SMALLEST:
            patch[i] = -1
        else:
            patch[i] = count
            count += 1
    return count


@compiled
def _agreement(heard: Real, neighbors: Nearest, logit: Real, j: int, i: int) -> float:
    """How much a neighbour agrees with the side of a point; negative if it denies it."""
    same = (logit[i] < 0) == (logit[neighbors[j, i]] < 0)
    return heard[j, i] if same else -heard[j, i]


@compiled
def _first(before: Rows, i: int) -> int:
    """The first point of a patch, to which paths become shorter."""
    while before[i] != i:
        before[i] = before[before[i]]
        i = before[i]
    return i


@compiled
def _sum_patches(patch: Rows, logit: Real, scale: float, size: Rows, certain: Real) -> None:
    """Adds up the points of patches and how certain they are."""
    for i in range(len(patch)):
        if patch[i] >= 0:
            size[patch[i]] += 1
            certain[patch[i]] += math.tanh(scale * abs(logit[i]) / 2)


@compiled
def _cross(
    heard: Real, neighbors: Nearest, logit: Real, patch: Rows, pairs: Rows, denied: Real
) -> int:
    """Counts neighbours in different patches; fills in which, and how much they deny each other.

    Args:
        heard: See ``unite``, as the next two.
        neighbors: See above.
        logit: See above.
        patch: (n,) of each point.
        pairs: (c, 2) patches, the lower number first; with (0, 2) they are only counted.
        denied: (c,) negative where two points agree.
    """
    count = 0
    for i in range(len(patch)):
        for j in range(1, len(neighbors)):
            one, other = patch[i], patch[neighbors[j, i]]
            if one != other and min(one, other) >= 0:
                if count < len(pairs):
                    pairs[count, 0], pairs[count, 1] = min(one, other), max(one, other)
                    denied[count] = -_agreement(heard, neighbors, logit, j, i)
                count += 1
    return count


@compiled
def _join(
    border: Rows, weight: NDArray[Any], size: Rows, certain: Real, turned: Flags, shares: Real
) -> None:
    """Joins patches across borders; fills in which turn, and what share of certainty is left.

    Args:
        border: (b,) numbers of the two patches, as one number; the clearest first.
        weight: (b,) how clear.
        size: (p,) points of each patch.
        certain: (p,) their certainty, summed.
        turned: (p,)
        shares: (p,) from 0 to 1.
    """
    count, into, against = len(size), np.arange(len(size)), np.zeros(len(size), np.bool_)
    points, whole, net = size.copy(), certain.copy(), certain.copy()
    for e in range(len(border)):
        one, one_turned = _joined(into, against, border[e] // count)
        other, other_turned = _joined(into, against, border[e] % count)
        if points[one] < points[other]:
            one, other = other, one
        if one != other and weight[e] >= BORDER * math.sqrt(points[other]):
            into[other], against[other] = one, one_turned == other_turned
            net[one] += -net[other] if against[other] else net[other]
            whole[one] += whole[other]
            points[one] += points[other]
    for i in range(count):
        one, one_turned = _joined(into, against, i)
        turned[i] = one_turned != (net[one] < 0)
        shares[i] = abs(net[one]) / whole[one] if whole[one] > 0 else 1


@compiled
def _joined(into: Rows, against: Flags, i: int) -> tuple[int, bool]:
    """The patch that a patch was joined to in the end, and whether their sides are opposite."""
    turned = False
    while into[i] != i:
        turned = turned != against[i]
        i = into[i]
    return i, turned


@compiled
def _settle(patch: Rows, turned: Flags, shares: Real, logit: Real, left: Real) -> None:
    """Turns the logits of points as their patches were, and fills in their shares (n,)."""
    for i in range(len(patch)):
        if patch[i] >= 0:
            left[i] = shares[patch[i]]
            logit[i] = -logit[i] if turned[patch[i]] else logit[i]
