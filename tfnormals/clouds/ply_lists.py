"""PLY elements some of whose properties are lists, such as faces.

Done here as plyfile takes long over many rows and writes the numbers beside big-endian lists in
the wrong byte order (1.1.5).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyElement, PlyListProperty, PlyProperty

from ..errors import CloudError
from .data import Data
from .table import as_float64


@dataclass(frozen=True, eq=False)
class ListTable:
    """Binary rows of which some cells are lists.

    Attributes:
        cells: Each property's name to its bytes in every row, a list's length included.
        types: The same names to the types of the numbers; None for lists.
        byte_order: `<` or `>`.
    """

    cells: dict[str, list[bytes]]
    types: dict[str, np.dtype[Any] | None]
    byte_order: str

    @property
    def names(self) -> tuple[str, ...]:
        """The properties that are no lists."""
        return tuple(name for name, dtype in self.types.items() if dtype is not None)

    def __len__(self) -> int:
        return len(next(iter(self.cells.values())))

    def values(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The named columns, `(n, len(names))`."""
        columns = [np.frombuffer(b"".join(self.cells[name]), self.types[name]) for name in names]
        return np.column_stack([as_float64(column) for column in columns])

    def with_columns(self, names: Sequence[str], values: NDArray[np.float32]) -> "ListTable":
        """The table with float32 columns, replaced where they stand or else appended."""
        dtype = np.dtype(f"{self.byte_order}f4")
        types: dict[str, np.dtype[Any] | None] = dict.fromkeys(names, dtype)
        cells = dict(self.cells)
        for name, column in zip(names, values.T, strict=True):
            raw = column.astype(dtype).tobytes()
            cells[name] = [raw[place : place + 4] for place in range(0, len(raw), 4)]
        return replace(self, cells=cells, types=self.types | types)

    def chunks(self) -> Iterator[bytes]:
        """The rows, one after the other."""
        yield b"".join(chain.from_iterable(zip(*self.cells.values(), strict=True)))


def has_lists(element: PlyElement) -> bool:
    """Whether some property is a list."""
    return any(isinstance(prop, PlyListProperty) for prop in element.properties)


def list_table(
    data: Data, start: int, element: PlyElement, count: int, byte_order: str
) -> ListTable:
    """The rows of a binary element, which are known to be there."""
    cells: dict[str, list[bytes]] = {prop.name: [] for prop in element.properties}
    columns = list(cells.values())
    for row in islice(row_ends(data, start, element, byte_order), count):
        for column, end in zip(columns, row, strict=True):
            column.append(data[start:end])
            start = end
    types = {
        prop.name: None if isinstance(prop, PlyListProperty) else np.dtype(prop.dtype(byte_order))
        for prop in element.properties
    }
    return ListTable(cells, types, byte_order)


def row_ends(data: Data, start: int, element: PlyElement, byte_order: str) -> Iterator[list[int]]:
    """For row after row, where each property ends, as long as they end inside the data.

    Raises:
        CloudError: If the length of a list is negative.
    """
    steps = [_step(prop, byte_order) for prop in element.properties]
    end = start
    while True:
        ends = []
        for length, size in steps:
            if length is None:
                end += size
            elif end + length.size > len(data):
                return
            else:
                items = int(length.unpack_from(data, end)[0])
                if items < 0:
                    raise CloudError(f"{items} items in a list of {element.name}; check the file")
                end += length.size + items * size
            ends.append(end)
        if end > len(data):
            return
        yield ends


def text_cells(line: bytes, element: PlyElement) -> list[bytes]:
    """One cell per property, a list in one; fewer or more where the line does not fit."""
    words = iter(line.split())
    cells = []
    for prop in element.properties:
        cell = list(islice(words, 1))
        if isinstance(prop, PlyListProperty) and cell and cell[0].isdigit():
            cell += islice(words, int(cell[0]))
            if len(cell) <= int(cell[0]):
                break
        if cell:
            cells.append(b" ".join(cell))
    return [*cells, *words]


def _step(prop: PlyProperty, byte_order: str) -> tuple[struct.Struct | None, int]:
    """How a list's length is stored (None for a number), and the bytes of one number."""
    if not isinstance(prop, PlyListProperty):
        return None, np.dtype(prop.dtype(byte_order)).itemsize
    length, item = map(np.dtype, prop.list_dtype(byte_order))
    return struct.Struct(byte_order + length.char), item.itemsize
