"""The extra dimensions of LAS points: what a file says of them, and how to say more."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import NORMAL_COLUMNS
from .las_header import LasHeader, new_record
from .table import as_float64

# Type, options, name, scale, offset and description. Source: LAS 1.4 R15, table 24.
_DESCRIPTION = struct.Struct("<2xBB32s76xd16xd16x32s")
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")  # 1 to 10
_RAW = 0  # bytes of which nothing is known; options tell how many
_FLOAT32 = 9
_HAS_SCALE, _HAS_OFFSET = 1 << 3, 1 << 4
_KEY = (b"LASF_Spec", 4)
_OTHER_NAMES = ("NormalX", "NormalY", "NormalZ")  # of CloudCompare and PDAL
_MEANINGS = dict.fromkeys((*NORMAL_COLUMNS[:3], *_OTHER_NAMES), "unit normal")
_MEANINGS["normal_confidence"] = "0 guess to 1 sure"


class Dimension(NamedTuple):
    """A dimension behind those of the point format."""

    name: str
    dtype: np.dtype[Any]
    raw: bytes
    """Its description, 192 bytes."""

    def values(self, column: NDArray[Any]) -> NDArray[np.float64]:
        """What the numbers of the file mean."""
        _, options, _, scale, offset, _ = _DESCRIPTION.unpack(self.raw)
        values = as_float64(column)
        if options & _HAS_SCALE:
            values *= scale
        return values + offset if options & _HAS_OFFSET else values


def extra_dimensions(header: LasHeader) -> list[Dimension]:
    """The extra dimensions in their order, bytes that no record describes included.

    Raises:
        CloudError: If they do not fit into a point.
    """
    raw = b"".join(record.data for record in header.records if record[:2] == _KEY)
    size = _DESCRIPTION.size
    if len(raw) % size:
        raise CloudError("the record of its extra dimensions is cut off; export the cloud again")
    dimensions = [_dimension(raw[i : i + size]) for i in range(0, len(raw), size)]
    described = sum(dimension.dtype.itemsize for dimension in dimensions)
    room = header["point_size"] - header.base_size
    if described > room:
        raise CloudError(
            f"its extra dimensions take {described} bytes of a point, but {room} are there; "
            "export the cloud again"
        )
    while described < room:  # as whole numbers: few programs read type 0, raw bytes, well
        kind = max(kind for kind in (1, 3, 5, 7) if _size(kind) <= room - described)
        dimensions.append(_dimension(_described(f"unknown_{described}", kind)))
        described += _size(kind)
    return dimensions


def normal_names(dimensions: Sequence[Dimension]) -> tuple[str, ...]:
    """What normals and confidence are called in a file: as in CloudCompare, if only so before."""
    found = {dimension.name for dimension in dimensions}
    others = found >= set(_OTHER_NAMES) and not found >= set(NORMAL_COLUMNS[:3])
    return (*_OTHER_NAMES, NORMAL_COLUMNS[3]) if others else NORMAL_COLUMNS


def with_normals(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """The dimensions with float32 ones for normals, replaced where they stand or else appended."""
    names = normal_names(dimensions)
    floats = {name: _dimension(_described(name, _FLOAT32)) for name in names}
    replaced = [floats.pop(dimension.name, dimension) for dimension in dimensions]
    return [*replaced, *floats.values()]


def with_description(header: LasHeader, dimensions: Sequence[Dimension]) -> LasHeader:
    """The header of a file whose points have these extra dimensions.

    Raises:
        CloudError: If a file cannot have as many.
    """
    data = b"".join(dimension.raw for dimension in dimensions)
    size = header.base_size + sum(dimension.dtype.itemsize for dimension in dimensions)
    if max(len(data), size) > 0xFFFF:
        raise CloudError("too many extra dimensions to add four; remove some")
    places = [i for i, record in enumerate(header.records) if record[:2] == _KEY]
    place = places[0] if places else len(header.records)
    record = header.records[place] if places else new_record(*_KEY, b"extra dimensions")
    records = [record for i, record in enumerate(header.records) if i not in places]
    records.insert(place, record.holding(data))
    return header.with_records(records).with_fields(point_size=size)


def _dimension(raw: bytes) -> Dimension:
    kind, options, name, *_ = _DESCRIPTION.unpack(raw)
    if kind == _RAW:
        dtype = np.dtype(f"V{options}")
    elif kind <= len(_TYPES):
        dtype = np.dtype(f"<{_TYPES[kind - 1]}")
    elif kind <= 3 * len(_TYPES):  # pairs and triples, which old files may have
        more, place = divmod(kind - 1, len(_TYPES))
        dtype = np.dtype(f"V{(more + 1) * _size(place + 1)}")
    else:
        raise CloudError(f"an extra dimension of the unknown type {kind}; export the cloud again")
    return Dimension(name.rstrip(b"\0").decode("utf-8", "replace"), dtype, raw)


def _size(kind: int) -> int:
    return np.dtype(_TYPES[kind - 1]).itemsize


def _described(name: str, kind: int) -> bytes:
    meaning = _MEANINGS.get(name, "")
    return _DESCRIPTION.pack(kind, 0, name.encode(), 0, 0, meaning.encode())
