"""What rivals.py measured, as markdown tables."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from tfnormals.evaluation import AVERAGE, Figures, Row, summary
from tfnormals.evaluation_table import COLUMNS, SHARES


def report(rows: Sequence[Row], ours: str) -> str:
    """Errors by variant, averages over the clouds that nobody failed on, seconds, and failures.

    Args:
        rows: Of all tools on all clouds.
        ours: The tool that the seconds of the others are divided by.
    """
    parts = [error_table(summary(rows))]
    failed = {_cloud(row) for row in rows if row.error}
    shared = [row for row in rows if _cloud(row) not in failed]
    if failed and shared:
        averages = [line for line in summary(shared) if line["variant"] == AVERAGE]
        parts += ["Only the clouds on which nobody failed:", error_table(averages)]
    parts += ["Outward normals, %:", outward_table(rows), time_table(rows, ours)]
    parts += [
        "\n".join(
            f"- {row.estimator} on {row.shape}, {row.variant}: {row.error}"
            for row in rows
            if row.error
        )
    ]
    return "\n\n".join(part for part in parts if part)


def error_table(lines: Sequence[Figures]) -> str:
    """The table of ``tfnormals evaluate``."""
    heads = [" ".join(head.split()) for head in COLUMNS.values()]
    return table(
        ["tool", "variant", "clouds", "failed", *heads],
        (
            [
                *(line[name] for name in ("estimator", "variant", "clouds", "failed")),
                *(_figure(line[name], percent=name in SHARES) for name in COLUMNS),
            ]
            for line in lines
        ),
    )


def outward_table(rows: Sequence[Row]) -> str:
    """A line for each shape with the shares in its variants; "-" where a tool failed."""
    tools = list(dict.fromkeys(row.estimator for row in rows))
    shapes = dict.fromkeys(row.shape for row in rows)
    shares = {
        (shape, tool): " / ".join(
            _figure(row.metrics and row.metrics.outward_share, percent=True)
            for row in rows
            if (row.shape, row.estimator) == (shape, tool)
        )
        for shape in shapes
        for tool in tools
    }
    variants = " / ".join(dict.fromkeys(row.variant for row in rows))
    return table(
        [f"shape ({variants})", *tools],
        ([shape, *(shares[shape, tool] for tool in tools)] for shape in shapes),
    )


def time_table(rows: Sequence[Row], ours: str) -> str:
    """Medians over all clouds; one that was cut off counts with the time until then."""
    reference = {_cloud(row): row.seconds for row in rows if row.estimator == ours}
    own = {
        tool: [row for row in rows if row.estimator == tool]
        for tool in dict.fromkeys(row.estimator for row in rows)
    }
    return table(
        ["tool", "finished", "median seconds", f"median of seconds / seconds of {ours}"],
        (
            [
                tool,
                f"{sum(row.error is None for row in part)} of {len(part)}",
                f"{median(row.seconds for row in part):.2f}",
                f"{median(row.seconds / reference[_cloud(row)] for row in part):.2f}",
            ]
            for tool, part in own.items()
        ),
    )


def choice_table(rows: Sequence[Row]) -> str:
    """The settings of a tool, best first."""
    averages = [line for line in summary(rows) if line["variant"] == AVERAGE]
    return error_table(sorted(averages, key=badness))


def badness(line: Figures) -> tuple[float, float, float]:
    """Failures, the unoriented plus the flipped oriented RMSE, and between equals the oriented."""
    if line["rmse_deg"] is None:
        return line["failed"], math.inf, math.inf
    both = line["rmse_deg"] + line["oriented_rmse_flipped_deg"]
    return line["failed"], round(both, 6), line["oriented_rmse_deg"]


def table(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A markdown table."""
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in [heads, rule, *lines])


def _cloud(row: Row) -> tuple[str, str]:
    return row.shape, row.variant


def _figure(value: float | None, *, percent: bool) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if percent else f"{value:.2f}"
