"""What is read from a cloud file, whatever its format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from ..storage import room
from .table import Table

# Columns of normals in PLY, text and NPY; PCD has its own names for the first three.
NORMAL_COLUMNS = ("nx", "ny", "nz", "normal_confidence")


def columns_of(names: Sequence[str], values: NDArray[np.float32]) -> tuple[str, ...]:
    """The names of columns of normals and confidence: a 2-D cloud has no third coordinate."""
    return (*names[: values.shape[1] - 1], names[-1])


class Content(Protocol):
    """All that a file holds, in a form that writes back unchanged."""

    format: ClassVar[str]

    @property
    def table(self) -> Table:
        """The points, with one column for each of their attributes."""

    def with_normals(self, columns: NDArray[np.float32]) -> "Content":
        """The content with normals and confidence, `(n, d + 1)`, added or replaced."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, piece by piece."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Positions, plus all the attributes of the file they came from.

    Attributes:
        points: `(n, 3)`, or `(n, 2)` of a contour, in file order; rows may hold NaN or infinities.
        normals: Normals the file carries, of the same shape, or None.
        viewpoint: `(d,)` sensor position from a PCD VIEWPOINT other than the default, or None.
        content: The rest of the file, for `write_cloud`.
        width: Points in a row of an organised PCD, one of HEIGHT > 1; None for others.
        losses: What of the file a copy with normals cannot hold, in words.
        sensor_columns: Those that tell where the sensor of each point was, if the file says so.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64] | None
    viewpoint: NDArray[np.float64] | None
    content: Content = field(repr=False)
    width: int | None = None
    losses: tuple[str, ...] = ()
    sensor_columns: tuple[str, str, str] | None = None

    def columns(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Named attributes of the points, `(n, len(names))`, at the full precision of the file.

        Args:
            names: At least two; those of text and Parquet are known in lower case.

        Raises:
            CloudError: If there is no such column, or a cell is not a number.
        """
        table = self.content.table
        own = [name if name in table.names else name.lower() for name in names]
        missing = [
            name for name, known in zip(names, own, strict=True) if known not in table.names
        ]
        if missing:
            found = ", ".join(filter(None, table.names)) or "none has a name"
            raise CloudError(
                f"no {' '.join(missing)} among its columns ({found}); name those it has"
            )
        return table.values(own)

    def with_normals(
        self, normals: NDArray[np.float64], confidence: NDArray[np.float64]
    ) -> "Cloud":
        """The cloud with normals added, or replaced where the file has some.

        They are rounded to float32, as they are stored; all else stays as it is.

        Args:
            normals: Of the shape of the points, NaN where unknown.
            confidence: `(n,)`, stored as `normal_confidence`.

        Raises:
            ValueError: If the shapes do not fit the points.
        """
        shape = self.points.shape
        if normals.shape != shape or confidence.shape != shape[:1]:
            raise ValueError(
                f"normals {normals.shape} and confidence {confidence.shape} "
                f"do not fit {shape[0]} points; give {shape} and {shape[:1]}"
            )
        columns = room((shape[0], shape[1] + 1), np.float32)
        columns[:, :-1], columns[:, -1] = normals, confidence
        rounded = room(shape, np.float64)
        rounded[...] = columns[:, :-1]
        return replace(self, normals=rounded, content=self.content.with_normals(columns))


def cloud_from_table(
    table: Table,
    content: Content,
    normal_columns: Sequence[str] = NORMAL_COLUMNS,
    viewpoint: NDArray[np.float64] | None = None,
) -> Cloud:
    """The cloud whose points are the columns x y z of a table, or x y if there is no z.

    Raises:
        CloudError: If there are no points or no coordinates.
    """
    if len(table) == 0:
        raise CloudError("no points in it; at least one is needed")
    if not {"x", "y"} <= set(table.names):
        found = ", ".join(filter(None, table.names)) or "none"
        raise CloudError(f"no x y z among its columns ({found}); name the coordinates x y z")
    coordinates = "xyz" if "z" in table.names else "xy"
    axes = normal_columns[: len(coordinates)]
    return Cloud(
        points=table.values(coordinates),
        normals=table.values(axes) if set(axes) <= set(table.names) else None,
        viewpoint=None if viewpoint is None else viewpoint[: len(coordinates)],
        content=content,
    )
