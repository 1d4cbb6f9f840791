from dataclasses import replace

import pytest

from tfnormals.errors import DataError
from tfnormals.network import NetworkConfig
from tfnormals.runs import SETTINGS, load_settings, save_settings
from tfnormals.training import TrainingConfig

CONFIG = TrainingConfig(minutes=1.5, seed=7, network=NetworkConfig(scalars=(1, 2, 3, 4, 5, 6)))


def test_what_was_saved_is_loaded(tmp_path):
    save_settings(tmp_path / "new" / "run", CONFIG, [tmp_path])

    assert load_settings(tmp_path / "new" / "run") == (CONFIG, [tmp_path])


def test_relative_folders_are_found_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    save_settings(tmp_path, CONFIG, [(tmp_path / "data").relative_to(tmp_path)])

    assert load_settings(tmp_path)[1] == [tmp_path / "data"]


def test_saving_again_replaces(tmp_path):
    save_settings(tmp_path, CONFIG, [])
    save_settings(tmp_path, replace(CONFIG, seed=8), [])

    assert load_settings(tmp_path)[0].seed == 8
    assert [path.name for path in tmp_path.iterdir()] == [SETTINGS]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no training run \(config.json is missing\)"):
        load_settings(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"data": [], "network": {}, "pace": 3}'])
def test_damaged_settings_are_refused(text, tmp_path):
    (tmp_path / SETTINGS).write_text(text)

    with pytest.raises(DataError, match="damaged"):
        load_settings(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match="cannot be written to"):
        save_settings(tmp_path / "file" / "run", CONFIG, [])
