"""``tfnormals check-equivariance``: do normals follow rotations, reflections and the rest?"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from ..errors import CloudError, DataError
from .check_tables import jump_table, layer_table, lie_table, transform_table
from .console import print_table, progress_bar, say_error, write_json
from .estimators import Subject, load_subject
from .options import DEFAULT_MODEL, JsonOption, OverwriteOption
from .targets import check_new_file

if TYPE_CHECKING:
    from ..findings import Findings
    from ..geometry import Array

T = TypeVar("T")


class _Wanted(NamedTuple):
    """What is checked besides the transforms."""

    continuity: bool
    lie: bool
    layerwise: bool


def check_equivariance(
    cloud: Annotated[
        Path | None,
        typer.Argument(
            metavar="CLOUD", readable=False, help="Cloud to check on; by default a built-in set."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME|PATH|MODULE:CALLABLE",
            help="Shipped model, model file, run folder, or a function of your own from points "
            "(n, 3) to normals (n, 3), or to normals and confidence (n,).",
        ),
    ] = DEFAULT_MODEL,
    unoriented: Annotated[
        bool, typer.Option("--unoriented", help="Signs of the normals mean nothing.")
    ] = False,
    continuity: Annotated[
        bool, typer.Option("--continuity", help="Also move points by almost nothing.")
    ] = False,
    lie: Annotated[
        bool, typer.Option("--lie", help="Also the Lie derivative: smooth error or jump?")
    ] = False,
    layerwise: Annotated[
        bool, typer.Option("--layerwise", help="Also that of each layer, on the worst cloud.")
    ] = False,
    points: Annotated[
        Path | None,
        typer.Option("--points", metavar="PLY", help="Cloud coloured by its worst errors."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="PNG", help="Draw what was found.")
    ] = None,
    overwrite: OverwriteOption = False,
    json_lines: JsonOption = False,
) -> None:
    """Measure how exactly normals follow.

    The cloud is rotated, mirrored, moved, scaled and reordered at random; networks are asked in
    float64 and float32. The exit code is 1 if anything is above its tolerance.
    """
    _check_targets(points, picture, overwrite=overwrite)
    clouds = _clouds(cloud)
    subject = load_subject(model)
    if layerwise and subject.network is None:
        raise typer.BadParameter(f"{model} is no network; leave it out", param_hint="--layerwise")
    if unoriented:
        from ..estimators import unoriented as without_signs

        subject = subject._replace(estimators=[*map(without_signs, subject.estimators)])
    found, refused = _examined(subject, clouds, _Wanted(continuity, lie, layerwise))
    if found.measured:
        _tell(found, model, json_lines=json_lines)
        _keep(found, model, points, picture)
    failed = found.verdicts.count(False)
    if failed:
        say_error(f"{model}: {failed} of {len(found.verdicts)} checks failed{_worst(found)}")
    if failed or refused:
        raise typer.Exit(1)


def _clouds(cloud: Path | None) -> dict[str, "Array"]:
    if cloud is None:
        from ..equivariance import builtin_clouds

        return builtin_clouds()
    from ..clouds import read_cloud

    return {str(cloud): read_cloud(cloud, dimensions=[3]).points}


def _check_targets(points: Path | None, picture: Path | None, *, overwrite: bool) -> None:
    """Refuses, before long work, files that could not be written."""
    for option, path, suffix in (("--points", points, ".ply"), ("--picture", picture, ".png")):
        if path is not None:
            check_new_file(path, suffix, option, overwrite=overwrite)


def _examined(
    subject: Subject, clouds: dict[str, "Array"], wanted: _Wanted
) -> tuple["Findings", int]:
    """What was found, and how many clouds were refused; those are told."""
    from ..continuity import MOVED, jumps
    from ..equivariance import KINDS, check
    from ..findings import Findings
    from ..local_equivariance import MOTIONS, layer_rows, lie_rows

    found, refused, exact = Findings(), 0, subject.estimators[0]
    rows = len(KINDS) * len(subject.estimators)
    rows += len(MOVED) * wanted.continuity + len(MOTIONS) * wanted.lie
    with progress_bar("checks") as on_progress:

        def counted(rows_of: Iterable[T]) -> Iterable[T]:
            for row in rows_of:
                yield row
                on_progress(len(found.verdicts), rows * len(clouds))

        for seed, (name, points) in enumerate(clouds.items()):
            try:
                found.measured.extend(counted(check(subject.estimators, name, points, seed)))
                if wanted.continuity:
                    found.jumps.extend(counted(jumps(exact, name, points, seed)))
                if wanted.lie:
                    found.lie.extend(counted(lie_rows(exact, name, points)))
            except (CloudError, DataError) as error:
                refused += 1
                say_error(f"{name}: {error}")
        if wanted.layerwise and subject.network is not None and found.measured:
            worst = found.worst
            found.layers = layer_rows(subject.network, worst.row.cloud, worst.points)
    return found, refused


def _tell(found: "Findings", model: str, *, json_lines: bool) -> None:
    if json_lines:
        for record in found.records():
            write_json({**record, "model": model})
        return
    from ..equivariance import KINDS
    from ..local_equivariance import STEPS

    print_table(transform_table([one.row for one in found.measured], KINDS))
    if found.jumps:
        print_table(jump_table(found.jumps))
    if found.lie:
        print_table(lie_table(found.lie, STEPS))
    if found.layers:
        print_table(layer_table(found.layers))


def _worst(found: "Findings") -> str:
    """What there is to say about the worst transform, if one failed."""
    row = found.worst.row
    if row.passed:
        return ""
    return (
        f"; worst transform: {row.transform} of {row.cloud} in {row.dtype}, {row.worst_deg:.3g} "
        f"degrees at worst, {row.share_above:.1%} of points above {row.tolerance_deg:.0e}"
    )


def _keep(found: "Findings", model: str, points: Path | None, picture: Path | None) -> None:
    if points is None and picture is None:
        return
    from ..clouds import write_cloud
    from ..equivariance_report import draw_findings, error_cloud

    if points is not None:
        write_cloud(error_cloud(found.worst), points, overwrite=True)
    if picture is not None:
        draw_findings(found, picture, model)
