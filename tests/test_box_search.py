"""The search for GPUs, run on a CPU, beside all distances."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import lattice, plane, sphere

from tfnormals.box_search import FAN, LEAF, boxes_of, nearest_in_boxes
from tfnormals.morton import morton_order


def along_the_curve(points):
    points = torch.from_numpy(points)
    return points[morton_order(points)]


def scattered(shape, count):
    return shape(count, np.random.default_rng(0))[0]


CLOUDS = {
    "sphere": lambda: scattered(sphere, 3000),
    "plane": lambda: scattered(plane, 2500),
    "lattice": lambda: lattice(15, 12, 9),
    "fewer than a leaf": lambda: scattered(sphere, LEAF - 5),
    "a leaf and one": lambda: scattered(sphere, LEAF + 1),
    "one box of boxes and one": lambda: scattered(sphere, LEAF * FAN + 1),
    "line": lambda: np.linspace(0, 1, 700)[:, None] * [1.0, 2.0, 3.0],
    "copies": lambda: np.repeat(scattered(sphere, 60), 20, axis=0),
    "one point far away": lambda: np.vstack([scattered(sphere, 2000), [[1e6, 0, 0]]]),
}
each_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)


@each_cloud
@pytest.mark.parametrize("k", [1, 4, 17])
def test_the_nearest_are_found_by_distance(cloud, k):
    points = along_the_curve(cloud())
    queries = torch.cat([points[::3], points[::7] + 0.1, -2 * points[:5]])

    found = nearest_in_boxes(points, queries, k).long()

    apart = (points[:, None] - queries).square().sum(2)
    assert found.shape == (k, len(queries))
    torch.testing.assert_close(apart.gather(0, found), apart.sort(0).values[:k])
    assert all(len(set(column)) == k for column in found.T.tolist())


@each_cloud
def test_every_box_holds_what_is_inside(cloud):
    points = along_the_curve(cloud())
    boxes = boxes_of(points)
    low, high, width = points, points, LEAF

    for first, last in pairwise(boxes.firsts):
        low = torch.stack([some.amin(0) for some in low.split(width)])
        high = torch.stack([some.amax(0) for some in high.split(width)])
        assert torch.equal(boxes.low[first:last], low)
        assert torch.equal(boxes.high[first:last], high)
        width = FAN
    assert len(low) == 1
