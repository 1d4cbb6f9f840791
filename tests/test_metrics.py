from dataclasses import astuple

import numpy as np
import pytest

from tfnormals.metrics import (
    NormalMetrics,
    angle_deg,
    cnd_rmse_deg,
    mean_metrics,
    normal_metrics,
    unoriented_angle_deg,
)

UP = np.array([0.0, 0.0, 1.0])


def tilted(*degrees):
    """Unit vectors (n, 3) at the given angles from UP."""
    radians = np.radians(degrees)
    return np.column_stack([np.sin(radians), np.zeros(len(radians)), np.cos(radians)])


def truth(count):
    return np.tile(UP, (count, 1))


@pytest.mark.parametrize("degrees", [0.0, 1e-9, 1e-4, 45.0, 90.0, 135.0, 180 - 1e-6, 180.0])
def test_angle_is_exact_over_the_whole_range(degrees):
    assert angle_deg(tilted(degrees), truth(1)) == pytest.approx(degrees, abs=1e-12, rel=1e-12)


def test_angle_of_equal_float32_vectors_is_zero():
    vectors = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)

    assert angle_deg(vectors, vectors).max() < 1e-12


def test_angle_ignores_lengths():
    assert angle_deg(1e-3 * tilted(30), 1e3 * truth(1)) == pytest.approx(30)


@pytest.mark.parametrize(("degrees", "expected"), [(0, 0), (90, 90), (170, 10), (180, 0)])
def test_unoriented_angle_forgets_the_sign(degrees, expected):
    assert unoriented_angle_deg(tilted(degrees), truth(1)) == pytest.approx(expected, abs=1e-9)


def test_metrics_of_known_angles():
    found = normal_metrics(tilted(0, 4, 8, 160), truth(4))

    assert found.rmse_deg == pytest.approx(np.sqrt((16 + 64 + 400) / 4))
    assert found.oriented_rmse_deg == pytest.approx(np.sqrt((16 + 64 + 160**2) / 4))
    assert found.outward_share == 0.75
    assert (found.pgp5, found.pgp10) == (0.5, 0.75)
    assert found.median_deg == pytest.approx(6)
    assert found.cnd_rmse_deg is None


def test_a_shape_inside_out_is_flipped_only_in_the_labelled_figure():
    found = normal_metrics(tilted(180, 170, 10), truth(3))

    assert found.oriented_rmse_deg == pytest.approx(np.sqrt((180**2 + 170**2 + 10**2) / 3))
    assert found.oriented_rmse_flipped_deg == pytest.approx(np.sqrt((0 + 10**2 + 170**2) / 3))


def test_a_shape_half_flipped_is_not_flipped():
    found = normal_metrics(tilted(0, 170), truth(2))

    assert found.oriented_rmse_flipped_deg == found.oriented_rmse_deg


def test_cnd_takes_the_normal_of_the_nearest_clean_point():
    clean_points = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    clean_normals = tilted(0, 90)
    points = np.array([[0.9, 0, 0], [0.1, 0, 0]])

    assert cnd_rmse_deg(points, tilted(90, 180), clean_points, clean_normals) == pytest.approx(
        0, abs=1e-9
    )
    assert cnd_rmse_deg(points, tilted(0, 0), clean_points, clean_normals) == pytest.approx(
        90 / np.sqrt(2)
    )


def test_mean_is_over_the_figures_that_exist():
    one = NormalMetrics(10, 20, 30, 1.0, 0.2, 0.4, 5, cnd_rmse_deg=7)
    other = NormalMetrics(20, 40, 50, 0.5, 0.4, 0.6, 7)

    assert astuple(mean_metrics([one, other])) == pytest.approx((15, 30, 40, 0.75, 0.3, 0.5, 6, 7))
    assert mean_metrics([other]) == other


def test_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no metrics"):
        mean_metrics([])
