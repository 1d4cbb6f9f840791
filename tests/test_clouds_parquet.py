"""Parquet: all columns, types, metadata and row groups survive; Arrow finds the normals."""

import datetime
import io
import sys

import numpy as np
import pyarrow as pa
import pytest
from cloud_files import normal_columns, parquet, read, with_normals, written
from numpy.testing import assert_array_equal
from pyarrow import parquet as pq

from tfnormals.errors import CloudError

NEW = ["nx", "ny", "nz", "normal_confidence"]
POINTS = np.random.default_rng(0).normal(size=(9, 3))
XYZ = {axis: POINTS[:, place] for place, axis in enumerate("xyz")}
TIMES = [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), None, None] * 3
OTHERS = {
    "kind": pa.array(["roof", "wall", None] * 3).dictionary_encode(),
    "time": pa.array(TIMES, pa.timestamp("us", "UTC")),
    "echoes": pa.array([[1, 2], [], None] * 3, pa.list_(pa.uint8())),
    "color": pa.array([{"r": 1, "g": 2}, None, {"r": None, "g": 3}] * 3),
    "count": pa.array([2**63, None, 1] * 3, pa.uint64()),
    "price": pa.array([None, 1, 2] * 3, pa.decimal128(9, 2)),
    "raw": pa.array([b"\0\xff", None, b""] * 3),
    "half": pa.array(POINTS[:, 0].astype(np.float16)),
}


def table(columns, metadata=None):
    return pa.table(columns).replace_schema_metadata(metadata)


def parsed(data):
    return pq.ParquetFile(io.BytesIO(data))


@pytest.mark.parametrize("compression", ["NONE", "snappy", "zstd"])
@pytest.mark.parametrize("metadata", [None, {"pandas": '{"columns": []}', "geo": "{}", "a": "é"}])
def test_normals_come_beside_all_other_columns(metadata, compression):
    data = parquet(table(OTHERS | XYZ | {"last": TIMES}, metadata), compression=compression)
    before = parsed(data).read()
    after = parsed(with_normals(data))
    found = after.read()
    assert found.select(before.column_names).equals(before, check_metadata=True)
    assert found.column_names == [*before.column_names, *NEW]
    assert {found.schema.field(name).type for name in NEW} == {pa.float32()}
    columns = np.column_stack([found[name] for name in NEW])
    assert_array_equal(columns, normal_columns(9).astype(np.float32), strict=True)
    assert packing(after) == packing(parsed(data))
    assert read(data).losses == ()


def packing(file):
    return file.metadata.row_group(0).column(0).compression


def test_columns_keep_their_own_metadata_and_nullability():
    fields = [
        pa.field(
            "x", pa.float32(), nullable=False, metadata={"unit": "m", "PARQUET:field_id": "7"}
        ),
        *(pa.field(axis, pa.float64()) for axis in "yz"),
    ]
    before = pa.table(XYZ).cast(pa.schema(fields))
    after = parsed(with_normals(parquet(before))).read()
    assert after.select(["x", "y", "z"]).schema.equals(
        parsed(parquet(before)).schema_arrow, check_metadata=True
    )


def test_row_groups_survive():
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, pa.table(XYZ).schema) as writer:
        for start, count in ((0, 4), (4, 1), (5, 0), (5, 4)):
            writer.write_table(pa.table(XYZ).slice(start, count))
    layout = parsed(with_normals(stream.getvalue())).metadata
    groups = [layout.row_group(place).num_rows for place in range(layout.num_row_groups)]
    assert [count for count in groups if count] == [4, 1, 4]


@pytest.mark.parametrize("type", [pa.float64(), pa.float32(), pa.int8(), pa.string()])
def test_normals_are_replaced_where_they_stand(type):
    old = dict.fromkeys(["nx", "NY", "nz"], pa.array([None, 1, 0] * 3).cast(type))
    data = parquet(table(old | XYZ | {"label": OTHERS["kind"]}))
    after = with_normals(data)
    names = ["nx", "NY", "nz", "x", "y", "z", "label", "normal_confidence"]
    assert parsed(after).read().column_names == names
    assert_array_equal(read(after).normals, normal_columns(9)[:, :3])
    assert with_normals(after) == after
    assert (read(data).normals is None) == (type == pa.string())


def test_a_null_is_a_point_that_is_not_finite():
    columns = XYZ | {"y": pa.array([None, *POINTS[1:, 1]])}
    points = read(parquet(table(columns))).points
    assert_array_equal(np.isnan(points).nonzero(), ([0], [1]))
    assert_array_equal(points[1:], POINTS[1:])
    cloud = read(parquet(table(columns)))
    normals = np.full((9, 3), np.nan)
    after = parsed(written(cloud.with_normals(normals, np.zeros(9)))).read()
    assert after["nx"].null_count == 0
    assert np.isnan(after["nx"].to_numpy()).all()


@pytest.mark.parametrize("type", [pa.int64(), pa.uint16(), pa.float16(), pa.decimal128(30, 5)])
def test_coordinates_may_be_any_numbers(type):
    whole = np.arange(27).reshape(9, 3)
    columns = {axis: pa.array(whole[:, place]).cast(type) for place, axis in enumerate("xyz")}
    np.testing.assert_allclose(read(parquet(table(columns))).points, whole, rtol=1e-15)


def test_names_may_have_capitals():
    data = parquet(table({axis.upper(): values for axis, values in XYZ.items()} | {"SX": [1] * 9}))
    assert_array_equal(read(data).points, POINTS)
    assert_array_equal(read(data).columns(["SX", "X"])[:, 0], np.ones(9))
    both = parquet(table({"X": [0.0] * 9} | XYZ))
    assert_array_equal(read(both).points, POINTS)


def test_x_and_y_alone_are_a_contour():
    cloud = read(parquet(table({"x": XYZ["x"], "y": XYZ["y"]})))
    after = written(cloud.with_normals(np.ones((9, 2)), np.ones(9)))
    assert parsed(after).read().column_names == ["x", "y", "nx", "ny", "normal_confidence"]


def test_a_file_without_new_normals_is_written_as_it_was_read():
    data = parquet(table(XYZ | OTHERS), row_group_size=2)
    assert written(read(data)) == data


def test_types_that_arrow_does_not_write_are_told():
    data = parquet(table(XYZ | {"time": OTHERS["time"]}), use_deprecated_int96_timestamps=True)
    (loss,) = read(data).losses
    assert loss.startswith("time (INT96, None) becomes time (INT64, Timestamp(")
    times = parsed(with_normals(data)).read()["time"]
    assert times.cast(pa.timestamp("us", "UTC")).to_pylist() == TIMES


GOOD = parquet(table(XYZ))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[:-30], "no readable Parquet file .*magic bytes not found.*; get a complete one"),
        (GOOD[:4], "no readable Parquet file .*4 bytes"),
        (GOOD[:4] + bytes(200) + GOOD[204:], "no readable Parquet file"),
        (parquet(table({"a": [1], "y": [2], "b": ["x"]})), r"no x y z among its columns .a, y.;"),
        (parquet(table(XYZ).slice(0, 0)), "no points in it"),
        (parquet(table(XYZ | {"x": ["1"] * 9})), r"no x y z among its columns .y, z."),
    ],
)
def test_a_bad_file_is_refused(data, message):
    with pytest.raises(CloudError, match=message):
        read(data, ".parquet")


def test_a_missing_pyarrow_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CloudError, match=r"needs pyarrow; pip install 'tfnormals\[parquet\]'"):
        read(GOOD)
