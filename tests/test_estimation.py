import copy

import numpy as np
import pytest
import torch
from helpers import (
    EXACT_DEG,
    FLOAT32_MEDIAN_DEG,
    MOTIONS,
    TURNS,
    assert_equivariant,
    cube,
    lattice,
    motion,
    plane,
    quantised,
    rotation,
    sphere,
    torus,
)

from tfnormals import estimate_normals
from tfnormals.errors import CloudError, ModelError
from tfnormals.estimation import estimate, overview, pick_device
from tfnormals.graph import MIN_POINTS
from tfnormals.metrics import angle_deg, unoriented_angle_deg
from tfnormals.orientation import OVERVIEW_WEIGHT, informed
from tfnormals.pretrained import DEFAULT_MODEL, load_model, save_model

BAD = [np.nan, np.inf, -np.inf]
UTM = np.array([453_210.0, 5_201_430.0, 4_500_000.0])


def cloud(shape=torus, count=300):
    return quantised(shape(count, np.random.default_rng(0))[0])


@pytest.fixture(scope="module")
def plane_network(exact_network):
    """A float64 network that trusts the planes of its frames, as every trained one does."""
    network = copy.deepcopy(exact_network)
    network.head[-1].bias[4] = 10.0  # the third component of the direction
    return network


@pytest.fixture
def normals_of(exact_network):
    return lambda points: estimate(points, exact_network, dtype=torch.float64).normals


@pytest.mark.parametrize("kind", MOTIONS)
def test_normals_follow_the_cloud(kind, normals_of):
    assert_equivariant(normals_of, cloud(cube), kind, EXACT_DEG)


@pytest.mark.parametrize("exponent", [1023, 600, -600, -1022])
def test_numbers_whose_squares_overflow_or_vanish_are_fine(exponent, small_network):
    points = quantised(cloud() / 4)
    expected = estimate(points, small_network, orient="viewpoint", viewpoint=[0, 0, 1])

    with np.errstate(all="raise"):
        found = estimate(
            np.ldexp(points, exponent),
            small_network,
            orient="viewpoint",
            viewpoint=np.ldexp([0, 0, 1], exponent),
        )

    np.testing.assert_array_equal(found.normals, expected.normals)
    np.testing.assert_array_equal(found.confidence, expected.confidence)


@pytest.mark.parametrize("kind", MOTIONS)
def test_normals_follow_a_cloud_with_duplicates_and_ties(kind, normals_of):
    points = quantised(cloud(cube), 3)

    assert_equivariant(normals_of, np.vstack([points, points[:50]]), kind, EXACT_DEG)


@pytest.mark.parametrize("kind", MOTIONS)
def test_the_float32_default_follows_the_cloud(kind, small_network):
    points = cloud(cube)
    moved = motion(kind, len(points), np.random.default_rng(0))

    rest, _ = estimate_normals(points, model=small_network)
    other, _ = estimate_normals(moved.points(points), model=small_network)

    assert np.median(angle_deg(other, moved.normals(rest))) < FLOAT32_MEDIAN_DEG


def test_normals_have_unit_length_and_confidence_is_a_share(small_network):
    normals, confidence = estimate_normals(cloud(), model=small_network)

    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert confidence.shape == (300,)
    assert (confidence >= 0).all()
    assert (confidence <= 1).all()


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_numpy_types_are_kept(kind, small_network):
    normals, confidence = estimate_normals(cloud().astype(kind), model=small_network)

    assert normals.dtype == confidence.dtype == np.dtype(kind)
    assert normals.shape == (300, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_torch_types_and_devices_are_kept(dtype, small_network):
    points = torch.from_numpy(cloud()).to(dtype)

    normals, confidence = estimate_normals(points, model=small_network)

    assert normals.dtype is confidence.dtype is dtype
    assert normals.device == confidence.device == points.device
    assert normals.shape == points.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cloud_on_the_gpu_gets_its_normals_there(small_network):
    points = torch.from_numpy(cloud()).cuda()
    network = copy.deepcopy(small_network)

    normals, confidence = estimate_normals(points, model=network)

    assert normals.device == confidence.device == points.device
    expected = estimate_normals(cloud(), model=small_network, device="cpu")[0]
    assert np.median(angle_deg(normals.cpu().numpy(), expected)) < FLOAT32_MEDIAN_DEG


def test_a_cloud_too_large_for_a_gpu_is_told_so(small_network, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(small_network), "answer", full)

    with pytest.raises(CloudError, match=r"^300 points do not fit .* GPU; use --device cpu$"):
        estimate_normals(cloud(), model=small_network)


@pytest.mark.parametrize("integers", [np.int32, np.uint8])
def test_whole_coordinates_give_float64(integers, small_network):
    points = np.round(cloud() * 50 + 100).astype(integers)

    normals, confidence = estimate_normals(points, model=small_network)
    ours, _ = estimate_normals(torch.from_numpy(points), model=small_network)

    assert normals.dtype == confidence.dtype == np.float64
    assert ours.dtype is torch.float64


def test_numpy_and_torch_agree(small_network):
    normals, confidence = estimate_normals(cloud(), model=small_network)
    ours = estimate_normals(torch.from_numpy(cloud()).requires_grad_(), model=small_network)

    np.testing.assert_array_equal(ours[0].numpy(), normals)
    np.testing.assert_array_equal(ours[1].numpy(), confidence)


@pytest.mark.parametrize("value", BAD)
def test_points_that_are_not_finite_get_nan_and_bother_no_other(value, small_network):
    points = cloud()
    spoilt = np.insert(points, [0, 100, 300], points[:3], axis=0)
    spoilt[[0, 101, 302], [0, 1, 2]] = value
    good = np.isfinite(spoilt).all(1)

    result = estimate(spoilt, small_network)

    assert result.skipped == 3
    assert np.isnan(result.normals[~good]).all()
    assert (result.confidence[~good] == 0).all()
    clean = estimate(points, small_network)
    np.testing.assert_array_equal(result.normals[good], clean.normals)
    np.testing.assert_array_equal(result.confidence[good], clean.confidence)


def test_duplicates_get_the_same_normal(small_network):
    points = cloud()

    result = estimate(np.vstack([points, points[::-1]]), small_network)

    np.testing.assert_array_equal(result.normals[:300], result.normals[:299:-1])
    np.testing.assert_array_equal(result.confidence[:300], result.confidence[:299:-1])


def test_as_few_points_as_the_network_can_use(small_network):
    result = estimate(cloud(count=MIN_POINTS), small_network)

    assert np.isfinite(result.normals).all()


@pytest.mark.parametrize("count", [0, 1, 16])
def test_too_few_points_are_counted(count, small_network):
    with pytest.raises(CloudError, match=rf"^{count} usable points?; at least 17 are needed"):
        estimate(cloud()[:count], small_network)


def test_only_finite_points_count(small_network):
    points = cloud(count=20)
    points[:5, 1] = np.nan

    with pytest.raises(CloudError, match=r"^15 usable points; at least 17 are needed"):
        estimate(points, small_network)


@pytest.mark.parametrize("distinct", [2, 3, 4, 5, 16])  # two are on one line, too
def test_too_few_distinct_positions_are_counted(distinct, small_network):
    points = np.repeat(cloud(sphere)[:distinct], 20, axis=0)

    with pytest.raises(CloudError, match=rf"^{distinct} distinct points; at least 17|on one line"):
        estimate(points, small_network)


@pytest.mark.parametrize("where", [0.0, 1.0, 4.5e6])
def test_a_cloud_of_one_position_is_refused(where, small_network):
    with pytest.raises(CloudError, match="all 50 points are equal"):
        estimate(np.full((50, 3), where), small_network)


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("direction", [[1, 0, 0], [1, 2, -3]])
def test_a_line_is_refused(shift, direction, small_network):
    steps = np.random.default_rng(0).random(200)

    with pytest.raises(CloudError, match="on one line"):
        estimate(np.outer(steps, direction) + shift, small_network)


def test_mostly_duplicates_of_one_position_are_fine(small_network):
    points = np.vstack([np.zeros((300, 3)), cloud(sphere, 60), -cloud(sphere, 60)])

    assert np.isfinite(estimate(points, small_network).normals).all()


def test_one_stray_point_far_away_spoils_nothing(small_network):
    points = np.vstack([cloud(), [[1e4, 0, 0]]])

    assert np.isfinite(estimate(points, small_network).normals).all()


@pytest.mark.parametrize("scale", [1e-100, 1e-9, 1e9, 1e100])
def test_units_do_not_matter(scale, exact_network):
    points = cloud()
    here, there = (
        estimate(p, exact_network, dtype=torch.float64).normals for p in (points, scale * points)
    )

    assert angle_deg(here, there).max() < EXACT_DEG


@pytest.mark.parametrize("kind", TURNS)
def test_a_plane_gets_its_exact_normal_and_no_side(kind, plane_network):
    points, normals = plane(400, np.random.default_rng(0))
    moved = motion(kind, 400, np.random.default_rng(1))

    result = estimate(moved.points(points), plane_network, dtype=torch.float64)

    assert unoriented_angle_deg(result.normals, moved.normals(normals)).max() < EXACT_DEG
    assert result.planar
    assert (result.confidence == 0).all()


def test_a_plane_in_projected_coordinates_gets_its_normal(plane_network):
    points, normals = plane(400, np.random.default_rng(0))
    moved = motion("rotation", 400, np.random.default_rng(1))

    result = estimate(moved.points(points) + UTM, plane_network, dtype=torch.float64)

    # Coordinates round to 1e-9, neighbourhoods are 0.1 wide: 1e-8 radians.
    assert unoriented_angle_deg(result.normals, moved.normals(normals)).max() < 1e-5
    assert result.planar


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_plane_stored_in_a_file_counts_as_a_plane(dtype, small_network):
    points = motion("rotation", 400, np.random.default_rng(0)).points(cloud(plane, 400))

    assert estimate(points.astype(dtype).astype(float), small_network).planar
    assert not estimate(cloud(sphere), small_network).planar


def test_a_regular_grid_is_declared_ambiguous(small_network):
    assert estimate(lattice(6, 7, 8), small_network).ambiguous
    assert not estimate(cloud(), small_network).ambiguous


def test_projected_coordinates_lose_nothing(exact_network, small_network):
    points = cloud(cube, 400)
    here, there = (estimate(p, exact_network, dtype=torch.float64) for p in (points, points + UTM))
    single = [estimate_normals(p, model=small_network)[0] for p in (points, points + UTM)]

    assert angle_deg(here.normals, there.normals).max() < EXACT_DEG
    np.testing.assert_allclose(here.confidence, there.confidence, atol=1e-9)
    assert np.median(angle_deg(*single)) < FLOAT32_MEDIAN_DEG


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


@pytest.mark.parametrize("shape", [(300,), (300, 1), (300, 4), (3, 300, 3), (0,)])
def test_a_wrong_shape_is_named(shape, small_network):
    with pytest.raises(ValueError, match=r"points have shape \(.*\); give \(n, 3\)"):
        estimate_normals(np.zeros(shape), model=small_network)


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


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "", "cpu:1"])
def test_an_unknown_device_lists_those_present(device):
    with pytest.raises(ValueError, match=f"no device '{device}' here; available: auto, cpu"):
        pick_device(device)


def test_devices_by_name():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_model_may_be_given_by_path(small_network, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_model(path, small_network, "mine", {})

    by_path, by_hand = (estimate_normals(cloud(), model=m) for m in (str(path), small_network))

    np.testing.assert_array_equal(by_path[0], by_hand[0])


def test_an_unknown_model_is_refused():
    with pytest.raises(ModelError, match="unknown model 'no such'; available: "):
        estimate_normals(cloud(), model="no such")


def test_progress_counts_up_to_the_end(small_network):
    seen = []

    estimate(cloud(), small_network, on_progress=lambda done, total: seen.append((done, total)))

    total = seen[-1][1]
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_nothing_of_the_caller_is_changed(small_network):
    points, eyes = cloud(), cloud() + 3
    points[0, 0] = np.nan
    tensor = torch.from_numpy(points.copy())
    state, drawn = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    estimate_normals(points, model=small_network, orient="viewpoint", viewpoint=eyes)
    estimate_normals(tensor, model=small_network)

    np.testing.assert_array_equal(points[1:], cloud()[1:])
    np.testing.assert_array_equal(tensor.numpy(), points)
    np.testing.assert_array_equal(eyes, cloud() + 3)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002


def test_read_only_points_are_fine(small_network):
    points = cloud()
    points.setflags(write=False)

    normals, _ = estimate_normals(points, model=small_network)

    assert np.array_equal(normals, estimate_normals(cloud(), model=small_network)[0])


@pytest.mark.parametrize(
    ("given", "used"), [(torch.float32, torch.float64), (torch.float64, torch.float32)]
)
def test_the_network_of_the_caller_keeps_its_type(given, used, small_network):
    network = copy.deepcopy(small_network).to(given)

    estimate(cloud(), network, dtype=used)

    assert {parameter.dtype for parameter in network.parameters()} == {given}


def test_the_same_points_give_the_same_bits(small_network):
    one, other = (estimate(cloud(), small_network) for _ in range(2))

    np.testing.assert_array_equal(one.normals, other.normals)
    np.testing.assert_array_equal(one.confidence, other.confidence)


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
    count, skipped, small_network, monkeypatch
):
    given, heard = [], informed

    def listened(first, seen, near, weight):
        given.append(weight)
        return heard(first, seen, near, weight)

    monkeypatch.setattr("tfnormals.estimation.informed", listened)
    monkeypatch.setattr("tfnormals.estimation.UNSURE", 2.0)

    estimate(torus(count, np.random.default_rng(0))[0], small_network)

    assert given == [skipped * OVERVIEW_WEIGHT]


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
def test_a_whole_is_louder_the_fewer_of_its_points_are_known(
    step, levels, small_network, monkeypatch
):
    given, heard = [], informed
    points = torus(20_000, np.random.default_rng(0))[0]
    whole = overview(points[::step], small_network)
    monkeypatch.setattr(
        "tfnormals.estimation.informed", lambda *args: given.append(args[-1]) or heard(*args)
    )

    estimate(points, small_network, whole=whole)

    assert given == [pytest.approx(levels * OVERVIEW_WEIGHT, rel=0.02)]


def scaled(seen, factor):
    return seen._replace(positions=factor * seen.positions)
