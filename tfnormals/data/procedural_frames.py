"""Procedural sweeps along curves, and frames of crossing struts or boards."""

import numpy as np
from manifold3d import Manifold

from .procedural_parts import (
    Array,
    ball,
    block,
    log_uniform,
    placed,
    polygon,
    rod,
    room_around,
    rotation,
    smoothness,
    torus,
    tube,
    union,
)


def curve(rng: np.random.Generator, points: int, closed: bool) -> Array:
    """A smooth random curve of about unit size, ``(points, 3)``."""
    terms = int(rng.integers(2, 4))
    span = 1.0 if closed else rng.uniform(0.4, 0.8)
    t = np.linspace(0, span, points, endpoint=not closed)[:, None] * np.arange(1, terms + 1)
    weights = rng.normal(size=(2, terms, 3)) / np.arange(1, terms + 1)[:, None] ** 1.3
    return np.cos(2 * np.pi * t) @ weights[0] + np.sin(2 * np.pi * t) @ weights[1]


def cable(rng: np.random.Generator) -> Manifold:
    """A round or prismatic tube along a random curve."""
    closed = rng.random() < 0.4
    sides = int(rng.choice([3, 4, 6, 24, 32, 32]))
    path = curve(rng, 160, closed)
    return tube(path, log_uniform(rng, 0.02, 0.25), sides, closed)


def hose(rng: np.random.Generator) -> Manifold:
    """A bent pipe along a random curve, open at both ends."""
    path = curve(rng, 120, closed=False)
    radius = min(log_uniform(rng, 0.04, 0.25), room_around(path))
    sides = int(rng.choice([4, 24, 32]))
    longer = np.vstack([2 * path[0] - path[1], path, 2 * path[-1] - path[-2]])
    return tube(path, radius, sides) - tube(longer, radius * rng.uniform(0.5, 0.9), sides)


def spring(rng: np.random.Generator) -> Manifold:
    """A helix or conical spiral of a thin tube."""
    turns = rng.uniform(1.5, 8)
    t = np.linspace(0, 1, int(32 * turns))
    angle = 2 * np.pi * turns * t * rng.choice([-1, 1])
    radius = 0.4 * (1 + rng.choice([0.0, rng.uniform(-0.7, 0.5)]) * t)
    rise = log_uniform(rng, 0.06, 0.4) * turns
    path = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rise * t])
    return tube(path, log_uniform(rng, 0.015, 0.12), int(rng.choice([4, 20, 24])))


def knot(rng: np.random.Generator) -> Manifold:
    """A tube wound around a torus, knotted or not."""
    p, q = [(2, 3), (3, 2), (2, 5), (3, 4), (1, 4), (1, 7), (5, 2)][int(rng.integers(7))]
    angle = 2 * np.pi * np.linspace(0, 1, 200, endpoint=False)
    r = 0.5 + rng.uniform(0.15, 0.25) * np.cos(q * angle)
    z = rng.uniform(0.15, 0.4) * np.sin(q * angle)
    path = np.column_stack([r * np.cos(p * angle), r * np.sin(p * angle), z])
    return tube(path, log_uniform(rng, 0.02, 0.12), int(rng.choice([4, 20, 24])), closed=True)


def ring(rng: np.random.Generator) -> Manifold:
    """A torus of any thickness, perhaps with spokes and a hub."""
    radius, n = log_uniform(rng, 0.02, 0.4), smoothness(rng)
    wheel = torus(0.5, radius, n)
    if radius > 0.12 or rng.random() < 0.5:
        return wheel
    spokes = 0.5 * polygon(int(rng.integers(2, 9)))
    parts = [rod((0, 0, 0), (x, y, 0), 0.6 * radius, 32) for x, y in spokes]
    return union([wheel, ball(2 * radius), *parts])


def chain(rng: np.random.Generator) -> Manifold:
    """Interlocking links in a row, each a separate body."""
    radius, stretch = rng.uniform(0.06, 0.14), rng.uniform(1.2, 2.2)
    angle = 2 * np.pi * np.linspace(0, 1, 48, endpoint=False)
    side = np.column_stack([stretch * 0.5 * np.cos(angle), 0.5 * np.sin(angle), 0 * angle])
    link = tube(side, radius, 20, closed=True)
    pitch = stretch - 2 * radius * rng.uniform(1.2, 2)
    return union(
        [
            link.rotate((90.0 * (i % 2), 0, 0)).translate((i * pitch, 0, 0))
            for i in range(int(rng.integers(2, 7)))
        ]
    )


def wire_frame(rng: np.random.Generator) -> Manifold:
    """Struts between random points, joined by balls."""
    points = rng.uniform(-0.5, 0.5, (int(rng.integers(4, 8)), 3))
    if rng.random() < 0.4:
        points = np.array(list(np.ndindex(2, 2, 2))) - 0.5
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    radius = log_uniform(rng, 0.012, 0.06)
    near = np.argsort(gaps, axis=1)[:, 1 : int(rng.integers(3, 5))]
    edges = sorted({(min(i, int(j)), max(i, int(j))) for i in range(len(points)) for j in near[i]})
    sides = int(rng.choice([4, 16, 20]))
    struts = [rod(points[i], points[j], radius, sides) for i, j in edges]
    return union([*struts, *(ball(1.4 * radius, p, 20) for p in points)])


def grid(rng: np.random.Generator) -> Manifold:
    """A flat or cubic grid of crossing struts, round or square."""
    counts = rng.integers(1, 4, 3) if rng.random() < 0.5 else (*rng.integers(2, 7, 2), 1)
    radius, square = log_uniform(rng, 0.02, 0.12), rng.random() < 0.4
    lines = [np.arange(n) - (n - 1) / 2 for n in counts]
    half = [(n - 1) / 2 + rng.uniform(0.2, 0.6) for n in counts]
    parts = []
    for axis in range(3):
        if counts[axis] == 1 and min(counts) == 1 and max(counts) > 1:
            continue
        others = [lines[k] for k in range(3) if k != axis]
        for a, b in ((a, b) for a in others[0] for b in others[1]):
            start = np.insert([a, b], axis, -half[axis])
            end = np.insert([a, b], axis, half[axis])
            size = np.insert([2 * radius, 2 * radius], axis, 2 * half[axis])
            at = np.insert([a, b], axis, 0.0)
            parts.append(block(size, at) if square else rod(start, end, radius, 32))
    return union(parts)


def railing(rng: np.random.Generator) -> Manifold:
    """Posts or rungs between two long bars: a fence, a ladder or a comb."""
    count, length = int(rng.integers(3, 14)), log_uniform(rng, 0.8, 3)
    thin, thick = log_uniform(rng, 0.01, 0.04), log_uniform(rng, 0.02, 0.06)
    sides = int(rng.choice([4, 24, 32]))
    bars = [rod((0, 0, z), (length, 0, z), thick, sides) for z in (0.0, 1.0)]
    places = (np.arange(count) + 0.5) * length / count
    low, high = (0.0, 1.0) if rng.random() < 0.6 else (-0.2, 1.2)
    posts = [rod((x, 0, low), (x, 0, high), thin, sides) for x in places]
    return union([*bars[: 1 + int(rng.random() < 0.8)], *posts])


def table(rng: np.random.Generator) -> Manifold:
    """A thin top on four legs: a table, a stool or, with a back, a chair."""
    x, y, z = 1.0, log_uniform(rng, 0.5, 1), log_uniform(rng, 0.4, 1.2)
    top, leg = log_uniform(rng, 0.012, 0.08), log_uniform(rng, 0.02, 0.08)
    parts = [block((x, y, top), (0, 0, z))]
    if rng.random() < 0.2:
        parts = [Manifold.cylinder(top, 0.5, 0.5, 96, True).translate((0, 0, z))]
    inset = 0.5 - leg if len(parts) and rng.random() < 0.5 else 0.3
    feet = [(a * inset * x, b * inset * y) for a in (-1, 1) for b in (-1, 1)]
    if rng.random() < 0.6:
        parts += [block((leg, leg, z), (p, q, z / 2)) for p, q in feet]
    else:
        spread = rng.uniform(1, 1.4)
        parts += [rod((p * spread, q * spread, 0), (p, q, z), leg / 2, 32) for p, q in feet]
    if rng.random() < 0.5:
        back = rng.uniform(0.3, 1)
        parts.append(block((top, 0.95 * y, back), (-0.5 + top, 0, z + back / 2)))
    return union(parts)


def shelf(rng: np.random.Generator) -> Manifold:
    """Thin boards between two side walls, perhaps with a back."""
    width, height, depth = 1.0, log_uniform(rng, 0.5, 2), log_uniform(rng, 0.15, 0.6)
    t, boards = log_uniform(rng, 0.012, 0.05), int(rng.integers(2, 7))
    levels = np.linspace(0, height, boards)
    parts = [block((width, depth, t), (0, 0, z)) for z in levels]
    parts += [block((t, depth, height + t), (s * width / 2, 0, height / 2)) for s in (-1, 1)]
    if rng.random() < 0.5:
        parts.append(block((width, t, height), (0, depth / 2, height / 2)))
    return union(parts)


def truss(rng: np.random.Generator) -> Manifold:
    """A girder of three or four chords with diagonals."""
    chords, bays = int(rng.integers(3, 5)), int(rng.integers(2, 6))
    thick, thin = log_uniform(rng, 0.03, 0.08), log_uniform(rng, 0.015, 0.03)
    corners, pitch = 0.4 * polygon(chords), rng.uniform(0.5, 0.9)
    sides = int(rng.choice([4, 16, 20]))
    parts = []
    for i, (x, y) in enumerate(corners):
        p, q = corners[(i + 1) % chords]
        parts.append(rod((x, y, -0.1), (x, y, bays * pitch + 0.1), thick, sides))
        for k in range(bays):
            parts.append(rod((x, y, k * pitch), (p, q, (k + 1) * pitch), thin, sides))
    return union(parts)


def strut_pile(rng: np.random.Generator) -> Manifold:
    """Rods and beams thrown through one another at random."""
    parts = []
    for _ in range(int(rng.integers(3, 10))):
        radius = log_uniform(rng, 0.015, 0.08)
        beam = block((2 * radius, 2 * radius * log_uniform(rng, 0.3, 3), 1.0))
        stick = Manifold.cylinder(1.0, radius, radius, 24, True)
        shape = stick if rng.random() < 0.5 else beam
        parts.append(placed(shape, rotation(rng), rng.uniform(-0.2, 0.2, 3)))
    return union(parts)
