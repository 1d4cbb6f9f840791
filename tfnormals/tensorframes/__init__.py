"""Tensor frames: any message passing network, made equivariant, in any dimension.

Usable on its own; nothing here knows of point cloud normals. ``docs/tensorframes.md`` explains it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .frames import turned
from .layers import EdgeLayer, Features, Neighborhoods

if TYPE_CHECKING:
    from .convert import EquivariantLayer, make_equivariant
    from .handedness import HandedLinear, inversion_average, mirrored
    from .hetero import EquivariantHeteroLayer
    from .invariants import fusion_invariants
    from .lie import LINE, SCALAR, VECTOR, Output, diagnosis, local_error
    from .lie_layers import Layer, layer_errors
    from .local_frames import (
        LearnedFrames,
        RefinedFrames,
        cloud_frames,
        identity_frames,
        pca_frames,
        random_frames,
        random_node_frames,
    )
    from .message_passing import TFMessagePassing
    from .reps import Rep, Reps

_HOMES = {
    "convert": ("EquivariantLayer", "make_equivariant"),
    "handedness": ("HandedLinear", "inversion_average", "mirrored"),
    "hetero": ("EquivariantHeteroLayer",),
    "invariants": ("fusion_invariants",),
    "lie": ("LINE", "SCALAR", "VECTOR", "Output", "diagnosis", "local_error"),
    "lie_layers": ("Layer", "layer_errors"),
    "local_frames": (
        "LearnedFrames",
        "RefinedFrames",
        "cloud_frames",
        "identity_frames",
        "pca_frames",
        "random_frames",
        "random_node_frames",
    ),
    "message_passing": ("TFMessagePassing",),
    "reps": ("Rep", "Reps"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "LINE",
    "SCALAR",
    "VECTOR",
    "EdgeLayer",
    "EquivariantHeteroLayer",
    "EquivariantLayer",
    "Features",
    "HandedLinear",
    "Layer",
    "LearnedFrames",
    "Neighborhoods",
    "Output",
    "RefinedFrames",
    "Rep",
    "Reps",
    "TFMessagePassing",
    "cloud_frames",
    "diagnosis",
    "fusion_invariants",
    "identity_frames",
    "inversion_average",
    "layer_errors",
    "local_error",
    "make_equivariant",
    "mirrored",
    "pca_frames",
    "random_frames",
    "random_node_frames",
    "turned",
]


def __getattr__(name: str) -> object:
    """Most names are imported when first used: PyG takes seconds, and prediction needs none."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tfnormals.tensorframes' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
