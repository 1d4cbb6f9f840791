"""What the curves of a training run show."""

import json

import pytest
from matplotlib.image import imread

from tfnormals.errors import DataError
from tfnormals.training_report import training_curves


def write_run(folder, validated):
    row = {"direction": 0.5, "side": 0.3, "error": 0.1}
    scores = {
        "validation_rmse_deg": 20.0,
        "validation_oriented_rmse_deg": 50.0,
        "validation_outward_share": 0.9,
    }
    rows = [{"step": step, **row, **(scores if step in validated else {})} for step in range(1, 9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("validated", [(), (4,), (4, 8)])
def test_curves_are_drawn_into_the_run(tmp_path, validated):
    write_run(tmp_path, validated)

    path = training_curves(tmp_path)

    assert path == tmp_path / "curves.png"
    assert imread(path)[..., :3].std() > 0.05


def test_validation_changes_the_curves(tmp_path):
    write_run(tmp_path, ())
    before = training_curves(tmp_path).read_bytes()
    write_run(tmp_path, (4, 8))

    assert training_curves(tmp_path).read_bytes() != before


def test_a_folder_without_metrics_is_refused(tmp_path):
    with pytest.raises(DataError, match="no training run"):
        training_curves(tmp_path)


def test_a_run_without_a_step_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")

    with pytest.raises(DataError, match="is empty; train"):
        training_curves(tmp_path)
