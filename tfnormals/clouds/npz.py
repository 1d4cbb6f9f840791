"""NPZ files: arrays by name, one of which holds the points."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, ClassVar
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import Cloud
from .data import Data, stream_of
from .npy import LONGEST, is_npy, read_array, read_array_header
from .table import BinaryTable, as_float64, table_of

_POINTS = "points.npy"
_NORMALS, _CONFIDENCE = "normals.npy", "normal_confidence.npy"
# What zipfile raises for damaged, encrypted and oddly compressed members.
_BAD_ZIP = (BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


@dataclass(frozen=True, eq=False)
class NpzContent:
    """An NPZ file.

    Attributes:
        data: The whole file.
        points: The member that holds the points.
        columns: Normals and confidence, `(n, d + 1)`, to be added, or None.
    """

    format: ClassVar[str] = "NPZ"
    data: Data
    points: str
    columns: NDArray[np.float32] | None = None

    @property
    def table(self) -> BinaryTable:
        """The arrays of floats with one number for each point."""
        with ZipFile(stream_of(self.data)) as archive:
            shapes = _float_arrays(archive)
            count = shapes[self.points][0]
            numbers = {
                name.removesuffix(".npy"): as_float64(read_array(archive.read(name))[0])
                for name, shape in shapes.items()
                if shape == (count,)
            }
        return table_of(numbers, count)

    def with_normals(self, columns: NDArray[np.float32]) -> "NpzContent":
        """The file with float32 arrays normals and normal_confidence, from `(n, d + 1)`."""
        return replace(self, columns=columns)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file in one piece."""
        if self.columns is None:
            yield self.data[:]
            return
        coming = {_NORMALS: self.columns[:, :-1], _CONFIDENCE: self.columns[:, -1]}
        stream = BytesIO()
        with ZipFile(stream_of(self.data)) as old, ZipFile(stream, "w") as new:
            packing = old.getinfo(self.points).compress_type
            for member in old.infolist():
                array = coming.pop(member.filename, None)
                new.writestr(member, old.read(member) if array is None else _npy(array))
            for name, array in coming.items():
                new.writestr(ZipInfo(name), _npy(array), packing)
        yield stream.getvalue()


def is_npz(data: Data) -> bool:
    """Whether these bytes start like an NPZ file, that is any zip archive."""
    return data[:4] == b"PK\x03\x04"


def read_npz(data: Data) -> Cloud:
    """The cloud in the bytes of an NPZ file.

    The points are the array `points`, or else the only one `(n, 3)` of floats that is not
    `normals`.

    Raises:
        CloudError: If this is no NPZ file, is damaged, or holds no such array.
    """
    try:
        with ZipFile(stream_of(data)) as archive:
            damaged = archive.testzip()  # now, not when the normals are to be written
            if damaged:
                raise BadZipFile(f"{damaged} is damaged")
            floats = _float_arrays(archive)
            name = _points_among(floats)
            points = as_float64(read_array(archive.read(name))[0])
            normals = None
            if floats.get(_NORMALS) == floats[name]:
                normals = as_float64(read_array(archive.read(_NORMALS))[0])
    except _BAD_ZIP as error:
        raise CloudError(f"no readable NPZ file ({error}); get a complete one") from error
    return Cloud(points, normals, viewpoint=None, content=NpzContent(data, name))


def _float_arrays(archive: ZipFile) -> dict[str, tuple[int, ...]]:
    """The arrays of floats, and points of whole numbers, and their shapes."""
    shapes = {}
    for member in archive.infolist():
        with archive.open(member) as stream:
            start = stream.read(LONGEST)
        if is_npy(start):
            header = read_array_header(start)
            if header.dtype.kind in ("fiu" if member.filename == _POINTS else "f"):
                shapes[member.filename] = header.shape
    return shapes


def _points_among(shapes: dict[str, tuple[int, ...]]) -> str:
    names, widths = [_POINTS], [2, 3]
    if _POINTS not in shapes:
        names, widths = [name for name in shapes if name != _NORMALS], [3]
    names = [name for name in names if len(shapes[name]) == 2 and shapes[name][1] in widths]
    if len(names) != 1:
        told = ", ".join(f"{name.removesuffix('.npy')} {shape}" for name, shape in shapes.items())
        raise CloudError(
            f"which array holds the points? (floats: {told or 'none'}); name it points, (n, 3)"
        )
    if shapes[names[0]][0] == 0:
        raise CloudError("no points in it; at least one is needed")
    return names[0]


def _npy(array: NDArray[Any]) -> bytes:
    stream = BytesIO()
    npy_format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
