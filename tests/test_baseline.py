import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tfnormals.baseline import Open3dNormals, SeparateTool
from tfnormals.errors import DataError
from tfnormals.metrics import unoriented_angle_deg


@pytest.fixture(scope="module")
def open3d():
    """The running baseline; skips, with the reason, where Open3D cannot be imported."""
    probe = subprocess.run([sys.executable, "-c", "import open3d"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"Open3D cannot be imported: {probe.stderr.splitlines()[-1]}")
    with Open3dNormals() as estimator:
        yield estimator


def ball(count):
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_normals_of_a_ball_are_radial_and_consistent(open3d):
    points = ball(2000)

    normals = open3d(points)

    assert np.linalg.norm(normals, axis=1) == pytest.approx(1)
    assert unoriented_angle_deg(normals, points).max() < 10
    assert abs(np.sign((normals * points).sum(1)).sum()) == 2000


def test_a_row_that_is_not_finite_gets_nan(open3d):
    points = ball(500)
    points[3, 0], points[77] = np.nan, np.inf

    assert np.flatnonzero(np.isnan(open3d(points)).any(1)).tolist() == [3, 77]


def test_a_plane_is_refused_but_not_the_next_cloud(open3d):
    flat = np.random.default_rng(1).random((500, 3)) * [1, 1, 0]

    with pytest.raises(DataError, match=r"^open3d: QH\d+ [^\n]*$"):
        open3d(flat)
    assert len(open3d(ball(500))) == 500


def test_messages_lose_colours_and_signatures(open3d):
    with pytest.raises(DataError, match=r"^open3d: Not enough points"):
        open3d(np.eye(3))


@pytest.mark.usefixtures("open3d")
def test_a_call_that_does_not_finish_is_ended():
    with Open3dNormals(seconds_limit=1) as estimator:
        with pytest.raises(DataError, match=r"did not finish in 1 s"):
            estimator(ball(60000))
        assert len(estimator(ball(100))) == 100


def test_a_missing_open3d_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "open3d.py").write_text("raise ImportError('libGL.so.1: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"libGL\.so\.1.*pip install open3d-cpu.*apt install"):
        Open3dNormals()


def load_moody():
    """Gives points back as their normals, but dies of one, hangs at two and refuses three."""

    def tool(points):
        if len(points) == 1:
            os._exit(1)
        if len(points) == 2:
            time.sleep(100)
        if len(points) == 3:
            raise RuntimeError("too\nfew")
        return points

    return tool


def load_absent():
    raise ImportError("no such module")


@pytest.fixture(scope="module")
def moody():
    with SeparateTool("moody", load_moody, "unpack it", seconds_limit=20) as tool:
        yield tool


@pytest.mark.parametrize(
    ("count", "message"), [(1, "its process ended by itself"), (3, "too")], ids=["dies", "refuses"]
)
def test_a_tool_that_fails_is_quoted_and_answers_the_next_cloud(moody, count, message):
    with pytest.raises(DataError, match=f"^moody: {message}$"):
        moody(ball(count))
    assert np.array_equal(moody(ball(4)), ball(4))
    assert 0 < moody.seconds < 1


def test_a_tool_that_hangs_is_ended_and_answers_the_next_cloud():
    with SeparateTool("moody", load_moody, "unpack it", seconds_limit=0.5) as tool:
        with pytest.raises(DataError, match=r"^moody: did not finish in 0\.5 s$"):
            tool(ball(2))
        assert tool(ball(0)).shape == (0, 3)


def test_a_tool_that_cannot_be_imported_says_what_to_do():
    with pytest.raises(DataError, match=r"^absent: .*\(no such module\); unpack it$"):
        SeparateTool("absent", load_absent, "unpack it")
