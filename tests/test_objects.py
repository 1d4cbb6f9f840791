"""Clouds of other libraries give what their coordinates give, and stay as they are."""

import subprocess
import sys

import laspy
import numpy as np
import pytest
import trimesh
from helpers import torus
from numpy.testing import assert_array_equal

from tfnormals import estimate_normals
from tfnormals.objects import coordinates

POINTS = torus(200, np.random.default_rng(0))[0]


@pytest.fixture(scope="module")
def open3d():
    return pytest.importorskip("open3d", exc_type=ImportError)


def legacy(open3d, dtype):
    return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(POINTS.astype(dtype)))


def tensor(open3d, dtype):
    return open3d.t.geometry.PointCloud(open3d.core.Tensor(POINTS.astype(dtype)))


def laspy_cloud():
    header = laspy.LasHeader()
    header.scales = np.full(3, 1e-6)
    cloud = laspy.LasData(header)
    cloud.xyz = POINTS
    return cloud


OTHERS = {
    "trimesh cloud": lambda: trimesh.PointCloud(POINTS),
    "mesh": lambda: trimesh.Trimesh(POINTS, [[0, 1, 2]], process=False),
    "laspy": laspy_cloud,
}


def assert_like_its_coordinates(cloud, expected, network):
    before = expected.copy()
    found = estimate_normals(cloud, model=network)
    for array, wanted in zip(found, estimate_normals(before, model=network), strict=True):
        assert type(array) is np.ndarray
        assert_array_equal(array, wanted, strict=True)
    assert_array_equal(coordinates(cloud), before, strict=True)


@pytest.mark.parametrize("kind", OTHERS)
def test_a_cloud_of_trimesh_or_laspy_is_taken(kind, small_network):
    cloud = OTHERS[kind]()
    places = cloud.xyz if kind == "laspy" else cloud.vertices
    np.testing.assert_allclose(places, POINTS, rtol=0, atol=1e-6)
    assert_like_its_coordinates(cloud, np.array(places), small_network)


@pytest.mark.parametrize(
    ("make", "dtype"), [(legacy, "f8"), (tensor, "f8"), (tensor, "f4")], ids=str
)
def test_a_cloud_of_open3d_is_taken_and_takes_the_normals(make, dtype, open3d, small_network):
    cloud = make(open3d, dtype)
    assert_like_its_coordinates(cloud, POINTS.astype(dtype), small_network)
    assert_like_its_coordinates(cloud, coordinates(cloud), small_network)
    normals, _ = estimate_normals(cloud, model=small_network)
    if make is tensor:
        cloud.point.normals = normals
        assert_array_equal(cloud.point.normals.numpy(), normals, strict=True)
    else:
        cloud.normals = open3d.utility.Vector3dVector(normals)
        assert_array_equal(np.asarray(cloud.normals), normals, strict=True)


@pytest.mark.parametrize("make", [legacy, tensor])
def test_points_of_open3d_are_not_copied(make, open3d):
    cloud = make(open3d, "f8")
    assert np.shares_memory(coordinates(cloud), coordinates(cloud))


@pytest.mark.parametrize("kind", ["trimesh cloud", "mesh"])
def test_points_of_trimesh_are_not_copied(kind):
    cloud = OTHERS[kind]()
    assert np.shares_memory(coordinates(cloud), cloud.vertices)


def test_objects_without_points_are_refused(small_network):
    with pytest.raises(ValueError, match=r"no points found in a builtins\.dict; give an array"):
        estimate_normals({"x": POINTS}, model=small_network)


def test_a_tensor_cloud_without_points_is_refused(open3d, small_network):
    with pytest.raises(ValueError, match=r"no points found in a open3d.*\.PointCloud"):
        estimate_normals(open3d.t.geometry.PointCloud(), model=small_network)


def test_other_libraries_are_not_imported():
    code = (
        "import sys, numpy, tfnormals\n"
        "tfnormals.estimate_normals(numpy.random.default_rng(0).random((50, 3)))\n"
        "print([name for name in ('open3d', 'trimesh', 'laspy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
