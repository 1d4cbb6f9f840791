"""Clouds of two columns: from files, through predict, to files."""

import io
import json
import re

import numpy as np
import pytest
from cloud_files import parsed_ply, pcd, ply
from helpers import run_cli

from tfnormals.clouds import read_cloud
from tfnormals.contours import CONTOUR_MODEL
from tfnormals.errors import CloudError

ANGLES = np.linspace(0, 2 * np.pi, 300, endpoint=False)
X, Y = 500_000.25, 4_000_000.5
ELLIPSE = np.column_stack([X + 3 * np.cos(ANGLES), Y + 2 * np.sin(ANGLES)])
OUTWARD = np.column_stack([2 * np.cos(ANGLES), 3 * np.sin(ANGLES)])
OUTWARD /= np.linalg.norm(OUTWARD, axis=1, keepdims=True)


def text(separator, header=None):
    lines = [separator.join(map(repr, row)) for row in ELLIPSE.tolist()]
    return "\n".join([*([header] if header else []), *lines, ""]).encode()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def table():
    rows = np.empty(len(ELLIPSE), [("x", "<f8"), ("red", "u1"), ("y", "<f8")])
    rows["x"], rows["y"], rows["red"] = *ELLIPSE.T, 7
    return rows


FILES = {
    "plain.xyz": text(" "),
    "commas.csv": text(","),
    "spaced.csv": text(", "),
    "semicolons.txt": text(";"),
    "tabs.txt": text("\t"),
    "named.csv": text(",", "x,y"),
    "commented.txt": text(" ", "# x y"),
    "plain.npy": npy(ELLIPSE),
    "fields.npy": npy(table()),
    "binary.ply": ply(table()),
    "ascii.ply": ply(table(), "ascii"),
    "fields.pcd": pcd(table()),
}


def cells(data):
    """The numbers in the rows of a text file."""
    rows = [line for line in data.decode().splitlines() if not line.lstrip("# ").startswith("x")]
    return np.array([re.split(r"[,;\s]+", row) for row in rows], float)


def columns(path):
    """Coordinates, normals and confidence in a file with normals, (n, 5)."""
    if path.suffix == ".ply":
        fields = parsed_ply(path.read_bytes())["vertex"].data
    elif path.suffix == ".npy":
        fields = np.load(path)
    elif path.suffix == ".pcd":
        normals = read_cloud(path).content.table
        return normals.values(["x", "y", "normal_x", "normal_y", "normal_confidence"])
    else:
        fields = cells(path.read_bytes())
    if fields.dtype.names is None:
        return fields
    assert (fields["red"] == 7).all()
    assert "nz" not in fields.dtype.names
    return np.column_stack([fields[name] for name in ("x", "y", "nx", "ny", "normal_confidence")])


@pytest.fixture
def contour(tmp_path, request):
    path = tmp_path / request.param
    path.write_bytes(FILES[request.param])
    return path


@pytest.mark.parametrize("contour", FILES, indirect=True)
def test_a_contour_keeps_its_points_and_gets_outward_normals(contour, capsys):
    assert run_cli("predict", contour) == 0

    written = columns(contour.with_name(f"{contour.stem}.normals{contour.suffix}"))
    assert written.shape == (300, 5)
    assert np.array_equal(written[:, :2], ELLIPSE)
    assert ((written[:, 2:4] * OUTWARD).sum(1) > 0.99).all()
    assert (written[:, 4] > 0.9).all()
    said = " ".join(capsys.readouterr().err.split())
    assert "300 points" in said
    assert f"a 2-D contour, taken to be closed (model {CONTOUR_MODEL})" in said


@pytest.mark.parametrize("contour", ["named.csv", "fields.npy", "binary.ply"], indirect=True)
def test_normals_of_a_contour_are_read_and_replaced(contour):
    run_cli("predict", contour)
    target = contour.with_name(f"{contour.stem}.normals{contour.suffix}")
    before = target.read_bytes()

    assert run_cli("predict", target, "-o", target, "--overwrite") == 0
    assert target.read_bytes() == before
    assert read_cloud(target).normals.shape == (300, 2)


@pytest.mark.parametrize("contour", ["plain.xyz"], indirect=True)
def test_json_names_the_model_of_contours(contour, capsys):
    run_cli("predict", contour, "--json")

    record = json.loads(capsys.readouterr().out)
    assert record["model"] == CONTOUR_MODEL
    assert record["points"] == 300


@pytest.mark.parametrize("contour", ["plain.xyz"], indirect=True)
def test_a_viewpoint_inside_turns_the_normals_of_a_contour_around(contour):
    assert run_cli("predict", contour, "--viewpoint", X, Y, 0) == 0

    written = columns(contour.with_name("plain.normals.xyz"))
    assert ((written[:, 2:4] * OUTWARD).sum(1) < -0.99).all()


@pytest.mark.parametrize("contour", ["plain.xyz"], indirect=True)
def test_a_viewpoint_above_a_contour_is_refused(contour, capsys):
    assert run_cli("predict", contour, "--viewpoint", 0, 0, 5) == 1

    assert "a 2-D contour; give --viewpoint X Y 0" in capsys.readouterr().err
    assert list(contour.parent.iterdir()) == [contour]


def test_the_viewpoint_of_a_flat_pcd_is_used_without_its_height(tmp_path, capsys):
    path = tmp_path / "lidar.pcd"
    path.write_bytes(pcd(table(), VIEWPOINT=f"{X} {Y} 1.5 1 0 0 0"))

    assert run_cli("predict", path) == 0

    written = columns(tmp_path / "lidar.normals.pcd")
    assert ((written[:, 2:4] * OUTWARD).sum(1) < -0.99).all()
    assert "facing the viewpoint" in capsys.readouterr().err


@pytest.mark.parametrize("contour", ["plain.xyz"], indirect=True)
def test_contours_are_refused_where_surfaces_are_needed(contour, capsys):
    with pytest.raises(
        CloudError, match="a 2-D contour, with x y and no z; a 3-D cloud is needed"
    ):
        read_cloud(contour, dimensions=[3])
    assert run_cli("check-equivariance", contour) == 1
    assert "a 3-D cloud is needed" in capsys.readouterr().err
