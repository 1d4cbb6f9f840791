"""Reading and writing clouds, in the format their names tell."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from ..errors import CloudError, OutputExistsError
from ..formats import CONVERTED, FORMATS
from .cloud import Cloud
from .converted import read_e57, read_obj, read_off, read_stl
from .data import Data, read_data
from .las import read_las
from .las_header import is_compressed, is_las
from .npy import is_npy, read_npy
from .npz import is_npz, read_npz
from .parquet import is_parquet, read_parquet
from .pcd import is_pcd, read_pcd
from .ply import is_ply, read_ply
from .text import read_text

_READERS: dict[str, Callable[[Data], Cloud]] = {
    "PLY": read_ply,
    "PCD": read_pcd,
    "text": read_text,
    "NPY": read_npy,
    "NPZ": read_npz,
    "LAS": read_las,
    "LAZ": read_las,
    "Parquet": read_parquet,
    "OBJ": read_obj,
    "OFF": read_off,
    "STL": read_stl,
}
_READ = FORMATS | CONVERTED
_REASONS = {
    errno.ENOENT: "no such file; check the path",
    errno.EISDIR: "is a folder; name a cloud file",
    errno.EACCES: "permission denied; check who may use it",
    errno.ENOSPC: "the disk is full; free some space",
}


def read_cloud(
    source: str | Path | BinaryIO, *, format: str | None = None, dimensions: Sequence[int] = (2, 3)
) -> Cloud:
    """The cloud in a file or a binary stream.

    Args:
        source: A path, or a stream that need not be seekable and is read to its end.
        format: A suffix of `FORMATS` or `CONVERTED`, dot or not. By default that of the path;
            streams of all but text are recognised by their first bytes.
        dimensions: Of the clouds that are welcome; 2 for contours, which have x y and no z.

    Raises:
        CloudError: If it cannot be read, or is not what it is said to be.
    """
    with _named(_name(source)):
        suffix = _suffix(source) if format is None else f".{format.lower().lstrip('.')}"
        if suffix is not None and suffix not in _READ:
            _check_file(source)
            raise CloudError(f"'{suffix}' is no known format; known are {', '.join(_READ)}")
        if suffix == ".e57":
            return _read_e57(source)
        data = read_data(Path(source)) if isinstance(source, str | Path) else source.read()
        if not data:
            raise CloudError("an empty file; get a complete one")
        found = _recognised(data)
        expected = found if suffix is None else _READ[suffix]
        if expected is None:
            raise CloudError(f"its first bytes tell no format; give one of {', '.join(_READ)}")
        if found is not None and found != expected:
            raise CloudError(f"the content is {found}, not {expected}; correct name or format")
        cloud = _READERS[expected](data)
        if cloud.points.shape[1] not in dimensions:
            raise CloudError("a 2-D contour, with x y and no z; a 3-D cloud is needed")
        return cloud


def check_target(cloud: Cloud, target: str | Path, *, overwrite: bool = False) -> None:
    """Refuse a file that `write_cloud` could not write; call it before long work.

    Raises:
        CloudError: If the suffix is not one of the cloud's format, or the folder is missing.
        OutputExistsError: If the file is there and may not be overwritten.
    """
    path = Path(target)
    own = cloud.content.format
    with _named(str(target)):
        if Path(os.path.realpath(path)).is_symlink():
            raise CloudError("a circular link; remove it, or name another file")
        if path.exists() and not path.is_file():
            raise CloudError("not a file; name a new one")
        if FORMATS.get(path.suffix.lower()) != own:
            suffix = next(suffix for suffix, name in FORMATS.items() if name == own)
            raise CloudError(f"it is written as {own}; name the output {path.with_suffix(suffix)}")
        if path.name.lower().endswith(".copc.laz"):
            plain = f"{path.name[: -len('.copc.laz')]}.laz"
            raise CloudError(f"plain LAZ is written, not COPC; name it {path.with_name(plain)}")
        if not path.parent.is_dir():
            raise CloudError(f"no folder {path.parent}; create it first")
        if path.exists() and not overwrite:
            raise OutputExistsError(f"{target}: exists already; allow overwriting or rename it")


def write_cloud(cloud: Cloud, target: str | Path | BinaryIO, *, overwrite: bool = False) -> None:
    """Write a cloud in the format it was read from.

    A file appears under its name only when complete. A broken pipe stays a `BrokenPipeError`.

    Args:
        cloud: As read, with or without new normals.
        target: A path with a suffix of the same format, or a binary stream.
        overwrite: Replace an existing file, keeping its permissions.

    Raises:
        CloudError: If it cannot be written.
        OutputExistsError: If the file is there and may not be overwritten.
    """
    if isinstance(target, str | Path):
        check_target(cloud, target, overwrite=overwrite)
        with _named(str(target)):
            _replace(cloud, Path(target).resolve())
    else:
        with _named(_name(target)):
            _write(cloud, target)


def remove_partials(targets: Iterable[Path]) -> None:
    """Remove what processes that were killed while writing have left; call it when all ended."""
    paths = [Path(os.path.realpath(target)) for target in targets]
    prefixes = {_temporary_prefix(path) for path in paths}
    for folder in {path.parent for path in paths}:
        for path in folder.glob(".*.tmp"):
            if path.name[: len(_temporary_prefix(path))] in prefixes:
                path.unlink(missing_ok=True)


def _replace(cloud: Cloud, path: Path) -> None:
    """Write beside the path, then move into place; leave nothing behind on failure."""
    temporary = path.with_name(f"{_temporary_prefix(path)}{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:
            _write(cloud, stream)
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_prefix(path: Path) -> str:
    """How the temporary files of a path begin; its name itself may be too long for that."""
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-"


def _write(cloud: Cloud, stream: BinaryIO) -> None:
    for chunk in cloud.content.chunks():
        stream.write(chunk)
    stream.flush()


def _read_e57(source: str | Path | BinaryIO) -> Cloud:
    """The library reads files only, so a stream becomes one."""
    if isinstance(source, str | Path):
        return read_e57(Path(source))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stream.e57"
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
        return read_e57(path)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Make errors tell which cloud they are about."""
    try:
        yield
    except CloudError as error:
        raise CloudError(f"{name}: {error}") from error
    except (BrokenPipeError, OutputExistsError):
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        told = _REASONS.get(error.errno or 0, f"{reason}; check the path")
        raise CloudError(f"{name}: {told}") from error


def _check_file(source: str | Path | BinaryIO) -> None:
    """Raises what reading would if a path names a folder or nothing."""
    if isinstance(source, str | Path):
        if Path(source).is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        Path(source).stat()


def _name(source: str | Path | BinaryIO) -> str:
    name = source if isinstance(source, str | Path) else getattr(source, "name", "stream")
    return str(name)


def _suffix(source: str | Path | BinaryIO) -> str | None:
    return Path(source).suffix.lower() if isinstance(source, str | Path) else None


def _recognised(data: Data) -> str | None:
    """The format the first bytes tell, if any."""
    if is_ply(data):
        return "PLY"
    if is_npy(data):
        return "NPY"
    if is_npz(data):
        return "NPZ"
    if is_parquet(data):
        return "Parquet"
    if is_las(data):
        return "LAZ" if is_compressed(data) else "LAS"
    return "PCD" if is_pcd(data) else None
