"""Sides of normals: outward, towards a sensor or a direction, of parts of a surface."""

import numpy as np
import pytest
import torch
from helpers import (
    EXACT_DEG,
    MOTIONS,
    TURNS,
    cloud,
    cube,
    motion,
    plane,
    rotation,
    torus,
)

from tfnormals import estimate_normals
from tfnormals.estimation import estimate, overview
from tfnormals.metrics import angle_deg, unoriented_angle_deg
from tfnormals.orientation import OVERVIEW_WEIGHT, informed
from tfnormals.pretrained import DEFAULT_MODEL, load_model


@pytest.fixture
def told(monkeypatch):
    """What ``informed`` is given, call by call: first, overview, near, weight."""
    calls = []

    def listening(*given):
        calls.append(given)
        return informed(*given)

    monkeypatch.setattr("tfnormals.estimation.informed", listening)
    return calls


@pytest.fixture
def a_part_is_told(told, small_network):
    """What a look at every so many points of it tells a cloud."""

    def tell(step):
        points = torus(20_000, np.random.default_rng(0))[0]
        whole = overview(points[::step], small_network)
        told.clear()  # a look at the whole is told something as well
        estimate(points, small_network, whole=whole)
        (given,) = told
        return given

    return tell


def test_normals_face_the_sensor(small_network):
    points, eye = cloud(), np.array([0.3, -4.0, 2.0])

    normals, confidence = estimate_normals(
        points, model=small_network, orient="viewpoint", viewpoint=eye
    )

    facing = (normals * (eye - points)).sum(1)
    assert (facing >= 0).all()
    outward, _ = estimate_normals(points, model=small_network)
    assert unoriented_angle_deg(normals, outward).max() < EXACT_DEG
    grazing = facing < np.cos(np.radians(89)) * np.linalg.norm(eye - points, axis=1)
    assert confidence[grazing].max() < 0.11
    assert confidence[~grazing].max() > confidence[grazing].max()


def test_every_point_may_have_its_own_sensor(small_network):
    points = cloud()
    eyes = np.where(points[:, :1] > 0, [5.0, 0, 0], [-5.0, 0, 0])

    normals, _ = estimate_normals(points, model=small_network, orient="viewpoint", viewpoint=eyes)

    assert ((normals * (eyes - points)).sum(1) >= 0).all()


def test_sensors_of_points_that_are_not_finite_are_left_out(small_network):
    points, eyes = cloud(), np.tile([0.0, 0, 9], (300, 1))
    points[7, 0] = np.nan
    eyes[8] = [9, 0, 0]

    normals, _ = estimate_normals(points, model=small_network, orient="viewpoint", viewpoint=eyes)

    facing = (normals * (eyes - points)).sum(1)
    assert (np.delete(facing, 7) >= 0).all()


def test_a_sensor_sees_the_sides_of_a_plane(plane_network):
    points, normals = plane(400, np.random.default_rng(0))

    result = estimate(
        points, plane_network, dtype=torch.float64, orient="viewpoint", viewpoint=[1, 0.5, -3]
    )

    assert angle_deg(result.normals, -normals).max() < EXACT_DEG
    assert result.confidence.min() > 0


@pytest.mark.parametrize("lost", [[np.nan, 0, 9], [np.inf] * 3])
def test_the_side_of_a_point_without_a_sensor_is_a_guess(lost, small_network):
    points, eyes = cloud(), np.tile([0.0, 0, 9], (300, 1))
    points[7] = np.inf
    eyes[7:10] = lost

    result = estimate(points, small_network, orient="viewpoint", viewpoint=eyes)

    assert (result.skipped, result.unseen) == (1, 2)
    np.testing.assert_allclose(np.linalg.norm(result.normals[8:10], axis=1), 1)
    assert np.flatnonzero(result.confidence == 0).tolist() == [7, 8, 9]


@pytest.mark.parametrize("toward", [(0, 0, 1), (0.0, 3e-200, -4e-200), (1e300, -1e300, 0.0)])
def test_normals_point_to_the_side_of_a_direction(toward, small_network):
    points = cloud()

    normals, confidence = estimate_normals(
        points, model=small_network, orient="toward", toward=toward
    )

    cosine = normals @ (toward / np.linalg.norm(np.divide(toward, max(map(abs, toward)))))
    cosine /= max(map(abs, toward))
    assert (cosine >= 0).all()
    assert confidence[cosine < np.cos(np.radians(89))].max() < 0.11
    assert confidence[cosine > 0.5].max() > 0.11


def test_a_direction_is_a_sensor_far_away(small_network):
    points, up = cloud(), np.array([0.2, -0.3, 0.9])

    near, far = (
        estimate_normals(points, model=small_network, **faced)
        for faced in (
            {"orient": "toward", "toward": up},
            {"orient": "viewpoint", "viewpoint": 1e12 * up},
        )
    )

    np.testing.assert_array_equal(near[0], far[0])
    np.testing.assert_allclose(near[1], far[1], atol=1e-9)


@pytest.mark.parametrize("kind", MOTIONS)
def test_normals_that_face_a_direction_follow_it_and_the_cloud(kind, exact_network):
    points, up = cloud(cube), np.array([0.3, -0.4, 2.0])
    moved = motion(kind, len(points), np.random.default_rng(0))

    rest, other = (
        estimate(p, exact_network, dtype=torch.float64, orient="toward", toward=t)
        for p, t in ((points, up), (moved.points(points), moved.matrix @ up))
    )

    assert angle_deg(other.normals, moved.normals(rest.normals)).max() < EXACT_DEG
    np.testing.assert_allclose(other.confidence, rest.confidence[moved.order], atol=1e-6)


@pytest.mark.parametrize("kind", TURNS)
def test_normals_that_face_a_sensor_follow_it_and_the_cloud(kind, exact_network):
    points, eye = cloud(cube), np.array([[0.3, -4.0, 2.0]])
    moved = motion(kind, len(points), np.random.default_rng(0))

    rest, other = (
        estimate(p, exact_network, dtype=torch.float64, orient="viewpoint", viewpoint=e[0])
        for p, e in ((points, eye), (moved.points(points), eye @ moved.matrix.T))
    )

    assert angle_deg(other.normals, moved.normals(rest.normals)).max() < EXACT_DEG


def test_a_sensor_at_a_point_is_no_error(small_network):
    points = cloud()

    result = estimate(points, small_network, orient="viewpoint", viewpoint=points[5])

    assert np.isfinite(result.normals).all()
    assert result.confidence[5] == 0


def test_without_sides_the_confidence_is_that_of_the_direction(small_network):
    outward, sides = estimate_normals(cloud(), model=small_network)
    either, directions = estimate_normals(cloud(), model=small_network, orient="none")

    assert unoriented_angle_deg(outward, either).max() < EXACT_DEG
    assert (directions >= sides).all()


@pytest.mark.parametrize(
    ("viewpoint", "message"),
    [
        (None, "there is no viewpoint; give one"),
        ([1.0, 2.0], r"viewpoint has shape \(2,\); give \(3,\) or \(300, 3\)"),
        (np.zeros((299, 3)), r"viewpoint has shape \(299, 3\); give \(3,\) or \(300, 3\)"),
        ([0.0, np.nan, 0.0], "the viewpoint is not finite"),
        (np.full((300, 3), np.nan), "the viewpoint is not finite"),
    ],
)
def test_a_wrong_viewpoint_is_explained(viewpoint, message, small_network):
    with pytest.raises(ValueError, match=message):
        estimate_normals(cloud(), model=small_network, orient="viewpoint", viewpoint=viewpoint)


@pytest.mark.parametrize(
    ("toward", "message"),
    [
        (None, "there is no toward; give one"),
        ([0.0, 1.0], r"toward has shape \(2,\); give \(3,\)"),
        (np.ones((300, 3)), r"toward has shape \(300, 3\); give \(3,\)"),
        ([0.0, 0.0, 0.0], "not all zero"),
        ([0.0, np.nan, 1.0], "give finite numbers"),
    ],
)
def test_a_wrong_direction_is_explained(toward, message, small_network):
    with pytest.raises(ValueError, match=message):
        estimate_normals(cloud(), model=small_network, orient="toward", toward=toward)


@pytest.mark.parametrize(
    ("orient", "given"), [("outward", "viewpoint"), ("none", "toward"), ("toward", "viewpoint")]
)
def test_a_place_that_would_be_ignored_is_refused(orient, given, small_network):
    places = {"toward": [0, 0, 1]} if orient == "toward" else {}

    with pytest.raises(ValueError, match=f"{given} is of no use with orient {orient}"):
        estimate_normals(
            cloud(), model=small_network, orient=orient, **places, **{given: [0, 0, 1]}
        )


def test_an_unknown_orientation_lists_the_known_ones(small_network):
    with pytest.raises(ValueError, match="available: outward, viewpoint, toward, none"):
        estimate_normals(cloud(), model=small_network, orient="inward")


@pytest.mark.parametrize(("unsure", "looks"), [(2.0, 2), (0.0, 5)])
def test_unsure_clouds_are_looked_at_from_all_their_points(
    unsure, looks, small_network, monkeypatch
):
    monkeypatch.setattr("tfnormals.estimation.UNSURE", unsure)
    seen, answer = [], type(small_network).answer

    def counted(self, levels, *rest):
        seen.append(len(levels[0].sampled))
        return answer(self, levels, *rest)

    monkeypatch.setattr(type(small_network), "answer", counted)
    estimate(torus(400, np.random.default_rng(0))[0], small_network)

    assert len(seen) == looks


@pytest.mark.parametrize(("count", "skipped"), [(3000, 1), (70_000, 2)])
def test_an_overview_is_louder_the_more_levels_it_leaves_out(
    count, skipped, told, small_network, monkeypatch
):
    monkeypatch.setattr("tfnormals.estimation.UNSURE", 2.0)

    estimate(torus(count, np.random.default_rng(0))[0], small_network)

    assert [weight for *_, weight in told] == [skipped * OVERVIEW_WEIGHT]


def test_looks_from_all_points_follow_a_turn(exact_network, monkeypatch):
    monkeypatch.setattr("tfnormals.estimation.UNSURE", 0.0)
    points = torus(400, np.random.default_rng(0))[0]
    turn = rotation(np.random.default_rng(1))
    mirror = turn * [1, 1, -1]

    still = estimate(points, exact_network, dtype=torch.float64).normals
    for matrix in (turn, mirror):
        moved = estimate(points @ matrix.T, exact_network, dtype=torch.float64).normals
        np.testing.assert_allclose(moved, still @ matrix.T, atol=1e-8)


def test_a_flat_part_learns_its_side_from_a_look_at_the_whole():
    network = load_model(DEFAULT_MODEL)
    points, normals = cube(6000, np.random.default_rng(0))
    whole = overview(points, network)

    for axis, sign in ((0, 1), (2, -1)):
        face = normals[:, axis] == sign
        alone = estimate(points[face], network)
        found = estimate(1e200 * points[face], network, whole=scaled(whole, 1e200))

        assert alone.planar
        assert not found.planar
        assert (found.normals * normals[face]).sum(1).min() > 0.99
        assert found.confidence.mean() > 0.9


@pytest.mark.parametrize(("height", "seed"), [(0.02, 0), (0.05, 0), (0.05, 1)])
def test_parts_of_an_open_sheet_have_the_side_of_the_whole(height, seed):
    network = load_model(DEFAULT_MODEL)
    points = np.random.default_rng(seed).uniform(size=(40_000, 3))
    x, y = points[:, :2].T
    points[:, 2] = height * np.sin(9 * x) * np.cos(7 * y)
    whole = overview(points[:10_000], network)
    up = np.sign(whole.answer.normals[:, 2].mean().item())

    for quarter in np.split(np.argsort(2 * (x > 0.5) + (y > 0.5), kind="stable"), 4):
        found = estimate(points[quarter], network, whole=whole)
        assert (up * found.normals[:, 2] > 0).mean() > 0.99


@pytest.mark.parametrize(("step", "levels"), [(1, 1), (4, 1), (16, 2)])
def test_a_whole_is_louder_the_fewer_of_its_points_are_known(step, levels, a_part_is_told):
    *_, weight = a_part_is_told(step)

    assert weight == pytest.approx(levels * OVERVIEW_WEIGHT, rel=0.02)


@pytest.mark.parametrize(("step", "heard"), [(1, False), (16, True)])
def test_a_part_has_a_say_only_in_what_a_whole_is_too_coarse_for(step, heard, a_part_is_told):
    part, *_ = a_part_is_told(step)

    assert (part.answer.logit > 0).any() == heard


def scaled(seen, factor):
    return seen._replace(positions=factor * seen.positions)
