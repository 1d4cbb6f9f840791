import numpy as np
import pytest
from helpers import LAYER, TURNS, lattice, motion, plane, quantised, sphere, torus

from tfnormals.geometry import pose


def lopsided(count=500, seed=0):
    """A cloud without symmetry."""
    return np.random.default_rng(seed).gamma(2.0, [3.0, 2.0, 1.0], (count, 3))


def turned_by(kind, points, seed=1):
    moved = motion(kind, len(points), np.random.default_rng(seed))
    return moved.points(points), moved.matrix


@pytest.mark.parametrize("kind", TURNS)
def test_axes_turn_with_the_cloud(kind):
    points = lopsided()
    moved, matrix = turned_by(kind, points)

    np.testing.assert_allclose(pose(moved).axes, pose(points).axes @ matrix.T, atol=LAYER)


@pytest.mark.parametrize("kind", ["translation", "permutation", "growth", "shrinking"])
def test_axes_stay_when_the_cloud_does_not_turn(kind):
    points = quantised(lopsided())
    moved, _ = turned_by(kind, points)

    np.testing.assert_allclose(pose(moved).axes, pose(points).axes, atol=LAYER)


def test_axes_are_orthonormal_and_sorted_by_extent():
    found = pose(lopsided())

    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(3), atol=LAYER)
    assert found.extent[0] > found.extent[1] > found.extent[2] > 0


def test_the_third_moment_along_every_axis_is_positive():
    points = lopsided()
    found = pose(points)

    assert (((points - found.centre) @ found.axes.T) ** 3).mean(0).min() > 0


def test_extents_are_root_mean_squares_in_the_units_of_the_cloud():
    points = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]])

    np.testing.assert_allclose(pose(points).extent, np.array([3, 2, 1]) / np.sqrt(3))


def test_size_is_the_median_distance_from_the_centre():
    points = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 9], [0, 0, -9]])

    assert pose(points + 5).size == pytest.approx(2)
    np.testing.assert_allclose(pose(points + 5).centre, [5, 5, 5])


@pytest.mark.parametrize(
    "points",
    [
        lattice(5, 6, 7),
        lattice(4, 4, 4),
        lattice(3, 5, 1),
        np.vstack([lattice(5, 5, 1) - [2, 2, 0], [[0, 0, 3]]]),  # a square pyramid
    ],
    ids=["box", "cube", "rectangle", "pyramid"],
)
def test_symmetry_is_reported(points):
    assert pose(points).symmetric


@pytest.mark.parametrize("cloud", [sphere, torus, plane])
@pytest.mark.parametrize("kind", TURNS)
def test_random_points_have_no_symmetry(cloud, kind):
    points, _ = cloud(300, np.random.default_rng(0))
    moved, _ = turned_by(kind, points)

    assert not pose(points).symmetric
    assert not pose(moved).symmetric


def test_a_single_position_has_no_size():
    found = pose(np.full((20, 3), 4.5e6))

    assert found.size == 0
    assert np.isfinite(found.axes).all()
    assert (found.extent == 0).all()


def test_points_are_not_changed():
    points = lopsided()
    before = points.copy()

    pose(points)

    np.testing.assert_array_equal(points, before)
