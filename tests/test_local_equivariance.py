import copy

import convicts
import numpy as np
import pytest
import torch
from helpers import torus

from tfnormals.equivariance import builtin_clouds
from tfnormals.estimators import Found, function_estimator, network_estimators
from tfnormals.local_equivariance import MOTIONS, layer_rows, lie_rows

CUBE = builtin_clouds()["cube"][:300]
RING = torus(80, np.random.default_rng(0))[0]


def verdicts(function, points=CUBE):
    estimator = function_estimator(function, "mine:f")
    return {row.motion: row.verdict for row in lie_rows(estimator, "cube", points)}


def test_sound_function_is_exact():
    assert verdicts(convicts.outward) == dict.fromkeys(MOTIONS, "exact")


def test_hard_sign_is_a_jump_that_grows_as_one_over_the_step_squared():
    rotation, *_ = lie_rows(function_estimator(convicts.hard_sign, "mine:f"), "cube", CUBE)

    assert rotation.verdict == "jump"
    assert rotation.growth == pytest.approx(2, abs=0.2)
    assert not rotation.passed


def test_lean_is_a_smooth_error():
    found = verdicts(lambda points: points - points.mean(0) + [0, 0, 0.1])

    assert found == {"rotation": "smooth", "translation": "exact", "scale": "smooth"}


def test_constant_answer_has_the_closed_form():
    estimator = function_estimator(lambda points: 0 * points + [1.0, 0, 0], "mine:f")
    rotation, *_ = lie_rows(estimator, "cube", CUBE)

    assert rotation.errors == pytest.approx([2 / 3] * 3, rel=1e-4)
    assert (rotation.verdict, rotation.growth) == ("smooth", pytest.approx(0, abs=1e-4))


def test_rounding_of_float32_is_no_error():
    found = verdicts(convicts.single_precision)

    assert found == dict.fromkeys(MOTIONS, "exact")


def test_answer_that_is_not_finite_is_told():
    assert verdicts(lambda points: 0 * points) == dict.fromkeys(MOTIONS, "not finite")


def test_symmetric_cloud_is_excused():
    def estimator(points):
        return Found(0 * points + [0, 0, 1], np.ones(len(points)), "float64", True, False)

    rows = list(lie_rows(estimator, "any", CUBE))

    assert {row.verdict for row in rows} == {"ambiguous"}
    assert all(row.passed for row in rows)


def test_network_is_exact(small_network):
    rotation, *_ = lie_rows(network_estimators(small_network)[0], "ring", RING)

    assert rotation.verdict == "exact"


def test_wrong_representation_in_a_layer_is_found_there(small_network):
    """Vectors that leave a layer have two components exchanged, but for a sign."""

    def exchange(module, arguments, features):
        x, y, z = features.vectors
        return features._replace(vectors=torch.stack([y, x, z]))

    network = copy.deepcopy(small_network)
    network.down[2][0].register_forward_hook(exchange)

    rows = layer_rows(network, "ring", RING)

    assert {"stem", "down 0.0", "abstract 4", "up 0.0", "head", "answer"} < {
        row.layer for row in rows
    }
    assert [row.layer for row in rows if not row.passed] == ["down 2.0"]
    assert next(row.reaching for row in rows if not row.passed) > 1e-9
