"""The side of a cloud's normals: what the options of ``predict`` ask for, what its file tells."""

from math import isfinite
from typing import TYPE_CHECKING, Literal, NamedTuple

import typer

from ..errors import CloudError

if TYPE_CHECKING:
    from ..clouds import Cloud
    from ..geometry import Array

Orient = Literal["outward", "viewpoint", "toward", "none"]
"""As in ``estimation``, which takes seconds to import."""
Vector = tuple[float, float, float]
Names = tuple[str, str, str]


class Direction(NamedTuple):
    """A vector that is written as one word."""

    x: float
    y: float
    z: float

    @classmethod
    def parse(cls, text: str) -> "Direction":
        """The direction that ``+z`` or ``0,0.5,1`` names.

        Raises:
            typer.BadParameter: If it is none.
        """
        try:
            named = AXES.get(text) or cls(*map(float, text.replace(",", " ").split()))
        except (ValueError, TypeError):
            named = None
        if named is None or not all(map(isfinite, named)) or not any(named):
            known = ", ".join(AXES)
            raise typer.BadParameter(f"'{text}' is no direction; give {known} or X,Y,Z: 0,0.5,1")
        return named

    def __str__(self) -> str:
        names = {vector: name for name, vector in AXES.items()}
        return names.get(self) or f"the direction {_text(self)}"


AXES = {
    "+x": Direction(1, 0, 0),
    "-x": Direction(-1, 0, 0),
    "+y": Direction(0, 1, 0),
    "-y": Direction(0, -1, 0),
    "+z": Direction(0, 0, 1),
    "-z": Direction(0, 0, -1),
}
"""Directions with a name."""


class Side(NamedTuple):
    """How the sides of a cloud's normals are chosen."""

    orient: Orient
    told: str = ""
    """Where normals point if not outward, in words."""
    source: Literal["option", "file", "picture", "columns"] | None = None
    """Who knows the viewpoint: for ``picture``, the points of an organised cloud."""
    viewpoint: tuple[float, ...] | None = None
    """The sensor, for ``viewpoint``."""
    toward: tuple[float, ...] | None = None
    """The direction, for ``toward``."""
    sensors: "Array | None" = None
    """The sensor of each point, for ``viewpoint`` that is no single one."""

    def eye(self, points: "Array") -> tuple[float, ...] | None:
        """From where the points (n, d) were seen, about, if anything tells."""
        import numpy as np

        if self.sensors is not None:
            return tuple(np.nanmedian(self.sensors, axis=0).tolist())
        if self.toward is None:
            return self.viewpoint
        finite = points[np.isfinite(points).all(1)]
        size = np.ptp(finite, axis=0).max() / np.linalg.norm(self.toward)
        return tuple((finite.mean(0) + 10 * size * np.asarray(self.toward)).tolist())


class SideOptions(NamedTuple):
    """What a call says about the sides of normals."""

    orient: Orient | None
    viewpoint: Vector | None
    toward: Direction | None
    sensor_columns: Names | None

    def check(self) -> None:
        """Refuses what makes no sense for any cloud.

        Raises:
            typer.BadParameter: Naming the option at fault.
        """
        given = {
            "--viewpoint": self.viewpoint,
            "--toward": self.toward,
            "--sensor-columns": self.sensor_columns,
        }
        names = [name for name, value in given.items() if value is not None]
        wrong = None
        if self.orient == "toward" and not names:
            names, wrong = ["--orient"], "toward what? give --toward +z or another direction"
        elif len(names) > 1:
            wrong = f"of no use with {names[1]}; give one of them"
        elif names and self.orient not in (None, "toward" if self.toward else "viewpoint"):
            wrong = f"of no use with --orient {self.orient}; leave out one of them"
        elif self.viewpoint and not all(map(isfinite, self.viewpoint)):
            wrong = "not finite; give finite coordinates"
        elif self.sensor_columns and len(set(self.sensor_columns)) < 3:
            wrong = "names a column twice; name those of x, y and z"
        if wrong:
            raise typer.BadParameter(wrong, param_hint=names[0])

    def side(self, cloud: "Cloud") -> Side:
        """The side for one cloud.

        Raises:
            CloudError: If the cloud lacks what is asked for, or it is of no use for a contour.
        """
        dimensions = cloud.points.shape[1]
        if self.sensor_columns:
            return _own_sensors(cloud, self.sensor_columns)
        if self.toward:
            if any(self.toward[dimensions:]):
                raise CloudError("a 2-D contour; give --toward X,Y,0")
            return Side("toward", f"facing {self.toward}", toward=self.toward[:dimensions])
        if self.viewpoint:
            if any(self.viewpoint[dimensions:]):
                raise CloudError("a 2-D contour; give --viewpoint X Y 0")
            eye = self.viewpoint[:dimensions]
            return Side("viewpoint", f"facing the viewpoint {_text(eye)}", "option", eye)
        known = _known(cloud) if self.orient in (None, "viewpoint") else None
        if known is None and self.orient == "viewpoint":
            raise CloudError("holds no viewpoint; give --viewpoint X Y Z")
        return known or Side(self.orient or "outward")


def _own_sensors(cloud: "Cloud", names: Names) -> Side:
    import numpy as np

    if cloud.points.shape[1] == 2:
        raise CloudError("a 2-D contour; --sensor-columns are for clouds with x y z")
    sensors = cloud.columns(names)
    columns = " ".join(names)
    if not np.isfinite(sensors).all(1).any():
        raise CloudError(f"no finite sensor position in its columns {columns}; name others")
    told = f"facing each point's own sensor ({columns})"
    return Side("viewpoint", told, "columns", sensors=sensors)


def _known(cloud: "Cloud") -> Side | None:
    """What a cloud itself tells about its sensor."""
    if cloud.sensor_columns is not None:
        side = _own_sensors(cloud, cloud.sensor_columns)
        return side._replace(source="file", told="facing the scanners of the file")
    if cloud.viewpoint is not None:
        eye = tuple(cloud.viewpoint.tolist())
        return Side("viewpoint", f"facing the viewpoint {_text(eye)} of the file", "file", eye)
    if cloud.width and cloud.points.shape[1] == 3:
        from ..organised import seen_from_origin

        if seen_from_origin(cloud.points, cloud.width):
            told = "facing the origin, from which this organised cloud was seen"
            return Side("viewpoint", told, "picture", (0.0, 0.0, 0.0))
    return None


def _text(vector: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in vector)
