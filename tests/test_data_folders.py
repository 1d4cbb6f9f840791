import numpy as np
import pytest

from tfnormals.data.folders import evaluation_clouds, load_truth
from tfnormals.errors import CloudError, DataError

POINTS = np.array([[0.0, 0, 1], [0.25, 0, 1], [0.5, 0, 1]])
NORMALS = np.array([[0.0, 0, 1], [0.0, 1, 0], [1.0, 0, 0]])
PLY = """ply
format ascii 1.0
element vertex 3
property double x
property double y
property double z
{columns}end_header
"""


def write_cloud(folder, name, points=POINTS, normals=NORMALS, rows=None):
    np.savetxt(folder / f"{name}.xyz", points)
    np.savetxt(folder / f"{name}.normals", normals)
    if rows is not None:
        np.savetxt(folder / f"{name}.pidx", rows, fmt="%d")
    return folder / f"{name}.xyz"


def write_list(folder, variant, *names):
    (folder / f"testset_{variant}.txt").write_text("\n".join(names) + "\n\n")


def write_ply(path, table, columns=""):
    rows = "\n".join(" ".join(map(str, row)) for row in table)
    path.write_text(PLY.format(columns=columns) + rows + "\n")
    return path


@pytest.fixture
def layout(tmp_path):
    """Two shapes in two variants, and one of a third kind without its clean cloud."""
    for shape in ("cup", "a_scan_of_b"):
        for suffix in ("", "_noise_white_1.20e-03"):
            write_cloud(tmp_path, shape + suffix)
    write_cloud(tmp_path, "torus_ddist_minmax_layers")
    write_list(
        tmp_path, "low_noise", "cup_noise_white_1.20e-03", "a_scan_of_b_noise_white_1.20e-03"
    )
    write_list(tmp_path, "no_noise", "cup", "a_scan_of_b")
    write_list(tmp_path, "vardensity_striped", "torus_ddist_minmax_layers")
    return tmp_path


def test_listed_clouds_come_by_variant_with_their_shape(layout):
    assert [(cloud.variant, cloud.shape) for cloud in evaluation_clouds(layout)] == [
        ("no_noise", "cup"),
        ("no_noise", "a_scan_of_b"),
        ("low_noise", "cup"),
        ("low_noise", "a_scan_of_b"),
        ("vardensity_striped", "torus"),
    ]


def test_the_clean_cloud_is_found_where_there_is_one(layout):
    clean = {cloud.name: cloud.clean for cloud in evaluation_clouds(layout)}

    assert clean["cup_noise_white_1.20e-03"] == clean["cup"] == layout / "cup.xyz"
    assert clean["torus_ddist_minmax_layers"] is None


def test_a_list_of_everything_adds_nothing(layout):
    before = evaluation_clouds(layout)
    write_list(layout, "all", *(cloud.name for cloud in before))

    assert evaluation_clouds(layout) == before


def test_a_listed_cloud_that_is_missing_is_named(layout):
    write_list(layout, "scan", "cup_scan")
    with pytest.raises(
        DataError, match=r"testset_scan\.txt names cup_scan, cup_scan\.xyz is miss"
    ):
        evaluation_clouds(layout)


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_folder_without_clouds_is_an_error(tmp_path, name):
    with pytest.raises(DataError, match=r"not a folder|no clouds"):
        evaluation_clouds(tmp_path / name)


def test_without_lists_every_cloud_file_counts(tmp_path):
    write_cloud(tmp_path, "b_scan")
    write_ply(tmp_path / "a.ply", np.hstack([POINTS, NORMALS]))
    (tmp_path / "notes.md").write_text("not a cloud")

    clouds = evaluation_clouds(tmp_path)

    assert [(cloud.name, cloud.shape, cloud.variant, cloud.clean) for cloud in clouds] == [
        ("a", "a", "clouds", None),
        ("b_scan", "b_scan", "clouds", None),
    ]


def test_a_cloud_that_carries_normals_is_its_own_truth(tmp_path):
    columns = "".join(f"property double {name}\n" for name in ("nx", "ny", "nz"))
    path = write_ply(tmp_path / "a.ply", np.hstack([POINTS, NORMALS]), columns)

    points, normals, scored = load_truth(path)

    np.testing.assert_array_equal(points, POINTS)
    np.testing.assert_array_equal(normals, NORMALS)
    assert scored.tolist() == [0, 1, 2]


def test_normals_beside_any_cloud_are_its_truth(tmp_path):
    path = write_ply(tmp_path / "a.ply", POINTS)
    np.savetxt(tmp_path / "a.normals", NORMALS)

    np.testing.assert_array_equal(load_truth(path).normals, NORMALS)


def test_only_the_listed_rows_are_scored(layout):
    write_cloud(layout, "cup", rows=[2, 0])

    assert evaluation_clouds(layout)[0].load().scored.tolist() == [2, 0]


def test_rows_without_a_number_or_a_direction_are_not_scored(tmp_path):
    points, normals = POINTS.copy(), NORMALS.copy()
    points[0, 0], normals[2] = np.nan, 0

    assert load_truth(write_cloud(tmp_path, "a", points, normals)).scored.tolist() == [1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": POINTS[:2]}, "2 points but 3 normals"),
        ({"normals": NORMALS[:, :2]}, "2 columns; 3 are needed"),
        ({"points": POINTS[:0]}, "a.xyz: empty"),
        ({"normals": np.zeros((3, 3))}, "no row can be scored"),
        ({"rows": [0, 3]}, "rows outside the cloud; it has 3"),
        ({"rows": [-1]}, "rows outside the cloud"),
    ],
)
def test_a_truth_that_does_not_fit_is_an_error(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load_truth(write_cloud(tmp_path, "a", **arrays))


@pytest.mark.parametrize("content", [b"1 2 x\n", b"1 2 3\n4 5\n", b"\xff\xfe"])
def test_a_damaged_file_is_an_error(tmp_path, content):
    path = write_cloud(tmp_path, "a")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.xyz: not a"):
        load_truth(path)


def test_a_cloud_without_normals_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"carries no normals, and there is no a\.normals"):
        load_truth(write_ply(tmp_path / "a.ply", POINTS))


def test_a_missing_cloud_is_an_error(tmp_path):
    with pytest.raises(CloudError):
        load_truth(tmp_path / "a.ply")
