"""Behaviour of closed surfaces and of the procedural ones."""

import numpy as np
import pytest
import trimesh
from manifold3d import Manifold

from tfnormals.data import procedural_bodies as bodies
from tfnormals.data import procedural_lowpoly as lowpoly
from tfnormals.data import procedural_rooms as rooms
from tfnormals.data import procedural_text as text
from tfnormals.data.procedural import FAMILIES, MAX_FACES, procedural_surface, surface_of
from tfnormals.data.rendering import faces_of, windings
from tfnormals.data.sampling import surface_sample
from tfnormals.data.scanning import eyes_above, inside_scan_sample, scan_sample
from tfnormals.data.surfaces import Surface, closed_surface
from tfnormals.errors import DataError

MAKERS = sorted({m for makers in FAMILIES.values() for m in makers}, key=lambda m: m.__name__)
SHEETS = [maker for maker in MAKERS if maker in FAMILIES["sheets"]]
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


def made(maker, seed: int) -> Surface:
    """The first surface of a maker from this seed on."""
    while True:
        try:
            return surface_of(maker.__name__, maker(np.random.default_rng(seed))).scaled()
        except DataError:
            seed += 1


def inside(surface: Surface, places: np.ndarray) -> np.ndarray:
    """How many bodies contain each place."""
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    return windings(surface, faces_of(surface), places, axes)


@pytest.mark.parametrize("seed", [0, 20])
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_normals_lead_out_of_the_solid(maker, seed):
    surface = made(maker, seed)
    points, normals = surface_sample(surface, 60, np.random.default_rng(0))
    step = 1e-5 * normals
    assert np.mean(inside(surface, points + step) == 0) > 0.95
    assert np.mean(inside(surface, points - step) == 1) > 0.95


@pytest.mark.parametrize(
    "maker", sorted(set(FAMILIES["sheets"]), key=lambda maker: maker.__name__)
)
def test_sheets_have_others_in_front_of_them(maker):
    near = []
    for seed in range(4):
        surface = made(maker, seed)
        points, normals = surface_sample(surface, 40, np.random.default_rng(0))
        steps = [inside(surface, points + away * normals) for away in np.arange(2e-3, 0.04, 3e-3)]
        near.append(np.any(steps, axis=0).mean())
    assert 0.3 < np.mean(near) < 0.98


def test_letters_are_bodies_of_their_own():
    counts = [mesh_of(made(text.lettering, seed)).body_count for seed in range(5)]
    assert 2 < max(counts) <= 16


def test_what_stands_between_two_dollars_is_no_formula(monkeypatch):
    monkeypatch.setattr(text, "LETTERS", "$^")
    for seed in range(8):
        assert text._text(np.random.default_rng(seed), 8).num_contour() >= 8


def test_subdivision_rounds_what_was_edged():
    bends = []
    for maker in (lowpoly.subdivided, lowpoly.box_model, lowpoly.rock):
        meshes = [mesh_of(made(maker, seed)) for seed in range(8)]
        bends.append(np.degrees([np.median(mesh.face_adjacency_angles) for mesh in meshes]))
    rounded, *edged = np.mean(bends, axis=1)
    assert rounded < 0.6 * min(edged)


@pytest.mark.parametrize("seed", range(4))
def test_decimation_leaves_fewer_faces(seed):
    rng = np.random.default_rng(seed)
    body = (bodies.blob, bodies.bent_blob, bodies.creature)[rng.integers(3)](rng)
    coarse = lowpoly.decimated(np.random.default_rng(seed))
    assert 4 <= coarse.num_tri() < 0.9 * body.num_tri()
    assert 0.4 < coarse.volume() / body.volume() < 1.2


@pytest.mark.parametrize("maker", FAMILIES["outdoors"], ids=lambda maker: maker.__name__)
def test_ground_has_all_sides_but_shows_its_upper_one_from_above(maker):
    surface, rng = made(maker, 3), np.random.default_rng(0)
    _, normals, _ = scan_sample(surface, 1000, rng, eyes_above(2, rng))
    assert len(normals) > 900
    assert np.mean(normals[:, 2] > 0) > 0.8
    assert (surface_sample(surface, 1000, rng)[1][:, 2] < -0.9).mean() > 0.1


@pytest.mark.parametrize("maker", FAMILIES["rooms"], ids=lambda maker: maker.__name__)
def test_rooms_have_space_for_a_scanner(maker):
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        surface = surface_of(maker.__name__, maker(rng)).scaled()
        found += len(inside_scan_sample(surface, 500, rng, 2)[0]) >= 250
    assert found >= 4


def test_surfaces_whose_furniture_is_empty_are_drawn_again(monkeypatch):
    for makers in ("BULKY", "SMALLER"):
        monkeypatch.setattr(rooms, makers, (lambda _: Manifold(),))
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert np.isfinite(procedural_surface(rng).vertices).all()
    refused = 0
    for seed in range(6):
        try:
            rooms.room(np.random.default_rng(seed))
        except DataError as error:
            refused += "no volume" in str(error)
    assert refused >= 3


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
