"""Point clouds with true outward normals, sampled from closed surfaces and corrupted for training.

Four ways of seeing a surface (area-uniform, thinned along a direction, by virtual depth cameras
around it, by virtual scanners inside), crops of them, and the random mixture of all of these with
noise that the network is trained on.
"Diagonal" is always that of the bounding box of the whole surface.
"""

from typing import Literal, NamedTuple

import numpy as np

from .rendering import Camera, Faces, Floats, Seen, camera_at, faces_of, render, windings
from .surfaces import Surface

COMPLETE_VIEWS = 4  # cameras in random directions from which inside and outside can be told
COMPLETE_WEIGHT = 1.0
PARTIAL_WEIGHT = 0.6
"""Weight of the side on scans from few cameras or from inside, where it can be told in general."""
UNDECIDABLE_WEIGHT = 0.2
"""Weight of the side on crops, which may not show which side is inside."""
INSIDE_SHARE = 0.06  # scans from inside, where there is room for a scanner
ROOMS_INSIDE_SHARE = 0.5
RINGS_SHARE = 0.1  # of them drawn line by line; at 25 % clouds of striped density became worse
COARSE_SIDE = 48  # pixels per side of the picture that measures how much of the view is filled
SMALLEST_FILL = 0.01  # share of the picture below which no finer grid is tried
STATION_CLEARANCE = 0.03  # least distance from a scanner to what it sees, in diagonals
STATION_SIDE = 16  # pixels per side of the six pictures that try a place for a scanner
STATION_FILL = 0.25  # least share of these pictures that must be filled
STATION_TRIES = 5  # places in free space tried for each scanner


class Sample(NamedTuple):
    """A cloud with its truth.

    Attributes:
        points: Positions, (n, 3), in the units of the surface.
        normals: Outward unit normals of the clean points, (n, 3).
        side_weight: How much can be told about which side is inside, 0 to 1.
    """

    points: Floats
    normals: Floats
    side_weight: float


def surface_sample(
    surface: Surface, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Area-uniform points and the outward unit normals of their faces; both (count, 3)."""
    faces = faces_of(surface)
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
    faces = faces_of(surface)
    diagonal = _diagonal(surface)
    centre = (surface.vertices.min(0) + surface.vertices.max(0)) / 2
    range_noise = rng.uniform(0, 0.003) * diagonal
    finest = np.sqrt(count / views / SMALLEST_FILL)
    pictures = []
    for direction in _directions(views, rng):
        eye = centre + direction * rng.uniform(1.2, 2.5) * diagonal
        camera = camera_at(surface, faces, eye, _axes(centre - eye, rng))
        filled = len(render(camera, COARSE_SIDE, COARSE_SIDE).faces)
        # 10 % more pixels than needed, as the coarse picture only estimates the share that is hit
        side = COARSE_SIDE * np.sqrt(1.1 * count / views / max(filled, 1))
        side = int(np.ceil(min(side, finest)))
        seen = render(camera, side, side)
        pictures.append(_measured(camera, seen, eye, range_noise, rng))
    return _gathered(pictures, count, rng)


def inside_scan_sample(
    surface: Surface,
    count: int,
    rng: np.random.Generator,
    stations: int,
    rings: int | None = None,
) -> tuple[Floats, Floats, Floats]:
    """What laser scanners see that stand in the free space within the bounding box of a surface.

    Each scanner is at least 3 % of the diagonal away from what it sees and looks in all
    directions, upright along z: six pictures like the sides of a cube. Noise and grazing are as in
    `scan_sample`. Nothing is returned where no such place is found, as in a solid box.

    Args:
        surface: What is scanned.
        count: Most points returned; nearly reached.
        rng: Source of all randomness.
        stations: Number of scanners; fewer where free space is rare.
        rings: Number of lines around each scanner, 45 degrees up and down, as a spinning lidar
            draws them: dense along the lines, sparse between. None for an even grid.

    Returns:
        Points, outward unit normals of their faces, and positions of their scanners; all (n, 3).
    """
    range_noise = rng.uniform(0, 0.003) * _diagonal(surface)
    found = _stations(surface, rng, stations)
    pictures = []
    for station in found:
        cameras = station.cameras if rings is None else station.cameras[:4]
        wanted = 1.1 * count / len(found) / station.fill / len(cameras)  # pixels of a picture
        rows = rings or int(np.ceil(np.sqrt(wanted)))
        columns = int(np.ceil(wanted / rows))
        for camera in cameras:
            seen = render(camera, rows, columns)
            pictures.append(_measured(camera, seen, station.eye, range_noise, rng))
    return _gathered(pictures, count, rng)


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
    """One cloud of the training mixture: complete clouds, crops, and scans from out- and inside.

    Scans from inside by 1 to 4 scanners are 6 %, of rooms half, where there is a place to stand.
    The others are complete clouds (4/6), crops from clouds 2 to 14 times larger (1/6), and
    scans from 1 to 8 cameras (1/6). Complete clouds and crops are of uniform (52 %) or varying
    density; on top comes noise, see `_corrupted`.

    Args:
        surface: What is sampled.
        points: Number of points returned; a scan may return fewer, but at least half as many.
        rng: Source of all randomness.
    """
    if (scan := _random_scan(surface, points, rng)) is not None:
        return scan
    cropped = rng.random() < 0.2
    drawn = int(points * rng.uniform(2, 14)) if cropped else points
    places, normals = _cloud(surface, drawn, rng)
    places, normals = crop(places, normals, points, rng)
    cloud = _corrupted(places, normals, _diagonal(surface), rng)
    return Sample(*cloud, UNDECIDABLE_WEIGHT if cropped else COMPLETE_WEIGHT)


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
    return Sample(*cloud, COMPLETE_WEIGHT if len(places) == len(chosen) else UNDECIDABLE_WEIGHT)


def _random_scan(surface: Surface, points: int, rng: np.random.Generator) -> Sample | None:
    """A noisy scan from inside or outside in its share of calls, if it shows enough."""
    inside = ROOMS_INSIDE_SHARE if surface.name.startswith("rooms/") else INSIDE_SHARE
    scan, weight = None, PARTIAL_WEIGHT
    if rng.random() < inside:
        rings = int(rng.integers(16, 65)) if rng.random() < RINGS_SHARE else None
        scan = inside_scan_sample(surface, points, rng, int(rng.integers(1, 5)), rings)
    elif rng.random() < 1 / 6:
        views = int(rng.integers(1, 9))
        scan = scan_sample(surface, points, rng, views)
        weight = COMPLETE_WEIGHT if views >= COMPLETE_VIEWS else PARTIAL_WEIGHT
    if scan is None or len(scan[0]) < points / 2:
        return None
    return Sample(*_corrupted(*scan[:2], _diagonal(surface), rng), weight)


def _cloud(surface: Surface, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Points of uniform (52 %), gradient (20 %) or striped (28 %) density."""
    density = rng.random()
    if density < 0.52:
        return surface_sample(surface, count, rng)
    return thinned_sample(surface, count, rng, "gradient" if density < 0.72 else "striped")


def _corrupted(
    points: Floats, normals: Floats, diagonal: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """A clean cloud as a sensor would store it, with the normals of the clean points.

    White noise of 0.05 to 1.4 % of the diagonal (70 % of clouds, 55 % of them evenly strong, the
    others mostly weak; a tenth flattened along one direction), 0.5 to 3 % outliers up to 3 % of
    the diagonal away (10 %), coordinates rounded to 0.1 to 0.5 % of the diagonal (10 %), 1 to 10 %
    of the points replaced by copies of others (5 %).
    """
    n = len(points)
    if rng.random() < 0.7:
        strong = rng.random() < 0.55
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


class _Station(NamedTuple):
    """A laser scanner.

    Attributes:
        eye: Its position, (3,).
        cameras: Four that look around, one up, one down.
        fill: Share of its pixels that see something.
    """

    eye: Floats
    cameras: list[Camera]
    fill: float


def _stations(surface: Surface, rng: np.random.Generator, count: int) -> list[_Station]:
    """Up to so many places for scanners, found by trial."""
    faces = faces_of(surface)
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    places = rng.uniform(low, high, (2 * STATION_TRIES * count, 3))
    inside = windings(surface, faces, places, _axes(rng.normal(size=3), rng))
    stations: list[_Station] = []
    for eye in places[inside == 0][: STATION_TRIES * count]:
        station = _station(surface, faces, eye, rng.uniform(0, 2 * np.pi))
        if station is not None:
            stations.append(station)
        if len(stations) == count:
            break
    return stations


def _station(surface: Surface, faces: Faces, eye: Floats, angle: float) -> _Station | None:
    """A scanner at a place in free space, if that is not too near to anything or too empty."""
    cameras, seen = [], 0
    for axes in _cube(angle):
        camera = camera_at(surface, faces, eye, axes, 1.0)
        ranges = render(camera, STATION_SIDE, STATION_SIDE).ranges
        if ranges.min(initial=np.inf) < STATION_CLEARANCE * _diagonal(surface):
            return None
        cameras.append(camera)
        seen += len(ranges)
    fill = seen / (6 * STATION_SIDE**2)
    return _Station(eye, cameras, fill) if fill >= STATION_FILL else None


def _measured(
    camera: Camera, seen: Seen, eye: Floats, range_noise: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Noisy points of a picture, their normals and their camera."""
    ranges = seen.ranges + rng.normal(0, range_noise, len(seen.ranges))
    points = eye + (seen.directions * ranges[:, None]) @ camera.axes
    normals = camera.normals[seen.faces] @ camera.axes
    return points, normals, np.broadcast_to(eye, points.shape)


def _gathered(
    pictures: list[tuple[Floats, Floats, Floats]], count: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """At most so many points of all pictures in random order."""
    nothing = np.empty((0, 3))
    parts = zip((nothing, nothing, nothing), *pictures, strict=True)
    points, normals, eyes = (np.concatenate(part) for part in parts)
    order = rng.permutation(len(points))[:count]
    return points[order], normals[order], eyes[order]


def _axes(forward: Floats, rng: np.random.Generator) -> Floats:
    """Axes of a camera that looks along a direction, randomly rolled, (3, 3)."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, rng.normal(size=3))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _cube(angle: float) -> Floats:
    """Axes of four cameras that look around and of two that look up and down, (6, 3, 3)."""
    up = np.array([0.0, 0.0, 1.0])
    forward = [np.array([np.cos(a), np.sin(a), 0.0]) for a in angle + np.pi / 2 * np.arange(4)]
    around = [np.stack([np.cross(ahead, up), -up, ahead]) for ahead in forward]
    right = around[0][0]
    return np.stack([*around, *(np.stack([right, np.cross(z, right), z]) for z in (up, -up))])


def _diagonal(surface: Surface) -> float:
    return float(np.linalg.norm(np.ptp(surface.vertices, axis=0)))


def _directions(count: int, rng: np.random.Generator) -> Floats:
    """Uniform unit vectors, (count, 3)."""
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
