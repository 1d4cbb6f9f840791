"""How far a command is with its clouds."""

import time
from collections.abc import Sequence

from .console import Tell
from .memory import most_used
from .outcome import Report
from .targets import Job


class Tally:
    """Tells a bar how much of all clouds is done, by the sizes of their files."""

    def __init__(self, jobs: Sequence[Job], tell: Tell) -> None:
        self._sizes = {job: _size(job) for job in jobs}
        self._whole = sum(self._sizes.values())
        self._tell = tell
        self._started = time.perf_counter()
        self._done, self._ended, self._points = 0, 0, 0
        self._told = jobs[0].source_name if len(jobs) == 1 else f"{len(jobs)} clouds"
        tell(0, self._whole, self._told)

    def part(self, job: Job, done: int, total: int) -> None:
        """So many points of a job are done."""
        told = self._told if self._ended else self._pace(done)
        self._tell(self._done + self._sizes[job] * done / total, self._whole, told)

    def share(self, done: int, total: int) -> None:
        """So many points of all jobs, which are done at once."""
        self._tell(self._whole * done / total, self._whole, self._pace(done))

    def end(self, job: Job, report: Report, memory: int | None = None) -> None:
        """A job has ended, and workers take so many bytes."""
        self._done += self._sizes[job]
        self._ended += 1
        self._points += report.points or 0
        self._told = f"{self._ended} of {len(self._sizes)} clouds"
        self._told = self._pace(self._points, memory)
        self._tell(self._done, self._whole, self._told)

    def _pace(self, points: int, memory: int | None = None) -> str:
        """What is told once so many points are done: of this process if not of workers."""
        pace = points / (time.perf_counter() - self._started)
        memory = memory or most_used()
        told = f"{self._told}, {pace:,.0f} points/s"
        return told if memory is None else f"{told}, {memory / 1e9:.1f} GB"


def _size(job: Job) -> int:
    try:
        return max(1, job.source.stat().st_size)
    except OSError:  # a stream, or nothing there
        return 1
