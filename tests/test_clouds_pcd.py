"""PCD: every field, count, padding and header line comes back, in all three encodings."""

import io

import numpy as np
import pytest
from cloud_files import (
    bits,
    normal_columns,
    packed,
    pcd,
    read,
    tables,
    vertices,
    with_normals,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pypcd4 import PointCloud

from tfnormals.clouds import read_cloud
from tfnormals.errors import CloudError

TYPES = ["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"]
NEW = ("normal_x", "normal_y", "normal_z", "normal_confidence")
ENCODINGS = ("ascii", "binary", "binary_compressed")
each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)

# COUNT 33 as in point feature histograms, and padding between and behind
WIDE = [
    ("_1", "u1", (4,)),
    ("rgb", "<f4"),
    ("fpfh", "<f4", (33,)),
    ("t", "<f8"),
    ("_2", "u1", (3,)),
]


def split(data):
    """Header lines and body."""
    head, mark, rest = data.partition(b"\nDATA ")
    line, _, body = rest.partition(b"\n")
    return [*head.split(b"\n"), mark.strip() + b" " + line], body


@given(rows=tables(TYPES), encoding=st.sampled_from(ENCODINGS))
@settings(deadline=None, max_examples=25)
def test_reading_and_writing_is_the_identity(rows, encoding):
    data = pcd(rows, encoding, VIEWPOINT="1 2 3 1 0 0 0")
    assert written(read(data)) == data


@given(rows=tables(TYPES), encoding=st.sampled_from(ENCODINGS))
@settings(deadline=None, max_examples=25)
def test_normals_are_added_at_the_end_or_replaced_in_place(rows, encoding):
    lines, body = split(with_normals(pcd(rows, encoding)))
    own = rows.dtype.names
    names = (*own, *(name for name in NEW if name not in own))
    expected = np.empty(len(rows), [(n, "<f4" if n in NEW else rows.dtype[n]) for n in names])
    for name in names:
        columns = normal_columns(len(rows))
        expected[name] = columns[:, NEW.index(name)] if name in NEW else rows[name]
    assert (lines, body) == split(pcd(expected, encoding))


@each_encoding
def test_counts_and_paddings_are_kept(encoding):
    rows = vertices(6, *WIDE)
    data = pcd(rows, encoding, WIDTH="3", HEIGHT="2")
    assert written(read(data)) == data
    lines = split(with_normals(data))[0]
    assert lines[2:6] == [
        b"FIELDS x y z _ rgb fpfh t _ normal_x normal_y normal_z normal_confidence",
        b"SIZE 4 4 4 1 4 4 8 1 4 4 4 4",
        b"TYPE F F F U F F F U F F F F",
        b"COUNT 1 1 1 4 1 33 1 3 1 1 1 1",
    ]
    assert lines[6:] == split(data)[0][6:]


def test_compressed_file_without_its_paddings_is_read_as_pcl_writes_it():
    rows = vertices(6, *WIDE)
    head = split(pcd(rows, "binary_compressed"))[0]
    kept = [name for name in rows.dtype.names if not name.startswith("_")]
    data = b"\n".join([*head, packed(rows[kept])])
    cloud = read(data)
    np.testing.assert_array_equal(cloud.points[:, 0].astype("f4"), rows["x"])
    assert written(cloud) == data


def test_packed_colours_stay_bit_exact_whatever_float_they_make():
    rgb = np.array([0x7FA12345, 0xFF800001, 0x00FF00FF], "<u4")
    rows = vertices(3, ("rgb", "<f4"))
    rows["rgb"] = rgb.view("<f4")
    after = PointCloud.from_fileobj(io.BytesIO(with_normals(pcd(rows))))
    np.testing.assert_array_equal(after.pc_data["rgb"].view("<u4"), rgb)


@each_encoding
def test_pypcd4_reads_the_same_points_and_normals(encoding):
    rows = vertices(5, ("rgb", "<u4"))
    after = PointCloud.from_fileobj(io.BytesIO(with_normals(pcd(rows, encoding))))
    np.testing.assert_array_equal(after.numpy(NEW), normal_columns(5))
    np.testing.assert_array_equal(after.pc_data["rgb"], rows["rgb"])


@each_encoding
def test_points_and_normals_are_read_in_file_order(encoding):
    rows = vertices(3, *[(name, "<f8") for name in NEW[:3]])
    for place, name in enumerate(NEW[:3]):
        rows[name] = normal_columns(3)[:, place]
    rows["y"][1] = np.nan
    cloud = read(pcd(rows, encoding))
    np.testing.assert_array_equal(cloud.points.astype("f4")[:, 1], rows["y"])
    np.testing.assert_array_equal(cloud.normals, normal_columns(3)[:, :3])


def test_projected_double_coordinates_lose_nothing_in_ascii():
    rows = vertices(1).astype([(axis, "<f8") for axis in "xyz"])
    rows["x"], rows["y"] = 2445123.4567, 2e-12
    data = with_normals(pcd(rows, "ascii"))
    assert read(data).points[0, :2].tolist() == [2445123.4567, 2e-12]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0 0 1 0 0 0", None),
        ("0.0 0 0 1 0 0 -0", None),
        ("nan 0 0 1 0 0 0", None),
        (None, None),
        ("1e+05 -2 3.5 1 0 0 0", [1e5, -2, 3.5]),
        ("0 0 0 0 1 0 0", [0, 0, 0]),
    ],
)
def test_viewpoint_is_read_unless_it_is_the_default(line, expected):
    viewpoint = read(pcd(vertices(), VIEWPOINT=line)).viewpoint
    assert (viewpoint if viewpoint is None else viewpoint.tolist()) == expected


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ({"WIDTH": "3", "HEIGHT": "2"}, 3),
        ({"WIDTH": "1", "HEIGHT": "6"}, 1),
        ({"WIDTH": "6", "HEIGHT": "1"}, None),
        ({"WIDTH": "6", "HEIGHT": None}, None),
    ],
)
def test_an_organised_cloud_has_a_width(sides, expected):
    assert read(pcd(vertices(6), **sides)).width == expected


def test_old_header_is_kept_as_it_is():
    old = b"# Gr\xf6\xdfe\r\n\r\nVERSION .5\r\nCOLUMNS x y z%b\r\nSIZE 4 4 4%b\r\n"
    old += b"TYPE F F F%b\r\n# here\r\nPOINTS 2\r\nDATA binary\r\n"
    data = old % (b"", b"", b"") + vertices(2).tobytes()
    assert written(read(data)) == data
    names = b"".join(b" " + name.encode() for name in NEW)
    assert with_normals(data).startswith(old % (names, b" 4 4 4 4", b" F F F F"))


def test_field_names_need_not_be_ascii():
    data = pcd(vertices(2, ("voil\N{LATIN SMALL LETTER A WITH GRAVE}", "u1")))
    assert written(read(data)) == data
    assert b" voil\xc3\xa0 normal_x " in with_normals(data)


def test_points_may_be_told_by_width_and_height_alone():
    assert len(read(pcd(vertices(6), WIDTH="3", HEIGHT="2", POINTS=None)).points) == 6


def test_bytes_behind_the_points_are_kept():
    data = pcd(vertices(3)) + bytes(4096)
    assert written(read(data)) == data


def test_incompressible_points_stay_compressed():
    rows = bits([(axis, "<f8") for axis in "xyz"], 100)
    data = pcd(rows, "binary_compressed")
    assert split(written(read(data)))[0][-1] == b"DATA binary_compressed"
    np.testing.assert_array_equal(read(written(read(data))).points[:, 0], rows["x"])


def test_ascii_rows_keep_their_text():
    head = pcd(vertices(2), "ascii").partition(b"DATA")[0]
    data = head + b"DATA ascii\n1.0  2\t3.00\n\n 4 5 6 \n"
    first, second = with_normals(data).splitlines()[-2:]
    assert first.startswith(b"1.0  2\t3.00 ")
    assert second.startswith(b" 4 5 6  ")
    assert [len(first.split()), len(second.split())] == [7, 7]


GOOD = pcd(vertices(4))
PACKED = pcd(vertices(4), "binary_compressed")
SHORT = pcd(vertices(4), "ascii").rpartition(b" ")[0]
HUGE = {"POINTS": str(10**12), "WIDTH": str(10**12)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff\xe0JFIF", r"not a PCD file \(it starts with b'\\xff"),
        (b"VERSION 0.7\nFIELDS x y z\n", "the header has no DATA line; get a complete file"),
        (GOOD[:-1], "promises 4 points, 3 are there; get a complete file"),
        (pcd(vertices(4), **HUGE), "promises 10{12} points, 4 are there"),
        (pcd(vertices(4), "ascii", **HUGE), "promises 10{12} points, 4 are there"),
        (pcd(vertices(4), "binary_compressed", **HUGE), "promises 10{12} points, 4 are there"),
        (pcd(vertices(4), "ascii", POINTS="3", WIDTH="3"), "4 points are there, .* promises 3"),
        (SHORT, "line 15 has 2 columns, 3 are expected"),
        (SHORT + b" one\n", "line 15: z is 'one', not a number"),
        (PACKED[:-1], r"\d+ compressed bytes are promised, \d+ are there"),
        (PACKED[: PACKED.index(b"compressed") + 12], "are promised, 0 are"),
        (PACKED[:-9] + b"\xff" * 9, "the compressed points are"),
        (pcd(vertices(4), POINTS="0", WIDTH="0"), "no points in it"),
        (pcd(vertices(4), FIELDS="a b c"), r"no x y z among its columns \(a, b, c\)"),
        (pcd(vertices(4), FIELDS="x y"), "SIZE has 3 values, 2 are expected; correct the header"),
        (pcd(vertices(4), FIELDS="x y y"), "field y is there twice"),
        (pcd(vertices(4), SIZE="4 4 3"), "field z has TYPE F SIZE 3"),
        (pcd(vertices(4), TYPE="F F Q"), "field z has TYPE Q SIZE 4"),
        (pcd(vertices(4), COUNT=f"1 1 {10**9}"), "field z has COUNT 10{9}; correct the header"),
        (pcd(vertices(4), COUNT="1 1 -1"), "COUNT is '1 1 -1', not whole numbers"),
        (pcd(vertices(4), POINTS="5"), "WIDTH 4 x HEIGHT 1 is not POINTS 5"),
        (pcd(vertices(4), VIEWPOINT="0 0 0"), "VIEWPOINT has 3 values, 7 are expected"),
        (pcd(vertices(4), VIEWPOINT="a 0 0 1 0 0 0"), "VIEWPOINT is 'a 0 0 1 0 0 0', not numbers"),
        (pcd(vertices(4), DATA="zip"), "unknown DATA zip; known: ascii, binary, binary_comp"),
        (pcd(vertices(1, ("normal_x", "<f4", (3,)))), "field normal_x has COUNT 3, not 1"),
    ],
)
def test_bad_file_is_refused_with_the_reason(data, message):
    with pytest.raises(CloudError, match=f"^stream: .*{message}"):
        read_cloud(io.BytesIO(data), format="pcd")
