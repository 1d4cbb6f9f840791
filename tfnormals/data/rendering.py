"""Pinhole pictures of closed surfaces, and which places lie inside them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .surfaces import Surface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRAZING = -0.17  # cosine between ray and normal above which a sensor gets no echo: 80 degrees


class Faces(NamedTuple):
    """Faces of positive area: vertex numbers (f, 3), unit normals (f, 3), areas (f,)."""

    corners: Ints
    normals: Floats
    areas: Floats


class Camera(NamedTuple):
    """The faces of a surface that are turned to a pinhole camera at the origin looking along z.

    The other faces of a closed surface are always hidden behind these if the camera is outside.

    A pixel is the ray (x, y, 1). It meets face i where `edges[i] @ ray >= 0` in all three rows, at
    the depth `offsets[i] / (normals[i] @ ray)`; corners behind the camera do no harm.

    Attributes:
        axes: Camera axes in the surface's coordinates, as rows, (3, 3).
        edges: Normals of the planes through the camera and each edge, pointing inside, (f, 3, 3).
        normals: Outward unit normals, (f, 3).
        offsets: Signed distances of the camera to the faces' planes, (f,).
        depths: Nearest and farthest depth of each face, (2, f).
        heights: Lowest and highest y of each face, (2, f).
        reach: Largest absolute x or y of the picture.
    """

    axes: Floats
    edges: Floats
    normals: Floats
    offsets: Floats
    depths: Floats
    heights: Floats
    reach: float


class Seen(NamedTuple):
    """Pixels that see a surface: face (n,), unit ray in camera axes (n, 3), distance (n,)."""

    faces: Ints
    directions: Floats
    ranges: Floats


def faces_of(surface: Surface) -> Faces:
    """The faces of a surface that have a normal."""
    a, b, c = (surface.vertices[surface.faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    doubled = np.linalg.norm(cross, axis=1)
    real = doubled > 0
    return Faces(surface.faces[real], cross[real] / doubled[real, None], doubled[real] / 2)


def camera_at(
    surface: Surface, faces: Faces, eye: Floats, axes: Floats, reach: float | None = None
) -> Camera:
    """A camera somewhere outside of the solid.

    Args:
        surface: What it sees.
        faces: Those of the surface.
        eye: Its position, (3,).
        axes: Right, down and forward as rows, (3, 3).
        reach: Half the width of the picture at depth 1. None fits it to the surface, all of which
            must then lie in front of the camera.
    """
    vertices = (surface.vertices - eye) @ axes.T
    offsets = (faces.normals * (surface.vertices[faces.corners[:, 0]] - eye)).sum(1)
    kept = np.flatnonzero(offsets < 0)
    if reach is None:
        reach = float(np.abs(vertices[:, :2] / vertices[:, 2:]).max())
    else:
        kept = kept[_in_picture(vertices, faces.corners[kept], reach)]
    corners = vertices[faces.corners[kept]]
    depth = corners[:, :, 2]
    ahead = depth.min(1) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        y = corners[:, :, 1] / depth
    return Camera(
        axes=axes,
        # Neighbours get the plane of a shared edge from the same numbers: no ray slips between.
        edges=np.cross(np.roll(corners, -2, axis=1), np.roll(corners, -1, axis=1)),
        normals=faces.normals[kept] @ axes.T,
        offsets=offsets[kept],
        depths=np.stack([depth.min(1), depth.max(1)]),
        heights=np.where(ahead, np.stack([y.min(1), y.max(1)]), [[-np.inf], [np.inf]]),
        reach=reach,
    )


def render(camera: Camera, rows: int, columns: int, height: float = 1.0) -> Seen:
    """The nearest face in each of rows x columns pixels, without those that face away or graze.

    Args:
        camera: What looks.
        rows: From top to bottom.
        columns: From left to right.
        height: Of the picture, relative to its width; at most 1.
    """
    across, down = _ticks(camera.reach, columns), _ticks(height * camera.reach, rows)
    face, row = _between(camera.heights[0], camera.heights[1], down)

    # Along a row each edge bounds x from one side: slope * x + rest >= 0.
    slope = camera.edges[face, :, 0]
    rest = camera.edges[face, :, 1] * down[row, None] + camera.edges[face, :, 2]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        bound = -rest / slope
    blocked = np.where((slope == 0) & (rest < 0), np.inf, -np.inf)
    start = np.where(slope > 0, bound, blocked).max(1, initial=-np.inf)
    stop = np.where(slope < 0, bound, np.inf).min(1, initial=np.inf)
    span, column = _between(start, stop, across)

    face, row = face[span], row[span]
    rays = np.stack([across[column], down[row], np.ones(len(row))], axis=1)
    cosine = (camera.normals[face] * rays).sum(1)
    with np.errstate(divide="ignore", over="ignore"):
        depth = np.clip(camera.offsets[face] / cosine, *camera.depths[:, face])
    pixel = row * columns + column
    nearest = np.full(rows * columns, np.inf)
    np.minimum.at(nearest, pixel, depth)
    front = np.flatnonzero(depth == nearest[pixel])
    winner = np.full(rows * columns, -1)
    winner[pixel[front]] = front  # one face where two share an edge
    winner = winner[winner >= 0]
    length = np.linalg.norm(rays[winner], axis=1)
    echo = cosine[winner] < GRAZING * length
    winner, length = winner[echo], length[echo]
    return Seen(face[winner], rays[winner] / length[:, None], depth[winner] * length)


def windings(surface: Surface, faces: Faces, places: Floats, axes: Floats) -> Ints:
    """How many bodies of the surface contain each of the places, (k, 3) to (k,).

    A ray along the third axis leaves a body once more often than it enters it if it starts inside.
    """
    flat = surface.vertices @ axes[:2].T
    start = flat[faces.corners]
    edge = np.roll(start, -1, axis=1) - start
    turned = np.stack([-edge[..., 1], edge[..., 0]], axis=-1)  # (edge x offset) is turned @ offset
    side = turned @ (places @ axes[:2].T).T - (turned * start).sum(-1)[..., None]
    cosine = (faces.normals @ axes[2])[:, None]
    first = (faces.normals * surface.vertices[faces.corners[:, 0]]).sum(1)
    ahead = (first[:, None] - faces.normals @ places.T) * cosine > 0
    hit = (side * np.sign(cosine)[..., None] >= 0).all(1) & ahead
    return (hit * np.sign(cosine)).sum(0).astype(np.int64)


def _in_picture(vertices: Floats, corners: Ints, reach: float) -> NDArray[np.bool_]:
    """Faces that are not wholly behind the camera or past one side of the picture, (f,)."""
    x, y, z = vertices.T
    beyond = [z <= 0, *(side * axis > reach * z for axis in (x, y) for side in (1, -1))]
    outside = np.logical_or.reduce([out[corners].all(1) for out in beyond])
    return np.logical_not(outside)


def _ticks(reach: float, count: int) -> Floats:
    """Centres of pixels along one side of the picture, from -reach to reach."""
    return (np.arange(count, dtype=np.float64) - (count - 1) / 2) * (2 * reach / count)


def _between(low: Floats, high: Floats, ticks: Floats) -> tuple[Ints, Ints]:
    """All pairs (i, j) with low[i] <= ticks[j] <= high[i]; ticks ascend."""
    first = np.searchsorted(ticks, low, side="left")
    counts = np.maximum(np.searchsorted(ticks, high, side="right") - first, 0)
    owner = np.repeat(np.arange(len(low)), counts)
    before = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) + (first - before)[owner]
