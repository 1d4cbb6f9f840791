"""Does an estimator follow rotations, reflections, translations, scales and reorderings exactly?

Finite transforms of whole clouds, end to end, on clouds that include the degenerate ones: a local
derivative certifies networks that jump (DESIGN.md, trap 3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import CloudError
from .estimators import Estimator, Found
from .geometry import Array
from .metrics import angle_deg

WORST_DEG = 1e-6
"""Largest angle allowed at any point in float64."""
MEDIAN_DEG = 1e-3
"""Largest median angle allowed in lower precision."""
CONFIDENCE = 1e-6
"""Largest change of confidence allowed at any point in float64."""
FAR = 1e6
"""Length of the translations, in sizes of the cloud."""

KINDS = (
    "repetition",
    "rotation",
    "reflection",
    "translation",
    "scale 1e-3",
    "scale 1e3",
    "permutation",
    "all",
)
"""The transforms, in the order in which they are tried; the first is none at all."""


@dataclass(frozen=True)
class Row:
    """What one transform of one cloud did to the answer.

    Angles are between the normals of the moved cloud and the moved normals of the cloud. They are
    measured at every point; what is declared decides how they are judged. In float64 the worst
    angle must not exceed the tolerance and no confidence may change by more than ``CONFIDENCE``;
    in lower precision the median angle must not exceed it.

    Attributes:
        cloud: Name of the cloud.
        transform: Name of the transform.
        dtype: Such as ``float64``, the arithmetic of the answer.
        worst_deg: Largest angle.
        p99_deg: 99th percentile of the angles.
        median_deg: Median of the angles.
        share_above: Share (0 to 1) of points with an angle above the tolerance.
        confidence_worst: Largest absolute change of the confidence.
        ambiguous: Points declared ambiguous: all of them where both answers find the cloud
            symmetric, so that it looks alike from several sides, else none. Such a row passes
            unless an answer is not finite.
        sign_free: Points compared up to sign: all of them where both answers find the cloud
            planar and declare its sides unknown, or signs are not asked for, else none. Elsewhere
            a sign must follow the transform even where the confidence is low: being unsure is no
            licence to be random.
        input_kept: Whether the caller's points were left as they were.
        tolerance_deg: ``WORST_DEG`` in float64, else ``MEDIAN_DEG``.
        passed: Whether the answer followed the transform and the points were kept.
    """

    cloud: str
    transform: str
    dtype: str
    worst_deg: float
    p99_deg: float
    median_deg: float
    share_above: float
    confidence_worst: float
    ambiguous: int
    sign_free: int
    input_kept: bool
    tolerance_deg: float
    passed: bool

    @property
    def judged_deg(self) -> float:
        """The angle that must not exceed the tolerance."""
        return self.worst_deg if self.dtype == "float64" else self.median_deg


class Measured(NamedTuple):
    """A row and the points behind it."""

    row: Row
    points: Array
    """(n, 3) the finite points of the cloud, where they stand."""
    still: Found
    """The answer for them."""
    error_deg: Array
    """(n,) how far the normal of each moved point is from its moved normal."""


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
    """Random transforms of each kind of ``KINDS``, the last one of all kinds together.

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
        "repetition": Transform(identity, 1.0, stay, rows),
        "rotation": Transform(rotation, 1.0, stay, rows),
        "reflection": Transform(-other, 1.0, stay, rows),
        "translation": Transform(identity, 1.0, shift, rows),
        "scale 1e-3": Transform(identity, 1e-3, stay, rows),
        "scale 1e3": Transform(identity, 1e3, stay, rows),
        "permutation": Transform(identity, 1.0, stay, order),
        "all": Transform(-rotation @ other, 1e3, 1e3 * shift, shuffled),
    }


def check(
    estimators: Sequence[Estimator], cloud: str, points: Array, seed: int = 0
) -> Iterator[Measured]:
    """Every transform of a cloud with every estimator, ``KINDS`` for each.

    Args:
        estimators: Such as one network in several precisions.
        cloud: Name of the cloud.
        points: (n, 3); those that are not finite are left out. The cloud is first moved to the
            origin, for turning it far away would already round its digits.
        seed: Chooses the transforms.

    Raises:
        CloudError: If a cloud has no normals, see ``estimation.estimate``.
    """
    kept = points[np.isfinite(points).all(1)]
    used = centred(points)
    chosen = transforms(used, np.random.default_rng(seed))
    for estimator in estimators:
        still = estimator(used)
        for kind, transform in chosen.items():
            survived = transform.survived(used)
            before = still if survived is used else estimator(survived)
            after = estimator(transform.moved(used))
            row, error = _compared(cloud, kind, transform, before, after)
            yield Measured(row, kept, still, error[np.argsort(transform.order)])


def centred(points: Array) -> Array:
    """The finite points (n, 3), with their mean at the origin.

    Raises:
        CloudError: If there are none.
    """
    used = points[np.isfinite(points).all(1)]
    if len(used) == 0:
        raise CloudError("no finite points; a surface is needed")
    return used - used.mean(0)


def worst_of(measured: Sequence[Measured]) -> Measured:
    """The one to look at: of the failed ones, if any, the one farthest above its tolerance."""

    def badness(one: Measured) -> tuple[bool, bool, float]:
        excess = float(np.nan_to_num(one.row.judged_deg, nan=np.inf)) / one.row.tolerance_deg
        return not one.row.passed, not one.row.ambiguous, excess

    return max(measured, key=badness)


def line_angle_deg(a: Array, b: Array, *, sign_free: bool) -> Array:
    """Angles (n,) between the rows of a and b (n, 3); between lines if signs mean nothing."""
    angle = angle_deg(a, b)
    return np.minimum(angle, 180 - angle) if sign_free else angle


def _compared(
    cloud: str, kind: str, transform: Transform, before: Found, after: Found
) -> tuple[Row, Array]:
    """The row, and the angles (n,) of the moved cloud."""
    change = float(np.abs(before.confidence[transform.order] - after.confidence).max())
    expected = (before.normals @ transform.matrix.T)[transform.order]
    sign_free = before.sign_free and after.sign_free
    angle = line_angle_deg(expected, after.normals, sign_free=sign_free)
    worst, p99, median = (float(np.quantile(angle, share)) for share in (1, 0.99, 0.5))
    ambiguous = before.ambiguous and after.ambiguous
    if before.dtype == "float64":
        tolerance, followed = WORST_DEG, worst <= WORST_DEG and change <= CONFIDENCE
    else:
        tolerance, followed = MEDIAN_DEG, median <= MEDIAN_DEG
    input_kept = before.input_kept and after.input_kept
    row = Row(
        cloud=cloud,
        transform=kind,
        dtype=before.dtype,
        worst_deg=worst,
        p99_deg=p99,
        median_deg=median,
        share_above=float(np.mean(~(angle <= tolerance))),
        confidence_worst=change,
        ambiguous=len(angle) if ambiguous else 0,
        sign_free=len(angle) if sign_free else 0,
        input_kept=input_kept,
        tolerance_deg=tolerance,
        passed=input_kept and (followed or (ambiguous and bool(np.isfinite(worst)))),
    )
    return row, angle


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
