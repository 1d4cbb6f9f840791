import numpy as np
import pytest
import torch

from tfnormals.estimation import estimate
from tfnormals.pretrained import DEFAULT_MODEL, load_model
from tfnormals.sheets import unite

WIDTH, SURE, UNSURE = 40, 3.0, 1.0
SCALE = 0.25


def strip(length):
    """A sheet of rows of points, each of which hears its four neighbours: rows and weights."""
    rows, columns = np.divmod(np.arange(length * WIDTH), WIDTH)
    neighbors, heard = [np.arange(length * WIDTH)], [np.full(length * WIDTH, 0.5)]
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        row, column = rows + down, columns + right
        there = (row >= 0) & (row < length) & (column >= 0) & (column < WIDTH)
        neighbors.append(np.where(there, row * WIDTH + column, neighbors[0]))
        heard.append(np.where(there, 0.25, 0.0))
    return torch.tensor(np.array(neighbors, np.int32)), torch.tensor(np.array(heard))


def banded(*bands):
    """Logits of a strip, from the length and the logit of each of its bands."""
    return np.concatenate([np.full(length * WIDTH, logit) for length, logit in bands])


def bordered(factor):
    """A strip of 50 rows; what is heard across the border of the first 30 is multiplied."""
    neighbors, heard = strip(50)
    across = (torch.arange(50 * WIDTH) < 30 * WIDTH) != (neighbors < 30 * WIDTH)
    return neighbors, torch.where(across, factor * heard, heard)


def united(logit, neighbors=None, heard=None):
    """The logits with one side for each sheet, by default of a strip, and what is left."""
    if neighbors is None:
        neighbors, heard = strip(len(logit) // WIDTH)
    return [part.numpy() for part in unite(heard, neighbors, torch.from_numpy(logit), SCALE)]


def certainty(logit):
    return np.tanh(SCALE * np.abs(logit) / 2)


def assert_untouched(before, logit, left):
    np.testing.assert_array_equal(logit, before)
    assert (left == 1).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_surer_patch_decides_for_the_sheet(sign):
    found, _ = united(sign * banded((30, SURE), (20, -UNSURE)))

    assert (np.sign(found) == sign).all()


def test_the_larger_of_equally_sure_patches_decides():
    assert (united(banded((20, SURE), (30, -SURE)))[0] < 0).all()


def test_certainty_left_is_what_one_side_has_more():
    one, other = 30 * certainty(SURE), 20 * certainty(UNSURE)

    _, left = united(banded((30, SURE), (20, -UNSURE)))

    np.testing.assert_allclose(left, (one - other) / (one + other))


def test_all_patches_of_a_sheet_count_together():
    # the first alone is surer than the second, the second and the fourth are surer than the rest
    found, _ = united(banded((8, SURE), (8, -UNSURE), (8, SURE), (24, -SURE)))

    assert (found < 0).all()


def test_sheets_of_one_side_stay_as_they_are():
    before = banded((30, SURE), (20, UNSURE))
    assert_untouched(before, *united(before))


def test_patches_that_hear_little_of_each_other_stay_as_they_are():
    before = banded((30, SURE), (20, -UNSURE))
    assert_untouched(before, *united(before, *bordered(0.02)))


def test_single_points_stay_as_they_are():
    before = banded((30, SURE))
    before[[333, 777]] = -SURE
    assert_untouched(before, *united(before))


def test_opposite_walls_may_have_opposite_sides():
    # normals that point apart hear each other negatively, and agree by opposite signs
    logit, _ = united(banded((30, SURE), (20, UNSURE)), *bordered(-1))

    assert (logit[:1200] > 0).all()
    assert (logit[1200:] < 0).all()


def sheet(count, height):
    """Points of a height field over the unit square."""
    points = np.random.default_rng(0).uniform(size=(count, 3))
    points[:, 2] = height(*points[:, :2].T)
    return points


@pytest.mark.parametrize(
    "height",
    [
        lambda x, y: 0 * x,
        lambda x, y: 0.05 * np.sin(9 * x) * np.cos(7 * y),
        lambda x, y: 0.2 * np.sin(5 * x + 1),
    ],
    ids=["plane", "waves", "valley"],
)
def test_an_open_sheet_has_one_side(height):
    result = estimate(sheet(10_000, height), load_model(DEFAULT_MODEL))

    up = (result.normals[:, 2] > 0).mean()
    assert min(up, 1 - up) < 0.01
