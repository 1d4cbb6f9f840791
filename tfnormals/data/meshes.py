"""Reads folders of triangle meshes into closed surfaces."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import trimesh

from ..errors import DataError
from .surfaces import Surface, closed_surface

SUFFIXES = frozenset({".ply", ".obj", ".off", ".stl"})


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
        mesh = trimesh.load_mesh(path, process=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, LookupError, TypeError) as error:  # what damaged files raise in trimesh
        raise DataError(f"{path}: damaged or not a mesh ({error})") from error
    surface = closed_surface(str(path), mesh.vertices, mesh.faces)
    return replace(surface, name=path.stem)


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
