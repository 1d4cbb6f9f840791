"""Whether ``normal_confidence`` means what it says, on clouds with known normals.

    python benchmarks/reliability.py DIR [--model NAME] [--picture docs/reliability.png]

DIR is a PCPNet-layout folder, as ``make_benchmark.py`` writes it. A confidence is the expected
cosine of the angle between a normal and the true outward one, so the mean cosine of all normals
with a confidence of 0.7 should be 0.7.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tfnormals.data.folders import evaluation_clouds
from tfnormals.estimation import estimate
from tfnormals.network import TensorFramesPointNet
from tfnormals.pretrained import DEFAULT_MODEL, load_model

Array = NDArray[np.float64]

BINS = 10
DROPPED = 0.05
"""Share of the least confident points that a user may throw away."""


class Scored(NamedTuple):
    """The scored points of one cloud."""

    variant: str
    confidence: Array
    cosine: Array
    """To the true outward normal."""


class Removed(NamedTuple):
    """Which share of the wrong sides of some clouds goes with the least confident points."""

    wrong: float
    """Share of normals on the wrong side, mean over clouds."""
    of_all: float
    """Dropped: points below the confidence that ``DROPPED`` of all of them have."""
    of_each: float
    """Dropped: ``DROPPED`` of every cloud."""
    possible: float
    """The same, if the wrong ones were known."""


def scored(network: TensorFramesPointNet, folder: Path) -> Iterator[Scored]:
    """Confidences and cosines, cloud by cloud."""
    for cloud in evaluation_clouds(folder):
        truth = cloud.load()
        result = estimate(truth.points, network)
        rows = truth.scored
        cosine = (result.normals[rows] * truth.normals[rows]).sum(1)
        yield Scored(cloud.variant, result.confidence[rows], cosine)


def removed(clouds: list[Scored]) -> Removed:
    """What dropping the least confident points does."""
    wrong = [cloud.cosine < 0 for cloud in clouds]
    every, confidence = np.concatenate(wrong), np.concatenate([c.confidence for c in clouds])
    each = sum(_among_least(w, c.confidence) for w, c in zip(wrong, clouds, strict=True))
    known = sum(_among_least(w, -w.astype(float)) for w in wrong)
    total = max(every.sum(), 1)
    of_all = _among_least(every, confidence)
    mean = float(np.mean([w.mean() for w in wrong]))
    return Removed(mean, of_all / total, each / total, known / total)


def _among_least(wrong: NDArray[np.bool_], order: Array) -> int:
    """How many wrong ones are in the share that is dropped."""
    least = np.argsort(order, kind="stable")[: int(DROPPED * len(wrong))]
    return int(wrong[least].sum())


def binned(clouds: list[Scored]) -> list[tuple[float, float, float, float]]:
    """Mean confidence, mean cosine, share outward and share of the points, for each bin."""
    confidence = np.concatenate([cloud.confidence for cloud in clouds])
    cosine = np.concatenate([cloud.cosine for cloud in clouds])
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (
            float(confidence[inside].mean()),
            float(cosine[inside].mean()),
            float((cosine[inside] > 0).mean()),
            float(inside.mean()),
        )
        for inside in (number == each for each in range(BINS))
        if inside.any()
    ]


def draw(curves: dict[str, list[tuple[float, float, float, float]]], path: Path) -> None:
    """Mean cosine over confidence: all clouds thick, each variant thin."""
    figure = Figure(figsize=(5, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    for name, rows in curves.items():
        x, y = [row[0] for row in rows], [row[1] for row in rows]
        every = name == "all"
        axes.plot(x, y, label=name, linewidth=3 if every else 1, zorder=3 if every else 2)
    axes.set(xlabel="normal_confidence", ylabel="mean cosine to the true outward normal")
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small")
    figure.savefig(path)


def _row(name: str, effect: Removed) -> str:
    shares = " | ".join(f"{share:.0%}" for share in effect[1:])
    return f"| {name} | {100 * effect.wrong:.2f} | {shares} |"


def main() -> None:
    """Prints a table and what dropping unsure points does, and draws the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="Shipped name or path.")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    clouds = list(scored(load_model(args.model), args.folder))
    print("| confidence | mean cosine | outward, % | of the points, % |\n|---|---|---|---|")
    for confidence, cosine, outward, share in binned(clouds):
        print(f"| {confidence:.2f} | {cosine:.2f} | {100 * outward:.1f} | {100 * share:.1f} |")
    curves = {"all": binned(clouds)}
    print(f"\nWrong sides that go with the least sure {DROPPED:.0%}\n")
    print("| variant | wrong, % | of all points | of each cloud | of that possible |")
    print("|---|---|---|---|---|")
    for variant in dict.fromkeys(cloud.variant for cloud in clouds):
        own = [cloud for cloud in clouds if cloud.variant == variant]
        curves[variant] = binned(own)
        print(_row(variant, removed(own)))
    print(_row("all", removed(clouds)))
    if args.picture:
        draw(curves, args.picture)


if __name__ == "__main__":
    main()
