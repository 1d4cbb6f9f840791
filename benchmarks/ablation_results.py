"""The results as a table and a plot: mean over seeds, and how far seeds are from it."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from ablation_clouds import POSES, Pose
from ablation_model import FRAMES, MESSAGES, SHARED, Variant
from ablation_runs import Cell, Row
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ERRORS = {
    "rmse_deg": ("Direction", "unoriented RMSE, degrees", 1.0),
    "inward": ("Orientation", "normals on the wrong side, %", 100.0),
}
"""Of each error: its name, what it is, and by what it is multiplied."""


def write_results(rows: dict[Cell, Row], folder: Path) -> None:
    """Writes ``ablation.png`` and ``ablation_results.md``."""
    variants: dict[Variant, list[Row]] = {}
    for cell, row in sorted(rows.items(), key=lambda item: _place(item[0].variant)):
        variants.setdefault(cell.variant, []).append(row)
    (folder / "ablation_results.md").write_text(_page(variants))
    _plot(variants).savefig(folder / "ablation.png", dpi=90)


def _place(variant: Variant) -> tuple[int, int]:
    return FRAMES.index(variant.frames), MESSAGES.index(variant.messages)


def _page(variants: dict[Variant, list[Row]]) -> str:
    every = [row for rows in variants.values() for row in rows]
    setup = every[0]["setup"]
    budget = f"{setup['seconds']:.0f} s of processor time"
    if setup["steps"] is not None:
        budget = f"{setup['steps']} steps"
    seeds = len({row["seed"] for row in every})
    lines = [
        "# Frames and messages, compared",
        "",
        f"Written by `python benchmarks/ablation.py --plot`. {len(every)} runs with {seeds} "
        f"seeds, {budget} each, on {setup['train_clouds']} clouds of {setup['points']} points; "
        f"{setup['test_clouds']} test clouds of other solids. Mean and standard deviation over "
        "seeds. One frame for a whole cloud makes messages of any kind the same.",
        "",
        "What it says, and what the shipped network uses: [ablation.md](ablation.md).",
        "",
        "![Errors of all variants in all poses](ablation.png)",
    ]
    for error, (name, meaning, _) in ERRORS.items():
        lines += ["", f"## {name}: {meaning}", "", *_table(variants, error)]
    lines += ["", "## Cost", "", *_costs(variants)]
    return "\n".join(lines) + "\n"


def _table(variants: dict[Variant, list[Row]], error: str) -> list[str]:
    def told(rows: list[Row], pose: Pose) -> str:
        middle, spread = _over_seeds(rows, error, pose)
        return f"{middle:.2f} ± {spread:.2f}"

    return _lines(
        ["frames", "messages", *POSES],
        (
            [variant.frames, _messages(variant), *(told(rows, pose) for pose in POSES)]
            for variant, rows in variants.items()
        ),
    )


def _costs(variants: dict[Variant, list[Row]]) -> list[str]:
    columns = {"seconds_per_step": ".3f", "seconds_per_test_cloud": ".3f", "steps": ".0f"}
    titles = [name.replace("_", " ") for name in columns]
    return _lines(
        ["frames", "messages", *titles, "parameters"],
        (
            [
                variant.frames,
                _messages(variant),
                *(format(fmean(row[name] for row in rows), how) for name, how in columns.items()),
                f"{rows[0]['parameters']:,}",
            ]
            for variant, rows in variants.items()
        ),
    )


def _messages(variant: Variant) -> str:
    return "any" if variant.frames in SHARED else variant.messages


def _lines(titles: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A table in Markdown."""
    ruler = ["---"] * 2 + ["---:"] * (len(titles) - 2)
    return [f"| {' | '.join(row)} |" for row in (titles, ruler, *rows)]


def _over_seeds(rows: list[Row], error: str, pose: Pose) -> tuple[float, float]:
    """Mean and standard deviation."""
    values = [ERRORS[error][2] * row["poses"][pose][error] for row in rows]
    return fmean(values), stdev(values) if len(values) > 1 else 0.0


def _plot(variants: dict[Variant, list[Row]]) -> Figure:
    figure = Figure(figsize=(15, 6), layout="constrained")
    panels = figure.subplots(len(ERRORS), len(POSES), sharex=True, sharey="row")
    for line, (error, (_, meaning, _)) in zip(panels, ERRORS.items(), strict=True):
        for panel, pose in zip(line, POSES, strict=True):
            _draw_bars(panel, variants, error, pose)
        line[0].set_ylabel(meaning)
    for panel, pose in zip(panels[0], POSES, strict=True):
        panel.set_title(f"test pose: {pose}")
    panels[0, 0].legend(title="messages", fontsize="small")
    return figure


def _draw_bars(panel: Axes, variants: dict[Variant, list[Row]], error: str, pose: Pose) -> None:
    places = np.arange(len(FRAMES))
    for number, messages in enumerate(MESSAGES):
        known = [variants.get(Variant(frames, messages)) for frames in FRAMES]
        found = [_over_seeds(rows, error, pose) if rows else (0.0, 0.0) for rows in known]
        middles, spreads = zip(*found, strict=True)
        at = places + 0.27 * (number - np.isin(FRAMES, SHARED, invert=True))
        panel.bar(at, middles, 0.25, yerr=spreads, capsize=2, label=messages)
    panel.set_xticks(places, FRAMES, rotation=30, ha="right")
