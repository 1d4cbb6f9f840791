import copy

import numpy as np
import pytest
import torch
from helpers import ROUNDING

from tfnormals import estimate_normals
from tfnormals.contours import (
    agreed_sides,
    contour_graph,
    contour_model_path,
    frameless_levels,
    load_contour_network,
)
from tfnormals.errors import CloudError
from tfnormals.tensorframes.anydim import AnyDimNeighborhoods

EVEN = 0.618033988749895
MOTIONS = {
    "rotation": (np.array([[0.6, -0.8], [0.8, 0.6]]), 1.0, 0.0),
    "reflection": (np.array([[0.6, 0.8], [0.8, -0.6]]), 1.0, 0.0),
    "translation": (np.eye(2), 1.0, 1e6),
    "shrinking": (np.eye(2), 1e-3, 0.0),
    "growth": (np.eye(2), 1e3, 0.0),
}


def loop(corners, count):
    """Points along a closed polygon whose inside is on the left, and its outward normals."""
    corners = np.asarray(corners, float)
    along = np.roll(corners, -1, axis=0) - corners
    length = np.hypot(*along.T)
    place = (np.arange(count) * EVEN % 1) * length.sum()
    row = np.searchsorted(np.cumsum(length), place, side="right")
    share = (place - (np.cumsum(length) - length)[row]) / length[row]
    normals = np.stack([along[:, 1], -along[:, 0]], 1) / length[:, None]
    return corners[row] + share[:, None] * along[row], normals[row]


def ring(radius, count, clockwise=False):
    angle = 2 * np.pi * np.arange(count) * EVEN * (-1 if clockwise else 1)
    normals = np.stack([np.cos(angle), np.sin(angle)], 1)
    return radius * normals + [0.1, 0.0], -normals if clockwise else normals


def together(*parts):
    points, normals = zip(*parts, strict=True)
    return np.concatenate(points), np.concatenate(normals)


def skewed():
    """An outline without any symmetry."""
    return loop([(0, 0), (3, 0), (2.6, 1.1), (1.2, 0.9), (1.0, 2.5), (-0.2, 2.2)], 700)


SHAPES = {
    "circle": ring(1.0, 300),
    "skewed": skewed(),
    "L": loop([(0, 0), (3, 0), (3, 1), (1, 1), (1, 4), (0, 4)], 600),
    "square with a hole": together(
        loop([(-2, -2), (2, -2), (2, 2), (-2, 2)], 800), ring(1.0, 300, clockwise=True)
    ),
    "two pieces": together(ring(1.0, 400), loop([(4, 0), (7, 0), (5, 2)], 500)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_normals_of_clean_outlines_point_outward(name):
    points, truth = SHAPES[name]

    normals, confidence = estimate_normals(points)

    cosine = (normals * truth).sum(1)
    assert (cosine > 0).mean() > 0.98
    assert np.median(np.degrees(np.arccos(np.abs(cosine).clip(max=1)))) < 3
    assert np.allclose(np.hypot(*normals.T), 1)
    assert confidence.min() >= 0
    assert confidence.max() <= 1


@pytest.mark.parametrize("kind", MOTIONS)
def test_normals_follow_the_contour(kind):
    matrix, scale, shift = MOTIONS[kind]
    points = np.round(skewed()[0] * 2**12) / 2**12  # a translation by 1e6 rounds it no more

    normals, _ = estimate_normals(points)
    moved, _ = estimate_normals(scale * points @ matrix.T + shift)

    turned = normals @ matrix.T
    assert np.abs(moved - turned).max() < 1e-3
    assert np.median(np.abs(moved - turned)) < 1e-5


def test_order_means_nothing():
    points, _ = skewed()
    order = np.random.default_rng(0).permutation(len(points))

    normals, confidence = estimate_normals(points)
    shuffled, sure = estimate_normals(points[order])

    assert np.allclose(shuffled, normals[order], atol=1e-5)
    assert np.allclose(sure, confidence[order], atol=1e-5)


def test_copies_of_points_share_a_normal_and_points_that_are_not_finite_get_none():
    points, _ = skewed()
    dirty = np.concatenate([points, points[:5], [[np.nan, 0.0], [0.0, np.inf]]])

    normals, confidence = estimate_normals(dirty)

    assert np.array_equal(normals[:5], normals[-7:-2])
    assert np.isnan(normals[-2:]).all()
    assert not confidence[-2:].any()
    assert np.isfinite(normals[:-2]).all()


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.full((20, 2), np.nan), "0 usable points"),
        (np.random.default_rng(0).normal(size=(10, 2)), "at least"),
        (np.arange(60.0)[:, None] * [1.0, 2.0], "on one line"),
    ],
    ids=["nothing finite", "too few", "a line"],
)
def test_hopeless_contours_are_refused(points, reason):
    with pytest.raises(CloudError, match=reason):
        estimate_normals(points)


def test_the_shipped_weights_say_the_same_of_a_padded_contour():
    network = copy.deepcopy(load_contour_network()).double()
    flat = [
        level._replace(
            neighborhoods=AnyDimNeighborhoods(*map(doubled, level.neighborhoods)),
            weights=level.weights.double(),
        )
        for level in frameless_levels(contour_graph(skewed()[0]), 2)
    ]
    deep = [level._replace(neighborhoods=padded(level.neighborhoods)) for level in flat]

    tensor, side = network(flat)
    tensor_deep, side_deep = network(deep)

    pad = torch.nn.functional.pad
    assert (tensor_deep - pad(tensor, (0, 1, 0, 1))).abs().max() < ROUNDING
    assert (side_deep - pad(side, (0, 1))).abs().max() < ROUNDING


def doubled(part):
    return part.double() if part.is_floating_point() else part


def padded(heard):
    offsets = torch.nn.functional.pad(heard.offsets, (0, 0, 0, 0, 0, 1))
    return heard._replace(offsets=offsets)


def test_neighbours_outvote_a_wrong_stretch_and_points_of_undecided_sides():
    points, truth = SHAPES["L"]
    graph = contour_graph(points)
    truth = torch.from_numpy(truth[graph.order])
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], len(truth)))
    logit = torch.ones_like(signs)
    logit[:150] = -1  # in the order of the graph, a stretch
    logit[300:400] = 0

    field = agreed_sides(
        truth * signs[:, None], logit * signs, frameless_levels(graph, 2)[0].neighborhoods
    )

    assert bool((field * signs > 0).all())


def test_loading_draws_no_global_random_numbers():
    before = torch.get_rng_state()

    load_contour_network()

    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_are_small_and_have_a_card():
    assert contour_model_path().stat().st_size < 400_000
    assert contour_model_path().with_suffix(".md").is_file()
