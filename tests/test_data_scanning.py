"""What virtual scanners see, and how they err."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree
from solids import box, hollow_box, sphere, surface_of

from tfnormals.data.scanning import (
    EXACT,
    NADIR_CONE,
    STATION_CLEARANCE,
    WALK,
    Sensor,
    depth_view_sample,
    diagonal,
    eyes_above,
    eyes_around,
    inside_scan_sample,
    moved_view_sample,
    random_sensor,
    scan_sample,
)
from tfnormals.data.surfaces import Surface

ROUNDING = 1e-9
NOISY = Sensor(range_noise=0.003)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def around(surface: Surface, count: int, seed: int, views: int, sensor: Sensor = EXACT):
    rng = generator(seed)
    return scan_sample(surface, count, rng, eyes_around(views, rng), sensor)


@pytest.mark.parametrize("views", [1, 3, 8])
def test_scan_sees_only_faces_turned_to_its_camera(views):
    points, normals, eyes = around(box(1, 2, 3), 3000, 2, views)
    rays = points - eyes
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    assert points.shape == normals.shape == eyes.shape
    assert len(np.unique(eyes, axis=0)) == views
    assert np.all((normals * rays).sum(1) < -0.17)


def off_the_box(surface: Surface, points, normals):
    """How far in front of the sides of an origin-centred box its points are."""
    return (points * normals).sum(1) - np.abs(normals) @ surface.vertices.max(0)


@pytest.mark.parametrize("seed", range(5))
def test_points_of_an_exact_scan_lie_on_the_box(seed):
    surface = box(1, 2, 3)
    points, normals, _ = around(surface, 3000, seed, 2)
    assert np.abs(off_the_box(surface, points, normals)).max() < ROUNDING
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_scan_of_a_convex_shape_is_what_geometry_says(seed):
    ball = sphere()
    points, normals, eyes = around(ball, 3000, seed, 1)
    outward = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.degrees(np.arccos((normals * outward).sum(1).clip(-1, 1))).max() < 5
    radius, distance = ball.vertices.max(), np.linalg.norm(eyes[0])
    assert (outward @ eyes[0] / distance).min() > radius / distance - 0.05  # its horizon


@pytest.mark.parametrize("seed", range(5))
def test_thin_finely_meshed_plate_does_not_leak(seed):
    plate = trimesh.creation.box([1, 1, 1]).subdivide_to_size(0.06)
    plate.vertices *= [1, 1, 0.01]
    surface = surface_of(plate)
    _, normals, eyes = around(surface, 5000, seed, 1)
    back = normals[:, 2] * np.sign(eyes[:, 2]) < -0.5
    assert not back.any()


def test_hidden_wall_is_not_scanned():
    near, far = trimesh.creation.box([1, 1, 0.05]), trimesh.creation.box([0.2, 0.2, 0.05])
    far.apply_translation([0, 0, -0.06])
    surface = surface_of(trimesh.util.concatenate([near, far]))
    points, _, _ = scan_sample(surface, 5000, generator(), np.array([[0.1, 0.2, 1.5]]))
    assert len(points) > 4500
    assert points[:, 2].min() > 0


def test_scan_lies_on_a_regular_grid_of_pixels():
    points, _, eyes = around(sphere(), 4000, 4, 1)
    forward = -eyes[0] / np.linalg.norm(eyes[0])
    rays = points - eyes
    image = rays / (rays @ forward)[:, None] - forward  # on the plane at depth 1
    gaps = np.linalg.norm(image[1:] - image[0], axis=1)
    pitch = gaps.min()
    squared = np.square(gaps / pitch)  # a sum of two squares of whole numbers on a square grid
    np.testing.assert_allclose(squared, np.round(squared), atol=1e-6 * squared.max())


@pytest.mark.parametrize("views", [1, 4, 8])
def test_scan_nearly_reaches_the_count(views):
    points, _, _ = around(sphere(), 4000, 0, views)
    assert 3600 <= len(points) <= 4000


def test_scan_does_not_depend_on_place_or_unit():
    ball = sphere()
    moved = Surface("moved", 1000 * ball.vertices + 7000, ball.faces)
    points, normals, _ = around(ball, 1000, 0, 2)
    other_points, other_normals, _ = around(moved, 1000, 0, 2)
    np.testing.assert_allclose(1000 * points + 7000, other_points, atol=1e-6)
    np.testing.assert_allclose(normals, other_normals, atol=1e-9)


RINGS = np.linspace(-30, 10, 16)


@pytest.mark.parametrize("rings", [None, RINGS])
@pytest.mark.parametrize("stations", [1, 4])
def test_inside_scan_sees_the_walls_from_within(stations, rings):
    surface = hollow_box()
    points, normals, eyes = inside_scan_sample(surface, 3000, generator(), stations, rings)
    wall = 0.9 * surface.vertices.max()
    assert 2700 <= len(points) <= 3000
    assert len(np.unique(eyes, axis=0)) == stations
    assert np.abs(eyes).max() < wall
    distance = -(points * normals).sum(1) - wall
    assert np.abs(distance).max() < ROUNDING
    assert ((eyes - points) * normals).sum(1).min() > 0


def test_inside_scan_keeps_away_from_walls():
    surface = hollow_box()
    eyes = [inside_scan_sample(surface, 100, generator(seed), 4)[2] for seed in range(5)]
    gaps = 0.9 * surface.vertices.max() - np.abs(np.concatenate(eyes)).max(1)
    assert gaps.min() > 0.9 * STATION_CLEARANCE  # coarse pictures seldom hit the nearest place


@pytest.mark.parametrize("seed", range(3))
def test_a_spinning_lidar_draws_a_cone_for_each_ring(seed):
    points, _, eyes = inside_scan_sample(hollow_box(), 3000, generator(seed), 1, RINGS)
    x, y, z = (points - eyes).T
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    ring = np.abs(elevation[:, None] - RINGS).argmin(1)
    assert np.abs(elevation - RINGS[ring]).max() < 0.5  # half a pixel
    assert len(np.unique(ring)) == len(RINGS)
    sectors = np.histogram(np.arctan2(y, x), bins=8)[0]
    assert sectors.min() > 0.5 * sectors.mean()


def test_no_scanner_stands_in_a_solid():
    points, normals, eyes = inside_scan_sample(box(1, 2, 3), 1000, generator(), 4)
    assert points.shape == normals.shape == eyes.shape == (0, 3)


def test_scanners_beside_a_ball_stay_outside_of_it():
    radius = 1 / (2 * np.sqrt(3))
    found = [inside_scan_sample(sphere(), 500, generator(seed), 2) for seed in range(10)]
    eyes = np.concatenate([eyes for _, _, eyes in found])
    assert np.linalg.norm(eyes, axis=1).min(initial=1) > radius


def test_cameras_above_look_down_from_outside():
    eyes = eyes_above(500, generator())
    far = np.linalg.norm(eyes, axis=1)
    assert far.min() > 1
    assert (eyes[:, 2] / far).min() > np.cos(np.radians(NADIR_CONE))


def test_a_scan_from_above_sees_no_floor_from_below():
    rng = generator()
    _, normals, _ = scan_sample(hollow_box(), 3000, rng, eyes_above(3, rng))
    assert np.mean(normals[:, 2] > 0.9) > 0.5
    assert normals[:, 2].min() > -0.1


@pytest.mark.parametrize("seed", range(4))
def test_a_depth_view_is_one_picture_of_the_walls(seed):
    surface = hollow_box()
    points, normals, eyes = depth_view_sample(surface, 3000, generator(seed))
    rays = (points - eyes) / np.linalg.norm(points - eyes, axis=1, keepdims=True)
    assert 2700 <= len(points) <= 3000
    assert len(np.unique(eyes, axis=0)) == 1
    assert ((eyes - points) * normals).sum(1).min() > 0
    middle = rays.mean(0) / np.linalg.norm(rays.mean(0))
    assert (rays @ middle).min() > np.cos(np.radians(60))


@pytest.mark.parametrize("sample", [depth_view_sample, moved_view_sample])
def test_a_depth_camera_needs_a_place_to_stand(sample):
    assert sample(box(1, 2, 3), 1000, generator())[0].shape == (0, 3)


@pytest.mark.parametrize("seed", range(4))
def test_merged_pictures_cover_walls_evenly_and_see_their_insides(seed):
    surface = hollow_box()
    points, normals, eyes = moved_view_sample(surface, 3000, generator(seed))
    places = np.unique(eyes, axis=0)
    assert 2700 <= len(points) <= 3000
    assert 2 <= len(places) <= 12
    assert np.ptp(places, axis=0).max() <= 2 * WALK * diagonal(surface)
    assert ((eyes - points) * normals).sum(1).min() > 0
    nearest = cKDTree(points).query(points, 2)[0][:, 1]
    assert nearest.std() / nearest.mean() < 0.35  # 0.52 at random


def test_a_mean_of_a_cell_stays_on_its_wall():
    surface = hollow_box()
    points, _, _ = moved_view_sample(surface, 20_000, generator(2))
    inner = 0.9 * surface.vertices.max()
    off = np.abs(np.abs(points).max(1) - inner)
    assert np.mean(off < ROUNDING) > 0.9
    assert off.max() < 0.05


def test_range_noise_lies_along_the_ray():
    surface = box(1, 2, 3)
    points, normals, eyes = around(surface, 4000, 0, 1, NOISY)
    rays = (points - eyes) / np.linalg.norm(points - eyes, axis=1, keepdims=True)
    along = off_the_box(surface, points, normals) / (rays * normals).sum(1)
    assert along.std() == pytest.approx(NOISY.range_noise, rel=0.1)


def test_noise_of_a_depth_camera_grows_with_distance():
    surface, sensor = hollow_box(), Sensor(range_noise=0.01, growth=2.0)
    points, normals, eyes = depth_view_sample(surface, 20_000, generator(1), sensor)
    off = np.abs((points * normals).sum(1) + 0.9 * surface.vertices.max())
    far = np.linalg.norm(points - eyes, axis=1)
    near = far < np.median(far)
    assert off[~near].mean() > 1.5 * off[near].mean() > 0


def test_depths_of_a_camera_lie_in_steps_that_grow_with_distance():
    surface, eye = box(1, 2, 3), np.array([1.0, -1.5, 0.8])
    sensor = Sensor(step=0.01)
    points, _, eyes = scan_sample(surface, 4000, generator(), eye[None], sensor)
    forward = -eye / np.linalg.norm(eye)
    depths = (points - eyes) @ forward
    steps = np.unique(depths.round(9))
    exact = scan_sample(surface, 4000, generator(), eye[None])
    off = np.linalg.norm(points - exact[0], axis=1)
    assert 50 < len(steps) < 100
    rounded = -np.diff(1 / steps)
    rounded /= rounded.min()
    np.testing.assert_allclose(rounded, np.round(rounded), atol=1e-5)
    assert np.diff(steps)[-1] > 1.5 * np.diff(steps)[0]
    assert 0.1 < off.mean() / 0.01 / diagonal(surface) < 0.5


def test_fading_takes_echoes_at_grazing_rays_only():
    shares = []
    for sensor in (EXACT, Sensor(fading=0.6)):
        points, normals, eyes = around(sphere(), 6000, 1, 1, sensor)
        rays = (points - eyes) / np.linalg.norm(points - eyes, axis=1, keepdims=True)
        shares.append(np.mean(-(rays * normals).sum(1) < 0.5))
    assert 0 < shares[1] < 0.8 * shares[0]


def test_views_that_misfit_are_rigidly_off():
    surface, sensor = box(1, 2, 3), Sensor(misfit=0.02)
    points, normals, eyes = around(surface, 4000, 3, 2, sensor)
    offsets = []
    for eye in np.unique(eyes, axis=0):
        one = (eyes == eye).all(1)
        for axis in np.unique(normals[one].round(6), axis=0):
            side = one & (np.abs(normals - axis).max(1) < 1e-5)
            offset = points[side] @ axis
            assert np.ptp(offset) < 1e-4
            offsets.append(offset.mean())
    assert len(offsets) >= 4
    assert np.abs(normals).max(1).min() < 1 - 1e-5
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=ROUNDING)


def test_sensors_are_of_all_kinds_and_say_so():
    rng = generator()
    told = [str(random_sensor(rng)) for _ in range(60)]
    for words in ("growing", "steps", "fade", "misregistered"):
        assert 5 < sum(words in one for one in told) < 55
    assert str(EXACT) == "range noise 0.00%"
