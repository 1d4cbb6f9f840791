import numpy as np
import pytest
import torch
from helpers import lattice

from tfnormals.morton import BITS, morton_order


def order_of(points):
    return morton_order(torch.from_numpy(points)).numpy()


def lopsided(count=500):
    return np.random.default_rng(0).gamma(2.0, [3.0, 2.0, 1.0], (count, 3))


def test_points_are_not_changed():
    points = lopsided()
    before = points.copy()

    order_of(points)

    np.testing.assert_array_equal(points, before)


def test_lists_every_row_once():
    order = order_of(lopsided())

    np.testing.assert_array_equal(np.sort(order), np.arange(500))


def test_depends_on_positions_only():
    points = lopsided()
    shuffled = points[np.random.default_rng(1).permutation(len(points))]

    np.testing.assert_array_equal(points[order_of(points)], shuffled[order_of(shuffled)])


def test_keeps_neighbours_together():
    points = np.random.default_rng(0).random((4096, 3))
    steps = np.linalg.norm(np.diff(points[order_of(points)], axis=0), axis=1)

    assert np.median(steps) < 2 / 16  # 16 points along each side of the unit cube


def test_puts_equal_rows_side_by_side():
    positions = np.random.default_rng(0).random((50, 3))
    owner = np.random.default_rng(1).permutation(np.repeat(np.arange(50), 4))

    groups = owner[order_of(positions[owner])].reshape(50, 4)

    assert (groups == groups[:, :1]).all()


@pytest.mark.parametrize("points", [np.zeros((3, 3)), np.ones((1, 3)), lattice(9, 1, 1)])
def test_of_degenerate_clouds(points):
    np.testing.assert_array_equal(np.sort(order_of(points)), np.arange(len(points)))


def test_points_of_one_cell_keep_neighbours_together():
    """One point far away, so that all others are in one cell of the coarse grid."""
    points = np.random.default_rng(0).random((4096, 3))
    far = np.full((1, 3), 2.0**BITS)
    order = order_of(np.vstack([points, far]))

    steps = np.linalg.norm(np.diff(points[order[:-1]], axis=0), axis=1)

    assert order[-1] == 4096
    assert np.median(steps) < 2 / 16
