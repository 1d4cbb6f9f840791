"""Clouds drawn as lit surfaces: every point is a small disc at right angles to its normal."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from .errors import CloudError

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Colors = NDArray[np.uint8]
Image = NDArray[np.uint8]
"""(height, width, 3) red, green and blue; the first row is the top."""
View = tuple[float, float]
"""Azimuth and elevation of the eye in degrees; at azimuth 0 it is on the x axis."""

VIEW = (-60.0, 25.0)
WIDTH = 900
OVERSAMPLING = 2
"""Pixels computed along each side of a pixel shown."""
MARGIN = 1 / 75
"""Around the cloud, relative to the width."""
COVER = 8
"""Neighbours within a splat; between points strewn at random, 0.03 % of a surface stays bare."""
LARGEST = 3.0
"""Radius of the largest splat, relative to the median."""
DOT = 1.0
"""Computed pixels of the radius of the smallest, which faces the eye: it covers some pixel."""
SLANT = 0.3
"""Cosine to the eye down to which splats are foreshortened."""
LIGHT = np.array([-0.45, 0.55, 0.70])
"""Unit direction to the light: right, up, towards the eye."""
AMBIENT, DIFFUSE = 0.42, 0.70
STONE = (222, 218, 208)
"""Colour of a cloud without colours."""
INWARD = (205, 22, 32)
"""Colour of a surface whose normals point away from the eye that sees it."""


def cloud_image(
    points: Array,
    normals: Array,
    *,
    colors: Colors | None = None,
    view: View = VIEW,
    width: int = WIDTH,
    height: int | None = None,
) -> Image:
    """A cloud as a lit, opaque surface in parallel projection on white, with z up.

    Where the normals of the surface nearest to the eye point away from the eye, it is red: a
    closed shape with outward normals, seen from outside, shows red at most along its outlines.

    Args:
        points: (n, 3).
        normals: (n, 3) unit vectors; points without a finite one are left out.
        colors: (n, 3), 0 to 255; stone without.
        view: From where it is seen.
        width: Of the image in pixels; the height follows.
        height: At most, if given; a taller image gets narrower.

    Raises:
        CloudError: If there are too few points with a normal.
    """
    usable = _usable(points, normals)
    camera = view_axes(view)
    facing = normals[usable] @ camera.T
    albedo = np.full(points.shape, STONE, float) if colors is None else colors.astype(float)
    return _drawn(points[usable] @ camera.T, facing, _shade(facing, albedo[usable]), width, height)


def painted_images(
    points: Array,
    normals: Array,
    colorings: Sequence[Colors],
    *,
    view: View = VIEW,
    width: int = WIDTH,
    height: int | None = None,
) -> list[Image]:
    """The same surface once in each coloring (n, 3), as ``cloud_image`` but without light.

    Raises:
        CloudError: If there are too few points with a normal.
    """
    usable = _usable(points, normals)
    camera = view_axes(view)
    shade = np.concatenate(colorings, axis=1)[usable].astype(float)
    image = _drawn(points[usable] @ camera.T, normals[usable] @ camera.T, shade, width, height)
    return np.split(image, len(colorings), axis=2)


def view_axes(view: View) -> Array:
    """(3, 3): rows point right, up and towards the eye."""
    azimuth, elevation = np.radians(view)
    flat = np.array([np.cos(azimuth), np.sin(azimuth), 0])
    eye = np.cos(elevation) * flat + [0, 0, np.sin(elevation)]
    right = np.array([-flat[1], flat[0], 0])
    return np.stack([right, np.cross(eye, right), eye])


class _Splats(NamedTuple):
    """Discs that cover the surface, largest first; lengths in pixels, y down."""

    rows: Rows
    """(n,) the points they are of."""
    pixels: Rows
    """(n,) pixel of each centre."""
    shift: Array
    """(2, n) from the middle of that pixel to the centre, right and down."""
    depth: Array
    """(n,) of the centre, towards the eye."""
    slope: Array
    """(2, n) change of depth per pixel to the right and down."""
    radius: Array
    """(n,)."""


class _Fragments(NamedTuple):
    """Where splats cover the middle of a pixel; a pixel may occur often."""

    rows: Rows
    """(m,) the splats."""
    pixels: Rows
    """(m,)."""
    depth: Array
    """(m,) of the splat there, towards the eye."""
    distance: Array
    """(m,) squared distance from the centre of the splat, 0 to 1 at its edge."""


def _usable(points: Array, normals: Array) -> Rows:
    """The rows that can be drawn, every place once."""
    usable = np.flatnonzero(np.isfinite(points).all(axis=1) & np.isfinite(normals).all(axis=1))
    usable = usable[np.unique(points[usable], axis=0, return_index=True)[1]]
    if len(usable) <= COVER:
        raise CloudError(f"{len(usable)} points with a normal; a picture needs {COVER + 1}")
    return usable


def _drawn(
    positions: Array, facing: Array, shade: Array, width: int, height: int | None
) -> NDArray[np.uint8]:
    """Points, normals and colours (n, c), in the camera's frame, as an image of c channels."""
    splats, shape = _splats(positions, facing, width, height)
    image, depth = _painted(splats, shade[splats.rows], shape)
    scale = float(np.median(splats.radius))
    _close_gaps(image, depth, scale)
    image *= _crevices(depth, scale)
    image = np.where(np.isfinite(depth), image, 255)
    parts = (shape[0] // OVERSAMPLING, OVERSAMPLING, shape[1] // OVERSAMPLING, OVERSAMPLING)
    blocks = image.reshape(-1, *parts).mean(axis=(2, 4))
    return np.clip(np.round(blocks), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def _shade(facing: Array, albedo: Array) -> Array:
    """Colours (n, 3) under the light; red beyond grazing where a normal points away."""
    away = np.clip((-facing[:, 2:] - 0.1) / 0.15, 0, 1)
    towards = np.where(facing[:, 2:] < 0, -facing, facing)
    light = AMBIENT + DIFFUSE * np.maximum(towards @ LIGHT, 0)
    return light[:, None] * ((1 - away) * albedo + away * INWARD)


def _splats(
    positions: Array, facing: Array, width: int, height: int | None
) -> tuple[_Splats, tuple[int, int]]:
    """Splats of points (n, 3) in the camera's frame, and the height and width they are drawn in.

    A splat is as wide as its neighbourhood and lies in the middle of it, so that it ends where
    the surface does.
    """
    distances, neighbors = KDTree(positions).query(positions, k=COVER + 1)
    radius = np.minimum(distances[:, -1], LARGEST * np.median(distances[:, -1]))
    offset = positions[neighbors].mean(axis=1) - positions
    offset -= (offset * facing).sum(axis=1, keepdims=True) * facing
    offset /= np.maximum(1, np.linalg.norm(offset, axis=1) / radius)[:, None]  # strays stay put
    centres = positions + offset
    low, high = centres.min(axis=0) - radius.max(), centres.max(axis=0) + radius.max()
    margin = OVERSAMPLING * max(1, round(MARGIN * width))
    scale = (OVERSAMPLING * width - 2 * margin) / (high - low)[0]
    if height is not None:
        scale = min(scale, (OVERSAMPLING * height - 2 * margin) / (high - low)[1])
    across, down = np.ceil((high - low)[:2] * scale / OVERSAMPLING - 1e-6).astype(int)
    shape = (OVERSAMPLING * int(down) + 2 * margin, OVERSAMPLING * int(across) + 2 * margin)
    rows = np.argsort(-radius)
    x = (centres[rows, 0] - low[0]) * scale + margin
    y = (high[1] - centres[rows, 1]) * scale + margin
    towards = np.where(facing[rows, 2] < 0, -1, 1) * np.maximum(np.abs(facing[rows, 2]), SLANT)
    shown = np.maximum(radius[rows] * scale, DOT)
    slope = np.stack([-facing[rows, 0], facing[rows, 1]]) / towards * (shown > DOT)
    column, line = np.floor([x, y]).astype(np.int64)
    shift = np.stack([x - column, y - line]) - 0.5
    pixels, depth = line * shape[1] + column, centres[rows, 2] * scale
    return _Splats(rows, pixels, shift, depth, slope, shown), shape


def _painted(splats: _Splats, shade: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """The image (c, height, width), and the depth (height, width) of what it shows.

    Splats blend with those that lie as deep as the nearest one; without any, depth is -inf.
    """
    depth = np.full(shape[0] * shape[1], -np.inf)
    for fragments in _fragments(splats, shape[1]):
        np.maximum.at(depth, fragments.pixels, fragments.depth)
    values = np.column_stack([shade, np.ones(len(shade))])
    total = np.zeros((values.shape[1], len(depth)))
    for rows, pixels, own, distance in _fragments(splats, shape[1]):
        front = own > depth[pixels] - 0.5 * splats.radius[rows]
        weighted = np.exp(-4 * distance[front]) * values[rows[front]].T
        for sums, part in zip(total, weighted, strict=True):
            np.add.at(sums, pixels[front], part)
    image = total[:-1] / np.maximum(total[-1], 1e-9)
    return image.reshape(-1, *shape), depth.reshape(shape)


def _fragments(splats: _Splats, width: int) -> Iterator[_Fragments]:
    """The fragments of all splats, by their offset from the centre or, of few, by splat."""
    reach = int(splats.radius[0]) + 1
    if len(splats.rows) < (2 * reach + 1) ** 2:
        for row, radius in enumerate(splats.radius):
            steps = np.arange(-int(radius) - 1, int(radius) + 2)
            yield _covered(splats, np.array(row), steps, steps[:, None], width)
        return
    for right, down in product(range(-reach, reach + 1), repeat=2):
        count = int(np.searchsorted(-splats.radius, 1 - np.hypot(right, down)))
        yield _covered(splats, np.arange(count), np.array(right), np.array(down), width)


def _covered(splats: _Splats, rows: Rows, right: Rows, down: Rows, width: int) -> _Fragments:
    """The fragments of some splats at some offsets; the three broadcast."""
    x, y = right - splats.shift[0, rows], down - splats.shift[1, rows]
    rise = x * splats.slope[0, rows] + y * splats.slope[1, rows]
    distance = (x**2 + y**2 + rise**2) / splats.radius[rows] ** 2
    inside = distance < 1
    places = splats.pixels[rows] + down * width + right
    rows = np.broadcast_to(rows, inside.shape)[inside]
    return _Fragments(rows, places[inside], splats.depth[rows] + rise[inside], distance[inside])


def _close_gaps(image: Array, depth: Array, scale: float) -> None:
    """Paints pixels that a ring of nearer ones surrounds, in place, as the mean of that ring."""
    for part in (0.5, 1, 1.5):
        reach = max(1, round(part * scale))
        ring = _shifted(depth, reach, -np.inf)
        gaps = np.nonzero(np.min(ring, axis=0) > depth + scale / 2)
        depth[gaps] = np.mean([beside[gaps] for beside in ring], axis=0)
        for channel in image:
            channel[gaps] = np.mean([b[gaps] for b in _shifted(channel, reach, 0)], axis=0)


def _shifted(channel: Array, reach: int, outside: float) -> list[Array]:
    """The eight neighbours (height, width) of each pixel at a distance."""
    height, width = channel.shape
    padded = np.pad(channel, reach, constant_values=outside)
    return [
        padded[reach + down : reach + down + height, reach + right : reach + right + width]
        for right, down in product((-reach, 0, reach), repeat=2)
        if right or down
    ]


def _crevices(depth: Array, scale: float) -> Array:
    """Brightness (height, width), 1 or less where something nearer to the eye is beside.

    Source: eye-dome lighting, Boucheny, PhD thesis, Grenoble 2009.
    """
    far = depth[np.isfinite(depth)].min()
    depth = np.maximum(depth, far)
    rise = np.zeros(depth.shape)
    for beside in _shifted(depth, 2, far) + _shifted(depth, 5, far):
        rise += np.clip((beside - depth) / scale - 0.3, 0, 2)
    return np.exp(-rise / 16)
