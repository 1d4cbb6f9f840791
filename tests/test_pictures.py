"""The files that pictures are written to."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from tfnormals.errors import DataError
from tfnormals.pictures import save_images


def test_titles_stand_above_the_images(tmp_path):
    images = [np.full((50, 200, 3), 9, np.uint8), np.full((30, 200, 3), 99, np.uint8)]

    save_images(images, ["left", "right"], tmp_path / "pair.png")

    picture = np.round(255 * imread(tmp_path / "pair.png")[..., :3])
    assert picture.shape == (90, 400, 3)
    assert (picture[40:, :200] == 9).all()
    assert (picture[40:70, 200:] == 99).all()
    assert (picture[:40].min(axis=(0, 2)) < 100)[[*range(85, 115), *range(280, 320)]].any()


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        save_images([np.zeros((9, 9, 3), np.uint8)], [""], tmp_path)


def test_drawing_leaves_pyplot_alone():
    code = "import sys, tfnormals.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
