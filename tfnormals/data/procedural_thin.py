"""Procedural plates, sheets and shells, whose two sides lie close together."""

import numpy as np
from manifold3d import CrossSection, Manifold

from .procedural_parts import (
    area,
    ball,
    between,
    block,
    log_uniform,
    minus,
    rotation,
    smoothness,
    stroke,
    torus,
    union,
    wave,
)
from .procedural_solids import primitive, random_profile


def plate(rng: np.random.Generator) -> Manifold:
    """A flat sheet, 0.5-5 % as thick as wide, with a random outline."""
    t = log_uniform(rng, 0.005, 0.05)
    if rng.random() < 0.5:
        return block((1.0, log_uniform(rng, 0.3, 1), t))
    return random_profile(rng).simplify(1e-3).extrude(t)


def crossed_plates(rng: np.random.Generator) -> Manifold:
    """Thin plates that pass through one another."""
    parts = []
    for _ in range(int(rng.integers(2, 5))):
        sheet = block((1.0, log_uniform(rng, 0.3, 1), log_uniform(rng, 0.008, 0.05)))
        turn = rng.permutation(np.eye(3)) if rng.random() < 0.6 else rotation(rng)
        move = rng.uniform(-0.25, 0.25, 3)
        turn = turn * np.linalg.det(turn)
        parts.append(sheet.transform(np.column_stack([turn, move])))
    return union(parts)


def open_box(rng: np.random.Generator) -> Manifold:
    """A hollow box or prism that is open on top, perhaps divided into compartments."""
    t = log_uniform(rng, 0.01, 0.06)
    height = log_uniform(rng, 0.1, 1.5)
    if rng.random() < 0.5:
        profile = CrossSection.square((1.0, log_uniform(rng, 0.4, 1)), True)
    else:
        profile = random_profile(rng).simplify(1e-3)
    inner = profile.offset(-t)
    box = profile.extrude(height) - inner.extrude(height).translate((0, 0, t))
    if rng.random() < 0.3:
        at = rng.uniform(-0.2, 0.2)
        wall = block((t, 2.0, 0.8 * height), (at, 0, 0.4 * height))
        box += wall ^ profile.extrude(height)
    return box


def vessel(rng: np.random.Generator) -> Manifold:
    """A thin-walled cup, beaker, bowl, vase or bottle, open at the top."""
    t = np.linspace(0, 1, 36)
    height, thickness = log_uniform(rng, 0.3, 2), log_uniform(rng, 0.01, 0.06)
    kind = int(rng.integers(3))
    if kind == 0:  # beaker with flat bottom and slanted wall
        radius = 0.5 * (1 + rng.uniform(-0.4, 0.6) * t)
        profile = np.vstack([[0, 0], np.column_stack([radius, height * t]), [0, height]])
        outer = area(profile)
        inner = outer.offset(-thickness).translate((0, 0.999 * thickness))
        top = CrossSection.square((3, 3 * thickness)).translate((0, height - thickness / 2))
        section = outer - inner - top
    elif kind == 1:  # bowl, part of an ellipse
        angle = np.linspace(-0.02, rng.uniform(0.3, 0.75) * np.pi, 40)
        line = np.column_stack([0.5 * np.sin(angle), -height / 2 * np.cos(angle)])
        section = stroke(line, thickness)
    else:  # vase with a smooth wall on a round base
        radius = (0.35 + 0.22 * wave(rng, 0.8 * t)) * np.sqrt(np.minimum(8 * t, 1))
        section = stroke(np.column_stack([radius, height * t]), thickness)
    cup = section.simplify(1e-4).revolve(smoothness(rng, 96))
    if rng.random() < 0.25:
        handle = torus(0.25 * height, 0.04, 48).rotate((90, 0, 0)).translate((0.5, 0, height / 2))
        cup += handle - Manifold.cylinder(3 * height, 0.5, 0.5, 64, True)
    return cup


def pipe(rng: np.random.Generator) -> Manifold:
    """A straight pipe or profile tube open at both ends, perhaps slit or with a branch."""
    t, length = log_uniform(rng, 0.01, 0.06), log_uniform(rng, 0.2, 3)
    n = smoothness(rng)
    if rng.random() < 0.3:
        profile = random_profile(rng).simplify(1e-3)
        return (profile - profile.offset(-t)).extrude(length)
    wall = Manifold.cylinder(length, 0.5, 0.5, n)
    bore = Manifold.cylinder(3 * length, 0.5 - t, 0.5 - t, n, True)
    if rng.random() < 0.3 and length > 0.8:
        r, spot = rng.uniform(0.15, 0.4), (0, 0, length / 2)
        branch = Manifold.cylinder(1.0, r, r, n).rotate((0, 90, 0)).translate(spot)
        drill = Manifold.cylinder(1.2, r - t, r - t, n).rotate((0, 90, 0)).translate(spot)
        return minus(wall + branch, [bore, drill])
    if rng.random() < 0.2:
        return minus(wall, [bore, block((1, rng.uniform(0.05, 0.4), 9), (0.5, 0, 0))])
    return wall - bore


def corrugated(rng: np.random.Generator) -> Manifold:
    """A pleated, waved, rolled or freely curved sheet, 0.7-4 % as thick as wide."""
    t, kind = np.linspace(-0.5, 0.5, 480), int(rng.integers(4))
    waves, high = int(rng.integers(2, 21)), log_uniform(rng, 0.02, 0.12)
    phase = 2 * np.pi * (waves * t + rng.uniform())
    thickness = log_uniform(rng, 0.007, 0.04)
    if kind <= 1:
        thickness = min(thickness, 0.2 / waves)  # folds stay apart
    if kind == 0:  # sine
        line = np.column_stack([t, high * np.sin(phase)])
    elif kind == 1:  # zigzag or trapezoid sheet
        clip = rng.uniform(0.3, 1)
        saw = np.clip(2 / np.pi * np.arcsin(np.sin(phase)), -clip, clip)
        line = np.column_stack([t, high * saw])
    elif kind == 2:  # roll
        turns, start = rng.uniform(1, 3), rng.uniform(0.1, 0.3)
        s = t + 0.5
        r, angle = start + (0.5 - start) * s, 2 * np.pi * turns * s
        line = np.column_stack([r * np.cos(angle), r * np.sin(angle)])
        thickness = min(thickness, 0.5 * (0.5 - start) / turns)
    else:  # free curve
        line = np.column_stack([t, 0.4 * wave(rng, 0.5 * t)])
    return stroke(line, thickness).simplify(1e-4).extrude(log_uniform(rng, 0.2, 1.2))


def hollow_shell(rng: np.random.Generator) -> Manifold:
    """A closed shell around a cavity, perhaps with a body loose inside."""
    t, n = log_uniform(rng, 0.02, 0.12), smoothness(rng, 64)
    if rng.random() < 0.5:
        shell = ball(0.5, segments=n) - ball(0.5 - t, segments=n)
    else:
        x, y, z = np.exp(rng.uniform(np.log(0.4), 0, 3))
        shell = block((x, y, z)) - block((x - 2 * t, y - 2 * t, z - 2 * t))
    room = 0.5 - t if shell.genus() < 0 else 0.2
    if rng.random() < 0.6:
        shell += primitive(rng).scale((0.6 * room,) * 3)
    if rng.random() < 0.2:
        shell = shell.trim_by_plane(tuple(rng.normal(size=3)), rng.uniform(-0.3, 0.1))
    return shell


def dome(rng: np.random.Generator) -> Manifold:
    """A thin cap of a ball or ellipsoid, perhaps with a hole on top."""
    t, n = log_uniform(rng, 0.01, 0.06), smoothness(rng, 96)
    cap = ball(0.5, segments=n) - ball(0.5 - t, segments=n)
    cap = cap.trim_by_plane((0, 0, 1), rng.uniform(-0.35, 0.35))
    if rng.random() < 0.3:
        cap -= Manifold.cylinder(2, 0.1, 0.1, 48)
    return cap.scale((1.0, log_uniform(rng, 0.6, 1), log_uniform(rng, 0.4, 1.5)))


def draped_sheet(rng: np.random.Generator) -> Manifold:
    """A sheet of constant height difference over a smooth random height field."""
    n = 40
    u, v = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n), indexing="ij")
    high = rng.uniform(0.05, 0.3)
    z = high * (wave(rng, 0.7 * u + 0.4 * v) + wave(rng, 0.7 * v - 0.4 * u))
    thickness = log_uniform(rng, 0.008, 0.05)
    top = np.stack([u, v, z], axis=-1)
    return between(top, top - [0.0, 0.0, thickness])
