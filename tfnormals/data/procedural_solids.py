"""Procedural machined parts, turned parts and extrusions."""

import numpy as np
from manifold3d import CrossSection, Manifold, OpType

from .procedural_parts import (
    Array,
    area,
    ball,
    block,
    log_uniform,
    minus,
    placed,
    polygon,
    rod,
    rotation,
    smoothness,
    stroke,
    torus,
    union,
    wave,
)


def primitive(rng: np.random.Generator) -> Manifold:
    """A box, cylinder, cone, ball, torus or prism of about unit size around the origin."""
    a, b, c = np.exp(rng.uniform(np.log(0.25), np.log(1.0), 3))
    kind, n = int(rng.integers(6)), smoothness(rng, 72)
    if kind == 0:
        return block((a, b, c))
    if kind == 1:
        return Manifold.cylinder(2 * a, b / 2, b / 2, n, True)
    if kind == 2:
        return Manifold.cylinder(a, b / 2, b / 2 * rng.choice([0.0, rng.uniform(0, 1)]), n, True)
    if kind == 3:
        return ball(a / 2, segments=n).scale((1.0, 1.0, rng.choice([1.0, b])))
    if kind == 4:
        return torus(a / 2, a / 2 * rng.uniform(0.15, 0.6), n)
    corners = int(rng.integers(3, 9))
    return area(polygon(corners, b / 2)).extrude(a).translate((0.0, 0.0, -a / 2))


def boolean_solid(rng: np.random.Generator) -> Manifold:
    """Two to eight primitives joined, cut and intersected."""
    aligned = rng.random() < 0.5
    body = primitive(rng)
    for _ in range(int(rng.integers(1, 8))):
        turn = np.eye(3) if aligned else rotation(rng)
        part = placed(primitive(rng), turn, rng.uniform(-0.4, 0.4, 3))
        choice = rng.random()
        joined = body + part if choice < 0.6 else body - part if choice < 0.9 else body ^ part
        if joined.volume() > 0.02:
            body = joined
    return body


def drilled_plate(rng: np.random.Generator) -> Manifold:
    """A plate with many through-holes, some counterbored or slotted, perhaps with a pocket."""
    x, y, t = log_uniform(rng, 0.4, 1), 1.0, log_uniform(rng, 0.02, 0.3)
    columns, rows = rng.integers(1, 6, 2)
    pitch = min(x / columns, y / rows)
    radius, n = pitch * rng.uniform(0.1, 0.42), smoothness(rng, 64)
    slot, bore, tools = rng.random() < 0.25, rng.random() < 0.3, []
    for i, j in np.ndindex(columns, rows):
        if rng.random() < 0.15:
            continue
        at = ((i + 0.5) / columns * x - x / 2, (j + 0.5) / rows * y - y / 2, 0.0)
        hole = Manifold.cylinder(3 * t, radius, radius, n, True)
        tools.append((hole.scale((0.4, 1.0, 1.0)) if slot else hole).translate(at))
        if bore:
            wide = Manifold.cylinder(t, 1.15 * radius, 1.15 * radius, n)
            tools.append(wide.translate((at[0], at[1], t * rng.choice([0.0, 0.2]))))
    if rng.random() < 0.3:
        depth = t * rng.uniform(0.3, 0.8)
        tools.append(block((0.8 * x, 0.8 * y, depth), (0, 0, t / 2 - depth / 2 + 1e-4)))
    plate = block((x, y, t))
    if rng.random() < 0.3:
        corner = CrossSection.square((0.8 * x, 0.8 * y), True).offset(0.1 * x)
        plate = corner.extrude(t).translate((0, 0, -t / 2))
    return minus(plate, tools)


def bracket(rng: np.random.Generator) -> Manifold:
    """An L, U or T of plates with holes, perhaps stiffened by ribs."""
    x, y, z = 1.0, log_uniform(rng, 0.3, 1), log_uniform(rng, 0.3, 1)
    t = log_uniform(rng, 0.03, 0.15)
    walls = [[-0.5], [-0.5, 0.5], [0.0], [rng.uniform(-0.4, 0.4)]][int(rng.integers(4))]
    spots = [w * (x - t) for w in walls]
    parts = [block((x, y, t), (0, 0, t / 2))]
    parts += [block((t, y, z), (at, 0, z / 2)) for at in spots]
    if rng.random() < 0.5:
        size = rng.uniform(0.3, 0.8) * min(z, 0.4)
        rib = area(np.array([[0, 0], [size, 0], [0, size]])).extrude(t)
        rib = rib.rotate((90, 0, 0)).translate((spots[0] + t / 2 - 1e-3, t / 2, t - 1e-3))
        parts += [rib.translate((0, s * y, 0)) for s in rng.choice([-0.3, 0, 0.3], 2, False)]
    n, radius = smoothness(rng, 64), rng.uniform(0.04, 0.12) * min(y, z)
    holes = [
        rod((at, k * y, -1), (at, k * y, 2), radius, n)
        for at in rng.uniform(-0.4, 0.4, int(rng.integers(1, 4)))
        for k in (-0.3, 0.3)
    ]
    across = rod((-2, 0, 0.65 * z), (2, 0, 0.65 * z), rng.uniform(0.08, 0.25) * min(y, z), n)
    return minus(union(parts), [*holes, across])


def shaft(rng: np.random.Generator) -> Manifold:
    """Cylinders stacked on one axis, perhaps bored, keyed, or with a drilled flange."""
    n, z, parts, tools = smoothness(rng), 0.0, [], []
    for _ in range(int(rng.integers(2, 7))):
        height, radius = log_uniform(rng, 0.05, 0.6), log_uniform(rng, 0.1, 0.5)
        taper = rng.choice([1.0, 1.0, rng.uniform(0.5, 1)])
        parts.append(rod((0, 0, z), (0, 0, z + 1.001 * height), radius, n, taper))
        z += height
    if rng.random() < 0.5:
        tools.append(rod((0, 0, z * rng.choice([-0.1, 0.3])), (0, 0, 2 * z), 0.07, n))
    if rng.random() < 0.4:
        tools.append(block((0.1, 0.06, 0.4 * z), (rng.uniform(0.1, 0.3), 0, 0.5 * z)))
    if rng.random() < 0.4:
        count, t = int(rng.integers(3, 9)), log_uniform(rng, 0.03, 0.1)
        parts.append(rod((0, 0, 0), (0, 0, t), 0.65, n))
        bolts = 0.57 * polygon(count)
        tools += [rod((p, q, -1), (p, q, 0.999 * t), 0.04, 32) for p, q in bolts]
    return minus(union(parts), tools)


def staircase(rng: np.random.Generator) -> Manifold:
    """Straight or spiral steps, solid underneath or as thin treads."""
    steps, rise = int(rng.integers(3, 13)), log_uniform(rng, 0.04, 0.25)
    width, going, slab = log_uniform(rng, 0.2, 1.5), log_uniform(rng, 0.08, 0.3), rng.random()
    spiral, parts = rng.random() < 0.3, []
    for i in range(steps):
        height = rise * (i + 1) if slab < 0.6 else rise * min(i + 1, 1.3)
        z = rise * (i + 1) - height / 2
        if spiral:
            tread = block((width, 1.3 * going, height), (width / 2 + 0.05, 0, z))
            parts.append(tread.rotate((0, 0, 25.0 * i)))
        else:
            parts.append(block((width, going * 1.02, height), (0, going * i, z)))
    if spiral:
        parts.append(Manifold.cylinder(rise * steps, 0.12, 0.12, 64))
    return union(parts)


def grooved_block(rng: np.random.Generator) -> Manifold:
    """A block with parallel grooves or fins, cut on one side or crosswise."""
    x, y, z = log_uniform(rng, 0.5, 1), 1.0, log_uniform(rng, 0.1, 0.6)
    count, fill = int(rng.integers(2, 10)), rng.uniform(0.2, 0.9)
    depth, corners = z * rng.uniform(0.2, 0.9), int(rng.choice([3, 4, 4, 4, 48]))
    pitch = y / count
    if corners == 4:
        profile = CrossSection.square((fill * pitch, 2 * depth), True)
    else:
        shape = area(polygon(corners)).rotate(-90 if corners == 3 else 0)
        profile = shape.scale((fill * pitch / 2, depth))
    cutter = profile.extrude(2.0).rotate((90, 0, 90)).translate((-1.0, 0, z / 2))
    places = (np.arange(count) + 0.5) * pitch - y / 2
    tools = [cutter.translate((0, at, 0)) for at in places]
    if rng.random() < 0.3:
        tools += [tool.rotate((0, 0, 90)) for tool in tools]
    return minus(block((x, y, z)), tools)


def lathe_part(rng: np.random.Generator) -> Manifold:
    """A solid of revolution: a smooth vase, a turned part or a chess-piece-like stack."""
    if rng.random() < 0.5:
        t = np.linspace(0, 1, 64)
        radius = 0.35 + 0.3 * wave(rng, rng.uniform(0.4, 1) * t)
    else:
        knots = np.sort(rng.uniform(0, 1, int(rng.integers(3, 9))))
        t = np.repeat(np.r_[0, knots, 1], 2)[1:-1]
        radius = rng.uniform(0.08, 0.5, len(t))
        if rng.random() < 0.5:
            radius[1::2] = radius[::2]  # cylinders instead of cones
    height = log_uniform(rng, 0.5, 2)
    outline = np.vstack([[0, 0], np.column_stack([radius, height * t]), [0, height]])
    angle = 360.0 if rng.random() < 0.85 else rng.uniform(60, 300)
    body = area(outline).revolve(smoothness(rng), angle)
    if rng.random() < 0.3:
        body += ball(rng.uniform(0.1, 0.4), (0, 0, height), 64)
    return body


def random_profile(rng: np.random.Generator) -> CrossSection:
    """A polygon, star, gear, smooth blob, polyomino or letter-like stroke, about unit size."""
    kind = int(rng.integers(6))
    if kind == 0:
        return area(polygon(int(rng.integers(3, 9)), 0.5))
    if kind == 1:
        return area(polygon(int(rng.integers(3, 12)), 0.5, rng.uniform(0.3, 0.8)))
    if kind == 2:
        return _gear(rng)
    if kind == 3:
        t = np.linspace(0, 1, 96, endpoint=False)
        return area((0.4 + 0.25 * wave(rng, t))[:, None] * polygon(96))
    if kind == 4:
        return _polyomino(rng)
    t = np.linspace(0, rng.uniform(0.4, 0.9), 80)
    return stroke(0.6 * np.column_stack([wave(rng, t), wave(rng, t)]), rng.uniform(0.05, 0.15))


def extrusion(rng: np.random.Generator) -> Manifold:
    """A random profile pulled upwards, sometimes hollow, twisted or tapered."""
    profile, height = random_profile(rng), log_uniform(rng, 0.05, 2.5)
    if rng.random() < 0.3:
        profile = profile - profile.offset(-rng.uniform(0.04, 0.12))
    twist = rng.uniform(-200, 200) if rng.random() < 0.3 else 0.0
    taper = rng.uniform(0.2, 1.3) if rng.random() < 0.3 else 1.0
    layers = 24 if twist else 0
    return profile.simplify(1e-3).extrude(height, layers, twist, (taper, taper))


def _gear(rng: np.random.Generator) -> CrossSection:
    """A toothed wheel with a bore and perhaps a ring of windows."""
    teeth, depth = int(rng.integers(6, 28)), rng.uniform(0.1, 0.3)
    t = np.arange(4 * teeth)
    angle = 2 * np.pi * (t + 0.25 * (t % 2)) / len(t)
    r = np.where(t % 4 < 2, 0.5, 0.5 * (1 - depth))
    wheel = area(np.column_stack([r * np.cos(angle), r * np.sin(angle)]))
    holes = [CrossSection.circle(rng.uniform(0.05, 0.12), 48)]
    if rng.random() < 0.5:
        window = CrossSection.circle(0.05, 32)
        holes += [window.translate(tuple(p)) for p in 0.22 * polygon(int(rng.integers(3, 7)))]
    return CrossSection.batch_boolean([wheel, *holes], OpType.Subtract)


def _polyomino(rng: np.random.Generator) -> CrossSection:
    """Squares that share sides, like a block letter."""
    cells: list[Array] = [np.zeros(2)]
    for _ in range(int(rng.integers(2, 9))):
        step = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[rng.integers(4)]
        cells.append(cells[rng.integers(len(cells))] + step)
    square = CrossSection.square((1.001, 1.001), True)  # overlaps, so that sides merge
    squares = [square.translate(tuple(cell)) for cell in cells]
    return CrossSection.batch_boolean(squares, OpType.Add).scale((0.25, 0.25))
