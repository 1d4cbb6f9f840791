"""What stands around the points of a LAS file: the header and its variable length records."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import CloudError
from .data import Data

GET = "get a complete file"

# Field to place and type. Source: LAS 1.4 R15, table 3.
_PLACES = {
    "encoding": (6, "<u2"),
    "minor": (25, "u1"),
    "points": (96, "<u4"),
    "records": (100, "<u4"),
    "format": (104, "u1"),
    "point_size": (105, "<u2"),
    "old_count": (107, "<u4"),
    "scales": (131, "(3,)<f8"),
    "offsets": (155, "(3,)<f8"),
    "waves": (227, "<u8"),
    "late_records": (235, "<u8"),
    "late_count": (243, "<u4"),
    "count": (247, "<u8"),
}
_LONGEST = 375
_FIELDS = np.dtype(
    {
        "names": list(_PLACES),
        "formats": [form for _, form in _PLACES.values()],
        "offsets": [place for place, _ in _PLACES.values()],
        "itemsize": _LONGEST,
    }
)
# Bytes of the header in LAS 1.0, 1.1 and so on.
_SIZES = (227, 227, 227, 235, 375)
# Bytes of a point in the formats 0 to 10, without extra dimensions.
_POINT_SIZES = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)
_WAVE_FORMATS = (4, 5, 9, 10)
_WAVES_ELSEWHERE = 1 << 2  # in `encoding`
_COMPRESSED = 1 << 7  # in `format`

RECORD = struct.Struct("<2x16sHH32s")
LATE_RECORD = struct.Struct("<2x16sHQ32s")


class Record(NamedTuple):
    """A record beside the points: what it is, and all its bytes."""

    user: bytes
    number: int
    head: bytes
    data: bytes

    def holding(self, data: bytes) -> "Record":
        """The record with other data; it must not be an extended one."""
        length = struct.pack("<H", len(data))
        return self._replace(head=self.head[:20] + length + self.head[22:], data=data)


def new_record(user: bytes, number: int, description: bytes) -> Record:
    """A record without data."""
    return Record(user, number, RECORD.pack(user, number, 0, description), b"")


@dataclass(frozen=True)
class LasHeader:
    """All that stands before the points.

    Attributes:
        raw: The header proper, as it stands in the file.
        records: The records between it and the points.
        gap: What else stands there.
    """

    raw: bytes
    records: tuple[Record, ...] = ()
    gap: bytes = b""

    def __getitem__(self, field: str) -> Any:
        """A field of `_PLACES`, 0 where the version has no such field."""
        own = self.raw[: _SIZES[self.raw[25]]]
        value = np.frombuffer(own.ljust(_LONGEST, b"\0"), _FIELDS)[field][0]
        return value if value.ndim else value.item()

    @property
    def count(self) -> int:
        """How many points are promised."""
        return self["count"] or self["old_count"]

    @property
    def point_format(self) -> int:
        """0 to 10."""
        return self["format"] & 0x3F

    @property
    def base_size(self) -> int:
        """Bytes of a point without its extra dimensions."""
        return _POINT_SIZES[self.point_format]

    @property
    def waves_elsewhere(self) -> bool:
        """Whether the waveforms are in a file of their own."""
        return self.point_format in _WAVE_FORMATS and bool(self["encoding"] & _WAVES_ELSEWHERE)

    def with_fields(self, **values: int) -> "LasHeader":
        """The header with fields changed, all of which its version has."""
        raw = bytearray(self.raw.ljust(_LONGEST, b"\0"))
        for field, value in values.items():
            np.frombuffer(raw, _FIELDS)[field] = value
        return replace(self, raw=bytes(raw[: len(self.raw)]))

    def with_records(self, records: Sequence[Record]) -> "LasHeader":
        """The header with other records before the points."""
        held = replace(self, records=tuple(records))
        return held.with_fields(records=len(records), points=len(held.to_bytes()))

    def to_bytes(self) -> bytes:
        """All of it."""
        records = (part for record in self.records for part in (record.head, record.data))
        return b"".join([self.raw, *records, self.gap])


def is_las(data: Data) -> bool:
    """Whether these bytes start like a LAS or LAZ file."""
    return data[:4] == b"LASF"


def is_compressed(data: Data) -> bool:
    """Whether a LAS file says that its points are compressed, as those of LAZ are."""
    return len(data) > 104 and bool(data[104] & _COMPRESSED)


def read_header(data: Data) -> LasHeader:
    """The header in the bytes of a LAS or LAZ file.

    Raises:
        CloudError: If it is cut off, contradicts itself or is of an unknown kind.
    """
    if not is_las(data):
        raise CloudError(f"not a LAS file (it starts with {data[:8]!r}); check its name")
    if len(data) < _SIZES[0]:
        raise CloudError(f"the header is cut off; {GET}")
    major, minor, kind = data[24], data[25], data[104] & 0x3F
    if major != 1 or minor >= len(_SIZES) or kind >= len(_POINT_SIZES):
        raise CloudError(
            f"LAS {major}.{minor} with point format {kind}; convert it to LAS 1.0 to 1.4 with "
            "point format 0 to 10"
        )
    size = int.from_bytes(data[94:96], "little")
    header = LasHeader(data[: max(size, _SIZES[0])])
    start = header["points"]
    if not _SIZES[minor] <= size <= start <= len(data):
        raise CloudError(f"the header is cut off or damaged; {GET}")
    if header["point_size"] < header.base_size:
        raise CloudError(
            f"points of {header['point_size']} bytes, but point format {kind} takes "
            f"{header.base_size}; export the cloud again"
        )
    records = read_records(data[:start], size, header["records"], RECORD)
    end = size + sum(len(record.head) + len(record.data) for record in records)
    return replace(header, records=tuple(records), gap=data[end:start])


def read_records(data: Data, start: int, count: int, form: struct.Struct) -> list[Record]:
    """The records that stand one after the other from some place on.

    Raises:
        CloudError: If they are cut off.
    """
    records: list[Record] = []
    while len(records) < count:
        body = start + form.size
        if body <= len(data):
            user, number, length, _ = form.unpack_from(data, start)
        if body > len(data) or body + length > len(data):
            raise CloudError(f"{count} records are promised, {len(records)} are there; {GET}")
        end = body + length
        records.append(Record(user.rstrip(b"\0"), number, data[start:body], data[body:end]))
        start = end
    return records
