"""The first clouds of a training run, to be looked at: PLY files and one picture of all."""

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import count as counting
from itertools import islice
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from plyfile import PlyData, PlyElement

from ..clouds import Cloud, read_cloud, write_cloud
from ..errors import DataError
from ..pictures import contact_sheet
from ..splatting import VIEW, View, cloud_image
from .batches import TrainingBatches
from .rendering import Floats
from .sampling import Sample

SHEET = "contact-sheet.png"
TILE = 220
"""Pixels along each side of a picture."""
LINE = 46
"""Characters that fit above it."""
DRAWN = 20_000
"""Points of a cloud in its picture, about, at most."""


class TrainingCloud(NamedTuple):
    """A cloud as training sees it, and where it comes from."""

    source: str
    step: int
    sample: Sample

    @property
    def facts(self) -> dict[str, str]:
        """What it is, in words."""
        sample = self.sample
        return {
            "source": self.source.encode("ascii", "backslashreplace").decode(),
            "sampling": sample.kind,
            "noise": sample.noise,
            "side_weight": f"{sample.side_weight:g}",
            "step": str(self.step),
        }


def first_clouds(batches: TrainingBatches) -> Iterator[TrainingCloud]:
    """The clouds of a training run in the order in which it sees them, without end."""
    for step in counting():
        for source, sample in batches.samples(step):
            yield TrainingCloud(source, step, sample)


def write_preview(
    batches: TrainingBatches, count: int, folder: Path, on_progress: Callable[[int, int], None]
) -> Path:
    """Writes the first clouds of a run as PLY with true normals, and a picture of all.

    In the picture the clouds are lit by their true normals, red where those of the side that is
    seen point away from the eye.

    Args:
        batches: What the run would learn from.
        count: Number of clouds.
        folder: Where to; made where missing.
        on_progress: Called with the number of written and of all clouds after each.

    Returns:
        The picture, contact-sheet.png in the folder.

    Raises:
        CloudError: If a cloud cannot be written.
        DataError: If the folder cannot be made, or the picture not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); name another") from error
    images, titles = [], []
    for number, cloud in enumerate(islice(first_clouds(batches), count)):
        write_cloud(as_cloud(cloud), folder / f"cloud-{number:03}.ply")
        images.append(_image(cloud.sample))
        titles.append(_title(number, cloud))
        on_progress(number + 1, count)
    contact_sheet(images, titles, folder / SHEET)
    return folder / SHEET


def as_cloud(cloud: TrainingCloud) -> Cloud:
    """A PLY cloud with its true normals and comments that tell what it is."""
    sample = cloud.sample
    names = ("x", "y", "z", "nx", "ny", "nz")
    types = [(name, "f4" if name.startswith("n") else "f8") for name in names]
    vertices = np.empty(len(sample.points), types)
    for name, column in zip(names, np.hstack([sample.points, sample.normals]).T, strict=True):
        vertices[name] = column
    comments = [f"{name} {fact}" for name, fact in cloud.facts.items()]
    stream, element = BytesIO(), PlyElement.describe(vertices, "vertex")
    PlyData([element], byte_order="<", comments=comments).write(stream)
    stream.seek(0)
    return read_cloud(stream)


def _image(sample: Sample) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    thinned = slice(None, None, -(-len(sample.points) // DRAWN))
    points, normals = sample.points[thinned], sample.normals[thinned]
    return cloud_image(points, normals, view=_view(normals), width=TILE, height=TILE)


def _view(normals: Floats) -> View:
    """A view of the side that a scan has seen; the usual one of a complete cloud."""
    azimuth, elevation = np.radians(VIEW)
    level = np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth), 0])
    eye = level + [0, 0, np.sin(elevation)] + 3 * normals.mean(0)
    tilt = np.arctan2(eye[2], np.hypot(eye[0], eye[1]))
    return float(np.degrees(np.arctan2(eye[1], eye[0]))), float(np.degrees(tilt))


def _title(number: int, cloud: TrainingCloud) -> str:
    facts = cloud.facts
    first = f"{number}: {facts['source']}"
    told = f"{len(cloud.sample.points):,} points, {facts['sampling']}; noise: {facts['noise']}"
    return "\n".join([*wrap(first, LINE), *wrap(told, LINE)])
