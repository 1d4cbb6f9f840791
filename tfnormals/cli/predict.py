"""``tfnormals predict``: normals for the clouds in files and streams."""

import sys
import time
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import CloudError, OutputExistsError
from .console import progress_bar, say_error, talk, write_json
from .options import DEFAULT_MODEL, DeviceOption, JsonOption, ModelOption, usable_device
from .outcome import Orient, Outcome, Side, Viewpoint
from .targets import STREAM, Job, plan

if TYPE_CHECKING:
    import torch

    from ..clouds import Cloud
    from ..estimation import Estimate, OnProgress
    from ..geometry import Array
    from ..network import TensorFramesPointNet

Format = Literal["ply", "pcd", "xyz", "txt", "csv", "asc", "npy"]


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
            help="Side of the normals; by default outward, or towards the viewpoint that is "
            "given or that a PCD holds."
        ),
    ] = None,
    viewpoint: Annotated[
        Viewpoint | None, typer.Option(metavar="X Y Z", help="Position of the sensor.")
    ] = None,
    file_format: Annotated[
        Format | None,
        typer.Option("--format", help="What the clouds are, where their names do not tell."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    json_lines: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Nothing but errors on stderr.")
    ] = False,
) -> None:
    """Give every point an outward normal.

    The output is the input with unit normals and their confidence, 0 to 1, added or replaced;
    all else is kept.
    """
    _check_viewpoint(orient, viewpoint)
    jobs = plan(clouds, output, overwrite=overwrite)
    if json_lines and any(job.target == STREAM for job in jobs):
        raise typer.BadParameter("stdout takes the cloud; give -o", param_hint="--json")
    predictor = _Predictor(model, device, orient, viewpoint, file_format, overwrite, quiet)
    failed = 0
    for number, job in enumerate(jobs, start=1):
        label = f"{number}/{len(jobs)} {job.source_name}" if len(jobs) > 1 else job.source_name
        try:
            outcome = predictor.run(job, label)
        except (CloudError, OutputExistsError) as error:
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
    orient: Orient | None
    viewpoint: Viewpoint | None
    file_format: Format | None
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
        """
        from ..clouds import write_cloud

        with progress_bar(label, shown=not self.quiet) as on_progress:
            started = time.perf_counter()
            cloud = self._read(job)
            side = self._side(cloud, job)
            reading = time.perf_counter() - started
            network, place = self._network, self._place  # start-up is not the cloud's time
            started = time.perf_counter()
            result = _estimate(job, cloud.points, side, network, place, on_progress)
            target = sys.stdout.buffer if job.target == STREAM else job.target
            finished = cloud.with_normals(result.normals, result.confidence)
            write_cloud(finished, target, overwrite=self.overwrite)
        return Outcome(job, side, reading + time.perf_counter() - started, result)

    def _read(self, job: Job) -> "Cloud":
        from ..clouds import check_target, read_cloud

        source = sys.stdin.buffer if job.source == STREAM else job.source
        cloud = read_cloud(source, format=self.file_format)
        if job.target != STREAM:
            check_target(cloud, job.target, overwrite=self.overwrite)
        return cloud

    def _side(self, cloud: "Cloud", job: Job) -> Side:
        dimensions = cloud.points.shape[1]
        if self.viewpoint:
            if any(self.viewpoint[dimensions:]):
                raise CloudError(f"{job.source_name}: a 2-D contour; give --viewpoint X Y 0")
            return Side("viewpoint", self.viewpoint[:dimensions])
        if self.orient in (None, "viewpoint") and cloud.viewpoint is not None:
            return Side("viewpoint", tuple(cloud.viewpoint.tolist()), owner="of the file")
        if self.orient == "viewpoint":
            raise CloudError(f"{job.source_name}: holds no viewpoint; give --viewpoint X Y Z")
        return Side(self.orient or "outward")


def _estimate(
    job: Job,
    points: "Array",
    side: Side,
    network: "TensorFramesPointNet",
    place: "torch.device",
    on_progress: "OnProgress",
) -> "Estimate":
    from ..estimation import estimate

    try:
        return estimate(
            points,
            network,
            device=place,
            orient=side.orient,
            viewpoint=side.viewpoint,
            on_progress=on_progress,
        )
    except CloudError as error:
        raise CloudError(f"{job.source_name}: {error}") from error


def _check_viewpoint(orient: Orient | None, viewpoint: Viewpoint | None) -> None:
    wrong = None
    if viewpoint and not all(map(isfinite, viewpoint)):
        wrong = "not finite; give finite coordinates"
    elif viewpoint and orient not in (None, "viewpoint"):
        wrong = f"of no use with --orient {orient}"
    if wrong:
        raise typer.BadParameter(wrong, param_hint="--viewpoint")
