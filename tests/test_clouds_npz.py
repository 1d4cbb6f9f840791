"""NPZ: all arrays survive, and numpy finds the normals beside them."""

import io
import zipfile

import numpy as np
import pytest
from cloud_files import normal_columns, read, with_normals, written
from numpy.testing import assert_array_equal

from tfnormals.errors import CloudError

POINTS = np.random.default_rng(0).normal(size=(9, 3))
LABELS = np.array(["roof", "wall", "ground"] * 3)


def npz(save=np.savez, **arrays):
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def loaded(data):
    with np.load(io.BytesIO(data), allow_pickle=True) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i4"])
def test_normals_come_beside_all_other_arrays(save, dtype):
    others = {"labels": LABELS, "anything": np.array([{"a": 1}, None]), "scale": np.float64(0.1)}
    before = {"points": POINTS.astype(dtype)} | others
    after = loaded(with_normals(npz(save, **before)))
    assert list(after) == [*before, "normals", "normal_confidence"]
    for name, array in before.items():
        assert after[name].dtype == np.asarray(array).dtype
        assert_array_equal(after[name], array)
    columns = normal_columns(9).astype(np.float32)
    assert_array_equal(after["normals"], columns[:, :3], strict=True)
    assert_array_equal(after["normal_confidence"], columns[:, 3], strict=True)


def test_members_are_packed_as_the_points_are():
    with zipfile.ZipFile(io.BytesIO(with_normals(npz(np.savez_compressed, p=POINTS)))) as archive:
        packing = {member.compress_type for member in archive.infolist()}
    assert packing == {zipfile.ZIP_DEFLATED}


@pytest.mark.parametrize(
    "arrays",
    [
        {"points": POINTS, "colors": POINTS[::-1]},
        {"xyz": POINTS, "colors": LABELS, "matrix": np.eye(4), "index": np.ones((9, 3), int)},
        {"arr_0": np.asfortranarray(POINTS), "normals": POINTS[::-1]},
    ],
)
def test_points_are_found(arrays):
    assert_array_equal(read(npz(**arrays)).points, POINTS)


def test_normals_are_read_and_replaced_where_they_stand():
    data = npz(normals=POINTS[::-1], points=POINTS, t=np.arange(9))
    assert_array_equal(read(data).normals, POINTS[::-1])
    after = with_normals(data)
    assert list(loaded(after)) == ["normals", "points", "t", "normal_confidence"]
    assert_array_equal(read(after).normals, normal_columns(9)[:, :3])
    assert with_normals(after) == after


def test_a_contour_gets_flat_normals():
    cloud = read(npz(points=POINTS[:, :2]))
    after = loaded(written(cloud.with_normals(np.ones((9, 2)), np.ones(9))))
    assert after["normals"].shape == (9, 2)


def test_a_file_without_new_normals_is_written_as_it_was_read():
    data = npz(points=POINTS, labels=LABELS)
    assert written(read(data)) == data


def locked():
    """An archive that says its only member is encrypted."""
    data = bytearray(npz(points=POINTS))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


GOOD = npz(points=POINTS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[:-30], "no readable NPZ file .*; get a complete one"),
        (GOOD.replace(POINTS.tobytes(), POINTS[::-1].tobytes()), "points.npy is damaged"),
        (locked(), "no readable NPZ file .*encrypted"),
        (
            npz(a=POINTS, b=POINTS),
            r"which array holds the points. .floats: a \(9, 3\), b \(9, 3\)",
        ),
        (npz(a=LABELS), r"which array holds the points. .floats: none.; name it points"),
        (npz(points=POINTS[0], b=POINTS), r"points \(3,\), b \(9, 3\)"),
        (npz(points=POINTS[:0]), "no points in it"),
    ],
)
def test_a_bad_file_is_refused(data, message):
    with pytest.raises(CloudError, match=message):
        read(data)


def test_arrays_with_a_number_for_each_point_are_columns():
    x, y, z = POINTS.T
    other = np.ones(2)

    cloud = read(npz(points=POINTS, sx=x, sy=y, sz=z, other=other, labels=LABELS))

    assert_array_equal(cloud.columns(["sx", "sy", "sz"]), POINTS)
    with pytest.raises(CloudError, match="no other among its columns"):
        cloud.columns(["sx", "other"])
