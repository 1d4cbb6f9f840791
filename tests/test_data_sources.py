import numpy as np
import pytest
import trimesh
from helpers import torus

from tfnormals.data import corruption
from tfnormals.data.sampling import labelled_sample
from tfnormals.data.sources import LabelledCloud, load_labelled, load_sources, split
from tfnormals.data.surfaces import Surface
from tfnormals.errors import DataError


def write_cloud(folder, name, count=1200, **changes):
    """A torus in the PCPNet layout."""
    points, normals = torus(count, np.random.default_rng(0))
    table = {"points": points, "normals": 2 * normals} | changes
    np.savetxt(folder / f"{name}.xyz", table["points"])
    np.savetxt(folder / f"{name}.normals", table["normals"])
    return folder / f"{name}.xyz"


@pytest.fixture
def folder(tmp_path):
    """Two good sources and two bad ones."""
    trimesh.creation.box().export(tmp_path / "z_box.stl")
    (tmp_path / "broken.obj").write_text("nothing")
    write_cloud(tmp_path, "a_torus")
    write_cloud(tmp_path, "few", count=900)
    np.savetxt(tmp_path / "no_truth.xyz", np.eye(3))
    return tmp_path


def test_meshes_and_clouds_are_found_by_name(folder):
    sources, _ = load_sources([folder])

    assert [source.name for source in sources] == ["a_torus", "z_box"]
    assert [type(source) for source in sources] == [LabelledCloud, Surface]


def test_what_cannot_be_used_is_listed_with_the_reason(folder):
    progress = []

    _, skipped = load_sources([folder], lambda *step: progress.append(step))

    assert [path.name for path, _ in skipped] == ["broken.obj", "few.xyz"]
    assert skipped[1][1] == "900 distinct points; at least 1000 are needed"
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(("name", "reason"), [("nowhere", "not a folder"), ("", "no meshes")])
def test_a_folder_without_sources_is_refused(name, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        load_sources([tmp_path / name])


def test_rows_without_position_or_direction_are_left_out(tmp_path):
    points, normals = torus(1200, np.random.default_rng(0))
    points[3], normals[5], normals[6] = np.nan, 0, np.inf

    cloud = load_labelled(write_cloud(tmp_path, "holes", points=points, normals=normals))

    assert len(cloud.points) == len(cloud.normals) == 1197
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1)


def test_a_scaled_cloud_has_a_unit_diagonal_around_the_origin():
    points, normals = torus(500, np.random.default_rng(0))

    scaled = LabelledCloud("far", 1e5 + 20 * points, normals).scaled()

    assert np.linalg.norm(np.ptp(scaled.points, axis=0)) == pytest.approx(1)
    np.testing.assert_allclose(scaled.points.min(0), -scaled.points.max(0), atol=1e-9)


@pytest.mark.parametrize(("count", "held"), [(0, []), (9, []), (10, [0]), (101, [0, 50, 100])])
def test_every_fiftieth_source_is_held_out(count, held):
    kept, held_out = split(list(range(count)))

    assert held_out == held
    assert sorted(kept + held_out) == list(range(count))


@pytest.fixture
def no_holes(monkeypatch):
    monkeypatch.setattr(corruption, "HOLES_SHARE", 0.0)


@pytest.mark.usefixtures("no_holes")
@pytest.mark.parametrize("seed", range(8))
def test_a_labelled_sample_has_as_many_points_as_asked(seed):
    points, normals = torus(4000, np.random.default_rng(0))

    sample = labelled_sample(points, normals, 500, np.random.default_rng(seed))

    assert sample.points.shape == sample.normals.shape == (500, 3)
    np.testing.assert_allclose(np.linalg.norm(sample.normals, axis=1), 1)


def test_labelled_samples_are_subsets_and_crops():
    points, normals = torus(4000, np.random.default_rng(0))
    samples = [
        labelled_sample(points, normals, 300, np.random.default_rng(seed)) for seed in range(80)
    ]

    complete = [np.ptp(sample.points, axis=0)[0] for sample in samples if sample.side_weight == 1]
    crops = [np.ptp(sample.points, axis=0)[0] for sample in samples if sample.side_weight < 1]
    assert 8 < len(crops) < 35
    assert np.median(crops) < 0.8 * np.median(complete)


@pytest.mark.usefixtures("no_holes")
def test_a_small_labelled_cloud_is_sampled_whole():
    points, normals = torus(200, np.random.default_rng(0))

    samples = [
        labelled_sample(points, normals, 500, np.random.default_rng(seed)) for seed in range(20)
    ]

    assert {sample.side_weight for sample in samples} == {1.0}
    assert {len(sample.points) for sample in samples} == {200}
