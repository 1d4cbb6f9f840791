"""Points as lines of text, whose existing cells are never rewritten."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter, methodcaller

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from ..storage import pieces

# Nine digits tell every float32 from its neighbours.
_FLOAT32 = b"%.9g"


@dataclass(frozen=True, eq=False)
class TextRows:
    """Lines of cells, one line per point.

    Attributes:
        lines: Without their line ends.
        names: One per column; empty for a column without a name.
        numbers: The number of each line in its file, counted from 1.
        separator: Between cells; None for any white space.
        newline: The line end of the file.
        quoted: Whether some cells stand in double quotes, which may hold the separator.
    """

    lines: list[bytes]
    names: tuple[str, ...]
    numbers: Sequence[int]
    separator: bytes | None = None
    newline: bytes = b"\n"
    quoted: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def check_widths(self) -> None:
        """Refuse rows with more or fewer cells than there are columns.

        Raises:
            CloudError: Naming the first such line.
        """
        widths = [len(cells) for cells in self._cells()]
        columns = len(self.names)
        wrong = next((i for i, width in enumerate(widths) if width != columns), None)
        if wrong is not None:
            raise CloudError(
                f"line {self.numbers[wrong]} has {widths[wrong]} columns, {columns} are "
                "expected; give every row the same columns"
            )

    def values(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The named columns, `(n, len(names))`, at the full precision of the text.

        An empty cell between separators is NaN.

        Args:
            names: At least two columns.

        Raises:
            CloudError: If a cell is not a number, naming its line.
        """
        pick = itemgetter(*map(self.names.index, names))
        for parse in (float, number):  # the faster one mostly does
            cells = chain.from_iterable(pick(row) for row in self._cells())
            with suppress(ValueError):
                flat = np.fromiter(map(parse, cells), np.float64, len(self) * len(names))
                return flat.reshape(-1, len(names))
        raise self._not_a_number(names)

    def with_columns(self, names: Sequence[str], values: NDArray[np.float32]) -> "TextRows":
        """The rows with columns replaced where they stand or else appended."""
        standing = [column for column, name in enumerate(names) if name in self.names]
        coming = [column for column, name in enumerate(names) if name not in self.names]
        lines = self.lines
        if standing:
            places = [self.names.index(names[column]) for column in standing]
            lines = self._replaced(places, values[:, standing])
        if coming:
            lines = self._extended(lines, values[:, coming])
        return replace(self, lines=lines, names=self.names + tuple(names[j] for j in coming))

    def chunks(self) -> Iterator[bytes]:
        """The lines, each with its line end."""
        for some in pieces(len(self)):
            yield self.newline.join([*self.lines[some], b""])

    @property
    def _glue(self) -> bytes:
        return self.separator or b" "

    def _cells(self) -> Iterator[list[bytes]]:
        if self.quoted:
            return map(splitter(self.separator, quoted=True), self.lines)
        separator = self.separator
        return (line.split(separator) for line in self.lines)  # the fastest of all ways

    def _replaced(self, places: list[int], values: NDArray[np.float32]) -> list[bytes]:
        lines = []
        for cells, row in zip(self._cells(), values.tolist(), strict=True):
            for place, value in zip(places, row, strict=True):
                cells[place] = _FLOAT32 % value
            lines.append(self._glue.join(cells))
        return lines

    def _extended(self, lines: list[bytes], values: NDArray[np.float32]) -> list[bytes]:
        template = self._glue.join([b"%b", *[_FLOAT32] * values.shape[1]])
        return [template % row for row in zip(lines, *values.T.tolist(), strict=True)]

    def _not_a_number(self, names: Sequence[str]) -> CloudError:
        for place, cells in zip(self.numbers, self._cells(), strict=True):
            for name in names:
                cell = cells[self.names.index(name)]
                if not is_number(cell):
                    text = cell.decode("utf-8", "replace").strip()
                    return CloudError(
                        f"line {place}: {name} is '{text[:40]}', not a number; "
                        "correct or remove the line"
                    )
        raise AssertionError("every cell is a number")


def splitter(separator: bytes | None, *, quoted: bool) -> Callable[[bytes], list[bytes]]:
    """What splits a line into its cells, each as it stands, quotes included."""
    if not quoted:
        return methodcaller("split", separator)
    if separator is None:
        return re.compile(rb'"[^"]*"(?!\S)|\S+').findall
    cell = rb'(?:^|(?<=,))(?: *"(?:[^"]|"")*" *(?=,|$)|[^,]*)'
    return re.compile(cell.replace(b",", re.escape(separator))).findall


def number(cell: bytes) -> float:
    """The number in a cell, which may be quoted; NaN in an empty one.

    Raises:
        ValueError: If the cell holds something else.
    """
    return float(cell.strip(b' \t"') or b"nan")


def is_number(cell: bytes) -> bool:
    """Whether a cell reads as a number, NaN and infinities included."""
    try:
        number(cell)
    except ValueError:
        return False
    return True
