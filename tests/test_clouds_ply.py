"""PLY: whatever a file holds comes back bit by bit, and plyfile agrees on what is added."""

import io
import struct

import numpy as np
import pytest
from cloud_files import (
    BYTE_ORDERS,
    normal_columns,
    parsed_ply,
    ply,
    read,
    tables,
    vertices,
    with_normals,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyElement

from tfnormals.clouds import read_cloud
from tfnormals.errors import CloudError

TYPES = ["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<f4", "<f8"]
NEW = ("nx", "ny", "nz", "normal_confidence")
ENCODINGS = st.sampled_from(list(BYTE_ORDERS))
each_encoding = pytest.mark.parametrize("encoding", BYTE_ORDERS)


def element(name, columns, *rows):
    """An element whose columns of type object are lists."""
    data = np.empty(len(rows), dtype=columns)
    data[:] = [tuple(np.array(c) if isinstance(c, list) else c for c in row) for row in rows]
    return PlyElement.describe(data, name)


def faces():
    columns = [("vertex_indices", object), ("flags", "u1")]
    return element("face", columns, ([0, 1, 2], 7), ([2, 1], 8), ([2, 0, 1, 0], 9))


def camera():
    return element("camera", [("focal", "<f4"), ("id", "<i4")], (1.5, 2))


def header(*lines):
    return "\n".join(["ply", *lines, "end_header", ""]).encode()


@given(rows=tables(TYPES), encoding=ENCODINGS)
@settings(deadline=None, max_examples=25)
def test_reading_and_writing_is_the_identity(rows, encoding):
    data = ply(rows, encoding, before=[camera()], after=[faces()], comments=["a", "b"])
    assert written(read(data)) == data


@given(rows=tables(TYPES), encoding=ENCODINGS)
@settings(deadline=None, max_examples=25)
def test_normals_leave_all_other_properties_as_they_are(rows, encoding):
    data = ply(rows, encoding, before=[camera()], after=[faces()])
    before, after = parsed_ply(data), parsed_ply(with_normals(data))
    kept = [name for name in rows.dtype.names if name not in NEW]
    for name in kept:
        assert after["vertex"][name].tobytes() == before["vertex"][name].tobytes()
        assert after["vertex"][name].dtype == before["vertex"][name].dtype
    assert after["camera"].data.tobytes() == before["camera"].data.tobytes()
    assert str(after["face"].data.tolist()) == str(before["face"].data.tolist())


@given(rows=tables(TYPES), encoding=ENCODINGS)
@settings(deadline=None, max_examples=25)
def test_normals_are_added_at_the_end_or_replaced_in_place(rows, encoding):
    after = parsed_ply(with_normals(ply(rows, encoding)))["vertex"]
    own = rows.dtype.names
    assert after.data.dtype.names == (*own, *(name for name in NEW if name not in own))
    added = np.column_stack([after[name] for name in NEW])
    assert added.dtype.itemsize == 4
    np.testing.assert_array_equal(added, normal_columns(len(rows)))


@each_encoding
def test_points_and_normals_are_read_in_file_order(encoding):
    rows = vertices(3, *[(name, "<f4") for name in NEW[:3]])
    rows["nx"], rows["ny"], rows["nz"] = 0, [1, np.nan, 0], [0, 0, 1]
    cloud = read(ply(rows, encoding))
    expected = np.column_stack([rows[axis] for axis in "xyz"])
    np.testing.assert_array_equal(cloud.points.astype(np.float32), expected)
    np.testing.assert_array_equal(cloud.normals, np.column_stack([rows[n] for n in NEW[:3]]))
    assert cloud.viewpoint is None


@each_encoding
def test_rows_of_nan_and_infinity_are_kept(encoding):
    rows = vertices(4)
    rows["x"] = [np.nan, np.inf, -np.inf, 1]
    np.testing.assert_array_equal(read(ply(rows, encoding)).points[:, 0], rows["x"])


def test_projected_double_coordinates_lose_nothing():
    head = header("format ascii 1.0", "element vertex 1", *(f"property double {a}" for a in "xyz"))
    data = head + b"2445123.4567 -0.1 1e-300\n"
    assert read(data).points.tolist() == [[2445123.4567, -0.1, 1e-300]]
    assert with_normals(data).splitlines()[-1].startswith(b"2445123.4567 -0.1 1e-300 ")


def test_header_stays_as_it_is_around_the_new_properties():
    lines = ["comment Größe in m", "obj_info from a scanner", "element vertex 1", "comment here"]
    lines += ["property float32 x", "property float y", "property float z", "comment at the end"]
    data = header("format binary_little_endian 1.0", *lines) + bytes(12)
    new = [f"property float {name}" for name in NEW]
    expected = header("format binary_little_endian 1.0", *lines[:-1], *new, lines[-1])
    assert with_normals(data).startswith(expected)


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_line_ends_are_kept(newline):
    data = ply(vertices(2), "ascii", after=[faces()])
    expected = with_normals(data).replace(b"\n", newline)
    assert with_normals(data.replace(b"\n", newline)) == expected


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_line_ends_of_a_binary_header_are_kept(newline):
    head, _, body = ply(vertices(2)).partition(b"end_header\n")
    data = head.replace(b"\n", newline) + b"end_header" + newline + body
    assert written(read(data)) == data


# plyfile writes the numbers beside big-endian lists wrong, so these bytes are made by hand
LISTS = ["element vertex 2", "property double x", "property list uchar short near"]
LISTS += ["property int y", "property float z"]
LIST_ROWS = {
    "ascii": b"0.1 2 -1 300 7 0.5\n1e9 1 5 8 nan\n",
    **{
        encoding: struct.pack(f"{order}dB2hifdBhif", 0.1, 2, -1, 300, 7, 0.5, 1e9, 1, 5, 8, np.nan)
        for encoding, order in list(BYTE_ORDERS.items())[1:]
    },
}


@each_encoding
def test_vertices_with_lists_keep_them(encoding):
    data = header(f"format {encoding} 1.0", *LISTS) + LIST_ROWS[encoding]
    assert written(read(data)).split() == data.split()
    after = parsed_ply(with_normals(with_normals(data)))["vertex"]
    np.testing.assert_array_equal(after["near"][0], [-1, 300])
    np.testing.assert_array_equal(after["x"], [0.1, 1e9])
    np.testing.assert_array_equal(after["y"], [7, 8])
    np.testing.assert_array_equal(after["z"], np.array([0.5, np.nan]))
    np.testing.assert_array_equal(after["nz"], normal_columns(2)[:, 2])


@each_encoding
def test_lists_before_the_vertices_are_skipped(encoding):
    lists = element("edges", [("ends", object)], ([0, 1],), ([1, 2, 0],))
    data = ply(vertices(3), encoding, before=[lists])
    np.testing.assert_allclose(read(data).points[:, 0], [0, 1, 2])
    assert written(read(data)) == data


def test_normals_can_be_replaced_twice():
    data = with_normals(ply(vertices(3)))
    assert with_normals(data) == data


def test_bytes_behind_the_last_element_are_kept():
    data = ply(vertices(3)) + b"tail"
    assert written(read(data)) == data


XYZ = [f"property float {axis}" for axis in "xyz"]
BINARY, ASCII = "format binary_little_endian 1.0", "format ascii 1.0"
FACES = ["element face 2", "property list uchar int vertex_indices"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ply", r"not a PLY file \(it starts with b'ply'\)"),
        (b"ply\nformat ascii 1.0\nelement vertex 3\n", "no end_header line; get a complete"),
        (header("format ascii 2.0", "element vertex 1", *XYZ), "bad PLY header"),
        (header(ASCII, "element vertex some", *XYZ), "bad PLY header"),
        (header(ASCII, "element vertex -5", *XYZ), "bad PLY header"),
        (header(ASCII, "element vertex 1", "property complex x"), "bad PLY header.*complex"),
        (header(ASCII, "element vertex 1", XYZ[0], XYZ[0]), "two properties with same name"),
        (header(ASCII, "element point 1", *XYZ) + b"1 2 3\n", r"no element vertex \(found: point"),
        (header(ASCII, "element vertex 0", *XYZ), "no points in it"),
        (header(BINARY, "element vertex 0", *XYZ), "no points in it"),
        (header(ASCII, "element vertex 1", *XYZ[::2]) + b"1 2\n", r"no x y z among .* \(x, z\)"),
        (header(BINARY, "element vertex 3"), "no x y z among its columns .none."),
        (header(ASCII, "element vertex 2", *XYZ) + b"1 2 3\n", "promises 2 points, 1 are there"),
        (header(BINARY, "element vertex 2", *XYZ) + bytes(23), "promises 2 points, 1 are there"),
        (header(ASCII, "element vertex 1", *XYZ) + b"1 2 3\n4 5 6\n", "1 lines more than"),
        (header(ASCII, "element vertex 1", *XYZ) + b"1 2\n", "line 8 has 2 columns, 3 are"),
        (header(ASCII, "element vertex 1", *XYZ) + b"1 2 3 4\n", "line 8 has 4 columns, 3 are"),
        (header(ASCII, "element vertex 1", *XYZ) + b"1 two 3\n", "line 8: y is 'two', not a"),
        (
            header(BINARY, f"element vertex {10**12}", *XYZ) + bytes(24),
            "promises 10{12} points, 2",
        ),
        (
            header(ASCII, f"element vertex {10**12}", *XYZ) + b"1 2 3\n",
            "promises 10{12} points, 1",
        ),
        (header(ASCII, f"element vertex 1{'0' * 5000}", *XYZ), "promises 10{17} points, 0"),
        (header(BINARY, "element vertex 1", *XYZ, *FACES) + bytes(13), "2 rows of face, 1 are"),
        (header(BINARY, "element vertex 1", *XYZ, *FACES) + bytes(12) + b"\1", "face, 0 are"),
        (
            header(BINARY, "element a 1", "property list char int b", "element vertex 1", *XYZ)
            + b"\xff"
            + bytes(30),
            "-1 items in a list of a",
        ),
    ],
)
def test_bad_file_is_refused_with_the_reason(data, message):
    with pytest.raises(CloudError, match=f"^stream: .*{message}"):
        read_cloud(io.BytesIO(data), format="ply")
