"""What estimates the normals of one cloud after the other, from file to file."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TextIO

from .. import __version__
from ..errors import CloudError, DataError, OutputExistsError
from .options import usable_device
from .outcome import Outcome, Report
from .sides import Side, SideOptions
from .targets import STREAM, Job
from .tiles import Tiles

if TYPE_CHECKING:
    import torch

    from ..clouds import Cloud
    from ..estimation import Estimate, OnProgress
    from ..geometry import Array
    from ..network import TensorFramesPointNet
    from ..orientation import Whole

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
    def _loaded(self) -> "TensorFramesPointNet":
        from ..pretrained import load_model

        return load_model(self.model)

    @cached_property
    def _network(self) -> "TensorFramesPointNet":
        return self._loaded.to(self._place)

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

        _ = self._loaded  # checks it; a client of a cluster may have no such device
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
            CloudError: If it cannot be read or written, or lacks what its side needs.
            OutputExistsError: If the target may not be overwritten.
        """
        from ..clouds import check_target

        cloud = self.cloud(job.source)
        if job.target == STREAM:
            _binary(sys.stdout, job.target_name)
        else:
            check_target(cloud, job.target, overwrite=self.overwrite)
        return cloud, self.side(job, cloud)

    def cloud(self, source: Path) -> "Cloud":
        """What a file or stream holds.

        Raises:
            CloudError: If it cannot be read.
        """
        from ..clouds import read_cloud

        found = _binary(sys.stdin, "<stdin>") if source == STREAM else source
        return read_cloud(found, format=self.file_format)

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
        _ = self._network

    def overview(self, points: "Array") -> "Whole":
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
        whole: "Whole | None" = None,
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

        to_stdout = job.target == STREAM
        target = _binary(sys.stdout, job.target_name) if to_stdout else job.target
        finished = cloud.with_normals(found.normals, found.confidence)
        write_cloud(finished, target, overwrite=self.overwrite)


def _binary(stream: TextIO | None, name: str) -> BinaryIO:
    """What the bytes of stdin or stdout go through.

    Raises:
        CloudError: If the shell has closed it.
    """
    if stream is None:
        raise CloudError(f"{name}: closed; open it, or name a file")
    return stream.buffer


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
