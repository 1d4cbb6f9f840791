"""To which side ``predict`` turns normals: options, and what the files tell."""

import copy
import io
import json

import numpy as np
import pytest
from cloud_files import pcd, ply
from helpers import depth_picture, plane, run_cli, torus

from tfnormals.cli.sides import Side
from tfnormals.clouds import read_cloud

FAR = np.array([453_210.0, 5_201_430.0, 4_500_000.0])  # float32 knows them to half a metre
PICTURE = depth_picture(24, 32).astype(np.float32)
ORGANISED = {"WIDTH": "32", "HEIGHT": "24"}
SENSOR = ("sx", "SensorY", "sz")


def table(points, sensors=None):
    """Rows of x y z and, if given, the positions of their sensors."""
    names = ["x", "y", "z", *(SENSOR if sensors is not None else ())]
    values = points if sensors is None else np.hstack([points, sensors])
    rows = np.empty(len(points), [(name, "<f8") for name in names])
    for name, column in zip(names, values.T, strict=True):
        rows[name] = column
    return rows


def sheet():
    """Points of a level plane far from the origin, each with a sensor 5 cm above or below it."""
    rng = np.random.default_rng(0)
    points = plane(300, rng)[0] + FAR
    up = rng.choice([-1.0, 1.0], 300)
    return table(points, points + 0.05 * up[:, None] * [0, 0, 1]), up


def csv(rows):
    lines = [",".join(map(repr, row)) for row in rows.tolist()]
    return "\n".join([",".join(rows.dtype.names), *lines, ""]).encode()


def npy(rows):
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


WRITERS = {
    "a.ply": ply,
    "text.ply": lambda rows: ply(rows, "ascii"),
    "a.pcd": pcd,
    "text.pcd": lambda rows: pcd(rows, "ascii"),
    "packed.pcd": lambda rows: pcd(rows, "binary_compressed"),
    "a.csv": csv,
    "a.npy": npy,
}


@pytest.fixture(scope="module")
def model(small_network, tmp_path_factory):
    """A model that trusts the planes of its frames, as every trained one does."""
    from tfnormals.pretrained import save_model

    network = copy.deepcopy(small_network)
    network.head[-1].bias[4] = 10.0  # the third component of the direction
    path = tmp_path_factory.mktemp("models") / "plane.safetensors"
    save_model(path, network, "plane", {})
    return path


@pytest.fixture
def predict(tmp_path, model, monkeypatch):
    """Predicts a file of these bytes; the cloud that comes out, or None with the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(name, data, *options):
        (tmp_path / name).write_bytes(data)
        stem, suffix = name.split(".")
        code = run_cli("predict", name, "--model", model, *options)
        return read_cloud(f"{stem}.normals.{suffix}") if code == 0 else code

    return run


def torus_file():
    return ply(table(torus(300, np.random.default_rng(0))[0]))


@pytest.mark.parametrize(
    ("word", "vector", "told"),
    [
        ("+z", (0, 0, 1), "; facing +z\n"),
        ("-z", (0, 0, -1), "; facing -z\n"),
        ("-x", (-1, 0, 0), "; facing -x\n"),
        ("+y", (0, 1, 0), "; facing +y\n"),
        ("-0.5,0,1e1", (-0.5, 0, 10), "; facing the direction -0.5 0 10\n"),
        ("0 0 1", (0, 0, 1), "; facing +z\n"),
    ],
)
def test_normals_point_to_the_side_of_a_direction(word, vector, told, predict, capsys):
    cloud = predict("a.ply", torus_file(), "--toward", word, "--json")

    assert (cloud.normals @ vector >= 0).all()
    out, err = capsys.readouterr()
    assert err.endswith(told)
    record = json.loads(out)
    assert (record["orient"], record["toward"]) == ("toward", list(vector))
    assert (record["viewpoint"], record["viewpoint_source"]) == (None, None)


def test_a_direction_goes_before_the_viewpoint_of_the_file(predict):
    rows = table(torus(300, np.random.default_rng(0))[0])

    cloud = predict("a.pcd", pcd(rows, VIEWPOINT="0 0 -9 1 0 0 0"), "--toward", "+z")

    assert (cloud.normals[:, 2] >= 0).all()


@pytest.mark.parametrize(("toward", "code"), [("+x", 0), ("0,0,1", 1)])
def test_the_direction_of_a_contour_lies_in_its_plane(toward, code, predict, capsys):
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    data = "\n".join(["x,y", *(f"{3 * np.cos(a)},{2 * np.sin(a)}" for a in angles)]).encode()

    result = predict("a.csv", data, "--toward", toward)

    if code:
        assert "tfnormals: a.csv: a 2-D contour; give --toward X,Y,0\n" in capsys.readouterr().err
    else:
        assert (result.normals[:, 0] >= 0).all()


@pytest.mark.parametrize("name", WRITERS)
def test_every_point_faces_its_own_sensor_without_loss_of_digits(name, predict, capsys):
    rows, up = sheet()

    cloud = predict(name, WRITERS[name](rows), "--sensor-columns", *SENSOR, "--json")

    np.testing.assert_array_equal(np.sign(cloud.normals[:, 2]), up)
    out, err = capsys.readouterr()
    assert "; facing each point's own sensor (sx SensorY sz)" in err
    record = json.loads(out)
    assert (record["orient"], record["viewpoint_source"]) == ("viewpoint", "columns")
    assert (record["viewpoint"], record["points_without_sensor"]) == (None, 0)


def test_points_without_a_sensor_are_counted_and_not_trusted(predict, capsys):
    rows, up = sheet()
    rows["sx"][3], rows["sz"][4], rows["x"][5] = np.nan, np.inf, np.nan

    cloud = predict("a.csv", csv(rows), "--sensor-columns", *SENSOR, "--json")

    out, err = capsys.readouterr()
    assert "; 2 without a sensor, their side is a guess; 1 not finite, given NaN" in err
    assert json.loads(out)["points_without_sensor"] == 2
    confidence = cloud.columns(["normal_confidence", "nz"])[:, 0]
    assert np.flatnonzero(confidence == 0).tolist() == [3, 4, 5]
    assert (np.delete(np.sign(cloud.normals[:, 2]) == up, [3, 4, 5])).all()


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("a.ply", torus_file(), "x, y, z"),
        ("a.npy", npy(torus(300, np.random.default_rng(0))[0]), "none has a name"),
        ("a.csv", csv(sheet()[0]), "x, y, z, sx, sensory, sz"),
    ],
)
def test_columns_that_are_missing_are_named_beside_those_that_are_there(
    name, data, found, predict, capsys, tmp_path
):
    assert predict(name, data, "--sensor-columns", "x", "Lat", "lon") == 1

    missing = "x Lat lon" if "none" in found else "Lat lon"
    told = f"tfnormals: {name}: no {missing} among its columns ({found}); name those it has\n"
    assert capsys.readouterr().err == told
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_columns_without_any_sensor_are_refused(predict, capsys):
    rows, _ = sheet()
    rows["sz"] = np.nan

    assert predict("a.ply", ply(rows), "--sensor-columns", *SENSOR) == 1
    assert "no finite sensor position in its columns sx SensorY sz;" in capsys.readouterr().err


def test_a_sensor_position_that_is_no_number_is_refused(predict, capsys):
    lines = csv(sheet()[0]).splitlines()
    lines[4] = lines[4].rpartition(b",")[0] + b",lost"

    assert predict("a.csv", b"\n".join(lines), "--sensor-columns", *SENSOR) == 1
    assert "a.csv: line 5: sz is 'lost', not a number" in capsys.readouterr().err


def test_an_empty_sensor_position_is_unknown(predict, capsys):
    lines = csv(sheet()[0]).splitlines()
    lines[4] = lines[4].rpartition(b",")[0] + b","

    predict("a.csv", b"\n".join(lines), "--sensor-columns", *SENSOR)

    assert "1 without a sensor, their side is a guess" in capsys.readouterr().err


def test_sensor_columns_are_not_for_contours(predict, capsys):
    data = b"x,y,a,b,c\n" + b"1,2,3,4,5\n" * 30

    assert predict("a.csv", data, "--sensor-columns", "a", "b", "c") == 1
    assert "a.csv: a 2-D contour; --sensor-columns are for" in capsys.readouterr().err


def picture(points=PICTURE, **entries):
    return pcd(table(points), **(ORGANISED | entries))


@pytest.mark.parametrize("options", [(), ("--orient", "viewpoint")])
def test_an_organised_cloud_faces_the_origin_it_was_seen_from(options, predict, capsys):
    cloud = predict("a.pcd", picture(), "--json", *options)

    assert ((cloud.normals * -cloud.points).sum(1) >= 0).all()
    out, err = capsys.readouterr()
    assert err.endswith("; facing the origin, from which this organised cloud was seen\n")
    assert err.count("\n") == 1
    record = json.loads(out)
    assert (record["orient"], record["viewpoint"]) == ("viewpoint", [0, 0, 0])
    assert record["viewpoint_source"] == "picture"


@pytest.mark.parametrize(
    ("data", "options", "told"),
    [
        (picture(), ["--orient", "outward"], ""),
        (picture(), ["--orient", "none"], ""),
        (picture(), ["--toward", "+z"], "; facing +z"),
        (picture(), ["--viewpoint", "1", "2", "3"], "; facing the viewpoint 1 2 3"),
        (picture(VIEWPOINT="1 2 3 1 0 0 0"), [], "; facing the viewpoint 1 2 3 of the file"),
        (picture(VIEWPOINT="0 0 0 0 1 0 0"), [], "; facing the viewpoint 0 0 0 of the file"),
        (picture(PICTURE + np.float32(0.5)), [], ""),
        (picture(WIDTH="768", HEIGHT="1"), [], ""),
    ],
)
def test_other_knowledge_goes_before_the_picture(data, options, told, predict, capsys):
    predict("a.pcd", data, *options)

    assert capsys.readouterr().err.endswith(f" with low confidence{told}\n")


def test_a_picture_that_was_moved_holds_no_viewpoint(predict, capsys):
    moved = picture(PICTURE + np.float32(0.5))

    assert predict("a.pcd", moved, "--orient", "viewpoint") == 1
    assert "a.pcd: holds no viewpoint; give --viewpoint X Y Z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("side", "eye"),
    [
        (Side("outward"), None),
        (Side("viewpoint", viewpoint=(0.0, 0.0, 9.0)), (0.0, 0.0, 9.0)),
        (Side("toward", toward=(0.0, 0.0, 2.0)), (0.5, 0.5, 10.0)),
        (Side("viewpoint", sensors=np.array([[1.0, 2, 3], [1, 2, 3], [np.nan] * 3])), (1, 2, 3)),
    ],
)
def test_pictures_are_taken_from_where_the_points_were_seen(side, eye):
    points = np.array([[0.0, 0, 0], [1, 1, 0], [np.nan] * 3])

    assert side.eye(points) == eye
