"""The picture of a cloud with its normals."""

from io import BytesIO

import numpy as np
import pytest
from helpers import sphere
from matplotlib.image import imread

from tfnormals import preview as module
from tfnormals.preview import preview

SIDE = 60


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small pictures take little time."""
    monkeypatch.setattr(module, "WIDTH", SIDE)


def ball(count=600):
    return sphere(count, np.random.default_rng(0))[0]


def drawn(points, normals, **options):
    return np.round(255 * imread(BytesIO(preview(points, normals, **options)))[..., :3])


def covered(image):
    return (image < 250).any(axis=2)


def red_share(image):
    """The share of the surface that is red."""
    return (image[..., 0] > 2 * image[..., 1:].max(axis=2)).sum() / covered(image).sum()


def half(axis, sign):
    """A ball whose outward normals are turned around on one side."""
    inwards = sign * ball()[:, axis : axis + 1] > 0
    return np.where(inwards, -ball(), ball())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_the_cloud_is_seen_from_the_sensor(axis, sign, unit):
    viewpoint = 5e6 + np.eye(3)[axis] * sign * 9 * unit
    points = unit * ball() + 5e6

    assert red_share(drawn(points, half(axis, sign), viewpoint=viewpoint)) > 0.8
    assert red_share(drawn(points, half(axis, -sign), viewpoint=viewpoint)) < 0.05


@pytest.mark.parametrize(("height", "up"), [(9, 1), (-9, -1)])
def test_a_sensor_above_or_below_keeps_its_own_up(height, up):
    """As in the camera frames of which y points up and z back, or y down and z ahead."""
    image = drawn(ball(), half(1, up), viewpoint=[0.1, 0.2, height])

    assert red_share(image[: SIDE // 2 - 9]) > 0.7
    assert red_share(image[SIDE // 2 + 9 :]) < 0.1


def test_a_cloud_around_its_sensor_is_seen_from_the_usual_side():
    amid = preview(ball(), ball(), viewpoint=[0.1, 0, 0])

    assert amid == preview(ball(), ball())
    assert amid != preview(ball(), ball(), viewpoint=[9, 0, 0])


def test_normals_without_a_sign_are_never_red():
    assert red_share(drawn(ball(), -ball())) > 0.8
    assert red_share(drawn(ball(), -ball(), signed=False)) == 0


def test_points_far_away_do_not_make_the_rest_small():
    points = np.vstack([ball(), [[500, 400, 300], [-900, 0, 0]]])

    image = drawn(points, np.vstack([ball(), np.eye(3)[:2]]))

    assert covered(image).mean() > 0.4


def test_points_without_a_normal_are_left_out():
    points, normals = np.vstack([ball(), np.full((2, 3), 5.0)]), np.vstack([ball(), ball()[:2]])
    points[-1], normals[-2] = np.nan, np.nan

    assert preview(points, normals) == preview(ball(), ball())


def test_a_tall_cloud_fits():
    image = drawn(ball() * [1, 1, 9], ball())

    assert image.shape[0] == SIDE
    assert image.shape[1] < SIDE / 2


def test_of_a_huge_cloud_a_part_is_drawn(monkeypatch):
    counts = []
    monkeypatch.setattr(module, "DRAWN", 300)
    monkeypatch.setattr(
        module, "cloud_image", lambda p, *_, **__: counts.append(len(p)) or np.ones((9, 9, 3))
    )

    preview(ball(), ball())

    assert 280 < counts[0] <= 300


@pytest.mark.parametrize(("signed", "beyond"), [(True, 1.0), (False, 0.5)])
def test_the_arrows_of_a_contour_point_out_of_it(signed, beyond, monkeypatch):
    monkeypatch.setattr(module, "WIDTH", 400)
    points = ball()[:, :2] / np.linalg.norm(ball()[:, :2], axis=1, keepdims=True)

    image = drawn(points + 5e6, points, signed=signed)

    y, x = np.indices(image.shape[:2]) - 199.5
    reach = np.hypot(x, y)[(image[..., 2] > image[..., 0] + 30)] / (400 / 2.3)
    assert reach.max() == pytest.approx(1 + 0.1 * beyond, abs=0.02)
    assert reach.min() == pytest.approx(1 - 0.1 * (1 - beyond), abs=0.02)
