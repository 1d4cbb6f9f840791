"""Lines without a sign, such as unoriented normals, from symmetric traceless tensors.

A normal n and its opposite are the same line, and n n^T - 1/d does not tell them apart. A network
that answers ``1x2s`` can thus be trained with labels of any signs: the best answer is the mean of
n n^T - 1/d over all that the labels may be, whose first eigenvector is the line and whose gap of
eigenvalues says how much they agree.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .cartesian import from_traceless, to_traceless


class Lines(NamedTuple):
    """A line through every node."""

    directions: Float[Tensor, "*n d"]
    """Unit vectors, whose signs mean nothing."""
    confidence: Float[Tensor, "*n"]
    """The gap of the two largest eigenvalues, 0 to 1. It is 1 for n n^T - 1/d; at 0, as for the
    zero tensor, nothing tells directions apart, and the direction is finite but follows no
    rotation."""


@torch.no_grad()
def principal_lines(tensors: Float[Tensor, "*n s"], dimension: int = 3) -> Lines:
    """The lines that symmetric traceless tensors point along, most of all.

    For answers only: no gradient flows, since that of an eigenvector has no bound where
    eigenvalues meet. Train the tensors, with ``line_loss``.

    Args:
        tensors: Coordinates as ``Reps("1x2s", dimension)`` stores them, in global coordinates;
            of several for each node, put them into an axis of their own.
        dimension: Of space, at least 2.
    """
    with torch.autocast(tensors.device.type, enabled=False):
        wide = tensors.to(torch.promote_types(tensors.dtype, torch.float32))
        matrices = from_traceless(wide, 2, dimension).unflatten(-1, (dimension, dimension))
    values, vectors = torch.linalg.eigh(matrices)
    return Lines(vectors[..., -1], (values[..., -1] - values[..., -2]).clamp(max=1))


def line_loss(tensors: Float[Tensor, "*n s"], normals: Float[Tensor, "*n d"]) -> Float[Tensor, ""]:
    """The mean squared Frobenius distance of tensors from n n^T - 1/d.

    A polynomial, smooth also where eigenvalues meet, and the same for n and -n. The zero tensor
    costs 1 - 1/d.

    Args:
        tensors: As for ``principal_lines``.
        normals: Unit vectors, of any signs.
    """
    with torch.autocast(tensors.device.type, enabled=False):
        squares = (normals[..., :, None] * normals[..., None, :]).flatten(-2)
        wanted = to_traceless(squares, 2, normals.shape[-1])
        return (tensors.to(wanted.dtype) - wanted).square().sum(-1).mean()
