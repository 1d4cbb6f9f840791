"""Parquet files: columns by name, one row for each point; they need pyarrow, an extra."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import NORMAL_COLUMNS, Cloud, cloud_from_table, columns_of
from .data import Data, stream_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet as pq

_MAGIC = b"PAR1"


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """The columns of a Parquet file.

    Attributes:
        arrow: All of them, with the metadata of the file.
        layout: Of the file that was read: its row groups and how they are packed.
    """

    arrow: "pa.Table"
    layout: "pq.FileMetaData"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns of numbers, in lower case, as people write X Y Z."""
        from pyarrow import types

        numbers = (types.is_integer, types.is_floating, types.is_decimal)
        return tuple(
            name
            for name, place in self._places.items()
            if any(is_number(self.arrow.schema.field(place).type) for is_number in numbers)
        )

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def values(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The named columns as float64, `(n, len(names))`, NaN where there is none."""
        import pyarrow as pa

        columns = [self.arrow.column(self._places[name]) for name in names]
        return np.column_stack(
            [column.cast(pa.float64(), safe=False).to_numpy() for column in columns]
        )

    def with_columns(self, names: Sequence[str], values: NDArray[np.float32]) -> "ParquetTable":
        """The table with float32 columns, replaced where they stand or else appended."""
        import pyarrow as pa

        arrow = self.arrow
        for name, column in zip(names, np.ascontiguousarray(values.T), strict=True):
            place = self._places.get(name)
            if place is None:
                arrow = arrow.append_column(pa.field(name, pa.float32()), pa.array(column))
            else:
                field = arrow.schema.field(place).with_type(pa.float32())
                arrow = arrow.set_column(place, field, pa.array(column))
        return replace(self, arrow=arrow)

    def chunks(self) -> Iterator[bytes]:
        """A file with as many rows in each group as the one that was read."""
        from pyarrow import parquet as pq

        groups = [self.layout.row_group(group) for group in range(self.layout.num_row_groups)]
        packing = groups[0].column(0).compression.replace("UNCOMPRESSED", "NONE")
        stream, start = BytesIO(), 0
        with pq.ParquetWriter(stream, self.arrow.schema, compression=packing) as writer:
            for count in filter(None, (group.num_rows for group in groups)):
                writer.write_table(self.arrow.slice(start, count), row_group_size=count)
                start += count
        yield stream.getvalue()

    @cached_property
    def _places(self) -> dict[str, int]:
        """The place of each column by its name in lower case; of two, that which is in it."""
        places: dict[str, int] = {}
        for place, name in enumerate(self.arrow.schema.names):
            places.setdefault(name.lower(), place)
        exact = {name: place for place, name in enumerate(self.arrow.schema.names)}
        return {name: exact.get(name, place) for name, place in places.items()}


@dataclass(frozen=True, eq=False)
class ParquetContent:
    """A Parquet file.

    Attributes:
        data: The whole file, or None once it got normals.
        table: Its columns.
    """

    format: ClassVar[str] = "Parquet"
    data: Data | None
    table: ParquetTable

    def with_normals(self, columns: NDArray[np.float32]) -> "ParquetContent":
        """The file with float columns nx ny nz normal_confidence, from `(n, 4)`."""
        names = columns_of(NORMAL_COLUMNS, columns)
        return ParquetContent(None, self.table.with_columns(names, columns))

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file in one piece."""
        yield from self.table.chunks() if self.data is None else [self.data[:]]


def is_parquet(data: Data) -> bool:
    """Whether these bytes start like a Parquet file."""
    return data[: len(_MAGIC)] == _MAGIC


def read_parquet(data: Data) -> Cloud:
    """The cloud in the bytes of a Parquet file, with columns x y z in any case of letters.

    Raises:
        CloudError: If pyarrow is missing, this is no Parquet file, is damaged, or has no x y z.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet as pq
    except ImportError as error:
        told = "Parquet needs pyarrow; pip install 'tfnormals[parquet]'"
        raise CloudError(f"{told} ({error})") from error
    try:
        with pq.ParquetFile(stream_of(data)) as file:
            table = ParquetTable(file.read(), file.metadata)
            losses = _losses(file.schema, table.arrow.schema)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CloudError(f"no readable Parquet file ({reason}); get a complete one") from error
    cloud = cloud_from_table(table, ParquetContent(data, table))
    return replace(cloud, losses=losses)


def _losses(schema: "pq.ParquetSchema", arrow: "pa.Schema") -> tuple[str, ...]:
    """The columns that Arrow writes in another type, or under another name, than it reads."""
    from pyarrow import parquet as pq

    stream = BytesIO()
    pq.write_table(arrow.empty_table(), stream)
    with pq.ParquetFile(stream) as file:
        again = file.schema
    pairs = [(schema.column(place), again.column(place)) for place in range(len(again))]
    return tuple(
        f"{old.path} ({old.physical_type}, {old.logical_type}) becomes "
        f"{new.path} ({new.physical_type}, {new.logical_type}) with the same values"
        for old, new in pairs
        if not old.equals(new)
    )
