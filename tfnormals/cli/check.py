"""``tfnormals check-equivariance``: does a model follow rotations, reflections and the rest?"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import CloudError
from .console import new_table, print_table, progress_bar, say_error, write_json
from .options import DEFAULT_MODEL, JsonOption, ModelOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..equivariance import Row
    from ..geometry import Array

NUMBERS = (
    "worst\ndeg",
    "99 %\ndeg",
    "median\ndeg",
    "allowed\ndeg",
    "confidence\nchange",
    "points\nambiguous",
    "points\nwithout side",
)


def check_equivariance(
    cloud: Annotated[
        Path | None,
        typer.Argument(
            metavar="CLOUD", readable=False, help="Cloud to check on; by default a built-in set."
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    json_lines: JsonOption = False,
) -> None:
    """Measure how exactly normals follow.

    The cloud is rotated, mirrored, moved, scaled and reordered at random, in float64 and float32.
    The exit code is 1 if an angle is above its tolerance.
    """
    clouds = _clouds(cloud)
    from ..equivariance import check
    from ..pretrained import load_model

    network = load_model(model)
    try:
        with progress_bar("transforms") as on_progress:
            rows = check(network, clouds, on_progress)
    except CloudError as error:
        raise CloudError(f"{cloud}: {error}" if cloud else str(error)) from error
    if json_lines:
        for row in rows:
            write_json({**asdict(row), "model": model})
    else:
        print_table(_table(rows))
    failed = sum(not row.passed for row in rows)
    if failed:
        say_error(f"{model}: {failed} of {len(rows)} transforms above tolerance")
        raise typer.Exit(1)


def _clouds(cloud: Path | None) -> dict[str, "Array"]:
    if cloud is None:
        from ..equivariance import builtin_clouds

        return builtin_clouds()
    from ..clouds import read_cloud

    return {str(cloud): read_cloud(cloud).points}


def _table(rows: "Sequence[Row]") -> Table:
    table = new_table(("cloud", "transform", "dtype"), NUMBERS)
    table.add_column()
    for row in rows:
        judged = "worst" if row.dtype == "float64" else "median"
        table.add_row(
            row.cloud,
            row.transform,
            row.dtype,
            f"{row.worst_deg:.1e}",
            f"{row.p99_deg:.1e}",
            f"{row.median_deg:.1e}",
            f"{judged} {row.tolerance_deg:.0e}",
            f"{row.confidence_worst:.1e}",
            f"{row.ambiguous:,}",
            f"{row.sign_free:,}",
            _verdict(row),
            end_section=row.transform == rows[-1].transform,
        )
    return table


def _verdict(row: "Row") -> str:
    if not row.passed:
        return "FAILED"
    return "ambiguous" if row.ambiguous else "ok"
