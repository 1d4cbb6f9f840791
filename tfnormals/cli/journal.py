"""What was finished, told beside the outputs, so that a second run skips it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import CloudError
from .targets import Job

JOURNAL = ".tfnormals.jsonl"
"""Name of the file in a folder of outputs; of the lines on one output the last counts."""

Stamp = list[int]
"""Size of a file and the time of its last change, in ns: who changes a file changes these."""


class Entry(NamedTuple):
    """A line: an output is ours, and of what it was made."""

    output: str
    input: str
    input_stamp: Stamp | None
    settings: str
    ended: bool = False
    """False from before its computation to its end."""
    output_stamp: Stamp | None = None
    """At the end."""
    record: dict[str, object] | None = None
    """What ``--json`` told; None if the job failed."""


class Journal:
    """Which jobs this run or an earlier one began, ended and finished."""

    def __init__(self, jobs: Sequence[Job], settings: str) -> None:
        self.settings = settings
        self._entries: dict[Path, Entry] = {}
        for folder in {job.target.parent for job in jobs}:
            for entry in _read(folder / JOURNAL):
                self._entries[folder / entry.output] = entry

    def finished(self, job: Job) -> dict[str, object] | None:
        """What was told about a job, if settings, input and output are still as they were then."""
        entry = self._entries.get(job.target)
        if entry is None or entry.record is None:
            return None
        now = self._begun(job)._replace(ended=True, output_stamp=stamp(job.target))
        return entry.record if now._replace(record=entry.record) == entry else None

    def owns(self, job: Job) -> bool:
        """Whether `predict` wrote what lies at the target, and nobody touched it since."""
        entry = self._entries.get(job.target)
        return entry is not None and (not entry.ended or entry.output_stamp == stamp(job.target))

    def begin(self, job: Job) -> None:
        """Claims a target: what appears there until the end is ours, even after a crash."""
        self._add(job.target, self._begun(job))

    def end(self, job: Job, record: dict[str, object] | None) -> None:
        """Notes that a job was finished, or that it failed, without a record."""
        begun = self._entries[job.target]  # with the input as it was before it was read
        now = stamp(job.target)
        self._add(job.target, begun._replace(ended=True, output_stamp=now, record=record))

    def _begun(self, job: Job) -> Entry:
        source = os.path.realpath(job.source)  # also of a link to itself
        return Entry(job.target.name, source, stamp(job.source), self.settings)

    def _add(self, target: Path, entry: Entry) -> None:
        self._entries[target] = entry
        if target.parent.is_dir():  # otherwise the job fails
            _append(target.with_name(JOURNAL), json.dumps(entry._asdict()))


def _read(path: Path) -> list[Entry]:
    """The lines of a journal; what is damaged, as by a crash, is not believed."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(path, error) from error
    if text and not text.endswith("\n"):
        _append(path, "")
    entries = []
    for line in text.splitlines():
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return entries


def _append(path: Path, line: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> CloudError:
    reason = (error.strerror or str(error)).lower()
    return CloudError(f"{path}: {reason}; let it be written, or choose another --output")


def stamp(path: Path) -> Stamp | None:
    """The stamp of a file; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
