import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import speed
from speed_clouds import SHAPES

SCRIPT = Path(speed.__file__)


@pytest.mark.parametrize("name", SHAPES)
def test_clouds_have_the_wanted_number_of_finite_points(name):
    points = SHAPES[name](1003)

    assert points.shape == (1003, 3)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, SHAPES[name](1003))


def test_every_point_of_the_repeated_cloud_is_there_ten_times():
    _, counts = np.unique(SHAPES["each point ten times"](1000), axis=0, return_counts=True)

    assert (counts == 10).all()


def test_tools_are_compared_with_ours():
    row = {"tfnormals": speed.Run(2.0, 0.5), "slow": speed.Run(5.0, 1.25)}
    row["broken"] = speed.Run(np.nan, np.nan)

    table = speed.table({"10 points": row, "20 points": {"tfnormals": row["tfnormals"]}})

    assert table.splitlines()[2:] == [
        "| 10 points | 2.00 s, 0.50 GB | 5.00 s, 2.5 x ours, 1.25 GB | failed |",
        "| 20 points | 2.00 s, 0.50 GB | - | - |",
    ]


def test_the_script_prints_both_tables_and_draws_the_plot(tmp_path):
    command = [sys.executable, str(SCRIPT), "--tools", "", "--repeats", "1"]
    command += ["--sizes", "300,600", "--shape-points", "300", "--plot", str(tmp_path / "s.png")]

    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)

    assert "| 300 points |" in done.stdout
    assert all(f"| {name} |" in done.stdout for name in SHAPES)
    assert (tmp_path / "s.png").stat().st_size > 1000
