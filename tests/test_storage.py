import shutil

import numpy as np
import pytest
from helpers import sphere

from tfnormals import estimate_normals
from tfnormals.errors import CloudError
from tfnormals.storage import PIECE, pieces, room


@pytest.fixture
def few_fit(monkeypatch):
    monkeypatch.setattr("tfnormals.storage.IN_FILES", 99)


def in_file(array):
    return isinstance(array.base, np.memmap)


@pytest.mark.parametrize("shape", [(100,), (100, 3), (3, 100)])
def test_of_many_points_arrays_lie_in_files(shape, few_fit):
    assert in_file(room(shape, np.float32))
    assert type(room(shape, np.float32)) is np.ndarray
    assert not in_file(room((99, 3), np.float32))


def test_a_file_leaves_no_name_behind(few_fit, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    array = room((1000, 3), np.float64)
    array[:] = 7

    assert not list(tmp_path.iterdir())
    assert (array == 7).all()


def test_pieces_cover_all_points_once():
    rows = [row for part in pieces(2 * PIECE + 5) for row in (part.start, part.stop)]

    assert rows == [0, PIECE, PIECE, 2 * PIECE, 2 * PIECE, 2 * PIECE + 5]


def test_normals_do_not_depend_on_where_arrays_lie(monkeypatch):
    points = sphere(3000, np.random.default_rng(0))[0]
    points[7] = np.nan
    kept = estimate_normals(points)
    monkeypatch.setattr("tfnormals.storage.IN_FILES", 99)
    filed = estimate_normals(points)

    for one, other in zip(kept, filed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_disk_without_room_is_told(few_fit, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)

    with pytest.raises(CloudError, match=r"temporary files do not fit .* TMPDIR"):
        estimate_normals(sphere(500, np.random.default_rng(0))[0])
