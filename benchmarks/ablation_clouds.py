"""Noisy clouds of upright solids, each with its graph, which is built once for all poses.

The makers are those that build along the axes: floors lie in the plane of x and y, so that the
pose as made means something and a network may learn it by heart.
"""

from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tfnormals.data import procedural_frames as frames
from tfnormals.data import procedural_solids as solids
from tfnormals.data import procedural_thin as thin
from tfnormals.data.procedural import surface_of
from tfnormals.data.procedural_parts import Maker
from tfnormals.data.sampling import surface_sample
from tfnormals.data.surfaces import Surface
from tfnormals.errors import DataError
from tfnormals.graph import NEIGHBORS, build_graph

Split = Literal["train", "test"]
Pose = Literal["aligned", "z", "SO(3)", "O(3)"]
POSES: tuple[Pose, ...] = ("aligned", "z", "SO(3)", "O(3)")
UPRIGHT: tuple[Maker, ...] = (
    solids.drilled_plate,
    solids.bracket,
    solids.shaft,
    solids.staircase,
    solids.grooved_block,
    solids.lathe_part,
    solids.extrusion,
    thin.open_box,
    frames.table,
)
LEVELS = 3
LARGEST_NOISE = 0.01
"""In diagonals of the bounding box; five hundred points are about four times as far apart."""


class Level(NamedTuple):
    """One resolution of some clouds; n points, k neighbours, the point itself first."""

    pos: Float[Tensor, "n 3"]
    """In units of the mean radius of the neighbourhoods."""
    cloud: Int[Tensor, " n"]
    """To which cloud a point belongs."""
    shape: Float[Tensor, "n 3"]
    """Principal extents of the neighbourhood, which no motion changes."""
    neighbors: Int[Tensor, "k n"]
    edges: Float[Tensor, "k n 2"]
    """Length, and logarithm of the envelope."""
    sampled: Int[Tensor, " m"]
    """Rows that form the next level."""
    parents: Int[Tensor, "p n"]
    weights: Float[Tensor, "p n"]
    """From which rows of the next level features are interpolated, and how."""


class Clouds(NamedTuple):
    """One or more clouds as one graph."""

    levels: list[Level]
    normals: Float[Tensor, "n 3"]
    """True outward normals."""


def cloud(split: Split, index: int, points: int, dtype: torch.dtype = torch.float32) -> Clouds:
    """Cloud number ``index`` of an endless, seeded set of solids; no solid is in both splits."""
    rng = np.random.default_rng([int(split == "test"), index])
    surface = _surface(UPRIGHT[index % len(UPRIGHT)], rng)
    clean, normals = surface_sample(surface, points, rng)
    noisy = clean + rng.normal(0, rng.uniform(0, LARGEST_NOISE), clean.shape)
    graph = build_graph(noisy)
    rows, levels = graph.order, []
    for level in graph.levels[:LEVELS]:
        pos = noisy[rows]
        near, edges = level.receivers, level.receivers.edges
        reach = np.linalg.norm(pos[near.neighbors.numpy()] - pos, axis=2)
        levels.append(
            Level(
                torch.from_numpy(pos * float(edges[3].sum()) / reach.sum()).to(dtype),
                torch.zeros(len(pos), dtype=torch.long),
                near.moments[:, :3].to(dtype),
                near.neighbors,
                edges[[3, 5]].permute(1, 2, 0).to(dtype),
                level.sampled,
                level.parents,
                level.weights.to(dtype),
            )
        )
        rows = rows[level.sampled.numpy()]
    return Clouds(levels, torch.from_numpy(normals[graph.order]).to(dtype))


def _surface(maker: Maker, rng: np.random.Generator) -> Surface:
    while True:
        try:
            return surface_of(maker.__name__, maker(rng)).scaled()
        except DataError:
            continue  # a draw may close on itself


def edge_index(neighbors: Int[Tensor, "k n"]) -> Int[Tensor, "2 e"]:
    """Edges from neighbours to receivers, in the order of ``neighbors.flatten()``."""
    receivers = torch.arange(neighbors.shape[1]).repeat(NEIGHBORS)
    return torch.stack([neighbors.flatten(), receivers])


def pose_matrix(pose: Pose, index: int) -> Float[Tensor, "3 3"]:
    """How cloud number ``index`` is turned; every other one is mirrored, too, for O(3)."""
    rng = np.random.default_rng([POSES.index(pose), index])
    if pose == "aligned":
        return torch.eye(3, dtype=torch.float64)
    if pose == "z":
        cosine, sine = np.cos(angle := rng.uniform(0, 2 * np.pi)), np.sin(angle)
        return torch.from_numpy(np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]))
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q = q * np.sign(np.linalg.det(q))
    return torch.from_numpy(-q if pose == "O(3)" and index % 2 else q)


def turned(clouds: Clouds, matrix: Float[Tensor, "3 3"]) -> Clouds:
    """The clouds moved by x -> matrix @ x; the graph stays."""
    back = matrix.T.to(clouds.normals.dtype)
    levels = [level._replace(pos=level.pos @ back) for level in clouds.levels]
    return Clouds(levels, clouds.normals @ back)


def joined(parts: list[Clouds]) -> Clouds:
    """Several clouds one after the other: rows are shifted past those of the ones before."""
    levels = []
    for several in zip(*(part.levels for part in parts), strict=True):
        own = _starts([len(one.pos) for one in several])
        coarser = _starts([len(one.sampled) for one in several])
        levels.append(
            Level(
                torch.cat([one.pos for one in several]),
                torch.cat([one.cloud + number for number, one in enumerate(several)]),
                torch.cat([one.shape for one in several]),
                torch.cat([one.neighbors + at for one, at in zip(several, own, strict=True)], 1),
                torch.cat([one.edges for one in several], 1),
                torch.cat([one.sampled + at for one, at in zip(several, own, strict=True)]),
                torch.cat([one.parents + at for one, at in zip(several, coarser, strict=True)], 1),
                torch.cat([one.weights for one in several], 1),
            )
        )
    return Clouds(levels, torch.cat([part.normals for part in parts]))


def _starts(lengths: list[int]) -> list[int]:
    return [0, *accumulate(lengths[:-1])]
