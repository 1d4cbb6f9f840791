"""Text and NPY: the text of every row survives, and columns come after it."""

import io

import numpy as np
import pytest
from cloud_files import bits, normal_columns, read, tables, vertices, with_normals, written
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnormals.clouds import read_cloud
from tfnormals.errors import CloudError

NEW = b"nx ny nz normal_confidence".split()
NUMBERS = st.floats(width=64).map(repr) | st.integers(-(10**9), 10**9).map(str)
SEPARATORS = st.sampled_from([",", ";", "\t", " ", "   "])


def added(n, glue=b" "):
    """The cells that with_normals puts behind each row."""
    return [glue.join(b"%.9g" % value for value in row) for row in normal_columns(n).tolist()]


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def loaded(data):
    return np.load(io.BytesIO(data), allow_pickle=False)


@st.composite
def text_files(draw):
    """Lines of x y z and more, and the separator; comments, blank lines and a header at will."""
    separator, width = draw(SEPARATORS), draw(st.integers(3, 6))
    row = st.lists(NUMBERS, min_size=width, max_size=width).map(separator.join)
    comment = st.sampled_from(["# scanned by hand", "// 3", ""])
    lines = draw(st.lists(row, min_size=1, max_size=5))
    lines += draw(st.lists(row | comment, max_size=5))
    header = separator.join(["x", "Y", "z", "a", "b", "c"][:width])
    return draw(st.sampled_from([[], [header], [f"//{header}"], [f"# {header}"]])) + lines


@given(lines=text_files(), newline=st.sampled_from(["\n", "\r\n", "\r"]))
@settings(deadline=None, max_examples=25)
def test_reading_and_writing_is_the_identity(lines, newline):
    data = newline.join([*lines, ""]).encode()
    assert written(read(data, "txt")) == data


@given(lines=text_files())
@settings(deadline=None, max_examples=25)
def test_normals_follow_the_text_of_each_row(lines):
    data = "\n".join([*lines, ""]).encode()
    after = with_normals(data, "xyz").splitlines()
    rows = [place for place, line in enumerate(lines) if line[:1] in "-.0123456789ni" and line]
    new = added(len(rows))
    for place, cells in zip(rows, new, strict=True):
        assert after[place].startswith(lines[place].encode())
        tail = after[place][len(lines[place].encode()) :]
        assert tail.replace(b";", b" ").replace(b",", b" ").split() == cells.split()
    untouched = [line for line in lines if line.startswith(("# s", "// 3"))]
    assert [line.decode() for line in after if line[:4] in (b"# sc", b"// 3")] == untouched


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("x,y,z,intensity", "1.50,2,3,0.10", "x,y,z,intensity,nx,ny,nz,normal_confidence"),
        ("//X Y Z R G B", "1.50 2 3 4 5 6", "//X Y Z R G B nx ny nz normal_confidence"),
        ("# x y z", "1.50,2,3", "# x y z nx ny nz normal_confidence"),
        ('"X";"Y";"Z"', "1.50;2;3", '"X";"Y";"Z";nx;ny;nz;normal_confidence'),
        ("\ufeffx\ty\tz", "1.50\t2\t3", "\ufeffx\ty\tz\tnx\tny\tnz\tnormal_confidence"),
        ("# taken at x y z", "1.50 2 3", "# taken at x y z"),
    ],
)
def test_header_is_extended(header, row, expected):
    first, second = with_normals(f"{header}\n{row}".encode(), "csv").decode().splitlines()
    assert first == expected
    assert second.startswith(row)
    assert read(f"{header}\n{row}".encode(), "csv").points.tolist() == [[1.5, 2, 3]]


@pytest.mark.parametrize(
    ("header", "separator", "glue"),
    [
        ("# t, x, y, z", " ", ","),
        ("# t;x;y;z", ",", ";"),
        ("# t x y z", ";", " "),
        ("# t, x y\tz", " ", ","),
        ("# columns: t x y z", " ", " "),
        ("// Data columns: t, x, y, z", ",", ","),
        ("# t [s], x [m], y [m], z [m]", " ", ","),
        ("# point id, x, y, z", "\t", ","),
        ("# point id,x,y,z", ",", ","),
        ("t, X, Y, Z", " ", ","),
        ("x_0;x;y;z", " ", ";"),
        ('"size, in m",x,y,z', ",", ","),
    ],
)
def test_header_may_have_a_separator_of_its_own(header, separator, glue):
    data = f"{header}\n{separator.join('7123')}\n".encode()
    assert read(data, "txt").points.tolist() == [[1, 2, 3]]
    after = with_normals(data, "txt")
    assert after.decode().splitlines()[0] == glue.join([header, *map(bytes.decode, NEW)])
    assert read(after, "txt").normals.shape == (1, 3)
    assert with_normals(after, "txt") == after


def test_header_of_savetxt_is_understood(tmp_path):
    path = tmp_path / "a.txt"
    np.savetxt(path, np.arange(8.0).reshape(2, 4), header="by numpy\nt, x, y, z")
    assert read_cloud(path).points.tolist() == [[1, 2, 3], [5, 6, 7]]


@pytest.mark.parametrize(
    "comment",
    [
        "taken at x y z",
        "x, y, z in metres",
        "x y z, then colour",
        "z is up, x and y are east and north",
        "scanned along x",
        "x y z r g b",
        "shot from (x, y, z)",
        "units: m, for x, y and z",
        "x: east, y: north, z: up",
    ],
)
@pytest.mark.parametrize("separator", [" ", ","])
def test_a_comment_that_is_no_list_of_columns_changes_nothing(comment, separator):
    data = f"# {comment}\n{separator.join('123')}\n".encode()
    assert read(data, "txt").points.tolist() == [[1, 2, 3]]
    assert with_normals(data, "txt").startswith(data[:-1])


@pytest.mark.parametrize(
    "data",
    [
        "x,y,z,0,1\n1,2,3,4,5\n",
        ",x,y,z\n0,1,2,3\n",
        '"x","y","z"\n"1","2","3"\n',
        '"1","2","3"\n',
        '"1" "2" "3"\n',
        'x,y,z,"name, place"\n1,2,3,"a, ""b"", c"\n',
        '1,2,3,"x, y"\n',
        '1 2 3 "a, b, c"\n',
        '1\t2\t3\t\t"a\tb"\n',
    ],
)
def test_cells_as_csv_writers_make_them_are_read_and_kept(data):
    assert read(data.encode(), "csv").points.tolist() == [[1, 2, 3]]
    after = with_normals(data.encode(), "csv")
    row = data.splitlines()[-1].encode()
    assert after.splitlines()[-1].startswith(row)
    assert read(after, "csv").points.tolist() == [[1, 2, 3]]


def test_quoted_cells_beside_replaced_normals_are_kept():
    data = b'"a, b",nx,ny,nz,x,y,z\n"6"", c","0","0","1",1,2,3\n'
    assert read(data, "csv").normals.tolist() == [[0, 0, 1]]
    row = with_normals(data, "csv").splitlines()[1]
    assert row.startswith(b'"6"", c",')
    assert row.split(b",")[5:8] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("data", ["1,2,3\n4,,6\n,,\n", 'x;y;z\n1;2;3\n4;;6\n;"";\n'])
def test_empty_coordinates_are_not_a_number(data):
    points = read(data.encode(), "csv").points
    np.testing.assert_array_equal(points, [[1, 2, 3], [4, np.nan, 6], [np.nan] * 3])


def test_the_first_point_may_be_empty():
    points = read(b",,\n1,2,3\n", "csv").points
    np.testing.assert_array_equal(points, [[np.nan] * 3, [1, 2, 3]])


@pytest.mark.parametrize("separator", [" ", ",", ";"])
def test_a_contour_without_names_gets_some_with_its_normals(separator):
    data = f"# a line\n\n{separator.join('12')}\n# b\n{separator.join('34')}\n".encode()
    cloud = read(data, "txt").with_normals(np.eye(2), np.ones(2))
    again = read(written(cloud), "txt")
    assert again.points.tolist() == [[1, 2], [3, 4]]
    assert again.normals.tolist() == [[1, 0], [0, 1]]
    assert written(again.with_normals(np.eye(2), np.ones(2))) == written(cloud)
    assert written(cloud.with_normals(np.eye(2), np.ones(2))) == written(cloud)
    names = separator.join(["x", "y", "nx", "ny", "normal_confidence"])
    first, blank, header, _, second, _ = written(cloud).decode().splitlines()
    assert (first, blank, header, second) == ("# a line", "", f"# {names}", "# b")


def test_named_columns_are_found_wherever_they_stand():
    data = b"# a\nid,z,name,x,y\n7,3,oak tree,1,2\n"
    assert read(data, "csv").points.tolist() == [[1, 2, 3]]
    assert with_normals(data, "csv").splitlines()[2].startswith(b"7,3,oak tree,1,2,")


def test_existing_normals_are_read_and_replaced_in_place():
    data = b"//X Y Z Nx Ny Nz Label\n1.0 2 3 0 0 1 tree\n4 5 6.50 1 0 0 house\n"
    assert read(data, "xyz").normals.tolist() == [[0, 0, 1], [1, 0, 0]]
    header, *rows = with_normals(data, "xyz").splitlines()
    new = [cells.split() for cells in added(2)]
    assert header == b"//X Y Z Nx Ny Nz Label normal_confidence"
    assert rows[0].split() == [b"1.0", b"2", b"3", *new[0][:3], b"tree", new[0][3]]
    assert rows[1].split() == [b"4", b"5", b"6.50", *new[1][:3], b"house", new[1][3]]


@pytest.mark.parametrize("data", [b"1 2 3\n4 5 6\n", npy(np.ones((2, 4)))])
def test_normals_given_twice_to_a_file_without_names_are_there_once(data):
    columns = normal_columns(2)
    normals, confidence = columns[:, :3], columns[:, 3]
    cloud = read(data, None if data.startswith(b"\x93") else "xyz")
    once = cloud.with_normals(-normals, 1 - confidence).with_normals(normals, confidence)
    assert written(once) == written(cloud.with_normals(normals, confidence))


def test_normals_can_be_replaced_twice():
    data = with_normals(b"x y z\n1 2 3\n4 5 6\n", "txt")
    assert with_normals(data, "txt") == data


def test_projected_coordinates_lose_nothing():
    data = b"2445123.45678 5712345.67891 112.10\n"
    assert read(data, "asc").points.tolist() == [[2445123.45678, 5712345.67891, 112.1]]
    assert with_normals(data, "asc") == data[:-1] + b" " + added(1)[0] + b"\n"


def test_rows_of_nan_and_infinity_are_kept():
    points = read(b"nan NaN nan\n1 -inf inf\n", "xyz").points
    np.testing.assert_array_equal(points, [[np.nan] * 3, [1, -np.inf, np.inf]])


def test_file_without_a_last_line_end_is_read():
    assert len(read(b"1 2 3\n4 5 6", "xyz").points) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "not plain text"),
        ("1 2 3\n".encode("utf-16"), "not plain text .* save it as UTF-8"),
        (b"\n\n# nothing\n", "no points in it; at least one is needed"),
        (b"x,y,z\n", "no points in it"),
        (
            b"lorem ipsum dolor sit\namet consectetur\n",
            "line 1 names 4 columns, the next row has 2",
        ),
        (b"lorem ipsum\ndolor amet\n", r"no x y z among its columns \(lorem, ipsum\)"),
        (b"id,east,north\n1,2,3\n", r"no x y z .* \(id, east, north\); name the coordinates"),
        (b"x,y,z\n1,2,3,4\n", "line 1 names 3 columns, the next row has 4"),
        (b"1\n2\n", "one column in its first row; x y z are needed, or x y of a contour"),
        (b"# c\n1 2 3\n\n4 5 6 7\n", "line 4 has 4 columns, 3 are expected"),
        (b"x y z\n1 2 3\n4 five 6\n", "line 3: y is 'five', not a number; correct or remove"),
        (b"1,5;2,5;3,5\n", "line 1: x is '1,5', not a number"),
        (b'1,2,3\n4,"five",6\n', "line 2: y is '\"five\"', not a number"),
        (
            b"# t x y z\n0 1 2 3 4\n",
            r"line 1 seems to name 4 columns \(t, x, y, z\), .* has 5; name",
        ),
        (b"# id, x, y, z\n\n1 2 3\n", r"line 1 seems to name 4 columns .* or remove the line"),
        (b"# columns: t x y z\n0 1 2 3 4\n", r"line 1 seems to name 4 columns"),
        (b"# x, y, id\n1 2 3 4\n", r"line 1 seems to name 3 columns"),
        (b"1 2 \xff\n", "line 1: z is '\ufffd', not a number"),
    ],
)
def test_bad_text_is_refused_with_the_reason(data, message):
    with pytest.raises(CloudError, match=f"^stream: .*{message}"):
        read_cloud(io.BytesIO(data), format="xyz")


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_array_keeps_its_type_and_gets_columns(dtype, order):
    array = np.asarray(bits([("", dtype, (5,))], 7)["f0"], order=order)
    data = npy(array)
    assert written(read(data)) == data
    after = loaded(with_normals(data))
    assert after.dtype == np.dtype(dtype)
    assert after[:, :5].tobytes() == array.tobytes()
    np.testing.assert_array_equal(after[:, 5:], normal_columns(7).astype(dtype))


@given(rows=tables(["i1", "<u4", ">i8", "<f4", ">f8"]))
@settings(deadline=None, max_examples=25)
def test_structured_array_keeps_its_fields(rows):
    assert written(read(npy(rows))) == npy(rows)
    after = loaded(with_normals(npy(rows)))
    new = [name.decode() for name in NEW]
    for name in set(rows.dtype.names) - set(new):
        assert after[name].tobytes() == rows[name].tobytes()
        assert after.dtype[name] == rows.dtype[name]
    added = np.column_stack([after[name] for name in new])
    np.testing.assert_array_equal(added, normal_columns(len(rows)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x93NUMPY\x09\x00rest", "bad NPY header"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr'", "bad NPY header"),
        (b"\x93NUMPX", "not an NPY file"),
        (npy(np.zeros((2, 1))), r"an array of float64 \(2, 1\); save floats \(n, 2 or more\)"),
        (npy(np.zeros((2, 3), "i4")), r"an array of int32 \(2, 3\)"),
        (npy(np.zeros(6)), r"an array of float64 \(6,\)"),
        (npy(np.zeros((0, 3))), "no points in it"),
        (npy(vertices(0)), "no points in it"),
        (npy(np.array([1, None]), allow_pickle=True), "Python objects"),
        (npy(vertices(3)[["x", "z"]].copy()), "no x y z among its columns"),
        (npy(np.zeros((4, 3)))[:-1], "promises 12 values, 11 are there; get a complete file"),
        (
            npy(np.zeros((4, 3))).replace(b"(4, 3), }      ", b"(4000000, 3), }"),
            "promises 12000000",
        ),
    ],
)
def test_bad_array_is_refused_with_the_reason(data, message):
    with pytest.raises(CloudError, match=f"^stream: .*{message}"):
        read_cloud(io.BytesIO(data), format="npy")
