"""Message passing between local frames: scalars and vectors that turn with the cloud."""

from .frames import turned
from .layers import EdgeLayer, Features, Neighborhoods

__all__ = ["EdgeLayer", "Features", "Neighborhoods", "turned"]
