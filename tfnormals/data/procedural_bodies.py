"""Procedural scenes of several bodies, and smooth organic bodies."""

import numpy as np
from manifold3d import Manifold

from .procedural_parts import (
    Array,
    ball,
    block,
    log_uniform,
    placed,
    rotation,
    smoothness,
    union,
    wave,
)
from .procedural_solids import extrusion, primitive


def gap_slabs(rng: np.random.Generator) -> Manifold:
    """Slabs of any thickness in a stack with gaps of 1-6 % between them."""
    x, y, z, parts = 1.0, log_uniform(rng, 0.4, 1), 0.0, []
    round_slab = rng.random() < 0.25
    for _ in range(int(rng.integers(2, 6))):
        t = log_uniform(rng, 0.015, 0.3)
        shift = rng.choice([0.0, 0.1]) * rng.uniform(-1, 1, 2)
        slab = block((x, y, t))
        if round_slab:
            slab = Manifold.cylinder(t, 0.5, 0.5, 96, True)
        parts.append(slab.translate((shift[0], shift[1], z + t / 2)))
        z += t + log_uniform(rng, 0.01, 0.06)
    return union(parts)


def scattered(rng: np.random.Generator) -> Manifold:
    """Primitives strewn about, apart from each other or overlapping here and there."""
    count, spread = int(rng.integers(2, 11)), rng.uniform(0.6, 1.6)
    aligned, parts = rng.random() < 0.4, []
    for _ in range(count):
        turn = np.eye(3) if aligned else rotation(rng)
        size = log_uniform(rng, 0.3, 1.0)
        part = primitive(rng).scale((size, size, size))
        parts.append(placed(part, turn, rng.uniform(-spread, spread, 3)))
    return union(parts)


def islands(rng: np.random.Generator) -> Manifold:
    """Bodies on a jittered grid that never touch."""
    shape = rng.integers(1, 4, 3)
    shape[rng.integers(3)] += 1
    kept = [cell for cell in np.ndindex(*shape) if rng.random() < 0.7] or [(0, 0, 0), (1, 0, 0)]
    parts = []
    for cell in kept[:12]:
        size = rng.uniform(0.3, 0.7)
        body = primitive(rng).scale((size, size, size))
        parts.append(placed(body, rotation(rng), np.array(cell) + rng.uniform(-0.1, 0.1, 3)))
    return union(parts)


def near_contact(rng: np.random.Generator) -> Manifold:
    """Two bodies side by side with a gap of 0.5-6 %."""
    left, right = (placed(primitive(rng), rotation(rng), (0, 0, 0)) for _ in range(2))
    if rng.random() < 0.3:
        right = left.mirror((1, 0, 0))
    corners = (np.asarray(body.to_mesh64().vert_properties)[:, :3] for body in (left, right))
    far, near = (c[np.argmax(side * c[:, 0])] for side, c in zip((1, -1), corners, strict=True))
    gap = np.array([log_uniform(rng, 0.005, 0.06), 0.0, 0.0])
    return union([left, right.translate(tuple(far + gap - near))])


def nested(rng: np.random.Generator) -> Manifold:
    """Shells within shells around a core, sometimes cut open."""
    n, radius = smoothness(rng, 64), 0.5
    box, parts = rng.random() < 0.3, []
    for _ in range(int(rng.integers(1, 4))):
        inside = radius * rng.uniform(0.82, 0.96)
        cubes = [block((2 * r, 2 * r, 2 * r)) for r in (radius, inside)]
        balls = [ball(r, segments=n) for r in (radius, inside)]
        outer, inner = cubes if box else balls
        parts.append(outer - inner)
        radius = inside * rng.uniform(0.7, 0.95)
    parts.append(ball(radius, segments=n))
    whole = union(parts)
    if rng.random() < 0.3:
        whole = whole.trim_by_plane(tuple(rng.normal(size=3)), rng.uniform(-0.2, 0.1))
    return whole


def stacked(rng: np.random.Generator) -> Manifold:
    """Random extrusions piled up, resting on or hovering just above each other."""
    z, parts = 0.0, []
    for _ in range(int(rng.integers(2, 5))):
        size = rng.uniform(0.4, 1)
        part = extrusion(rng).scale((size, size, size * log_uniform(rng, 0.2, 1)))
        low, high = part.bounding_box()[2], part.bounding_box()[5]
        parts.append(part.translate((0, 0, z - low)))
        z += high - low + rng.choice([-0.01, 0.02, 0.05])
    return union(parts)


def blob(rng: np.random.Generator) -> Manifold:
    """A ball displaced along its radii by a few waves and bumps."""
    waves = rng.normal(scale=rng.uniform(1, 4), size=(5, 3))
    phases, weights = rng.uniform(0, 2 * np.pi, 5), rng.normal(size=5)
    depth = rng.uniform(0.05, 0.7) / np.abs(weights).sum()
    bumps = rng.normal(size=(int(rng.integers(0, 6)), 3))
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    heights, narrow = rng.uniform(-0.3, 0.8, len(bumps)), rng.uniform(3, 15, len(bumps))

    def displaced(points: Array) -> Array:
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        radius = 1 + depth * np.sin(3 * unit @ waves.T / 2 + phases) @ weights
        radius += np.exp(narrow * (unit @ bumps.T - 1)) @ heights
        return unit * np.maximum(radius, 0.15)[:, None]

    stretch = np.exp(rng.uniform(np.log(0.4), 0, 3))
    return Manifold.sphere(1.0, smoothness(rng)).warp_batch(displaced).scale(tuple(stretch))


def bent_blob(rng: np.random.Generator) -> Manifold:
    """A smooth body swept around a wavy axis: a bean, a worm or a pear."""
    length, shift = rng.uniform(1, 3), rng.integers(2**32)

    def bent(points: Array) -> Array:
        own = np.random.default_rng(shift)
        z = points[:, 2] * length
        t = z / (2 * length) * 0.6
        girth = 0.7 + 0.35 * wave(own, t, 3)
        offset = np.column_stack([wave(own, t, 2), wave(own, t, 2)]) * 0.5 * length
        return np.column_stack([points[:, :2] * girth[:, None] + offset, z])

    return Manifold.sphere(1.0, smoothness(rng)).warp_batch(bent)


def cluster(rng: np.random.Generator) -> Manifold:
    """Overlapping ellipsoids and smooth blobs."""
    parts = []
    for _ in range(int(rng.integers(2, 6))):
        stretch = tuple(np.exp(rng.uniform(np.log(0.3), 0, 3)))
        body = blob(rng).scale((0.5, 0.5, 0.5)) if rng.random() < 0.3 else ball(0.5, segments=40)
        parts.append(placed(body.scale(stretch), rotation(rng), rng.uniform(-0.4, 0.4, 3)))
    return union(parts)


def creature(rng: np.random.Generator) -> Manifold:
    """Limbs of tapering capsules that branch from a trunk."""
    joints = [(np.zeros(3), rng.uniform(0.15, 0.35))]
    limbs = []
    for _ in range(int(rng.integers(3, 9))):
        at, radius = joints[int(rng.integers(max(0, len(joints) - 5), len(joints)))]
        step = rng.normal(size=3)
        end = at + step / np.linalg.norm(step) * radius * rng.uniform(1.5, 4)
        thin = max(radius * rng.uniform(0.5, 1.0), 0.04)
        limbs.append(Manifold.batch_hull([ball(radius, at, 28), ball(thin, end, 24)]))
        joints.append((end, thin))
    return union(limbs)
