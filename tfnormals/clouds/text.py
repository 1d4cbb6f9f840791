"""Text files of columns: XYZ, TXT, CSV, ASC.

Every line stays as it is; columns are added at its end.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import NORMAL_COLUMNS, Cloud, cloud_from_table, columns_of
from .data import Data
from .rows import TextRows, is_number, splitter

_COMMENT = re.compile(rb"\s*(#|//)+([^,;:\t]*:(?=\s))?")  # a label too, as in # columns: x y z
_UNIT = re.compile(rb"(?<=\w)\s*(\[[^]]*\]|\([^)]*\))")
_QUOTED = re.compile(rb'"[^"]*"')
_WORD = re.compile(rb'"[^"]*"|[^\s,;"]+')
# A word that names a column rather than being part of a sentence.
_COLUMN = re.compile(
    r"[a-z]|[nsv][xyz]|[a-z]+[\d_]\w*|id|index|time|timestamp|intensity|red|green|blue|label"
)
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
            glue, names = _header_names(line, rows.separator, len(self.rows.names))
            coming = [name.encode() for name in rows.names[len(names) :]]
            lines[self.header] = glue.join([line, *coming])
        elif columns.shape[1] == 3:
            return replace(self, rows=rows)._with_header()
        return replace(self, lines=lines, rows=rows)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece."""
        lines = list(self.lines)
        for number, line in zip(self.rows.numbers, self.rows.lines, strict=True):
            lines[number - 1] = line
        yield self.mark
        yield self.rows.newline.join([*lines, b""])

    def _with_header(self) -> "TextContent":
        """The file with a comment that names the columns, lest nx of a contour be read as z."""
        place = self.rows.numbers[0] - 1
        names = (self.rows.separator or b" ").join(name.encode() for name in self.rows.names)
        lines = [*self.lines[:place], b"# " + names, *self.lines[place:]]
        rows = replace(self.rows, numbers=[number + 1 for number in self.rows.numbers])
        return replace(self, lines=lines, header=place, rows=rows)


def read_text(data: Data) -> Cloud:
    """The cloud in the bytes of a text file.

    Columns are x y z first, or just x y, or named by a line such as `x,y,z,intensity`,
    `//X Y Z R G B` or `# x, y, z`. Blank lines and lines that start with `#` or `//` hold no
    points.

    Raises:
        CloudError: If a row has other columns than the first, a coordinate is not a number,
            or the header names no x y z or not every column.
    """
    data = data[:]
    if b"\0" in data:
        raise CloudError("not plain text (it holds zero bytes); save it as UTF-8 text")
    mark = _BYTE_ORDER_MARK if data.startswith(_BYTE_ORDER_MARK) else b""
    newline = re.search(rb"\r\n|\n|\r", data)
    lines = data[len(mark) :].splitlines()
    places = [place for place, line in enumerate(lines) if not _NO_POINT.match(line)]
    header = None
    if places and _is_header(lines[places[0]]):
        header = places.pop(0)
    if not places:
        raise CloudError("no points in it; at least one is needed")
    first = lines[places[0]]
    separator = _separator(first)
    width = len(splitter(separator, quoted=b'"' in first)(first))
    if header is None:
        header = _commented_header(lines[: places[0]], separator, width)
    points = [lines[place] for place in places]
    rows = TextRows(
        lines=points,
        names=_names(lines, header, separator, width),
        numbers=[place + 1 for place in places],
        separator=separator,
        newline=newline[0] if newline else b"\n",
        quoted=b'"' in data and any(b'"' in line for line in points),
    )
    rows.check_widths()
    return cloud_from_table(rows, TextContent(mark, lines, header, rows))


def _is_header(row: bytes) -> bool:
    """Whether the first row names columns: some of the names may be numbers, as in x,y,z,0,1."""
    words = _words(row)
    named = {b"x", b"y"} <= {word.lower() for word in words}
    return named or (bool(words) and not any(map(is_number, words)))


def _words(text: bytes) -> list[bytes]:
    """What stands between blanks, tabs, commas and semicolons."""
    words = (word.strip(b" \t\"'") for word in _WORD.findall(text))
    return [word for word in words if word]


def _separator(row: bytes) -> bytes | None:
    """What stands between the cells of a row, None for white space."""
    row = _QUOTED.sub(b'""', row)
    several = next((s for s in _SEPARATORS if row.count(s) >= 2), None)
    if several or all(map(is_number, row.split())):
        return several
    return next((s for s in _SEPARATORS if all(map(is_number, row.split(s)))), None)


def _commented_header(lines: Sequence[bytes], separator: bytes | None, width: int) -> int | None:
    """The last comment that names coordinates and as many columns as there are.

    Raises:
        CloudError: If there is none, but the last comment names other columns than x y z first.
    """
    for place in reversed(range(len(lines))):
        _, names = _header_names(lines[place], separator, width)
        if len(names) == width and _coordinates(lines[place]) <= set(names):
            return place
    last = max((place for place, line in enumerate(lines) if line.strip()), default=None)
    names = () if last is None else _listed(lines[last])
    if last is not None and names and names[:3] != tuple("xyz"[:width]):
        raise CloudError(
            f"line {last + 1} seems to name {len(names)} columns ({', '.join(names)}), the next "
            f"row has {width}; name every column, or remove the line"
        )
    return None


def _coordinates(line: bytes) -> set[str]:
    """The names of coordinates a line should give: z too if it is there, as in x, y, z in m."""
    return {"x", "y"} | ({"z"} & set(_as_names(_words(_without_units(line)))))


def _without_units(line: bytes) -> bytes:
    """The names in a line, without units in brackets."""
    return _UNIT.sub(b"", _COMMENT.sub(b"", line, count=1))


def _listed(comment: bytes) -> tuple[str, ...]:
    """The names in a comment that is a list of columns with x and y, not a sentence."""
    text = _without_units(comment)
    names = _as_names(_words(text))
    items = re.split(rb"[,;\t]", text.strip(b" \t,;"))
    if len(items) > 1:
        listed = all(len(item.split()) == 1 for item in items)
    else:
        listed = all(map(_COLUMN.fullmatch, names))
    return names if listed and {"x", "y"} <= set(names) else ()


def _names(
    lines: Sequence[bytes], header: int | None, separator: bytes | None, width: int
) -> tuple[str, ...]:
    if header is None:
        if width < 2:
            raise CloudError("one column in its first row; x y z are needed, or x y of a contour")
        return (*"xyz"[:width], *[""] * (width - 3))
    _, names = _header_names(lines[header], separator, width)
    if len(names) != width:
        raise CloudError(
            f"line {header + 1} names {len(names)} columns, the next row has {width}; "
            "name every column"
        )
    return names


def _header_names(
    line: bytes, separator: bytes | None, width: int
) -> tuple[bytes, tuple[str, ...]]:
    """What stands between the names in a line, and the names.

    Of all separators the one that gives a name per column, the coordinates among them; that of
    the rows first, any mixture where y follows x next, white space last.
    """
    text = _COMMENT.sub(b"", line, count=1)
    quoted = b'"' in text
    marks = [mark for mark in (separator, *_SEPARATORS) if mark and mark in text]
    ways = [(mark, splitter(mark, quoted=quoted)(text)) for mark in marks]
    words = _words(_without_units(line))
    if (b"x", b"y") in pairwise(word.lower() for word in words):  # else rather a sentence
        ways.append((marks[0] if marks else b" ", words))
    ways.append((b" ", splitter(None, quoted=quoted)(text)))
    needed = _coordinates(line)
    named = [(mark, _as_names(cells)) for mark, cells in ways]
    return max(named, key=lambda way: (len(way[1]) == width, needed <= set(way[1])))


def _as_names(cells: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(cell.decode("utf-8", "replace").strip(" \t\"'").lower() for cell in cells)
