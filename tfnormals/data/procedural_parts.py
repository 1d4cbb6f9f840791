"""What procedural shapes are put together from: random numbers, primitives and sweeps."""

from collections.abc import Callable, Sequence

import numpy as np
from manifold3d import CrossSection, FillRule, Manifold, Mesh64, OpType
from numpy.typing import NDArray

from ..errors import DataError

Array = NDArray[np.float64]
Maker = Callable[[np.random.Generator], Manifold]
Triple = tuple[float, float, float]

ORIGIN: Triple = (0.0, 0.0, 0.0)
# a tube thinner than this share of its path's extent is not worth sampling
MIN_TUBE = 0.005


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A random size whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smoothness(rng: np.random.Generator, most: int = 128) -> int:
    """A random number of segments around a curved surface, a multiple of four."""
    return 4 * int(rng.integers(8, most // 4 + 1))


def wave(rng: np.random.Generator, t: Array, terms: int = 4) -> Array:
    """A smooth random function of period 1, about -1 to 1."""
    k = np.arange(1, terms + 1)
    weights = rng.normal(size=terms) / k
    phases = rng.uniform(0, 2 * np.pi, terms)
    total = np.sin(2 * np.pi * t[..., None] * k + phases) @ weights
    return total / max(float(np.abs(weights).sum()), 1e-9)


def rotation(rng: np.random.Generator) -> Array:
    """A random rotation matrix, uniform over SO(3), ``(3, 3)``."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.linalg.det(q)


def placed(solid: Manifold, turn: Array, at: Sequence[float] | Array) -> Manifold:
    """The solid rotated, then moved."""
    return solid.transform(np.column_stack([turn, np.asarray(at, np.float64)]))


def block(size: Sequence[float] | Array, at: Sequence[float] | Array = ORIGIN) -> Manifold:
    """A box of the given size around a point."""
    return Manifold.cube(tuple(map(float, size)), True).translate(tuple(map(float, at)))


def ball(radius: float, at: Sequence[float] | Array = ORIGIN, segments: int = 48) -> Manifold:
    """A ball around a point."""
    return Manifold.sphere(radius, segments).translate(tuple(map(float, at)))


def rod(
    start: Sequence[float] | Array,
    end: Sequence[float] | Array,
    radius: float,
    segments: int = 32,
    taper: float = 1.0,
) -> Manifold:
    """A cylinder between two points, its second radius `taper` times the first."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    length = float(np.linalg.norm(b - a))
    solid = Manifold.cylinder(length, radius, radius * taper, segments)
    return placed(solid, _frame((b - a) / length), a)


def torus(ring: float, radius: float, segments: int = 64) -> Manifold:
    """A torus around the z axis."""
    section = CrossSection.circle(radius, max(segments // 2, 24)).translate((ring, 0.0))
    return section.revolve(segments)


def union(parts: Sequence[Manifold]) -> Manifold:
    """Everything inside any part."""
    return Manifold.batch_boolean(list(parts), OpType.Add)


def minus(body: Manifold, tools: Sequence[Manifold]) -> Manifold:
    """The body without the tools."""
    return Manifold.batch_boolean([body, *tools], OpType.Subtract)


def area(outline: Array) -> CrossSection:
    """The region inside an outline, ``(n, 2)``, that may cross itself."""
    return CrossSection([np.ascontiguousarray(outline, np.float64)], FillRule.NonZero)


def stroke(line: Array, thickness: float) -> CrossSection:
    """A band along an open smooth line, ``(n, 2)``."""
    tangent = np.gradient(line, axis=0)
    normal = np.column_stack([-tangent[:, 1], tangent[:, 0]])
    side = thickness / 2 * normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return area(np.concatenate([line - side, (line + side)[::-1]]))


def polygon(corners: int, radius: float = 1.0, inner: float = 1.0) -> Array:
    """A regular polygon or, with `inner` below 1, a star; ``(n, 2)``."""
    n = corners if inner == 1.0 else 2 * corners
    angle = 2 * np.pi * np.arange(n) / n
    r = radius * np.where(np.arange(n) % 2, inner, 1.0)
    return np.column_stack([r * np.cos(angle), r * np.sin(angle)])


def solid_of(vertices: Array, faces: NDArray[np.int64]) -> Manifold:
    """A solid of a closed, outward wound mesh.

    Raises:
        DataError: If the mesh is not closed.
    """
    solid = Manifold(Mesh64(np.ascontiguousarray(vertices), faces.astype(np.uint64)))
    if solid.is_empty():
        raise DataError("procedural mesh: not a closed solid; draw another")
    return solid


def between(top: Array, bottom: Array) -> Manifold:
    """A solid between two sheets of the same grid, ``(n, m, 3)`` each, x along n and y along m."""
    n, m, _ = top.shape
    index, below = np.arange(n * m).reshape(n, m), n * m
    a, b, c, d = (
        q.ravel() for q in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:])
    )
    upper = np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])
    rim = np.concatenate([index[:-1, 0], index[-1, :-1], index[:0:-1, -1], index[0, :0:-1]])
    after = np.roll(rim, -1)
    side = [np.column_stack([rim, rim + below, after + below])]
    side.append(np.column_stack([rim, after + below, after]))
    faces = np.concatenate([upper, upper[:, ::-1] + below, *side])
    return solid_of(np.concatenate([top.reshape(-1, 3), bottom.reshape(-1, 3)]), faces)


def room_around(path: Array, closed: bool = False) -> float:
    """The radius up to which a tube along a path, ``(n, 3)``, stays well clear of itself.

    Raises:
        DataError: If the path leaves no room for a tube.
    """
    room = 0.85 * _reach(path, _tangents(path, closed))
    if room < MIN_TUBE * np.linalg.norm(np.ptp(path, axis=0)):
        raise DataError("procedural tube: the path touches itself; draw another")
    return room


def tube(path: Array, radius: float, sides: int = 24, closed: bool = False) -> Manifold:
    """A round or prismatic tube along a path, ``(n, 3)``; thinner where it would touch itself.

    Raises:
        DataError: If the path leaves no room for a tube.
    """
    radius = min(radius, room_around(path, closed))
    u, v = _path_frames(_tangents(path, closed), closed)
    angle = 2 * np.pi * np.arange(sides) / sides
    offsets = np.cos(angle)[:, None] * u[:, None] + np.sin(angle)[:, None] * v[:, None]
    rings = (path[:, None] + radius * offsets).reshape(-1, 3)
    ring = np.arange(sides)
    after = (ring + 1) % sides
    row = sides * np.arange(len(path) - (not closed))[:, None]
    a, b = (row + ring).ravel(), (row + after).ravel()
    c, d = ((k + sides) % len(rings) for k in (a, b))
    faces = np.concatenate([np.column_stack([a, b, d]), np.column_stack([a, d, c])])
    if closed:
        return solid_of(rings, faces)
    n, last = len(rings), len(rings) - sides
    start = np.column_stack([np.full(sides, n), after, ring])
    end = np.column_stack([np.full(sides, n + 1), last + ring, last + after])
    return solid_of(np.vstack([rings, path[[0, -1]]]), np.concatenate([faces, start, end]))


def _frame(axis: Array) -> Array:
    """A rotation whose third column is the axis, ``(3, 3)``."""
    u = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    u /= np.linalg.norm(u)
    return np.column_stack([u, np.cross(axis, u), axis])


def _tangents(path: Array, closed: bool) -> Array:
    """Unit directions along the path, ``(n, 3)``."""
    step = np.gradient(path, axis=0)
    if closed:
        step = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    return step / np.linalg.norm(step, axis=1, keepdims=True)


def _reach(path: Array, tangents: Array) -> float:
    """The largest radius at which a tube along the path stays clear of itself.

    Source: Federer 1959, theorem 4.18: the infimum of |q - p|^2 / (2 dist(q - p, tangent line)).
    """
    gap = path[None] - path[:, None]
    squared = np.einsum("ijk,ijk->ij", gap, gap)
    along = np.einsum("ijk,ik->ij", gap, tangents)
    off = np.sqrt(np.maximum(squared - along**2, 0))
    ratio = np.divide(squared, 2 * off, out=np.full_like(off, np.inf), where=off > 1e-9)
    return float(ratio.min())


def _path_frames(tangents: Array, closed: bool) -> tuple[Array, Array]:
    """Two unit normals at each path point that turn as little as they can, ``(n, 3)`` each."""
    u = np.empty_like(tangents)
    u[0] = _frame(tangents[0])[:, 0]
    for i in range(1, len(u)):
        side = u[i - 1] - (u[i - 1] @ tangents[i]) * tangents[i]
        u[i] = side / np.sqrt(side @ side)
    v = np.cross(tangents, u)
    if not closed:
        return u, v
    back = u[-1] - (u[-1] @ tangents[0]) * tangents[0]  # u carried once around the loop
    turn = np.arctan2(back @ v[0], back @ u[0]) * np.arange(len(u)) / len(u)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    return cos * u - sin * v, sin * u + cos * v
