"""Evaluation clouds: PCPNet-layout folders, and pairs of a cloud and its true normals."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..clouds import read_cloud
from ..errors import DataError

SUFFIXES = frozenset({".ply", ".pcd", ".xyz", ".csv", ".npy"})
PAIRS = "clouds"
"""The variant of clouds that no list names."""
ORDER = (
    "no_noise",
    "low_noise",
    "med_noise",
    "high_noise",
    "vardensity_striped",
    "vardensity_gradient",
    "scan",
)
CORRUPTION = re.compile(r"_(noise_[a-z]+_[^_]+|ddist_minmax(_layers)?|scan)$")
"""What PCPNet and make_benchmark.py append to the name of a shape."""


class Truth(NamedTuple):
    """Points (n, 3), their outward normals (n, 3), and the rows that are scored (m,)."""

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    scored: NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationCloud:
    """A cloud whose normals are known; nothing is read before `load`.

    Attributes:
        name: The file's name without its ending.
        shape: The name without the corruption; the same for all variants of a shape.
        variant: The list that names the cloud, as in testset_VARIANT.txt, or "clouds".
        path: The file with the points.
        clean: The file with the noise-free cloud of the shape, or None.
    """

    name: str
    shape: str
    variant: str
    path: Path
    clean: Path | None

    def load(self) -> Truth:
        """The cloud itself; see `load_truth`."""
        return load_truth(self.path)


def evaluation_clouds(folder: Path) -> list[EvaluationCloud]:
    """The clouds with known normals in a folder, variant by variant.

    With lists ``testset_VARIANT.txt``, the clouds they name: ``NAME.xyz``, ``NAME.normals`` and,
    where only some rows are scored, ``NAME.pidx``. Without, every cloud file there: it carries
    normals itself or has a ``NAME.normals`` beside it. A cloud that several lists name belongs to
    the shortest, so that ``testset_all.txt`` adds nothing.

    Raises:
        DataError: If the folder or a listed cloud is missing, or there is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give a folder of clouds with known normals")
    lists = sorted(folder.glob("testset_*.txt"))
    clouds = _listed(folder, lists) if lists else _pairs(folder)
    if not clouds:
        raise DataError(
            f"{folder}: no clouds; a PCPNet-layout folder has testset_*.txt, NAME.xyz and "
            "NAME.normals, any other holds clouds that carry normals"
        )
    return clouds


def load_truth(path: Path) -> Truth:
    """The points, true normals and scored rows of a cloud.

    Rows with a NaN or infinite coordinate, and rows without a direction as their normal, are
    never scored.

    Raises:
        CloudError: If the cloud cannot be read.
        DataError: If its normals or scored rows are missing or do not fit it.
    """
    sidecar = path.with_suffix(".normals")
    if sidecar.exists():
        plain = path.suffix.lower() == ".xyz"
        points = _table(path, columns=3) if plain else read_cloud(path, dimensions=[3]).points
        normals = _table(sidecar, columns=3)
    else:
        cloud = read_cloud(path, dimensions=[3])
        if cloud.normals is None:
            raise DataError(
                f"{path}: carries no normals, and there is no {sidecar.name} beside it"
            )
        points, normals = cloud.points, cloud.normals
    if len(points) != len(normals):
        raise DataError(f"{path}: {len(points)} points but {len(normals)} normals")
    finite = np.isfinite(points).all(axis=1) & np.isfinite(normals).all(axis=1)
    usable = finite & (np.abs(normals).max(axis=1) > 0)
    rows = _scored_rows(path.with_suffix(".pidx"), len(points))
    scored = rows[usable[rows]]
    if not len(scored):
        raise DataError(f"{path}: no row can be scored; its points or normals are not numbers")
    return Truth(points, normals, scored)


def _listed(folder: Path, lists: list[Path]) -> list[EvaluationCloud]:
    """The clouds that the lists name."""
    names = {path.stem.removeprefix("testset_"): _lines(path) for path in lists}
    variants: dict[str, str] = {}
    for variant in sorted(names, key=lambda variant: len(names[variant])):
        for name in names[variant]:
            variants.setdefault(name, variant)
    clouds = [_listed_cloud(folder, name, variant) for name, variant in variants.items()]
    return sorted(clouds, key=lambda cloud: (_rank(cloud.variant), cloud.variant))


def _listed_cloud(folder: Path, name: str, variant: str) -> EvaluationCloud:
    for needed in (f"{name}.xyz", f"{name}.normals"):
        if not (folder / needed).is_file():
            raise DataError(f"{folder}: testset_{variant}.txt names {name}, {needed} is missing")
    shape = CORRUPTION.sub("", name)
    clean = folder / f"{shape}.xyz"
    complete = clean.is_file() and clean.with_suffix(".normals").is_file()
    path = folder / f"{name}.xyz"
    return EvaluationCloud(name, shape, variant, path, clean if complete else None)


def _pairs(folder: Path) -> list[EvaluationCloud]:
    """Every cloud file of a folder without lists."""
    return [
        EvaluationCloud(path.stem, path.stem, PAIRS, path, None)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]


def _rank(variant: str) -> int:
    return ORDER.index(variant) if variant in ORDER else len(ORDER)


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, stripped."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _table(path: Path, columns: int) -> NDArray[np.float64]:
    """A text file of numbers (n, columns)."""
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path}: empty")
    try:
        table = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: not a table of numbers ({error})") from error
    if table.shape[1] != columns:
        raise DataError(f"{path}: {table.shape[1]} columns; {columns} are needed")
    return table


def _scored_rows(path: Path, count: int) -> NDArray[np.int64]:
    """The rows that a .pidx file names; all where there is none."""
    if not path.exists():
        return np.arange(count)
    rows = _table(path, columns=1)[:, 0]
    if rows.min() < 0 or rows.max() >= count or (rows % 1).any():
        raise DataError(f"{path}: names rows outside the cloud; it has {count}")
    return rows.astype(np.int64)
