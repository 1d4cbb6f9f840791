"""LAS and LAZ: every byte but those of the normals survives; laspy is the witness."""

import io
import struct
import subprocess
import sys

import laspy
import lazrs
import numpy as np
import pytest
from cloud_files import normal_columns, read, with_normals, written
from las_files import OFFSETS, SCALES, WAVES, copc, las, parsed_las, patched, with_waves

from tfnormals.clouds import check_target
from tfnormals.errors import CloudError

NEW = ["nx", "ny", "nz", "normal_confidence"]
EXTRA = [("height", "f4", "above ground"), ("pair", "3u2"), ("scaled", "i2", "", [7], [0.5])]
EVLRS = [laspy.VLR("tests", 9, "late", b"\0late\xff"), laspy.VLR("tests", 10, "", b"")]


def kept(before, after):
    """The dimensions of a file, which stand first in another, bit for bit."""
    size = before.points.array.dtype.itemsize
    rows = np.frombuffer(after.points.array.tobytes(), np.uint8).reshape(len(before), -1)
    return rows[:, :size].tobytes() == before.points.array.tobytes()


@pytest.mark.parametrize("laz", [False, True])
@pytest.mark.parametrize("point_format", range(11))
def test_points_of_every_format_keep_their_bits(point_format, laz):
    data = las(point_format, laz=laz, extra=EXTRA)
    before, after = parsed_las(data), parsed_las(with_normals(data))
    assert kept(before, after)
    np.testing.assert_array_equal(after.X, before.X)
    assert list(after.point_format.extra_dimension_names) == ["height", "pair", "scaled", *NEW]
    columns = np.column_stack([after[name] for name in NEW])
    assert columns.dtype == np.float32
    np.testing.assert_array_equal(columns, normal_columns(40))


@pytest.mark.parametrize("version", ["1.2", "1.3", "1.4"])
def test_coordinates_are_exact(version):
    data = las(version=version)
    X = np.column_stack([parsed_las(data)[axis] for axis in "XYZ"]).astype(np.float64)
    np.testing.assert_array_equal(read(data).points, X * SCALES + OFFSETS)
    assert read(data).normals is None


@pytest.mark.parametrize("laz", [False, True])
def test_only_what_must_change_changes_in_the_header(laz):
    data = patched(patched(las(laz=laz, evlrs=EVLRS), 90, "<I", 0), 179, "<d", 1e9)
    after = with_normals(data)
    changed = {i for i in range(375) if after[i] != data[i]}
    # Start of the points, number of records, size of a point, start of the extended records.
    assert changed <= {*range(96, 104), *range(105, 107), *range(235, 243)}


@pytest.mark.parametrize("laz", [False, True])
def test_records_before_and_behind_the_points_survive(laz):
    data = las(6, laz=laz, evlrs=EVLRS, extra=EXTRA)
    before, after = parsed_las(data).header, parsed_las(with_normals(data)).header
    for old, new in zip([*before.vlrs, *before.evlrs], [*after.vlrs, *after.evlrs], strict=True):
        assert (new.user_id, new.record_id) == (old.user_id, old.record_id)
        assert new.record_data_bytes().startswith(old.record_data_bytes())


@pytest.mark.parametrize("point_format", [4, 10])
@pytest.mark.parametrize("laz", [False, True])
def test_waveforms_in_the_file_are_found_again(point_format, laz):
    after = with_normals(with_waves(las(point_format, laz=laz)))
    (start,) = struct.unpack_from("<Q", after, 227)
    assert after[start + 60 :] == WAVES


def test_waveforms_beside_the_file_are_mentioned():
    data = patched(las(4), 6, "<H", 4)
    assert read(data).losses == ("waveforms stay in the .wdp file; copy it beside the output",)
    assert read(las(4)).losses == ()


def test_bytes_between_header_and_points_survive():
    data = las()
    (start,) = struct.unpack_from("<I", data, 96)
    longer = patched(data[:start] + b"\xdd\xdd" + data[start:], 96, "<I", start + 2)
    after = with_normals(longer)
    assert after[struct.unpack_from("<I", after, 96)[0] - 2 :].startswith(b"\xdd\xdd")
    assert kept(parsed_las(data), parsed_las(after))


@pytest.mark.parametrize("laz", [False, True])
def test_a_file_without_new_normals_is_written_as_it_was_read(laz):
    data = las(laz=laz)
    assert written(read(data)) == data


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "3f4"])
def test_normals_are_replaced_where_they_stand(kind):
    extra = [("nx", kind), ("ny", kind), ("height", "f8"), ("nz", kind)]
    data = las(7, laz=True, extra=extra)
    after = parsed_las(with_normals(data))
    order = ["nx", "ny", "height", "nz", "normal_confidence"]
    assert list(after.point_format.extra_dimension_names) == order
    np.testing.assert_array_equal(after.height, parsed_las(data).height)
    np.testing.assert_array_equal(np.asarray(after.nz), normal_columns(40)[:, 2])
    assert after.nx.dtype == np.float32


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_normals_of_cloudcompare_keep_their_names(kind):
    names = ["NormalX", "NormalY", "NormalZ"]
    data = las(7, laz=True, extra=[("height", "f8"), *((name, kind) for name in names)])

    once = with_normals(data)

    order = ["height", *names, "normal_confidence"]
    assert list(parsed_las(once).point_format.extra_dimension_names) == order
    np.testing.assert_array_equal(parsed_las(once).height, parsed_las(data).height)
    np.testing.assert_array_equal(read(once).normals, normal_columns(40)[:, :3])
    assert with_normals(once) == once


def test_where_a_file_has_both_names_ours_are_replaced():
    extra = [(name, "f4") for name in ("NormalX", "NormalY", "NormalZ", "nx", "ny", "nz")]
    data = las(2, extra=extra)

    after = parsed_las(with_normals(data))

    np.testing.assert_array_equal(after.nx, normal_columns(40)[:, 0])
    np.testing.assert_array_equal(after.NormalX, parsed_las(data).NormalX)


def test_normals_go_in_and_out():
    once = with_normals(las(2, laz=True))
    np.testing.assert_array_equal(read(once).normals, normal_columns(40)[:, :3])
    assert with_normals(once) == once


def test_scaled_normals_are_read_as_they_are_meant():
    extra = [(name, "i2", "", [0], [1e-4]) for name in NEW[:3]]
    data = las(1, extra=extra)
    expected = np.column_stack([np.asarray(parsed_las(data)[name]) for name in NEW[:3]])
    np.testing.assert_allclose(read(data).normals, expected)


def test_bytes_that_no_record_describes_survive():
    data = las(3, extra=[("a", "f8"), ("b", "u4"), ("c", "3u1")])
    place = data.index(b"LASF_Spec")
    hidden = data[:place] + b"somebody " + data[place + 9 :]
    after = with_normals(hidden)
    size = parsed_las(data).points.array.dtype.itemsize
    assert kept(parsed_las(data), parsed_las(after))
    assert parsed_las(after).points.array.dtype.itemsize == size + 16
    np.testing.assert_array_equal(parsed_las(after).nx, normal_columns(40)[:, 0])


def test_copc_becomes_plain_laz_and_says_so():
    data = copc()
    assert len(laspy.CopcReader(io.BytesIO(data)).query()) == 81
    assert read(data).losses == ("COPC becomes plain LAZ: the same points without the octree",)
    after = parsed_las(with_normals(data))
    assert kept(parsed_las(data), after)
    assert [record.user_id for record in after.vlrs] == ["LASF_Spec"]
    assert [record.record_data for record in after.evlrs] == [b"kept"]


def test_a_name_for_copc_is_refused(tmp_path):
    with pytest.raises(CloudError, match=r"plain LAZ is written, not COPC; name it .*out\.laz$"):
        check_target(read(las(laz=True)), tmp_path / "out.copc.laz")


def test_many_chunks_are_written():
    data = las(0, 300_000, laz=True)
    assert kept(parsed_las(data), parsed_las(with_normals(data)))


def test_old_count_is_used_where_the_new_is_missing():
    data = patched(patched(las(n=30), 247, "<Q", 0), 107, "<I", 30)
    assert len(read(data).points) == 30


def two_channels():
    """Point format 9 with waveforms of two scanner channels: lazrs 0.8.2 gets them wrong."""
    plain = las(9)
    raw = np.frombuffer(plain, np.uint8, 40 * 59, parsed_las(plain).header.offset_to_point_data)
    raw = raw.copy().reshape(40, 59)
    raw[::2, 15] |= 0x10
    packed = las(9, laz=True)
    start = parsed_las(packed).header.offset_to_point_data
    form = lazrs.LazVlr.new_for_compression(9, 0)
    points = bytes(lazrs.compress_points(form, raw.ravel(), False))
    table = struct.unpack_from("<q", points)[0]
    return packed[:start] + struct.pack("<q", table + start) + points[8:]


LAS, LAZ = las(), las(laz=True)
HUGE = 10**12
TABLE = struct.unpack_from("<q", LAZ, struct.unpack_from("<I", LAZ, 96)[0])[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LAS[:100], "the header is cut off; get a complete file"),
        (LAS[:300], "the header is cut off or damaged"),
        (patched(LAS, 94, "<H", 20), "the header is cut off or damaged"),
        (patched(LAS, 100, "<I", 2**32 - 1), "4294967295 records are promised, 1 are there"),
        (LAS[:-50], "the header promises 40 points, 38 are there; get a complete file"),
        (patched(LAS, 247, "<Q", HUGE), "the header promises 1000000000000 points, 40 are there"),
        (patched(LAZ, 247, "<Q", HUGE), "promises 1000000000000 points, at most 50000 are there"),
        (LAZ[:-50], "its points are cut off"),
        (LAZ[:-2], "its points cannot be uncompressed .*; get a complete file"),
        (patched(LAZ, TABLE + 4, "<I", 2**32 - 1), "its points are cut off or damaged"),
        (LAZ[: TABLE - 800], "its points are cut off; get a complete file"),
        (patched(LAS, 24, "B", 2), "LAS 2.4 with point format 3; convert it to LAS 1.0 to 1.4"),
        (patched(LAS, 104, "B", 11), "LAS 1.4 with point format 11; convert it to LAS 1.0 to 1.4"),
        (patched(LAS, 105, "<H", 33), "points of 33 bytes, but point format 3 takes 34"),
        (patched(LAS, 247, "<Q", 0), "no points in it"),
        (patched(LAS, 104, "B", 0x83), "no record says how its points are compressed"),
        (patched(LAZ, 105, "<H", 35), "points of 35 bytes, but of 34 in the record"),
        (las(6, evlrs=EVLRS)[:-1], "2 records are promised, 1 are there"),
        (two_channels(), "waveforms of several scanner channels, .*; save it as LAS"),
    ],
)
def test_a_bad_file_is_refused(data, message):
    with pytest.raises(CloudError, match=message):
        read(data)


def test_dimensions_that_do_not_fit_a_point_are_refused():
    data = las(extra=EXTRA)
    (size,) = struct.unpack_from("<H", data, 105)
    with pytest.raises(CloudError, match="take 12 bytes of a point, but 10 are there"):
        read(patched(data, 105, "<H", size - 2))


def test_unknown_types_of_extra_dimensions_are_refused():
    data = las(extra=EXTRA)
    with pytest.raises(CloudError, match="an extra dimension of the unknown type 99"):
        read(patched(data, data.index(b"height") - 2, "B", 99))


def test_too_many_dimensions_to_add_four_are_refused():
    data = las(extra=[(f"d{i}", "u1") for i in range(340)])
    with pytest.raises(CloudError, match="too many extra dimensions to add four; remove some"):
        with_normals(data)


def test_lazrs_is_imported_for_laz_only(tmp_path):
    (tmp_path / "a.las").write_bytes(LAS)
    code = (
        "import sys, tfnormals; tfnormals.read_cloud(sys.argv[1]); print('lazrs' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.las"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"False\n"


@pytest.mark.parametrize("laz", [False, True])
def test_extra_dimensions_are_columns(laz):
    data = las(laz=laz, extra=EXTRA)
    before = parsed_las(data)

    columns = read(data).columns(["height", "scaled"])

    np.testing.assert_array_equal(columns, np.column_stack([before["height"], before["scaled"]]))
    with pytest.raises(CloudError, match="no pair among its columns"):
        read(data).columns(["height", "pair"])
