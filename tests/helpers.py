"""What the tests share: tolerances, random motions, clouds with exact normals."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tfnormals.cli import main
from tfnormals.metrics import angle_deg

Array = NDArray[np.float64]

ROUNDING = 1e-12
"""float64, the same arithmetic in another order; relative to numbers of size one."""
LAYER = 1e-9
"""float64, one layer applied to a moved input; relative to numbers of size one."""
EXACT_DEG = 1e-6
"""float64, from points to normals, worst point."""
FLOAT32_MEDIAN_DEG = 1e-3
"""float32, from points to normals, median point."""

MOTIONS = ("rotation", "reflection", "translation", "shrinking", "growth", "permutation")
TURNS = ("rotation", "reflection")


def cut(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Makes loops take so many points at a time, on threads however few there are."""
    monkeypatch.setattr("tfnormals.tensorframes.loops.CHUNK", chunk)
    monkeypatch.setattr("tfnormals.tensorframes.loops.FEW", 1)


def one_hand_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes edge layers say what they say in right-handed frames, not the mean of both hands."""
    import torch  # takes seconds, and most test files do without

    from tfnormals.tensorframes.layers import EdgeLayer, Features

    said = EdgeLayer._said

    def one(layer: EdgeLayer, hidden: torch.Tensor) -> Features:
        return said(layer, torch.stack([hidden[0], torch.zeros_like(hidden[1])]))

    monkeypatch.setattr(EdgeLayer, "_said", one)


class Motion(NamedTuple):
    """Moves points by x -> scale * matrix @ x + shift and puts the rows in another order."""

    matrix: Array
    scale: float
    shift: Array
    order: NDArray[np.int64]

    def points(self, points: Array) -> Array:
        """The moved points (n, 3)."""
        return (self.scale * points @ self.matrix.T + self.shift)[self.order]

    def normals(self, normals: Array) -> Array:
        """The normals (n, 3) of the moved points."""
        return (normals @ self.matrix.T)[self.order]


def rotation(rng: np.random.Generator) -> Array:
    """A uniformly random rotation (3, 3)."""
    matrix = _orthogonal(rng)
    return matrix * np.sign(np.linalg.det(matrix))


def reflection(rng: np.random.Generator) -> Array:
    """A uniformly random improper rotation (3, 3)."""
    return -rotation(rng)


def _orthogonal(rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def motion(kind: str, count: int, rng: np.random.Generator) -> Motion:
    """A random motion of one of the kinds in ``MOTIONS``, for a cloud of count points.

    Translations are whole numbers, about a million: a cloud whose coordinates have few binary
    digits (see ``quantised``) is moved without rounding.
    """
    still = Motion(np.eye(3), 1.0, np.zeros(3), np.arange(count))
    return {
        "rotation": lambda: still._replace(matrix=rotation(rng)),
        "reflection": lambda: still._replace(matrix=reflection(rng)),
        "translation": lambda: still._replace(shift=np.round(rng.normal(size=3) * 1e6)),
        "shrinking": lambda: still._replace(scale=1.1e-3),
        "growth": lambda: still._replace(scale=0.9e3),
        "permutation": lambda: still._replace(order=rng.permutation(count)),
    }[kind]()


def assert_equivariant(
    normals_of: Callable[[Array], Array], points: Array, kind: str, tolerance_deg: float
) -> None:
    """Fails, naming the worst point, unless the normals follow a motion of the points."""
    moved = motion(kind, len(points), np.random.default_rng(len(points)))
    angle = angle_deg(normals_of(moved.points(points)), moved.normals(normals_of(points)))
    worst = int(angle.argmax())
    assert angle[worst] <= tolerance_deg, (
        f"{kind} {moved.matrix.tolist()}: {angle[worst]:.3g} degrees at point {worst}, "
        f"{(angle > tolerance_deg).sum()} of {len(angle)} points off"
    )


def quantised(points: Array, digits: int = 20) -> Array:
    """Coordinates with so many binary digits after the point; few of them give exact ties."""
    return np.round(points * 2.0**digits) / 2.0**digits


def sphere(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Uniform points of the unit sphere and their outward normals; both (count, 3)."""
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals.copy(), normals


def plane(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Uniform points of a 2 x 1 rectangle in the plane z = 0 and one of its normals."""
    points = np.column_stack([rng.random(count) * 2, rng.random(count), np.zeros(count)])
    return points, np.tile([0.0, 0.0, 1.0], (count, 1))


def torus(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Points of a torus of radii 1 and 0.4, uniform in its angles, and their normals."""
    u, v = rng.random((2, count)) * 2 * np.pi
    normals = np.column_stack([np.cos(u) * np.cos(v), np.sin(u) * np.cos(v), np.sin(v)])
    return np.column_stack([np.cos(u), np.sin(u), np.zeros(count)]) + 0.4 * normals, normals


def cube(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Uniform points of the faces of the cube from -1 to 1 and their outward normals."""
    axis, sign = rng.integers(3, size=count), rng.choice([-1.0, 1.0], count)
    points, normals = rng.uniform(-1, 1, (count, 3)), np.zeros((count, 3))
    points[np.arange(count), axis] = normals[np.arange(count), axis] = sign
    return points, normals


def cloud(
    shape: Callable[..., tuple[Array, Array]] = torus, count: int = 300, seed: int = 0
) -> Array:
    """Points of a shape, (count, 3), that most motions move without rounding."""
    return quantised(shape(count, np.random.default_rng(seed))[0])


def depth_picture(height: int, width: int) -> Array:
    """The points (height * width, 3) that a camera at the origin sees of a ball before a wall."""
    y, x = np.mgrid[:height, :width]
    sight = np.stack([x - (width - 1) / 2, y - (height - 1) / 2, np.full_like(x, width)], -1)
    sight = (sight / np.linalg.norm(sight, axis=2, keepdims=True)).reshape(-1, 3)
    ball, radius = np.array([0.1, 0.05, 1.5]), 0.4
    nearest = sight @ ball
    inside = nearest**2 - ball @ ball + radius**2
    wall = 3 / (sight @ np.array([0.3, 0.2, 1.0]))
    return np.where(inside > 0, nearest - np.sqrt(np.maximum(inside, 0)), wall)[:, None] * sight


def lattice(*counts: int) -> Array:
    """All points with whole coordinates from 0 up to below the counts, (product, 3)."""
    axes = np.meshgrid(*(np.arange(float(count)) for count in counts), indexing="ij")
    return np.stack(axes, -1).reshape(-1, 3)


def run_cli(*arguments: object) -> int | str | None:
    """The exit code of ``tfnormals`` with these arguments."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code
