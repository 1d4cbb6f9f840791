"""Points as lines of text, whose existing cells are never rewritten."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter

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
    """

    lines: list[bytes]
    names: tuple[str, ...]
    numbers: Sequence[int]
    separator: bytes | None = None
    newline: bytes = b"\n"

    def __len__(self) -> int:
        return len(self.lines)

    def check_widths(self) -> None:
        """Refuse rows with more or fewer cells than there are columns.

        Raises:
            CloudError: Naming the first such line.
        """
        widths = [len(line.split(self.separator)) for line in self.lines]
        columns = len(self.names)
        wrong = next((i for i, width in enumerate(widths) if width != columns), None)
        if wrong is not None:
            raise CloudError(
                f"line {self.numbers[wrong]} has {widths[wrong]} columns, {columns} are "
                "expected; give every row the same columns"
            )

    def values(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The named columns, `(n, len(names))`, at the full precision of the text.

        Args:
            names: At least two columns.

        Raises:
            CloudError: If a cell is not a number, naming its line.
        """
        pick = itemgetter(*map(self.names.index, names))
        cells = chain.from_iterable(pick(line.split(self.separator)) for line in self.lines)
        try:
            flat = np.fromiter(map(float, cells), np.float64, len(self) * len(names))
        except ValueError:
            raise self._not_a_number(names) from None
        return flat.reshape(-1, len(names))

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

    def _replaced(self, places: list[int], values: NDArray[np.float32]) -> list[bytes]:
        lines = []
        for line, row in zip(self.lines, values.tolist(), strict=True):
            cells = line.split(self.separator)
            for place, value in zip(places, row, strict=True):
                cells[place] = _FLOAT32 % value
            lines.append(self._glue.join(cells))
        return lines

    def _extended(self, lines: list[bytes], values: NDArray[np.float32]) -> list[bytes]:
        template = self._glue.join([b"%b", *[_FLOAT32] * values.shape[1]])
        return [template % row for row in zip(lines, *values.T.tolist(), strict=True)]

    def _not_a_number(self, names: Sequence[str]) -> CloudError:
        for number, line in zip(self.numbers, self.lines, strict=True):
            cells = line.split(self.separator)
            for name in names:
                cell = cells[self.names.index(name)]
                if not is_number(cell):
                    text = cell.decode("utf-8", "replace").strip()
                    return CloudError(
                        f"line {number}: {name} is '{text[:40]}', not a number; "
                        "correct or remove the line"
                    )
        raise AssertionError("every cell is a number")


def is_number(cell: bytes) -> bool:
    """Whether a cell reads as a number, NaN and infinities included."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
