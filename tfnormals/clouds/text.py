"""Text files of columns: XYZ, TXT, CSV, ASC.

Every line stays as it is; columns are added at its end.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import NORMAL_COLUMNS, Cloud, cloud_from_table, columns_of
from .data import Data
from .rows import TextRows, is_number

_COMMENT = re.compile(rb"\s*(#|//)+")
_NO_POINT = re.compile(rb"\s*(#|//|$)")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = (b";", b",", b"\t")  # ; before , as in 1,5;2,5;3,5


@dataclass(frozen=True, eq=False)
class TextContent:
    """A text file.

    Attributes:
        mark: The byte order mark, mostly empty.
        lines: All lines, as read.
        header: The place of the line that names the columns, or None.
        rows: The lines that hold points; their numbers tell where they stand.
    """

    format: ClassVar[str] = "text"
    mark: bytes
    lines: list[bytes]
    header: int | None
    rows: TextRows

    @property
    def table(self) -> TextRows:
        """The rows."""
        return self.rows

    def with_normals(self, columns: NDArray[np.float32]) -> "TextContent":
        """The file with columns nx ny nz normal_confidence, from `(n, 4)`."""
        rows = self.rows.with_columns(columns_of(NORMAL_COLUMNS, columns), columns)
        lines = list(self.lines)
        if self.header is not None:
            line = lines[self.header]
            glue = _header_separator(line, rows.separator) or b" "
            coming = [name.encode() for name in rows.names[len(self.rows.names) :]]
            lines[self.header] = glue.join([line, *coming])
        return replace(self, lines=lines, rows=rows)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece."""
        lines = list(self.lines)
        for number, line in zip(self.rows.numbers, self.rows.lines, strict=True):
            lines[number - 1] = line
        yield self.mark
        yield self.rows.newline.join([*lines, b""])


def read_text(data: Data) -> Cloud:
    """The cloud in the bytes of a text file.

    Columns are x y z first, or just x y, or named by a line such as `x,y,z,intensity`,
    `//X Y Z R G B` or `# x y z`. Blank lines and lines that start with `#` or `//` hold no points.

    Raises:
        CloudError: If a row has other columns than the first, a coordinate is not a number,
            or the header names no x y z.
    """
    data = data[:]
    if b"\0" in data:
        raise CloudError("not plain text (it holds zero bytes); save it as UTF-8 text")
    mark = _BYTE_ORDER_MARK if data.startswith(_BYTE_ORDER_MARK) else b""
    newline = re.search(rb"\r\n|\n|\r", data)
    lines = data[len(mark) :].splitlines()
    places = [place for place, line in enumerate(lines) if not _NO_POINT.match(line)]
    header = None
    if places and not any(map(is_number, re.split(rb"[\s,;]+", lines[places[0]]))):
        header = places.pop(0)
    if not places:
        raise CloudError("no points in it; at least one is needed")
    first = lines[places[0]]
    separator = _separator(first)
    width = len(first.split(separator))
    if header is None:
        header = _commented_header(lines[: places[0]], separator, width)
    rows = TextRows(
        lines=[lines[place] for place in places],
        names=_names(lines, header, separator, width),
        numbers=[place + 1 for place in places],
        separator=separator,
        newline=newline[0] if newline else b"\n",
    )
    rows.check_widths()
    return cloud_from_table(rows, TextContent(mark, lines, header, rows))


def _separator(row: bytes) -> bytes | None:
    """What stands between the cells of a row, None for white space."""
    several = next((s for s in _SEPARATORS if row.count(s) >= 2), None)
    if several or all(map(is_number, row.split())):
        return several
    return next((s for s in _SEPARATORS if all(map(is_number, row.split(s)))), None)


def _commented_header(lines: Sequence[bytes], separator: bytes | None, width: int) -> int | None:
    """The last comment that names coordinates and as many columns as there are."""
    for place in reversed(range(len(lines))):
        names = _header_names(lines[place], separator)
        if len(names) == width and {"x", "y"} <= set(names):
            return place
    return None


def _names(
    lines: Sequence[bytes], header: int | None, separator: bytes | None, width: int
) -> tuple[str, ...]:
    if header is None:
        if width < 2:
            raise CloudError("one column in its first row; x y z are needed, or x y of a contour")
        return (*"xyz"[:width], *[""] * (width - 3))
    names = _header_names(lines[header], separator)
    if len(names) != width:
        raise CloudError(
            f"line {header + 1} names {len(names)} columns, the next row has {width}; "
            "name every column"
        )
    return names


def _header_names(line: bytes, separator: bytes | None) -> tuple[str, ...]:
    cells = _COMMENT.sub(b"", line, count=1).split(_header_separator(line, separator))
    return tuple(cell.decode("utf-8", "replace").strip(" \t\"'").lower() for cell in cells)


def _header_separator(line: bytes, separator: bytes | None) -> bytes | None:
    """The separator of the rows, or white space where the header has none of it."""
    return separator if separator and separator in line else None
