"""How loops over points run fast on a CPU: compiled, chunk by chunk, on threads.

What is written as a loop over single points and compiled by numba reads and writes memory once,
where a chain of tensor operations does so for each of them (measured: half the time of the whole
network). Each thread runs its chunks with operations of one thread: teams of OpenMP threads wait
for each other after every operation, and wait by spinning, so that two such processes on one
machine slow each other twenty times.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, reduce
from importlib.util import find_spec
from itertools import pairwise
from threading import Lock
from typing import Any, TypeVar, cast
from warnings import warn

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..storage import room

CHUNK = 16_384
"""Points processed at a time. Of fewer, temporaries stay in the cache, but threads wait for each
other between their many operations (100 000 points on two: 1.56 s with 4096, 1.45 s with this)."""

GPU_CHUNK = 1 << 18
"""The same on a GPU, where a chunk is to keep thousands of cores busy; NOT measured."""
FEW = 1024
"""Points for which starting threads takes longer than the work."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """The function, compiled when it is first called with arguments of some types.

    It runs without the lock of Python. Machine code is kept on disk, beside the module or in the
    user's cache folder, where one of them can be written.
    """
    # sums may be reordered, so that they are done many at a time; infinities and NaN are kept
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",  # a division by zero is infinite or NaN, as in the tensors
        "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    }
    return cast(_Function, kept_on_disk(numba.njit, function, **options))


def kept_on_disk(jit: Callable[..., Any], function: Callable[..., Any], **options: Any) -> Any:
    """The function, compiled by numba, whose machine code is kept where there is a folder."""
    try:
        return jit(cache=True, **options)(function)
    except RuntimeError:
        return jit(**options)(function)


def compilable(tensor: Tensor) -> bool:
    """Whether loops may work on this: real numbers on a CPU."""
    plain = tensor.dtype in (torch.float32, torch.float64) and tensor.device.type == "cpu"
    return plain and not torch.compiler.is_compiling()


def place_of_loops(device: torch.device) -> torch.device:
    """Where loops run for what is there: on the GPU if numba-cuda works there, else on the CPU."""
    there = device.type == "cuda" and find_spec("numba_cuda") is not None
    return device if there and _runs_loops(device) else torch.device("cpu")


@cache
def _runs_loops(device: torch.device) -> bool:
    """Whether a loop can be compiled for a GPU and run there; if not, says why."""
    try:
        counted = torch.zeros(3, dtype=torch.long, device=device)
        over_points(_count, 3, (5,), (counted,))
        return counted.tolist() == [5, 6, 7]
    except Exception as error:  # noqa: BLE001  # of numba, its compiler or the driver
        warn(f"numba-cuda fails, so graphs are built on the CPU: {error}", stacklevel=2)
        return False


@compiled
def _count(first: int, start: int, stop: int, numbers: NDArray[np.int64]) -> None:
    for i in range(start, stop):
        numbers[i] = first + i


def array(tensor: Tensor) -> NDArray[Any]:
    """What loops are given: memory in order, so that they are compiled for that only."""
    return tensor.detach().contiguous().numpy()


def space(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor to be filled, the longest axis for points; see ``storage.room``."""
    if device.type != "cpu":
        return torch.empty(*shape, dtype=dtype, device=device)
    return torch.from_numpy(room(tuple(shape), torch.empty(0, dtype=dtype).numpy().dtype))


def over_points(
    loop: Callable[..., None],
    count: int,
    given: Sequence[Any],
    filled: Sequence[Tensor],
    size: int | None = None,
) -> None:
    """Runs a compiled loop over so many points: in chunks on a CPU, a thread for each on a GPU.

    Args:
        loop: Takes what is given, the first point, one past the last, and what it fills in.
        count: Number of points.
        given: Tensors and numbers.
        filled: Tensors in order.
        size: Of a chunk, by default ``CHUNK``.
    """
    if filled[0].device.type != "cpu":
        from .gpu_loops import launch

        launch(loop, count, given, filled)
        return
    read = [array(one) if isinstance(one, Tensor) else one for one in given]
    into = [one.numpy() for one in filled]
    in_chunks(lambda rows: loop(*read, rows.start, rows.stop, *into), count, size)


def in_chunks(
    work: Callable[[slice], None],
    count: int,
    size: int | None = None,
    threads: int | None = None,
) -> None:
    """Does the work for so many points in chunks, on threads.

    Gradients are not kept. Every thread runs operations of torch on one core.

    Args:
        work: For a range of points.
        count: Number of points.
        size: Of a chunk, by default ``CHUNK``.
        threads: By default as many as torch would use.
    """
    threads = threads or torch.get_num_threads()
    parts = -(-count // (size or CHUNK))
    if count > FEW:
        parts = -(-parts // threads) * threads  # so that all threads end at the same time
    ends = [count * part // parts for part in range(parts + 1)]
    slices = [slice(*pair) for pair in pairwise(ends)]
    if min(threads, parts) < 2:
        with torch.no_grad():
            for rows in slices:
                work(rows)
        return

    def alone(rows: slice) -> None:
        torch.set_num_threads(1)  # in part for all threads, so every time
        with torch.no_grad():
            work(rows)

    try:
        list(_workers(threads, os.getpid()).map(alone, slices))
    finally:
        torch.set_num_threads(threads)


def summed_in_parts(some: Callable[[slice], Sequence[Tensor]], count: int) -> list[Tensor]:
    """Sums of what a function finds for parts of the points, one for each thread.

    Args:
        some: From a range of points to new tensors of the same shapes for every range, such as
            gradients of all senders, for which each thread needs room.
        count: Number of points.
    """
    found: dict[int, Sequence[Tensor]] = {}
    lock = Lock()

    def work(rows: slice) -> None:
        parts = some(rows)
        with lock:
            found[rows.start] = parts

    in_chunks(work, count, -(-count // torch.get_num_threads()))
    ordered = [found[start] for start in sorted(found)]  # always summed in this order
    return [reduce(Tensor.add_, same) for same in zip(*ordered, strict=True)]


@cache
def _workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay: new ones share a core for the first milliseconds, which is a layer.

    Args:
        threads: How many.
        process: In which, since threads are not forked with it.
    """
    return ThreadPoolExecutor(threads, f"loops-{process}")


def chunked(
    some: Callable[[slice], Sequence[Tensor]],
    count: int,
    axes: Sequence[int],
    device: torch.device,
) -> Sequence[Tensor]:
    """What a function says of all points, chunk by chunk where no gradient is kept.

    Args:
        some: From a range of points to one or more tensors about them.
        count: Number of points.
        axes: The axis of the points in each of the tensors.
        device: Where this is done: a GPU takes larger chunks, one after the other.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return some(slice(0, count))
    if count <= FEW:
        with _one_thread():
            return some(slice(0, count))
    alone = device.type != "cpu"
    whole: list[Tensor] = []
    lock = Lock()

    def work(rows: slice) -> None:
        parts = some(rows)
        with lock:
            if not whole:
                whole.extend(_widened(p, axis, count) for p, axis in zip(parts, axes, strict=True))
        for part, all_parts, axis in zip(parts, whole, axes, strict=True):
            all_parts.narrow(axis, rows.start, rows.stop - rows.start).copy_(part)

    in_chunks(work, count, GPU_CHUNK if alone else CHUNK, threads=1 if alone else None)
    return whole


@contextmanager
def _one_thread() -> Iterator[None]:
    """Operations of torch on one core, as a team of threads takes longer to wake than these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def rowwise(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """What a function says of every row, chunk by chunk where no gradient is kept."""
    (said,) = chunked(lambda some: [function(rows[some])], len(rows), (0,), rows.device)
    return said


def _widened(part: Tensor, axis: int, count: int) -> Tensor:
    """An empty tensor like a part, for all points."""
    shape = list(part.shape)
    shape[axis] = count
    return space(shape, part.dtype, part.device)
