"""Normals of the tools that can be installed beside tfnormals, as their documentation says.

None of them is a dependency: each is imported or run where it is installed. They get the points
and nothing else, and what they answer is put back into the order of the points, unchanged.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pykdtree.kdtree import KDTree

from tfnormals.baseline import INSTALL, Array, SeparateTool, Tool, load_open3d
from tfnormals.errors import DataError

Setting = Mapping[str, str | int | bool]
"""Values of a tool's parameters, by name."""


@dataclass(frozen=True)
class Rival:
    """A tool and how it is called.

    Attributes:
        start: The tool at a setting, and the seconds that a call may take; raises a DataError that
            says what to install where it is missing.
        grid: The values of each parameter that are tried on validation shapes.
        best: The setting that was chosen; see `rivals.py`.
    """

    start: Callable[[Setting, float], AbstractContextManager[Tool]]
    grid: Mapping[str, Sequence[str | int | bool]]
    best: Setting

    def settings(self) -> list[Setting]:
        """Every combination of the values."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())
        ]


def label(name: str, setting: Setting) -> str:
    """The tool and its setting, as in the tables."""
    return f"{name} ({', '.join(f'{key} {value}' for key, value in setting.items())})"


def in_order(rows: Sequence[int], normals: Array, count: int) -> Array:
    """Normals (count, 3) of all points from those of some rows in any order; NaN elsewhere."""
    found = np.full((count, 3), np.nan)
    found[rows] = normals
    return found


def _library(
    load: Callable[..., Tool], install: str
) -> Callable[[Setting, float], AbstractContextManager[Tool]]:
    name = load.__name__.removeprefix("load_")

    def start(setting: Setting, seconds_limit: float) -> SeparateTool:
        return SeparateTool(name, partial(load, **setting), install, seconds_limit)

    return start


def load_cgal(fit: str, k: int, spanning: int) -> Tool:
    """CGAL: planes (pca) or quadrics (jet) through k neighbours, and a spanning tree."""
    from CGAL import CGAL_Point_set_processing_3 as processing
    from CGAL.CGAL_Point_set_3 import Point_set_3

    fits = {"pca": processing.pca_estimate_normals, "jet": processing.jet_estimate_normals}

    def normals(points: Array) -> Array:
        cloud = Point_set_3()
        cloud.add_normal_map()
        cloud.insert_range(points.ravel())
        row_of = cloud.add_int_map("row")
        for row, index in enumerate(cloud.indices()):
            row_of.set(index, row)
        fits[fit](cloud, k)
        processing.mst_orient_normals(cloud, spanning)
        cloud.cancel_removals()  # where the tree does not reach; the sides are as before there
        rows = [row_of.get(index) for index in cloud.indices()]
        found = np.array([(normal.x(), normal.y(), normal.z()) for normal in cloud.normals()])
        return in_order(rows, found, len(points))

    return normals


def load_pymeshlab(k: int, smoothing: int) -> Tool:
    """MeshLab: planes through k neighbours, so often smoothed, made coherent along a tree."""
    import pymeshlab

    def normals(points: Array) -> Array:
        meshes = pymeshlab.MeshSet()
        meshes.add_mesh(pymeshlab.Mesh(vertex_matrix=points))
        meshes.compute_normal_for_point_clouds(k=k, smoothiter=smoothing)
        return meshes.current_mesh().vertex_normal_matrix()

    return normals


def load_vtk(k: int, flipped: bool) -> Tool:
    """VTK: planes through k neighbours, a traversal of their graph; all flipped or not."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkPolyData
    from vtkmodules.vtkFiltersPoints import vtkPCANormalEstimation

    def normals(points: Array) -> Array:
        places, cloud, estimation = vtkPoints(), vtkPolyData(), vtkPCANormalEstimation()
        places.SetData(numpy_to_vtk(points))
        cloud.SetPoints(places)
        estimation.SetInputData(cloud)
        estimation.SetSampleSize(k)
        estimation.SetNormalOrientationToGraphTraversal()
        estimation.SetFlipNormals(flipped)
        estimation.Update()
        return vtk_to_numpy(estimation.GetOutput().GetPointData().GetNormals()).copy()

    return normals


def load_meshlib(k: int) -> Tool:
    """MeshLib: planes through the points in a ball that holds k on average, made consistent."""
    from meshlib import mrmeshnumpy, mrmeshpy

    def normals(points: Array) -> Array:
        cloud = mrmeshnumpy.pointCloudFromPoints(points)
        radius = mrmeshpy.findAvgPointsRadius(cloud, k)
        return mrmeshnumpy.toNumpyArray(mrmeshpy.makeOrientedNormals(cloud, radius))

    return normals


@contextmanager
def cloudcompare(setting: Setting, seconds_limit: float) -> Iterator[Tool]:
    """CloudCompare's command line, a new process for each cloud.

    Raises:
        DataError: If it is not on the PATH.
    """
    program = shutil.which("CloudCompare")
    if program is None:
        raise DataError("cloudcompare: not on the PATH; apt install cloudcompare")
    yield partial(_cloudcompare, program, seconds_limit, **setting)


def _cloudcompare(
    program: str, seconds_limit: float, points: Array, model: str, k: int, spanning: int
) -> Array:
    """Local models (LS: planes) in a ball that holds k points in the median, and a spanning tree.

    Raises:
        DataError: If it does not finish in time, or writes other points than it was given.
    """
    radius = np.median(KDTree(points).query(points, k=k)[0][:, -1])
    with TemporaryDirectory() as folder:
        given, written = Path(folder, "given.xyz"), Path(folder, "written.asc")
        np.savetxt(given, points, fmt="%.9g")
        command = [program, "-SILENT", "-AUTO_SAVE", "OFF", "-NO_TIMESTAMP"]
        command += ["-C_EXPORT_FMT", "ASC", "-PREC", "9"]
        command += ["-O", str(given), "-OCTREE_NORMALS", f"{radius:.9g}", "-MODEL", model]
        command += ["-ORIENT_NORMS_MST", str(spanning), "-SAVE_CLOUDS", "FILE", str(written)]
        try:
            done = subprocess.run(
                command,
                env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
                capture_output=True,
                text=True,
                timeout=seconds_limit,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"cloudcompare: did not finish in {seconds_limit:g} s") from error
        if not written.exists():
            said = (done.stderr + done.stdout).strip().split("\n")[-1]
            raise DataError(f"cloudcompare: wrote no file (exit code {done.returncode}): {said}")
        return cloudcompare_normals(np.loadtxt(written, ndmin=2), points)


def cloudcompare_normals(table: Array, points: Array) -> Array:
    """The normals in what CloudCompare wrote: rows x y z nx ny nz in the order of the points.

    Points with too few others in their ball have none; they get that of the nearest that has one.

    Raises:
        DataError: If the rows are other points, or hold no normals.
    """
    if table.shape != (len(points), 6):
        raise DataError(f"cloudcompare: wrote {table.shape} numbers for {len(points)} points")
    moved = np.abs(table[:, :3] - points).max()
    if moved > 1e-5 * np.abs(points).max():  # it computes in single precision
        raise DataError(f"cloudcompare: changed the order of the points, or moved them by {moved}")
    normals = table[:, 3:].copy()
    known = np.abs(normals).max(axis=1) > 0  # not where they are NaN
    if not known.any():
        raise DataError("cloudcompare: wrote no normal that has a direction")
    _, nearest = KDTree(points[known]).query(points, k=1)
    return normals[known][nearest]


RIVALS = {
    "Open3D": Rival(
        start=_library(load_open3d, INSTALL),
        grid={"k": (10, 20, 30, 40, 80), "spanning": (15, 30)},
        best={"k": 40, "spanning": 15},
    ),
    "CGAL": Rival(
        start=_library(load_cgal, "pip install cgal"),
        grid={"fit": ("jet", "pca"), "k": (20, 40, 80), "spanning": (18,)},
        best={"fit": "pca", "k": 40, "spanning": 18},
    ),
    "CloudCompare": Rival(
        start=cloudcompare,
        grid={"model": ("LS", "QUADRIC"), "k": (20, 40, 80, 160), "spanning": (6,)},
        best={"model": "LS", "k": 80, "spanning": 6},
    ),
    "pymeshlab": Rival(
        start=_library(load_pymeshlab, "pip install pymeshlab"),
        grid={"k": (20, 40, 80, 160), "smoothing": (0, 2)},
        best={"k": 80, "smoothing": 0},
    ),
    "VTK": Rival(
        start=_library(load_vtk, "pip install vtk"),
        grid={"k": (20, 40, 80, 160), "flipped": (False, True)},
        best={"k": 80, "flipped": False},
    ),
    "MeshLib": Rival(
        start=_library(
            load_meshlib, "pip install meshlib (its licence is for non-commercial use only)"
        ),
        grid={"k": (24, 48, 96, 192, 384)},
        best={"k": 96},
    ),
}
