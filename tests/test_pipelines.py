"""The pipelines of docs/pipelines.md run: Unix pipes, PDAL where it is installed, E57."""

import gzip
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import laspy
import numpy as np
import pytest
import trimesh
from cloud_files import ply, vertices
from helpers import torus
from las_files import parsed_las
from numpy.testing import assert_array_equal

from tfnormals import read_cloud

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
POINTS, NORMALS = torus(2000, np.random.default_rng(0))


def run(command, folder):
    """A shell command, with this Python's commands first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


def documented(name):
    """The commands of docs/pipelines.md that follow a comment."""
    text = (ROOT / "docs/pipelines.md").read_text()
    (block,) = re.findall(f"<!-- {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    return block


@pytest.mark.skipif(not shutil.which("bash"), reason="pipes are of a Unix shell")
def test_unix_pipes(tmp_path):
    rows = vertices(len(POINTS))
    rows["x"], rows["y"], rows["z"] = POINTS.T
    (tmp_path / "scan.ply").write_bytes(ply(rows))
    np.savetxt(tmp_path / "scan.xyz", POINTS)
    ran = run(documented("pipes"), tmp_path)
    assert ran.returncode == 0, ran.stderr
    with gzip.open(tmp_path / "scan.normals.ply.gz") as stream:
        cloud = read_cloud(stream)
    assert_array_equal(cloud.points, POINTS.astype(np.float32))
    assert ((cloud.normals * NORMALS).sum(1) > 0.9).mean() > 0.95
    assert np.loadtxt(tmp_path / "sure.xyz")[:, 6].min() > 0.5


@pytest.mark.skipif(not shutil.which("bash"), reason="the commands are of a Unix shell")
@pytest.mark.parametrize("suffix", ["obj", "off", "stl"])
def test_a_mesh_becomes_ply_and_keeps_its_faces(suffix, tmp_path):
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.export(tmp_path / f"part.{suffix}")
    ran = run(documented("mesh").replace("part.obj", f"part.{suffix}"), tmp_path)
    assert ran.returncode == 0, ran.stderr
    cloud = read_cloud(tmp_path / "part.normals.ply")
    assert len(cloud.points) == len(mesh.vertices)
    assert (cloud.normals * cloud.points).sum(1).min() > 0.9
    assert len(trimesh.load(tmp_path / "part.normals.ply").faces) == len(mesh.faces)


def test_the_function_for_pdal_keeps_to_its_contract():
    script = runpy.run_path(str(EXAMPLES / "pdal_normals.py"))
    ins = dict(zip("XYZ", POINTS.T, strict=True)) | {"NormalX": np.zeros(len(POINTS), "f4")}
    ins |= {name: np.zeros(len(POINTS)) for name in script["DIMENSIONS"][1:]}
    outs = {}
    assert script["normals"](ins, outs) is True
    assert list(outs) == list(script["DIMENSIONS"])
    for name, values in outs.items():
        assert values.dtype == ins[name].dtype
        assert values.shape == ins[name].shape
        assert values.flags.c_contiguous
    assert outs["NormalZ"].min() > -0.1


@pytest.fixture
def pdal(tmp_path):
    """Runs PDAL; skips where it, its Python plugin, or tfnormals in its Python is missing."""
    if not shutil.which("pdal"):
        pytest.skip("PDAL is not installed")
    stages = [
        {"type": "readers.faux", "mode": "ramp", "count": 1, "bounds": "([0,1],[0,1],[0,1])"},
        {"type": "filters.python", "module": "probe", "function": "probe"},
    ]
    stages[1]["source"] = "import tfnormals\ndef probe(ins, outs):\n    return True\n"
    (tmp_path / "probe.json").write_text(json.dumps([*stages, {"type": "writers.null"}]))
    ran = run("pdal pipeline probe.json", tmp_path)
    if ran.returncode:
        pytest.skip(f"PDAL cannot call tfnormals: {ran.stderr.strip().splitlines()[-1:]}")
    return lambda command: run(command, ROOT)


def test_a_pdal_pipeline_gets_normals(pdal, tmp_path):
    header = laspy.LasHeader(version="1.2", point_format=3)
    header.scales = np.full(3, 1e-4)
    cloud = laspy.LasData(header)
    cloud.xyz = POINTS
    cloud.write(tmp_path / "in.las")
    names = f"--readers.las.filename={tmp_path}/in.las --writers.las.filename={tmp_path}/out.las"
    ran = pdal(f"pdal pipeline examples/pdal_normals.json {names}")
    assert ran.returncode == 0, ran.stderr
    after = parsed_las((tmp_path / "out.las").read_bytes())
    np.testing.assert_allclose(after.xyz, POINTS, atol=1e-4)
    found = np.column_stack([after[f"Normal{axis}"] for axis in "XYZ"])
    assert (abs((found * NORMALS).sum(1)) > 0.9).mean() > 0.95
    assert found[:, 2].min() > -0.1


def e57(path, scans):
    """An E57 file by pye57, of scans (points in the scanner's system, its position, columns)."""
    import pye57

    with pye57.E57(str(path), mode="w") as file:
        for points, position, columns in scans:
            axes = {f"cartesian{axis}": points[:, place] for place, axis in enumerate("XYZ")}
            file.write_scan_raw(
                axes | columns, rotation=np.array([1.0, 0, 0, 0]), translation=position
            )


def test_e57_becomes_ply_with_the_sensor_of_each_point(tmp_path):
    pytest.importorskip("pye57", reason="E57 needs pye57")
    positions = np.array([[5.0, 0, 1], [-4.0, 2, 1]])
    bright = {"intensity": np.linspace(0, 1, 1000, dtype=np.float32)}
    halves = zip(np.split(POINTS, 2), positions, ({}, bright), strict=True)
    e57(tmp_path / "in.e57", [(part - place, place, more) for part, place, more in halves])
    script = runpy.run_path(str(EXAMPLES / "e57_to_ply.py"))
    script["main"](str(tmp_path / "in.e57"), str(tmp_path / "out.ply"))
    cloud = read_cloud(tmp_path / "out.ply")
    np.testing.assert_allclose(cloud.points, POINTS, atol=1e-6)
    sensors = cloud.columns(["sensor_x", "sensor_y", "sensor_z"])
    assert_array_equal(sensors, np.repeat(positions, 1000, axis=0))
    scan, intensity = cloud.columns(["scan", "intensity"]).T
    assert_array_equal(scan, np.repeat([0, 1], 1000))
    assert_array_equal(intensity, np.append(np.zeros(1000), bright["intensity"]))
