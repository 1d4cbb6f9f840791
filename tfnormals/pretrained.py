"""Shipped and trained models: a name or a path becomes a network.

A model is one safetensors file: float32 weights, and under the single metadata key ``tfnormals``
a JSON object with the format number, the name, the network's configuration and its provenance.
"""

import json
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from .errors import ModelError
from .network import NetworkConfig, TensorFramesPointNet

FORMAT = 1
DEFAULT_MODEL = "outward-v10"
RUN_MODEL = "model.safetensors"
"""Name of the model file in the folder of a training run."""


def models_dir() -> Path:
    """The shipped models: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    bundled = package / "models"
    return bundled if bundled.is_dir() else package.parent / "models"


def model_names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in models_dir().glob("*.safetensors"))


def model_path(model: str | Path) -> Path:
    """The file of a model given by shipped name, file or training run folder.

    Raises:
        ModelError: If there is no such model; the message lists the shipped names.
    """
    shipped = models_dir() / f"{model}.safetensors"
    if str(model) in model_names():
        return shipped
    path = Path(model)
    try:
        path = path / RUN_MODEL if path.is_dir() else path
        found = path.is_file()
    except (OSError, ValueError):  # no name for a file at all
        found = False
    if not found:
        names = ", ".join(model_names()) or "none"
        raise ModelError(f"unknown model '{model}'; available: {names}, or the path of a model")
    return path


def load_model(model: str | Path = DEFAULT_MODEL) -> TensorFramesPointNet:
    """A network with its weights, on the CPU, in float32 and evaluation mode.

    Args:
        model: Shipped name, path of a model file, or folder of a training run.

    Raises:
        ModelError: If the model is unknown, damaged or of a newer format.
    """
    path = model_path(model)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        weights = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: not a readable model ({error}); train or download it again"
        ) from error
    return _network(path, metadata, weights)


def _network(
    path: Path, metadata: dict[str, str], weights: dict[str, torch.Tensor]
) -> TensorFramesPointNet:
    try:
        header = json.loads(metadata["tfnormals"])
        version = int(header["format"])
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: not a tfnormals model; give a file that `train` wrote"
        ) from error
    if version > FORMAT:
        raise ModelError(
            f"{path}: model format {version} is newer than this version; upgrade tfnormals"
        )
    try:
        config = NetworkConfig.from_json(header["config"])
        with torch.device("meta"):  # draws no random weights
            network = TensorFramesPointNet(config)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: damaged model description ({error}); train it again") from error
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "missing"
        wanted = tuple(expected[name].shape) if name in expected else "none"
        if found != wanted:
            raise ModelError(f"{path}: tensor {name} is {found}, the network needs {wanted}")
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise ModelError(f"{path}: weights are not finite; train it again")
    network.load_state_dict({name: w.float() for name, w in weights.items()}, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def save_model(
    path: Path, network: TensorFramesPointNet, name: str, trained_with: dict[str, object]
) -> None:
    """Writes a model file, all or nothing.

    Args:
        path: Target; replaced if it exists.
        network: Its configuration and weights are stored.
        name: Name of the model.
        trained_with: Provenance, JSON-ready.
    """
    header = {
        "format": FORMAT,
        "name": name,
        "config": asdict(network.config),
        "trained_with": trained_with,
        "license": "MIT",
    }
    weights = {
        key: value.detach().float().cpu().contiguous()
        for key, value in network.state_dict().items()
    }
    save_tensors(path, weights, header)


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, object]) -> None:
    """Writes tensors and one JSON header under the key ``tfnormals``, all or nothing."""
    partial = path.with_name(path.name + ".partial")
    metadata = {"tfnormals": json.dumps(header, sort_keys=True)}
    # not save_file, whose files only their owner can read
    partial.write_bytes(safetensors.torch.save(tensors, metadata))
    partial.replace(path)
