import numpy as np
import pytest
from matplotlib.image import imread

from tfnormals.clouds import read_cloud, write_cloud
from tfnormals.continuity import jumps
from tfnormals.equivariance import check
from tfnormals.equivariance_report import draw_findings, error_cloud
from tfnormals.errors import DataError
from tfnormals.estimators import function_estimator
from tfnormals.findings import Findings
from tfnormals.local_equivariance import LayerRow, lie_rows

POINTS = 7 + np.random.default_rng(0).normal(size=(50, 3))
LEAN = function_estimator(lambda points: points - points.mean(0) + [0, 0, 0.1], "lean")


@pytest.fixture(scope="module")
def findings():
    return Findings(
        measured=list(check([LEAN], "ball", POINTS)),
        jumps=list(jumps(LEAN, "ball", POINTS)),
        lie=list(lie_rows(LEAN, "ball", POINTS)),
        layers=[LayerRow("ball", "stem", 0.0, 0.0, passed=True)],
    )


def test_error_cloud_holds_the_worst_error_of_each_point(findings, tmp_path):
    write_cloud(error_cloud(findings.worst), tmp_path / "worst.ply")

    cloud = read_cloud(tmp_path / "worst.ply")
    vertices = cloud.content.body.vertices
    error = vertices.values(("error_deg",))[:, 0]
    red, _, blue = vertices.values(("red", "green", "blue")).T
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_allclose(error, findings.worst.error_deg, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, rtol=1e-6)
    assert red[error.argmax()] > blue[error.argmax()]


def test_exact_point_is_blue_and_one_without_an_answer_is_red(findings):
    error = np.full(len(POINTS), 1e-12)
    error[0] = np.nan

    vertices = error_cloud(findings.worst._replace(error_deg=error)).content.body.vertices

    red, _, blue = vertices.values(("red", "green", "blue")).T
    assert red[0] > 2 * blue[0]
    assert (blue[1:] > red[1:]).all()


def test_picture_of_everything_is_larger_than_that_of_the_transforms_alone(findings, tmp_path):
    draw_findings(findings, tmp_path / "all.png", "lean")
    draw_findings(Findings(measured=findings.measured), tmp_path / "few.png", "lean")

    everything, few = (imread(tmp_path / name).shape for name in ("all.png", "few.png"))
    assert everything[1] == few[1]
    assert everything[0] > 1.5 * few[0]


def test_picture_that_cannot_be_written_is_named(findings, tmp_path):
    (tmp_path / "no").write_text("a file, where a folder is needed")
    with pytest.raises(DataError, match=r"no/a.png: cannot be written"):
        draw_findings(findings, tmp_path / "no" / "a.png", "lean")


def test_records_are_flat_and_tell_their_kind(findings):
    records = list(findings.records())

    kinds = [record["check"] for record in records]
    assert [kinds.count(kind) for kind in ("transform", "continuity", "lie", "layer")] == [
        8,
        2,
        3,
        1,
    ]
    assert [record["passed"] for record in records] == findings.verdicts
