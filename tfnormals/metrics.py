"""How far predicted normals are from the truth, as the PCPNet evaluation measures it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NormalMetrics:
    """Errors of one cloud, or their mean over several.

    Attributes:
        rmse_deg: Root mean square of the unoriented angle.
        oriented_rmse_deg: Root mean square of the oriented angle; nothing is ever flipped.
        oriented_rmse_flipped_deg: The same after all normals of the shape were negated if more
            than half of them point inwards, as SHS-Net, NGLO and NeuralGF report it.
        outward_share: Share (0 to 1) of normals less than 90 degrees from the true one.
        pgp5: Share (0 to 1) of unoriented angles below 5 degrees.
        pgp10: Share (0 to 1) of unoriented angles below 10 degrees.
        median_deg: Median of the unoriented angle.
        cnd_rmse_deg: See `cnd_rmse_deg`; None without a noise-free cloud.
    """

    rmse_deg: float
    oriented_rmse_deg: float
    oriented_rmse_flipped_deg: float
    outward_share: float
    pgp5: float
    pgp10: float
    median_deg: float
    cnd_rmse_deg: float | None = None


def angle_deg(a: Array, b: Array) -> Array:
    """Angles (n,) between the rows of a and b (n, 3), 0 to 180 degrees.

    The vectors need not have unit length, but must be finite and non-zero. The arc tangent keeps
    full precision where the arc cosine loses it: at 0 and 180 degrees.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    return np.degrees(np.arctan2(sine, (a * b).sum(axis=1)))


def unoriented_angle_deg(a: Array, b: Array) -> Array:
    """Angles (n,) between the lines along the rows of a and b (n, 3), 0 to 90 degrees."""
    angle = angle_deg(a, b)
    return np.minimum(angle, 180 - angle)


def normal_metrics(
    predicted: Array, truth: Array, cnd_rmse_deg: float | None = None
) -> NormalMetrics:
    """Errors of predicted normals (n, 3) against the outward truth (n, 3), n >= 1."""
    oriented = angle_deg(predicted, truth)
    unoriented = np.minimum(oriented, 180 - oriented)
    inside_out = (oriented > 90).mean() > 0.5
    return NormalMetrics(
        rmse_deg=_rms(unoriented),
        oriented_rmse_deg=_rms(oriented),
        oriented_rmse_flipped_deg=_rms(180 - oriented if inside_out else oriented),
        outward_share=float((oriented < 90).mean()),
        pgp5=float((unoriented < 5).mean()),
        pgp10=float((unoriented < 10).mean()),
        median_deg=float(np.median(unoriented)),
        cnd_rmse_deg=cnd_rmse_deg,
    )


def cnd_rmse_deg(
    points: Array, predicted: Array, clean_points: Array, clean_normals: Array
) -> float:
    """Unoriented RMSE against the normal of the nearest noise-free point.

    A noisy point keeps the normal of the point that it was moved from, which bounds the ordinary
    RMSE from below; here the truth is the surface where the point is now. Not comparable with
    the ordinary RMSE.

    Args:
        points: Where the normals were predicted, (n, 3).
        predicted: Normals there, (n, 3).
        clean_points: The noise-free cloud of the same shape in the same place, (m, 3).
        clean_normals: Its normals, (m, 3).

    Source: the chamfer normal distance of Wu et al., "CMG-Net", AAAI 2024.
    """
    _, nearest = KDTree(np.ascontiguousarray(clean_points, np.float64)).query(
        np.ascontiguousarray(points, np.float64), k=1
    )
    return _rms(unoriented_angle_deg(predicted, clean_normals[nearest]))


def mean_metrics(metrics: Sequence[NormalMetrics]) -> NormalMetrics:
    """Mean of each figure, over those that have it.

    Raises:
        ValueError: If there is nothing to average.
    """
    if not metrics:
        raise ValueError("no metrics to average")
    rows = [asdict(one) for one in metrics]
    known = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    return NormalMetrics(
        **{name: float(np.mean(values)) for name, values in known.items() if values}
    )


def _rms(angles: Array) -> float:
    return float(np.sqrt(np.mean(angles**2)))
