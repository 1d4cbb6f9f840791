"""Procedural meshes of few large faces, and what subdivision makes of them."""

import numpy as np
import trimesh
from manifold3d import Manifold
from numpy.typing import NDArray

from ..errors import DataError
from .procedural_bodies import bent_blob, blob, creature
from .procedural_parts import Array, log_uniform, solid_of

MOST_SUBDIVIDED = 6_000  # faces that are subdivided once more
SIDES = np.array(  # corners of the six sides of a unit cell, anticlockwise seen from outside
    [
        [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]],
        [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1]],
        [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]],
        [[0, 1, 0], [0, 1, 1], [1, 1, 1], [1, 1, 0]],
        [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]],
        [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]],
    ]
)
STEPS = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])


def rock(rng: np.random.Generator) -> Manifold:
    """The hull of 6 to 40 random points, in a ball or a box."""
    points = rng.normal(size=(int(rng.integers(6, 41)), 3))
    if rng.random() < 0.5:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    return Manifold.hull_points(points * np.exp(rng.uniform(np.log(0.4), 0, 3)))


def decimated(rng: np.random.Generator) -> Manifold:
    """A smooth body of which only coarse facets are left."""
    maker = (blob, bent_blob, creature)[int(rng.integers(3))]
    body = maker(rng)
    x0, y0, z0, x1, y1, z1 = body.bounding_box()
    size = float(np.linalg.norm([x1 - x0, y1 - y0, z1 - z0]))
    return body.set_tolerance(size * log_uniform(rng, 0.01, 0.04))


def box_model(rng: np.random.Generator) -> Manifold:
    """Cells joined side by side and pulled about, as modellers begin."""
    return solid_of(*_cage(rng))


def subdivided(rng: np.random.Generator) -> Manifold:
    """A cage of cells, or a hull, rounded by subdivision (Loop 1987)."""
    vertices, faces = _cage(rng)
    if rng.random() < 0.3:
        mesh = rock(rng).to_mesh64()
        vertices = np.asarray(mesh.vert_properties)[:, :3]
        faces = np.asarray(mesh.tri_verts).astype(np.int64)
    for _ in range(int(rng.integers(1, 5))):
        if len(faces) <= MOST_SUBDIVIDED:
            vertices, faces = trimesh.remesh.subdivide_loop(vertices, faces, iterations=1)
    return solid_of(vertices, faces)


def _cage(rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """The boundary of 2 to 16 cells that hang together by their sides, out of shape.

    Raises:
        DataError: If cells meet only along an edge.
    """
    cells = {(0, 0, 0)}
    for _ in range(int(rng.integers(1, 16))):
        near = sorted(cells)[int(rng.integers(len(cells)))]
        cells.add(tuple((near + STEPS[rng.integers(6)]).tolist()))
    quads = [
        cell + side
        for cell in sorted(cells)
        for side, step in zip(SIDES, STEPS, strict=True)
        if tuple((cell + step).tolist()) not in cells
    ]
    corners, index = np.unique(np.concatenate(quads), axis=0, return_inverse=True)
    a, b, c, d = index.reshape(-1, 4).T
    faces = np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    if (np.unique(edges, axis=0, return_counts=True)[1] != 2).any():
        raise DataError("procedural cage: cells meet along an edge; draw another")
    stretch = np.exp(rng.uniform(np.log(0.5), 0, 3))
    moved = corners + rng.uniform(0, 0.2) * rng.uniform(-1, 1, corners.shape)
    return stretch * moved, faces
