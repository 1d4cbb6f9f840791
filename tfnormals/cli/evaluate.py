"""``tfnormals evaluate``: how far the normals are from the truth."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from .console import new_table, print_table, progress_bar, say_error, write_json
from .options import DEFAULT_MODEL, DeviceOption, JsonOption, usable_device

if TYPE_CHECKING:
    from ..evaluation import Estimator, Figures
    from ..network import TensorFramesPointNet

Baseline = Literal["open3d"]

COLUMNS = {
    "rmse_deg": "unoriented\nRMSE\ndeg",
    "oriented_rmse_deg": "oriented\nRMSE\ndeg",
    "oriented_rmse_flipped_deg": "oriented,\nflipped per\nshape, deg",
    "outward_share": "outward\n\n%",
    "pgp5": "PGP5\n\n%",
    "pgp10": "PGP10\n\n%",
    "median_deg": "median\n\ndeg",
    "cnd_rmse_deg": "CND\n\ndeg",
}
SHARES = {"outward_share", "pgp5", "pgp10"}


def evaluate_models(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="PCPNet-layout folder, or clouds that carry their true normals."
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME|PATH",
            help="Shipped model, model file or run folder; may be repeated.",
            show_default=DEFAULT_MODEL,
        ),
    ] = None,
    baseline: Annotated[
        Baseline | None, typer.Option(help="Another tool, on the same clouds in the same run.")
    ] = None,
    per_shape: Annotated[
        bool, typer.Option("--per-shape", help="Every cloud too, before the means.")
    ] = False,
    json_lines: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Compare normals with the truth.

    The table has a line for every variant of the clouds and one for their average.
    """
    from ..baseline import Open3dNormals
    from ..evaluation import evaluate_folder, summary

    with ExitStack() as stack:
        estimators = _estimators(models or [DEFAULT_MODEL], device)
        if baseline:
            estimators[baseline] = stack.enter_context(Open3dNormals())
        on_progress = stack.enter_context(progress_bar(str(data)))
        rows = evaluate_folder(estimators, data, on_progress)
    shapes, means = [row.figures() for row in rows] if per_shape else [], summary(rows)
    if json_lines:
        for line in [*shapes, *means]:
            write_json(line)
    else:
        if per_shape:
            print_table(_table(shapes, ("shape", "points"), "seconds"))
        print_table(_table(means, ("clouds",), "seconds_per_100k"))
    failures = [row for row in rows if row.error]
    for row in failures:
        say_error(f"{row.estimator} on {row.shape} {row.variant}: {row.error}")
    if any(row.estimator != baseline for row in failures):
        raise typer.Exit(1)


def _estimators(models: Sequence[str], device: str) -> dict[str, "Estimator"]:
    from ..estimation import estimate
    from ..pretrained import load_model

    place = usable_device(device)

    def estimator(network: "TensorFramesPointNet") -> "Estimator":
        return lambda points: estimate(points, network, device=place).normals

    return {model: estimator(load_model(model)) for model in models}


def _table(lines: Sequence["Figures"], counted: Sequence[str], timed: str) -> Table:
    from ..evaluation import AVERAGE

    labels = (*COLUMNS.values(), timed.replace("_per_", "\nper\n"))
    table = new_table(("estimator", "variant"), (*counted, *labels))
    for line in lines:
        table.add_row(
            str(line["estimator"]),
            str(line["variant"]),
            *(_counted(line, name) for name in counted),
            *(_figure(line[name], percent=name in SHARES) for name in (*COLUMNS, timed)),
            end_section=line["variant"] == AVERAGE,
        )
    return table


def _counted(line: "Figures", name: str) -> str:
    return f"{line[name]}, {line['failed']} failed" if line.get("failed") else str(line[name])


def _figure(value: str | int | float | None, *, percent: bool) -> str:
    if not isinstance(value, float):
        return "-"
    return f"{100 * value:.1f}" if percent else f"{value:.2f}"
