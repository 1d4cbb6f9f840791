"""Workers of Dask that predict clouds at the same time, on this machine or on a cluster."""

import asyncio
import logging
import signal
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import typer

from .. import __version__
from ..errors import TfnormalsError
from .console import talk
from .memory import keep_freed_memory
from .outcome import Report
from .targets import Job

if TYPE_CHECKING:
    from distributed import Client, Future

    from .predictor import Predictor

CONNECT_SECONDS = 5
"""How long a scheduler may take to answer."""
OTHER_SOFTWARE = (
    "the scheduler or a worker has another tfnormals or another model; install the same everywhere"
)


class Crew(NamedTuple):
    """The workers: so many of our own, or those of a scheduler."""

    workers: int | None
    scheduler: str | None

    def __bool__(self) -> bool:
        return self.workers is not None or self.scheduler is not None

    def check(self) -> None:
        """Refuses options that contradict each other, and missing software.

        Raises:
            typer.BadParameter: If both are given.
            TfnormalsError: If Dask is not installed.
        """
        if self.workers is not None and self.scheduler is not None:
            wrong = "of no use with --scheduler; leave out one of them"
            raise typer.BadParameter(wrong, param_hint="--workers")
        if self and find_spec("distributed") is None:
            raise TfnormalsError(
                "workers need Dask, which is not installed; pip install 'tfnormals[cluster]'"
            )

    def run(
        self, predictor: "Predictor", settings: str, jobs: Iterable[Job]
    ) -> Generator[tuple[Job, Report, int]]:
        """Does jobs, and tells of each when it has ended, with the bytes that all workers take.

        Those of a worker that dies are given to another.

        Args:
            predictor: Does a job.
            settings: Its own, which workers must share.
            jobs: With paths that workers know.

        Raises:
            TfnormalsError: If there is no scheduler, or it is gone.
        """
        from distributed import KilledWorker, as_completed

        with self._client() as (client, threads):

            def submit(job: Job) -> "Future[Report]":
                return client.submit(_report, predictor, settings, threads, job, pure=False)

            futures, suspects = {submit(job): job for job in jobs}, []
            for future in as_completed(futures):
                job = futures.pop(future)
                if isinstance(future.exception(), KilledWorker):
                    suspects.append(job)  # perhaps workers died of another that they had
                    continue
                report = _result(future, predictor, job)
                future.release()  # or it would be done again if its worker died later
                yield job, report, _memory(client)
            for job in suspects:
                yield job, _result(submit(job), predictor, job), _memory(client)

    @contextmanager
    def _client(self) -> Iterator[tuple["Client", int | None]]:
        """A connection to the workers, and how many threads each may take, if they are ours."""
        from distributed import Client, LocalCluster
        from distributed.utils import silence_logging_cmgr

        if self.scheduler is not None:
            if not _count_workers(self.scheduler):
                talk.print(f"no workers yet; start some: dask worker {self.scheduler}")
            with (
                silence_logging_cmgr(logging.CRITICAL),
                Client(self.scheduler, timeout=CONNECT_SECONDS) as client,
            ):
                _check_versions(client)
                yield client, None
            return
        import torch

        workers = self.workers or 1
        threads = max(1, torch.get_num_threads() // workers)
        with ExitStack() as stack:
            with _interrupted_later():
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=None,  # a cloud takes what it takes
                    dashboard_address=":0",
                    silence_logs=logging.CRITICAL,
                    env={"OMP_NUM_THREADS": str(threads)},
                    preload=__name__,
                )
                stack.enter_context(cluster)
                client = stack.enter_context(Client(cluster))
            yield client, threads


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Puts off a Ctrl-C while workers start: they could not be ended yet."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt


def _count_workers(scheduler: str) -> int:
    """The workers of a scheduler; where something else answers, a client would wait for ever."""
    from distributed import Security, rpc

    async def ask() -> dict[str, dict[str, object]]:
        secrets = Security().get_connection_args("client")
        async with rpc(scheduler, timeout=CONNECT_SECONDS, connection_args=secrets) as remote:
            return await asyncio.wait_for(remote.identity(), CONNECT_SECONDS)

    try:
        return len(asyncio.run(ask())["workers"])
    except ValueError as error:
        wrong = f"'{scheduler}' is no address; give one like tcp://host:8786"
        raise typer.BadParameter(wrong, param_hint="--scheduler") from error
    except (OSError, asyncio.TimeoutError, KeyError) as error:
        raise TfnormalsError(
            f"{scheduler}: no scheduler answers; check the address, or start `dask scheduler`"
        ) from error


def _check_versions(client: "Client") -> None:
    """Refuses other versions at once: a worker may end when it cannot read what it is to do."""
    told = client.get_versions(packages=["tfnormals"])
    assert isinstance(told, dict)  # no coroutine, as the client is not asynchronous
    for process in (told["scheduler"], *told["workers"].values()):
        if process["packages"].get("tfnormals") != __version__:
            raise TfnormalsError(OTHER_SOFTWARE)


def _memory(client: "Client") -> int:
    workers = client.scheduler_info()["workers"].values()
    return sum(worker["metrics"].get("memory", 0) for worker in workers)


def dask_setup(worker: object) -> None:
    """Prepares a worker of our own; Dask calls it by its name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where it took the place of one that died
    keep_freed_memory()


def _report(predictor: "Predictor", settings: str, threads: int | None, job: Job) -> Report:
    """Does a job; this is what a worker runs."""
    return _kept(predictor, settings, threads).report(job, lambda done, total: None)


@lru_cache(maxsize=1)
def _kept(predictor: "Predictor", settings: str, threads: int | None) -> "Predictor":
    """The predictor that a worker keeps during a run, with its network loaded."""
    if threads is not None:  # the process is ours
        import torch
        from distributed import get_worker

        torch.set_num_threads(threads)
        predictor = predictor.on_one_gpu(int(get_worker().name))
    if predictor.settings() != settings:
        raise TfnormalsError(OTHER_SOFTWARE)
    return predictor


def _result(future: "Future[Report]", predictor: "Predictor", job: Job) -> Report:
    """What a job came to.

    Raises:
        TfnormalsError: If that stops all jobs.
    """
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except KilledWorker as error:
        died = f"{error.allowed_failures + 1} workers died of it, perhaps for lack of memory"
        return predictor.failure(job, f"{job.source_name}: {died}; run fewer on a machine")
    except (ImportError, RuntimeError) as error:
        if isinstance(error, ImportError) or "deserialization" in str(error):
            raise TfnormalsError(OTHER_SOFTWARE) from error
        raise
    except FutureCancelledError as error:
        raise TfnormalsError("the scheduler is gone; start it and give --resume") from error
