"""Reads folders of triangle meshes into closed surfaces."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from ..clouds.converted import obj_mesh, off_mesh
from ..clouds.data import read_data
from ..errors import CloudError, DataError
from .surfaces import Surface, closed_surface

SUFFIXES = frozenset({".ply", ".obj", ".off", ".stl"})
_OWN = {".obj": obj_mesh, ".off": off_mesh}
"""trimesh misreads relative corners of OBJ and refuses OFF with faces of many sizes."""


def find_meshes(folder: Path) -> list[Path]:
    """The mesh files directly in a folder (.ply, .obj, .off, .stl in any case), sorted.

    Raises:
        DataError: If there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give a folder of meshes")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def load_surface(path: Path) -> Surface:
    """The closed surface in a mesh file, in its own units and named after the file.

    Raises:
        DataError: If the file cannot be read or its mesh is not a closed surface.
    """
    try:
        vertices, faces = _mesh(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except CloudError as error:
        raise DataError(f"{path}: {error}") from error
    except (ValueError, LookupError, TypeError) as error:  # what damaged files raise in trimesh
        raise DataError(f"{path}: damaged or not a mesh ({error})") from error
    surface = closed_surface(str(path), vertices, faces)
    return replace(surface, name=path.stem)


def _mesh(path: Path) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    if reader := _OWN.get(path.suffix.lower()):
        numbers, faces = reader(read_data(path))
        return numbers[:, :3], faces
    mesh = trimesh.load_mesh(path, process=False)
    return mesh.vertices, mesh.faces


def load_surfaces(
    folders: Sequence[Path], on_progress: Callable[[int, int], None] | None = None
) -> tuple[list[Surface], list[tuple[Path, str]]]:
    """The closed surfaces of all mesh files in some folders, in order.

    Args:
        folders: Folders, searched as by `find_meshes`.
        on_progress: Called with the number of files read and of all files after each.

    Returns:
        The usable surfaces, and the files that were skipped with the reason for each.

    Raises:
        DataError: If a folder does not exist.
    """
    paths = [path for folder in folders for path in find_meshes(folder)]
    surfaces: list[Surface] = []
    skipped: list[tuple[Path, str]] = []
    for done, path in enumerate(paths, start=1):
        try:
            surfaces.append(load_surface(path))
        except DataError as error:
            skipped.append((path, str(error).removeprefix(f"{path}: ")))
        if on_progress is not None:
            on_progress(done, len(paths))
    return surfaces, skipped
