"""Parts of one surface done one by one: each with what surrounds it and a look at the whole."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CloudError
from .journal import stamp
from .sides import Side
from .targets import Job
from .together import check_alike, part_of

if TYPE_CHECKING:
    from ..estimation import Estimate, OnProgress
    from ..geometry import Array
    from ..orientation import Whole
    from .predictor import Predictor

HALO = 64
"""Spacings of its points, about, within which the points of others surround a part."""
SAMPLE = 65_536
"""Points of the whole that are looked at, about."""


class Tile(NamedTuple):
    """A part."""

    source: Path
    low: tuple[float, ...]
    """Least coordinates."""
    high: tuple[float, ...]


@dataclass(frozen=True)
class Tiles:
    """All parts and a look at the whole; workers get it with what they are to do."""

    digest: str
    """Of all parts: another one would make other normals."""
    tiles: tuple[Tile, ...]
    whole: "Whole | None" = field(compare=False)
    """Where normals are to be outward."""

    def found(
        self,
        job: Job,
        points: "Array",
        side: Side,
        predictor: "Predictor",
        on_progress: "OnProgress",
    ) -> "Estimate":
        """What is found of a part.

        Raises:
            CloudError: If it or a part beside it is of no use.
        """
        import numpy as np

        every = np.concatenate([points, *self._around(job, points, predictor)])
        if side.sensors is not None:  # what is found of the others does not matter
            others = np.zeros((len(every) - len(points), points.shape[1]))
            side = side._replace(sensors=np.concatenate([side.sensors, others]))
        found = predictor.estimated(every, side, on_progress, self.whole)
        return part_of(found, every, side, slice(0, len(points)))

    def _around(self, job: Job, points: "Array", predictor: "Predictor") -> "Iterator[Array]":
        import numpy as np

        inside = points[np.isfinite(points).all(1)]
        if not len(inside):
            return
        low, high = inside.min(0), inside.max(0)
        halo = HALO * np.linalg.norm(high - low) / np.sqrt(len(inside))
        for tile in self.tiles:
            apart = (np.array(tile.low) > high + halo) | (np.array(tile.high) < low - halo)
            if tile.source == job.source.absolute() or apart.any():
                continue
            others = predictor.cloud(tile.source).points
            yield others[((others >= low - halo) & (others <= high + halo)).all(1)]


def surveyed(jobs: Sequence[Job], predictor: "Predictor", on_progress: "OnProgress") -> Tiles:
    """Reads all parts once, and looks at some points of the whole.

    Raises:
        CloudError: If one cannot be read or does not go with the others.
        ModelError: If the model is unknown or damaged.
    """
    import numpy as np

    rng, tiles, sides, samples, counts = np.random.default_rng(0), [], [], [], []
    for done, job in enumerate(jobs, start=1):
        cloud = predictor.cloud(job.source)
        if cloud.points.shape[1] != 3:
            raise CloudError(
                f"{job.source}: a 2-D contour; contours go together on one machine only, leave "
                "out --workers and --scheduler"
            )
        points = cloud.points[np.isfinite(cloud.points).all(1)]
        if not len(points):
            raise CloudError(f"{job.source}: no finite point; leave it out")
        low, high = (tuple(edge.tolist()) for edge in (points.min(0), points.max(0)))
        tiles.append(Tile(job.source.absolute(), low, high))
        sides.append(predictor.side(job, cloud))
        counts.append(len(points))
        samples.append(points[rng.permutation(len(points))[:SAMPLE]])
        on_progress(done, len(jobs))
    check_alike(jobs, [3] * len(jobs), sides)
    share, whole = min(1, SAMPLE / sum(counts)), None
    if sides[0].orient == "outward":
        kept = [sample[: round(share * n)] for sample, n in zip(samples, counts, strict=True)]
        try:
            whole = predictor.overview(np.concatenate(kept))
        except CloudError as error:
            raise CloudError(f"the clouds together: {error}") from error
    return Tiles(_digest(tiles), tuple(tiles), whole)


def _digest(tiles: Sequence[Tile]) -> str:
    told = [[str(tile.source), stamp(tile.source)] for tile in tiles]
    return sha256(json.dumps(told).encode()).hexdigest()
