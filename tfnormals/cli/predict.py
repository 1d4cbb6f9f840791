"""``tfnormals predict``: normals for the clouds in files and streams."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .batch import Batch
from .console import progress_bar, say_error, talk, write_json
from .journal import JOURNAL
from .options import (
    DEFAULT_MODEL,
    DeviceOption,
    JsonOption,
    ModelOption,
    OverwriteOption,
    usable_device,
)
from .predictor import Format, Predictor
from .sides import Direction, Names, Orient, SideOptions, Vector
from .targets import STREAM, Job, check_new_file, parsed_output, plan
from .tiles import surveyed
from .workers import Crew


def predict_clouds(
    clouds: Annotated[
        list[Path],
        typer.Argument(metavar="CLOUD", readable=False, help="Point clouds; - is stdin."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            parser=parsed_output,
            help="File, existing folder, or - for stdout; by default scan.normals.ply beside "
            "scan.ply, and stdout for stdin.",
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "auto",
    orient: Annotated[
        Orient | None,
        typer.Option(
            help="Side of the normals; by default outward, or towards the sensor that is given "
            "or that a PCD tells: its VIEWPOINT, or the origin of a depth picture."
        ),
    ] = None,
    viewpoint: Annotated[
        Vector | None, typer.Option(metavar="X Y Z", help="Position of the sensor.")
    ] = None,
    toward: Annotated[
        Direction | None,
        typer.Option(
            metavar="DIR",
            parser=Direction.parse,
            help="Normals point to this side, +z for an airborne scan: +x, -x, +y, -y, +z, -z or "
            "X,Y,Z.",
        ),
    ] = None,
    sensor_columns: Annotated[
        Names | None,
        typer.Option(
            metavar="X Y Z", help="Columns of the file with the sensor position of each point."
        ),
    ] = None,
    file_format: Annotated[
        Format | None,
        typer.Option("--format", help="What the clouds are, where their names do not tell."),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            readable=False,
            help="Draw the cloud with its normals: red where the surface that is seen faces away.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip what an earlier run with this option or with workers finished, unless the "
            f"cloud, the model or an option has changed; {JOURNAL} beside the results tells.",
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Do N clouds at a time, each with its share of the cores."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Let the workers of this Dask scheduler, such as tcp://host:8786, read and write "
            "the clouds: under the same paths as here.",
        ),
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="The clouds are parts of one surface, as tiles or scans from several places: "
            "normals as of the whole; with workers, each with its surroundings and a look at the "
            "whole.",
        ),
    ] = False,
    json_lines: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Nothing but errors on stderr.")
    ] = False,
) -> None:
    """Give every point an outward normal.

    The output is the input with unit normals and their confidence, 0 to 1, added or replaced;
    all else is kept.
    """
    sides = SideOptions(orient, viewpoint, toward, sensor_columns)
    sides.check()
    crew = Crew(workers, scheduler)
    crew.check()
    jobs = plan(clouds, output, file_format, overwrite=overwrite or resume)
    if len(jobs) < len(clouds) and not quiet:
        left_out = f"left out {len(clouds) - len(jobs)} of {len(clouds)} clouds"
        talk.print(f"{left_out}, which are outputs of others; -o FOLDER does them as well")
    if json_lines and any(job.target == STREAM for job in jobs):
        raise typer.BadParameter("stdout takes the cloud; give -o", param_hint="--json")
    if preview is not None:
        if len(jobs) > 1:
            raise typer.BadParameter("draws one cloud only", param_hint="--preview")
        check_new_file(preview, ".png", "--preview", overwrite=overwrite)
    predictor = Predictor(model, device, sides, file_format, preview, overwrite)
    if together and resume and not crew:
        raise typer.BadParameter(
            "with --together only where --workers or --scheduler do the clouds one by one",
            param_hint="--resume",
        )
    if together and crew:
        predictor = _with_tiles(jobs, predictor, quiet=quiet)
    batch = Batch(jobs, predictor, crew, together=together and not crew)
    if resume or crew:
        batch = _recorded(batch, resume=resume)
    if resume:
        batch, skipped = batch.resumed()
        if not quiet:
            talk.print(f"{len(skipped)} of {len(jobs)} clouds were finished before")
        if json_lines:
            for record in skipped:
                write_json({**record, "skipped": True})
    failed = _do(batch, json_lines=json_lines, quiet=quiet)
    if failed and len(jobs) > 1:
        say_error(f"{failed} of {len(jobs)} clouds failed")
    if failed:
        raise typer.Exit(1)


def _with_tiles(jobs: Sequence[Job], predictor: Predictor, *, quiet: bool) -> Predictor:
    """A predictor that knows all parts of the surface."""
    if any(job.source == STREAM for job in jobs):
        raise typer.BadParameter("not for stdin; name files", param_hint="--together")
    with progress_bar("survey", shown=not quiet) as tell:
        tiles = surveyed(jobs, predictor, tell)
    return replace(predictor, tiles=tiles)


def _do(batch: Batch, *, json_lines: bool, quiet: bool) -> int:
    """Does all jobs, telling of each; returns how many failed."""
    failed, left = 0, len(batch.jobs)
    try:
        with (
            progress_bar("predict", shown=not quiet) as tell,
            closing(batch.reports(tell)) as reports,
        ):
            for report in reports:
                left -= 1
                if report.points is None:
                    failed += 1
                    say_error(report.line)
                elif not quiet:
                    talk.print(report.line)
                if json_lines:
                    write_json(report.record)
    except KeyboardInterrupt:
        if batch.journal is not None:
            say_error(f"interrupted; {left} of {len(batch.jobs)} are left, --resume goes on")
        raise
    return failed


def _recorded(batch: Batch, *, resume: bool) -> Batch:
    """The same, kept in a journal; refuses what neither workers nor a later run could know."""
    option = "--resume" if resume else "--workers / --scheduler"
    if any(STREAM in job for job in batch.jobs):
        raise typer.BadParameter("not for stdin and stdout; name files", param_hint=option)
    if resume and batch.predictor.preview is not None:
        raise typer.BadParameter("draws nothing with --resume", param_hint="--preview")
    if batch.crew.workers is not None:
        usable_device(batch.predictor.device)
    return batch.recorded()
