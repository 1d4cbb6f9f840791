"""Makes stilllife.ply: a mug, a twisted vase, a gear and a spring on a tray, in millimetres.

Every part is a formula, so that the true normals are known; the file holds none. It comes out the
same on every machine, bit for bit: coordinates are rounded to a thousandth of a millimetre.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement
from pykdtree.kdtree import KDTree

Array = NDArray[np.float64]
Surface = Callable[[Array, Array], Array]
"""Parameters u and v (n,), 0 to 1, to points (n, 3)."""
Section = Callable[[Array, Array, Array], Array]
"""Angle, radius and height (n,) on a round body to the radius (n,) wanted there."""
Curve = Callable[[Array], Array]
"""Parameter (n,), 0 to 1, to points (n, 3)."""

FILE = Path(__file__).with_name("stilllife.ply")
SEED = 7
DENSITY = 0.18
"""Points per square millimetre."""
DRAWS = 100_000
"""Points drawn on each part, of which its area decides how many are kept."""
NOISE = 0.001
"""Standard deviation of the noise, relative to the diagonal of the bounding box."""
CONTACT = 0.01
"""Millimetres within which one body stands on another."""


class Part(NamedTuple):
    """A closed body, or what is seen of it where it stands on or grows out of another."""

    at: tuple[float, float, float]
    """Where it is; all else is relative to that."""
    surface: Surface
    holds: Callable[[Array], NDArray[np.bool_]]
    """Whether points (n, 3) are inside the body."""
    color: Callable[[Array], Array]
    """Colours (n, 3), 0 to 255, of points (n, 3) of the surface."""


def still_life() -> tuple[Array, Array, NDArray[np.uint8]]:
    """Points (n, 3), their true outward normals (n, 3) and colours (n, 3)."""
    rng = np.random.default_rng(SEED)
    parts = [tray(), mug(), handle(), vase(), gear(), spring()]
    pieces = []
    for part in parts:
        local, normals = sampled(part.surface, rng)
        points = local + part.at
        others = [other for other in parts if other is not part]
        hidden = np.any([other.holds(points - other.at) for other in others], axis=0)
        pieces.append(np.hstack([points, normals, part.color(local)])[~hidden])
    points, normals, colors = np.split(np.concatenate(pieces), [3, 6], axis=1)
    sigma = NOISE * np.linalg.norm(np.ptp(points, axis=0))
    points = np.round(points + rng.normal(0, sigma, points.shape), 3)
    colors = np.clip(np.round(colors + rng.normal(0, 5, colors.shape)), 0, 255)
    return points, normals, colors.astype(np.uint8)


def sampled(surface: Surface, rng: np.random.Generator) -> tuple[Array, Array]:
    """Points of a surface at ``DENSITY``, and its normals there."""
    step = 1e-6
    u, v, luck = rng.random((3, DRAWS))
    along_u = surface(u + step, v) - surface(u - step, v)
    along_v = surface(u, v + step) - surface(u, v - step)
    normals = np.cross(along_v, along_u)
    length = np.linalg.norm(normals, axis=1)
    kept = luck * DRAWS < DENSITY * length / (2 * step) ** 2
    return surface(u, v)[kept], (normals / length[:, None])[kept]


def tray() -> Part:
    """A thin tray with a raised rim, of wood."""

    def oval(angle: Array, r: Array, z: Array) -> Array:
        side = np.abs([np.cos(angle) / 1.42, np.sin(angle)])
        return r / (side**5).sum(axis=0) ** 0.2

    def wood(points: Array) -> Array:
        x, y, _ = points.T
        grain = np.sin(0.55 * y + 2.5 * np.sin(0.025 * x) + 1.2 * np.sin(0.11 * y))
        return np.array([176, 128, 84]) + np.outer(grain, [20, 18, 14])

    profile = [(0, 0), (66, 0), (72, 1), (77, 12), (81, 12), (76, -2), (70, -4), (0, -4)]
    return round_body((0, 0, 0), profile, wood, oval)


def mug() -> Part:
    """A mug, glazed teal with a cream band and cream inside."""

    def glaze(points: Array) -> Array:
        inside = np.hypot(points[:, 0], points[:, 1]) < 35.5
        band = np.abs(points[:, 2] - 58) < 6
        return np.where((inside | band)[:, None], [238, 229, 208], [32, 122, 134])

    inner = [(0, 5), (28, 5), (33, 7), (34, 12), (34, 82), (34.6, 86)]
    outer = [(36.8, 86), (37.5, 82), (37.5, 6), (36, 1.5), (32, 0)]
    return round_body((-56, 16, 0), [*inner, *outer], glaze)


def handle() -> Part:
    """The handle of the mug."""

    def curve(t: Array) -> Array:
        out, height = 36 + 27 * np.sin(np.pi * t), 44 + 25 * np.cos(np.pi * t)
        return np.column_stack([-0.64 * out, -0.77 * out, height])

    up = np.array([-0.77, 0.64, 0.0])
    return tube((-56, 16, 0), curve, 5.0, up, [32, 122, 134])


def vase() -> Part:
    """A twisted vase with eight ribs, of terracotta that darkens upwards."""

    def ribs(angle: Array, r: Array, z: Array) -> Array:
        return r * (1 + 0.09 * np.cos(8 * angle + 0.035 * z))

    def clay(points: Array) -> Array:
        high = np.clip(points[:, 2:] / 130, 0, 1)
        return (1 - high) * [214, 132, 82] + high * [150, 58, 52]

    outer = [(24, 0), (27, 3), (36, 30), (38, 52), (30, 84), (19, 108), (21, 122), (27, 130)]
    inner = [(r - 3.6, z) for r, z in outer[2:-1]] + [(24, 130.5)]
    return round_body((50, 24, 0), [(0, 4), (22, 4), *inner, *outer[::-1]], clay, ribs)


def gear() -> Part:
    """A spur gear lying flat, of steel."""

    def teeth(angle: Array, r: Array, z: Array) -> Array:
        tooth = np.clip(2.5 * np.sin(12 * angle), -1, 1)
        return r + 3 * tooth * np.clip((r - 19) / 6, 0, 1)

    def steel(points: Array) -> Array:
        turned = np.sin(2.2 * np.hypot(points[:, 0], points[:, 1]))
        return np.array([150, 158, 168]) + np.outer(turned, [10, 10, 10])

    profile = [(9, 0), (9, 12), (10, 13), (16, 13), (17, 12), (26, 12), (27, 11), (27, 0)]
    return round_body((-8, -35, 0), profile, steel, teeth)


def spring() -> Part:
    """A coil spring lying on its side, of brass."""

    def curve(t: Array) -> Array:
        angle = 2 * np.pi * 5 * t
        return np.column_stack([58 * t - 29, 15 * np.sin(angle), 18.2 + 15 * np.cos(angle)])

    return tube((52, -40, 0), curve, 3.4, np.array([1.0, 0.0, 0.0]), [205, 162, 60])


def round_body(
    at: tuple[float, float, float],
    profile: Sequence[tuple[float, float]],
    color: Callable[[Array], Array],
    section: Section = lambda angle, r, z: r,
) -> Part:
    """A body of revolution whose section need not be round.

    Args:
        at: Where it is.
        profile: Radius and height from the inside over the highest point to the outside; its
            corners are rounded.
        color: See ``Part``.
        section: Deforms the circle.
    """
    line = np.array(profile, float)
    for _ in range(3):  # Chaikin 1974: corners are cut at a quarter of their sides
        cuts = [0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]]
        line = np.concatenate([line[:1], np.stack(cuts, 1).reshape(-1, 2)[1:-1], line[-1:]])
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    top = int(line[:, 1].argmax())

    def surface(u: Array, v: Array) -> Array:
        r, z = (np.interp(v * length[-1], length, column) for column in line.T)
        angle = 2 * np.pi * u
        r = section(angle, r, z)
        return np.column_stack([r * np.cos(angle), r * np.sin(angle), z])

    def holds(points: Array) -> NDArray[np.bool_]:
        x, y, z = points.T
        angle = np.arctan2(y, x)
        inner, outer = (
            section(angle, np.interp(z, part[:, 1], part[:, 0]), z)
            for part in (line[: top + 1], line[top:][::-1])
        )
        r = np.hypot(x, y)
        return (r > inner) & (r < outer) & (z > line[-1, 1] - CONTACT) & (z < line[top, 1])

    return Part(at, surface, holds, color)


def tube(
    at: tuple[float, float, float], curve: Curve, radius: float, up: Array, color: list[int]
) -> Part:
    """A tube with rounded ends of one colour along a curve that never runs along ``up``."""

    def surface(u: Array, v: Array) -> Array:
        step = 1e-4
        tangent = curve(v + step) - curve(v - step)
        side = np.cross(tangent, up)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        across = np.cross(tangent, side)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        angle, end = 2 * np.pi * u[:, None], np.minimum(1, 80 * np.minimum(v, 1 - v))
        reach = radius * np.sin(np.pi / 2 * end)[:, None]
        return curve(v) + reach * (np.cos(angle) * side - np.sin(angle) * across)

    def holds(points: Array) -> NDArray[np.bool_]:
        centres = KDTree(curve(np.linspace(0, 1, 2000)))
        return centres.query(points)[0] < radius

    return Part(at, surface, holds, lambda points: np.full_like(points, color))


def write(path: Path) -> None:
    """Writes the still life as binary PLY with colours and without normals."""
    points, _, colors = still_life()
    types = dict.fromkeys("xyz", "<f4") | dict.fromkeys(("red", "green", "blue"), "u1")
    vertices = np.empty(len(points), list(types.items()))
    for name, column in zip(types, [*points.T, *colors.T], strict=True):
        vertices[name] = column
    comment = "Still life in millimetres, made by examples/make_examples.py of tfnormals, MIT"
    element = PlyElement.describe(vertices, "vertex")
    PlyData([element], byte_order="<", comments=[comment]).write(path)


if __name__ == "__main__":
    write(FILE)
