"""Files on disk: which names are accepted, what is refused, and that nothing half-done stays."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from cloud_files import normal_columns, parquet, pcd, ply, vertices, written
from las_files import las

from tfnormals.clouds import FORMATS, Cloud, check_target, read_cloud, write_cloud
from tfnormals.clouds.data import MAPPED
from tfnormals.errors import CloudError, OutputExistsError

TEXT = b"x y z\n0 0 0\n1 1 0.1\n"


def npy(save=np.save):
    stream = io.BytesIO()
    save(stream, np.eye(3))
    return stream.getvalue()


FILES = {
    "PLY": ply(vertices(3)),
    "PCD": pcd(vertices(3)),
    "NPY": npy(),
    "NPZ": npy(np.savez),
    "LAS": las(n=3),
    "LAZ": las(n=3, laz=True),
    "Parquet": parquet(vertices(3)),
    "text": TEXT,
}


class Failing:
    """Content that breaks off while it is written."""

    format = "PLY"

    def __init__(self, error):
        self.error = error

    def chunks(self):
        yield b"ply\n"
        raise self.error


def failing(error):
    return Cloud(np.zeros((1, 3)), None, None, Failing(error))


@pytest.fixture
def cloud(tmp_path):
    path = tmp_path / "in.ply"
    path.write_bytes(FILES["PLY"])
    return read_cloud(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_large_file_is_replaced_by_itself_with_normals(tmp_path, suffix, monkeypatch):
    def replaced(name):
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(FILES[FORMATS[suffix]])
        cloud = read_cloud(path)
        normals = np.eye(3)[: len(cloud.points)]
        write_cloud(cloud.with_normals(normals, normals[:, 0]), path, overwrite=True)
        return path.read_bytes()

    small = replaced("small")
    monkeypatch.setattr("tfnormals.clouds.data.MAPPED", 1)

    assert replaced("large") == small != FILES[FORMATS[suffix]]


@pytest.mark.parametrize("large_from", [1, MAPPED])
@pytest.mark.parametrize("suffix", [*FORMATS, ".PLY", ".Csv"])
def test_every_suffix_is_read_and_written(tmp_path, suffix, large_from, monkeypatch):
    monkeypatch.setattr("tfnormals.clouds.data.MAPPED", large_from)
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    source.write_bytes(FILES[FORMATS[suffix.lower()]])
    write_cloud(read_cloud(str(source)), str(target))
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, target.name]


@pytest.mark.parametrize("format", ["ply", ".PLY", None])
def test_stream_that_cannot_seek_is_read(tmp_path, format):
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stream:
        stream.write(FILES["PLY"])
    with os.fdopen(reading, "rb") as stream:
        assert written(read_cloud(stream, format=format)) == FILES["PLY"]


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "text"])
def test_stream_tells_its_format(kind):
    assert read_cloud(io.BytesIO(FILES[kind])).content.format == kind


def test_format_overrides_the_suffix(tmp_path):
    path = tmp_path / "scan.dat"
    path.write_bytes(TEXT)
    assert len(read_cloud(path, format="xyz").points) == 2


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none.ply", None, "no such file; check the path"),
        ("empty.ply", b"", "an empty file"),
        ("scan.pts", TEXT, r"'.pts' is no known format; known are .ply, .pcd, .xyz, .txt, .csv"),
        ("scan.e57", TEXT, "cannot be read as E57"),
        ("scan.obj", TEXT, "no vertices in it"),
        ("scan", TEXT, "'' is no known format"),
        ("scan.ply", FILES["PCD"], "the content is PCD, not PLY; correct name or format"),
        ("scan.pcd", FILES["PLY"], "the content is PLY, not PCD"),
        ("scan.xyz", FILES["NPY"], "the content is NPY, not text"),
        ("scan.las", FILES["LAZ"], "the content is LAZ, not LAS; correct name or format"),
        ("scan.laz", TEXT, "not a LAS file"),
        ("scan.ply", b"\xff\xd8\xff\xe0\0\x10JFIF", "not a PLY file"),
        ("scan.ply", TEXT, "not a PLY file .it starts with b'x y z"),
    ],
)
def test_unreadable_file_is_refused_with_its_name(tmp_path, name, data, message):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CloudError, match=f"^{path}: .*{message}"):
        read_cloud(path)


def test_folder_is_refused(tmp_path):
    folder = tmp_path / "scans.ply"
    folder.mkdir()
    with pytest.raises(CloudError, match=f"^{folder}: is a folder; name a cloud file"):
        read_cloud(folder)


def test_stream_of_unknown_format_is_refused():
    with pytest.raises(CloudError, match=r"^stream: its first bytes tell no format; give one of"):
        read_cloud(io.BytesIO(TEXT))


def test_forbidden_file_is_refused(tmp_path, monkeypatch):
    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tfnormals.clouds.files.read_data", forbidden)
    with pytest.raises(CloudError, match=r"a\.ply: permission denied; check who may use it"):
        read_cloud("a.ply")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("out.pcd", "out.pcd: it is written as PLY; name the output .*out.ply"),
        ("out", "out: it is written as PLY; name the output .*out.ply"),
        ("missing/out.ply", "no folder .*missing; create it first"),
        (".", "not a file; name a new one"),
    ],
)
def test_impossible_target_is_refused(cloud, tmp_path, target, message):
    for refused in (check_target, write_cloud):
        with pytest.raises(CloudError, match=message):
            refused(cloud, tmp_path / target)


def test_name_that_is_too_long_is_refused(cloud, tmp_path):
    with pytest.raises(CloudError, match=r"\.ply: file name too long; check the path"):
        write_cloud(cloud, tmp_path / f"{'a' * 300}.ply")


def test_existing_file_is_refused_unless_overwriting(cloud, tmp_path):
    target = tmp_path / "out.ply"
    target.write_bytes(b"precious")
    for refused in (check_target, write_cloud):
        with pytest.raises(OutputExistsError, match=r"out\.ply: exists already"):
            refused(cloud, target)
    assert target.read_bytes() == b"precious"
    check_target(cloud, target, overwrite=True)
    write_cloud(cloud, target, overwrite=True)
    assert target.read_bytes() == FILES["PLY"]


def test_cloud_can_overwrite_its_own_file(cloud, tmp_path):
    columns = normal_columns(3)
    path = tmp_path / "in.ply"
    write_cloud(cloud.with_normals(columns[:, :3], columns[:, 3]), path, overwrite=True)
    np.testing.assert_array_equal(read_cloud(path).normals, columns[:, :3])


def test_new_file_gets_the_permissions_of_any_new_file(cloud, tmp_path):
    before = os.umask(0o027)
    try:
        write_cloud(cloud, tmp_path / "out.ply")
    finally:
        os.umask(before)
    assert (tmp_path / "out.ply").stat().st_mode & 0o777 == 0o640


def test_overwritten_file_keeps_its_permissions(cloud, tmp_path):
    target = tmp_path / "out.ply"
    target.touch()
    target.chmod(0o604)
    write_cloud(cloud, target, overwrite=True)
    assert target.stat().st_mode & 0o777 == 0o604


def test_link_to_itself_is_refused(cloud, tmp_path):
    path = tmp_path / "loop.ply"
    path.symlink_to(path)

    with pytest.raises(CloudError, match=r"loop\.ply: a circular link; remove it"):
        write_cloud(cloud, path, overwrite=True)


def test_link_is_written_through(cloud, tmp_path):
    (tmp_path / "link.ply").symlink_to(tmp_path / "real.ply")
    write_cloud(cloud, tmp_path / "link.ply")
    assert (tmp_path / "link.ply").is_symlink()
    assert (tmp_path / "real.ply").read_bytes() == FILES["PLY"]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(errno.ENOSPC, "No space left"), CloudError, "out.ply: the disk is full; free"),
        (PermissionError(errno.EACCES, "Denied"), CloudError, "out.ply: permission denied"),
        (OSError(errno.EIO, "Input/output error"), CloudError, "out.ply: input/output error"),
    ],
)
def test_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path, error, expected, message):
    target = tmp_path / "out.ply"
    target.write_bytes(b"old")
    with pytest.raises(expected, match=message):
        write_cloud(failing(error), target, overwrite=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.ply", b"old")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_behind_a_stream_is_told(cloud):
    with (
        Path("/dev/full").open("wb", buffering=0) as stream,
        pytest.raises(CloudError, match="/dev/full: the disk is full"),
    ):
        write_cloud(cloud, stream)


def test_closed_pipe_stays_a_broken_pipe():
    with pytest.raises(BrokenPipeError):
        write_cloud(failing(BrokenPipeError()), io.BytesIO())


def test_wrong_shapes_are_refused(cloud):
    with pytest.raises(ValueError, match=r"normals \(2, 3\) and confidence \(3,\) do not fit 3"):
        cloud.with_normals(np.zeros((2, 3)), np.zeros(3))


def test_open3d_reads_the_normals(tmp_path):
    open3d = pytest.importorskip("open3d")
    columns = normal_columns(3)
    for kind, suffix in (("PLY", ".ply"), ("PCD", ".pcd")):
        path = tmp_path / f"cloud{suffix}"
        cloud = read_cloud(io.BytesIO(FILES[kind]))
        write_cloud(cloud.with_normals(columns[:, :3], columns[:, 3]), path)
        seen = open3d.io.read_point_cloud(str(path))
        np.testing.assert_array_equal(np.asarray(seen.normals), columns[:, :3])
        np.testing.assert_array_equal(np.asarray(seen.points), cloud.points)
