"""Procedural ground with what stands on it, z up: terrain, villages, streets."""

from collections.abc import Callable

import numpy as np
from manifold3d import CrossSection, Manifold

from .procedural_parts import (
    Array,
    ball,
    between,
    block,
    log_uniform,
    placed,
    rod,
    rotation,
    union,
)
from .procedural_rooms import roof
from .procedural_solids import random_profile

Relief = Callable[[Array], Array]
"""Height of the ground at places (n, 2) in the unit square."""
GRID = 48  # points along each side of the ground


def terrain(rng: np.random.Generator) -> Manifold:
    """Hills, terraces or cliffs on a slab, perhaps with boulders and trees."""
    relief, parts = _relief(rng, log_uniform(rng, 0.05, 0.5)), []
    for _ in range(int(rng.choice([0, 0, 5, 15]))):
        at = rng.uniform(0.05, 0.95, 2)
        ground = np.array([*at, relief(at[None])[0]])
        boulder = ball(1.0, segments=12).scale(tuple(np.exp(rng.uniform(-0.7, 0, 3))))
        boulder = placed(boulder, rotation(rng) * log_uniform(rng, 0.01, 0.05), ground)
        parts.append(_tree(rng, ground, 0.15) if rng.random() < 0.5 else boulder)
    return union([_ground(relief), *parts])


def village(rng: np.random.Generator) -> Manifold:
    """Houses with pitched roofs, and trees, on uneven ground."""
    relief = _relief(rng, log_uniform(rng, 0.005, 0.1))
    cells, parts = int(rng.integers(2, 5)), []
    for i, j in np.ndindex(cells, cells):
        at = (np.array([i, j]) + 0.5 + rng.uniform(-0.15, 0.15, 2)) / cells
        ground, kind = np.array([*at, relief(at[None])[0]]), rng.random()
        if kind < 0.6:
            turn = rng.uniform(0, 360) if rng.random() < 0.5 else 0.0
            house = _house(rng, rng.uniform(0.3, 0.65, 2) / cells)
            parts.append(house.rotate((0, 0, turn)).translate(tuple(ground)))
        elif kind < 0.8:
            parts.append(_tree(rng, ground, 0.6 / cells))
    return union([_ground(relief), *parts])


def street(rng: np.random.Generator) -> Manifold:
    """Blocks of flat-roofed houses along one or two streets, with kerbs, cars and lamps."""
    lots, width, parts = int(rng.integers(2, 6)), rng.uniform(0.12, 0.3), []
    kerb = rng.uniform(0.004, 0.012)
    for side in (-1, 1)[: int(rng.integers(1, 3))]:
        depth = rng.uniform(0.15, 0.35)
        edge, path = side * width / 2, width * rng.uniform(0.1, 0.25)
        parts.append(block((1.0, depth + path, kerb), (0.5, edge + side * (depth + path) / 2, 0)))
        for k in range(lots):
            if rng.random() < 0.12:
                continue
            share = rng.choice([1.0, rng.uniform(0.6, 0.95)])
            middle = ((k + 0.5) / lots, edge + side * (path + depth / 2), 0.0)
            parts.append(_block_house(rng, (share / lots, depth)).translate(middle))
    for _ in range(int(rng.integers(0, 7))):
        at = (rng.uniform(0.05, 0.95), rng.uniform(-0.35, 0.35) * width, 0.0)
        parts.append(_car(rng).translate(at) if rng.random() < 0.6 else _lamp(at, width))
    parts.append(block((1.0, width + 1.0, 0.02), (0.5, 0, -0.01)))
    return union(parts)


def _relief(rng: np.random.Generator, high: float) -> Relief:
    """A sum of waves of falling length, sometimes cut into terraces."""
    waves = np.arange(1, 13)
    directions = rng.normal(size=(12, 2))
    directions *= (waves**0.8 / np.linalg.norm(directions, axis=1))[:, None]
    phases, weights = rng.uniform(0, 2 * np.pi, 12), rng.normal(size=12) / waves**1.2
    weights *= high / np.abs(weights).sum()
    step, steep = high * rng.uniform(0.1, 0.4), rng.choice([0.0, 0.0, 0.9])

    def height(places: Array) -> Array:
        smooth = np.sin(4 * places @ directions.T + phases) @ weights
        return smooth - steep * step / (2 * np.pi) * np.sin(2 * np.pi * smooth / step)

    return height


def _ground(relief: Relief) -> Manifold:
    """The unit square of some relief, on a flat base."""
    line = np.linspace(0, 1, GRID)
    u, v = np.meshgrid(line, line, indexing="ij")
    z = relief(np.column_stack([u.ravel(), v.ravel()])).reshape(u.shape)
    return between(np.stack([u, v, z], -1), np.stack([u, v, np.full_like(z, z.min() - 0.05)], -1))


def _house(rng: np.random.Generator, size: Array) -> Manifold:
    """A box or an L with a roof, sunk a little into the ground around the origin."""
    high, overhang = rng.uniform(0.3, 0.9) * size.min(), rng.uniform(0, 0.15) * size.min()
    top = roof(rng, size + overhang, rng.uniform(0.3, 0.8) * size.min())
    parts = [block((*size, high + 0.06), (0, 0, high / 2 - 0.03))]
    parts.append(top.translate((0, 0, high - 1e-3)))
    if rng.random() < 0.4:
        low, wing = rng.uniform(0.4, 0.9) * high, rng.uniform(0.3, 0.7, 2) * size
        middle = (size[0] / 2, rng.uniform(-0.2, 0.2) * size[1], low / 2 - 0.03)
        parts.append(block((*wing, low + 0.06), middle))
    if rng.random() < 0.4:
        wide = 0.12 * size.min()
        parts.append(block((wide, wide, 1.6 * high), (*(size * [0.2, 0.1]), 0.9 * high)))
    return union(parts)


def _block_house(rng: np.random.Generator, size: tuple[float, float]) -> Manifold:
    """A flat-roofed house around the origin, of any outline, with what stands on such roofs."""
    x, y = size
    high = log_uniform(rng, 0.08, 0.6)
    outline = CrossSection.square((x, y), True)
    if rng.random() < 0.25:
        outline ^= random_profile(rng).scale((1.4 * x, 1.4 * y))
    if rng.random() < 0.3:
        outline -= CrossSection.square((0.4 * x, 0.4 * y), True)
    house = outline.extrude(high)
    rim = min(x, y) * rng.uniform(0.02, 0.06)
    if rng.random() < 0.5:
        house += (outline - outline.offset(-rim)).extrude(high + rim)
    for _ in range(int(rng.integers(0, 4))):
        at = rng.uniform(-0.3, 0.3, 2) * size
        spans = rng.uniform(0.1, 0.3, 2) * size
        box = block((*spans, 0.1), (*at, high))
        house += box ^ outline.extrude(2 * high)
    return house


def _tree(rng: np.random.Generator, ground: Array, size: float) -> Manifold:
    """A crown, round or pointed, on a trunk."""
    high = size * rng.uniform(0.4, 1)
    crown, lift = high * rng.uniform(0.25, 0.45), np.array([0, 0, high])
    trunk = rod(ground - 0.2 * lift, ground + 0.8 * lift, 0.06 * high, 8)
    if rng.random() < 0.4:
        cone = Manifold.cylinder(high, crown, 0.05 * crown, 12)
        return trunk + cone.translate(tuple(ground + 0.3 * lift))
    balls = [ball(crown, ground + lift + crown * rng.uniform(-0.4, 0.4, 3), 12) for _ in range(3)]
    return union([trunk, *balls[: int(rng.integers(1, 4))]])


def _car(rng: np.random.Generator) -> Manifold:
    """A body with a cabin and wheels, on a street of height 0."""
    body = block((1.0, 0.4, 0.15), (0, 0, 0.17)) + block((0.5, 0.36, 0.16), (0, 0, 0.3))
    wheels = [rod((x, -0.2, 0.07), (x, 0.2, 0.07), 0.08, 12) for x in (-0.3, 0.3)]
    length = rng.uniform(0.06, 0.09)
    return union([body, *wheels]).scale((length, length, length))


def _lamp(at: tuple[float, float, float], width: float) -> Manifold:
    """A post with an arm over the street."""
    x, y, _ = at
    post = rod((x, y, -0.01), (x, y, 0.6 * width), 0.004, 8)
    return post + rod((x, y, 0.6 * width), (x, y + 0.2 * width, 0.6 * width), 0.004, 8)
