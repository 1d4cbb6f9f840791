"""Meshes and E57, which become PLY."""

import io
import sys

import numpy as np
import pytest
import trimesh
from cloud_files import parsed_ply, written
from helpers import run_cli, sphere

from tfnormals.clouds import read_cloud
from tfnormals.errors import CloudError

CUBE = trimesh.creation.box((1, 2, 3))
OBJ = b"""mtllib x.mtl
v 0 0 0 1 0 0
v 1 0 0 0 1 0
v 1 1 0 0 0 1
v 0 1 0.123456789012 0.5 0.5 0.5
vt 0.5 0.5
usemtl a
f 1/1 2/1 3/1 4/1
f -4 -3 -1
"""


def read(data, kind):
    return read_cloud(io.BytesIO(data), format=kind)


def triangles(cloud):
    """Faces of the PLY it is written as."""
    return np.vstack(parsed_ply(written(cloud))["face"]["vertex_indices"])


def test_an_obj_keeps_vertices_colours_and_faces():
    cloud = read(OBJ, "obj")

    assert cloud.points[3].tolist() == [0, 1, 0.123456789012]
    assert cloud.columns(["red", "green", "blue"])[[0, 3]].tolist() == [[255, 0, 0], [128] * 3]
    assert triangles(cloud).tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 3]]
    assert cloud.content.format == "PLY"
    assert cloud.losses == (
        "OBJ becomes PLY: vertices with colours and triangles, without the rest",
    )


def test_an_obj_of_points_is_a_cloud():
    cloud = read(b"v 1 2 3 0.5\nv 4 5 6 0.5\n", "obj")

    assert cloud.points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert "face" not in parsed_ply(written(cloud))


def test_an_off_keeps_vertices_and_faces():
    cloud = read(CUBE.export(file_type="off").encode(), "off")

    np.testing.assert_allclose(cloud.points, CUBE.vertices)
    np.testing.assert_array_equal(triangles(cloud), CUBE.faces)


def test_relative_corners_of_an_obj_count_back_from_their_face():
    streamed = "".join(
        f"v {x} {y} {z}\nv {y} {z} {x}\nv {z} {x} {y}\nf -3/1 -2/1 -1/1\n"
        for x, y, z in ((0, 0, 1), (2, 3, 4))
    )

    assert triangles(read(streamed.encode(), "obj")).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_comments_and_joined_lines_of_an_obj_are_read():
    data = b"# in C:\\\nv 0 0 0 # a\nv 1 0 0\r\nv\t0 1 0\n  v 1 1 0\nf 1//1 2//1 \\\n 3//1\n"

    cloud = read(data, "obj")

    assert len(cloud.points) == 4
    assert triangles(cloud).tolist() == [[0, 1, 2]]


OFF = b"""OFF
# a comment
7 4 0
0 0 0
1 0 0
1 1 0

0 1 0
0 0 1
1 0 1
1 1 1
3 0 1 2
4 0 1 2 3 255 0 0
5 0 1 2 3 4
6 0 1 2 3 4 5
"""


def test_faces_of_all_sizes_of_an_off_become_fans():
    cloud = read(OFF, "off")

    fans = [[0, j, j + 1] for size in (3, 4, 5, 6) for j in range(1, size - 1)]
    assert triangles(cloud).tolist() == fans
    assert cloud.points[6].tolist() == [1, 1, 1]
    assert cloud.losses == ("OFF becomes PLY: vertices and triangles, without the rest",)


COLOURS = [[255, 0, 51, 255], [0, 102, 255, 0]]
SHARES = [[1, 0, 0.2, 1], [0, 0.4, 1, 0]]


@pytest.mark.parametrize("given", [COLOURS, SHARES], ids=["integers", "shares"])
@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize(
    ("kind", "head", "before", "after"),
    [
        ("obj", "", "v 1 2 3", ""),
        ("off", "OFF\n2 0 0\n", "1 2 3", ""),
        ("off", "COFF 2 0\n", "1 2 3", ""),
        ("off", "STCNOFF\n2 0 0\n", "1 2 3 0 0 -1", "0.5 0.5"),
    ],
)
def test_colours_are_kept(given, count, kind, head, before, after):
    rows = [" ".join([before, *map(str, colour[:count]), after]) for colour in given]

    cloud = read((head + "\n".join(rows)).encode(), kind)

    names = ["red", "green", "blue", "alpha"][:count]
    assert cloud.columns(names).tolist() == [colour[:count] for colour in COLOURS]
    assert set(cloud.content.table.names) == {*"xyz", *names}
    assert cloud.losses == (
        f"{kind.upper()} becomes PLY: vertices with colours, without the rest",
    )


@pytest.mark.parametrize("kind", ["obj", "off"])
@pytest.mark.parametrize(
    "rows",
    [
        ["0 0 0 1"],
        ["0 0 0 0 0 256"],
        ["0 0 0 0 0 -1"],
        ["0 0 0 1.5 0 9"],
        ["0 0 0 1 0 0", "1 1 1"],
    ],
)
def test_numbers_that_are_no_colours_are_told(kind, rows):
    lines = [f"v {row}" for row in rows] if kind == "obj" else ["OFF", f"{len(rows)} 0 0", *rows]

    cloud = read("\n".join(lines).encode(), kind)

    assert cloud.content.table.names == ("x", "y", "z")
    assert "becomes PLY: vertices, without the rest; numbers after x y z" in cloud.losses[0]


@pytest.mark.parametrize("kind", ["stl", "stl_ascii"])
def test_an_stl_has_each_place_once(kind):
    data = CUBE.export(file_type=kind)
    cloud = read(data if isinstance(data, bytes) else data.encode(), "stl")

    assert len(cloud.points) == 8
    corners = cloud.points[triangles(cloud)]
    np.testing.assert_allclose(corners, CUBE.triangles)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("obj", b"# nothing\n", "no vertices in it"),
        ("obj", b"v 1 2\n", "a vertex of less than three numbers"),
        ("obj", b"v 1 2 x\n", "no row of numbers"),
        ("obj", b"v 1 2 3\nf 1 2 3\n", "a face has a corner that is no vertex"),
        ("obj", b"v 1 2 3\nf 0 1 1\n", "a face has a corner that is no vertex"),
        ("obj", b"v 1 2 3\nf -2 1 1\nv 1 2 3\n", "a face has a corner that is no vertex"),
        ("obj", b"v 1 2 3\nf /1 1 1\n", "a face that is no row of numbers"),
        ("obj", b"v 1 2 3\nf 1 1 99999999999999999999\n", "a face that is no row of numbers"),
        ("off", b"OFF\n4 1 0\n0 0 0\n", "damaged, or no OFF"),
        ("off", b"OFF", "it tells no counts"),
        ("off", b"OFF 1 1 0\n0 0 0\n3 0 0\n", "less in it than its counts tell"),
        ("off", b"OFF 1 1 0\n0 0 0\n3 0 0 1\n", "a face has a corner that is no vertex"),
        ("off", b"OFF -1 0 0\n0 0 0\n1 1 1\n", "less in it than its counts tell"),
        ("off", b"OFF 0 0 0\n", "no vertices in it"),
        ("off", b"OFF BINARY\n\0\0", "save it as plain OFF"),
        ("off", b"4OFF 1 0 0\n0 0 0 2\n", "save it as plain OFF"),
        ("off", b"no mesh", "damaged, or no OFF"),
        ("stl", CUBE.export(file_type="stl")[:-7], "no vertices in it; get a complete file"),
    ],
)
def test_damaged_meshes_are_refused(kind, data, message):
    with pytest.raises(CloudError, match=message):
        read(data, kind)


@pytest.mark.parametrize("suffix", [".obj", ".OFF", ".stl"])
def test_predict_writes_a_ply(tmp_path, model, suffix, capsys):
    ball = trimesh.creation.icosphere(2)
    (tmp_path / "out").mkdir()
    source = tmp_path / f"ball{suffix}"
    data = ball.export(file_type=suffix[1:].lower())
    source.write_bytes(data if isinstance(data, bytes) else data.encode())

    assert run_cli("predict", source, "--model", model) == 0
    assert run_cli("predict", source, "--model", model, "-o", tmp_path / "out") == 0

    one = (tmp_path / "ball.normals.ply").read_bytes()
    assert one == (tmp_path / "out" / "ball.ply").read_bytes()
    after = parsed_ply(one)
    assert len(after["vertex"]) == len(ball.vertices)
    assert {"nx", "ny", "nz", "normal_confidence"} <= set(after["vertex"].data.dtype.names)
    assert len(after["face"]) == len(ball.faces)
    assert "becomes PLY" in capsys.readouterr().err


POINTS = sphere(2000, np.random.default_rng(0))[0]
PLACES = np.array([[5.0, 0, 1], [-4.0, 2, 1]])


@pytest.fixture
def e57(tmp_path):
    """Two scans of a ball, each with its position, the second with intensities."""
    pye57 = pytest.importorskip("pye57", reason="E57 needs pye57")
    path = tmp_path / "scan.e57"
    bright = {"intensity": np.linspace(0, 1, 1000, dtype=np.float32)}
    with pye57.E57(str(path), mode="w") as file:
        for half, place, more in zip(np.split(POINTS, 2), PLACES, ({}, bright), strict=True):
            own = (half - place).T
            columns = {f"cartesian{axis}": values for axis, values in zip("XYZ", own, strict=True)}
            turn = np.array([1.0, 0, 0, 0])
            file.write_scan_raw(columns | more, rotation=turn, translation=place)
    return path


def test_an_e57_keeps_what_its_scans_tell(e57):
    cloud = read_cloud(e57)

    np.testing.assert_allclose(cloud.points, POINTS, atol=1e-6)
    np.testing.assert_array_equal(cloud.columns(cloud.sensor_columns), np.repeat(PLACES, 1000, 0))
    scan, intensity = cloud.columns(["scan", "intensity"]).T
    np.testing.assert_array_equal(scan, np.repeat([0, 1], 1000))
    np.testing.assert_array_equal(intensity[:1000], 0)
    np.testing.assert_allclose(intensity[1000:], np.linspace(0, 1, 1000), atol=1e-6)
    assert "E57 becomes PLY" in cloud.losses[0]


def test_an_e57_from_a_stream_is_the_same(e57):
    assert written(read(e57.read_bytes(), "e57")) == written(read_cloud(e57))


def test_an_e57_faces_its_scanners(e57, model, capsys):
    assert run_cli("predict", e57, "--model", model) == 0

    assert "facing the scanners of the file" in capsys.readouterr().err
    cloud = read_cloud(e57.with_name("scan.normals.ply"))
    sight = np.repeat(PLACES, 1000, 0) - cloud.points
    assert (sight * cloud.normals).sum(1).min() > -1e-6


def test_an_e57_may_be_oriented_outward(e57, model, capsys):
    assert run_cli("predict", e57, "--model", model, "--orient", "outward") == 0

    assert "facing" not in capsys.readouterr().err


def test_without_pye57_it_is_told_what_to_install(e57, monkeypatch):
    monkeypatch.setitem(sys.modules, "pye57", None)

    with pytest.raises(CloudError, match=r"pip install 'tfnormals\[e57\]'"):
        read_cloud(e57)
