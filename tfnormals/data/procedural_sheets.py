"""Procedural sheets that nearly touch: walls of 0.3 to 3 %, gaps of 0.4 to 3 % between them."""

import numpy as np
from manifold3d import CrossSection, Manifold

from .procedural_parts import (
    Array,
    ball,
    block,
    log_uniform,
    minus,
    polygon,
    smoothness,
    stroke,
    union,
    wave,
)
from .procedural_solids import random_profile

BEND_STEP = 0.06  # length of edges that are bent


def sheet_stack(rng: np.random.Generator) -> Manifold:
    """Two to eight parallel sheets, neatly or loosely stacked, flat or bent together."""
    outline, loose, z = _outline(rng), rng.choice([0.0, 0.0, 0.03, 0.15]), 0.0
    thickness, gap = _wall(rng), _gap(rng)
    alike, parts = rng.random() < 0.5, []
    for _ in range(int(rng.integers(2, 9))):
        shifted = outline.rotate(60 * loose * rng.normal())
        shifted = shifted.translate(tuple(loose * rng.uniform(-1, 1, 2)))
        parts.append(shifted.extrude(thickness).translate((0, 0, z)))
        z += thickness + gap
        if not alike:
            thickness, gap = _wall(rng), _gap(rng)
    return _bent(rng, union(parts)) if rng.random() < 0.4 else union(parts)


def sandwich_panel(rng: np.random.Generator) -> Manifold:
    """Two sheets held apart by ribs, a grid, a honeycomb, a rim or pins, flat or bent."""
    length, width, core = 1.0, log_uniform(rng, 0.4, 1), log_uniform(rng, 0.006, 0.05)
    wall, pitch, kind = _wall(rng), log_uniform(rng, 0.07, 0.3), int(rng.integers(5))
    filling = Manifold.cube((length, width, core), True)
    if kind == 0:
        filling = minus(filling, _voids(length, width, core, (pitch, 2 * width), wall))
    elif kind == 1:
        filling = minus(filling, _voids(length, width, core, (pitch, pitch), wall))
    elif kind == 2:
        filling = minus(filling, _cells(length, width, core, pitch, wall))
    elif kind == 3:
        filling -= block((length - 2 * wall, width - 2 * wall, 2 * core))
    else:
        pins = rng.uniform(-0.45, 0.45, (int(rng.integers(3, 30)), 2)) * (length, width)
        radius = log_uniform(rng, 0.01, 0.04)
        pin = Manifold.cylinder(core, radius, radius, 16, True)
        filling = union([pin.translate((x, y, 0.0)) for x, y in pins])
    faces = [
        block((length, width, t), (0, 0, side * (core + t) / 2))
        for side, t in zip((-1, 1), (_wall(rng), _wall(rng)), strict=True)
    ]
    panel = union([*faces, filling.scale((1.0, 1.0, 1.001))])
    return _bent(rng, panel) if rng.random() < 0.25 else panel


def folded_sheet(rng: np.random.Generator) -> Manifold:
    """One sheet folded onto itself two to seven times, or rolled up tightly."""
    wall, gap = _wall(rng), _gap(rng)
    pitch = wall + gap
    if rng.random() < 0.35:
        turns = min((0.5 - rng.uniform(0.05, 0.3)) / pitch, 8.0)
        s = np.linspace(0, turns, int(40 * turns) + 8)
        radius, angle = 0.5 - pitch * s, 2 * np.pi * s
        line = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    else:
        arc = np.linspace(-np.pi / 2, np.pi / 2, 9)
        bend = pitch / 2 * np.column_stack([np.cos(arc), np.sin(arc)])
        pieces = [np.array([[rng.uniform(-0.5, 0.0), 0.0]])]
        for k in range(int(rng.integers(2, 8))):
            side = 1 - 2 * (k % 2)
            end = (side * rng.uniform(0.3, 0.5), (k + 0.5) * pitch)
            pieces.append(bend * (side, 1) + end)
        pieces.append(np.array([[rng.uniform(-0.2, 0.2), pieces[-1][-1, 1]]]))
        line = np.concatenate(pieces)
    return stroke(line, wall).extrude(log_uniform(rng, 0.3, 1.2))


def close_shells(rng: np.random.Generator) -> Manifold:
    """Two to six tubes of any outline, bowls or balls within each other."""
    inset, rings, count = 0.0, [], int(rng.integers(2, 7))
    for _ in range(count):
        wall = _wall(rng)
        rings.append((inset, inset + wall))
        inset += wall + _gap(rng)
    if rng.random() < 0.5:
        outline, height = _outline(rng), log_uniform(rng, 0.1, 1.5)
        sections = [outline.offset(-a) - outline.offset(-b) for a, b in rings]
        return union([section.extrude(height) for section in sections])
    n = smoothness(rng, 64)
    shells = [ball(0.5 - a, segments=n) - ball(0.5 - b, segments=n) for a, b in rings]
    whole = union(shells)
    return whole.trim_by_plane((0, 0, 1), rng.uniform(-0.3, 0.2)) if rng.random() < 0.8 else whole


def book(rng: np.random.Generator) -> Manifold:
    """Two to nine pages on one spine, 0.4 to 6 % apart at their edges."""
    height, wall = log_uniform(rng, 0.4, 1.4), _wall(rng)
    page = block((1.0, height, wall), (0.5, 0, 0))
    angle, pages = 0.0, []
    for _ in range(int(rng.integers(2, 10))):
        pages.append(page.rotate((0.0, angle, 0.0)))
        angle += np.degrees(wall + log_uniform(rng, 0.004, 0.06))
    spine = Manifold.cylinder(height, 0.03, 0.03, 24, True).rotate((90, 0, 0))
    return union([*pages, spine])


def sleeve(rng: np.random.Generator) -> Manifold:
    """A flat pocket, open on one side or two, perhaps with a card in it."""
    width, wall, gap = log_uniform(rng, 0.3, 1), _wall(rng), _gap(rng)
    card = _wall(rng) if rng.random() < 0.5 else 0.0
    space = 2 * gap + card if card else gap
    shell = block((1.0, width, space + 2 * wall))
    through = 0.0 if rng.random() < 0.3 else wall
    shell -= block((2.0, width - 2 * wall, space), (1.0 + through - 0.5, 0, 0))
    if through == 0.0:
        shell -= block((2.0, width - 2 * wall, space))
    if card:
        out = rng.uniform(0.0, 0.6)
        shell += block((1 - 2 * wall, width - 2 * wall - 2 * gap, card), (wall + out, 0, 0))
    return shell


def _wall(rng: np.random.Generator) -> float:
    return log_uniform(rng, 0.003, 0.03)


def _gap(rng: np.random.Generator) -> float:
    return log_uniform(rng, 0.004, 0.03)


def _outline(rng: np.random.Generator) -> CrossSection:
    """A rectangle, a disc or anything, about unit size."""
    kind = rng.random()
    if kind < 0.5:
        return CrossSection.square((1.0, log_uniform(rng, 0.3, 1)), True)
    if kind < 0.65:
        return CrossSection.circle(0.5, smoothness(rng, 96))
    return random_profile(rng).simplify(1e-3)


def _voids(
    length: float, width: float, core: float, pitch: tuple[float, float], wall: float
) -> list[Manifold]:
    """Boxes between the ribs of a core."""
    counts = [max(1, round(size / p)) for size, p in zip((length, width), pitch, strict=True)]
    cell = np.array([length / counts[0], width / counts[1]])
    size = np.where(np.array(counts) == 1, 2 * cell, cell - wall)
    tool = block((*size, 2 * core))
    at = [(np.arange(n) + 0.5) * c - n * c / 2 for n, c in zip(counts, cell, strict=True)]
    return [tool.translate((x, y, 0.0)) for x in at[0] for y in at[1]]


def _cells(length: float, width: float, core: float, pitch: float, wall: float) -> list[Manifold]:
    """Hexagonal prisms between the walls of a honeycomb."""
    radius = (pitch - min(wall, pitch / 3)) / np.sqrt(3)
    tool = CrossSection([polygon(6, radius)]).extrude(2 * core).translate((0, 0, -core))
    rows, tools = int(length / pitch / 0.866) + 1, []
    for i in range(rows):
        for j in range(int(width / pitch) + 1):
            x, y = (i * 0.866 * pitch - length / 2, (j + 0.5 * (i % 2)) * pitch - width / 2)
            tools.append(tool.translate((x, y, 0.0)))
    return tools


def _bent(rng: np.random.Generator, flat: Manifold) -> Manifold:
    """The flat thing rolled around an axis, or waved."""
    fine, (x0, _, _, x1, _, _) = flat.refine_to_length(BEND_STEP), flat.bounding_box()
    if rng.random() < 0.5:
        radius = (x1 - x0) / rng.uniform(0.4, 4.5)

        def bend(points: Array) -> Array:
            angle, away = points[:, 0] / radius, radius + points[:, 2]
            return np.column_stack([away * np.sin(angle), points[:, 1], away * np.cos(angle)])

        return fine.warp_batch(bend)
    high, shift, tilt = rng.uniform(0.03, 0.15), rng.integers(2**32), rng.uniform(-0.5, 0.5)

    def raised(points: Array) -> Array:
        lift = high * wave(np.random.default_rng(shift), 0.7 * points[:, 0] + tilt * points[:, 1])
        return points + np.column_stack([0 * lift, 0 * lift, lift])

    return fine.warp_batch(raised)
