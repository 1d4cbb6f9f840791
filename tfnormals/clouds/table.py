"""Points as rows of named columns, in the very types a file stores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..storage import pieces, room


class Table(Protocol):
    """Rows of named columns; changing it never touches what is not named."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold one number per point."""

    def __len__(self) -> int: ...

    def values(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The named columns, `(n, len(names))`."""

    def with_columns(self, names: Sequence[str], values: NDArray[np.float32]) -> "Table":
        """The table with float32 columns, replaced where they stand or else appended.

        Args:
            names: The k columns.
            values: `(n, k)`.
        """

    def chunks(self) -> Iterator[bytes]:
        """The rows as the file holds them, piece by piece."""


@dataclass(frozen=True, eq=False)
class BinaryTable:
    """Rows of fixed size: a structured array.

    Attributes:
        rows: `(n,)`, packed, one field per column.
        byte_order: Of the columns to come, `<` or `>`.
    """

    rows: NDArray[Any]
    byte_order: str = "<"

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are single numbers."""
        return tuple(name for name, dtype in self._fields().items() if dtype.kind in "iuf")

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The named columns as float64, `(n, len(names))`."""
        columns = room((len(self), len(names)), np.float64)
        for place, name in enumerate(names):
            fill(columns[:, place], self.rows[name])
        return columns

    def with_columns(self, names: Sequence[str], values: NDArray[np.float32]) -> "BinaryTable":
        """The table with float32 columns, replaced where they stand or else appended."""
        kept = self._fields()
        fields = kept | dict.fromkeys(names, np.dtype(f"{self.byte_order}f4"))
        dtype = np.dtype({"names": list(fields), "formats": list(fields.values())})
        rows = room((len(self),), dtype)
        for name in fields:
            rows[name] = values[:, names.index(name)] if name in names else self.rows[name]
        return replace(self, rows=rows)

    def chunks(self) -> Iterator[bytes]:
        """The rows, one after the other, some at a time."""
        for some in pieces(len(self)):
            yield self.rows[some].tobytes()

    def _fields(self) -> dict[str, np.dtype[Any]]:
        dtype = self.rows.dtype
        return {name: dtype[name] for name in dtype.names or ()}


def table_of(columns: Mapping[str, NDArray[np.float64]], count: int) -> BinaryTable:
    """A table of columns (count,) that a file does not keep as rows."""
    rows = np.empty(count, [(name, np.float64) for name in columns])
    for name, values in columns.items():
        rows[name] = values
    return BinaryTable(rows)


def fill(target: NDArray[np.float64], numbers: NDArray[Any]) -> None:
    """Copies the numbers, without a warning about signalling NaN."""
    with np.errstate(invalid="ignore"):
        target[...] = numbers


def as_float64(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """The numbers as float64, without a warning about signalling NaN."""
    copied = room(numbers.shape, np.float64)
    fill(copied, numbers)
    return copied
