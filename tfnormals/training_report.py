"""The curves of a training run."""

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .errors import DataError
from .pictures import save_figure

METRICS = "metrics.jsonl"
"""As in ``training``, which would load torch."""
CURVES = "curves.png"
LOSSES = {"direction": "#2a6f97", "side": "#e07a5f", "error": "#6a994e"}
"""The parts of the loss and the colour of each."""
SMOOTHED = 50
"""Averaged over this part of a run in the curves: one fiftieth."""


def training_curves(run: Path) -> Path:
    """Draws the losses and the validation errors of a training run.

    Args:
        run: Folder of the run; the picture in it, curves.png, is replaced.

    Returns:
        The picture.

    Raises:
        DataError: If the folder has no metrics, or cannot be written to.
    """
    try:
        lines = (run / METRICS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{run}: no training run ({METRICS}: {error.strerror})") from error
    if not lines:
        raise DataError(f"{run}: {METRICS} is empty; train for at least one step")
    rows = [json.loads(line) for line in lines]
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_losses(left, rows)
    _draw_validation(right, [row for row in rows if "validation_rmse_deg" in row])
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_xlim(0, 1.02 * rows[-1]["step"])
        axes.grid(alpha=0.25)
    save_figure(figure, run / CURVES)
    return run / CURVES


def _draw_losses(axes: Axes, rows: list[dict[str, float]]) -> None:
    """Each loss, averaged over a part of the run."""
    steps = np.array([row["step"] for row in rows])
    window = np.ones(max(1, len(rows) // SMOOTHED))
    count = np.convolve(np.ones(len(rows)), window, "same")
    for name, color in LOSSES.items():
        values = np.array([row[name] for row in rows])
        smooth = np.convolve(values, window, "same") / count
        axes.plot(steps, smooth, color=color, label=name)
    axes.set_ylim(bottom=0)
    axes.set_title("training loss")
    axes.legend()


def _draw_validation(axes: Axes, rows: list[dict[str, float]]) -> None:
    """Angular errors on the left scale, the outward share on the right one."""
    steps = [row["step"] for row in rows]
    for name, color in (("rmse", "#2a6f97"), ("oriented_rmse", "#e07a5f")):
        values = [row[f"validation_{name}_deg"] for row in rows]
        label = name.replace("_", " ").replace("rmse", "RMSE")
        axes.plot(steps, values, ".-", color=color, label=label)
    axes.set_title("validation")
    axes.set_ylabel("degrees")
    axes.set_ylim(bottom=0)
    shares = axes.twinx()
    outward = [100 * row["validation_outward_share"] for row in rows]
    shares.plot(steps, outward, ".--", color="#6a994e", label="outward")
    shares.set_ylabel("normals pointing outward, %")
    shares.set_ylim(50, 100)
    axes.legend(handles=[*axes.lines, *shares.lines], loc="center right")
