"""Runs estimators over clouds with known normals, and averages what came out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .data.folders import EvaluationCloud, Truth, evaluation_clouds, load_truth
from .errors import DataError, TfnormalsError
from .metrics import NormalMetrics, cnd_rmse_deg, mean_metrics, normal_metrics

Array = NDArray[np.float64]
Estimator = Callable[[Array], Array]
"""Points (n, 3) to oriented normals (n, 3)."""
Figures = dict[str, str | int | float | None]
"""One line of a table, by column."""

AVERAGE = "average"
"""The variant under which `summary` gives the mean over the variants."""
METRICS = tuple(field.name for field in fields(NormalMetrics))


@dataclass(frozen=True)
class Row:
    """One estimator on one cloud.

    Attributes:
        estimator: Its name.
        shape: The shape, the same for all variants of it.
        variant: The list that the cloud is from.
        points: Number of points of the cloud.
        seconds: Time that the estimator took.
        metrics: Errors on the scored rows; None if the estimator failed.
        error: Why it failed, or None.
    """

    estimator: str
    shape: str
    variant: str
    points: int
    seconds: float
    metrics: NormalMetrics | None
    error: str | None = None

    def figures(self) -> Figures:
        """The row as flat columns; every metric is None if the estimator failed."""
        return {
            "estimator": self.estimator,
            "shape": self.shape,
            "variant": self.variant,
            "points": self.points,
            "seconds": self.seconds,
            **_columns(self.metrics),
            "error": self.error,
        }


class Answers(NamedTuple):
    """What the estimators made of one cloud."""

    cloud: EvaluationCloud
    truth: Truth
    normals: dict[str, Array]
    """By estimator, without those that failed; (n, 3), a direction in each scored row."""


def evaluate_folder(
    estimators: Mapping[str, Estimator],
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
    on_answers: Callable[[Answers], None] | None = None,
) -> list[Row]:
    """Errors of every estimator on every cloud of a folder.

    The estimators take turns on each cloud, so that all of them meet the same machine.

    Args:
        estimators: By name; one that raises a TfnormalsError has failed on that cloud.
        folder: As for `evaluation_clouds`.
        on_progress: Called with the number of clouds done and of all clouds, after each.
        on_answers: Called with the normals of each cloud, which are not kept.

    Raises:
        CloudError: If a cloud cannot be read.
        DataError: If the folder or the truth of a cloud cannot be used.
    """
    clouds = evaluation_clouds(folder)
    rows: list[Row] = []
    for done, cloud in enumerate(clouds, start=1):
        truth = cloud.load()
        clean = load_truth(cloud.clean) if cloud.clean else None
        answers = Answers(cloud, truth, {})
        rows += [_row(name, estimator, answers, clean) for name, estimator in estimators.items()]
        if on_answers:
            on_answers(answers)
        if on_progress:
            on_progress(done, len(clouds))
    return rows


def summary(rows: Sequence[Row]) -> list[Figures]:
    """Means per estimator and variant, and per estimator over its variants.

    A cloud on which an estimator failed is left out of that estimator's means only, and counted
    as failed: with a different number of failures two estimators do not compare.
    The last line of each estimator, of the variant "average", is the mean over its variants as
    PCPNet reports it. A figure that no cloud has is None.
    """
    lines: list[Figures] = []
    for name in dict.fromkeys(row.estimator for row in rows):
        own = [row for row in rows if row.estimator == name]
        means: list[tuple[NormalMetrics, float]] = []
        for variant in dict.fromkeys(row.variant for row in own):
            chosen = [row for row in own if row.variant == variant]
            mean = _mean([(row.metrics, _pace(row)) for row in chosen if row.metrics])
            lines.append(_line(name, variant, chosen, mean))
            means += [mean] if mean else []
        lines.append(_line(name, AVERAGE, own, _mean(means)))
    return lines


def _row(name: str, estimator: Estimator, answers: Answers, clean: Truth | None) -> Row:
    """The row of an estimator; its normals go into the answers."""
    cloud, truth, _ = answers
    started = time.perf_counter()
    error, metrics = None, None
    try:
        normals = estimator(truth.points)
        seconds = time.perf_counter() - started
        metrics = _metrics(normals, truth, clean)
        answers.normals[name] = normals
    except TfnormalsError as failure:
        seconds = time.perf_counter() - started
        error = str(failure)
    return Row(name, cloud.shape, cloud.variant, len(truth.points), seconds, metrics, error)


def _metrics(normals: Array, truth: Truth, clean: Truth | None) -> NormalMetrics:
    """Errors on the scored rows.

    Raises:
        DataError: If there is no direction for one of them.
    """
    points, true, predicted = (
        part[truth.scored] for part in (truth.points, truth.normals, normals)
    )
    usable = np.isfinite(predicted).all(axis=1) & (np.abs(predicted).max(axis=1) > 0)
    if not usable.all():
        raise DataError(f"no direction for {(~usable).sum()} of {len(usable)} scored points")
    cnd = cnd_rmse_deg(points, predicted, clean.points, clean.normals) if clean else None
    return normal_metrics(predicted, true, cnd)


def _pace(row: Row) -> float:
    return row.seconds / row.points * 100_000


def _mean(parts: Sequence[tuple[NormalMetrics, float]]) -> tuple[NormalMetrics, float] | None:
    if not parts:
        return None
    metrics, paces = zip(*parts, strict=True)
    return mean_metrics(metrics), float(np.mean(paces))


def _line(
    name: str, variant: str, rows: Sequence[Row], mean: tuple[NormalMetrics, float] | None
) -> Figures:
    metrics, pace = mean or (None, None)
    return {
        "estimator": name,
        "variant": variant,
        "clouds": len(rows),
        "failed": sum(row.metrics is None for row in rows),
        **_columns(metrics),
        "seconds_per_100k": pace,
    }


def _columns(metrics: NormalMetrics | None) -> Figures:
    return asdict(metrics) if metrics else dict.fromkeys(METRICS)
