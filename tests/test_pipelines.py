"""The pipelines of docs/pipelines.md run: Unix pipes, and PDAL where it is installed."""

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
