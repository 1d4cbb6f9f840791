"""Point clouds with true outward normals, sampled from closed surfaces and corrupted for training.

Four ways of seeing a surface (area-uniform, thinned along a direction, scanned from outside,
scanned from places inside), crops of them, and the random mixture of all of these with noise that
the network is trained on. "Diagonal" is always that of the bounding box of the whole surface.
"""

from typing import Literal, NamedTuple

import numpy as np

from .corruption import corrupted, directions
from .rendering import Floats, faces_of
from .scanning import (
    HIGHEST_RING,
    Scan,
    Sensor,
    depth_view_sample,
    diagonal,
    eyes_above,
    eyes_around,
    inside_scan_sample,
    moved_view_sample,
    random_sensor,
    scan_sample,
)
from .surfaces import Surface

COMPLETE_VIEWS = 4  # cameras in random directions from which inside and outside can be told
COMPLETE_WEIGHT = 1.0
PARTIAL_WEIGHT = 0.6
"""Weight of the side on scans from few cameras, from above or from inside, where it can be told in
general."""
UNDECIDABLE_WEIGHT = 0.2
"""Weight of the side on crops, which may not show which side is inside."""
SCAN_SHARES = {"rooms": (0.8, 0.06), "outdoors": (0.25, 0.45)}
"""By family, the share of scans from inside, where there is room for a scanner, and from above."""
OTHER_SHARES = 0.07, 0.015
AROUND_SHARE = 1 / 6  # scans from all around, of the other clouds
RINGS_SHARE = 0.1  # of scans from inside; at 25 % clouds of striped density became worse
DEPTH_VIEW_SHARE, MOVED_SHARE = 0.25, 0.35  # of scans from inside
MOST_DRAWN = 300_000  # points that a crop is taken from


class Sample(NamedTuple):
    """A cloud with its truth.

    Attributes:
        points: Positions, (n, 3), in the units of the surface.
        normals: Outward unit normals of the clean points, (n, 3).
        side_weight: How much can be told about which side is inside, 0 to 1.
        kind: How the surface was seen, in words.
        noise: What was done to the clean cloud, in words.
    """

    points: Floats
    normals: Floats
    side_weight: float
    kind: str
    noise: str


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
    axis = directions(1, rng)[0]
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

    Scans come first, see `_random_scan`; 20 % of the others are crops of clouds 2 to 14 times
    larger, the rest complete clouds. On top comes noise, see `corrupted`.

    Args:
        surface: A closed surface of any size.
        points: Most points returned; holes and scans may leave fewer, but a third at least.
        rng: Source of all randomness.
    """
    if (scan := _random_scan(surface, points, rng)) is not None:
        return scan
    drawn = _drawn(points, rng) if rng.random() < 0.2 else points
    places, normals, kind = _cloud(surface, drawn, rng)
    return _finished(places, normals, points, kind, diagonal(surface), rng)


def labelled_sample(
    points: Floats, normals: Floats, count: int, rng: np.random.Generator
) -> Sample:
    """One cloud of the training mixture from points with known normals, both (n, 3).

    75 % are random subsets, 25 % crops of subsets 2 to 14 times larger; on top comes noise, see
    `corrupted`. Where there are fewer points than asked for, all are returned.
    """
    drawn = _drawn(count, rng) if rng.random() < 0.25 else count
    chosen = rng.permutation(len(points))[:drawn]
    size = float(np.linalg.norm(np.ptp(points, axis=0)))
    return _finished(points[chosen], normals[chosen], count, "points", size, rng)


def _drawn(points: int, rng: np.random.Generator) -> int:
    """Points from which a crop of so many is taken."""
    return max(points, min(int(points * rng.uniform(2, 14)), MOST_DRAWN))


def _finished(
    points: Floats,
    normals: Floats,
    count: int,
    kind: str,
    size: float,
    rng: np.random.Generator,
) -> Sample:
    """A clean cloud, cropped to so many points where it has more, with noise."""
    drawn = len(points)
    points, normals = crop(points, normals, count, rng)
    weight = COMPLETE_WEIGHT
    if len(points) < drawn:
        kind, weight = f"{kind}, cropped from {drawn}", UNDECIDABLE_WEIGHT
    places, truth, noise = corrupted(points, normals, size, rng)
    return Sample(places, truth, weight, kind, noise)


def _random_scan(surface: Surface, points: int, rng: np.random.Generator) -> Sample | None:
    """A noisy scan in its share of calls, if it shows enough.

    By family, from inside or from one to three cameras above; else, in a sixth, from one to eight
    cameras all around.
    """
    inside, above = SCAN_SHARES.get(surface.name.partition("/")[0], OTHER_SHARES)
    place, views, sensor = rng.random(), int(rng.integers(1, 9)), random_sensor(rng)
    weight = PARTIAL_WEIGHT
    if place < inside:
        scan, kind = _inside_scan(surface, points, rng, sensor)
    elif place < inside + above:
        views = 1 + views // 3
        scan = scan_sample(surface, points, rng, eyes_above(views, rng), sensor)
        kind = f"{views} views from above"
    elif rng.random() < AROUND_SHARE:
        scan = scan_sample(surface, points, rng, eyes_around(views, rng), sensor)
        kind = f"{views} views"
        weight = COMPLETE_WEIGHT if views >= COMPLETE_VIEWS else PARTIAL_WEIGHT
    else:
        return None
    if len(scan[0]) < points / 2:
        return None
    places, normals, noise = corrupted(*scan[:2], diagonal(surface), rng)
    return Sample(places, normals, weight, f"{kind}, {sensor}", noise)


def _inside_scan(
    surface: Surface, points: int, rng: np.random.Generator, sensor: Sensor
) -> tuple[Scan, str]:
    """A depth view, several merged, or one to four laser scanners or lidars of 16 to 64 rings."""
    way = rng.random()
    if way < DEPTH_VIEW_SHARE:
        return depth_view_sample(surface, points, rng, sensor), "depth view inside"
    if way < DEPTH_VIEW_SHARE + MOVED_SHARE:
        return moved_view_sample(surface, points, rng, sensor), "moved views inside"
    stations, rings, kind = int(rng.integers(1, 5)), None, "scanners inside"
    if rng.random() < RINGS_SHARE:
        lowest, highest = rng.uniform(-HIGHEST_RING, -10), rng.uniform(2, HIGHEST_RING)
        rings = np.linspace(lowest, highest, int(rng.integers(16, 65)))
        kind = f"lidars of {len(rings)} rings"
    return inside_scan_sample(surface, points, rng, stations, rings, sensor), f"{stations} {kind}"


def _cloud(surface: Surface, count: int, rng: np.random.Generator) -> tuple[Floats, Floats, str]:
    """Points of uniform (52 %), gradient (20 %) or striped (28 %) density, and which."""
    density = rng.random()
    if density < 0.52:
        return *surface_sample(surface, count, rng), "uniform"
    kind: Literal["gradient", "striped"] = "gradient" if density < 0.72 else "striped"
    return *thinned_sample(surface, count, rng, kind), kind
