"""Estimators under test: a network in two precisions, or any function from points to normals."""

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch

from .errors import ModelError
from .estimation import estimate
from .geometry import Array, pose
from .network import TensorFramesPointNet

DTYPES = (torch.float64, torch.float32)


class Found(NamedTuple):
    """What an estimator makes of a cloud, and by what it can be judged."""

    normals: Array
    """(n, 3) unit vectors; NaN where there is no direction."""
    confidence: Array
    """(n,) ones where the estimator tells none."""
    dtype: str
    """Arithmetic of the answer, such as ``float64``."""
    ambiguous: bool
    """The cloud has an exact symmetry, so that no answer can follow every turn."""
    sign_free: bool
    """The signs mean nothing: the cloud is planar, or unoriented normals are asked for."""
    input_kept: bool = True
    """The array of points was not written to."""


Estimator = Callable[[Array], Found]


def network_estimators(network: TensorFramesPointNet) -> list[Estimator]:
    """A network in float64 and then in float32, on the CPU; copies of it are used.

    It declares itself which clouds are symmetric or planar.
    """
    return [_in_precision(network, dtype) for dtype in DTYPES]


def function_estimator(function: Callable[[Array], object], name: str) -> Estimator:
    """An estimator made of a function from points (n, 3) to normals, or (normals, confidence).

    The precision of the normals that it returns is taken for that of its arithmetic. It declares
    nothing about a cloud, so the cloud itself tells whether it is symmetric or planar.

    Args:
        function: Gets float64 points; returns anything that numpy can make an array of.
        name: For messages.

    Raises:
        ModelError: When called, if the function returns something else.
    """

    def answer(points: Array) -> Found:
        placed = pose(points)
        count = len(points)
        returned = function(points)
        value, sure = returned, np.ones(count)
        if isinstance(returned, tuple) and len(returned) == 2:
            value, sure = returned[0], _checked(returned[1], (count,), name)
        normals = _checked(value, (count, 3), name)
        with np.errstate(invalid="ignore"):
            unit = normals.astype(float) / np.linalg.norm(normals, axis=1, keepdims=True)
        dtype = normals.dtype.name if normals.dtype.kind == "f" else "float64"
        planar = placed.dimensions < 3
        return Found(unit, sure.astype(float), dtype, placed.symmetric, planar)

    return _watched(answer)


def unoriented(estimator: Estimator) -> Estimator:
    """The same estimator, its normals taken for lines."""
    return lambda points: estimator(points)._replace(sign_free=True)


def _in_precision(network: TensorFramesPointNet, dtype: torch.dtype) -> Estimator:
    placed = deepcopy(network).to("cpu", dtype)

    def answer(points: Array) -> Found:
        found = estimate(points, placed, dtype=dtype)
        name = str(dtype).removeprefix("torch.")
        return Found(found.normals, found.confidence, name, found.ambiguous, found.planar)

    return _watched(answer)


def _watched(answer: Estimator) -> Estimator:
    """Gives points away as copies, and tells whether they were written to."""

    def ask(points: Array) -> Found:
        given = points.copy()
        found = answer(given)
        return found._replace(input_kept=np.array_equal(given, points))

    return ask


def _checked(value: object, shape: tuple[int, ...], name: str) -> Array:
    """An array of numbers of a shape."""
    advice = f"return normals ({shape[0]}, 3), or a pair of normals and confidence ({shape[0]},)"
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{name} returned no array ({error}); {advice}") from error
    if array.dtype.kind not in "fiu":
        raise ModelError(f"{name} returned {type(value).__name__}, not numbers; {advice}")
    if array.shape != shape:
        raise ModelError(
            f"{name} returned shape {array.shape} where {shape} was expected; {advice}"
        )
    return array
