"""Sides of normals: agreement among neighbours, and the direction of a sensor."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from .geometry import Array
from .network import Answer, LevelTensors

COUPLING = 90.0
"""Weight of the neighbours' sides per squared expected error; chosen on held-out meshes."""
SWEEPS = 10

GRAZING = 0.17
"""Cosine to the line of sight below which the side seen from a viewpoint is uncertain: 80 deg."""


def informed(answer: Answer, overview: Answer, finest: list[LevelTensors]) -> Answer:
    """The answer after every point has heard what a second look at the whole shape says.

    From fewer points the same network sees further, as its neighbourhoods are wider, and knows
    more about sides; the normals stay those of the first look.

    Args:
        answer: For the points of the cloud.
        overview: For the points left after the levels of ``finest``.
        finest: The levels of the cloud between its points and those of the overview.
    """
    arrows = overview.logit[:, None] * overview.normals
    for level in reversed(finest):
        arrows = (arrows[level.parents] * level.weights[:, :, None]).sum(0)
    logit = answer.logit + (arrows * answer.normals).sum(1)
    normals = torch.where((logit < 0)[:, None], -answer.normals, answer.normals)
    return Answer(normals, logit.abs(), answer.error)


def agreed(answer: Answer, neighbors: Int[Tensor, "k n"]) -> Answer:
    """The answer after every point has heard its neighbours about the sides.

    The mean field of an Ising model: each point keeps its own logit and adds what its neighbours
    think, as far as their normals are parallel. The coupling grows with the noise, measured by
    the median expected error: in a clean cloud the network knows better than the neighbours,
    which may be the other sheet of a thin wall; in noise its mistakes are single points. The new
    logit is the mean evidence of the neighbourhood for the side that was chosen.

    Args:
        answer: Of the network.
        neighbors: Rows of the neighbours; the first is the point itself.
    """
    normals, logit, error = answer
    cosine = (normals[neighbors] * normals).sum(2)
    coupling = COUPLING * error.median() ** 2 / (len(neighbors) - 1)
    weights = coupling * cosine[1:] * cosine[1:].abs()
    field = logit
    for _ in range(SWEEPS):
        field = logit + (weights * (field / 2).tanh()[neighbors[1:]]).sum(0)
    flip = field < 0
    evidence = (cosine * logit[neighbors]).mean(0)
    chosen = torch.where(flip, -evidence, evidence).clamp(min=0)
    return Answer(torch.where(flip[:, None], -normals, normals), chosen, error)


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
