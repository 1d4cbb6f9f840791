"""Where the arrays of a cloud lie: in memory or, beyond a size, in temporary files."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import CloudError

IN_FILES = 1_000_000
"""Points beyond which what is kept of each lies in temporary files, not in memory."""
PIECE = 1 << 18
"""Points handled at a time where that costs nothing."""


def room(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array to be filled, the longest axis for points; of many, in a temporary file.

    The system keeps in memory what is used and moves the rest to the disk, in order, as the
    points come in order. The file has no name, and goes with the array.

    Raises:
        CloudError: If the disk has no room.
    """
    if max(shape, default=1) <= IN_FILES:
        return np.empty(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    folder = tempfile.gettempdir()
    if size > shutil.disk_usage(folder).free:  # writing beyond would end the process
        raise CloudError(
            f"{size / 1e9:.1f} GB of temporary files do not fit in {folder}; free some space, or "
            "let TMPDIR name another folder"
        )
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):  # else room is promised again to the next array
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype, "w+", shape=shape).view(np.ndarray)


def pieces(count: int) -> Iterator[slice]:
    """Ranges that cover so many points."""
    for start in range(0, count, PIECE):
        yield slice(start, min(start + PIECE, count))
