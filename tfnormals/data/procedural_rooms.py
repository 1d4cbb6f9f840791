"""Procedural rooms and buildings: surfaces around an empty inside, with walls of two sides."""

import numpy as np
from manifold3d import CrossSection, Manifold

from ..errors import DataError
from .procedural_bodies import blob
from .procedural_frames import shelf, table
from .procedural_parts import Array, area, block, log_uniform, minus, placed, rod, union
from .procedural_solids import boolean_solid, lathe_part
from .procedural_thin import draped_sheet, open_box, vessel

# corners (x0, y0, x1, y1) of rectangular rooms, between the middles of their walls; (r, 4)
Plan = Array

BULKY = table, shelf, None, None
SMALLER = boolean_solid, blob, lathe_part, vessel, open_box, draped_sheet
"""What stands in rooms; None is a plain block."""
SMALLER_SHARE = 0.35
COARSENESS = 0.005  # of what stands in rooms, in its diagonals, as a storey is full of it
MARGIN = 1e-3  # by which parts reach into each other, so that they are joined


def room(rng: np.random.Generator) -> Manifold:
    """One furnished room with doors and windows, sometimes without a ceiling."""
    return _storey(rng, _plan(rng, 1), log_uniform(rng, 0.3, 1.2), rng.random() < 0.7)


def flat(rng: np.random.Generator) -> Manifold:
    """Two to six rooms side by side on one floor."""
    plan = _plan(rng, int(rng.integers(2, 7)))
    return _storey(rng, plan, log_uniform(rng, 0.25, 0.8), rng.random() < 0.7)


def dolls_house(rng: np.random.Generator) -> Manifold:
    """One to three storeys whose front or top is cut away."""
    whole = _storeys(rng, int(rng.integers(1, 4)), int(rng.integers(1, 5)))
    x0, _, z0, x1, _, z1 = whole.bounding_box()
    if rng.random() < 0.4:
        return whole.trim_by_plane((0, 0, -1), -(z0 + rng.uniform(0.6, 0.9) * (z1 - z0)))
    return whole.trim_by_plane((-1, 0, 0), -(x0 + rng.uniform(0.5, 0.95) * (x1 - x0)))


def house(rng: np.random.Generator) -> Manifold:
    """One or two storeys under a gable, pitched or hipped roof, solid or hollow."""
    walls = _storeys(rng, int(rng.integers(1, 3)), int(rng.integers(1, 5)))
    x0, y0, _, x1, y1, z1 = walls.bounding_box()
    overhang, rise = rng.choice([0.0, 0.08]), log_uniform(rng, 0.15, 0.8)
    size = np.array([x1 - x0, y1 - y0]) + 2 * overhang
    cover = roof(rng, size, rise)
    if rng.random() < 0.5:
        thin = log_uniform(rng, 0.03, 0.1)
        scale = 1 - 2 * thin
        cover -= cover.scale((scale, scale, scale)).translate((0, 0, MARGIN + thin * rise / 2))
    return walls + cover.translate(((x0 + x1) / 2, (y0 + y1) / 2, z1 - MARGIN))


def hall(rng: np.random.Generator) -> Manifold:
    """A large room, open or closed, with rows of columns."""
    plan, height = _plan(rng, 1), log_uniform(rng, 0.2, 0.6)
    shell = _storey(rng, plan, height, rng.random() < 0.8)
    counts, radius, square = (
        rng.integers(2, 6, 2),
        log_uniform(rng, 0.01, 0.04),
        rng.random() < 0.5,
    )
    rows = [n * np.arange(1, k + 1) / (k + 1) for n, k in zip(plan[0, 2:], counts, strict=True)]
    columns = [_column((x, y), radius, height, square) for x in rows[0] for y in rows[1]]
    return union([shell, *columns])


def _storeys(rng: np.random.Generator, storeys: int, rooms: int) -> Manifold:
    """Floors on top of each other, all of the same plan."""
    plan, height, t = _plan(rng, rooms), log_uniform(rng, 0.3, 0.8), log_uniform(rng, 0.01, 0.08)
    pitch = height + t
    parts = [_storey(rng, plan, height, True, t) for _ in range(storeys)]
    return union([part.translate((0, 0, k * pitch)) for k, part in enumerate(parts)])


def _plan(rng: np.random.Generator, rooms: int) -> Plan:
    """A rectangle split again and again; sometimes a room of it is left out."""
    plan = [np.array([0.0, 0.0, np.sqrt(rooms) * log_uniform(rng, 0.7, 1.6), np.sqrt(rooms)])]
    for _ in range(rooms - 1):
        largest = max(range(len(plan)), key=lambda i: np.prod(plan[i][2:] - plan[i][:2]))
        one = plan.pop(largest)
        axis = int(np.argmax(one[2:] - one[:2]))
        middle = one[axis] + rng.uniform(0.35, 0.65) * (one[axis + 2] - one[axis])
        low, high = one.copy(), one.copy()
        low[axis + 2] = high[axis] = middle
        plan += [low, high]
    if len(plan) > 2 and rng.random() < 0.3:
        plan.pop(int(rng.integers(len(plan))))
    return np.array(plan)


def _storey(
    rng: np.random.Generator,
    plan: Plan,
    height: float,
    ceiling: bool,
    thickness: float | None = None,
) -> Manifold:
    """Furnished rooms on a floor whose top is at z = 0, with or without a ceiling."""
    t = thickness or log_uniform(rng, 0.01, 0.08)
    outside = _footprint(plan, t / 2).extrude(height + (2 if ceiling else 1) * t)
    air = _footprint(plan, -t / 2).extrude(height if ceiling else 2 * height)
    tools = [tool for one in plan for tool in _openings(rng, one, height, t)]
    walls = minus(outside.translate((0, 0, -t)), [air, *tools])
    return union([walls, *(part for one in plan for part in _contents(rng, one, height, t))])


def _footprint(plan: Plan, grown: float) -> CrossSection:
    """The rooms of a plan, each larger by so much on all sides."""
    section = CrossSection()
    for x0, y0, x1, y1 in plan:
        size = (x1 - x0 + 2 * grown, y1 - y0 + 2 * grown)
        section += CrossSection.square(size).translate((x0 - grown, y0 - grown))
    return section


def _openings(rng: np.random.Generator, one: Array, height: float, t: float) -> list[Manifold]:
    """What to cut from the walls of a room: doors, windows, and now and then a whole wall."""
    centre, size, tools = (one[:2] + one[2:]) / 2, one[2:] - one[:2], []
    for axis, side in ((a, s) for a in (0, 1) for s in (-1, 1)):
        kind, along = rng.random(), size[1 - axis]
        if kind < 0.35:
            continue
        if kind < 0.45:  # makes L-shaped rooms and open fronts
            width, low, high = along - t, 0.0, height
        elif kind < 0.7:
            width, low, high = along * rng.uniform(0.15, 0.4), 0.0, height * rng.uniform(0.6, 0.9)
        else:
            width, low = along * rng.uniform(0.2, 0.6), height * rng.uniform(0.2, 0.5)
            high = height * rng.uniform(0.6, 0.9)
        at = centre + rng.uniform(-0.45, 0.45) * max(along - t - width, 0) * np.eye(2)[1 - axis]
        at[axis] = centre[axis] + side * size[axis] / 2
        spans = np.insert([1.02 * t], 1 - axis, width)
        tools.append(block((*spans, high - low), (*at, (low + high) / 2)))
    return tools


def _contents(rng: np.random.Generator, one: Array, height: float, t: float) -> list[Manifold]:
    """Columns, stairs and furniture of a room, all standing on its floor."""
    size, parts = one[2:] - one[:2] - t, []
    if rng.random() < 0.2:
        radius, square = rng.uniform(0.02, 0.07) * size.min(), rng.random() < 0.5
        for share in rng.uniform(0.15, 0.85, (int(rng.integers(1, 4)), 2)):
            parts.append(_column(one[:2] + t / 2 + share * size, radius, height, square))
    if rng.random() < 0.2:
        stairs = _stairs(rng, size, height).translate((*(one[:2] + t / 2 - MARGIN), -MARGIN))
        parts.append(stairs)
    for _ in range(int(rng.integers(0, 8))):
        makers = SMALLER if rng.random() < SMALLER_SHARE else BULKY
        extent = rng.uniform(0.1, 0.4, 2) * size
        maker = makers[int(rng.integers(len(makers)))]
        thing = block((1, 1, 1)) if maker is None else maker(rng)
        high = height * (rng.uniform(0.5, 0.9) if maker is shelf else rng.uniform(0.15, 0.5))
        turn = int(rng.integers(4))
        at = one[:2] + t / 2 + extent / 2 + rng.uniform(0.02, 0.98, 2) * (size - extent)
        parts.append(_fitted(thing.rotate((0, 0, 90 * turn)), (*extent, high), at))
    for _ in range(int(rng.integers(0, 4))):
        parts.append(_on_wall(rng, one, height, t))
    return parts


def _on_wall(rng: np.random.Generator, one: Array, height: float, t: float) -> Manifold:
    """A picture, screen, radiator or cupboard on one wall of a room."""
    axis, side, size = int(rng.integers(2)), int(rng.integers(2)), one[2:] - one[:2] - t
    spans = np.array([0.0, 0.0, height * rng.uniform(0.1, 0.5)])
    spans[1 - axis] = size[1 - axis] * rng.uniform(0.1, 0.5)
    spans[axis] = log_uniform(rng, 0.01, 0.1) * size[axis]
    low, high = (
        np.append(one[:2] + t / 2, 0.05 * height),
        np.append(one[2:] - t / 2, 0.95 * height),
    )
    at = low + spans / 2 + rng.random(3) * (high - low - spans)
    inward = spans[axis] / 2 - MARGIN
    at[axis] = high[axis] - inward if side else low[axis] + inward
    return block(tuple(spans), tuple(at))


def _column(
    at: Array | tuple[float, float], radius: float, height: float, square: bool
) -> Manifold:
    """A round or square column from floor to ceiling."""
    if square:
        low, high = -MARGIN, height + MARGIN
        return block((2 * radius, 2 * radius, high - low), (*at, (low + high) / 2))
    return rod((*at, -MARGIN), (*at, height + MARGIN), radius, 24)


def _stairs(rng: np.random.Generator, size: Array, height: float) -> Manifold:
    """Steps in a corner that rise along x, solid or only treads beside the wall."""
    steps, width = int(rng.integers(3, 11)), rng.uniform(0.15, 0.4) * size[1]
    going, rise = rng.uniform(0.4, 0.9) * size[0] / steps, rng.uniform(0.5, 0.95) * height / steps
    solid = rng.random() < 0.6
    parts = []
    for k in range(steps):
        thick = rise * (k + 1 if solid else min(k + 1, 1.2))
        spot = ((k + 0.5) * going, width / 2, rise * (k + 1) - thick / 2)
        parts.append(block((1.02 * going, width, thick), spot))
    return union(parts)


def _fitted(thing: Manifold, size: tuple[float, float, float], at: Array) -> Manifold:
    """A thing stretched to a size, standing on the floor around a point.

    Raises:
        DataError: If it is empty or flat, as a few in ten thousand random solids are.
    """
    box = np.array(thing.bounding_box()).reshape(2, 3)
    if not np.all(box[1] > box[0]):
        raise DataError("something that stands in a room has no volume")
    thing = thing.simplify(COARSENESS * float(np.linalg.norm(box[1] - box[0])))
    scale = np.array(size) / (box[1] - box[0])
    foot = np.array([*box.mean(0)[:2], box[0, 2]])
    return placed(thing, np.diag(scale), np.array([*at, -MARGIN]) - scale * foot)


def roof(rng: np.random.Generator, size: Array, rise: float) -> Manifold:
    """A roof with its base around the origin: gable, pitched or hipped."""
    kind, x, y = int(rng.integers(3)), size[0] / 2, size[1] / 2
    if kind == 2:
        base = CrossSection.square((2 * x, 2 * y), True)
        top = float(rng.choice([0.0, 0.3]))
        return base.extrude(rise, 0, 0.0, (top, top))
    ridge = 0.0 if kind == 0 else x
    outline = area(np.array([[-x, 0], [x, 0], [ridge, rise]]))
    return outline.extrude(2 * y).rotate((90, 0, 0)).translate((0, y, 0))
