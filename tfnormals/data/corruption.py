"""What sensors and files do to a clean cloud: noise, outliers, holes, rounding, copies."""

import numpy as np

from .procedural_parts import log_uniform
from .rendering import Floats, Ints

HOLES_SHARE = 0.1  # clouds with patches cut out
MOST_CUT = 1 / 3  # share of the points that all holes of a cloud may take
STRONGEST = 0.015  # white noise, in diagonals


def corrupted(
    points: Floats, normals: Floats, diagonal: float, rng: np.random.Generator
) -> tuple[Floats, Floats, str]:
    """A clean cloud as a sensor would store it, the clean points' normals, and what was done.

    One to five patches cut out (10 % of clouds), white noise (70 %, see `_noise`), 0.5 to 3 %
    outliers up to 3 % of the diagonal away (10 %), coordinates rounded to 0.1 to 0.5 % of the
    diagonal (10 %), 1 to 10 % of the points replaced by copies of others (5 %).
    """
    told = []
    if rng.random() < HOLES_SHARE:
        count = int(rng.integers(1, 6))
        kept = _without_patches(points, count, rng)
        points, normals = points[kept], normals[kept]
        told.append(f"{count} holes")
    n = len(points)
    if rng.random() < 0.7:
        noise, name = _noise(n, rng)
        points = points + diagonal * noise
        told.append(name)
    if rng.random() < 0.1:
        share = rng.uniform(0.005, 0.03)
        stray = rng.random((n, 1)) < share
        points = points + stray * rng.uniform(0, 0.03 * diagonal, (n, 1)) * directions(n, rng)
        told.append(f"{share:.1%} outliers")
    if rng.random() < 0.1:
        grid = rng.uniform(0.001, 0.005)
        points = np.round(points / (grid * diagonal)) * (grid * diagonal)
        told.append(f"rounded to {grid:.2%}")
    if rng.random() < 0.05:
        share = rng.uniform(0.01, 0.1)
        source = np.where(rng.random(n) < share, rng.integers(n, size=n), np.arange(n))
        points, normals = points[source], normals[source]
        told.append(f"{share:.1%} copies")
    return points, normals, ", ".join(told) or "none"


def directions(count: int, rng: np.random.Generator) -> Floats:
    """Uniform unit vectors, (count, 3)."""
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _noise(count: int, rng: np.random.Generator) -> tuple[Floats, str]:
    """White noise of 0.05 to 1.5 % and its name; (count, 3).

    55 % are evenly strong, the others mostly weak; a tenth is flattened along one direction.
    """
    strong = rng.random() < 0.55
    level = rng.uniform(0.002, STRONGEST) if strong else log_uniform(rng, 5e-4, 0.01)
    noise, name = rng.normal(0, level, (count, 3)), f"{level:.2%} noise"
    if rng.random() < 0.1:
        axis = directions(1, rng)[0]
        noise -= rng.uniform(0.5, 1) * np.outer(noise @ axis, axis)
        name = f"flattened {name}"
    return noise, name


def _without_patches(points: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Rows that are left when the points nearest to some of them are cut out."""
    kept = np.arange(len(points))
    for _ in range(count):
        distance2 = np.square(points[kept] - points[rng.choice(kept)]).sum(1)
        size = int(len(points) * rng.uniform(0.2, 1) * MOST_CUT / count)
        kept = kept[np.argpartition(distance2, size)[size:]]
    return kept
