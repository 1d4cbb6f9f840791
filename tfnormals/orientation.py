"""Sides of normals: a second look, agreement within sheets, and the direction of a sensor."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .geometry import Array
from .network import Answer
from .tensorframes.layers import CHUNK

OVERVIEW_WEIGHT = 2.0
"""Weight of the overview's logits beside a point's own; chosen on held-out meshes."""
HEIGHT = 0.03
"""Height over a tangent plane at which points are of two sheets, in distances to the farthest
point that is heard; chosen on held-out meshes."""
ROUNDS = 16
OVERVIEW_ROUNDS = 128
"""Times that points hear their neighbours: far enough to cross the faces of most shapes."""
_FAINT = 1e-6
"""Total weight of what is heard below which there is nothing to hear."""

GRAZING = 0.17
"""Cosine to the line of sight below which the side seen from a viewpoint is uncertain: 80 deg."""


class Placed(NamedTuple):
    """An answer and where its points are."""

    answer: Answer
    positions: Float[Tensor, "3 n"]
    """In any unit, the same for whatever is compared."""


def informed(first: Placed, overview: Placed, near: Int[Tensor, "k n"]) -> Answer:
    """The answer after every point has heard what a second look at the whole shape says.

    From fewer points the same network sees further, as its neighbourhoods are wider, and knows
    more about sides; the normals stay those of the first look.

    Args:
        first: For the points of the cloud.
        overview: For fewer points of the same cloud.
        near: For each point of the cloud, rows of the overview, by distance.
    """
    heard = influence(first, overview, near)
    logit = first.answer.logit + OVERVIEW_WEIGHT * (heard * overview.answer.logit[near]).sum(0)
    return _turned(first.answer, logit)


def agreed(cloud: Placed, neighbors: Int[Tensor, "k n"], rounds: int) -> Answer:
    """The answer after the points of a sheet have agreed on its side.

    The logits diffuse over the sheets: each becomes the mean of what the neighbours say.

    Args:
        cloud: For the points of the cloud.
        neighbors: Rows of the neighbours, by distance; the first is the point itself.
        rounds: Number of times that the neighbours are heard.
    """
    heard = influence(cloud, cloud, neighbors).split(CHUNK, 1)
    rows, logit = neighbors.split(CHUNK, 1), cloud.answer.logit
    for _ in range(rounds):
        logit = torch.cat([(h * logit[r]).sum(0) for h, r in zip(heard, rows, strict=True)])
    return _turned(cloud.answer, logit)


def influence(
    listeners: Placed, speakers: Placed, rows: Int[Tensor, "k n"]
) -> Float[Tensor, "k n"]:
    """How much the sides of some points say about those of others: -1 to 1, all at most 1.

    A speaker counts as far as it is near and on the same sheet: neither point is high over the
    tangent plane of the other. Otherwise the far side of a thin wall, which is nearer than the
    next point of the same side, would be heard, and believed. The sign is that of the product of
    the normals.

    Args:
        listeners: Who hears.
        speakers: Who is heard.
        rows: For each listener, rows of speakers, by distance; the last one only tells how far
            that is.
    """
    parts = [
        _influence(listeners, speakers, rows, slice(start, start + CHUNK))
        for start in range(0, rows.shape[1], CHUNK)
    ]
    return torch.cat(parts, 1)


def _influence(
    listeners: Placed, speakers: Placed, rows: Int[Tensor, "k n"], part: slice
) -> Float[Tensor, "k m"]:
    rows = rows[:, part]
    mine, theirs = listeners.answer.normals[part].T, speakers.answer.normals.T[:, rows]
    offset = speakers.positions[:, rows] - listeners.positions[:, None, part]
    squared = (offset**2).sum(0)
    reach = squared[-1].clamp(min=torch.finfo(squared.dtype).tiny)
    height = (offset * mine[:, None]).sum(0) ** 2 + (offset * theirs).sum(0) ** 2
    weight = (1 - squared / reach).clamp(min=0) ** 2 * (height / (-2 * HEIGHT**2 * reach)).exp()
    return weight * (theirs * mine[:, None]).sum(0) / (weight.sum(0) + _FAINT)


def _turned(answer: Answer, logit: Float[Tensor, " n"]) -> Answer:
    """The answer with other logits of its normals."""
    normals = torch.where((logit < 0)[:, None], -answer.normals, answer.normals)
    return Answer(normals, logit.abs(), answer.error)


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
