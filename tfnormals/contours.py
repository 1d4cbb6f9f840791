"""Normals of 2-D contours: outlines of shapes, holes included, given as unordered points."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from .geometry import Array
from .graph import Graph, build_graph
from .pretrained import models_dir
from .tensorframes import turned
from .tensorframes.anydim import (
    AnyDimConfig,
    AnyDimLevel,
    AnyDimNeighborhoods,
    AnyDimNetwork,
    null_direction,
)

CONTOUR_MODEL = "contour-v1"

SIDES_OWN_VOTE = 1e-4
"""Weight of a point's own opinion on its side against that of its neighbours; chosen on outlines
like those of training."""
EVIDENCE_OWN_VOTE = 1e-2
"""The same when the opinions are averaged: only those nearby count."""
_SWEEPS = 300
_SOLVED = 1e-6


class Contour(NamedTuple):
    """What is known of the points of a contour."""

    normals: Array
    """(n, 2) unit vectors pointing outward."""
    certainty: Array
    """(n,) of the sides, 0 to 1."""
    error: Array
    """(n,) from 0, a clear direction, to 1, none."""
    symmetric: bool
    """The contour has an exact symmetry: a turned copy may give other normals."""


def contour(points: Array) -> Contour:
    """The outward normals of distinct or repeated finite points (n, 2) of closed outlines.

    Raises:
        CloudError: If there are too few distinct points or all lie on one line.
    """
    graph = contour_graph(points)
    levels = frameless_levels(graph, 2)
    heard = levels[0].neighborhoods
    with torch.no_grad():
        tensor, side = load_contour_network()(levels)
        lines, gap = null_direction(tensor.double())
        votes = ((side * lines).sum(1) / 2).tanh()
        sides = agreed_sides(lines, votes, heard)
        sign = torch.where(sides < 0, -1.0, 1.0).to(lines)
        normals = lines * sign[:, None]
        evidence = mean_evidence(normals, votes * sign, heard)
    error = (1 - 2 * gap).clamp(min=0)  # the gap of points exactly on a line is a half
    certainty = evidence.clamp(0, 1) ** 2
    told = [part.numpy()[graph.inverse] for part in (normals, certainty, error)]
    return Contour(told[0], told[1], told[2], graph.pose.symmetric)


def contour_graph(points: Array) -> Graph:
    """The graph of finite points (n, 2), as that of a flat cloud."""
    return build_graph(np.pad(points, ((0, 0), (0, 1))))


def frameless_levels(graph: Graph, dimension: int) -> list[AnyDimLevel]:
    """The levels of a graph without its frames, in float32.

    Args:
        graph: Of points whose coordinates beyond the first ``dimension`` are equal.
        dimension: 2 or 3.
    """
    levels: list[AnyDimLevel] = []
    for level in graph.levels:
        near = level.receivers
        edges = near.edges
        offsets = turned(edges[:3], near.frames, back=True)[:dimension]
        heard = AnyDimNeighborhoods(near.neighbors, offsets.float(), edges[5].exp().float())
        levels.append(AnyDimLevel(heard, level.sampled, level.parents, level.weights.float()))
    return levels


def agreed_sides(
    lines: Float[Tensor, "n 2"], votes: Float[Tensor, " n"], heard: AnyDimNeighborhoods
) -> Float[Tensor, " n"]:
    """The outwardness of directions, -1 to 1, after neighbours have agreed.

    The field f solves the linear system of  min sum_ij w_ij |c_ij| (f_i - sign(c_ij) f_j)^2 +
    SIDES_OWN_VOTE sum_i (f_i - vote_i)^2: each stretch of contour takes the mean vote of its
    points. For the couplings c see ``_couplings``.

    Args:
        lines: Unit vectors.
        votes: The outwardness of each in its own opinion.
        heard: The points' neighbourhoods.
    """
    return _relaxed(_couplings(lines, heard), votes, heard, SIDES_OWN_VOTE)


def mean_evidence(
    normals: Float[Tensor, "n 2"], votes: Float[Tensor, " n"], heard: AnyDimNeighborhoods
) -> Float[Tensor, " n"]:
    """The mean vote, -1 to 1, of points nearby whose normals fit that of each point.

    As ``agreed_sides``, of normals that have agreed; neighbours that still differ do not count.
    """
    fitting = _couplings(normals, heard).clamp(min=0)
    return _relaxed(fitting, votes, heard, EVIDENCE_OWN_VOTE)


def _couplings(lines: Float[Tensor, "n 2"], heard: AnyDimNeighborhoods) -> Float[Tensor, "k-1 n"]:
    """How much, -1 to 1, each neighbour's side tells a point of its own.

    Two points of a circular arc, of the two flanks of a corner, or on opposite faces of a wall
    have normals that are mirror images in the perpendicular bisector of the points: n_j = n_i -
    2 (n_i . e) e (Hoppe et al. 1992, reflected). So c_ij = n_i . n_j - 2 (n_i . e)(n_j . e) is
    the sign that relates their sides.
    """
    neighbors, offsets, envelope = (part[..., 1:, :] for part in heard)
    offsets = offsets.double()
    own = lines.T.contiguous()
    there = own[:, neighbors]
    squared = (offsets**2).sum(0)
    across = (own[:, None] * offsets).sum(0) * (there * offsets).sum(0)
    cosine = (own[:, None] * there).sum(0) - 2 * across / squared
    return envelope.double() * cosine * cosine.abs() / len(neighbors)


def _relaxed(
    weights: Float[Tensor, "k-1 n"],
    votes: Float[Tensor, " n"],
    heard: AnyDimNeighborhoods,
    own_vote: float,
) -> Float[Tensor, " n"]:
    """The field between votes and neighbours, by conjugate gradients."""
    neighbors = heard.neighbors[1:]
    total = own_vote + _heard_both_ways(weights.abs(), torch.ones_like(votes), neighbors)

    def system(field: Tensor) -> Tensor:
        return total * field - _heard_both_ways(weights, field, neighbors)

    return _conjugate_gradients(system, own_vote * votes, total)


def _heard_both_ways(
    weights: Float[Tensor, "k-1 n"], field: Float[Tensor, " n"], neighbors: Int[Tensor, "k-1 n"]
) -> Float[Tensor, " n"]:
    """The product of the weights, made symmetric, and a field."""
    heard = (weights * field[neighbors]).sum(0)
    return heard.index_add(0, neighbors.reshape(-1), (weights * field).reshape(-1))


def _conjugate_gradients(
    system: Callable[[Tensor], Tensor], target: Float[Tensor, " n"], diagonal: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Solves a positive definite system, up to ``_SOLVED`` or ``_SWEEPS`` products."""
    solution = torch.zeros_like(target)
    rest = target
    scaled = rest / diagonal
    step, rho = scaled, (rest * scaled).sum()
    goal = _SOLVED**2 * rho
    for _ in range(_SWEEPS):
        if rho <= goal:
            break
        moved = system(step)
        length = rho / (step * moved).sum()
        solution = solution + length * step
        rest = rest - length * moved
        scaled = rest / diagonal
        rho, before = (rest * scaled).sum(), rho
        step = scaled + rho / before * step
    return solution


def contour_model_path() -> Path:
    """The file of the shipped contour model."""
    return models_dir() / "contours" / f"{CONTOUR_MODEL}.safetensors"


def load_contour_network(path: Path | None = None) -> AnyDimNetwork:
    """The shipped contour network, or that of another file, in evaluation mode."""
    path = path or contour_model_path()
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["tfnormals"])
    with torch.device("meta"):  # draws no random weights
        network = AnyDimNetwork(AnyDimConfig(**header["config"]))
    network.load_state_dict(safetensors.torch.load_file(path), assign=True)
    return network.eval().requires_grad_(requires_grad=False)
