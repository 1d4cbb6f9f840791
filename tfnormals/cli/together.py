"""Clouds that are parts of one surface: one graph for all, so that there are no seams."""

import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from ..errors import CloudError, OutputExistsError
from .console import Tell
from .outcome import Outcome, Report
from .sides import Side
from .tally import Tally
from .targets import Job

if TYPE_CHECKING:
    from ..clouds import Cloud
    from ..estimation import Estimate
    from ..geometry import Array
    from .predictor import Predictor


def reports_together(jobs: Sequence[Job], predictor: "Predictor", tell: Tell) -> Generator[Report]:
    """Reads all clouds, gives normals to the whole, writes each, and yields what is told of it.

    Raises:
        CloudError: If one cannot be read or does not go with the others; none is written then.
        ModelError: If the model is unknown or damaged.
    """
    tally, started = Tally(jobs, tell), time.perf_counter()
    clouds, sides = zip(*map(predictor.read, jobs), strict=True)
    check_alike(jobs, [cloud.points.shape[1] for cloud in clouds], sides)
    points = _joined([cloud.points for cloud in clouds])
    side = _shared(sides, clouds)
    seconds = time.perf_counter() - started
    predictor.load()
    started = time.perf_counter()
    try:
        whole = predictor.estimated(points, side, tally.share)
    except CloudError as error:
        raise CloudError(f"the clouds together: {error}") from error
    pace = (seconds + time.perf_counter() - started) / len(points)
    start = 0
    for job, cloud, own in zip(jobs, clouds, sides, strict=True):
        started, rows = time.perf_counter(), slice(start, start + len(cloud.points))
        part, start = part_of(whole, points, side, rows), rows.stop
        try:
            predictor.write(job, cloud, part)
            spent = pace * len(cloud.points) + time.perf_counter() - started
            report = Outcome(job, own, spent, part, cloud.losses).report(predictor.model)
        except (CloudError, OutputExistsError) as error:
            report = predictor.failure(job, str(error))
        tally.end(job, report)
        yield report


def check_alike(jobs: Sequence[Job], dimensions: Sequence[int], sides: Sequence[Side]) -> None:
    """Refuses clouds that are no parts of one.

    Raises:
        CloudError: If they have other coordinates, or normals of other kinds of sides.
    """
    for job, dimension, side in zip(jobs, dimensions, sides, strict=True):
        if dimension != dimensions[0]:
            raise CloudError(
                f"{job.source}: has {dimension} coordinates, {jobs[0].source} {dimensions[0]}; "
                "they do not go together"
            )
        if side.orient != sides[0].orient:
            raise CloudError(
                f"{job.source}: its normals would be {side.orient}, those of {jobs[0].source} "
                f"{sides[0].orient}; give --orient"
            )


def _joined(parts: Sequence["Array"]) -> "Array":
    """The rows of all."""
    import numpy as np

    from ..storage import room

    whole = room((sum(map(len, parts)), parts[0].shape[1]), np.float64)
    return np.concatenate(parts, out=whole)


def _shared(sides: Sequence[Side], clouds: Sequence["Cloud"]) -> Side:
    """The side of the whole: where there are sensors, that of each point."""
    import numpy as np

    if sides[0].orient != "viewpoint":
        return sides[0]
    sensors = [
        np.broadcast_to(np.asarray(side.viewpoint, float), cloud.points.shape)
        if side.sensors is None
        else side.sensors
        for side, cloud in zip(sides, clouds, strict=True)
    ]
    return Side("viewpoint", sensors=_joined(sensors))


def part_of(whole: "Estimate", points: "Array", side: Side, rows: slice) -> "Estimate":
    """What was found of some of the points."""
    import numpy as np

    finite = np.isfinite(points[rows]).all(1)
    unseen = 0
    if side.sensors is not None:
        unseen = int((finite & ~np.isfinite(side.sensors[rows]).all(1)).sum())
    return whole._replace(
        normals=whole.normals[rows],
        confidence=whole.confidence[rows],
        skipped=int((~finite).sum()),
        unseen=unseen,
    )
