"""LAS and LAZ files.

The header, the records and the points stay as they stand, byte for byte. (laspy resets the day of
creation and the bounds and drops waveforms, so it only checks us in the tests.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from ..storage import pieces, room
from .cloud import Cloud
from .data import Data
from .las_extra import (
    Dimension,
    extra_dimensions,
    normal_names,
    with_description,
    with_normals,
)
from .las_header import (
    GET,
    LATE_RECORD,
    LasHeader,
    Record,
    is_compressed,
    read_header,
    read_records,
)
from .laz import LASZIP, laszip_record, packed, unpacked
from .table import BinaryTable, table_of

_COPC = b"copc"  # user of the records that make LAZ COPC
_COPC_LOST = "COPC becomes plain LAZ: the same points without the octree"
_WAVES_ELSEWHERE = "waveforms stay in the .wdp file; copy it beside the output"


@dataclass(frozen=True, eq=False)
class LasContent:
    """A LAS file.

    Attributes:
        data: The whole file.
        header: What stands before its points.
        points: `(n,)` structured: the points as they stand, extra dimensions included.
        tail: What stands behind them, and where.
        columns: Normals and confidence, `(n, 4)`, to be added, or None.
    """

    format: ClassVar[str] = "LAS"
    data: Data
    header: LasHeader
    points: NDArray[Any]
    tail: tuple[bytes, int]
    columns: NDArray[np.float32] | None = None

    @property
    def table(self) -> BinaryTable:
        """The extra dimensions that are numbers."""
        dimensions = extra_dimensions(self.header)
        fields = [name for name in self.points.dtype.names or () if name not in (*"XYZ", "rest")]
        numbers = {
            dimension.name: dimension.values(self.points[field])
            for field, dimension in zip(fields, dimensions, strict=True)
            if dimension.dtype.kind != "V"
        }
        return table_of(numbers, len(self.points))

    def with_normals(self, columns: NDArray[np.float32]) -> "LasContent":
        """The file with extra dimensions of these ``normal_names``, from `(n, 4)`."""
        return replace(self, columns=columns)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece."""
        if self.columns is None:
            yield self.data[:]
            return
        dimensions = with_normals(extra_dimensions(self.header))
        yield from self._file(with_description(self.header, dimensions), self.columns)

    def _file(self, header: LasHeader, columns: NDArray[np.float32]) -> Iterator[bytes]:
        """The file under a header that describes points with normals."""
        end = header["points"] + len(columns) * header["point_size"]
        yield self._shifted(header, end).to_bytes()
        yield from self._rows(columns)
        yield self.tail[0]

    def _rows(self, columns: NDArray[np.float32]) -> Iterator[bytes]:
        names = normal_names(extra_dimensions(self.header))
        for part in pieces(len(columns)):
            rows = BinaryTable(self.points[part])
            yield from rows.with_columns(names, columns[part]).chunks()

    def _shifted(self, header: LasHeader, end: int) -> LasHeader:
        """The header of a file whose points end elsewhere, so that what follows moved."""
        start = self.tail[1]
        fields = [field for field in ("waves", "late_records") if header[field] >= start]
        return header.with_fields(**{field: header[field] - start + end for field in fields})


@dataclass(frozen=True, eq=False)
class LazContent(LasContent):
    """A LAZ file."""

    format: ClassVar[str] = "LAZ"

    def _file(self, header: LasHeader, columns: NDArray[np.float32]) -> Iterator[bytes]:
        laszip = laszip_record(header)
        header = header.with_records(
            [
                record.holding(laszip) if record[:2] == LASZIP else record
                for record in header.records
            ]
        )
        points = packed(laszip, self._rows(columns), header["points"])
        yield self._shifted(header, header["points"] + len(points)).to_bytes()
        yield points
        yield self.tail[0]


def read_las(data: Data) -> Cloud:
    """The cloud in the bytes of a LAS or LAZ file, COPC included.

    Raises:
        CloudError: If this is no such file, is cut off or damaged, or has no points.
    """
    header = read_header(data)
    if header.count == 0:
        raise CloudError("no points in it; at least one is needed")
    dimensions = extra_dimensions(header)
    dtype = _dtype(header, dimensions)
    late = read_records(data, header["late_records"], header["late_count"], LATE_RECORD)
    if is_compressed(data):
        points = unpacked(data, header).view(dtype)[:, 0]
        places = [header[field] for field in ("waves", "late_records")]
        end = min((p for p in places if header["points"] < p < len(data)), default=len(data))
    else:
        points = _plain_points(data, header, dtype)
        end = header["points"] + points.nbytes
    coordinates = room((len(points), 3), np.float64)
    for place, axis in enumerate("XYZ"):
        np.multiply(points[axis], header["scales"][place], out=coordinates[:, place])
    coordinates += header["offsets"]
    losses = [_WAVES_ELSEWHERE] if header.waves_elsewhere else []
    tail = data[end:]
    if any(record.user == _COPC for record in header.records):
        header, tail = _without_copc(header, late, tail, end)
        losses.append(_COPC_LOST)
    kind = LazContent if is_compressed(data) else LasContent
    return Cloud(
        points=coordinates,
        normals=_normals(points, dimensions),
        viewpoint=None,
        content=kind(data, header, points, (tail, end)),
        losses=tuple(losses),
    )


def _dtype(header: LasHeader, dimensions: Sequence[Dimension]) -> np.dtype[Any]:
    """What a point looks like: its coordinates, the rest of its format, and extra dimensions."""
    fields: dict[str, object] = dict.fromkeys("XYZ", "<i4")
    fields["rest"] = f"V{header.base_size - 12}"
    names = normal_names(dimensions)
    for place, dimension in enumerate(dimensions):
        normal = dimension.name in names and dimension.name not in fields
        fields[dimension.name if normal else f"extra {place}"] = dimension.dtype
    return np.dtype({"names": list(fields), "formats": list(fields.values())})


def _plain_points(data: Data, header: LasHeader, dtype: np.dtype[Any]) -> NDArray[Any]:
    room = (len(data) - header["points"]) // dtype.itemsize
    if header.count > room:
        raise CloudError(f"the header promises {header.count} points, {room} are there; {GET}")
    return np.ndarray((header.count,), dtype, data, header["points"])


def _normals(points: NDArray[Any], dimensions: Sequence[Dimension]) -> NDArray[np.float64] | None:
    """The normals the file has, if they are plain numbers."""
    found = {dimension.name: dimension for dimension in reversed(dimensions)}
    axes = [found[name] for name in normal_names(dimensions)[:3] if name in found]
    if len(axes) < 3 or any(axis.dtype.kind == "V" for axis in axes):
        return None
    return np.column_stack([axis.values(points[axis.name]) for axis in axes])


def _without_copc(
    header: LasHeader, late: Sequence[Record], tail: bytes, start: int
) -> tuple[LasHeader, bytes]:
    """Header and tail without the octree, whose places are void once points are packed anew."""
    kept = [record for record in late if record.user != _COPC]
    place = header["late_records"]
    header = header.with_records([r for r in header.records if r.user != _COPC])
    if late:
        end = place - start + sum(len(r.head) + len(r.data) for r in late)
        tail = b"".join([tail[: place - start], *(r.head + r.data for r in kept), tail[end:]])
        header = header.with_fields(late_records=place if kept else 0, late_count=len(kept))
    return header, tail
