"""What training clouds are drawn from: closed surfaces, and clouds whose normals are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError, DataError
from .folders import load_truth
from .meshes import find_meshes, load_surface
from .surfaces import Surface

MIN_DISTINCT = 1_000
"""Distinct points below which a cloud is not trained on."""
HELD_OUT = 50
"""One source in so many validates instead of training, ..."""
MIN_SOURCES = 10
"""... if there are at least so many."""


@dataclass(frozen=True)
class LabelledCloud:
    """A cloud with its truth.

    Attributes:
        name: What reports call it.
        points: Positions, ``(n, 3)``, in any unit.
        normals: Outward unit normals, ``(n, 3)``.
    """

    name: str
    points: NDArray[np.float64]
    normals: NDArray[np.float64]

    def scaled(self) -> "LabelledCloud":
        """The same cloud with its bounding box centred and of unit diagonal."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        points = (self.points - (low + high) / 2) / np.linalg.norm(high - low)
        return LabelledCloud(self.name, points, self.normals)


Source = Surface | LabelledCloud


def load_sources(
    folders: Sequence[Path], on_progress: Callable[[int, int], None] | None = None
) -> tuple[list[Source], list[tuple[Path, str]]]:
    """All sources in some folders: meshes, and ``NAME.xyz`` with ``NAME.normals`` beside it.

    Args:
        folders: Folders; their subfolders are not searched.
        on_progress: Called with the number of files read and of all files after each.

    Returns:
        The usable sources sorted by name, and the other files with the reason for each.

    Raises:
        DataError: If a folder does not exist or has no such file.
    """
    loaders = {path: load for folder in folders for path, load in _loaders(folder).items()}
    sources: list[Source] = []
    skipped: list[tuple[Path, str]] = []
    for done, (path, load) in enumerate(loaders.items(), start=1):
        try:
            sources.append(load(path))
        except (CloudError, DataError) as error:
            skipped.append((path, str(error).removeprefix(f"{path}: ")))
        if on_progress is not None:
            on_progress(done, len(loaders))
    return sorted(sources, key=lambda source: source.name), skipped


def load_labelled(path: Path) -> LabelledCloud:
    """A cloud without the rows that lack a position or a normal.

    Raises:
        CloudError: If the cloud cannot be read.
        DataError: If its normals do not fit it, or it has too few distinct points.
    """
    truth = load_truth(path)
    length = np.linalg.norm(truth.normals, axis=1)
    usable = np.isfinite(truth.points).all(axis=1) & np.isfinite(length) & (length > 0)
    points, normals = truth.points[usable], truth.normals[usable] / length[usable, None]
    distinct = len(np.unique(points, axis=0))
    if distinct < MIN_DISTINCT:
        raise DataError(f"{path}: {distinct} distinct points; at least {MIN_DISTINCT} are needed")
    return LabelledCloud(path.stem, points, normals)


def split(sources: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """Sources to train on, and those held out to validate on."""
    if len(sources) < MIN_SOURCES:
        return list(sources), []
    kept = [source for place, source in enumerate(sources) if place % HELD_OUT]
    return kept, list(sources[::HELD_OUT])


def _loaders(folder: Path) -> dict[Path, Callable[[Path], Source]]:
    """The files of a folder that may be sources, and what reads each."""
    loaders: dict[Path, Callable[[Path], Source]] = dict.fromkeys(
        find_meshes(folder), load_surface
    )
    for path in sorted(folder.glob("*.xyz")):
        if path.with_suffix(".normals").is_file():
            loaders[path] = load_labelled
    if not loaders:
        raise DataError(
            f"{folder}: no meshes (.ply, .obj, .off, .stl) and no clouds with known normals "
            "(NAME.xyz with NAME.normals)"
        )
    return loaders
