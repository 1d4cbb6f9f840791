"""Meshes and E57, which are read only and become PLY."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import CloudError
from .cloud import Cloud
from .data import Data, stream_of
from .ply import read_ply

SENSOR = ("sensor_x", "sensor_y", "sensor_z")
"""Columns of the position of the scanner, of E57."""
_TYPES = {"f8": "double", "f4": "float", "i4": "int", "u4": "uint", "u2": "ushort", "u1": "uchar"}
_GET = "get a complete file"
_NAMES = {f"cartesian{axis.upper()}": axis for axis in "xyz"}
_NAMES |= {f"color{colour.title()}": colour for colour in ("red", "green", "blue")}

Mesh: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64]]
"""The numbers of each vertex, x y z first, and the triangles."""


def read_obj(data: Data) -> Cloud:
    """The vertices of an OBJ, with their colours, and its faces as triangles.

    Raises:
        CloudError: As `obj_mesh`.
    """
    return _mesh("OBJ", *obj_mesh(data))


def read_off(data: Data) -> Cloud:
    """The vertices of an OFF, with their colours, and its faces as triangles.

    Raises:
        CloudError: As `off_mesh`.
    """
    return _mesh("OFF", *off_mesh(data))


def obj_mesh(data: Data) -> Mesh:
    """The mesh of an OBJ, of all its objects.

    Raises:
        CloudError: If it has no vertices, is damaged, or a face has a corner that is none.
    """
    vertices: list[bytes] = []
    faces: list[bytes] = []
    so_far: list[int] = []
    for line in _lines(data):
        if line[:2] in (b"v ", b"v\t"):
            vertices.append(line[2:])
        elif line[:2] in (b"f ", b"f\t"):
            faces.append(line[2:])
            so_far.append(len(vertices))
    numbers = _numbers(vertices)
    sizes = np.array([len(face.split()) for face in faces], np.int64)
    corners = _integers(re.sub(rb"(?<=\d)/\S*", b"", b" ".join(faces)).split())
    before = np.repeat(np.array(so_far, np.int64), sizes)
    corners = np.where(corners < 0, before + corners, corners - 1)  # back from the face, or from 1
    return numbers, _fans(corners, sizes, len(numbers))


def off_mesh(data: Data) -> Mesh:
    """The mesh of an OFF in text, without normals and texture coordinates.

    Raises:
        CloudError: If it has no vertices, is damaged, or a face has a corner that is none.
    """
    lines = _lines(data)
    head = re.match(rb"((?:ST|C|N)*)(4?n?)OFF( BINARY)?", lines[0]) if lines else None
    if head is None:
        raise CloudError(f"damaged, or no OFF (it does not begin with OFF); {_GET}")
    if head[2] or head[3]:
        raise CloudError("an OFF in binary or of four dimensions; save it as plain OFF")
    try:
        counts, *lines = filter(None, [lines[0][head.end() :].strip(), *lines[1:]])
        count, face_count = map(int, counts.split()[:2])
    except ValueError as error:
        raise CloudError(f"damaged, or no OFF (it tells no counts); {_GET}") from error
    stop = count + face_count
    faces = lines[count:stop]
    sizes = _integers(line.split(None, 1)[0] for line in faces)
    ends = (sizes + 1).tolist()
    corners = _integers(
        corner for line, end in zip(faces, ends, strict=True) for corner in line.split()[1:end]
    )
    if not 0 <= count <= stop <= len(lines) or len(corners) != sizes.sum():
        raise CloudError(f"damaged, or no OFF (less in it than its counts tell); {_GET}")
    numbers = _numbers(lines[:count])
    first = 6 if b"N" in head[1] else 3
    last = numbers.shape[1] - (2 if b"ST" in head[1] else 0)
    return numbers[:, [0, 1, 2, *range(first, last)]], _fans(corners, sizes, count)


def read_stl(data: Data) -> Cloud:
    """The corners of an STL, each place once, in the order of its triangles, and these.

    Raises:
        CloudError: If there are none, or the file is damaged.
    """
    import trimesh  # takes long, and few need it

    try:
        mesh = trimesh.load_mesh(stream_of(data), file_type="stl", process=False)
    except (ValueError, LookupError, TypeError) as error:  # what damaged files raise in trimesh
        raise CloudError(f"damaged, or no STL ({error}); {_GET}") from error
    if not len(mesh.vertices):
        raise CloudError(f"no vertices in it; {_GET}")
    _, first, place = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    vertices = mesh.vertices[first[order]]
    faces = rank[place.reshape(-1)][mesh.faces]
    return _mesh("STL", vertices, faces)


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


def _lines(data: Data) -> list[bytes]:
    """The lines of a text, without comments and blank ones; a backslash joins two."""
    text = re.sub(rb"#[^\r\n]*", b"", data[:].removeprefix(BOM_UTF8))
    text = re.sub(rb"\\\r?\n", b" ", text)
    return [line for line in map(bytes.strip, text.splitlines()) if line]


def _numbers(vertices: list[bytes]) -> NDArray[np.float64]:
    """All that vertices have; x y z and NaN where some have more than others."""
    if not vertices:
        raise CloudError(f"no vertices in it; {_GET}")
    widths = {len(vertex.split()) for vertex in vertices}
    if min(widths) < 3:
        raise CloudError(f"a vertex of less than three numbers; {_GET}")
    width = 3 if len(widths) > 1 else min(widths)
    try:
        numbers = np.loadtxt(vertices, usecols=range(width), ndmin=2)
    except ValueError as error:
        raise CloudError(f"a vertex that is no row of numbers ({error}); {_GET}") from error
    return np.insert(numbers, 3, np.nan, axis=1) if len(widths) > 1 else numbers


def _integers(words: Iterable[bytes]) -> NDArray[np.int64]:
    try:
        return np.fromiter(map(int, words), np.int64)
    except (ValueError, OverflowError) as error:
        raise CloudError(f"a face that is no row of numbers ({error}); {_GET}") from error


def _fans(corners: NDArray[np.int64], sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The triangles of faces around their first corners.

    Args:
        corners: Of all faces, one after the other.
        sizes: How many corners each has.
        count: Of vertices.

    Raises:
        CloudError: If a corner is no vertex.
    """
    if corners.size and not 0 <= corners.min() <= corners.max() < count:
        raise CloudError(f"a face has a corner that is no vertex; {_GET}")
    triangles = np.maximum(sizes - 2, 0)
    first = np.repeat(np.cumsum(sizes) - sizes, triangles)
    step = np.arange(len(first)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return corners[np.column_stack([first, first + step + 1, first + step + 2])]


def _colours(numbers: NDArray[np.float64]) -> dict[str, NDArray[np.uint8]]:
    """Columns of colours of 0 to 1, or integers to 255, with or without alpha; none of others."""
    if numbers.shape[1] not in (3, 4) or not 0 <= numbers.min() <= numbers.max() <= 255:
        return {}
    if numbers.max() <= 1:
        numbers = np.round(255 * numbers)
    elif np.any(numbers % 1):
        return {}
    return dict(zip(("red", "green", "blue", "alpha"), numbers.astype(np.uint8).T, strict=False))


def _mesh(kind: str, numbers: NDArray[np.float64], faces: NDArray[np.int64]) -> Cloud:
    """The cloud of vertices that have x y z and, maybe, a colour."""
    colours = _colours(numbers[:, 3:])
    kept = "vertices" + (" with colours" if colours else "")
    kept += " and triangles" if len(faces) else ""
    losses = f"{kind} becomes PLY: {kept}, without the rest"
    if numbers.shape[1] > 3 and not colours:
        losses += (
            "; numbers after x y z are lost, since not all vertices have a colour there, "
            "r g b of 0 to 1 or integers of 0 to 255"
        )
    return _cloud(_rows(dict(zip("xyz", numbers.T[:3], strict=True)) | colours), faces, losses)


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
