"""PCD files: ascii, binary and binary_compressed.

pypcd4 handles the common ones, but drops comments, prints floats with ten decimals (2e-12
becomes 0), needs COUNT and single blanks, and lays out compressed fields of COUNT > 1 unlike
PCL: each value apart. So only the LZF codec it depends on is used here.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, NamedTuple

import lzf
import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import Cloud, cloud_from_table, columns_of
from .data import Data
from .rows import TextRows
from .table import BinaryTable, Table

_NORMAL_FIELDS = ("normal_x", "normal_y", "normal_z", "normal_confidence")
_TYPES = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}
_DATA_LINE = re.compile(rb"^DATA[ \t]+(\w+)[ \t]*\r?\n", re.MULTILINE)
_DEFAULT_VIEWPOINT = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
_PADDING = "_"
_MOST_VALUES = 2**16  # in a field of one point; the descriptors of PCL have up to 1 980
_SIZES = struct.Struct("<II")  # of the packed and of the unpacked bytes
_FIX = "correct the header"
_GET = "get a complete file"


class _Field(NamedTuple):
    name: str
    size: int
    kind: str
    length: int


class _Header(NamedTuple):
    """The header: its lines, line ends included, and what they declare."""

    lines: tuple[bytes, ...]
    fields: tuple[_Field, ...]
    points: int
    encoding: str
    viewpoint: NDArray[np.float64] | None
    width: int | None


@dataclass(frozen=True, eq=False)
class PcdContent:
    """A PCD file.

    Attributes:
        after: The bytes behind the points; PCL pads some files.
    """

    format: ClassVar[str] = "PCD"
    header: _Header
    table: Table
    after: bytes

    def with_normals(self, columns: NDArray[np.float32]) -> "PcdContent":
        """The file with fields normal_x normal_y normal_z normal_confidence, from `(n, 4)`."""
        names = columns_of(_NORMAL_FIELDS, columns)
        table = self.table.with_columns(names, columns)
        return replace(self, header=_with_fields(self.header, names), table=table)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece."""
        yield b"".join(self.header.lines)
        yield from self.table.chunks()
        yield self.after


@dataclass(frozen=True, eq=False)
class _PackedTable(BinaryTable):
    """Rows that are stored field by field, compressed."""

    def chunks(self) -> Iterator[bytes]:
        """The two sizes and the packed fields."""
        raw = b"".join(self.rows[name].tobytes() for name in self.rows.dtype.names or ())
        if len(raw) >= 2**32:
            raise CloudError("more than 4 GB cannot be compressed; store the input as binary")
        packed = lzf.compress(raw, len(raw) + len(raw) // 16 + 16)  # it grows by 1/32 at worst
        yield _SIZES.pack(len(packed), len(raw))
        yield packed


def is_pcd(data: Data) -> bool:
    """Whether these bytes start like a PCD header."""
    for line in data[:65536].splitlines():
        if line.strip() and not line.startswith(b"#"):
            return line.startswith((b"VERSION", b"FIELDS", b"COLUMNS"))
    return False


def read_pcd(data: Data) -> Cloud:
    """The cloud in the bytes of a PCD file.

    Coordinates in text are read at the precision of the text, whatever their SIZE.

    Raises:
        CloudError: If this is no PCD file, is cut off, or has no points with x y z.
    """
    if not is_pcd(data):
        raise CloudError(f"not a PCD file (it starts with {data[:8]!r}); check its name")
    data_line = _DATA_LINE.search(data)
    if data_line is None:
        raise CloudError(f"the header has no DATA line; {_GET}")
    header = _read_header(data[: data_line.end()], data_line[1].decode())
    body = memoryview(data)[data_line.end() :]
    readers = {"ascii": _text, "binary": _binary, "binary_compressed": _packed}
    if header.encoding not in readers:
        raise CloudError(f"unknown DATA {header.encoding}; known: {', '.join(readers)}")
    table, after = readers[header.encoding](body, header)
    content = PcdContent(header, table, after)
    cloud = cloud_from_table(table, content, _NORMAL_FIELDS, header.viewpoint)
    return replace(cloud, width=header.width)


def _read_header(data: bytes, encoding: str) -> _Header:
    lines = tuple(data.splitlines(keepends=True))
    words = [[word.decode("latin-1") for word in line.split()] for line in lines]
    entries = {key: values for key, *values in filter(None, words)}
    names = entries.get("FIELDS", entries.get("COLUMNS", []))
    fields = tuple(
        _Field(*declared)
        for declared in zip(
            names,
            _integers(entries, "SIZE", len(names)),
            _values(entries, "TYPE", len(names)),
            _integers({"COUNT": ["1"] * len(names)} | entries, "COUNT", len(names)),
            strict=True,
        )
    )
    _check_fields(fields)
    points, width = _extent(entries)
    return _Header(lines, fields, points, encoding, _viewpoint(entries), width)


def _values(entries: Mapping[str, list[str]], key: str, count: int) -> list[str]:
    values = entries.get(key, [])
    if len(values) != count:
        raise CloudError(f"{key} has {len(values)} values, {count} are expected; {_FIX}")
    return values


def _integers(entries: Mapping[str, list[str]], key: str, count: int) -> list[int]:
    values = _values(entries, key, count)
    if not all(value.isdecimal() and len(value) < 19 for value in values):
        raise CloudError(f"{key} is '{' '.join(values)[:40]}', not whole numbers; {_FIX}")
    return [int(value) for value in values]


def _check_fields(fields: Sequence[_Field]) -> None:
    seen = set()
    for name, size, kind, length in fields:
        if size not in _TYPES.get(kind, ()):
            raise CloudError(f"field {name} has TYPE {kind} SIZE {size}; {_FIX}")
        if length > _MOST_VALUES:
            raise CloudError(f"field {name} has COUNT {length}; {_FIX}")
        if name in seen:
            raise CloudError(f"field {name} is there twice; {_FIX}")
        if name in _NORMAL_FIELDS and length != 1:
            raise CloudError(f"field {name} has COUNT {length}, not 1; {_FIX}")
        seen |= {name} - {_PADDING}


def _extent(entries: Mapping[str, list[str]]) -> tuple[int, int | None]:
    """The number of points, and of those in a row if there are several rows."""
    sides = [_integers(entries, side, 1)[0] for side in ("WIDTH", "HEIGHT") if side in entries]
    points = _integers(entries, "POINTS", 1)[0] if "POINTS" in entries else prod(sides)
    if len(sides) == 2 and prod(sides) != points:
        raise CloudError(f"WIDTH {sides[0]} x HEIGHT {sides[1]} is not POINTS {points}; {_FIX}")
    return points, sides[0] if len(sides) == 2 and sides[1] > 1 else None


def _viewpoint(entries: Mapping[str, list[str]]) -> NDArray[np.float64] | None:
    if "VIEWPOINT" not in entries:
        return None
    words = _values(entries, "VIEWPOINT", len(_DEFAULT_VIEWPOINT))
    try:
        pose = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise CloudError(f"VIEWPOINT is '{' '.join(words)}', not numbers; {_FIX}") from error
    given = np.isfinite(pose).all() and pose.tolist() != _DEFAULT_VIEWPOINT
    return pose[:3] if given else None


def _with_fields(header: _Header, names: Sequence[str]) -> _Header:
    """The header with float32 fields, replaced where they stand or else appended."""
    new = {name: _Field(name, 4, "F", 1) for name in names}
    kept = [new.pop(field.name, field) for field in header.fields]
    fields = (*kept, *new.values())
    columns = {
        b"FIELDS": [field.name for field in fields],
        b"SIZE": [str(field.size) for field in fields],
        b"TYPE": [field.kind for field in fields],
        b"COUNT": [str(field.length) for field in fields],
    }
    columns[b"COLUMNS"] = columns[b"FIELDS"]
    lines = []
    for line in header.lines:
        key = next(iter(line.split()), b"")
        if key in columns:
            end = line[len(line.rstrip(b"\r\n")) :]
            line = b"%b %b%b" % (key, " ".join(columns[key]).encode("latin-1"), end)
        lines.append(line)
    return header._replace(lines=tuple(lines), fields=fields)


def _dtype(fields: Sequence[_Field]) -> np.dtype[Any]:
    """A structured type; paddings get distinct names that no header can hold."""
    columns = []
    for place, (name, size, kind, length) in enumerate(fields):
        key = f"{_PADDING} {place}" if name == _PADDING else name
        shape = () if length == 1 else (length,)
        columns.append((key, f"<{kind.lower()}{size}", shape))
    return np.dtype(columns)


def _cut_off(promised: int, found: int) -> CloudError:
    return CloudError(f"the header promises {promised} points, {found} are there; {_GET}")


def _text(body: memoryview, header: _Header) -> tuple[Table, bytes]:
    lines = bytes(body).splitlines()
    places = [place for place, line in enumerate(lines) if line.strip()]
    if len(places) < header.points:
        raise _cut_off(header.points, len(places))
    if len(places) > header.points:
        raise CloudError(
            f"{len(places)} points are there, the header promises {header.points}; {_FIX}"
        )
    names: list[str] = []
    for field in header.fields:
        single = field.length == 1 and field.name != _PADDING
        names += [field.name] if single else [""] * field.length
    rows = TextRows(
        lines=[lines[place] for place in places],
        names=tuple(names),
        numbers=[len(header.lines) + 1 + place for place in places],
        newline=b"\r\n" if header.lines[-1].endswith(b"\r\n") else b"\n",
    )
    rows.check_widths()
    return rows, b""


def _binary(body: memoryview, header: _Header) -> tuple[Table, bytes]:
    dtype = _dtype(header.fields)
    size = header.points * dtype.itemsize
    if size > len(body):
        raise _cut_off(header.points, len(body) // dtype.itemsize)
    return BinaryTable(np.ndarray((header.points,), dtype, body)), bytes(body[size:])


def _packed(body: memoryview, header: _Header) -> tuple[Table, bytes]:
    """Fields one after the other; PCL leaves paddings out, others keep them."""
    packed, unpacked = _SIZES.unpack_from(body) if len(body) >= _SIZES.size else (1, 0)
    end = _SIZES.size + packed
    if end > len(body):
        found = max(len(body) - _SIZES.size, 0)
        raise CloudError(f"{packed} compressed bytes are promised, {found} are there; {_GET}")
    dtype = _dtype(header.fields)
    if header.points * dtype.itemsize != unpacked:
        dtype = _dtype([field for field in header.fields if field.name != _PADDING])
    if header.points * dtype.itemsize != unpacked:
        raise _cut_off(header.points, unpacked // max(dtype.itemsize, 1))
    try:
        raw = lzf.decompress(bytes(body[_SIZES.size : end]), unpacked)
    except ValueError as error:
        raise CloudError(f"the compressed points are damaged ({error}); {_GET}") from error
    if raw is None or len(raw) != unpacked:
        raise CloudError(f"the compressed points are not {unpacked} bytes; {_GET}")
    rows = np.empty(header.points, dtype)
    start = 0
    for name in dtype.names or ():
        column = rows[name]
        block = np.ndarray(column.shape, column.dtype, raw, start)
        rows[name] = block
        start += block.nbytes
    return _PackedTable(rows), bytes(body[end:])
