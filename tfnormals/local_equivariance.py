"""Local equivariance error of estimators, and of each layer of a network."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from .equivariance import centred
from .estimation import estimate
from .estimators import Estimator
from .geometry import Array
from .network import TensorFramesPointNet
from .tensorframes.lie import (
    LINE,
    ROUNDING,
    SCALAR,
    VECTOR,
    Model,
    Output,
    Transform,
    diagnosis,
)
from .tensorframes.lie_layers import Layer, layer_errors

MOTIONS = get_args(Transform)
STEPS = (1e-2, 1e-3, 1e-4)
"""Of the central differences: radians, sizes of the cloud, logarithms of scale."""
COARSE_ROUNDING = 1e-4
"""Change of an answer, relative to its size, that lower precision than float64 explains."""
LAYER_STEP = 1e-3


@dataclass(frozen=True)
class LieRow:
    """How an answer changes under infinitesimal motions of a cloud.

    Attributes:
        cloud: Name of the cloud.
        motion: ``rotation``, ``translation`` or ``scale``.
        errors: Local equivariance error by central differences, one for each of ``STEPS``; a
            constant answer has 2/3 under rotations.
        growth: Exponent p of the error ~ 1/step^p: 0 for a smooth error, 2 for a jump.
        verdict: ``exact``, ``smooth``, ``jump``, ``not finite``; or ``ambiguous`` for a symmetric
            cloud, of which no answer can follow every turn.
        passed: Whether the answer follows, or cannot.
    """

    cloud: str
    motion: str
    errors: tuple[float, ...]
    growth: float
    verdict: str
    passed: bool


@dataclass(frozen=True)
class LayerRow:
    """What a layer does to the local equivariance error of its network under rotations.

    Attributes:
        cloud: Name of the cloud.
        layer: Name of the layer; ``answer`` is all that is not in a layer.
        own: Error of what the layer makes of exact inputs, relative to what it returns.
        reaching: Error of the answer if this layer alone errs.
        passed: Whether rounding explains the layer's own error.
    """

    cloud: str
    layer: str
    own: float
    reaching: float
    passed: bool


def lie_rows(estimator: Estimator, cloud: str, points: Array) -> Iterator[LieRow]:
    """The local equivariance error of an answer, a row for each of ``MOTIONS``.

    Args:
        estimator: The most precise one there is.
        cloud: Name of the cloud.
        points: (n, 3); those that are not finite are left out.

    Raises:
        CloudError: If a cloud has no normals.
    """
    used = centred(points)
    still = estimator(used)
    output = LINE if still.sign_free else VECTOR
    rounding = ROUNDING if still.dtype == "float64" else COARSE_ROUNDING
    finite = bool(np.isfinite(still.normals).all())
    for motion in MOTIONS:
        found = diagnosis(
            _model(estimator), torch.from_numpy(used), motion, output, STEPS, rounding
        )
        verdict: str = found.verdict if finite else "not finite"
        if finite and still.ambiguous:
            verdict = "ambiguous"
        errors = tuple(error.relative for error in found.errors)
        passed = verdict in ("exact", "ambiguous")
        yield LieRow(cloud, motion, errors, found.growth, verdict, passed)


def layer_rows(network: TensorFramesPointNet, cloud: str, points: Array) -> list[LayerRow]:
    """The local equivariance error of each layer of a network, in the order of the layers.

    Args:
        network: The network; a copy of it is used in float64.
        cloud: Name of the cloud.
        points: (n, 3); those that are not finite are left out.

    Raises:
        CloudError: If a cloud has no normals.
    """
    exact = deepcopy(network).to("cpu", torch.float64)
    used = centred(points)

    def ask(points: Tensor) -> Tensor:
        return torch.from_numpy(estimate(points.numpy(), exact, dtype=torch.float64).normals)

    output = LINE if estimate(used, exact, dtype=torch.float64).planar else VECTOR
    found = layer_errors(
        ask, torch.from_numpy(used), _layers(exact), output=output, step=LAYER_STEP
    )
    return [
        LayerRow(cloud, one.name, one.own, one.reaching, one.own**0.5 * LAYER_STEP <= ROUNDING)
        for one in found
    ]


def _model(estimator: Estimator) -> Model:
    """The normals alone, as tensors; zero where there is none."""

    def ask(points: Tensor) -> Tensor:
        return torch.from_numpy(np.nan_to_num(estimator(points.numpy()).normals))

    return ask


def _layers(network: TensorFramesPointNet) -> dict[str, Layer]:
    """The layers in the order in which they are called, and what they return."""
    found = {"stem": Layer(network.stem, (SCALAR,))}
    features = (SCALAR, Output(_turned_first))

    def add(name: str, layers: nn.Module) -> None:
        for number, layer in enumerate(layers.children()):
            found[f"{name}.{number}"] = Layer(layer, features)

    abstract = [*network.abstract.children(), None]
    for level, (layers, sampling) in enumerate(
        zip(network.down.children(), abstract, strict=True)
    ):
        add(f"down {level}", layers)
        if sampling is not None:
            found[f"abstract {level}"] = Layer(sampling, features)
    for level, layers in reversed(list(enumerate(network.up.children()))):
        add(f"up {level}", layers)
    found["head"] = Layer(network.head, (SCALAR,))
    for number, voting in enumerate(network.voting.children()):
        found[f"voting {number}"] = Layer(voting, (Output(_turned_first), SCALAR))
    return found


def _turned_first(vectors: Tensor, rotation: Tensor) -> Tensor:
    """Vectors (3, ...), turned."""
    return torch.einsum("ij,j...->i...", rotation, vectors)
