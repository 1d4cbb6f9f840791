"""The files that pictures are written to."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tfnormals.errors import DataError
from tfnormals.pictures import save_images, write_whole


def test_titles_stand_above_the_images(tmp_path):
    images = [np.full((50, 200, 3), 9, np.uint8), np.full((30, 200, 3), 99, np.uint8)]

    save_images(images, ["left", "right"], tmp_path / "pair.png")

    picture = np.round(255 * imread(tmp_path / "pair.png")[..., :3])
    assert picture.shape == (90, 400, 3)
    assert (picture[40:, :200] == 9).all()
    assert (picture[40:70, 200:] == 99).all()
    assert (picture[:40].min(axis=(0, 2)) < 100)[[*range(85, 115), *range(280, 320)]].any()


def test_an_image_without_title_is_the_picture(tmp_path):
    image = np.random.default_rng(0).integers(256, size=(30, 50, 3), dtype=np.uint8)

    save_images([image], [""], tmp_path / "noise.png")

    assert np.array_equal(np.round(255 * imread(tmp_path / "noise.png")[..., :3]), image)


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "folder.png").mkdir()

    with pytest.raises(DataError, match=r"folder\.png: cannot be written \(is a directory\)"):
        save_images([np.zeros((9, 9, 3), np.uint8)], [""], tmp_path / "folder.png")

    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_what_stood_there_stays_if_writing_stops_halfway(tmp_path, monkeypatch):
    def full(path, content):
        with path.open("wb") as stream:
            stream.write(content[:2])
        raise OSError(28, "No space left on device")

    (tmp_path / "page").write_text("before")
    monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(DataError, match="no space left"):
        write_whole(tmp_path / "page", b"after")

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page", "before")]


def test_drawing_leaves_pyplot_alone():
    code = "import sys, tfnormals.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
