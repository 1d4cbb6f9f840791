import convicts
import numpy as np
import pytest

from tfnormals.continuity import MOVED, PERTURBATION, jumps
from tfnormals.equivariance import builtin_clouds
from tfnormals.estimators import Found, function_estimator

CLOUDS = builtin_clouds()


def rows_of(function, cloud, points=None):
    points = CLOUDS[cloud] if points is None else points
    return list(jumps(function_estimator(function, "mine:f"), cloud, points))


def test_smooth_answer_does_not_jump():
    rows = rows_of(lambda points: points - points.mean(0), "blob")

    assert [row.moved for row in rows] == list(MOVED)
    assert all(row.passed for row in rows)
    assert 0 < rows[0].ratio < rows[1].ratio < 10
    assert rows[1].ratio == pytest.approx(np.radians(rows[1].worst_deg) / PERTURBATION)


def test_ratio_does_not_depend_on_the_unit():
    plain, far = (
        rows_of(lambda points: points - points.mean(0), "blob", CLOUDS["blob"] * scale)[1].ratio
        for scale in (1, 1e3)
    )

    assert far == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(
    ("function", "cloud"), [(convicts.hard_sign, "cube"), (convicts.tie_break, "box lattice")]
)
def test_jump_is_found_where_noise_decides(function, cloud):
    row = rows_of(function, cloud)[1]

    assert not row.passed
    assert row.worst_deg > 1


def test_jump_of_one_point_is_found():
    """All normals turn over when any point has moved."""
    still = CLOUDS["blob"] - CLOUDS["blob"].mean(0)

    def shy(points):
        return points if np.array_equal(points, still) else -points

    assert [row.passed for row in rows_of(shy, "blob")] == [False, False]


def test_symmetric_cloud_is_excused_and_says_so():
    def estimator(points):
        normals = np.random.default_rng().normal(size=points.shape)
        return Found(normals, np.ones(len(points)), "float64", True, False)

    assert all(row.passed and row.ambiguous for row in jumps(estimator, "any", CLOUDS["blob"]))


def test_answer_that_is_not_finite_does_not_pass():
    assert not any(row.passed for row in rows_of(lambda points: 0 * points, "blob"))
