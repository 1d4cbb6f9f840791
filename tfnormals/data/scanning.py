"""What virtual scanners see of closed surfaces: always the side that is turned to them.

Depth cameras outside, and inside laser scanners, spinning lidars and depth cameras that stand in
free space or are moved about there. "Diagonal" is that of the bounding box of the whole surface.
"""

from typing import NamedTuple

import numpy as np

from .corruption import directions
from .procedural_parts import log_uniform
from .rendering import Camera, Faces, Floats, Seen, camera_at, faces_of, render, windings
from .surfaces import Surface

COARSE_SIDE = 48  # pixels per side of the picture that measures how much of the view is filled
SMALLEST_FILL = 0.01  # share of the picture below which no finer grid is tried
SPARE = 1.1  # pixels for each point wanted, as a coarse picture only estimates the share that hits
STATION_CLEARANCE = 0.03  # least distance from a scanner to what it sees, in diagonals
STATION_SIDE = 16  # pixels per side of the six pictures that try a place for a scanner
STATION_FILL = 0.25  # least share of these pictures that must be filled
STATION_TRIES = 5  # places in free space tried for each scanner
HIGHEST_RING = 35.0  # degrees up or down; steeper ones leave the corners of a picture
ROWS_PER_RING = 6  # rows of pixels from which the nearest to a ring is picked, and the fewest rows
FEWEST_ROWS = 128
NADIR_CONE = 20.0  # degrees from the vertical in which cameras above look down
LOOKS = 4  # directions that a depth camera tries for the fullest picture
WALK = 0.12  # farthest that a moved camera goes from where it starts along each axis, in diagonals
TURNS = 35.0, 12.0  # degrees that its pictures are turned aside and up: standard deviations
STEPPED_SHARE = 0.6  # of the sensors whose noise grows
PIXELS_PER_CELL = 3  # measured points for each that is left when pictures are merged
HALVINGS = 16  # of the interval in which the size of the cells is sought

Scan = tuple[Floats, Floats, Floats]
"""Points, outward unit normals of their faces, and positions of their scanners; all (n, 3)."""


class Sensor(NamedTuple):
    """How scanners err; not at all by default.

    Attributes:
        range_noise: Standard deviation along the ray at the median distance, in diagonals.
        growth: Power of the distance with which that grows; 2 for depth cameras.
        step: By which depths are rounded at the median distance, in diagonals, growing with its
            square, as disparities in whole pixels do.
        fading: Cosine between ray and normal below which more and more echoes are lost.
        misfit: How far views are off: standard deviation of their turns in radians and of their
            shifts in diagonals, for each axis.
    """

    range_noise: float = 0.0
    growth: float = 0.0
    step: float = 0.0
    fading: float = 0.0
    misfit: float = 0.0

    def __str__(self) -> str:
        told = f"range noise {self.range_noise:.2%}{' growing with distance' * (self.growth > 0)}"
        told += f", depths in steps of {self.step:.2%}" * (self.step > 0)
        told += f", echoes fade below cosine {self.fading:.2f}" * (self.fading > 0)
        return told + f", misregistered by {self.misfit:.2%}" * (self.misfit > 0)


EXACT = Sensor()


def random_sensor(rng: np.random.Generator) -> Sensor:
    """Range noise of 0 to 0.3 %, in a third growing, most of these in steps of 0.02 to 0.3 %.

    Half fade, 30 % are 0.05 to 0.5 % off.
    """
    grows = rng.random() < 1 / 3
    return Sensor(
        range_noise=rng.uniform(0, 0.003),
        growth=2.0 if grows else 0.0,
        step=log_uniform(rng, 2e-4, 3e-3) if grows and rng.random() < STEPPED_SHARE else 0.0,
        fading=rng.uniform(0.2, 0.6) if rng.random() < 0.5 else 0.0,
        misfit=log_uniform(rng, 5e-4, 5e-3) if rng.random() < 0.3 else 0.0,
    )


def eyes_around(count: int, rng: np.random.Generator) -> Floats:
    """Places in random directions, 0.7 to 2.5 diagonals from the origin, in diagonals."""
    return directions(count, rng) * np.exp(rng.uniform(np.log(0.7), np.log(2.5), (count, 1)))


def eyes_above(count: int, rng: np.random.Generator) -> Floats:
    """Places within 20 degrees of the vertical, 1.5 to 6 diagonals up, in diagonals."""
    cosine = rng.uniform(np.cos(np.radians(NADIR_CONE)), 1, count)
    angle, sine = rng.uniform(0, 2 * np.pi, count), np.sqrt(1 - cosine**2)
    up = np.column_stack([sine * np.cos(angle), sine * np.sin(angle), cosine])
    return up * np.exp(rng.uniform(np.log(1.5), np.log(6), (count, 1)))


def scan_sample(
    surface: Surface,
    count: int,
    rng: np.random.Generator,
    eyes: Floats,
    sensor: Sensor = EXACT,
) -> Scan:
    """What depth cameras see that look at the centre of the bounding box from outside.

    Each measures one point per pixel of a regular grid, the nearest surface. Faces seen at more
    than 80 degrees give no points.

    Args:
        surface: What is scanned.
        count: Most points returned; nearly reached unless hardly anything can be seen.
        rng: Source of all randomness.
        eyes: Places of the cameras from that centre, in diagonals, more than half of one away.
        sensor: How they err.
    """
    faces = faces_of(surface)
    centre = (surface.vertices.min(0) + surface.vertices.max(0)) / 2
    wanted = SPARE * count / len(eyes)
    finest = np.sqrt(count / len(eyes) / SMALLEST_FILL)
    views = []
    for eye in centre + eyes * diagonal(surface):
        camera = camera_at(surface, faces, eye, _axes(centre - eye, rng))
        filled = len(render(camera, COARSE_SIDE, COARSE_SIDE).faces)
        side = int(np.ceil(min(COARSE_SIDE * np.sqrt(wanted / max(filled, 1)), finest)))
        views.append(_View(eye, camera, render(camera, side, side)))
    return _measured(surface, views, count, sensor, rng)


def inside_scan_sample(
    surface: Surface,
    count: int,
    rng: np.random.Generator,
    stations: int,
    rings: Floats | None = None,
    sensor: Sensor = EXACT,
) -> Scan:
    """What laser scanners see that stand in the free space within the bounding box of a surface.

    Each scanner is at least 3 % of the diagonal away from what it sees and looks in all
    directions, upright along z: six pictures like the sides of a cube. Nothing is returned where
    no such place is found, as in a solid box.

    Args:
        surface: What is scanned.
        count: Most points returned; nearly reached by an even grid.
        rng: Source of all randomness.
        stations: Number of scanners; fewer where free space is rare.
        rings: Elevations of the lines around each scanner, (r,) degrees from -35 to 35, that a
            spinning lidar draws: dense along the lines, sparse between. None for an even grid.
        sensor: How they err.
    """
    found = _stations(surface, rng, stations)
    views = []
    for station in found:
        cameras = station.cameras if rings is None else station.cameras[:4]
        wanted = SPARE * count / len(found) / station.fill / len(cameras)  # pixels of a picture
        for camera in cameras:
            if rings is None:
                side = int(np.ceil(np.sqrt(wanted)))
                seen = render(camera, side, side)
            else:
                seen = _ringed(camera, rings, int(np.ceil(wanted / len(rings))))
            views.append(_View(station.eye, camera, seen))
    return _measured(surface, views, count, sensor, rng)


def depth_view_sample(
    surface: Surface,
    count: int,
    rng: np.random.Generator,
    sensor: Sensor = EXACT,
) -> Scan:
    """One picture of a depth camera that stands where a scanner could, see `inside_scan_sample`.

    It is 4 pixels wide for 3 high, 50 to 90 degrees wide, upright, and looks 40 degrees down to 15
    up, where it sees most. Nothing is returned where there is no place, or little to see.
    """
    views = _pictures(surface, rng, SPARE * count, 1)
    return _measured(surface, views, count, sensor, rng)


def moved_view_sample(
    surface: Surface,
    count: int,
    rng: np.random.Generator,
    sensor: Sensor = EXACT,
) -> Scan:
    """What 2 to 12 pictures of a depth camera that is moved about show, merged.

    The first is that of `depth_view_sample`, the others are taken nearby and turned aside. Of all
    points in a cell of a grid their mean is left, as reconstructions do: the density is even and
    does not tell where the camera was.
    """
    views = _pictures(surface, rng, PIXELS_PER_CELL * count, int(rng.integers(2, 13)))
    seen = sum(len(view.seen.faces) for view in views)
    return _merged(_measured(surface, views, seen, sensor, rng), count)


def diagonal(surface: Surface) -> float:
    """Of the bounding box."""
    return float(np.linalg.norm(np.ptp(surface.vertices, axis=0)))


class _View(NamedTuple):
    """What a camera at a place, (3,), sees."""

    eye: Floats
    camera: Camera
    seen: Seen


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


def _pictures(
    surface: Surface, rng: np.random.Generator, points: float, pictures: int
) -> list[_View]:
    """So many of a depth camera, with so many points in all; the first sees most.

    The others are taken nearby and turned aside. Fewer where free space is rare, none where there
    is little to see.
    """
    faces, reach = faces_of(surface), float(np.tan(np.radians(rng.uniform(25, 45))))
    views: list[_View] = []
    for station in _stations(surface, rng, 1):
        looks = np.radians(rng.uniform([0, -40], [360, 15], (LOOKS, 2)))
        cameras = [camera_at(surface, faces, station.eye, _look(*look), reach) for look in looks]
        filled = [len(render(c, STATION_SIDE, STATION_SIDE, 0.75).faces) for c in cameras]
        share = max(filled) / STATION_SIDE**2
        if share < STATION_FILL:
            continue
        around = station.eye + WALK * diagonal(surface) * np.array([[-1], [1]])
        eyes = [station.eye, *(one.eye for one in _stations(surface, rng, pictures - 1, around))]
        turns = np.radians(TURNS) * rng.normal(size=(len(eyes) - 1, 2))
        turned = looks[np.argmax(filled)] + np.insert(turns, 0, 0, axis=0)
        rows = np.sqrt(0.75 * points / share / len(eyes))
        for eye, look in zip(eyes, turned, strict=True):
            camera = camera_at(surface, faces, eye, _look(*look), reach)
            seen = render(camera, int(np.ceil(rows)), int(np.ceil(rows / 0.75)), 0.75)
            views.append(_View(eye, camera, seen))
    return views


def _stations(
    surface: Surface, rng: np.random.Generator, count: int, box: Floats | None = None
) -> list[_Station]:
    """Up to so many places for scanners in a box, (2, 3), or in that of the surface, by trial."""
    if count == 0:
        return []
    faces = faces_of(surface)
    low, high = (surface.vertices.min(0), surface.vertices.max(0)) if box is None else box
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
        if ranges.min(initial=np.inf) < STATION_CLEARANCE * diagonal(surface):
            return None
        cameras.append(camera)
        seen += len(ranges)
    fill = seen / (6 * STATION_SIDE**2)
    return _Station(eye, cameras, fill) if fill >= STATION_FILL else None


def _ringed(camera: Camera, rings: Floats, columns: int) -> Seen:
    """The pixels of an upright picture that lie nearest to the cones of some elevations."""
    rows = max(FEWEST_ROWS, ROWS_PER_RING * len(rings))
    seen = render(camera, rows, columns)
    x, y = (seen.directions[:, :2] / seen.directions[:, 2:]).T
    heights = -np.tan(np.radians(np.sort(rings)[::-1]))  # of the rings where x is 0, y down
    widening = np.sqrt(1 + x**2)
    middles = (heights[:-1] + heights[1:]) / 2
    ring = heights[np.searchsorted(middles, y / widening)] * widening
    kept = np.abs(ring - y) <= camera.reach / rows
    return Seen(seen.faces[kept], seen.directions[kept], seen.ranges[kept])


def _measured(
    surface: Surface, views: list[_View], count: int, sensor: Sensor, rng: np.random.Generator
) -> Scan:
    """At most so many points of all views, in random order, with the errors of the sensor."""
    size, centre = diagonal(surface), surface.vertices.mean(0)
    every = np.concatenate([np.empty(0), *(view.seen.ranges for view in views)])
    typical = float(np.median(every)) if len(every) else size
    parts = [(np.empty((0, 3)),) * 3]
    for eye, camera, seen in views:
        cosine = -(camera.normals[seen.faces] * seen.directions).sum(1)
        heard = rng.random(len(cosine)) * sensor.fading < cosine
        faces, rays, ranges = (part[heard] for part in seen)
        noise = sensor.range_noise * size * (ranges / typical) ** sensor.growth
        ranges = ranges + rng.normal(0, 1, len(ranges)) * noise
        if sensor.step > 0:
            ranges = _in_steps(ranges * rays[:, 2], sensor.step * size, typical) / rays[:, 2]
        turn, shift = _turn(rng.normal(0, sensor.misfit, 3)), rng.normal(0, sensor.misfit, 3)
        points = eye - centre + (rays * ranges[:, None]) @ camera.axes
        points = centre + size * shift + points @ turn.T
        normals = camera.normals[faces] @ camera.axes @ turn.T
        parts.append((points, normals, np.broadcast_to(eye, points.shape)))
    points, normals, eyes = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = rng.permutation(len(points))[:count]
    return points[order], normals[order], eyes[order]


def _in_steps(depths: Floats, step: float, typical: float) -> Floats:
    """Depths whose inverses are rounded, by a step at the typical depth, none of them to zero."""
    scale = typical**2 / step
    return scale / np.maximum(np.round(scale / depths), 1)


def _merged(scan: Scan, count: int) -> Scan:
    """The mean of the points in each cell of a grid, at most so many and nearly as many.

    Normal and scanner are those of one of them.
    """
    points = scan[0]
    if len(points) <= count:
        return scan
    low, size = points.min(0), np.ptp(points, axis=0).max()
    finest, coarsest = 1e-4 * size, size
    for _ in range(HALVINGS):
        side = np.sqrt(finest * coarsest)
        cells = len(np.unique(_numbered((points - low) / side)))
        finest, coarsest = (side, coarsest) if cells > count else (finest, side)
    _, first, cell = np.unique(
        _numbered((points - low) / coarsest), return_index=True, return_inverse=True
    )
    held = np.bincount(cell)
    means = [np.bincount(cell, weights=along) / held for along in points.T]
    return np.column_stack(means), scan[1][first], scan[2][first]


def _numbered(cells: Floats) -> Floats:
    """One number for each cell of a grid, (n, 3) to (n,); not more than 10 000 cells a side."""
    return np.floor(cells) @ np.array([1.0, 2.0**16, 2.0**32])


def _turn(vector: Floats) -> Floats:
    """A rotation about a vector by its length while that is small (Cayley transform), (3, 3)."""
    half = np.cross(np.eye(3), vector / 2)
    return np.asarray(np.linalg.solve(np.eye(3) + half, np.eye(3) - half), np.float64)


def _axes(forward: Floats, rng: np.random.Generator) -> Floats:
    """Axes of a camera that looks along a direction, randomly rolled, (3, 3)."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, rng.normal(size=3))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _look(azimuth: float, elevation: float) -> Floats:
    """Axes of an upright camera that looks in a direction, radians, (3, 3)."""
    level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    forward = np.cos(elevation) * level + [0, 0, np.sin(elevation)]
    right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
    return np.stack([right, np.cross(forward, right), forward])


def _cube(angle: float) -> Floats:
    """Axes of four cameras that look around and of two that look up and down, (6, 3, 3)."""
    around = [_look(a, 0.0) for a in angle + np.pi / 2 * np.arange(4)]
    right, up = around[0][0], np.array([0.0, 0.0, 1.0])
    return np.stack([*around, *(np.stack([right, np.cross(z, right), z]) for z in (up, -up))])
