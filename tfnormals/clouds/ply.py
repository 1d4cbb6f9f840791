"""PLY files.

plyfile reads the grammar of the header; lines and rows stay as they stand in the file. (plyfile
moves comments, refuses those that are not ASCII, and goes through text and streams value by
value: a minute to write a million points.)
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate, islice, pairwise
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyParseError

from ..errors import CloudError
from .cloud import NORMAL_COLUMNS, Cloud, cloud_from_table, columns_of
from .data import Data
from .ply_lists import has_lists, list_table, row_ends, text_cells
from .rows import TextRows
from .table import BinaryTable, Table

_MAGIC = re.compile(rb"ply(\r\n|\n|\r)")
_ELEMENT = re.compile(rb"\s*element\s+(\S+)\s+(\d+)\s*")
_GET = "get a complete file"


class _Header(NamedTuple):
    """The header, its lines as they stand and what they declare."""

    lines: tuple[bytes, ...]
    newline: bytes
    size: int
    text: bool
    byte_order: str
    elements: tuple[PlyElement, ...]
    counts: tuple[int, ...]
    vertex_place: int


class _Body(NamedTuple):
    """The body, split at the vertices."""

    before: bytes
    vertices: Table
    after: bytes


@dataclass(frozen=True, eq=False)
class PlyContent:
    """A PLY file: only its vertices are decoded."""

    format: ClassVar[str] = "PLY"
    header: tuple[bytes, ...]
    newline: bytes
    body: _Body

    @property
    def table(self) -> Table:
        """The vertices."""
        return self.body.vertices

    def with_normals(self, columns: NDArray[np.float32]) -> "PlyContent":
        """The file with properties nx ny nz normal_confidence, from `(n, 4)`."""
        names = columns_of(NORMAL_COLUMNS, columns)
        vertices = self.body.vertices.with_columns(names, columns)
        return replace(
            self,
            header=_with_properties(self.header, names),
            body=self.body._replace(vertices=vertices),
        )

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece."""
        yield self.newline.join([*self.header, b""])
        yield self.body.before
        yield from self.body.vertices.chunks()
        yield self.body.after


def is_ply(data: Data) -> bool:
    """Whether these bytes start like a PLY file."""
    return _MAGIC.match(data) is not None


def read_ply(data: Data) -> Cloud:
    """The cloud in the bytes of a PLY file.

    Coordinates in text are read at the precision of the text, even where declared float.

    Raises:
        CloudError: If this is no PLY file, is cut off, or has no points with x y z.
    """
    header = _read_header(data)
    body = _text_body(data, header) if header.text else _binary_body(data, header)
    content = PlyContent(header.lines, header.newline, body)
    return cloud_from_table(body.vertices, content)


def _read_header(data: Data) -> _Header:
    magic = _MAGIC.match(data)
    if magic is None:
        raise CloudError(f"not a PLY file (it starts with {data[:8]!r}); check its name")
    newline = magic[1]
    end = data.find(newline + b"end_header" + newline)
    if end < 0:
        raise CloudError(f"the header has no end_header line; {_GET}")
    size = end + len(b"end_header") + 2 * len(newline)
    lines = tuple(data[: size - len(newline)].split(newline))
    ply, counts = _parsed(lines)
    names = [element.name for element in ply.elements]
    if "vertex" not in names:
        found = ", ".join(names) or "none"
        raise CloudError(f"no element vertex (found: {found}); name the points' element vertex")
    order = ">" if ply.byte_order == ">" else "<"
    vertex_place = names.index("vertex")
    return _Header(lines, newline, size, ply.text, order, ply.elements, counts, vertex_place)


def _parsed(lines: Sequence[bytes]) -> tuple[PlyData, tuple[int, ...]]:
    """The header as plyfile sees it, without comments and with all counts 0; the counts."""
    bare, counts = [], []
    for line in lines:
        if line.split()[:1] in ([b"comment"], [b"obj_info"]):
            bare.append(b"comment")
        elif element := _ELEMENT.fullmatch(line):
            bare.append(b"element %b 0" % element[1])
            counts.append(int(element[2][:18]))  # longer is just as impossible
        else:
            bare.append(line)
    try:
        return PlyData.read(BytesIO(b"\n".join([*bare, b""]))), tuple(counts)
    except (PlyParseError, ValueError) as error:
        raise CloudError(f"bad PLY header ({error}); export the cloud again") from error


def _with_properties(lines: Sequence[bytes], names: Sequence[str]) -> tuple[bytes, ...]:
    """The header with float vertex properties, replaced where they stand or else appended."""
    words = [line.split() for line in lines]
    start = next(i for i, line in enumerate(words) if line[:2] == [b"element", b"vertex"])
    end = next(i for i in range(start + 1, len(words)) if _ends_element(words[i]))
    places = {words[i][-1]: i for i in range(start, end) if words[i][:1] == [b"property"]}
    header = list(lines)
    coming = []
    for name in map(str.encode, names):
        if name in places:
            header[places[name]] = b"property float " + name
        else:
            coming.append(b"property float " + name)
    last = max(places.values())
    return (*header[: last + 1], *coming, *header[last + 1 :])


def _ends_element(words: Sequence[bytes]) -> bool:
    return words[:1] in ([b"element"], [b"end_header"])


def _text_body(data: Data, header: _Header) -> _Body:
    lines = data[header.size :].splitlines()
    ends = list(accumulate(header.counts, initial=0))
    for element, (start, end) in zip(header.elements, pairwise(ends), strict=True):
        if end > len(lines):
            raise _cut_off(element.name, end - start, len(lines) - start)
    surplus = sum(1 for line in lines[ends[-1] :] if line.strip())
    if surplus:
        raise CloudError(f"{surplus} lines more than the header promises; correct its counts")
    place = header.vertex_place
    start, end = ends[place], ends[place + 1]
    return _Body(
        before=_joined(lines[:start], header.newline),
        vertices=_text_vertices(lines[start:end], header, len(header.lines) + start),
        after=_joined(lines[end:], header.newline),
    )


def _text_vertices(lines: list[bytes], header: _Header, skipped: int) -> TextRows:
    vertex = header.elements[header.vertex_place]
    separator = None
    if has_lists(vertex):
        lines = [b"\t".join(text_cells(line, vertex)) for line in lines]
        separator = b"\t"
    rows = TextRows(
        lines=lines,
        names=tuple(prop.name for prop in vertex.properties),
        numbers=range(skipped + 1, skipped + 1 + len(lines)),
        separator=separator,
        newline=header.newline,
    )
    rows.check_widths()
    return rows


def _joined(lines: Sequence[bytes], newline: bytes) -> bytes:
    return newline.join([*lines, b""]) if lines else b""


def _binary_body(data: Data, header: _Header) -> _Body:
    order = header.byte_order
    ends = [header.size]
    for element, count in zip(header.elements, header.counts, strict=True):
        ends.append(_end(data, ends[-1], element, count, order))
    place = header.vertex_place
    start, end = ends[place], ends[place + 1]
    vertex, n = header.elements[place], header.counts[place]
    vertices: Table
    if has_lists(vertex):
        vertices = list_table(data, start, vertex, n, order)
    else:
        vertices = BinaryTable(np.ndarray((n,), vertex.dtype(order), data, start), order)
    return _Body(data[header.size : start], vertices, data[end:])


def _end(data: Data, start: int, element: PlyElement, count: int, byte_order: str) -> int:
    """Where the rows of a binary element end."""
    if has_lists(element):
        found, end = 0, start
        for ends in islice(row_ends(data, start, element, byte_order), count):
            found, end = found + 1, ends[-1]
    else:
        size = element.dtype(byte_order).itemsize
        found = min(count, (len(data) - start) // size) if size else count
        end = start + found * size
    if found < count:
        raise _cut_off(element.name, count, found)
    return end


def _cut_off(element: str, promised: int, found: int) -> CloudError:
    rows = "points" if element == "vertex" else f"rows of {element}"
    return CloudError(f"the header promises {promised} {rows}, {found} are there; {_GET}")
