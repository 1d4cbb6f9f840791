"""Curves of angular errors: how many lie below an angle, and how many at it."""

from collections.abc import Mapping
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .metrics import angle_deg

Array = NDArray[np.float64]

STEP = 0.5
"""Degrees of a bin."""
BINS = round(180 / STEP)
NARROW = 30
"""Degrees up to which unoriented errors are drawn; beyond, all curves are flat."""


def error_shares(predicted: Array, truth: Array) -> Array:
    """The share of oriented angles in each bin (BINS,), of normals (n, 3), n >= 1."""
    counts, _ = np.histogram(angle_deg(predicted, truth), BINS, (0, 180))
    return counts / len(truth)


def share_below(shares: Array, *, oriented: bool) -> tuple[Array, Array]:
    """The PGP curve: angles 0, STEP, ... and the share (0 to 1) of errors below each.

    Args:
        shares: As from ``error_shares``, or their mean over clouds.
        oriented: False to take normals for lines, so that angles end at 90.
    """
    if not oriented:
        shares = shares[: BINS // 2] + shares[: BINS // 2 - 1 : -1]
    angles = np.linspace(0, STEP * len(shares), len(shares) + 1)
    return angles, np.array([0, *shares.cumsum()])


def draw_errors(shares: Mapping[str, Array]) -> bytes:
    """Both PGP curves and the histogram of oriented errors of each estimator, as SVG."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, one in shares.items():
        _draw_below(left, one, name, oriented=False)
        _draw_below(middle, one, name, oriented=True)
        right.stairs(100 * one, STEP * np.arange(BINS + 1), label=name)
    left.set(title="unoriented errors below an angle (PGP)", xlim=(0, NARROW), ylim=(0, 100))
    middle.set(title="oriented errors below an angle (PGP)", xlim=(0, 180), ylim=(0, 100))
    right.set(title=f"oriented errors, bins of {STEP} degrees", xlim=(0, 180), yscale="log")
    for axes in (left, middle, right):
        axes.set(xlabel="degrees", ylabel="% of points")
        axes.grid(alpha=0.25)
    for axes in (middle, right):
        axes.set_xticks(range(0, 181, 30))
    middle.legend(loc="lower right")
    stream = BytesIO()
    FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return stream.getvalue()


def _draw_below(axes: Axes, shares: Array, name: str, *, oriented: bool) -> None:
    angles, below = share_below(shares, oriented=oriented)
    axes.plot(angles, 100 * below, label=name)
