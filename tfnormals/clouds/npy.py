"""NPY files: an array of floats with x y z first or just x y, or a structured array."""

import ast
import operator
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from math import prod
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ..errors import CloudError
from ..storage import pieces, room
from .cloud import NORMAL_COLUMNS, Cloud, cloud_from_table, columns_of
from .data import Data
from .table import BinaryTable, as_float64

_MAGIC = b"\x93NUMPY"
# How the length of the header is stored, and its encoding.
_VERSIONS = {
    (1, 0): (struct.Struct("<H"), "latin-1"),
    (2, 0): (struct.Struct("<I"), "latin-1"),
    (3, 0): (struct.Struct("<I"), "utf-8"),
}
_HEADS = {  # of the third version numpy writes whole files only
    (1, 0): npy_format.write_array_header_1_0,
    (2, 0): npy_format.write_array_header_2_0,
}
LONGEST = 10_000  # bytes of a header that numpy takes to be safe to parse
_BAD_HEADER = (ValueError, TypeError, SyntaxError, LookupError, RecursionError, struct.error)


class ArrayHeader(NamedTuple):
    """What an NPY file says of its array."""

    version: tuple[int, int]
    size: int
    """Bytes of the header, that is where the array starts."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]


@dataclass(frozen=True, eq=False)
class NpyContent:
    """An NPY file.

    Attributes:
        array: `(n, m)` of floats, or `(n,)` structured.
        width: The columns of the file itself, 0 if structured; normals follow them.
        version: Of the format.
    """

    format: ClassVar[str] = "NPY"
    array: NDArray[Any]
    width: int
    version: tuple[int, int]

    @property
    def table(self) -> BinaryTable:
        """The fields; the columns of a plain array have no names."""
        return BinaryTable(self.array)

    def with_normals(self, columns: NDArray[np.float32]) -> "NpyContent":
        """The file with nx ny nz normal_confidence, from `(n, 4)`, in its own type if plain."""
        if self.width == 0:
            names = columns_of(NORMAL_COLUMNS, columns)
            array = self.table.with_columns(names, columns).rows
        else:
            own = self.array[:, : self.width]
            array = room((len(own), self.width + columns.shape[1]), own.dtype)
            array[:, : self.width], array[:, self.width :] = own, columns
        return replace(self, array=array)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece."""
        stream, head = BytesIO(), _HEADS.get(self.version)
        if head is None or not self.array.flags.c_contiguous:
            npy_format.write_array(stream, self.array, self.version, allow_pickle=False)
            yield stream.getvalue()
            return
        head(stream, npy_format.header_data_from_array_1_0(self.array))
        yield stream.getvalue()
        for part in pieces(len(self.array)):
            yield self.array[part].tobytes()


def is_npy(data: Data) -> bool:
    """Whether these bytes start like an NPY file."""
    return data[: len(_MAGIC)] == _MAGIC


def read_npy(data: Data) -> Cloud:
    """The cloud in the bytes of an NPY file.

    Raises:
        CloudError: If this is no NPY file, is cut off, or holds no such array.
    """
    array, version = read_array(data)
    if array.dtype.names is not None and array.ndim == 1:
        return cloud_from_table(BinaryTable(array), NpyContent(array, 0, version))
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 2:
        raise CloudError(
            f"an array of {array.dtype} {array.shape}; save floats (n, 2 or more) "
            "or a structured array with fields x y z"
        )
    if len(array) == 0:
        raise CloudError("no points in it; at least one is needed")
    return Cloud(
        points=as_float64(array[:, :3]),
        normals=None,
        viewpoint=None,
        content=NpyContent(array, array.shape[1], version),
    )


def read_array(data: Data) -> tuple[NDArray[Any], tuple[int, int]]:
    """The array and the version of the format; the size is checked before memory is taken.

    Raises:
        CloudError: If this is no NPY file, is cut off, or holds Python objects.
    """
    header = read_array_header(data)
    shape, dtype = header.shape, header.dtype
    if dtype.hasobject:
        raise CloudError(f"an array of Python objects ({dtype}); save plain numbers")
    promised = prod(shape)
    held = len(data) - header.size
    if promised * dtype.itemsize > held:
        raise CloudError(
            f"the header promises {promised} values, {held // dtype.itemsize} are there; "
            "get a complete file"
        )
    array: NDArray[Any] = np.ndarray(shape, dtype, data, header.size, order=header.order)
    return array, header.version


def read_array_header(data: Data) -> ArrayHeader:
    """The header in the first bytes of an NPY file.

    Raises:
        CloudError: If this is no NPY file, or the header is cut off.
    """
    if not is_npy(data):
        raise CloudError(f"not an NPY file (it starts with {data[:8]!r}); check its name")
    try:
        version = (data[6], data[7])
        length_format, encoding = _VERSIONS[version]
        (length,) = length_format.unpack_from(data, 8)
        start = 8 + length_format.size + length
        header = ast.literal_eval(data[start - length : start][:LONGEST].decode(encoding))
        shape = tuple(operator.index(side) for side in header["shape"])
        dtype = npy_format.descr_to_dtype(header["descr"])
        order: Literal["C", "F"] = "F" if header["fortran_order"] else "C"
    except _BAD_HEADER as error:
        raise CloudError(f"bad NPY header ({error}); save the array again") from error
    return ArrayHeader(version, start, shape, dtype, order)
