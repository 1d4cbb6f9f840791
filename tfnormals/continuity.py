"""Does an answer jump when points move by almost nothing?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .equivariance import centred, line_angle_deg
from .estimators import Estimator
from .geometry import Array

PERTURBATION = 1e-7
"""How far points move, in sizes of the cloud: root mean square distances from its mean."""
JUMP_DEG = 0.1
"""Change from which an answer has jumped; what it has a derivative for, would be 1e5 per size."""
TRIALS = 3
"""Random perturbations of each kind."""
MOVED = ("one point", "all points")


@dataclass(frozen=True)
class JumpRow:
    """The largest change of an answer that a tiny perturbation of its points makes.

    Attributes:
        cloud: Name of the cloud.
        moved: ``one point`` or ``all points``.
        perturbation: How far they move, in sizes of the cloud.
        worst_deg: Largest change at any point in any of the trials.
        median_deg: Median change over the points, in the trial where it is largest.
        ratio: Largest change in radians, relative to the perturbation.
        ambiguous: The cloud is symmetric, so that almost nothing decides; such a row passes.
        tolerance_deg: ``JUMP_DEG``.
        passed: Whether the answer did not jump.
    """

    cloud: str
    moved: str
    perturbation: float
    worst_deg: float
    median_deg: float
    ratio: float
    ambiguous: bool
    tolerance_deg: float
    passed: bool


def jumps(estimator: Estimator, cloud: str, points: Array, seed: int = 0) -> Iterator[JumpRow]:
    """Moves one point, and then all of them, in random directions: a row for each of ``MOVED``.

    Exact ties are where answers jump: points of a lattice, copies of a point, flat faces.

    Args:
        estimator: The most precise one there is.
        cloud: Name of the cloud.
        points: (n, 3); those that are not finite are left out.
        seed: Chooses the perturbations.

    Raises:
        CloudError: If a cloud has no normals.
    """
    generator = np.random.default_rng(seed)
    used = centred(points)
    still = estimator(used)
    length = PERTURBATION * np.sqrt((used**2).sum(1).mean())
    for moved in MOVED:
        changes = []
        for _ in range(TRIALS):
            step = generator.normal(size=used.shape)
            step *= length / np.linalg.norm(step, axis=1, keepdims=True)
            if moved == "one point":
                step[np.arange(len(used)) != generator.integers(len(used))] = 0
            found = estimator(used + step)
            angle = line_angle_deg(still.normals, found.normals, sign_free=still.sign_free)
            changes.append(angle)
        largest = float(np.max(changes))
        yield JumpRow(
            cloud=cloud,
            moved=moved,
            perturbation=PERTURBATION,
            worst_deg=largest,
            median_deg=float(np.median(changes, axis=1).max()),
            ratio=float(np.radians(largest) / PERTURBATION),
            ambiguous=still.ambiguous,
            tolerance_deg=JUMP_DEG,
            passed=largest <= JUMP_DEG or still.ambiguous,
        )
