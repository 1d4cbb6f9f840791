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
    cloud,
    cube,
    lattice,
    motion,
    plane,
    quantised,
    sphere,
)

from tfnormals import estimate_normals
from tfnormals.errors import CloudError, ModelError
from tfnormals.estimation import estimate, pick_device
from tfnormals.graph import MIN_POINTS
from tfnormals.metrics import angle_deg, unoriented_angle_deg
from tfnormals.pretrained import save_model

BAD = [np.nan, np.inf, -np.inf]
UTM = np.array([453_210.0, 5_201_430.0, 4_500_000.0])


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


def test_what_a_gpu_has_no_room_for_is_done_on_the_cpu(small_network, full_gpu):
    found = estimate(cloud(), small_network)
    expected = estimate(cloud(), small_network)

    np.testing.assert_array_equal(found.normals, expected.normals)
    assert (found.moved, expected.moved) == (True, False)


def test_masked_points_get_nan(small_network):
    points = np.ma.array(cloud(), mask=False)
    points[7, 1] = np.ma.masked

    normals, confidence = estimate_normals(points, model=small_network)

    expected, _ = estimate_normals(np.delete(cloud(), 7, axis=0), model=small_network)
    assert np.isnan(normals[7]).all()
    assert confidence[7] == 0
    np.testing.assert_array_equal(np.delete(normals, 7, axis=0), expected)


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


@pytest.mark.parametrize("shape", [(300,), (300, 1), (300, 4), (3, 300, 3), (0,)])
def test_a_wrong_shape_is_named(shape, small_network):
    with pytest.raises(ValueError, match=r"points have shape \(.*\); give \(n, 3\)"):
        estimate_normals(np.zeros(shape), model=small_network)


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
