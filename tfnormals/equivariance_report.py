"""What a check of equivariance found, as a picture and as a coloured cloud."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement

from .clouds import Cloud, read_cloud
from .equivariance import Measured
from .findings import Findings
from .local_equivariance import STEPS
from .pictures import save_figure

Array = NDArray[np.float64]

COLORS = colormaps["turbo"]
SCALE = LogNorm(1e-9, 180, clip=True)
"""Degrees: dark blue is rounding of float64, red is the opposite side."""
DARK = 0.45
"""Mean of red, green and blue below which text is white."""
DRAWN = 20_000
"""Points of a cloud that a picture shows; the worst of them."""
TINY = 1e-34
"""What a logarithmic axis shows of zero."""


def error_cloud(measured: Measured) -> Cloud:
    """The cloud of a measurement as PLY: error_deg, a colour for it, normals and confidence."""
    names = ["x", "y", "z", "red", "green", "blue", "error_deg"]
    types = ["f8"] * 3 + ["u1"] * 3 + ["f4"]
    vertices = np.empty(len(measured.points), list(zip(names, types, strict=True)))
    shades = np.round(255 * COLORS(SCALE(_finite(measured.error_deg)))[:, :3])
    columns = [*measured.points.T, *shades.T, measured.error_deg]
    for name, column in zip(names, columns, strict=True):
        vertices[name] = column
    stream = BytesIO()
    PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<").write(stream)
    stream.seek(0)
    return read_cloud(stream).with_normals(measured.still.normals, measured.still.confidence)


def draw_findings(findings: Findings, path: Path, title: str) -> None:
    """Draws what was found as PNG: angles, the worst transform, and what else was checked.

    Raises:
        DataError: If the file cannot be written.
    """
    below = [name for name in ("lie", "layers") if getattr(findings, name)]
    rows: list[Any] = [["angles", "worst"]]  # as matplotlib's nested lists are typed
    rows += [[below[0], below[-1]]] if below else []
    count = len({one.row.cloud for one in findings.measured})
    figure = Figure(
        figsize=(14, 2.5 + max(2.5, 0.35 * count) + 4.5 * bool(below)),
        dpi=110,
        layout="constrained",
    )
    axes = figure.subplot_mosaic(
        rows, per_subplot_kw={"worst": {"projection": "3d"}}, width_ratios=[3, 2]
    )
    _draw_angles(axes["angles"], findings)
    _draw_worst(axes["worst"], findings.worst)
    if findings.lie:
        _draw_lie(axes["lie"], findings)
    if findings.layers:
        _draw_layers(axes["layers"], findings)
    figure.suptitle(title)
    save_figure(figure, path)


def _draw_angles(axes: Axes, findings: Findings) -> None:
    """The worst angle of each cloud and transform, in the highest precision; tiny moves too."""
    dtype = findings.measured[0].row.dtype
    cells = {
        (one.row.cloud, one.row.transform): (one.row.worst_deg, one.row.passed)
        for one in findings.measured
        if one.row.dtype == dtype
    }
    cells |= {
        (row.cloud, f"{row.moved} jitter"): (row.worst_deg, row.passed) for row in findings.jumps
    }
    clouds = list(dict.fromkeys(cloud for cloud, _ in cells))
    kinds = list(dict.fromkeys(kind for _, kind in cells))
    image = np.full((len(clouds), len(kinds)), np.nan)
    for (cloud, kind), (angle, passed) in cells.items():
        at = clouds.index(cloud), kinds.index(kind)
        image[at] = _finite(np.array(angle))
        text = f"{angle:.0e}" if passed else f"{angle:.0e}\nFAILED"
        ink = "black" if np.mean(COLORS(SCALE(image[at]))[:3]) > DARK else "white"
        axes.text(at[1], at[0], text, ha="center", va="center", size=7, color=ink)
    axes.imshow(image, cmap=COLORS, norm=SCALE, aspect="auto")
    axes.set_xticks(range(len(kinds)), [kind.replace(" ", "\n") for kind in kinds], size=8)
    axes.set_yticks(range(len(clouds)), clouds, size=8)
    axes.set_title(f"worst angle in degrees, {dtype}")


def _draw_worst(axes: Axes, worst: Measured) -> None:
    """The error at each point of one cloud, the largest drawn last."""
    shown = np.argsort(_finite(worst.error_deg))[-DRAWN:]
    x, y, z = worst.points[shown].T
    error = _finite(worst.error_deg)[shown]
    axes.scatter(x, y, z, c=error, cmap=COLORS, norm=SCALE, s=6)  # type: ignore[misc]
    axes.set_aspect("equal")
    axes.set_axis_off()
    row = worst.row
    axes.set_title(
        f"{row.cloud}, {row.transform}, {row.dtype}\n{row.worst_deg:.1e} degrees at worst, "
        f"{row.share_above:.1%} of points above {row.tolerance_deg:.0e}"
    )


def _draw_lie(axes: Axes, findings: Findings) -> None:
    """Error against step; a slope of -2 is a jump."""
    for row in findings.lie:
        label = None if row.passed else f"{row.motion} of {row.cloud}: {row.verdict}"
        errors = np.maximum(row.errors, TINY)
        axes.loglog(STEPS, errors, ".-", color="silver" if row.passed else None, label=label)
    axes.set_xlabel("step")
    axes.set_title("local equivariance error; 1/step$^2$ is a jump, grey is exact")
    axes.grid(alpha=0.25)
    if not all(row.passed for row in findings.lie):
        axes.legend(fontsize=7)


def _draw_layers(axes: Axes, findings: Findings) -> None:
    """The own error of each layer."""
    names = [row.layer for row in findings.layers]
    colors = ["tab:green" if row.passed else "tab:red" for row in findings.layers]
    axes.bar(names, [max(row.own, TINY) for row in findings.layers], color=colors)
    axes.set_yscale("log")
    axes.tick_params("x", rotation=90, labelsize=7)
    axes.set_title(f"own error of each layer on {findings.layers[0].cloud}")


def _finite(angle: Array) -> Array:
    """Angles, 180 where an answer was not finite."""
    return np.nan_to_num(angle, nan=180.0)
