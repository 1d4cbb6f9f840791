"""Behaviour of closed surfaces and of the procedural ones."""

import numpy as np
import pytest
import trimesh

from tfnormals.data.procedural import FAMILIES, MAX_FACES, procedural_surface, surface_of
from tfnormals.data.sampling import inside_scan_sample
from tfnormals.data.surfaces import Surface, closed_surface
from tfnormals.errors import DataError

MAKERS = sorted({m for makers in FAMILIES.values() for m in makers}, key=lambda m: m.__name__)
CUBE = trimesh.creation.box()


@pytest.fixture(scope="module")
def surfaces() -> list[Surface]:
    rng = np.random.default_rng(0)
    return [procedural_surface(rng) for _ in range(80)]


def mesh_of(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def test_same_seed_gives_identical_surfaces():
    first, second = (procedural_surface(np.random.default_rng(7)) for _ in range(2))
    assert first.name == second.name
    assert np.array_equal(first.vertices, second.vertices)
    assert np.array_equal(first.faces, second.faces)


def test_other_seed_gives_another_surface():
    first, second = (procedural_surface(np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.array_equal(first.vertices, second.vertices)


def test_surfaces_are_closed_and_wound_outward(surfaces):
    meshes = [mesh_of(surface) for surface in surfaces]
    assert all(mesh.is_watertight and mesh.is_winding_consistent for mesh in meshes)
    assert min(mesh.volume for mesh in meshes) > 0


def test_surfaces_are_centred_and_of_unit_diagonal(surfaces):
    low = np.array([surface.vertices.min(axis=0) for surface in surfaces])
    high = np.array([surface.vertices.max(axis=0) for surface in surfaces])
    assert np.allclose(low, -high, atol=1e-12)
    assert np.allclose(np.linalg.norm(high - low, axis=1), 1, atol=1e-12)


def test_surfaces_have_a_bounded_number_of_faces(surfaces):
    assert max(len(surface.faces) for surface in surfaces) <= MAX_FACES


def test_every_family_is_drawn(surfaces):
    assert {surface.name.split("/")[0] for surface in surfaces} == set(FAMILIES)


def test_some_surfaces_have_several_separate_bodies(surfaces):
    counts = [mesh_of(surface).body_count for surface in surfaces]
    assert 1 in counts
    assert max(counts) > 2


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_shape_is_closed_and_wound_outward_in_most_draws(maker):
    closed = 0
    for seed in range(6):
        try:
            mesh = mesh_of(surface_of(maker.__name__, maker(np.random.default_rng(seed))))
        except DataError:
            continue
        assert mesh.volume > 0
        closed += mesh.is_watertight and mesh.is_winding_consistent
    assert closed >= 3


@pytest.mark.parametrize("maker", FAMILIES["rooms"], ids=lambda maker: maker.__name__)
def test_rooms_have_space_for_a_scanner(maker):
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        surface = surface_of(maker.__name__, maker(rng)).scaled()
        found += len(inside_scan_sample(surface, 500, rng, 2)[0]) >= 250
    assert found >= 4


@pytest.mark.parametrize("maker", FAMILIES["rooms"], ids=lambda maker: maker.__name__)
def test_rooms_are_mostly_empty(maker):
    surface = surface_of(maker.__name__, maker(np.random.default_rng(1)))
    filled = mesh_of(surface).volume / np.prod(np.ptp(surface.vertices, axis=0))
    assert 0.01 < filled < 0.6


def test_duplicate_vertices_are_merged():
    corners = CUBE.vertices[CUBE.faces].reshape(-1, 3)
    surface = closed_surface("cube", corners, np.arange(len(corners)).reshape(-1, 3))
    assert surface.vertices.shape == (8, 3)
    assert mesh_of(surface).volume == pytest.approx(1)


def test_unused_vertices_do_not_count_towards_the_size():
    vertices = np.vstack([[[9.0, 9.0, 9.0]], CUBE.vertices])
    surface = closed_surface("cube", vertices, CUBE.faces + 1).scaled()
    assert np.abs(surface.vertices).max() == pytest.approx(0.5 / np.sqrt(3))


def test_inward_winding_is_turned_over():
    surface = closed_surface("cube", CUBE.vertices, CUBE.faces[:, ::-1])
    assert mesh_of(surface).volume == pytest.approx(1)


def test_cavity_keeps_its_own_winding():
    vertices = np.vstack([CUBE.vertices, 0.5 * CUBE.vertices])
    faces = np.vstack([CUBE.faces, CUBE.faces[:, ::-1] + 8])
    assert mesh_of(closed_surface("hollow", vertices, faces)).volume == pytest.approx(1 - 1 / 8)


FLIPPED = np.vstack([CUBE.faces[:1, ::-1], CUBE.faces[1:]])


@pytest.mark.parametrize(
    ("vertices", "faces", "reason"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), int), "no faces"),
        (CUBE.vertices, CUBE.faces[:-1], "not watertight"),
        (CUBE.vertices, FLIPPED, "not consistently wound"),
        (CUBE.vertices * [1, 1, 0], CUBE.faces, "not watertight|no volume"),
        (np.zeros((8, 3)), CUBE.faces, "no volume"),
        (np.full((8, 3), np.nan), CUBE.faces, "not finite"),
        (CUBE.vertices, CUBE.faces * 0, "degenerate"),
    ],
    ids=["empty", "open", "flipped", "flat", "point", "nan", "degenerate"],
)
def test_mesh_that_bounds_no_solid_is_refused(vertices, faces, reason):
    with pytest.raises(DataError, match=f"^part: .*({reason})"):
        closed_surface("part", vertices, faces)
