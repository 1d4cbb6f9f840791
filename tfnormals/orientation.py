"""Sides of normals: a second look, agreement within sheets, and the direction of a sensor."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .geometry import Array
from .graph_loops import Nearest
from .network import Answer
from .sheets import unite
from .tensorframes.edge_loops import Real, squared_distance
from .tensorframes.loops import chunked, compiled, over_points, space

OVERVIEW_WEIGHT, SHARED_WEIGHT = 1.5, 0.5
"""Weight of an overview's logits beside a point's own, of a single one and of each of several, for
each level that it leaves out: so much further does it see. Chosen on held-out meshes."""
PART_WEIGHT = 0.25
"""Weight of a part's own logits beside what is known of the whole, for each level but one that
this leaves out: where a part was cut off it looks like the end of a surface, so it has a say only
in what the whole is too coarse for. Chosen on held-out meshes, scans of rooms and open sheets."""
HEIGHT = 0.02
"""Height over a tangent plane at which points are of two sheets, in distances to the farthest
point that is heard; chosen on held-out meshes."""
ROUNDS = 16
OVERVIEW_ROUNDS = 128
"""Times that points hear their neighbours: far enough to cross the faces of most shapes."""
LONG_CHUNK = 65_536
"""Points that hear their neighbours at a time; a thread takes as long to start."""
LOGIT_SCALE = 0.25
"""Turns what sheets have agreed on into the logit of a side being right; fitted on held-out
meshes."""
_SMALLEST = float(np.finfo(np.float64).tiny)
_FAINT = 1e-6
"""Total weight of what is heard below which there is nothing to hear."""

GRAZING = 0.17
"""Cosine to the line of sight below which the side seen from a viewpoint is uncertain: 80 deg."""


class Placed(NamedTuple):
    """An answer and where its points are."""

    answer: Answer
    positions: Float[Tensor, "3 n"]
    """In any unit, the same for whatever is compared."""


class Settled(NamedTuple):
    """An answer whose sides are settled."""

    answer: Answer
    left: Float[Tensor, " n"]
    """What share of the certainty that the logits tell is left, since patches of one sheet
    spoke for opposite sides: 0 to 1."""

    def certainty(self) -> Float[Tensor, " n"]:
        """How certain the sides are, from 0 to 1."""
        logit, left = self.answer.logit, self.left

        def certain(rows: slice) -> list[Tensor]:
            return [left[rows] * (LOGIT_SCALE * logit[rows] / 2).tanh()]

        (certainty,) = chunked(certain, len(left), (0,), left.device)
        return certainty


class Whole(NamedTuple):
    """What is known of a surface, for a cloud that is a part of it."""

    answer: Answer
    """For points from all over it, on the CPU."""
    positions: Float[Tensor, "3 n"]
    """Of these."""
    left: Float[Tensor, " n"]
    """See ``Settled``."""


def informed(first: Placed, overview: Placed, near: Int[Tensor, "k n"], weight: float) -> Answer:
    """The answer after every point has heard what a second look at the whole shape says.

    From fewer points the same network sees further, as its neighbourhoods are wider, and knows
    more about sides; the normals stay those of the first look. Where it is unsure of a direction,
    as in folds narrower than its spacing, it cannot know the side and counts less.

    Args:
        first: For the points of the cloud.
        overview: For fewer points of the same cloud.
        near: For each point of the cloud, rows of the overview, by distance.
        weight: Of what the overview says beside a point's own logit.
    """
    said = overview.answer.logit * (1 - overview.answer.error) ** 2
    heard = _weighed(influence(first, overview, near), near, said)
    return _turned(first.answer, first.answer.logit + weight * heard)


def agreed(cloud: Placed, neighbors: Int[Tensor, "k n"], rounds: int) -> Answer:
    """The answer after the points of a sheet have agreed on its side.

    The logits diffuse over the sheets: each becomes the mean of what the neighbours say.

    Args:
        cloud: For the points of the cloud.
        neighbors: Rows of the neighbours, by distance; the first is the point itself.
        rounds: Number of times that the neighbours are heard.
    """
    _, logit = _diffused(cloud, neighbors, rounds)
    return _turned(cloud.answer, logit)


def settled(cloud: Placed, neighbors: Int[Tensor, "k n"]) -> Settled:
    """As ``agreed``, and then patches of a sheet that still disagree take one side as well.

    Args:
        cloud: For the points of the cloud.
        neighbors: Rows of the neighbours, by distance; the first is the point itself.
    """
    heard, logit = _diffused(cloud, neighbors, ROUNDS)
    logit, left = unite(heard, neighbors, logit, LOGIT_SCALE)
    return Settled(_turned(cloud.answer, logit), left)


def _diffused(cloud: Placed, neighbors: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """What neighbours say to each other, (k, n), and the logits after so many rounds, (n,)."""
    heard, logit = influence(cloud, cloud, neighbors), cloud.answer.logit
    for _ in range(rounds):
        logit = _weighed(heard, neighbors, logit)
    return heard, logit


def influence(
    listeners: Placed, speakers: Placed, rows: Int[Tensor, "k n"]
) -> Float[Tensor, "k n"]:
    """How much the sides of some points say about those of others, -1 to 1.

    A speaker counts as far as it is near and on the same sheet: neither point is high over the
    tangent plane of the other. Otherwise the far side of a thin wall, which is nearer than the
    next point of the same side, would be heard, and believed. The sign is that of the product of
    the normals; what a listener hears of all has at most the weight 1.

    Args:
        listeners: Who hears.
        speakers: Who is heard.
        rows: For each listener, rows of speakers, by distance; the last one only tells how
            far that is.
    """
    mine, theirs = listeners.answer.normals, speakers.answer.normals
    heard = space(rows.shape, mine.dtype, mine.device)
    given = mine, theirs, listeners.positions, speakers.positions, rows, HEIGHT
    over_points(_influence, rows.shape[1], given, (heard,))
    return heard


@compiled
def _influence(
    mine: Real,
    theirs: Real,
    here: Array,
    there: Array,
    rows: Nearest,
    tolerance: float,
    start: int,
    stop: int,
    heard: Real,
) -> None:
    """Fills in the influence (k, n), from normals (n, 3) and positions (3, n) of both."""
    last = len(rows) - 1
    for i in range(start, stop):
        reach = max(squared_distance(there, rows[last, i], here, i), _SMALLEST)
        total = _FAINT
        for j in range(last + 1):
            row, weight, cosine, above, below = rows[j, i], 0.0, 0.0, 0.0, 0.0
            share = squared_distance(there, row, here, i) / reach
            if share < 1:
                for a in range(3):
                    offset = there[a, row] - here[a, i]
                    cosine += mine[i, a] * theirs[row, a]
                    above += mine[i, a] * offset
                    below += theirs[row, a] * offset
                height = (above * above + below * below) / reach
                weight = (1 - share) ** 2 * math.exp(-height / (2 * tolerance * tolerance))
            total += weight
            heard[j, i] = weight * cosine
        for j in range(last + 1):
            heard[j, i] /= total


def _weighed(heard: Tensor, rows: Tensor, logit: Tensor) -> Tensor:
    """What each listener hears of the logits of the speakers."""
    if logit.device.type != "cpu":  # where starting a loop takes longer than three operations
        return (heard * logit.index_select(0, rows.flatten()).view(rows.shape)).sum(0)
    total = torch.empty(rows.shape[1], dtype=logit.dtype, device=logit.device)
    over_points(_sum_heard, len(total), (heard, rows, logit), (total,), LONG_CHUNK)
    return total


@compiled
def _sum_heard(
    heard: Real, rows: Nearest, logit: Real, start: int, stop: int, total: Real
) -> None:
    total[start:stop] = 0
    for j in range(len(rows)):
        for i in range(start, stop):
            total[i] += heard[j, i] * logit[rows[j, i]]


def _turned(answer: Answer, logit: Float[Tensor, " n"]) -> Answer:
    """The answer with other logits of its normals."""

    def turned(rows: slice) -> Answer:
        normals = answer.normals[rows]
        normals = torch.where((logit[rows] < 0)[:, None], -normals, normals)
        return Answer(normals, logit[rows].abs(), answer.error[rows])

    with torch.no_grad():
        return Answer(*chunked(turned, len(logit), (0, 0, 0), logit.device))


def facing(normals: Array, sight: Array) -> tuple[Array, Array]:
    """Normals turned towards the sensor, and how clearly each faces it, 0 to 1.

    Args:
        normals: (n, 3) unit vectors, or (n, 2).
        sight: From each point to the sensor, of any length; zero or not finite means unknown,
            with clearness 0.
    """
    size = np.abs(sight).max(1, keepdims=True)
    known = np.isfinite(size) & (size > 0)
    sight = np.where(known, sight, 0.0) / np.where(known, size, 1.0)  # squares cannot overflow
    distance = np.linalg.norm(sight, axis=1)
    cosine = (normals * sight).sum(1) / np.where(distance > 0, distance, 1.0)
    turned = np.where(cosine[:, None] < 0, -normals, normals)
    return turned, np.minimum(np.abs(cosine) / GRAZING, 1.0)
