"""Clouds whose shapes are ordinary, or such that some method takes much longer over them."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bumpy_torus(count: int) -> Array:
    """A torus (count, 3) with bumps, in no particular order."""
    u, v = _random().uniform(0, 2 * np.pi, (2, count))
    tube = 0.4 + 0.05 * np.sin(5 * u) * np.cos(3 * v)
    ring = 1 + tube * np.cos(v)
    return np.column_stack([ring * np.cos(u), ring * np.sin(u), tube * np.sin(v)])


def plane(count: int) -> Array:
    """Points (count, 3) in a plane: nothing tells its sides apart."""
    return np.column_stack([*_random().uniform(size=(2, count)), np.zeros(count)])


def grid(count: int) -> Array:
    """A plane (count, 3) as a regular grid: all distances tie."""
    width = int(np.ceil(np.sqrt(count)))
    rows, columns = np.divmod(np.arange(count), width)
    return np.column_stack([rows, columns, np.zeros(count)]).astype(float)


def box(count: int) -> Array:
    """The faces of a box (count, 3): flat parts that meet at sharp edges."""
    rng = _random()
    points, axis = rng.uniform(-1, 1, (count, 3)), rng.integers(3, size=count)
    points[np.arange(count), axis] = rng.choice([-1.0, 1.0], count)
    return points * [1.0, 0.7, 0.4]


def repeated(count: int) -> Array:
    """A bumpy torus (count, 3) of which every point is there ten times."""
    return np.resize(bumpy_torus(-(-count // 10)), (count, 3))


def needle(count: int) -> Array:
    """A tube (count, 3) a thousand times as long as it is wide."""
    u, z = _random().uniform(size=(2, count))
    angle = 2 * np.pi * u
    return np.column_stack([np.cos(angle), np.sin(angle), 2000 * z])


def cluster(count: int) -> Array:
    """A sparse sphere (count, 3) and on it a spot that is denser a million times."""
    points = _random().normal(size=(count, 3))
    points[: count // 2, :2] *= 1e-3
    points[: count // 2, 2] = 1
    return points / np.linalg.norm(points, axis=1)[:, None]


def far_away(count: int) -> Array:
    """A bumpy torus (count, 3) and one point a million times its size away."""
    points = bumpy_torus(count)
    points[0] = 1e6
    return points


ORDINARY = "bumpy torus"
SHAPES: Mapping[str, Callable[[int], Array]] = {
    ORDINARY: bumpy_torus,
    "plane": plane,
    "grid": grid,
    "box": box,
    "each point ten times": repeated,
    "needle": needle,
    "dense spot": cluster,
    "one point far away": far_away,
}


def _random() -> np.random.Generator:
    return np.random.default_rng(0)
