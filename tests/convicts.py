"""Estimators that are not equivariant, each in the way of a real implementation, and a sound one.

All are functions from points (n, 3) to normals, as ``--model module:callable`` takes them.
"""

import numpy as np
from scipy.spatial import cKDTree

K = 12


def neighborhoods(points):
    """Offsets (n, K, 3) to the nearest neighbours, in units of their reach."""
    distances, rows = cKDTree(points).query(points, k=K + 1)
    return (points[rows[:, 1:]] - points[:, None]) / distances[:, -1, None, None]


def frames_of(points):
    """Two-vector frames (n, 3, 3), right-handed, and the mean offset of the third moment."""
    offsets = neighborhoods(points)
    lengths = np.linalg.norm(offsets, axis=2, keepdims=True)
    v1, v2, v3 = ((offsets * lengths**power).mean(1) for power in (0, 1, 3))
    e1 = v1 / np.linalg.norm(v1, axis=1, keepdims=True)
    rest = v2 - (v2 * e1).sum(1, keepdims=True) * e1
    e2 = rest / np.linalg.norm(rest, axis=1, keepdims=True)
    return np.stack([e1, e2, np.cross(e1, e2)], 1), v3


def outward(points):
    """Sound: from the mean, bent by the neighbourhood."""
    away = points - points.mean(0)
    away -= away.mean(0)  # what rounding left of a far origin
    return away + 0.1 * np.linalg.norm(away, axis=1).mean() * neighborhoods(points).mean(1)


def hard_sign(points):
    """O(3) frames whose handedness is the sign of e3 . v3: rounding noise on flat faces."""
    frames, v3 = frames_of(points)
    e3 = frames[:, 2]
    return np.where((e3 * v3).sum(1, keepdims=True) < 0, -e3, e3)


def pseudovector(points):
    """A cross product, taken for a vector: the wrong representation of mirror images."""
    frames, _ = frames_of(points)
    return frames[:, 2]


def twice_turned(points):
    """Answers in the local frame, turned back by the frame instead of its transpose."""
    frames, _ = frames_of(points)
    return frames @ np.array([0.3, 0.5, 0.8])


def in_place(points):
    """Centres the caller's own array."""
    points -= points.mean(0)
    points /= np.abs(points).max()
    return outward(points)


def tie_break(points):
    """Leans to the sixth neighbour; of equally distant ones, to that with the largest x."""
    distances, rows = cKDTree(points).query(points, k=40)
    tied = np.abs(distances / distances[:, 6:7] - 1) < 1e-9
    chosen = np.where(tied, points[rows][:, :, 0], -np.inf)
    first = rows[np.arange(len(points)), chosen.argmax(1)]
    return points - points.mean(0) + 0.3 * (points[first] - points)


def nearest(points):
    """Follows every motion, but leans to the nearest points alone: a tie is a jump."""
    away = points - points.mean(0)
    away -= away.mean(0)
    distances, rows = cKDTree(away).query(away, k=8)
    tied = distances[:, 1:] < distances[:, 1:2] * (1 + 1e-9)
    offsets = (away[rows[:, 1:]] - away[:, None]) * tied[:, :, None]
    return away + 0.3 * offsets.sum(1) / tied.sum(1, keepdims=True)


def unsteady(points):
    """Draws random numbers."""
    return outward(points) + 0.01 * np.random.default_rng().normal(size=points.shape)


def single_precision(points):
    """Sound, in float32, with a confidence."""
    return outward(points).astype(np.float32), np.ones(len(points), np.float32)


def lines(points):
    """Sound but for the signs, which are those of a coordinate."""
    normals = outward(points)
    return normals * np.sign(normals[:, :1])


def zeros(points):
    """No direction at all."""
    return 0 * points


def two_columns(points):
    return points[:, :2]


def words(points):
    return "up"


def planes_refused(points):
    """Says what is wrong with flat clouds, as the errors of this package do."""
    from tfnormals.errors import DataError

    if np.linalg.svd(points)[1][2] < 1e-9:
        raise DataError("flat")
    return outward(points)


class Made:
    """A class that needs nothing: its object is called."""

    def __call__(self, points):
        return outward(points)


class Needy:
    def __init__(self, k):
        self.k = k


NUMBER = 3
