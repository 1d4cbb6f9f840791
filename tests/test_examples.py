"""The example cloud is what its generator makes, with truth that points outward."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from tfnormals import read_cloud

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPT = runpy.run_path(str(FOLDER / "make_examples.py"))
FILE = FOLDER / "stilllife.ply"


@pytest.fixture(scope="module")
def still_life():
    return SCRIPT["still_life"]()


def solid_angle(points, normals, at):
    """Of the surface around each position ``at`` (m, 3): 1 inside the bodies, 0 outside."""
    area = 1 / SCRIPT["DENSITY"]
    to_points = points - at[:, None]
    distance = np.linalg.norm(to_points, axis=2)
    return area / (4 * np.pi) * ((to_points * normals).sum(2) / distance**3).sum(1)


def test_generator_writes_the_shipped_bytes(tmp_path):
    SCRIPT["write"](tmp_path / "again.ply")

    assert (tmp_path / "again.ply").read_bytes() == FILE.read_bytes()


def test_shipped_cloud_is_small_and_holds_no_normals():
    assert FILE.stat().st_size < 600_000
    assert read_cloud(FILE).normals is None


def test_shipped_points_are_those_of_the_generator(still_life):
    assert np.allclose(read_cloud(FILE).points, still_life[0], rtol=0, atol=1e-4)


def test_colors_vary(still_life):
    colors = still_life[2].astype(float)

    assert (colors.std(axis=0) > 20).all()
    assert len(np.unique(still_life[2], axis=0)) > 1000


def test_true_normals_are_unit_and_point_outward(still_life):
    points, normals, _ = still_life
    chosen = np.random.default_rng(0).choice(len(points), 100, replace=False)
    step = 1.5 * normals[chosen]

    outside = solid_angle(points, normals, points[chosen] + step)
    inside = solid_angle(points, normals, points[chosen] - step)

    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert (inside > outside).mean() > 0.97
    assert (inside > 0.5).mean() > 0.97
