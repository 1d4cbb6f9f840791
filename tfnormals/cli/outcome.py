"""What ``predict`` tells about a cloud, to people and to programs."""

from typing import TYPE_CHECKING, NamedTuple

from .sides import Side
from .targets import Job

if TYPE_CHECKING:
    from ..estimation import Estimate


class Report(NamedTuple):
    """What is told about one cloud."""

    record: dict[str, object]
    """To programs."""
    line: str
    """To people."""
    points: int | None = None
    """How many were done; None if it failed."""


class Outcome(NamedTuple):
    """What was done to one cloud."""

    job: Job
    side: Side
    seconds: float
    estimate: "Estimate"
    losses: tuple[str, ...]
    """What of the input the output cannot hold."""

    def report(self, model: str) -> Report:
        """What is told, of a cloud to which a model was given."""
        record = {**self.figures(), "model": self.contour_model or model}
        return Report(record, self.line(), self._points)

    def figures(self) -> dict[str, object]:
        """All of it as flat columns."""
        return {
            "input": str(self.job.source),
            "output": str(self.job.target),
            "points": self._points,
            "points_not_finite": self.estimate.skipped,
            "seconds": round(self.seconds, 3),
            "points_per_second": round(self._points / self.seconds),
            "low_confidence_share": round(self._low_confidence_share, 4),
            "orient": self.side.orient,
            "viewpoint": self.side.viewpoint,
            "viewpoint_source": self.side.source,
            "points_without_sensor": self.estimate.unseen,
            "toward": self.side.toward,
            "planar": self.estimate.planar,
            "ambiguous": self.estimate.ambiguous,
            "moved_to_cpu": self.estimate.moved,
            "losses": self.losses,
        }

    def line(self) -> str:
        """What matters of it, in one line."""
        first = f"{self.job.source_name} -> {self.job.target_name}: {self._points:,} points in "
        pace = f"{self.seconds:.1f} s ({self._points / self.seconds:,.0f} points/s)"
        unsure = f"{self._low_confidence_share:.1%} with low confidence"
        return "; ".join([f"{first}{pace}, {unsure}", *self._remarks()])

    @property
    def contour_model(self) -> str | None:
        """The model, if this is a 2-D contour."""
        from ..contours import CONTOUR_MODEL

        return CONTOUR_MODEL if self.estimate.normals.shape[1] == 2 else None

    def _remarks(self) -> list[str]:
        remarks = []
        if self.contour_model:
            remarks.append(f"a 2-D contour, taken to be closed (model {self.contour_model})")
        if self.side.told:
            remarks.append(self.side.told)
        if self.estimate.unseen:
            remarks.append(f"{self.estimate.unseen:,} without a sensor, their side is a guess")
        if self.estimate.skipped:
            remarks.append(f"{self.estimate.skipped:,} not finite, given NaN")
        if self.estimate.planar and self.side.orient == "outward":
            remarks.append("all points lie on one plane, so the side is unknown")
        if self.estimate.ambiguous:
            remarks.append("the cloud is symmetric, so a turned copy may get other normals")
        if self.estimate.moved:
            remarks.append("the GPU had no room for it, so the CPU did it")
        return [*remarks, *self.losses]

    @property
    def _points(self) -> int:
        return len(self.estimate.confidence)

    @property
    def _low_confidence_share(self) -> float:
        from ..estimation import LOW_CONFIDENCE  # torch takes seconds to import

        low = int((self.estimate.confidence < LOW_CONFIDENCE).sum()) - self.estimate.skipped
        return low / max(self._points - self.estimate.skipped, 1)  # a tile may have none
