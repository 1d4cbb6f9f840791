"""Where the normals of each cloud go, settled before anything is computed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from ..errors import CloudError, OutputExistsError

STREAM = Path("-")
"""Stdin as a source, stdout as a target."""


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
    _check_writable([job.target for job in jobs if job.target != STREAM], overwrite=overwrite)
    return jobs


def _target(cloud: Path, output: Path | None, folder: Path | None) -> Path:
    if folder:
        if cloud == STREAM:
            raise _wrong("stdin has no name to be filed under; give a file")
        return folder / cloud.name
    if output:
        return output
    return STREAM if cloud == STREAM else cloud.parent / f"{cloud.stem}.normals{cloud.suffix}"


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


def _check_writable(targets: Sequence[Path], *, overwrite: bool) -> None:
    existing = [target for target in targets if target.exists()]
    if existing and not overwrite:
        more = len(existing) - 1
        told = f" (and {more} more)" if more else ""
        raise OutputExistsError(f"{existing[0]}: exists already{told}; --overwrite replaces it")
    for target in targets:
        if target.parent.is_dir() and not os.access(target.parent, os.W_OK):
            raise CloudError(f"{target}: no permission to write there; choose another --output")


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--output")
