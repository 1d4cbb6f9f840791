"""Tensor frames: any message passing network, made equivariant, in any dimension.

Usable on its own; nothing here knows of point cloud normals. ``docs/tensorframes.md`` explains it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .frames import turned
from .layers import EdgeLayer, Features, LazyNeighborhoods, Neighborhoods

if TYPE_CHECKING:
    from .anydim import (
        AnyDimConfig,
        AnyDimLevel,
        AnyDimNeighborhoods,
        AnyDimNetwork,
        TensorAndVector,
        null_direction,
    )
    from .cartesian import OrderTwoParts, from_parts, from_traceless, to_parts, to_traceless
    from .convert import EquivariantLayer, make_equivariant
    from .gram_schmidt import LocalFrames
    from .handedness import HandedLinear, inversion_average, mirrored
    from .hetero import EquivariantHeteroLayer
    from .invariants import fusion_invariants
    from .lie import LINE, SCALAR, VECTOR, Output, diagnosis, local_error
    from .lie_layers import Layer, layer_errors
    from .lines import Lines, line_loss, principal_lines
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
    from .reps import Rep, Reps, RepsError

_HOMES = {
    "anydim": (
        "AnyDimConfig",
        "AnyDimLevel",
        "AnyDimNeighborhoods",
        "AnyDimNetwork",
        "TensorAndVector",
        "null_direction",
    ),
    "cartesian": ("OrderTwoParts", "from_parts", "from_traceless", "to_parts", "to_traceless"),
    "convert": ("EquivariantLayer", "make_equivariant"),
    "gram_schmidt": ("LocalFrames",),
    "handedness": ("HandedLinear", "inversion_average", "mirrored"),
    "hetero": ("EquivariantHeteroLayer",),
    "invariants": ("fusion_invariants",),
    "lie": ("LINE", "SCALAR", "VECTOR", "Output", "diagnosis", "local_error"),
    "lie_layers": ("Layer", "layer_errors"),
    "lines": ("Lines", "line_loss", "principal_lines"),
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
    "reps": ("Rep", "Reps", "RepsError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "LINE",
    "SCALAR",
    "VECTOR",
    "AnyDimConfig",
    "AnyDimLevel",
    "AnyDimNeighborhoods",
    "AnyDimNetwork",
    "EdgeLayer",
    "EquivariantHeteroLayer",
    "EquivariantLayer",
    "Features",
    "HandedLinear",
    "Layer",
    "LazyNeighborhoods",
    "LearnedFrames",
    "Lines",
    "LocalFrames",
    "Neighborhoods",
    "OrderTwoParts",
    "Output",
    "RefinedFrames",
    "Rep",
    "Reps",
    "RepsError",
    "TFMessagePassing",
    "TensorAndVector",
    "cloud_frames",
    "diagnosis",
    "from_parts",
    "from_traceless",
    "fusion_invariants",
    "identity_frames",
    "inversion_average",
    "layer_errors",
    "line_loss",
    "local_error",
    "make_equivariant",
    "mirrored",
    "null_direction",
    "pca_frames",
    "principal_lines",
    "random_frames",
    "random_node_frames",
    "to_parts",
    "to_traceless",
    "turned",
]


def __getattr__(name: str) -> object:
    """Most names are imported when first used: PyG takes seconds, and prediction needs none."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tfnormals.tensorframes' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
