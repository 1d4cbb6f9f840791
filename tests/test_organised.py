import numpy as np
import pytest
from helpers import depth_picture, lattice, motion, sphere

from tfnormals.organised import seen_from_origin

PICTURE = depth_picture(36, 48)


def panorama():
    """What a spinning sensor with 16 unevenly spaced beams sees in a room with a pillar."""
    turn = 0.01 + np.linspace(0, 2 * np.pi, 360, endpoint=False)
    rise = np.radians(25) * np.linspace(-1, 1, 16)[:, None] ** 3
    sight = np.stack(
        [np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise) + 0 * turn], -1
    )
    walls = (np.array([4.0, 3.0, 1.5]) / np.abs(sight)).min(2)
    distance = np.where(np.cos(turn - 1) > 0.97, 1.0, walls)
    return (distance[..., None] * sight).reshape(-1, 3)


@pytest.mark.parametrize("kind", ["rotation", "reflection", "shrinking", "growth"])
def test_a_depth_picture_was_seen_from_the_origin(kind):
    moved = motion(kind, len(PICTURE), np.random.default_rng(0))

    assert seen_from_origin(moved.points(PICTURE), 48)


@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0])
def test_a_picture_may_have_holes(hole):
    points = PICTURE.copy()
    points[np.random.default_rng(0).random(len(points)) < 0.1] = hole

    assert seen_from_origin(points, 48)


def test_a_picture_may_be_noisy_in_depth_and_rounded():
    noise = 1 + 0.02 * np.random.default_rng(0).normal(size=(len(PICTURE), 1))

    assert seen_from_origin((noise * PICTURE).astype(np.float32).astype(np.float64), 48)


def test_a_scan_all_around_was_seen_from_the_origin_whichever_way_it_is_stored():
    points = panorama()
    columns_first = points.reshape(16, 360, 3).swapaxes(0, 1).reshape(-1, 3)

    assert seen_from_origin(points, 360)
    assert seen_from_origin(columns_first, 16)
    assert not seen_from_origin(points + np.array([0.5, 0, 1.7]), 360)


@pytest.mark.parametrize(
    "shift", [[0.3, 0, 0], [0, -0.3, 0], [0, 0, 0.5], [0, 0, -1], [0, 0, 50], [5e5, 4e6, 100]]
)
def test_a_picture_that_was_moved_was_not(shift):
    assert not seen_from_origin(PICTURE + shift, 48)


@pytest.mark.parametrize("shift", [[0, 0, 0], [-20, -20, 5], [-20, -20, 1e3], [5e5, 4e6, 0]])
def test_a_terrain_on_a_grid_was_not(shift):
    points = lattice(40, 40, 1) + shift
    points[:, 2] += 5 * np.random.default_rng(0).random(1600).round()

    assert not seen_from_origin(points, 40)


def test_points_in_any_order_were_not():
    assert not seen_from_origin(np.random.default_rng(0).permutation(PICTURE), 48)


def test_many_points_in_one_direction_are_no_picture():
    rng = np.random.default_rng(0)
    sight = np.repeat(sphere(20, rng)[0], 30, axis=0)

    assert not seen_from_origin(sight * rng.uniform(1, 3, (600, 1)), 30)


def test_a_surface_without_jumps_does_not_tell():
    wall = PICTURE / PICTURE[:, 2:]

    assert not seen_from_origin(wall, 48)


@pytest.mark.parametrize("width", [1, 2, 24])
def test_a_picture_without_pixels_does_not_tell(width):
    assert not seen_from_origin(np.full((48, 3), np.nan), width)
