"""Where results go, settled before anything is computed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from ..errors import CloudError, DataError, OutputExistsError
from ..formats import CONVERTED

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


def plan(clouds: Sequence[Path], output: Path | None, *, overwrite: bool) -> list[Job]:
    """The jobs for some clouds.

    Args:
        clouds: Files, or `STREAM`.
        output: A file or stream for one cloud, a folder for many. By default ``scan.normals.ply``
            beside ``scan.ply``, and stdout for stdin.
        overwrite: Targets may exist.

    Raises:
        typer.BadParameter: If clouds would share a target or replace each other.
        OutputExistsError: If a target exists.
        CloudError: If a target's folder cannot be written to.
    """
    folder = output if output and output != STREAM and output.is_dir() else None
    if len(clouds) > 1 and output not in (None, STREAM, folder):
        raise _wrong(f"{output} is no folder; several clouds need an existing one")
    jobs = [Job(cloud, _target(cloud, output, folder)) for cloud in clouds]
    if len(jobs) > 1 and any(job.target == STREAM for job in jobs):
        raise _wrong("only one cloud can go to stdout; give an existing folder")
    _check_distinct(jobs)
    targets = [job.target for job in jobs if job.target != STREAM]
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


def _target(cloud: Path, output: Path | None, folder: Path | None) -> Path:
    if folder:
        if cloud == STREAM:
            raise _wrong("stdin has no name to be filed under; give a file")
        return folder / f"{cloud.stem}{_suffix(cloud)}"
    if output:
        return output
    return STREAM if cloud == STREAM else cloud.parent / f"{cloud.stem}.normals{_suffix(cloud)}"


def _suffix(cloud: Path) -> str:
    """That of the target of a cloud."""
    return ".ply" if cloud.suffix.lower() in CONVERTED else cloud.suffix


def _check_distinct(jobs: Sequence[Job]) -> None:
    writers: dict[Path, Job] = {}
    for job in jobs:
        other = writers.setdefault(job.target.resolve(), job)
        if other is not job:
            raise _wrong(f"{other.source} and {job.source} would both become {job.target}")
    for job in jobs:
        writer = writers.get(job.source.resolve(), job)
        if writer is not job:
            raise _wrong(f"{writer.source} would become {job.source}, which is an input as well")


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
