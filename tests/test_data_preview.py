"""What a preview of training shows."""

from itertools import islice

import numpy as np
import pytest
from matplotlib.image import imread
from solids import box

from tfnormals.clouds import read_cloud
from tfnormals.data import batches as data_batches
from tfnormals.data.batches import TrainingBatches
from tfnormals.data.preview import SHEET, as_cloud, first_clouds, write_preview


@pytest.fixture
def batches(monkeypatch):
    """Of small clouds of one box and of procedural solids, no two points at the same place."""
    monkeypatch.setattr(data_batches, "CLOUD_POINTS", (200, 250, 300))
    return TrainingBatches([box(1, 2, 3)], 400, seed=6)


def test_the_clouds_are_those_that_training_sees_in_their_order(batches):
    clouds = list(islice(first_clouds(batches), 6))

    assert [cloud.step for cloud in clouds] == sorted(cloud.step for cloud in clouds)
    for step in range(clouds[-1].step):
        seen = [cloud.sample.normals for cloud in clouds if cloud.step == step]
        learned = batches[step]
        assert learned.lengths == tuple(map(len, seen))
        one, other = np.vstack(seen).astype(np.float32), learned.normals.numpy()
        np.testing.assert_array_equal(np.sort(one, axis=0), np.sort(other, axis=0))


def test_a_cloud_file_holds_points_truth_and_what_it_is(batches, tmp_path):
    write_preview(batches, 3, tmp_path / "new", lambda done, total: None)

    for number, cloud in enumerate(islice(first_clouds(batches), 3)):
        path = tmp_path / "new" / f"cloud-{number:03}.ply"
        found = read_cloud(path)
        np.testing.assert_array_equal(found.points, cloud.sample.points)
        np.testing.assert_array_equal(found.normals, cloud.sample.normals.astype(np.float32))
        header = path.read_bytes().split(b"end_header")[0].decode()
        for name, fact in cloud.facts.items():
            assert f"comment {name} {fact}\n" in header


@pytest.mark.parametrize(("count", "columns"), [(2, 2), (11, 8)])
def test_the_picture_shows_all_clouds_in_rows(count, columns, batches, tmp_path):
    calls = []

    sheet = write_preview(batches, count, tmp_path, lambda *step: calls.append(step))

    picture = imread(sheet)[..., :3]
    assert sheet == tmp_path / SHEET
    assert calls == [(done, count) for done in range(1, count + 1)]
    width = picture.shape[1] // columns
    last = picture[-picture.shape[0] // -(-count // columns) :]
    shown = [(last[:, k * width : (k + 1) * width] < 0.9).mean() for k in range(columns)]
    assert np.array_equal(np.array(shown) > 0.02, np.arange(columns) < (count - 1) % columns + 1)


def test_names_of_sources_may_hold_any_letters(batches):
    cloud = next(first_clouds(batches))._replace(source="Gehäuse/第一")

    assert cloud.facts["source"] == "Geh\\xe4use/\\u7b2c\\u4e00"
    assert len(as_cloud(cloud).points) == len(cloud.sample.points)
