"""Meshes and E57, which are read only and become PLY."""

import re
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import Cloud
from .data import Data, stream_of
from .ply import read_ply

if TYPE_CHECKING:
    import trimesh

SENSOR = ("sensor_x", "sensor_y", "sensor_z")
"""Columns of the position of the scanner, of E57."""
_TYPES = {"f8": "double", "f4": "float", "i4": "int", "u4": "uint", "u2": "ushort", "u1": "uchar"}
_GET = "get a complete file"
_NAMES = {f"cartesian{axis.upper()}": axis for axis in "xyz"}
_NAMES |= {f"color{colour.title()}": colour for colour in ("red", "green", "blue")}


def read_obj(data: Data) -> Cloud:
    """The vertices of an OBJ, with colours where all have some, and its faces as triangles.

    Raises:
        CloudError: If there are none, or they are not numbers.
    """
    lines = data[:].splitlines()
    rows = [line.split()[1:] for line in lines if re.match(rb"\s*v\s", line)]
    if not rows:
        raise CloudError(f"no vertices in it; {_GET}")
    width = min(map(len, rows))
    try:
        numbers = np.array([row[:width] for row in rows]).astype(float)
        corners = [
            [int(corner.split(b"/")[0]) for corner in line.split()[1:]]
            for line in lines
            if re.match(rb"\s*f\s", line)
        ]
    except ValueError as error:
        raise CloudError(
            f"a vertex or face that is no row of numbers ({error}); {_GET}"
        ) from error
    if width < 3:
        raise CloudError("a vertex of less than three numbers; get a complete file")
    columns = dict(zip("xyz", numbers.T[:3], strict=True))
    if width >= 6 and numbers[:, 3:6].min() >= 0 and numbers[:, 3:6].max() <= 1:
        colours = np.round(255 * numbers[:, 3:6]).astype(np.uint8).T
        columns |= dict(zip(("red", "green", "blue"), colours, strict=True))
    fans = [(face[0], *pair) for face in corners for pair in pairwise(face[1:])]
    faces = np.array(fans, np.int64).reshape(-1, 3)
    faces = np.where(faces < 0, faces + len(rows), faces - 1)  # backwards from the end, or from 1
    return _mesh("OBJ", columns, faces)


def read_off(data: Data) -> Cloud:
    """The vertices of an OFF, and its faces as triangles.

    Raises:
        CloudError: If there are none, or the file is damaged.
    """
    mesh = _loaded(data, "off")
    return _mesh("OFF", dict(zip("xyz", mesh.vertices.T, strict=True)), mesh.faces)


def read_stl(data: Data) -> Cloud:
    """The corners of an STL, each place once, in the order of its triangles, and these.

    Raises:
        CloudError: If there are none, or the file is damaged.
    """
    mesh = _loaded(data, "stl")
    _, first, place = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    vertices = mesh.vertices[first[order]]
    faces = rank[place.reshape(-1)][mesh.faces]
    return _mesh("STL", dict(zip("xyz", vertices.T, strict=True)), faces)


def read_e57(path: Path) -> Cloud:
    """All scans of an E57, in the coordinates of the file, with the position of the scanner.

    Raises:
        CloudError: If pye57 is missing, or cannot read the file.
        OSError: If there is no such file.
    """
    try:
        import pye57
    except ImportError as error:
        raise CloudError("E57 needs pye57; pip install 'tfnormals[e57]'") from error
    path.stat()
    try:
        with pye57.E57(str(path)) as file:
            headers = [file.get_header(number) for number in range(file.scan_count)]
            promised = sum(header.point_count for header in headers)
            posed = all(header.has_pose() for header in headers)
            scans = [_scan(file, number) for number in range(file.scan_count)]
    except (pye57.libe57.E57Exception, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CloudError(f"cannot be read as E57 ({reason}); {_GET}") from error
    if not sum(map(len, scans)):
        raise CloudError("no points in it; at least one is needed")
    lost = promised - sum(map(len, scans))
    types = {name: scan.dtype[name] for scan in scans for name in scan.dtype.names or ()}
    points = np.zeros(sum(map(len, scans)), list(types.items()))
    stops = np.cumsum([len(scan) for scan in scans])
    for scan, stop in zip(scans, stops, strict=True):
        for name in scan.dtype.names or ():
            points[name][stop - len(scan) : stop] = scan[name]
    losses = "E57 becomes PLY: points, intensity, colours, rows and columns, without the rest"
    if lost:
        losses += f" and the {lost:,} points that the scanner marked invalid"
    return _cloud(points, None, losses, SENSOR if posed else None)


def _scan(file: Any, number: int) -> NDArray[Any]:
    """The points of one scan, of pye57."""
    wanted = dict.fromkeys(("intensity", "colors", "row_column"), True)
    found = file.read_scan(number, ignore_missing_fields=True, **wanted)
    columns = {_NAMES.get(name, name): values for name, values in found.items()}
    count = len(columns["x"])
    places = np.ravel(file.scan_position(number))
    columns |= {name: np.full(count, at) for name, at in zip(SENSOR, places, strict=True)}
    return _rows(columns | {"scan": np.full(count, number, np.int32)})


def _loaded(data: Data, kind: str) -> "trimesh.Trimesh":
    import trimesh  # takes long, and few need it

    try:
        mesh = trimesh.load_mesh(stream_of(data), file_type=kind, process=False)
    except (ValueError, LookupError, TypeError) as error:  # what damaged files raise in trimesh
        raise CloudError(f"damaged, or no {kind.upper()} ({error}); {_GET}") from error
    if not len(mesh.vertices):
        raise CloudError(f"no vertices in it; {_GET}")
    return mesh


def _mesh(kind: str, columns: dict[str, NDArray[Any]], faces: NDArray[np.int64]) -> Cloud:
    if faces.size and not 0 <= faces.min() <= faces.max() < len(columns["x"]):
        raise CloudError(f"a face has a corner that is no vertex; {_GET}")
    losses = f"{kind} becomes PLY: vertices, colours and triangles, without the rest"
    return _cloud(_rows(columns), faces, losses)


def _rows(columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    types = [(name, values.dtype.newbyteorder("<")) for name, values in columns.items()]
    rows = np.empty(len(columns["x"]), types)
    for name, values in columns.items():
        rows[name] = values
    return rows


def _cloud(
    points: NDArray[Any],
    faces: NDArray[np.int64] | None,
    loss: str,
    sensor_columns: tuple[str, str, str] | None = None,
) -> Cloud:
    """The cloud of a PLY with these."""
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    for name in points.dtype.names or ():
        lines.append(f"property {_TYPES[points.dtype[name].str[1:]]} {name}")
    body = BytesIO()
    if faces is not None and len(faces):
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        corners = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
        corners["count"], corners["corners"] = 3, faces
        body.write(corners.tobytes())
    head = "\n".join([*lines, "end_header", ""]).encode()
    cloud = read_ply(b"".join([head, points.tobytes(), body.getvalue()]))
    return replace(cloud, losses=(loss,), sensor_columns=sensor_columns)
