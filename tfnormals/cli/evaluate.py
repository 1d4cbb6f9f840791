"""``tfnormals evaluate``: how far the normals are from the truth."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from .console import new_table, print_table, progress_bar, say_error, talk, write_json
from .options import DEFAULT_MODEL, DeviceOption, JsonOption, OverwriteOption, usable_device
from .targets import check_report

if TYPE_CHECKING:
    from ..evaluation import Estimator, Figures, Row
    from ..evaluation_report import EvaluationReport
    from ..network import TensorFramesPointNet

Baseline = Literal["open3d"]


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
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write a page, DIR/index.html, with tables, curves and pictures."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    json_lines: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Compare normals with the truth.

    The table has a line for every variant of the clouds and one for their average.
    """
    from ..evaluation import evaluate_folder

    page = check_report(report, overwrite=overwrite) if report else None
    with ExitStack() as stack:
        estimators = _estimators(models or [DEFAULT_MODEL], device)
        if baseline:
            from ..baseline import Open3dNormals

            estimators[baseline] = stack.enter_context(Open3dNormals())
        on_progress = stack.enter_context(progress_bar(str(data)))
        drawn = _new_report(data, len(estimators)) if page else None
        rows = evaluate_folder(estimators, data, on_progress, drawn.add if drawn else None)
    _tell(rows, per_shape=per_shape, json_lines=json_lines)
    if page and drawn:
        drawn.write(page, str(data), rows)
        talk.print(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    failures = [row for row in rows if row.error]
    for row in failures:
        say_error(f"{row.estimator} on {row.shape} {row.variant}: {row.error}")
    if any(row.estimator != baseline for row in failures):
        raise typer.Exit(1)


def _new_report(data: Path, estimators: int) -> "EvaluationReport":
    from ..data.folders import evaluation_clouds
    from ..evaluation_report import EvaluationReport

    return EvaluationReport(len(evaluation_clouds(data)), estimators)


def _tell(rows: Sequence["Row"], *, per_shape: bool, json_lines: bool) -> None:
    from ..evaluation import summary
    from ..evaluation_table import CLOUD, MEAN

    shapes, means = [row.figures() for row in rows] if per_shape else [], summary(rows)
    if json_lines:
        for line in [*shapes, *means]:
            write_json(line)
        return
    if per_shape:
        print_table(_table(shapes, ("estimator", "variant", "shape"), CLOUD))
    print_table(_table(means, ("estimator", "variant"), MEAN))


def _estimators(models: Sequence[str], device: str) -> dict[str, "Estimator"]:
    from ..estimation import estimate
    from ..pretrained import load_model

    place = usable_device(device)

    def estimator(network: "TensorFramesPointNet") -> "Estimator":
        return lambda points: estimate(points, network, device=place).normals

    return {model: estimator(load_model(model)) for model in models}


def _table(lines: Sequence["Figures"], texts: Sequence[str], around: tuple[str, str]) -> Table:
    from ..evaluation import AVERAGE
    from ..evaluation_table import cells, headings

    table = new_table(texts, headings(*around))
    for line in lines:
        told = [str(line[name]) for name in texts]
        table.add_row(*told, *cells(line, *around), end_section=line["variant"] == AVERAGE)
    return table
