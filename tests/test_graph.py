from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import (
    EXACT_DEG,
    LAYER,
    MOTIONS,
    TURNS,
    cube,
    lattice,
    motion,
    plane,
    quantised,
    sphere,
    torus,
)

from tfnormals.equivariance import builtin_clouds
from tfnormals.errors import CloudError
from tfnormals.graph import (
    LEVELS,
    MIN_POINTS,
    MOMENT_PARITY,
    NEIGHBORS,
    OVERVIEW,
    PARENTS,
    RATIO,
    SMALLEST_LEVEL,
    build_graph,
    farthest_points,
)
from tfnormals.metrics import unoriented_angle_deg
from tfnormals.tensorframes import LazyNeighborhoods
from tfnormals.tensorframes.edge_loops import FAINTEST

UTM = np.array([453_210.0, 5_201_430.0, 310.0])


def sampled_from(shape, count=400, seed=0):
    return shape(count, np.random.default_rng(seed))[0]


class Arrays(NamedTuple):
    """A level as arrays; points are the last axis."""

    frames: np.ndarray
    neighbors: np.ndarray
    positions: np.ndarray
    moments: np.ndarray
    sampled: np.ndarray
    parents: np.ndarray
    weights: np.ndarray
    receivers: LazyNeighborhoods


def levels_of(graph):
    found = []
    for near, *rest in graph.levels:
        seen = near.frames, near.neighbors, near.positions, near.moments.T
        found.append(Arrays(*(part.numpy() for part in (*seen, *rest)), near))
    return found


def edges_of(level):
    """The edges of a level, (6, k, n)."""
    return level.receivers.edges.numpy()


def coarse(shape, count=400):
    """A cloud on a grid so coarse that many distances tie, a few positions being repeated."""
    return quantised(sampled_from(shape, count), 4)


CLOUDS = {
    "sphere": lambda: quantised(sampled_from(sphere)),
    "torus of several blocks": lambda: quantised(sampled_from(torus, 1100)),
    "cube": lambda: quantised(sampled_from(cube)),
    "plane": lambda: quantised(sampled_from(plane)),
    "volume": lambda: quantised(np.random.default_rng(0).random((300, 3))),
    "sphere with ties": lambda: coarse(sphere),
    "cube with ties": lambda: coarse(cube),
    "plane with ties": lambda: coarse(plane, 90),
    "smallest": lambda: quantised(sampled_from(torus, MIN_POINTS)),
}
graph_of = cache(lambda cloud: build_graph(cloud()))
each_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)
each_motion = pytest.mark.parametrize("kind", MOTIONS)
each_turn = pytest.mark.parametrize("kind", TURNS)


def matrices(level):
    """The frames as a stack of matrices (n, 3, 3), rows are axes."""
    return np.moveaxis(level.frames, -1, 0)


def positions(points, graph):
    """The points (n, 3) of every level."""
    found = [points[graph.order]]
    for level in levels_of(graph)[:-1]:
        found.append(found[-1][level.sampled])
    return found


def distances(a, b):
    return np.linalg.norm(a[:, None] - b[None], axis=2)


@cache
def moved_graphs(cloud, kind):
    """A cloud, a motion, and the graphs of the cloud at rest and moved."""
    points = cloud()
    moved = motion(kind, len(points), np.random.default_rng(3))
    return points, moved, graph_of(cloud), build_graph(moved.points(points))


@each_cloud
@each_motion
def test_a_moved_cloud_makes_bit_identical_decisions(cloud, kind):
    points, moved, rest, other = moved_graphs(cloud, kind)

    np.testing.assert_array_equal(rest.inverse[moved.order], other.inverse)
    np.testing.assert_array_equal(points[rest.order], points[moved.order][other.order])
    for a, b in zip(levels_of(rest), levels_of(other), strict=True):
        np.testing.assert_array_equal(a.neighbors, b.neighbors)
        np.testing.assert_array_equal(a.sampled, b.sampled)
        np.testing.assert_array_equal(a.parents, b.parents)


@pytest.mark.parametrize("seed", range(5))
def test_projected_coordinates_make_bit_identical_decisions(seed):
    points = quantised(sampled_from(cube, 700, seed), 4)
    here, there = build_graph(points), build_graph(points + UTM)

    for a, b in zip(levels_of(here), levels_of(there), strict=True):
        np.testing.assert_array_equal(a.neighbors, b.neighbors)
        np.testing.assert_array_equal(a.sampled, b.sampled)
        np.testing.assert_array_equal(a.parents, b.parents)


@each_cloud
@each_motion
def test_lengths_envelopes_and_weights_do_not_change_when_a_cloud_moves(cloud, kind):
    _, _, rest, other = moved_graphs(cloud, kind)

    for a, b in zip(levels_of(rest), levels_of(other), strict=True):
        np.testing.assert_allclose(edges_of(a)[3:5], edges_of(b)[3:5], atol=LAYER)
        np.testing.assert_allclose(np.exp(edges_of(a)[5]), np.exp(edges_of(b)[5]), atol=LAYER)
        np.testing.assert_allclose(a.weights, b.weights, atol=LAYER)


@each_cloud
def test_frames_are_orthonormal_and_right_handed(cloud):
    for level in levels_of(graph_of(cloud)):
        frames = matrices(level)
        products = frames @ frames.transpose(0, 2, 1)
        np.testing.assert_allclose(products, np.tile(np.eye(3), (len(frames), 1, 1)), atol=LAYER)
        np.testing.assert_allclose(np.linalg.det(frames), 1, atol=LAYER)


@each_cloud
@each_motion
def test_frames_turn_with_the_cloud(cloud, kind):
    """Rows are axes, so they become frame @ Q.T; a mirror image reverses the third axis."""
    _, moved, rest, other = moved_graphs(cloud, kind)
    hand = np.diag([1, 1, np.linalg.det(moved.matrix)])

    for a, b in zip(levels_of(rest), levels_of(other), strict=True):
        np.testing.assert_allclose(matrices(b), hand @ matrices(a) @ moved.matrix.T, atol=LAYER)


@each_cloud
@each_motion
def test_what_frames_see_does_not_change_but_for_the_sign_of_the_third_axis(cloud, kind):
    _, moved, rest, other = moved_graphs(cloud, kind)
    hand = np.linalg.det(moved.matrix)
    parity = np.array(MOMENT_PARITY) if hand < 0 else np.ones(len(MOMENT_PARITY))

    for a, b in zip(levels_of(rest), levels_of(other), strict=True):
        np.testing.assert_allclose(b.moments, parity[:, None] * a.moments, atol=LAYER)
        np.testing.assert_allclose(edges_of(b)[:2], edges_of(a)[:2], atol=LAYER)
        np.testing.assert_allclose(edges_of(b)[2], hand * edges_of(a)[2], atol=LAYER)


def test_every_moment_says_something_on_a_curved_surface():
    moments = levels_of(build_graph(sampled_from(torus)))[0].moments

    assert (moments.std(1) > 1e-3).all()


@each_turn
def test_the_third_axis_is_the_normal_of_a_plane(kind):
    points, normals = plane(500, np.random.default_rng(0))
    moved = motion(kind, len(points), np.random.default_rng(1))
    graph = build_graph(moved.points(points))

    for level in levels_of(graph):
        axis = matrices(level)[:, 2]
        truth = moved.normals(normals)[: len(axis)]
        assert unoriented_angle_deg(axis, truth).max() < EXACT_DEG


def test_the_third_axis_is_close_to_the_normal_of_a_sphere():
    points, normals = sphere(4000, np.random.default_rng(0))
    graph = build_graph(points)

    angles = unoriented_angle_deg(matrices(levels_of(graph)[0])[:, 2], normals[graph.order])

    assert angles.max() < np.degrees(2 * np.sqrt(4 * NEIGHBORS / 4000))  # twice the mean radius


@each_cloud
def test_neighbours_are_the_nearest_and_begin_with_the_point_itself(cloud):
    points, graph = cloud(), graph_of(cloud)

    for level, places in zip(levels_of(graph), positions(points, graph), strict=True):
        apart = distances(places, places)
        near = np.take_along_axis(apart, level.neighbors.T, 1)
        np.testing.assert_array_equal(level.neighbors[0], np.arange(len(places)))
        assert all(len(set(column)) == NEIGHBORS for column in level.neighbors.T)
        # decisions are made on coordinates rounded to 2^-16 of the spacing
        np.testing.assert_allclose(
            np.sort(near, 1), np.sort(apart, 1)[:, :NEIGHBORS], atol=1e-4 * near.mean()
        )


@each_cloud
def test_the_envelope_vanishes_at_the_first_neighbour_left_out(cloud):
    points, graph = cloud(), graph_of(cloud)

    for level, places in zip(levels_of(graph), positions(points, graph), strict=True):
        apart = distances(places, places)
        left_out = np.sort(apart, 1)[:, NEIGHBORS]
        near = np.take_along_axis(apart, level.neighbors.T, 1).T
        np.testing.assert_allclose(
            np.exp(edges_of(level)[5]), 1 - np.minimum(near / left_out, 1) ** 6, atol=1e-4
        )


def test_neighbours_as_far_as_the_first_left_out_are_excluded_outright():
    level = levels_of(build_graph(lattice(9, 8, 3)))[0]
    rim = edges_of(level)[3] > edges_of(level)[3].max(0) * (1 - 1e-9)

    # on a lattice neighbours come in shells, and k = 16 cuts through a shell at many points
    least = np.isclose(edges_of(level)[5][rim], np.log(FAINTEST), rtol=1e-12)
    assert least.mean() > 0.5
    assert (np.exp(edges_of(level)[5][0]) == 1).all()


@each_cloud
def test_edges_are_offsets_in_the_frame_of_the_receiver(cloud):
    points, graph = cloud(), graph_of(cloud)

    for level, places in zip(levels_of(graph), positions(points, graph), strict=True):
        offsets = places[level.neighbors] - places
        radius = np.sort(distances(places, places), 1)[:, NEIGHBORS].mean()
        local = np.einsum("nij,knj->ikn", matrices(level), offsets) / radius
        np.testing.assert_allclose(edges_of(level)[:3], local, atol=1e-4)
        lengths = np.linalg.norm(edges_of(level)[:3], axis=0)
        np.testing.assert_allclose(edges_of(level)[3], lengths, atol=LAYER)
        np.testing.assert_allclose(edges_of(level)[4], lengths**2, atol=LAYER)


@pytest.mark.parametrize("count", [17, 18, 68, 69, 600, 1024, 1025, 5000])
def test_each_level_keeps_a_quarter_of_the_points_down_to_a_smallest_one(count):
    graph = build_graph(sampled_from(torus, count))
    sizes = [level.moments.shape[1] for level in levels_of(graph)]

    assert len(sizes) == LEVELS
    assert sizes[0] == count
    for size, next_size in pairwise(sizes):
        assert next_size == max(-(-size // RATIO), SMALLEST_LEVEL)


@each_cloud
def test_sampled_points_are_distinct_rows_of_their_level(cloud):
    levels = levels_of(graph_of(cloud))

    for level, above in pairwise(levels):
        assert (np.diff(level.sampled) > 0).all()
        assert 0 <= level.sampled[0] <= level.sampled[-1] < level.moments.shape[1]
        assert len(level.sampled) == above.moments.shape[1]
    assert levels[-1].sampled.size == levels[-1].parents.size == levels[-1].weights.size == 0


@pytest.mark.parametrize("count", [100, 1000])
def test_no_point_is_farther_from_the_sampled_ones_than_these_from_each_other(count):
    points = sampled_from(torus, count)
    graph = build_graph(points)
    fine, chosen = positions(points, graph)[:2]

    covering = distances(fine, chosen).min(1).max()
    separation = np.sort(distances(chosen, chosen), 1)[:, 1].min()

    assert covering <= separation * (1 + 1e-3)  # coordinates are rounded, float32 inside


def test_sampling_evens_out_the_density():
    rng = np.random.default_rng(0)
    dense, thin = plane(6000, rng)[0], plane(600, rng)[0] + [2.5, 0, 0]
    graph = build_graph(np.vstack([dense, thin]))
    share = (positions(np.vstack([dense, thin]), graph)[1][:, 0] > 2.25).mean()

    assert share > 0.15  # of the points only 9 % are there


@each_cloud
def test_farthest_points_are_what_the_finest_level_leaves_to_the_next(cloud):
    points, graph = cloud(), graph_of(cloud)
    kept = farthest_points(points)

    if len(graph.order) == len(points):  # copies share a node of the graph
        np.testing.assert_array_equal(kept, graph.order[levels_of(graph)[0].sampled])
    assert len(kept) == max(-(-len(points) // RATIO), SMALLEST_LEVEL)


def test_farthest_points_of_a_line_are_refused():
    with pytest.raises(CloudError, match="one line"):
        farthest_points(np.linspace(0, 1, 100)[:, None] * [1.0, 2.0, 3.0])


@each_cloud
def test_parents_are_the_nearest_points_of_the_next_level(cloud):
    points, graph = cloud(), graph_of(cloud)
    places = positions(points, graph)

    for level, fine, chosen in zip(levels_of(graph)[:-1], places, places[1:], strict=False):
        apart = distances(fine, chosen)
        near = np.take_along_axis(apart, level.parents.T, 1)
        np.testing.assert_allclose(
            np.sort(near, 1), np.sort(apart, 1)[:, :PARENTS], atol=1e-4 * apart.mean()
        )


def test_what_lattices_are_told_of_equally_far_parents_is_more_than_rounding():
    points = builtin_clouds()["lattice"]
    turned = motion("rotation", len(points), np.random.default_rng(0)).points(points)

    here, there = (levels_of(build_graph(cloud))[0] for cloud in (points, turned))

    np.testing.assert_array_equal(here.parents, there.parents)
    np.testing.assert_allclose(here.weights, there.weights, rtol=0, atol=1e-11)


@each_cloud
def test_weights_sum_to_one_and_are_largest_at_the_nearest_parent(cloud):
    for level in levels_of(graph_of(cloud))[:-1]:
        assert (level.weights >= 0).all()
        np.testing.assert_allclose(level.weights.sum(0), 1)
        assert (np.diff(level.weights, axis=0) <= 1e-4).all()


def test_duplicates_share_a_node():
    points = sampled_from(torus, 300)
    graph = build_graph(np.vstack([points, points[::-1], points[:7]]))

    assert len(graph.order) == 300
    np.testing.assert_array_equal(graph.inverse[300:600], graph.inverse[299::-1])
    np.testing.assert_array_equal(graph.inverse[600:], graph.inverse[:7])
    assert levels_of(graph)[0].moments.shape[1] == 300


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_a_cloud_that_is_mostly_copies_of_its_centre_keeps_the_other_points(scale):
    ball = quantised(sampled_from(sphere, 30))
    graph = build_graph(scale * np.vstack([ball, -ball, np.zeros((300, 3))]))

    assert len(graph.order) == 61


def test_every_point_is_found_at_its_node():
    points = coarse(cube)
    graph = build_graph(points)

    np.testing.assert_array_equal(points[graph.order][graph.inverse], points)
    assert len(graph.order) == len(np.unique(points, axis=0))


@each_cloud
def test_all_numbers_are_finite(cloud):
    for level in levels_of(graph_of(cloud)):
        for part in (level.frames, edges_of(level), level.moments, level.weights):
            assert np.isfinite(part).all()


@each_cloud
def test_in_float32_every_decision_and_every_number_is_the_same_but_rounded(cloud):
    exact, rounded = graph_of(cloud), build_graph(cloud(), torch.float32)

    for a, b in zip(levels_of(exact), levels_of(rounded), strict=True):
        for one, other in ((a.neighbors, b.neighbors), (a.sampled, b.sampled)):
            np.testing.assert_array_equal(one, other)
        for one, other in ((a.frames, b.frames), (a.moments, b.moments), (a.weights, b.weights)):
            assert other.dtype == np.float32
            np.testing.assert_array_equal(one.astype(np.float32), other)


def test_the_same_cloud_gives_the_same_bits_and_keeps_its_own():
    points = sampled_from(cube)
    before = points.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002

    first, second = build_graph(points), build_graph(points)

    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    for a, b in zip(levels_of(first), levels_of(second), strict=True):
        for one, other in zip(a[:-1], b[:-1], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("count", "skipped"), [(500, 1), (16_384, 1), (20_000, 1), (70_000, 2)])
def test_the_overview_continues_below_the_finest_levels(count, skipped):
    graph = build_graph(sampled_from(torus, count))

    overview = graph.overview
    assert overview.skipped == skipped
    assert len(levels_of(graph)) == len(levels_of(overview)) == LEVELS
    assert levels_of(overview)[0].frames.shape[2] <= OVERVIEW
    for shared, level in zip(levels_of(graph)[skipped:-1], levels_of(overview), strict=False):
        np.testing.assert_array_equal(level.neighbors, shared.neighbors)
        np.testing.assert_array_equal(level.sampled, shared.sampled)


def test_the_nearest_points_of_the_overview_are_found_by_distance():
    graph = build_graph(sampled_from(torus, 500))
    here, there = (levels[0].positions for levels in (levels_of(graph), levels_of(graph.overview)))
    near = graph.overview.near.numpy()

    distance = np.linalg.norm(there[:, :, None] - here[:, None], axis=0)
    found = np.take_along_axis(distance, near, 0)

    np.testing.assert_allclose(found, np.sort(distance, 0)[: len(near)], rtol=1e-3, atol=10)


def test_the_overview_is_what_the_points_that_are_left_show_alone():
    points = sampled_from(torus, 2000)
    graph = build_graph(points)
    rows = graph.order[levels_of(graph)[0].sampled]
    alone = build_graph(points[rows])

    seen = levels_of(graph.overview)[0].frames[2][:, np.argsort(rows)]
    expected = levels_of(alone)[0].frames[2][:, np.argsort(rows[alone.order])]
    assert np.median(unoriented_angle_deg(seen.T, expected.T)) < 1e-3


@pytest.mark.parametrize("count", [70, 301, 3000])
def test_all_overviews_share_out_the_level_below(count):
    graph = build_graph(sampled_from(torus, count))

    overviews = [graph.overview, *graph.further()]

    parts = [levels_of(overview)[0].positions for overview in overviews]
    assert len(parts) == RATIO
    assert np.ptp([part.shape[1] for part in parts]) <= RATIO
    below = levels_of(graph)[0].positions
    shared = np.hstack(parts)
    assert sorted(map(tuple, shared.T)) == sorted(map(tuple, below.T))
    for overview in overviews:
        assert len(levels_of(overview)) == LEVELS
        assert overview.near.shape == (NEIGHBORS, count)
        assert overview.skipped == 1


def test_a_cloud_too_small_to_share_has_one_overview():
    graph = build_graph(sampled_from(torus, 40))

    assert not list(graph.further())
