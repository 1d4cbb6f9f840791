"""The bytes of a file: in memory or, of a large one, mapped, so that only what is used is read."""

import mmap
import os
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

Data: TypeAlias = bytes | mmap.mmap
"""What readers are given: pieces of it, ``data[a:b]``, are bytes."""

MAPPED = 1 << 26
"""Bytes beyond which a file is mapped."""


def read_data(path: Path) -> Data:
    """The bytes of a file. It may be replaced meanwhile, but must not be cut off.

    Windows cannot replace a mapped file, so there it is read.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        if os.name == "nt" or os.fstat(file.fileno()).st_size < MAPPED:
            return file.read()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def stream_of(data: Data) -> BinaryIO:
    """The bytes as a file."""
    return BytesIO(data) if isinstance(data, bytes) else BufferedReader(_Mapped(data))


class _Mapped(RawIOBase):
    """A mapped file as one that is read; that of ``mmap`` lacks what some readers ask for."""

    def __init__(self, data: mmap.mmap) -> None:
        self._view, self._place = memoryview(data), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        part = self._view[self._place : self._place + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: len(self._view)}
        self._place = start[whence] + offset
        return self._place
