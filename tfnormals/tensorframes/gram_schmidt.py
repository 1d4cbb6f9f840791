"""Right-handed frames from d - 1 vectors, in any dimension."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_STANDBY = 0.05
"""Length below which a vector begins to give way to its standby."""


class LocalFrames(NamedTuple):
    """A frame at every node, right-handed unless ``mirrored``."""

    matrices: Float[Tensor, "n d d"]
    """Orthogonal matrices; rows are the axes, local = matrix @ global."""
    defined: Bool[Tensor, " n"]
    """False where geometry decides no frame, or does so no better than rounding: the frame is
    orthonormal and always the same for the same input, but does not turn with the cloud."""

    @property
    def where_defined(self) -> Float[Tensor, "n d d"]:
        """The matrices, zero where no frame is defined.

        Given to a layer in place of ``matrices`` they make all of a network exactly equivariant.
        A zero matrix turns every vector and tensor, and what mirrors change the sign of, into
        zero: a node without a frame hears, says and answers nothing but scalars.
        """
        return torch.where(self.defined[:, None, None], self.matrices, 0)


def gram_schmidt(
    vectors: Sequence[Float[Tensor, "n d"]], standby: Sequence[Float[Tensor, "n d"]] = ()
) -> LocalFrames:
    """Frames whose first axes follow d - 1 vectors; the last is their cross product.

    A rotation Q of the vectors turns the frames R into R Q^T; a reflection into S R Q^T, where
    S = diag(1, ..., 1, -1), exactly and also when all the vectors lie in one mirror plane.

    Vectors have lengths up to about one. What is left of a vector after the axes before it are
    taken out blends continuously into what is left of its standby as it becomes shorter than 5 %.
    When the result is shorter than the cube root of the machine precision eps, the node is not
    ``defined`` and the axis follows a coordinate axis. So every defined frame is accurate to
    about eps^(2/3), and gradients are bounded everywhere.

    Args:
        vectors: d - 1 of them; for d = 1 use ``identity_frames``.
        standby: As many again, or none.

    Raises:
        ValueError: If there are not d - 1 vectors, or none.
    """
    if not vectors or len(vectors) != vectors[0].shape[1] - 1:
        space = f" in {vectors[0].shape[1]} dimensions" if vectors else ""
        raise ValueError(f"{len(vectors)} vectors{space}; one less than dimensions is needed")
    first = vectors[0]
    shortest = torch.finfo(first.dtype).eps ** (1 / 3)
    axes: list[Tensor] = []
    defined = torch.ones_like(first[:, 0], dtype=torch.bool)
    for index, vector in enumerate(vectors):
        rest = _rejected(vector, axes)
        if standby:
            share = (1 - (rest.square().sum(1, keepdim=True) / _STANDBY**2)).clamp(min=0) ** 2
            rest = rest + share * _rejected(standby[index], axes)
        found = rest.square().sum(1) > shortest**2
        defined = defined & found
        rest = torch.where(found[:, None], rest, _coordinate_axis(first, axes))
        axes.append(_unit(_rejected(_unit(rest), axes)))  # the second pass: cancellation
    return LocalFrames(torch.stack([*axes, cross_product(axes)], 1), defined)


def cross_product(vectors: Sequence[Float[Tensor, "n d"]]) -> Float[Tensor, "n d"]:
    """The generalised cross product of d - 1 vectors: c with c . x = det[v_1, ..., v_(d-1), x].

    Minors grow row by row (Laplace expansion), so it is a polynomial: no pivot, smooth.
    """
    dimension = len(vectors) + 1
    minors: dict[tuple[int, ...], Tensor] = {(): torch.ones_like(vectors[0][:, 0])}
    for rows in range(1, dimension):
        minors = {
            columns: torch.stack(
                [
                    (-1) ** (rows - 1 - place) * vectors[rows - 1][:, column] * minors[rest]
                    for place, (column, rest) in enumerate(_each_left_out(columns))
                ]
            ).sum(0)
            for columns in combinations(range(dimension), rows)
        }
    signed = [
        (-1) ** (dimension - 1 - column) * minors[rest]
        for column, rest in _each_left_out(tuple(range(dimension)))
    ]
    return torch.stack(signed, 1)


def _each_left_out(columns: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    """Each column together with the others."""
    return [(column, columns[:i] + columns[i + 1 :]) for i, column in enumerate(columns)]


def _rejected(vector: Float[Tensor, "n d"], axes: list[Tensor]) -> Float[Tensor, "n d"]:
    """What is left of a vector when its parts along orthonormal axes are taken out."""
    for axis in axes:
        vector = vector - (vector * axis).sum(1, keepdim=True) * axis
    return vector


def _unit(vector: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return vector / vector.square().sum(1, keepdim=True).sqrt()


def _coordinate_axis(like: Float[Tensor, "n d"], axes: list[Tensor]) -> Float[Tensor, "n d"]:
    """The coordinate axis farthest from the given axes."""
    taken = sum((axis.detach().square() for axis in axes), torch.zeros_like(like))
    farthest = taken.detach().argmin(1)
    return torch.nn.functional.one_hot(farthest, like.shape[1]).to(like.dtype)
