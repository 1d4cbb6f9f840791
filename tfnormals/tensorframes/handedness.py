"""Both handednesses of frames treated alike, so that reflections are followed exactly.

On a flat face nothing tells right-handed frames R_i from left-handed ones S R_i, with
S = diag(1, ..., 1, -1). A network must therefore not prefer either (DESIGN.md section 2, trap 1).
Either run it with both and average (``inversion_average``), at twice the cost; or average in
every layer (``both_hands``, ``hands_averaged``; ``EdgeLayer`` in sums and differences), which
shares what the hands have in common; or carry both through one pass in right-handed frames, at
the cost of one (``HandedLinear``):

Hidden channels stand in two halves, what the network has in right-handed frames and what it would
have in left-handed ones. Mirroring all frames exchanges the halves (a regular representation of
Z2), and turns what is seen in the frames: a local vector x into S x, for instance. Linear layers
must commute with that; functions of single channels, sums and maxima over neighbours do so anyway.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def mirrored(matrices: Float[Tensor, "n d d"]) -> Float[Tensor, "n d d"]:
    """The frames with the last axis turned round: left-handed for right-handed ones."""
    return torch.cat([matrices[:, :-1], -matrices[:, -1:]], 1)


def inversion_average(
    function: Callable[[Float[Tensor, "n d d"]], Float[Tensor, "..."]],
    matrices: Float[Tensor, "n d d"],
) -> Float[Tensor, "..."]:
    """The mean of what a network says in the given frames and in the mirrored ones.

    Follows reflections exactly wherever the frames are those of ``local_frames`` and defined.

    Args:
        function: From the frames of all nodes to the network's answer in global coordinates, or
            to invariants. Of what has no sign, such as an unoriented normal n, answer n n^T.
        matrices: Frames of all nodes, of one handedness.
    """
    return (function(matrices) + function(mirrored(matrices))) / 2


def parity_of(scalars: int, vectors: int) -> Float[Tensor, " c"]:
    """The sign each channel takes in mirrored frames: of scalars, then of vectors seen in them.

    Channels of the vectors are all first components, then all second, then all third ones.
    """
    signs = torch.ones(scalars + 3 * vectors, device="cpu")  # even where weights are made on meta
    signs[scalars + 2 * vectors :] = -1
    return signs


def both_hands(
    channels: Float[Tensor, "n c"], parity: Float[Tensor, " c"]
) -> Float[Tensor, "2 n c"]:
    """What is seen in the given frames, and in the mirrored ones."""
    return torch.stack([channels, channels * parity])


def hands_averaged(
    said: Float[Tensor, "2 n c"], parity: Float[Tensor, " c"]
) -> Float[Tensor, "n c"]:
    """The mean, in the given frames, of what is said in them and in the mirrored ones."""
    return said[0].addcmul(said[1], parity) / 2


def exchange(channels: int) -> Float[Tensor, "c c"]:
    """How mirroring acts on two halves of so many hidden channels each."""
    return torch.eye(2 * channels).roll(channels, 0)


class HandedLinear(nn.Module):
    """A linear layer that commutes with mirroring: W = (V + M_out V M_in) / sqrt(2), V free.

    Args:
        inputs: How mirroring all frames acts on the channels coming in: a symmetric orthogonal
            matrix, ``exchange`` of hidden channels, ``reps.transform(eye, S)`` of what is seen in
            the frames, ``torch.block_diag`` of both.
        outputs: The same of the channels going out.
    """

    inputs: Tensor
    outputs: Tensor

    def __init__(self, inputs: Float[Tensor, "c c"], outputs: Float[Tensor, "o o"]) -> None:
        super().__init__()
        self.register_buffer("inputs", inputs, persistent=False)
        self.register_buffer("outputs", outputs, persistent=False)
        self.free = nn.Linear(len(inputs), len(outputs))

    def forward(self, channels: Float[Tensor, "*n c"]) -> Float[Tensor, "*n o"]:
        """The new channels."""
        weight = self.free.weight + self.outputs @ self.free.weight @ self.inputs
        bias = self.free.bias + self.outputs @ self.free.bias
        return nn.functional.linear(channels, weight / 2**0.5, bias / 2)
