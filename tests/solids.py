"""Closed surfaces of unit bounding-box diagonal that the tests of sampling and scanning share."""

import trimesh

from tfnormals.data.surfaces import Surface, closed_surface


def surface_of(mesh: trimesh.Trimesh, name: str = "shape") -> Surface:
    return closed_surface(name, mesh.vertices, mesh.faces).scaled()


def box(*extents: float) -> Surface:
    return surface_of(trimesh.creation.box(extents))


def sphere() -> Surface:
    return surface_of(trimesh.creation.icosphere(4))


def hollow_box() -> Surface:
    """Walls of a tenth of the half width around an empty room."""
    outside, inside = trimesh.creation.box([1, 1, 1]), trimesh.creation.box([0.9, 0.9, 0.9])
    inside.invert()
    return surface_of(trimesh.util.concatenate([outside, inside]), "rooms/box")
