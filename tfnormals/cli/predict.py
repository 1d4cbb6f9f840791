"""``tfnormals predict``: normals for the clouds in files and streams."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import CloudError, DataError, OutputExistsError
from .console import progress_bar, say_error, talk, write_json
from .options import (
    DEFAULT_MODEL,
    DeviceOption,
    JsonOption,
    ModelOption,
    OverwriteOption,
    usable_device,
)
from .outcome import Outcome
from .sides import Direction, Names, Orient, Side, SideOptions, Vector
from .targets import STREAM, Job, check_new_file, plan

if TYPE_CHECKING:
    import torch

    from ..clouds import Cloud
    from ..geometry import Array
    from ..network import TensorFramesPointNet

Format = Literal["ply", "pcd", "xyz", "txt", "csv", "asc", "npy", "npz", "las", "laz", "parquet"]


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
            readable=False,
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
    jobs = plan(clouds, output, overwrite=overwrite)
    if json_lines and any(job.target == STREAM for job in jobs):
        raise typer.BadParameter("stdout takes the cloud; give -o", param_hint="--json")
    if preview is not None:
        if len(jobs) > 1:
            raise typer.BadParameter("draws one cloud only", param_hint="--preview")
        check_new_file(preview, ".png", "--preview", overwrite=overwrite)
    predictor = _Predictor(model, device, sides, file_format, preview, overwrite, quiet)
    failed = 0
    for number, job in enumerate(jobs, start=1):
        label = f"{number}/{len(jobs)} {job.source_name}" if len(jobs) > 1 else job.source_name
        try:
            outcome = predictor.run(job, label)
        except (CloudError, DataError, OutputExistsError) as error:
            failed += 1
            say_error(error)
            record: dict[str, object] = {
                "input": str(job.source),
                "error": str(error),
                "model": model,
            }
        else:
            record = outcome.figures()
            record["model"] = outcome.contour_model or model
            if not quiet:
                talk.print(outcome.line())
        if json_lines:
            write_json(record)
    if failed and len(jobs) > 1:
        say_error(f"{failed} of {len(jobs)} clouds failed")
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Predictor:
    """What all clouds of a call share; torch is imported when the first of them was read."""

    model: str
    device: str
    sides: SideOptions
    file_format: Format | None
    preview: Path | None
    overwrite: bool
    quiet: bool

    @cached_property
    def _network(self) -> "TensorFramesPointNet":
        from ..pretrained import load_model

        return load_model(self.model)

    @cached_property
    def _place(self) -> "torch.device":
        return usable_device(self.device)

    def run(self, job: Job, label: str) -> Outcome:
        """Reads, estimates and writes one cloud under a progress bar with a label.

        Raises:
            CloudError: If the cloud cannot be read, used or written.
            OutputExistsError: If the target appeared meanwhile.
            ModelError: If the model is unknown or damaged.
            DataError: If the picture cannot be written.
        """
        from ..clouds import write_cloud

        with progress_bar(label, shown=not self.quiet) as on_progress:
            started = time.perf_counter()
            cloud = self._read(job)
            with _named(job):
                side = self.sides.side(cloud)
            reading = time.perf_counter() - started
            network, place = self._network, self._place  # start-up is not the cloud's time
            from ..estimation import estimate

            started = time.perf_counter()
            with _named(job):
                result = estimate(
                    cloud.points,
                    network,
                    device=place,
                    orient=side.orient,
                    viewpoint=side.viewpoint if side.sensors is None else side.sensors,
                    toward=side.toward,
                    on_progress=on_progress,
                )
            target = sys.stdout.buffer if job.target == STREAM else job.target
            finished = cloud.with_normals(result.normals, result.confidence)
            write_cloud(finished, target, overwrite=self.overwrite)
            seconds = reading + time.perf_counter() - started
            if self.preview is not None:
                _draw(self.preview, cloud.points, result.normals, side)
        return Outcome(job, side, seconds, result, cloud.losses)

    def _read(self, job: Job) -> "Cloud":
        from ..clouds import check_target, read_cloud

        source = sys.stdin.buffer if job.source == STREAM else job.source
        cloud = read_cloud(source, format=self.file_format)
        if job.target != STREAM:
            check_target(cloud, job.target, overwrite=self.overwrite)
        return cloud


@contextmanager
def _named(job: Job) -> Iterator[None]:
    """Makes errors tell which cloud they are about."""
    try:
        yield
    except CloudError as error:
        raise CloudError(f"{job.source_name}: {error}") from error


def _draw(path: Path, points: "Array", normals: "Array", side: Side) -> None:
    from ..pictures import write_whole
    from ..preview import preview

    signed = side.orient != "none"
    write_whole(path, preview(points, normals, viewpoint=side.eye(points), signed=signed))
