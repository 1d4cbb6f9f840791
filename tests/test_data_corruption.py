"""What is done to clean clouds, and that it is told."""

import re

import numpy as np
import pytest
from helpers import sphere

from tfnormals.data import corruption
from tfnormals.data.corruption import MOST_CUT, STRONGEST, corrupted

SIZE = 1000


def corrupted_ball(seed, diagonal=1.0):
    """Clean points, and what became of them, on a ball of radius 0.3 diagonals."""
    points, normals = sphere(SIZE, np.random.default_rng(0))
    points *= 0.3 * diagonal
    return points, corrupted(points, normals, diagonal, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def mixture():
    return [corrupted_ball(seed) for seed in range(400)]


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("none", 0.21),
        ("noise", 0.7),
        ("flattened", 0.07),
        ("holes", 0.1),
        ("copies", 0.05),
        ("outliers", 0.1),
        ("rounded", 0.1),
    ],
)
def test_each_kind_has_its_share(words, share, mixture):
    told = [words in name for _, (_, _, name) in mixture]
    assert np.mean(told) == pytest.approx(share, abs=0.06)


def test_clouds_called_clean_are_untouched(mixture):
    for points, (after, normals, told) in mixture:
        if told == "none":
            np.testing.assert_array_equal(after, points)
            np.testing.assert_allclose(normals, points / 0.3)


def test_noise_is_as_strong_as_told(mixture):
    levels = []
    for points, (after, _, told) in mixture:
        if found := re.fullmatch(r"(\d\.\d\d)% noise", told):
            levels.append(float(found[1]) / 100)
            assert (after - points).std() == pytest.approx(levels[-1], abs=1e-4, rel=0.1)
    assert 0.013 < max(levels) <= STRONGEST


def test_holes_are_patches_and_leave_most_of_the_cloud(mixture):
    counts = []
    for points, (after, _, told) in mixture:
        if re.fullmatch(r"\d holes", told):
            counts.append(len(after))
            nearest = np.linalg.norm(points[:, None] - after[None], axis=2).min(1)
            assert nearest.max() > 0.05  # 0.02 between neighbours
    assert len(counts) > 3
    assert SIZE * (1 - MOST_CUT) <= min(counts) < max(counts) < SIZE


def test_points_keep_their_normals_when_others_are_cut_out(monkeypatch):
    monkeypatch.setattr(corruption, "HOLES_SHARE", 1.0)
    for seed in range(40):
        _, (after, normals, told) = corrupted_ball(seed)
        assert len(after) == len(normals)
        if re.fullmatch(r"\d holes(, \d.\d% copies)?", told):
            np.testing.assert_allclose(normals, after / 0.3)


def test_all_of_it_grows_with_the_shape():
    for seed in range(20):
        small, large = (corrupted_ball(seed, diagonal)[1] for diagonal in (1.0, 1000.0))
        np.testing.assert_allclose(1000 * small[0], large[0], atol=1e-9)
        assert small[2] == large[2]
