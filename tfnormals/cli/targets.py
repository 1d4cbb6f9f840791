"""Where results go, settled before anything is computed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from ..errors import CloudError, DataError, OutputExistsError
from ..formats import CONVERTED, FORMATS

STREAM = Path("-")
"""Stdin as a source, stdout as a target."""
PAGE = "index.html"
"""What a folder with a report opens with."""


class Job(NamedTuple):
    """One cloud: where it is read and where it goes with its normals."""

    source: Path
    target: Path

    @property
    def source_name(self) -> str:
        """What messages call the source."""
        return "<stdin>" if self.source == STREAM else str(self.source)

    @property
    def target_name(self) -> str:
        """What messages call the target."""
        return "<stdout>" if self.target == STREAM else str(self.target)

    def absolute(self) -> "Job":
        """The same, for a process with another working folder."""
        return Job(self.source.absolute(), self.target.absolute())


def parsed_output(text: str) -> Path:
    """The path that ``--output`` names; with a slash at its end it has to be a folder.

    Raises:
        typer.BadParameter: If it is none.
    """
    path = Path(text)
    if text.endswith(("/", os.sep)) and not path.is_dir():
        raise typer.BadParameter(f"{path} is no folder; create it first")
    return path


def plan(
    clouds: Sequence[Path], output: Path | None, file_format: str | None, *, overwrite: bool
) -> list[Job]:
    """The jobs for some clouds.

    Without ``output``, a file that another of the clouds became before, as `*` finds it in a
    second run, is left out.

    Args:
        clouds: Files, or `STREAM`.
        output: A file or stream for one cloud, a folder for many. By default ``scan.normals.ply``
            beside ``scan.ply``, and stdout for stdin.
        file_format: What the clouds are; it ends the names of targets where theirs do not tell.
        overwrite: Targets may exist.

    Raises:
        typer.BadParameter: If clouds would share a target or replace each other.
        OutputExistsError: If a target exists.
        CloudError: If a target is no regular file, or its folder cannot be written to.
    """
    folder = output if output and output != STREAM and output.is_dir() else None
    if len(clouds) > 1 and output not in (None, STREAM, folder):
        raise _wrong(f"{output} is no folder; several clouds need an existing one")
    jobs = [Job(cloud, _target(cloud, output, folder, file_format)) for cloud in clouds]
    if output is None:
        jobs = _without_outputs(jobs)
    if len(jobs) > 1 and any(job.target == STREAM for job in jobs):
        raise _wrong("only one cloud can go to stdout; give an existing folder")
    _check_distinct(jobs)
    targets = [job.target for job in jobs if job.target != STREAM]
    _check_regular(targets)
    if not overwrite:
        check_free(targets)
    _check_permission(targets)
    return jobs


def check_free(targets: Sequence[Path]) -> None:
    """Refuses targets that exist.

    Raises:
        OutputExistsError: Naming the first of them.
    """
    existing = [target for target in targets if target.exists()]
    if existing:
        more = len(existing) - 1
        told = f" (and {more} more)" if more else ""
        raise OutputExistsError(f"{existing[0]}: exists already{told}; --overwrite replaces it")


def check_new_file(path: Path, suffix: str, option: str, *, overwrite: bool) -> None:
    """Refuses a file that could not be written; call it before long work.

    Args:
        path: The file.
        suffix: What its name has to end in, such as ``.png``.
        option: The option that names it, for messages.
        overwrite: It may exist.

    Raises:
        typer.BadParameter: If the name has another ending.
        DataError: If its folder is missing or cannot be written to.
        OutputExistsError: If it exists.
    """
    if path.suffix.lower() != suffix:
        raise typer.BadParameter(f"'{path}' does not end in {suffix}", param_hint=option)
    _check_place(path, overwrite=overwrite)


def check_report(folder: Path, *, overwrite: bool) -> Path:
    """The page of a report, whose folder need not exist; call it before long work.

    Raises:
        DataError: If it could not be written.
        OutputExistsError: If it exists.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: not a folder; name a new one")
    page = folder / PAGE
    _check_place(page if folder.exists() else folder, overwrite=overwrite)
    return page


def _target(
    cloud: Path, output: Path | None, folder: Path | None, file_format: str | None
) -> Path:
    stem, suffix = cloud.stem, _suffix(cloud, file_format)
    if folder:
        if cloud == STREAM:
            raise _wrong("stdin has no name to be filed under; give a file")
        return folder / f"{stem}{suffix}"
    if output:
        return output
    return STREAM if cloud == STREAM else cloud.parent / f"{stem}.normals{suffix}"


def _suffix(cloud: Path, file_format: str | None) -> str:
    """That of the target of a cloud."""
    suffix = cloud.suffix
    if file_format is not None and suffix.lower() not in FORMATS | CONVERTED:
        suffix = f".{file_format}"
    return ".ply" if suffix.lower() in CONVERTED else suffix


def _without_outputs(jobs: Sequence[Job]) -> list[Job]:
    """Those whose source is not what another one becomes."""
    targets = {job.target for job in jobs} - {STREAM}
    return [job for job in jobs if job.source not in targets or not job.source.exists()]


def _check_distinct(jobs: Sequence[Job]) -> None:
    writers: dict[str, Job] = {}
    for job in jobs:
        other = writers.setdefault(os.path.realpath(job.target), job)
        if other is not job:
            raise _wrong(f"{other.source} and {job.source} would both become {job.target}")
    for job in jobs:
        writer = writers.get(os.path.realpath(job.source), job)
        if writer is not job:
            raise _wrong(
                f"{writer.source} would become {job.source}, which is an input as well; leave "
                "that out, or give another folder"
            )


def _check_regular(targets: Sequence[Path]) -> None:
    for target in targets:
        device = target.parent == Path("/dev")  # stdout there may lead to a file
        if target.exists() and (device or not target.is_file()):
            raise CloudError(
                f"{target}: not a regular file; name another --output, or - for stdout"
            )


def _check_permission(targets: Sequence[Path]) -> None:
    for target in targets:
        if target.parent.is_dir() and not os.access(target.parent, os.W_OK):
            raise CloudError(f"{target}: no permission to write there; choose another --output")


def _check_place(path: Path, *, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise DataError(f"{path}: no folder {path.parent}; create it first")
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file; name a new one")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: exists already; --overwrite replaces it")
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{path}: no permission to write there; choose another place")


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--output")
