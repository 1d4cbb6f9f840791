"""The colours and the size of the small pictures."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers import sphere
from matplotlib.image import imread

from tfnormals import evaluation_pictures as module
from tfnormals.data.folders import EvaluationCloud, Truth
from tfnormals.errors import CloudError
from tfnormals.evaluation import Answers
from tfnormals.evaluation_pictures import (
    UNKNOWN,
    WRONG_SIDE,
    cloud_pictures,
    error_colors,
    normal_colors,
    side_for,
)
from tfnormals.splatting import STONE

BALL = sphere(800, np.random.default_rng(0))[0]
SIDE = 80


def answers(points=BALL, truth=BALL, **normals):
    cloud = EvaluationCloud("ball", "ball", "no_noise", Path("ball.xyz"), None)
    return Answers(cloud, Truth(points, truth, np.arange(len(points))), normals)


def center(picture):
    """The mean colour in the middle of a JPEG picture."""
    image = imread(BytesIO(picture), format="jpeg")
    across, up = image.shape[1] // 2, image.shape[0] // 2
    return image[up - 9 : up + 9, across - 9 : across + 9].mean(axis=(0, 1))


@pytest.mark.parametrize(
    ("normal", "color"),
    [
        ([2, 0, 0], (255, 128, 128)),
        ([0, -1, 0], (128, 0, 128)),
        ([0, 0, 0], UNKNOWN),
        ([0, np.nan, 1], UNKNOWN),
    ],
)
def test_the_colour_of_a_normal(normal, color):
    assert tuple(normal_colors(np.array([normal], float))[0]) == color


@pytest.mark.parametrize(
    ("degrees", "color"),
    [
        (0, STONE),
        (10, (150, 190, 220)),
        (20, (100, 145, 205)),
        (91, WRONG_SIDE),
        (180, WRONG_SIDE),
        (np.nan, UNKNOWN),
    ],
)
def test_the_colour_of_an_error(degrees, color):
    angle = np.radians(degrees)
    predicted = np.array([[np.sin(angle), 0, np.cos(angle)]])

    assert tuple(error_colors(predicted, np.array([[0, 0, 1.0]]))[0]) == color


def test_every_estimator_is_drawn_by_normal_and_by_error():
    pictures = cloud_pictures(answers(right=BALL, wrong=-BALL), SIDE)

    true = center(pictures.truth)
    np.testing.assert_allclose(center(pictures.normals["right"]), true, atol=3)
    np.testing.assert_allclose(center(pictures.normals["wrong"]), 255 - true, atol=25)
    np.testing.assert_allclose(center(pictures.errors["right"]), STONE, atol=20)
    np.testing.assert_allclose(center(pictures.errors["wrong"]), WRONG_SIDE, atol=30)


@pytest.mark.parametrize("stretch", [[1, 1, 9], [9, 9, 1]])
def test_pictures_fit_into_a_square(stretch):
    picture = imread(BytesIO(cloud_pictures(answers(BALL * stretch), SIDE).truth), format="jpeg")

    assert max(picture.shape[:2]) <= SIDE
    assert max(picture.shape[:2]) > 0.9 * SIDE


def test_rows_without_point_or_truth_are_left_out():
    points, truth = (
        np.vstack([BALL, [[np.nan] * 3, [9] * 3]]),
        np.vstack([BALL, BALL[:1], [[0] * 3]]),
    )

    pictures = cloud_pictures(answers(points, truth, ours=truth), SIDE)

    assert pictures == cloud_pictures(answers(ours=BALL), SIDE)


def test_too_few_points_are_refused():
    with pytest.raises(CloudError, match="5 points with a normal"):
        cloud_pictures(answers(BALL[:5], BALL[:5]), SIDE)


def test_of_large_clouds_a_part_is_drawn(monkeypatch):
    counts = []
    monkeypatch.setattr(module, "DRAWN", 100)
    monkeypatch.setattr(
        module, "painted_images", lambda p, *_, **__: counts.append(len(p)) or [BALL[:9]]
    )
    monkeypatch.setattr(module, "_jpeg", lambda image: b"")

    cloud_pictures(answers(), SIDE)

    assert counts == [100]


def test_many_pictures_are_smaller_but_never_tiny():
    sides = [side_for(count) for count in (0, 1, 910, 3000, 9000, 10**6)]

    assert sides == sorted(sides, reverse=True)
    assert (sides[2], sides[-1]) == (240, 80)
    assert 3000 * sides[3] ** 2 <= module.PIXELS < 3100 * sides[3] ** 2 * 1.05
