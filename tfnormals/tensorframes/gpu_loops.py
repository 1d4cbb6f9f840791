"""The loops of a CPU on a GPU: numba compiles them once more, and a thread does one point.

Beside the module lies machine code, as for a CPU; see CONTRIBUTING.md for when to delete it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any
from warnings import catch_warnings, filterwarnings

from numba import cuda
from torch import Tensor

THREADS = 128
"""In a block, which one processor runs; NOT measured."""
FEW = 16_384
"""Points up to which each thread gets a block, and so the caches of a processor, to itself: where
they are few, as blocks of points are, each has much to do; NOT measured."""


def launch(
    loop: Callable[..., None], count: int, given: Sequence[Any], filled: Sequence[Tensor]
) -> None:
    """Runs a compiled loop on the GPU of its tensors; see ``loops.over_points``."""
    read = tuple(_shared(one.contiguous()) if isinstance(one, Tensor) else one for one in given)
    into = tuple(map(_shared, filled))
    threads = THREADS if count > FEW else 1
    with cuda.gpus[filled[0].get_device()], catch_warnings():
        filterwarnings("ignore", "Grid size")  # small clouds leave a GPU idle, that is known
        _kernel(loop)[-(-count // threads), threads](count, read, into)


def _shared(tensor: Tensor) -> Any:
    """The memory of a tensor, as numba knows it."""
    return cuda.as_cuda_array(tensor.detach())  # type: ignore[no-untyped-call]


@cache
def _kernel(loop: Callable[..., None]) -> Any:
    """The kernel of a loop: a function of its own, so that its machine code is kept."""
    known = {**globals(), "loop": loop}
    own = FunctionType(_each_point.__code__, known, loop.__name__)
    own.__qualname__ = f"{loop.__module__}.{loop.__name__}"
    return cuda.jit(cache=True)(own)  # type: ignore[no-untyped-call]


def _each_point(count: int, given: tuple[Any, ...], filled: tuple[Any, ...]) -> None:
    """What each thread does."""
    i = cuda.grid(1)  # type: ignore[attr-defined]
    if i < count:
        loop(*given, i, i + 1, *filled)  # type: ignore[name-defined]  # noqa: F821
