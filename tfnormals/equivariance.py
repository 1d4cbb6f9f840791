"""Does a network follow rotations, reflections, translations, scales and reorderings exactly?

Finite transforms of whole clouds, end to end through ``estimation.estimate``, on clouds that
include the degenerate ones: a local derivative certifies networks that jump (DESIGN.md, trap 3).
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .estimation import Estimate, estimate
from .geometry import Array
from .metrics import angle_deg
from .network import TensorFramesPointNet

WORST_DEG = 1e-6
"""Largest angle allowed at any point in float64."""
MEDIAN_DEG = 1e-3
"""Largest median angle allowed in float32."""
CONFIDENCE = 1e-6
"""Largest change of confidence allowed at any point in float64."""
FAR = 1e6
"""Length of the translations, in sizes of the cloud."""

DTYPES = (torch.float64, torch.float32)


@dataclass(frozen=True)
class Row:
    """What one transform of one cloud did to the answer.

    Angles are between the normals of the moved cloud and the moved normals of the cloud. They are
    measured at every point; what is declared decides how they are judged. In float64 the worst
    angle must not exceed the tolerance and no confidence may change by more than ``CONFIDENCE``;
    in float32 the median angle must not exceed it.

    Attributes:
        cloud: Name of the cloud.
        transform: Name of the transform.
        dtype: ``float64`` or ``float32``, the arithmetic of the network.
        worst_deg: Largest angle.
        p99_deg: 99th percentile of the angles.
        median_deg: Median of the angles.
        confidence_worst: Largest absolute change of the confidence.
        ambiguous: Points declared ambiguous: all of them where both answers find the cloud
            symmetric, so that it looks alike from several sides, else none. Such a row passes
            unless an answer is not finite.
        sign_free: Points compared up to sign: all of them where both answers find the cloud
            planar and declare its sides unknown, else none. Elsewhere a sign must follow the
            transform even where the confidence is low: being unsure is no licence to be random.
        tolerance_deg: ``WORST_DEG`` in float64, ``MEDIAN_DEG`` in float32.
        passed: Whether the answer followed the transform.
    """

    cloud: str
    transform: str
    dtype: str
    worst_deg: float
    p99_deg: float
    median_deg: float
    confidence_worst: float
    ambiguous: int
    sign_free: int
    tolerance_deg: float
    passed: bool


class Transform(NamedTuple):
    """Rows x become ``scale * matrix @ x + shift``, then change places."""

    matrix: Array
    """(3, 3) orthogonal."""
    scale: float
    shift: Array
    """(3,) in units of the moved cloud."""
    order: NDArray[np.int64]
    """(n,) rows of the cloud in their new order."""

    def moved(self, points: Array) -> Array:
        """The points (n, 3) after the transform."""
        return (self.scale * (points @ self.matrix.T) + self.shift)[self.order]

    def survived(self, points: Array) -> Array:
        """The points (n, 3) with the digits that a far translation leaves of them.

        Rounding x + t to the nearest float64 is not the network's doing, so its answer far away
        is compared with its answer to (x + t) - t. As the components of t are larger than those
        of x, that difference has no rounding error: both clouds are exactly the same one.
        """
        if not self.shift.any():
            return points
        return ((self.moved(points) - self.shift) @ self.matrix / self.scale)[
            np.argsort(self.order)
        ]


def transforms(points: Array, generator: np.random.Generator) -> dict[str, Transform]:
    """Random transforms of each kind, and one of all kinds together.

    Args:
        points: The cloud (n, 3) that they are for: its size sets how far it is moved.
        generator: Source of the rotations, directions and orders.
    """
    rotation, other = _rotation(generator), _rotation(generator)
    identity, stay, rows = np.eye(3), np.zeros(3), np.arange(len(points))
    size = np.linalg.norm(np.ptp(points, axis=0))
    shift = FAR * size * generator.choice([-1.0, 1.0], 3) * generator.uniform(0.5, 1, 3)
    order, shuffled = generator.permutation(len(points)), generator.permutation(len(points))
    return {
        "rotation": Transform(rotation, 1.0, stay, rows),
        "reflection": Transform(-other, 1.0, stay, rows),
        "translation": Transform(identity, 1.0, shift, rows),
        "scale 1e-3": Transform(identity, 1e-3, stay, rows),
        "scale 1e3": Transform(identity, 1e3, stay, rows),
        "permutation": Transform(identity, 1.0, stay, order),
        "all": Transform(-rotation @ other, 1e3, 1e3 * shift, shuffled),
    }


def check(
    network: TensorFramesPointNet,
    clouds: Mapping[str, Array],
    on_progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> list[Row]:
    """Every transform of every cloud, in float64 and float32, on the CPU.

    Args:
        network: The network; copies of it are used.
        clouds: Names and points (n, 3); points that are not finite are left out. A cloud is first
            moved to the origin, for turning it far away would already round its digits.
        on_progress: Called with the number of finished and of all rows.
        seed: Chooses the transforms.

    Raises:
        CloudError: If a cloud has no normals, see ``estimate``.
    """
    generator = np.random.default_rng(seed)
    copies = [deepcopy(network).to("cpu", dtype) for dtype in DTYPES]
    rows: list[Row] = []
    for name, points in clouds.items():
        used = points[np.isfinite(points).all(1)]
        used = used - used.mean(0)
        chosen = transforms(used, generator)
        for row in _rows(copies, name, used, chosen):
            rows.append(row)
            if on_progress is not None:
                on_progress(len(rows), len(clouds) * len(chosen) * len(DTYPES))
    return rows


def _rows(
    copies: list[TensorFramesPointNet], name: str, points: Array, chosen: dict[str, Transform]
) -> Iterator[Row]:
    for dtype, network in zip(DTYPES, copies, strict=True):
        still = estimate(points, network, dtype=dtype)
        for label, transform in chosen.items():
            kept = transform.survived(points)
            before = still if kept is points else estimate(kept, network, dtype=dtype)
            after = estimate(transform.moved(points), network, dtype=dtype)
            yield _compared(name, label, dtype, transform, before, after)


def _compared(
    name: str,
    label: str,
    dtype: torch.dtype,
    transform: Transform,
    before: Estimate,
    after: Estimate,
) -> Row:
    change = float(np.abs(before.confidence[transform.order] - after.confidence).max())
    angle = angle_deg((before.normals @ transform.matrix.T)[transform.order], after.normals)
    planar = before.planar and after.planar
    angle = np.minimum(angle, 180 - angle) if planar else angle
    worst, p99, median = (float(np.quantile(angle, share)) for share in (1, 0.99, 0.5))
    ambiguous = before.ambiguous and after.ambiguous
    if dtype == torch.float64:
        tolerance, followed = WORST_DEG, worst <= WORST_DEG and change <= CONFIDENCE
    else:
        tolerance, followed = MEDIAN_DEG, median <= MEDIAN_DEG
    return Row(
        cloud=name,
        transform=label,
        dtype=str(dtype).removeprefix("torch."),
        worst_deg=worst,
        p99_deg=p99,
        median_deg=median,
        confidence_worst=change,
        ambiguous=len(angle) if ambiguous else 0,
        sign_free=len(angle) if planar else 0,
        tolerance_deg=tolerance,
        passed=followed or (ambiguous and bool(np.isfinite(worst))),
    )


def builtin_clouds() -> dict[str, Array]:
    """Clouds (n, 3) to check on, always the same: ordinary ones and degenerate ones.

    Flat faces leave the handedness of a frame open, lattices make neighbours tie, a planar cloud
    has no side, and ``grid`` is symmetric, so that no answer can follow its rotations.
    """
    rng = np.random.default_rng(20240523)
    tilt = _rotation(rng)
    angle, around = rng.uniform(0, 2 * np.pi, (2, 600))
    ring = 1 + 0.35 * np.cos(around)
    torus = np.stack([ring * np.cos(angle), ring * np.sin(angle), 0.35 * np.sin(around)], 1)
    blob = _sphere(rng, 600)
    blob *= 1 + 0.3 * np.sin(3 * blob[:, :1]) * blob[:, 1:2] + 0.03 * rng.normal(size=(600, 1))
    x, y = rng.uniform(-1, 1, (2, 600))
    flat = np.stack([x, 0.6 * y, 0 * x], 1)
    ellipsoid = _sphere(rng, 400) * [1.0, 0.7, 0.4]
    hollow = _lattice(14, 11, 8)
    hollow = hollow[((hollow == 0) | (hollow == hollow.max(0))).any(1)]
    return {
        "torus": torus,
        "cube": _cube(rng, 1200),
        "plane": flat @ tilt.T,
        "grid": _lattice(25, 25, 1) @ tilt.T,
        "box lattice": hollow[rng.random(len(hollow)) < 0.9],
        "lattice": _lattice(10, 9, 8)[rng.random(720) < 0.85],
        "blob": blob,
        "duplicates": ellipsoid[rng.integers(0, 400, 700)],
        "sheet": np.stack([x, y, 0.3 * np.sin(3 * x) + 0.2 * x * y], 1),
        "two parts": np.concatenate([ellipsoid, _cube(rng, 300) * 0.3 + [1.5, 0.4, 0.2]]),
    }


def _rotation(generator: np.random.Generator) -> Array:
    """A random rotation matrix (3, 3)."""
    matrix, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def _sphere(generator: np.random.Generator, count: int) -> Array:
    """Random points (n, 3) of the unit sphere."""
    points = generator.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _cube(generator: np.random.Generator, count: int) -> Array:
    """Random points (n, 3) on the faces of the cube from -1 to 1; exactly flat."""
    points = generator.uniform(-1, 1, (count, 3))
    points[np.arange(count), generator.integers(0, 3, count)] = generator.choice([-1, 1], count)
    return points


def _lattice(*counts: int) -> Array:
    """Integer points (n, 3) from the origin."""
    return np.array(list(product(*(range(count) for count in counts))), float)
