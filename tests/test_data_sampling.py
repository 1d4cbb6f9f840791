import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from tfnormals.data import sampling
from tfnormals.data.sampling import (
    COMPLETE_WEIGHT,
    PARTIAL_WEIGHT,
    STATION_CLEARANCE,
    UNDECIDABLE_WEIGHT,
    Sample,
    crop,
    inside_scan_sample,
    scan_sample,
    surface_sample,
    thinned_sample,
    training_sample,
)
from tfnormals.data.surfaces import Surface, closed_surface

MAX_RANGE_NOISE = 5 * 0.003  # five sigma of the noisiest scan of a unit-diagonal surface


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    return closed_surface("shape", mesh.vertices, mesh.faces).scaled()


def box(*extents: float) -> Surface:
    return surface_of(trimesh.creation.box(extents))


def sphere() -> Surface:
    return surface_of(trimesh.creation.icosphere(4))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def box_normals(surface: Surface, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outward normal of the side of an origin-centred box on which each point lies."""
    relative = points / surface.vertices.max(0)
    side = np.abs(relative).argmax(1)
    return np.eye(3)[side] * np.sign(relative[np.arange(len(points)), side])[:, None]


@pytest.mark.parametrize("kind", ["uniform", "gradient", "striped"])
def test_sampled_normals_are_those_of_the_box_side(kind):
    surface = box(1, 2, 3)
    if kind == "uniform":
        points, normals = surface_sample(surface, 2000, generator())
    else:
        points, normals = thinned_sample(surface, 2000, generator(), kind)
    assert points.shape == normals.shape == (2000, 3)
    np.testing.assert_allclose(normals, box_normals(surface, points), atol=1e-6)


def test_sampled_sphere_normals_point_outward():
    points, normals = surface_sample(sphere(), 2000, generator())
    outward = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.all((normals * outward).sum(1) > np.cos(np.radians(4)))  # facets turn by < 4 degrees


def test_uniform_sample_follows_area():
    surface = box(1, 1, 3)  # the two small sides have 1 / 7 of the area
    _, normals = surface_sample(surface, 20_000, generator())
    assert np.mean(np.abs(normals[:, 2]) > 0.5) == pytest.approx(1 / 7, abs=0.01)


def unevenness(ball: Surface, points: NDArray[np.float64]) -> float:
    """Relative spread of the number of points within 0.02 of the ball's vertices."""
    gaps = np.linalg.norm(ball.vertices[::10, None] - points[None], axis=2)
    counts = (gaps < 0.02).sum(1)
    return float(counts.std() / counts.mean())


@pytest.mark.parametrize("kind", ["gradient", "striped"])
def test_thinned_sample_is_denser_in_places(kind):
    ball = sphere()
    even, _ = surface_sample(ball, 20_000, generator())
    points, _ = thinned_sample(ball, 20_000, generator(), kind)
    assert unevenness(ball, points) > 2 * unevenness(ball, even)


def test_gradient_grows_along_one_direction():
    points, _ = thinned_sample(sphere(), 20_000, generator(), "gradient")
    assert np.linalg.norm(points.mean(0)) > 0.03  # an even sphere has its mean at the centre


def test_flat_faces_of_no_area_give_no_points():
    ball = sphere()
    flat = np.array([[0, 0, 1]])
    points, normals = surface_sample(
        Surface("flat", ball.vertices, np.r_[ball.faces, flat]), 1000, generator()
    )
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("views", [1, 3, 8])
def test_scan_sees_only_faces_turned_to_its_camera(views):
    points, normals, eyes = scan_sample(box(1, 2, 3), 3000, generator(2), views)
    rays = points - eyes
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    assert points.shape == normals.shape == eyes.shape
    assert len(np.unique(eyes, axis=0)) == views
    assert np.all((normals * rays).sum(1) < -0.17)


@pytest.mark.parametrize("seed", range(5))
def test_scan_points_lie_on_the_box_within_range_noise(seed):
    surface = box(1, 2, 3)
    points, normals, _ = scan_sample(surface, 3000, generator(seed), 2)
    distance = (points * normals).sum(1) - np.abs(normals) @ surface.vertices.max(0)
    assert np.abs(distance).max() < MAX_RANGE_NOISE
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_scan_of_a_convex_shape_is_what_geometry_says(seed):
    ball = sphere()
    points, normals, eyes = scan_sample(ball, 3000, generator(seed), 1)
    outward = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.degrees(np.arccos((normals * outward).sum(1).clip(-1, 1))).max() < 5
    horizon = 0.5 / np.linalg.norm(eyes[0])  # in units of 1: below it the ball hides itself
    assert (outward @ eyes[0] / np.linalg.norm(eyes[0])).min() > horizon - 0.1


@pytest.mark.parametrize("seed", range(5))
def test_thin_finely_meshed_plate_does_not_leak(seed):
    plate = trimesh.creation.box([1, 1, 1]).subdivide_to_size(0.06)
    plate.vertices *= [1, 1, 0.01]
    surface = surface_of(plate)
    _, normals, eyes = scan_sample(surface, 5000, generator(seed), 1)
    back = normals[:, 2] * np.sign(eyes[:, 2]) < -0.5
    assert not back.any()


def test_hidden_wall_is_not_scanned():
    near, far = trimesh.creation.box([1, 1, 0.05]), trimesh.creation.box([0.2, 0.2, 0.05])
    far.apply_translation([0, 0, -0.06])
    surface = closed_surface("walls", *_joined(near, far))
    points, _, eyes = scan_sample(surface, 5000, generator(3), 6)
    above = eyes[:, 2] > 0.6  # these cameras can see the far wall at most past the near one's rim
    middle = np.abs(points[:, :2]).max(1) < 0.1
    assert above.any()
    assert points[above & middle, 2].min() > 0


def _joined(*meshes: trimesh.Trimesh):
    whole = trimesh.util.concatenate(meshes)
    return whole.vertices, whole.faces


def test_scan_lies_on_a_regular_grid_of_pixels():
    points, _, eyes = scan_sample(sphere(), 4000, generator(4), 1)
    forward = -eyes[0] / np.linalg.norm(eyes[0])
    rays = points - eyes
    image = rays / (rays @ forward)[:, None] - forward  # on the plane at depth 1
    gaps = np.linalg.norm(image[1:] - image[0], axis=1)
    pitch = gaps.min()
    squared = np.square(gaps / pitch)  # a sum of two squares of whole numbers on a square grid
    np.testing.assert_allclose(squared, np.round(squared), atol=1e-6 * squared.max())


@pytest.mark.parametrize("views", [1, 4, 8])
def test_scan_nearly_reaches_the_count(views):
    points, _, _ = scan_sample(sphere(), 4000, generator(), views)
    assert 3600 <= len(points) <= 4000


def test_scan_does_not_depend_on_place_or_unit():
    ball = sphere()
    moved = Surface("moved", 1000 * ball.vertices + 7000, ball.faces)
    points, normals, _ = scan_sample(ball, 1000, generator(), 2)
    other_points, other_normals, _ = scan_sample(moved, 1000, generator(), 2)
    np.testing.assert_allclose(1000 * points + 7000, other_points, atol=1e-6)
    np.testing.assert_allclose(normals, other_normals, atol=1e-9)


def hollow_box() -> Surface:
    """A box of unit diagonal with walls of a tenth of its half width around an empty room."""
    outside, inside = trimesh.creation.box([1, 1, 1]), trimesh.creation.box([0.9, 0.9, 0.9])
    inside.invert()
    return closed_surface("rooms/box", *_joined(outside, inside)).scaled()


@pytest.mark.parametrize("rings", [None, 16])
@pytest.mark.parametrize("stations", [1, 4])
def test_inside_scan_sees_the_walls_from_within(stations, rings):
    surface = hollow_box()
    points, normals, eyes = inside_scan_sample(surface, 3000, generator(), stations, rings)
    wall = 0.9 * surface.vertices.max()
    assert 2700 <= len(points) <= 3000
    assert len(np.unique(eyes, axis=0)) == stations
    assert np.abs(eyes).max() < wall
    distance = -(points * normals).sum(1) - wall
    assert np.abs(distance).max() < MAX_RANGE_NOISE
    assert ((eyes - points) * normals).sum(1).min() > 0


def test_inside_scan_keeps_away_from_walls():
    surface = hollow_box()
    eyes = [inside_scan_sample(surface, 100, generator(seed), 4)[2] for seed in range(5)]
    gaps = 0.9 * surface.vertices.max() - np.abs(np.concatenate(eyes)).max(1)
    assert gaps.min() > 0.9 * STATION_CLEARANCE  # coarse pictures seldom hit the nearest place


def test_ringed_inside_scan_looks_half_way_up_and_down():
    points, _, eyes = inside_scan_sample(hollow_box(), 3000, generator(), 1, 16)
    rays = points - eyes
    assert np.all(np.abs(rays[:, 2]) <= np.linalg.norm(rays[:, :2], axis=1))


def test_no_scanner_stands_in_a_solid():
    points, normals, eyes = inside_scan_sample(box(1, 2, 3), 1000, generator(), 4)
    assert points.shape == normals.shape == eyes.shape == (0, 3)


def test_scanners_beside_a_ball_stay_outside_of_it():
    radius = 1 / (2 * np.sqrt(3))
    found = [inside_scan_sample(sphere(), 500, generator(seed), 2) for seed in range(10)]
    eyes = np.concatenate([eyes for _, _, eyes in found])
    assert np.linalg.norm(eyes, axis=1).min(initial=1) > radius


def test_half_of_the_clouds_of_rooms_are_scans_from_inside():
    surface, rng = hollow_box(), generator(9)
    weights = [training_sample(surface, 200, rng).side_weight for _ in range(200)]
    assert np.mean(np.equal(weights, PARTIAL_WEIGHT)) == pytest.approx(0.53, abs=0.1)


def test_crop_is_the_neighborhood_of_one_point():
    points, normals = surface_sample(sphere(), 5000, generator())
    part, part_normals = crop(points, normals, 500, generator(1))
    radius = np.ptp(points, axis=0).max() / 2
    reach = np.linalg.norm(part[:, None] - part[None], axis=2).max(1).min()
    assert len(part) == len(part_normals) == 500
    assert reach < 2 * radius * np.sqrt(500 / 5000) * 1.1  # cap of a tenth of the sphere


def test_crop_keeps_both_sheets_of_a_thin_plate():
    points, normals = surface_sample(box(1, 1, 0.01), 5000, generator())
    _, part = crop(points, normals, 500, generator(1))
    assert np.mean(part[:, 2] > 0.5) == pytest.approx(0.5, abs=0.1)


def test_crop_of_a_small_cloud_is_the_cloud():
    points, normals = surface_sample(sphere(), 100, generator())
    part, _ = crop(points, normals, 100, generator(1))
    np.testing.assert_array_equal(part, points)


def test_same_seed_gives_the_same_samples():
    surface = box(1, 2, 3)
    first, second = (
        [training_sample(surface, 200, rng) for _ in range(30)]
        for rng in (generator(5), generator(5))
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.normals, other.normals)


@pytest.fixture(scope="module")
def mixture() -> list[Sample]:
    surface, rng = sphere(), generator(6)
    return [training_sample(surface, 400, rng) for _ in range(400)]


def test_training_samples_are_clouds_of_the_asked_size(mixture):
    sizes = np.array([len(sample.points) for sample in mixture])
    assert sizes.max() == 400
    assert sizes.min() >= 200
    assert np.mean(sizes == 400) > 0.8


def test_training_samples_have_outward_unit_normals(mixture):
    points = np.concatenate([sample.points for sample in mixture])
    normals = np.concatenate([sample.normals for sample in mixture])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    assert np.isfinite(points).all()
    assert np.all((points * normals).sum(1) > 0)


def test_training_mixture_has_its_shares(mixture):
    weights = np.array([sample.side_weight for sample in mixture])
    assert np.mean(weights == COMPLETE_WEIGHT) == pytest.approx(0.63 + 0.16 * 5 / 8, abs=0.08)
    assert np.mean(weights == PARTIAL_WEIGHT) == pytest.approx(0.06 + 0.16 * 3 / 8, abs=0.06)
    assert np.mean(weights == UNDECIDABLE_WEIGHT) == pytest.approx(0.16, abs=0.06)


def test_training_mixture_is_clean_noisy_rounded_and_duplicated(mixture):
    radius = 1 / (2 * np.sqrt(3))  # of a sphere whose bounding box has a unit diagonal
    spread = [np.std(np.linalg.norm(s.points, axis=1)) for s in mixture]
    repeated = [len(np.unique(s.points, axis=0)) < len(s.points) for s in mixture]
    few_values = [len(np.unique(s.points[:, 0].round(9))) < len(s.points) / 2 for s in mixture]
    assert np.mean(np.array(spread) < 0.002 * radius) > 0.1
    assert max(spread) > 0.011
    assert 0.02 < np.mean(repeated) < 0.2
    assert 0.01 < np.mean(few_values) < 0.2


@pytest.mark.parametrize("part", ["scan_sample", "inside_scan_sample", "thinned_sample", "crop"])
def test_training_mixture_uses_every_kind(part, monkeypatch):
    calls = []
    original = getattr(sampling, part)
    monkeypatch.setattr(sampling, part, lambda *args: calls.append(part) or original(*args))
    rng = generator(7)
    for _ in range(60):
        training_sample(box(1, 2, 3), 100, rng)
    assert len(calls) >= 3


def test_shape_that_can_hardly_be_scanned_is_sampled_instead(monkeypatch):
    nothing = np.empty((0, 3))
    for scan in ("scan_sample", "inside_scan_sample"):
        monkeypatch.setattr(sampling, scan, lambda *_: (nothing, nothing, nothing))
    rng = generator(8)
    assert {len(training_sample(sphere(), 100, rng).points) for _ in range(30)} == {100}
