"""Outward-oriented unit normals for any 3-D point cloud."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .clouds import read_cloud, write_cloud
    from .errors import TfnormalsError
    from .estimation import estimate_normals
    from .pretrained import load_model, model_names

__version__ = version("tfnormals")
__all__ = [
    "TfnormalsError",
    "estimate_normals",
    "load_model",
    "model_names",
    "read_cloud",
    "write_cloud",
]

_HOMES = {
    "TfnormalsError": "errors",
    "estimate_normals": "estimation",
    "load_model": "pretrained",
    "model_names": "pretrained",
    "read_cloud": "clouds",
    "write_cloud": "clouds",
}


def __getattr__(name: str) -> object:
    """Public names are imported when first used: torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tfnormals' has no attribute '{name}'")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
