"""The loops of a CPU on a GPU: numba compiles them once more, and a thread does one point.

Beside the module lies machine code, as for a CPU; see CONTRIBUTING.md for when to delete it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any
from warnings import filterwarnings

import torch
from numba import cuda
from torch import Tensor

from .loops import kept_on_disk

THREADS = 64
"""In a block, which one processor runs: few, so that small clouds keep many busy; NOT measured."""

filterwarnings("ignore", "Grid size")  # small clouds leave a GPU idle, that is known


def launch(
    loop: Callable[..., None], count: int, given: Sequence[Any], filled: Sequence[Tensor]
) -> None:
    """Runs a compiled loop on the GPU of its tensors; see ``loops.over_points``."""
    run(_kernel(loop), -(-count // THREADS), THREADS, given, filled, count)


def run(
    kernel: Any,
    blocks: int,
    threads: int,
    given: Sequence[Any],
    filled: Sequence[Tensor],
    *sizes: int,
) -> None:
    """Runs a kernel on the GPU of its tensors, after what torch was told to do there before.

    Args:
        kernel: Takes the sizes, what is given and what it fills in, the last two as tuples.
        blocks: Of threads.
        threads: Of a block.
        given: Tensors and numbers.
        filled: Tensors in order.
        sizes: Numbers.
    """
    device = filled[0].device
    with cuda.gpus[device.index or 0]:
        read = tuple(
            _shared(one.contiguous()) if isinstance(one, Tensor) else one for one in given
        )
        into = tuple(map(_shared, filled))
        kernel[blocks, threads, _stream(device)](*sizes, read, into)


def _shared(tensor: Tensor) -> Any:
    """The memory of a tensor, as numba knows it."""
    return cuda.as_cuda_array(tensor.detach())  # type: ignore[no-untyped-call]


def _stream(device: torch.device) -> Any:
    """The queue of torch's operations, as numba knows it."""
    return _queue(torch.cuda.current_stream(device).cuda_stream)


@cache
def _queue(handle: int) -> Any:
    """One object for each, by which numba finds what it has prepared; 0 is the default one."""
    return cuda.external_stream(handle) if handle else 0


@cache
def _kernel(loop: Callable[..., None]) -> Any:
    """The kernel of a loop: a function of its own, so that its machine code is kept."""
    known = {**globals(), "loop": loop}
    own = FunctionType(_each_point.__code__, known, loop.__name__)
    own.__qualname__ = f"{loop.__module__}.{loop.__name__}"
    return kept_on_disk(cuda.jit, own)


def _each_point(count: int, given: tuple[Any, ...], filled: tuple[Any, ...]) -> None:
    """What each thread does."""
    i = cuda.grid(1)  # type: ignore[attr-defined]
    if i < count:
        loop(*given, i, i + 1, *filled)  # type: ignore[name-defined]  # noqa: F821
