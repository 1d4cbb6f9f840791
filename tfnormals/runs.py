"""The settings of a training run, kept in its folder so that resuming asks for nothing twice."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .errors import DataError
from .network import NetworkConfig
from .training import TrainingConfig

SETTINGS = "config.json"


def save_settings(run: Path, config: TrainingConfig, data: Sequence[Path]) -> None:
    """Writes a run's configuration and data folders into its folder, made where missing.

    Raises:
        DataError: If the folder cannot be written to.
    """
    settings = {"data": [str(folder.resolve()) for folder in data], **asdict(config)}
    partial = run / f"{SETTINGS}.partial"
    try:
        run.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        partial.replace(run / SETTINGS)
    except OSError as error:
        raise DataError(f"{run}: cannot be written to ({error.strerror or error})") from error


def load_settings(run: Path) -> tuple[TrainingConfig, list[Path]]:
    """The configuration of a run and the folders of its data.

    Raises:
        DataError: If the folder holds no run, or its settings are damaged.
    """
    path = run / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        data = [Path(folder) for folder in settings.pop("data")]
        network = NetworkConfig.from_json(settings.pop("network"))
        return TrainingConfig(network=network, **settings), data
    except OSError as error:
        raise DataError(f"{run}: no training run ({path.name} is missing); start one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); start a new run") from error
