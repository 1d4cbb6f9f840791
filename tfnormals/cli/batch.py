"""The clouds of a call: done one after the other, or by workers and kept in a journal."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from .console import Tell
from .journal import Journal
from .outcome import Report
from .tally import Tally
from .targets import Job, check_free
from .together import reports_together
from .workers import Crew

if TYPE_CHECKING:
    from .predictor import Predictor


@dataclass(frozen=True)
class Batch:
    """Jobs and who does them."""

    jobs: Sequence[Job]
    predictor: "Predictor"
    crew: Crew
    journal: Journal | None = None
    together: bool = False
    """The clouds are parts of one."""

    def recorded(self) -> "Batch":
        """The same, kept in a journal, and with paths that all workers know.

        Raises:
            ModelError: If the model is unknown or damaged.
            CloudError: If the journal cannot be read.
        """
        jobs, predictor = self.jobs, self.predictor
        if self.crew.scheduler is not None:
            jobs, predictor = [job.absolute() for job in jobs], predictor.absolute()
        return Batch(jobs, predictor, self.crew, Journal(jobs, predictor.settings()))

    def resumed(self) -> tuple["Batch", list[dict[str, object]]]:
        """What is left to do, and what was told of the others when they were done.

        Raises:
            OutputExistsError: If a target may not be overwritten and is not of `predict`.
        """
        journal = self.journal
        assert journal is not None
        records = {job: journal.finished(job) for job in self.jobs}
        left = [job for job in self.jobs if records[job] is None]
        if not self.predictor.overwrite:
            check_free([job.target for job in left if not journal.owns(job)])
        return replace(self, jobs=left), [record for record in records.values() if record]

    def reports(self, tell: Tell) -> Generator[Report]:
        """Does the jobs, and yields what is told of each when it has ended.

        Close it to end the workers, and to remove what they leave when they are killed.
        """
        if self.together:
            yield from reports_together(self.jobs, self.predictor, tell)
            return
        if self.journal is None:
            yield from (report for _, report in self._done(self.predictor, self.jobs, tell))
            return
        from ..clouds import remove_partials

        owner = replace(self.predictor, overwrite=True)  # what appears there is ours
        try:
            with closing(self._done(owner, self._begun(self.journal), tell)) as done:
                for job, report in done:
                    self.journal.end(job, None if report.points is None else report.record)
                    yield report
        finally:
            remove_partials(job.target for job in self.jobs)

    def _begun(self, journal: Journal) -> Iterator[Job]:
        for job in self.jobs:
            journal.begin(job)
            yield job

    def _done(
        self, predictor: "Predictor", jobs: Iterable[Job], tell: Tell
    ) -> Generator[tuple[Job, Report]]:
        tally = Tally(self.jobs, tell)
        if self.journal is not None and self.crew:
            with closing(self.crew.run(predictor, self.journal.settings, jobs)) as done:
                for job, report, memory in done:
                    tally.end(job, report, memory)
                    yield job, report
        else:
            for job in jobs:
                report = predictor.report(job, partial(tally.part, job))
                tally.end(job, report)
                yield job, report
