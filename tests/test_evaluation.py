import json
import subprocess
import sys

import numpy as np
import pytest

from tfnormals.errors import CloudError
from tfnormals.evaluation import Row, evaluate_folder, summary
from tfnormals.metrics import NormalMetrics


def truth(points):
    """Outward normals of a ball."""
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def inwards(points):
    return -truth(points)


def refuses_far_points(points):
    if np.abs(points).max() > 1.5:
        raise CloudError("too far away")
    return truth(points)


def without_direction(points):
    return np.where(np.arange(len(points))[:, None] < 30, 0, truth(points))


@pytest.fixture
def balls(tmp_path):
    """A unit ball, a noisy one, and one of radius 2 without its clean cloud."""
    unit = truth(np.random.default_rng(0).normal(size=(200, 3)))
    noisy = unit + np.random.default_rng(1).normal(scale=0.05, size=unit.shape)
    clouds = {
        "ball": unit,
        "ball_noise_white_5.00e-02": noisy,
        "big_noise_white_5.00e-02": 2 * unit,
    }
    for name, points in clouds.items():
        np.savetxt(tmp_path / f"{name}.xyz", points)
        np.savetxt(tmp_path / f"{name}.normals", unit)
        np.savetxt(tmp_path / f"{name}.pidx", np.arange(50), fmt="%d")
    (tmp_path / "testset_no_noise.txt").write_text("ball\n")
    (tmp_path / "testset_noisy.txt").write_text("\n".join(list(clouds)[1:]))
    return tmp_path


def test_perfect_and_inverted_estimators_get_their_scores(balls):
    rows = evaluate_folder({"perfect": truth, "inwards": inwards}, balls)

    perfect, inverted = rows[:2]
    assert (perfect.estimator, perfect.shape, perfect.variant) == ("perfect", "ball", "no_noise")
    assert perfect.points == 200
    assert perfect.metrics.oriented_rmse_deg < 1e-4
    assert inverted.metrics.oriented_rmse_deg > 179.99
    assert inverted.metrics.oriented_rmse_flipped_deg < 1e-4
    assert (perfect.metrics.outward_share, inverted.metrics.outward_share) == (1, 0)


def test_the_clean_cloud_gives_the_cnd_where_it_exists(balls):
    clean, noisy, big = evaluate_folder({"perfect": truth}, balls)

    assert clean.metrics.cnd_rmse_deg == pytest.approx(clean.metrics.rmse_deg)
    assert noisy.metrics.cnd_rmse_deg not in (None, noisy.metrics.rmse_deg)
    assert big.metrics.cnd_rmse_deg is None


def test_a_failure_is_kept_as_the_row_of_its_cloud(balls):
    row = evaluate_folder({"shy": refuses_far_points}, balls)[2]

    assert (row.shape, row.error, row.metrics) == ("big", "too far away", None)
    assert row.figures()["rmse_deg"] is None


def test_normals_without_a_direction_are_a_failure(balls):
    row = evaluate_folder({"lazy": without_direction}, balls)[0]

    assert row.error == "no direction for 30 of 50 scored points"


def test_progress_counts_the_clouds(balls):
    calls = []

    evaluate_folder({"perfect": truth}, balls, lambda done, total: calls.append((done, total)))

    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_the_normals_of_each_cloud_are_shown_once(balls):
    seen = []

    evaluate_folder({"perfect": truth, "shy": refuses_far_points}, balls, on_answers=seen.append)

    assert [one.cloud.name for one in seen] == [
        "ball",
        "ball_noise_white_5.00e-02",
        "big_noise_white_5.00e-02",
    ]
    assert [list(one.normals) for one in seen] == [["perfect", "shy"]] * 2 + [["perfect"]]
    assert all((one.normals["perfect"] == truth(one.truth.points)).all() for one in seen)


def row(variant, rmse_deg, seconds=1.0, cnd=None, estimator="ours"):
    metrics = None if rmse_deg is None else NormalMetrics(rmse_deg, 2, 3, 0.5, 0.1, 0.2, 4, cnd)
    return Row(estimator, "cup", variant, 1000, seconds, metrics, None if metrics else "hung")


def test_the_average_is_the_mean_over_the_variants():
    lines = summary([row("none", 1.0), row("noisy", 3.0), row("noisy", 5.0, seconds=3.0)])

    assert [(line["variant"], line["rmse_deg"]) for line in lines] == [
        ("none", 1.0),
        ("noisy", 4.0),
        ("average", 2.5),
    ]
    assert [line["seconds_per_100k"] for line in lines] == pytest.approx([100, 200, 150])
    assert [line["clouds"] for line in lines] == [1, 2, 3]


def test_failed_clouds_are_counted_and_left_out():
    lines = summary([row("none", 1.0), row("none", None, seconds=300), row("noisy", None)])

    assert [(line["failed"], line["clouds"]) for line in lines] == [(1, 2), (1, 1), (2, 3)]
    assert [line["rmse_deg"] for line in lines] == [1.0, None, 1.0]
    assert [line["seconds_per_100k"] for line in lines] == pytest.approx([100, None, 100])


def test_the_cnd_is_averaged_over_the_clouds_that_have_one():
    lines = summary([row("none", 1.0, cnd=6.0), row("none", 1.0), row("noisy", 1.0)])

    assert [line["cnd_rmse_deg"] for line in lines] == [6.0, None, 6.0]


def test_each_estimator_has_its_own_lines():
    lines = summary([row("none", 1.0), row("none", 9.0, estimator="theirs")])

    assert [(line["estimator"], line["rmse_deg"]) for line in lines] == [
        ("ours", 1.0),
        ("ours", 1.0),
        ("theirs", 9.0),
        ("theirs", 9.0),
    ]


def test_rows_and_summary_are_json(balls):
    rows = evaluate_folder({"shy": refuses_far_points}, balls)

    columns = {"rmse_deg", "oriented_rmse_deg", "oriented_rmse_flipped_deg", "outward_share"}
    columns |= {"pgp5", "pgp10", "median_deg", "cnd_rmse_deg"}
    for line in json.loads(json.dumps([one.figures() for one in rows] + summary(rows))):
        assert columns <= line.keys()


def test_evaluation_does_not_load_torch():
    code = "import sys, tfnormals.evaluation, tfnormals.baseline; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
