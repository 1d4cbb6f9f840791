"""``tfnormals predict``: normals for the clouds in files and streams."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .. import __version__
from ..errors import CloudError, DataError, OutputExistsError
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
from .outcome import Outcome, Report
from .sides import Direction, Names, Orient, Side, SideOptions, Vector
from .targets import STREAM, Job, check_new_file, plan
from .tiles import Tiles, surveyed
from .workers import Crew

if TYPE_CHECKING:
    import torch

    from ..clouds import Cloud
    from ..estimation import Estimate, OnProgress
    from ..geometry import Array
    from ..network import TensorFramesPointNet
    from ..orientation import Placed

Format = Literal[
    "ply",
    "pcd",
    "xyz",
    "txt",
    "csv",
    "asc",
    "npy",
    "npz",
    "las",
    "laz",
    "parquet",
    "obj",
    "off",
    "stl",
    "e57",
]


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
    jobs = plan(clouds, output, overwrite=overwrite or resume)
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


def _with_tiles(jobs: Sequence[Job], predictor: "Predictor", *, quiet: bool) -> "Predictor":
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


@dataclass(frozen=True)
class Predictor:
    """What all clouds of a call share; torch is imported when the first of them was read."""

    model: str
    device: str
    sides: SideOptions
    file_format: Format | None
    preview: Path | None
    overwrite: bool
    tiles: Tiles | None = None
    """Of the surface that the clouds are parts of."""

    @cached_property
    def _network(self) -> "TensorFramesPointNet":
        from ..pretrained import load_model

        return load_model(self.model)

    @cached_property
    def _place(self) -> "torch.device":
        return usable_device(self.device)

    def __getstate__(self) -> dict[str, object]:  # without the network
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def absolute(self) -> "Predictor":
        """The same, for a process with another working folder."""
        from ..pretrained import model_names

        model = self.model if self.model in model_names() else str(Path(self.model).absolute())
        return replace(self, model=model, preview=self.preview and self.preview.absolute())

    def on_one_gpu(self, number: int) -> "Predictor":
        """The same, for one of several processes that share the GPUs of a machine."""
        import torch

        count = torch.cuda.device_count()
        if self.device != "auto" or count < 2:
            return self
        return replace(self, device=f"cuda:{number % count}")

    def settings(self) -> str:
        """A digest of all that makes the normals of a cloud what they are.

        Raises:
            ModelError: If the model is unknown or damaged.
        """
        from ..pretrained import model_path

        _ = self._network  # checks it
        weights = sha256(model_path(self.model).read_bytes()).hexdigest()
        parts = self.tiles.digest if self.tiles else None
        told = json.dumps([__version__, weights, self.sides, self.file_format, parts])
        return sha256(told.encode()).hexdigest()

    def report(self, job: Job, on_progress: "OnProgress") -> Report:
        """Reads, estimates and writes one cloud, and tells what became of it.

        Raises:
            ModelError: If the model is unknown or damaged.
        """
        try:
            return self._run(job, on_progress).report(self.model)
        except (CloudError, DataError, OutputExistsError) as error:
            return self.failure(job, str(error))

    def failure(self, job: Job, reason: str) -> Report:
        """What is told of a cloud that failed."""
        return Report({"input": str(job.source), "error": reason, "model": self.model}, reason)

    def _run(self, job: Job, on_progress: "OnProgress") -> Outcome:
        started = time.perf_counter()
        cloud, side = self.read(job)
        reading = time.perf_counter() - started
        self.load()
        started = time.perf_counter()
        with _named(job):
            if self.tiles is None:
                result = self.estimated(cloud.points, side, on_progress)
            else:
                result = self.tiles.found(job, cloud.points, side, self, on_progress)
        self.write(job, cloud, result)
        seconds = reading + time.perf_counter() - started
        if self.preview is not None:
            _draw(self.preview, cloud.points, result.normals, side)
        return Outcome(job, side, seconds, result, cloud.losses)

    def read(self, job: Job) -> "tuple[Cloud, Side]":
        """A cloud and the side of its normals, once it is sure that its target can be written.

        Raises:
            CloudError: If it cannot be read, or lacks what its side needs.
            OutputExistsError: If the target may not be overwritten.
        """
        from ..clouds import check_target

        cloud = self.cloud(job.source)
        if job.target != STREAM:
            check_target(cloud, job.target, overwrite=self.overwrite)
        return cloud, self.side(job, cloud)

    def cloud(self, source: Path) -> "Cloud":
        """What a file or stream holds.

        Raises:
            CloudError: If it cannot be read.
        """
        from ..clouds import read_cloud

        return read_cloud(
            sys.stdin.buffer if source == STREAM else source, format=self.file_format
        )

    def side(self, job: Job, cloud: "Cloud") -> Side:
        """The side of its normals.

        Raises:
            CloudError: If it lacks what its side needs.
        """
        with _named(job):
            return self.sides.side(cloud)

    def load(self) -> None:
        """Loads the network: start-up is not a cloud's time.

        Raises:
            ModelError: If the model is unknown or damaged.
        """
        _ = self._network, self._place

    def overview(self, points: "Array") -> "Placed":
        """A look at some points, (n, 3), of the surface that the clouds are parts of.

        Raises:
            CloudError: If there are too few distinct points or all lie on one line.
            ModelError: If the model is unknown or damaged.
        """
        from ..estimation import overview

        return overview(points, self._network, device=self._place)

    def estimated(
        self,
        points: "Array",
        side: Side,
        on_progress: "OnProgress",
        whole: "Placed | None" = None,
    ) -> "Estimate":
        """What is found of the points, (n, d).

        Args:
            points: Positions.
            side: Of the normals.
            on_progress: Called with the number of points that are done, as it were, and of all.
            whole: See ``estimation.estimate``.

        Raises:
            CloudError: If there are too few distinct points or all lie on one line.
        """
        from ..estimation import estimate

        count = len(points)
        return estimate(
            points,
            self._network,
            device=self._place,
            orient=side.orient,
            viewpoint=side.viewpoint if side.sensors is None else side.sensors,
            toward=side.toward,
            whole=whole,
            on_progress=lambda done, total: on_progress(count * done // total, count),
        )

    def write(self, job: Job, cloud: "Cloud", found: "Estimate") -> None:
        """Writes a cloud with what was found.

        Raises:
            CloudError: If it cannot be written.
            OutputExistsError: If the target has appeared and may not be overwritten.
        """
        from ..clouds import write_cloud

        target = sys.stdout.buffer if job.target == STREAM else job.target
        finished = cloud.with_normals(found.normals, found.confidence)
        write_cloud(finished, target, overwrite=self.overwrite)


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
