"""Closed triangle meshes, the ground truth of every cloud that is trained or scored on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

# vertices closer than this share of the bounding-box diagonal are one vertex
MERGE_DISTANCE = 1e-9
# a unit-diagonal surface that encloses less than this is taken for a flat sheet
MIN_VOLUME = 1e-9


@dataclass(frozen=True)
class Surface:
    """A closed, consistently and outward wound triangle mesh.

    Attributes:
        name: What errors and reports call it.
        vertices: Corners, ``(v, 3)``.
        faces: Vertex indices of each triangle, anticlockwise seen from outside, ``(f, 3)``.
    """

    name: str
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    def scaled(self) -> "Surface":
        """The same surface with its bounding box centred and of unit diagonal."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        vertices = (self.vertices - (low + high) / 2) / np.linalg.norm(high - low)
        return Surface(self.name, vertices, self.faces)


def closed_surface(
    name: str, vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> Surface:
    """A checked surface: wound outward, duplicate vertices merged where they leave it open.

    Several bodies keep their own winding, so a cavity stays a cavity; all are turned over
    together if the volume they enclose is negative.

    Args:
        name: What errors call the mesh.
        vertices: Corners, ``(v, 3)``.
        faces: Vertex indices of each triangle, ``(f, 3)``.

    Raises:
        DataError: If the mesh is empty, not finite, flat, open or inconsistently wound.
    """
    points, triangles = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    if not len(points) or not len(triangles):
        raise DataError(f"{name}: the mesh has no faces; a closed surface is needed")
    if not np.isfinite(points).all():
        raise DataError(f"{name}: some vertices are not finite; repair the mesh")
    if _fault(triangles):
        points, triangles = _merged(points, triangles)
    if fault := _fault(triangles):
        raise DataError(f"{name}: {fault}; repair the mesh")
    points, triangles = _used(points, triangles)
    diagonal = np.linalg.norm(np.ptp(points, axis=0))
    volume = _signed_volume(points, triangles)
    if abs(volume) <= MIN_VOLUME * diagonal**3:
        raise DataError(f"{name}: the mesh encloses no volume; a closed surface is needed")
    return Surface(name, points, triangles if volume > 0 else triangles[:, ::-1].copy())


def _merged(
    points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each position once, and the triangles that still have three corners."""
    step = MERGE_DISTANCE * np.linalg.norm(np.ptp(points, axis=0)) or 1.0
    cells = np.round((points - points.min(axis=0)) / step)
    order = np.lexsort(cells.T)
    changes = np.any(np.diff(cells[order], axis=0), axis=1)
    group = np.empty(len(points), np.int64)
    group[order] = np.r_[0, np.cumsum(changes)]
    corners = group[triangles]
    whole = np.all(corners != np.roll(corners, 1, axis=1), axis=1)
    return points[order[np.r_[True, changes]]], corners[whole]


def _used(
    points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The mesh without vertices that no triangle has."""
    used = np.zeros(len(points), bool)
    used[triangles] = True
    return points[used], (np.cumsum(used) - 1)[triangles]


def _fault(triangles: NDArray[np.int64]) -> str:
    """Why the triangles bound no solid, or nothing.

    Every edge must belong to two triangles that run along it in opposite directions.
    """
    if not len(triangles):
        return "every face is degenerate"
    start, end = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    size = int(triangles.max()) + 1
    forward, backward = np.sort(start * size + end), np.sort(end * size + start)
    if np.array_equal(forward, backward) and np.all(np.diff(forward)):
        return ""
    edges = np.minimum(start, end) * size + np.maximum(start, end)
    bad = int(np.count_nonzero(np.unique(edges, return_counts=True)[1] != 2))
    if bad:
        return f"not watertight, {bad} edges do not have two faces"
    return "not consistently wound, neighbouring faces run the same way along an edge"


def _signed_volume(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> float:
    """Volume enclosed, positive if wound outward: the sum of det(a, b, c) / 6."""
    a, b, c = np.moveaxis((points - points.mean(axis=0))[triangles], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
