"""Point clouds with true outward normals, sampled from closed surfaces and corrupted for training.

Three ways of seeing a surface (area-uniform, thinned along a direction, by virtual depth cameras),
crops of them, and the random mixture of all of these with noise that the network is trained on.
"Diagonal" is always that of the bounding box of the whole surface.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .surfaces import Surface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COMPLETE_VIEWS = 4  # cameras in random directions from which inside and outside can be told
GRAZING = -0.17  # cosine between ray and normal above which a sensor gets no echo: 80 degrees
COARSE_SIDE = 48  # pixels per side of the picture that measures how much of the view is filled
SMALLEST_FILL = 0.01  # share of the picture below which no finer grid is tried


class Sample(NamedTuple):
    """A cloud with its truth.

    Attributes:
        points: Positions, (n, 3), in the units of the surface.
        normals: Outward unit normals of the clean points, (n, 3).
        complete: False for crops and scans that may not show which side is inside.
    """

    points: Floats
    normals: Floats
    complete: bool


def surface_sample(
    surface: Surface, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Area-uniform points and the outward unit normals of their faces; both (count, 3)."""
    faces = _faces(surface)
    cumulated = np.cumsum(faces.areas)
    drawn = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
    chosen = np.minimum(drawn, len(cumulated) - 1)
    uv = rng.random((count, 2))
    uv = np.where(uv.sum(1, keepdims=True) > 1, 1 - uv, uv)
    a, b, c = (surface.vertices[faces.corners[chosen, i]] for i in range(3))
    return a + uv[:, :1] * (b - a) + uv[:, 1:] * (c - a), faces.normals[chosen]


def thinned_sample(
    surface: Surface, count: int, rng: np.random.Generator, kind: Literal["gradient", "striped"]
) -> tuple[Floats, Floats]:
    """Points whose density falls along a random direction, evenly or in stripes; both (count, 3).

    The sparsest places keep 3-20 % of the density of the densest; there are 3 to 12 stripes.
    """
    axis = _directions(1, rng)[0]
    along = surface.vertices @ axis
    sparsest = rng.uniform(0.03, 0.2)
    stripes, phase = rng.uniform(3, 12), rng.uniform(0, 2 * np.pi)
    kept: list[tuple[Floats, Floats]] = []
    missing = count
    while missing > 0:
        points, normals = surface_sample(surface, 2 * count, rng)
        t = (points @ axis - along.min()) / np.ptp(along)
        if kind == "gradient":
            density = sparsest + (1 - sparsest) * t
        else:
            density = np.where(np.sin(2 * np.pi * stripes * t + phase) > 0, 1.0, sparsest)
        chosen = np.flatnonzero(rng.random(len(points)) < density)[:missing]
        kept.append((points[chosen], normals[chosen]))
        missing -= len(chosen)
    return np.concatenate([p for p, _ in kept]), np.concatenate([n for _, n in kept])


def scan_sample(
    surface: Surface, count: int, rng: np.random.Generator, views: int
) -> tuple[Floats, Floats, Floats]:
    """What virtual depth cameras see of a surface.

    Each camera looks at the centre of the bounding box from 1.2 to 2.5 diagonals away and measures
    one point per pixel of a regular grid, exactly the nearest surface, apart from range noise of
    0 to 0.3 % of the diagonal along the ray. Faces seen at more than 80 degrees give no points.

    Args:
        surface: What is scanned.
        count: Most points returned; nearly reached unless hardly anything can be seen.
        rng: Source of all randomness.
        views: Number of cameras, in random directions.

    Returns:
        Points, outward unit normals of their faces, and positions of their cameras; all (n, 3).
    """
    faces = _faces(surface)
    diagonal = _diagonal(surface)
    centre = (surface.vertices.min(0) + surface.vertices.max(0)) / 2
    range_noise = rng.uniform(0, 0.003) * diagonal
    finest = np.sqrt(count / views / SMALLEST_FILL)
    pictures = []
    for direction in _directions(views, rng):
        eye = centre + direction * rng.uniform(1.2, 2.5) * diagonal
        camera = _camera(surface, faces, eye, centre, rng)
        filled = len(_render(camera, COARSE_SIDE).faces)
        # 10 % more pixels than needed, as the coarse picture only estimates the share that is hit
        side = COARSE_SIDE * np.sqrt(1.1 * count / views / max(filled, 1))
        seen = _render(camera, int(np.ceil(min(side, finest))))
        ranges = seen.ranges + rng.normal(0, range_noise, len(seen.ranges))
        points = eye + (seen.directions * ranges[:, None]) @ camera.axes
        normals = camera.normals[seen.faces] @ camera.axes
        pictures.append((points, normals, np.broadcast_to(eye, points.shape)))
    points, normals, eyes = (np.concatenate(part) for part in zip(*pictures, strict=True))
    order = rng.permutation(len(points))[:count]
    return points[order], normals[order], eyes[order]


def crop(
    points: Floats, normals: Floats, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """The count points nearest to a random point of the cloud, both sheets of thin walls included.

    A cloud of no more than count points is returned whole.
    """
    if len(points) <= count:
        return points, normals
    distance2 = np.square(points - points[rng.integers(len(points))]).sum(1)
    nearest = np.argpartition(distance2, count - 1)[:count]
    return points[nearest], normals[nearest]


def training_sample(surface: Surface, points: int, rng: np.random.Generator) -> Sample:
    """One cloud of the training mixture: 65 % complete clouds, 15 % crops, 20 % scans.

    Crops come from clouds 2 to 14 times larger, scans from 1 to 8 cameras. Complete clouds and
    crops are of uniform (60 %) or varying density; on top comes noise, see `_corrupted`.

    Args:
        surface: What is sampled.
        points: Number of points returned; a scan may return fewer, but at least half as many.
        rng: Source of all randomness.
    """
    kind = rng.random()
    if kind < 0.2:
        views = int(rng.integers(1, 9))
        places, normals, _ = scan_sample(surface, points, rng, views)
        if len(places) >= points / 2:
            cloud = _corrupted(places, normals, _diagonal(surface), rng)
            return Sample(*cloud, complete=views >= COMPLETE_VIEWS)
    cropped = 0.2 <= kind < 0.35
    drawn = int(points * rng.uniform(2, 14)) if cropped else points
    places, normals = _cloud(surface, drawn, rng)
    places, normals = crop(places, normals, points, rng)
    cloud = _corrupted(places, normals, _diagonal(surface), rng)
    return Sample(*cloud, complete=not cropped)


def labelled_sample(
    points: Floats, normals: Floats, count: int, rng: np.random.Generator
) -> Sample:
    """One cloud of the training mixture from points with known normals, both (n, 3).

    75 % are random subsets, 25 % crops of subsets 2 to 14 times larger; on top comes noise, see
    `_corrupted`. Where there are fewer points than asked for, all are returned.
    """
    cropped = rng.random() < 0.25
    drawn = int(count * rng.uniform(2, 14)) if cropped else count
    chosen = rng.permutation(len(points))[:drawn]
    places, truth = crop(points[chosen], normals[chosen], count, rng)
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    cloud = _corrupted(places, truth, diagonal, rng)
    return Sample(*cloud, complete=len(places) == len(chosen))


def _cloud(surface: Surface, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Points of uniform (60 %), gradient (20 %) or striped (20 %) density."""
    density = rng.random()
    if density < 0.6:
        return surface_sample(surface, count, rng)
    return thinned_sample(surface, count, rng, "gradient" if density < 0.8 else "striped")


def _corrupted(
    points: Floats, normals: Floats, diagonal: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """A clean cloud as a sensor would store it, with the normals of the clean points.

    White noise of 0.05 to 1.4 % of the diagonal (65 % of clouds, half of them evenly strong, half
    mostly weak; a tenth flattened along one direction), 0.5 to 3 % outliers up to 3 % of the
    diagonal away (10 %), coordinates rounded to 0.1 to 0.5 % of the diagonal (10 %), 1 to 10 % of
    the points replaced by copies of others (5 %).
    """
    n = len(points)
    if rng.random() < 0.65:
        strong = rng.random() < 0.5
        level = rng.uniform(0.002, 0.014) if strong else np.exp(rng.uniform(*np.log([5e-4, 0.01])))
        noise = rng.normal(0, level * diagonal, (n, 3))
        if rng.random() < 0.1:
            axis = _directions(1, rng)[0]
            noise -= rng.uniform(0.5, 1) * np.outer(noise @ axis, axis)
        points = points + noise
    if rng.random() < 0.1:
        stray = rng.random((n, 1)) < rng.uniform(0.005, 0.03)
        points = points + stray * rng.uniform(0, 0.03 * diagonal, (n, 1)) * _directions(n, rng)
    if rng.random() < 0.1:
        grid = rng.uniform(0.001, 0.005) * diagonal
        points = np.round(points / grid) * grid
    if rng.random() < 0.05:
        copied = rng.random(n) < rng.uniform(0.01, 0.1)
        source = np.where(copied, rng.integers(n, size=n), np.arange(n))
        points, normals = points[source], normals[source]
    return points, normals


class _Faces(NamedTuple):
    """Faces of positive area: vertex numbers (f, 3), unit normals (f, 3), areas (f,)."""

    corners: Ints
    normals: Floats
    areas: Floats


class _Camera(NamedTuple):
    """The faces of a surface that are turned to a pinhole camera at the origin looking along z.

    The other faces of a closed surface are always hidden behind these.

    A pixel is the ray (x, y, 1). It meets face i where `edges[i] @ ray >= 0` in all three rows, at
    the depth `offsets[i] / (normals[i] @ ray)`.

    Attributes:
        axes: Camera axes in the surface's coordinates, as rows, (3, 3).
        edges: Normals of the planes through the camera and each edge, pointing inside, (f, 3, 3).
        normals: Outward unit normals, (f, 3).
        offsets: Signed distances of the camera to the faces' planes, (f,).
        depths: Nearest and farthest depth of each face, (2, f).
        heights: Lowest and highest y of each face, (2, f).
        reach: Largest absolute x or y of the surface.
    """

    axes: Floats
    edges: Floats
    normals: Floats
    offsets: Floats
    depths: Floats
    heights: Floats
    reach: float


class _Seen(NamedTuple):
    """Pixels that see a surface: face (n,), unit ray in camera axes (n, 3), distance (n,)."""

    faces: Ints
    directions: Floats
    ranges: Floats


def _diagonal(surface: Surface) -> float:
    return float(np.linalg.norm(np.ptp(surface.vertices, axis=0)))


def _directions(count: int, rng: np.random.Generator) -> Floats:
    """Uniform unit vectors, (count, 3)."""
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _faces(surface: Surface) -> _Faces:
    a, b, c = (surface.vertices[surface.faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    doubled = np.linalg.norm(cross, axis=1)
    real = doubled > 0
    return _Faces(surface.faces[real], cross[real] / doubled[real, None], doubled[real] / 2)


def _camera(
    surface: Surface, faces: _Faces, eye: Floats, target: Floats, rng: np.random.Generator
) -> _Camera:
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, rng.normal(size=3))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forward, right), forward])
    vertices = (surface.vertices - eye) @ axes.T
    normals = faces.normals @ axes.T
    offsets = (normals * vertices[faces.corners[:, 0]]).sum(1)
    front = offsets < 0
    corners = vertices[faces.corners[front]]
    image = vertices[:, :2] / vertices[:, 2:]
    y = image[faces.corners[front], 1]
    depth = corners[:, :, 2]
    return _Camera(
        axes=axes,
        # Neighbours get the plane of a shared edge from the same numbers: no ray slips between.
        edges=np.cross(np.roll(corners, -2, axis=1), np.roll(corners, -1, axis=1)),
        normals=normals[front],
        offsets=offsets[front],
        depths=np.stack([depth.min(1), depth.max(1)]),
        heights=np.stack([y.min(1), y.max(1)]),
        reach=float(np.abs(image).max()),
    )


def _render(camera: _Camera, side: int) -> _Seen:
    """The nearest face in each of side x side pixels, without those that face away or graze."""
    ticks = (np.arange(side, dtype=np.float64) - (side - 1) / 2) * (2 * camera.reach / side)
    face, row = _between(camera.heights[0], camera.heights[1], ticks)

    # Along a row each edge bounds x from one side: slope * x + rest >= 0.
    slope = camera.edges[face, :, 0]
    rest = camera.edges[face, :, 1] * ticks[row, None] + camera.edges[face, :, 2]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        bound = -rest / slope
    blocked = np.where((slope == 0) & (rest < 0), np.inf, -np.inf)
    start = np.where(slope > 0, bound, blocked).max(1, initial=-np.inf)
    stop = np.where(slope < 0, bound, np.inf).min(1, initial=np.inf)
    span, column = _between(start, stop, ticks)

    face, row = face[span], row[span]
    rays = np.stack([ticks[column], ticks[row], np.ones(len(row))], axis=1)
    cosine = (camera.normals[face] * rays).sum(1)
    with np.errstate(divide="ignore", over="ignore"):
        depth = np.clip(camera.offsets[face] / cosine, *camera.depths[:, face])
    pixel = row * side + column
    nearest = np.full(side * side, np.inf)
    np.minimum.at(nearest, pixel, depth)
    front = np.flatnonzero(depth == nearest[pixel])
    winner = np.full(side * side, -1)
    winner[pixel[front]] = front  # one face where two share an edge
    winner = winner[winner >= 0]
    length = np.linalg.norm(rays[winner], axis=1)
    echo = cosine[winner] < GRAZING * length
    winner, length = winner[echo], length[echo]
    return _Seen(face[winner], rays[winner] / length[:, None], depth[winner] * length)


def _between(low: Floats, high: Floats, ticks: Floats) -> tuple[Ints, Ints]:
    """All pairs (i, j) with low[i] <= ticks[j] <= high[i]; ticks ascend."""
    first = np.searchsorted(ticks, low, side="left")
    counts = np.maximum(np.searchsorted(ticks, high, side="right") - first, 0)
    owner = np.repeat(np.arange(len(low)), counts)
    before = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) + (first - before)[owner]
