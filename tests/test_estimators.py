"""Anybody's estimator can be checked, and what does not follow is convicted."""

import subprocess
import sys
from itertools import islice

import convicts
import numpy as np
import pytest
import torch

from tfnormals.baseline import Open3dNormals
from tfnormals.equivariance import KINDS, builtin_clouds, check
from tfnormals.errors import ModelError
from tfnormals.estimators import function_estimator, unoriented

CLOUDS = builtin_clouds()
TURNS = {"rotation", "reflection", "all"}


def failed(function, cloud, wrap=lambda estimator: estimator):
    """The transforms that a function does not follow."""
    estimator = wrap(function_estimator(function, "mine:f"))
    found = [one.row for one in check([estimator], cloud, CLOUDS[cloud])]
    return {row.transform for row in found if not row.passed}


@pytest.mark.parametrize("cloud", ["cube", "torus", "blob", "sheet"])
def test_sound_function_passes(cloud):
    assert failed(convicts.outward, cloud) == set()


def test_frames_with_a_hard_sign_are_convicted_on_flat_faces_only():
    assert failed(convicts.hard_sign, "torus") == set()
    assert failed(convicts.hard_sign, "cube") >= {"rotation", "reflection"}


def test_pseudovector_is_convicted_by_mirrors_only():
    assert failed(convicts.pseudovector, "torus") == {"reflection", "all"}


def test_wrong_representation_is_convicted():
    assert failed(convicts.twice_turned, "torus") == TURNS


def test_tie_broken_by_a_global_axis_is_convicted_where_points_tie():
    assert failed(convicts.tie_break, "box lattice") >= TURNS
    assert failed(convicts.tie_break, "blob") == set()


def test_writing_to_the_points_is_convicted_though_the_answer_follows():
    estimator = function_estimator(convicts.in_place, "mine:f")
    rows = [one.row for one in check([estimator], "torus", CLOUDS["torus"])]

    assert max(row.worst_deg for row in rows) < 1e-6
    assert not any(row.input_kept or row.passed for row in rows)


def test_random_answer_is_convicted_by_repeating_it():
    assert failed(convicts.unsteady, "torus") == set(KINDS)


def test_spanning_tree_of_open3d_is_convicted():
    probe = subprocess.run([sys.executable, "-c", "import open3d"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"Open3D cannot be imported: {probe.stderr.splitlines()[-1]}")
    with Open3dNormals() as baseline:
        estimator = function_estimator(baseline, "mine:f")
        rows = [one.row for one in islice(check([estimator], "sheet", CLOUDS["sheet"]), 3)]

    assert [row.passed for row in rows] == [True, False, False]
    assert rows[1].worst_deg > 90


def test_signs_are_excused_where_they_are_not_asked_for():
    assert failed(convicts.lines, "torus") == TURNS
    assert failed(convicts.lines, "torus", unoriented) == set()


def test_precision_of_the_answer_says_how_it_is_judged():
    estimator = function_estimator(convicts.single_precision, "mine:f")
    rows = [one.row for one in check([estimator], "torus", CLOUDS["torus"])]

    assert {(row.dtype, row.tolerance_deg) for row in rows} == {("float32", 1e-3)}
    assert all(row.passed for row in rows)


def test_tensors_are_fine():
    assert failed(lambda points: torch.from_numpy(convicts.outward(points)), "torus") == set()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (convicts.two_columns, r"mine:f returned shape \(9, 2\) where \(9, 3\) was expected"),
        (convicts.words, "mine:f returned str, not numbers; return normals"),
        (lambda points: None, "mine:f returned NoneType, not numbers"),
        (lambda points: (points, points), r"returned shape \(9, 3\) where \(9,\) was expected"),
        (lambda points: [[1], [2, 3]], "mine:f returned no array"),
    ],
)
def test_wrong_answer_is_explained(function, reason):
    with pytest.raises(ModelError, match=reason):
        function_estimator(function, "mine:f")(np.random.default_rng(0).normal(size=(9, 3)))


def test_answer_of_zeros_is_none():
    found = function_estimator(lambda points: 0 * points, "mine:f")(CLOUDS["torus"])

    assert np.isnan(found.normals).all()
    assert failed(lambda points: 0 * points, "torus") == set(KINDS)


def test_cloud_itself_tells_that_it_is_symmetric_or_planar():
    ask = function_estimator(lambda points: points, "mine:f")

    assert [ask(CLOUDS[name])[3:5] for name in ("grid", "plane", "cube")] == [
        (True, True),
        (False, True),
        (False, False),
    ]
